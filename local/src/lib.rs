//! The local platform: Kubernetes manifests run as processes in network namespaces.
//!
//! [`client`] speaks to a running platform over its socket.

pub mod api;
pub mod client;
pub mod net;
pub mod sandbox;
pub mod up;
