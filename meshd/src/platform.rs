//! What the control plane runs on: files of one machine, or a Kubernetes cluster.

pub(crate) mod files;
pub(crate) mod kubernetes;

use std::sync::Arc;

use mesh_citadel::{Live, Verifier};
use mesh_injector::Inputs;
use mesh_kubernetes::lease::Campaign;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a platform gives to the parts that all of them have.
pub(crate) struct Platform {
    /// What signs.
    pub(crate) authority: Live,
    /// Who calls.
    pub(crate) verifier: Arc<Verifier>,
    /// Where discovery reads.
    pub(crate) discovery: mesh_pilot::Options,
    /// What pods are injected with, where there are webhooks.
    pub(crate) injection: Option<watch::Receiver<Option<Inputs>>>,
    /// Candidacies, given up at the end.
    pub(crate) campaigns: Vec<Campaign>,
    /// What writes to the cluster: ended before the candidacies are given up.
    pub(crate) writing: JoinSet<()>,
    /// What keeps `injection` current: pods are injected until the last connection has ended.
    pub(crate) following: JoinSet<()>,
}
