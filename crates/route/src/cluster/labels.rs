//! Telemetry labels that xDS metadata carries, parsed once.

use std::sync::Arc;

/// The destination service of a cluster (`filter_metadata["istio"].services[0]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLabels {
    /// Host, `reviews.default.svc.cluster.local`; `unknown` if none.
    pub host: Arc<str>,
    /// Short name; `unknown` if none. The cluster's name for Passthrough and BlackHole.
    pub name: Arc<str>,
    /// Namespace; `unknown` if none.
    pub namespace: Arc<str>,
    /// Subset, empty if none.
    pub subset: Arc<str>,
    /// Port, 0 if the cluster's name tells none.
    pub port: u16,
}

/// The workload behind an endpoint (`filter_metadata["istio"].workload`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Workload name; `unknown` if not told, as the rest.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Canonical service.
    pub canonical_name: Arc<str>,
    /// Canonical revision.
    pub canonical_revision: Arc<str>,
    /// Cluster id.
    pub cluster: Arc<str>,
}
