//! The services, workloads and endpoints of the mesh, whatever they came from.
//!
//! Kubernetes objects ([`service::from_kubernetes`], [`alias::from_kubernetes`], [`workload::from_pod`],
//! [`endpoint::from_slice`]) and ServiceEntry/WorkloadEntry ([`service_entry`]) become the same few
//! types, so that everything after this module (snapshot, translate) never sees where a host came
//! from, save where Istio's behaviour itself differs ([`service::Registry`]).
//!
//! Conversion is pure: an object that cannot be used becomes a [`crate::snapshot::Problem`] of that
//! object.

pub mod alias;
pub mod endpoint;
pub mod export;
pub mod locality;
pub mod service;
pub mod service_entry;
pub mod workload;

pub use alias::Alias;
pub use endpoint::{Address, Endpoint, Health};
pub use export::ExportTo;
pub use locality::Locality;
pub use service::{Registry, Resolution, Service, ServicePort, TargetPort, Vip};
pub use workload::{TlsMode, Workload};

pub use mesh_config::{Labels, Protocol};

/// Whether every label of `selector` is among `labels` with the same value.
///
/// An empty selector selects everything (Istio's `SubsetOf`); a Kubernetes Service without selector
/// selects nothing and must be handled by the caller.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests;
