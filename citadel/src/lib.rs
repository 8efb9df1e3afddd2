//! Certificate authority of the mesh: a CSR comes in, a certificate for the verified caller's
//! SPIFFE id goes out.
//!
//! - [`authority`]: the root or plugged-in intermediate; signing; kept in files.
//! - [`root`]: the authority on Kubernetes, kept in Secrets, and its rotation.
//! - [`distribute`]: the trusted roots in every namespace.
//! - [`live`]: the authority as it is now, for everyone who uses it.
//! - [`token`]: who the caller is, by its service-account token.
//! - [`service`]: the gRPC service that joins both.
//! - [`server_cert`]: the control plane's own TLS certificate.
//!
//! A certificate is issued only for the identity in the verified token; what a CSR asks for
//! never widens it.

pub mod authority;
pub mod distribute;
pub mod live;
pub mod root;
pub mod server_cert;
pub mod service;
pub mod token;

pub use authority::{Authority, AuthorityError, Issued, Options, SignError};
pub use live::Live;
pub use server_cert::control_plane_names;
pub use service::CaService;
pub use token::{Caller, TokenError, Verifier};
