//! What pods are injected with at this moment.

mod kubernetes;
mod version;

use std::sync::Arc;

use mesh_config::MeshConfig;

use crate::Settings;

pub use kubernetes::{Cluster, watch};
pub use version::has_native_sidecars;

/// The settings of the mesh and of the injector. Cheap to clone.
///
/// [`crate::Server`] takes a `watch::Receiver<Option<Inputs>>`; on Kubernetes [`watch()`] makes
/// one, elsewhere (files, tests) anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The mesh's settings.
    pub mesh: Arc<MeshConfig>,
    /// The injector's own.
    pub settings: Arc<Settings>,
}
