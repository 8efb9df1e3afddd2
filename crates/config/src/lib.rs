//! User-facing configuration of the mesh: Istio's API as Rust types.
//!
//! One module per kind holds its domain type, in which a wrong combination cannot be built:
//! a `oneof` is an enum, a host, port, percentage or pattern is a newtype that was checked when
//! it was made. [`decode`] reads Istio's YAML or JSON into them, [`mod@validate`] checks what spans
//! several fields of one object, [`analyse`] what spans several objects. [`selector`],
//! [`visibility`] and [`host`] answer "does this apply here?" as pure functions.
//!
//! No IO, no clock, no threads. Every type is `Eq + Hash`, so it can be (part of) a cache key.
//!
//! A field of Istio's API that is not implemented yet is refused by name when decoding: what
//! these types do not hold was never accepted.

pub mod analyse;
pub mod authorization_policy;
pub mod decode;
pub mod destination_rule;
pub mod duration;
pub mod gateway;
pub mod host;
pub mod matching;
pub mod mesh_config;
pub mod number;
pub mod object;
pub mod peer_authentication;
pub mod protocol;
pub mod schema;
pub mod selector;
pub mod service_entry;
pub mod sidecar;
pub mod tls;
pub mod validate;
pub mod virtual_service;
pub mod visibility;
pub mod workload_entry;

pub use authorization_policy::AuthorizationPolicy;
pub use decode::{DecodeError, Decoded, FieldError, Source};
pub use destination_rule::{DestinationRule, SubsetName};
pub use gateway::Gateway;
pub use host::{Host, HostPattern};
pub use matching::{Pattern, StringMatch};
pub use mesh_config::{MeshConfig, ProxyConfig};
pub use number::{Percent, PortNumber};
pub use object::{Kind, Object, ObjectMeta, PlannedKind, Resource};
pub use peer_authentication::PeerAuthentication;
pub use protocol::Protocol;
pub use selector::{LabelSelector, Labels};
pub use service_entry::ServiceEntry;
pub use sidecar::Sidecar;
pub use validate::validate;
pub use virtual_service::VirtualService;
pub use visibility::ExportTo;
pub use workload_entry::WorkloadEntry;
