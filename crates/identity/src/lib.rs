//! Workload identity: SPIFFE ids, keys, certificates, trust bundles, refresh times
//! and the TLS configurations made of them.
//!
//! No IO and no clock: PEM text and times are arguments, and rustls hands the
//! handshake's time to the verifiers. The crypto provider is aws-lc-rs, always given
//! explicitly, so no process-wide default has to be installed.
//!
//! A workload asks for a certificate with [`csr::generate`], gets a chain back,
//! makes a [`WorkloadCertificate`], and builds rustls configurations in [`tls`] once per
//! certificate. [`refresh::refresh_at`] says when to ask again.

pub mod bundle;
pub mod certificate;
pub mod csr;
pub mod key;
pub mod peer;
pub mod refresh;
pub mod spiffe;
pub mod tls;

pub use bundle::TrustBundle;
pub use certificate::{CertificateError, WorkloadCertificate};
pub use key::PrivateKey;
pub use spiffe::{SpiffeId, SpiffeIdError, SpiffeIdSet, TrustDomain};
