//! Findings that span several objects, under Istio's analysis codes.

use crate::mesh_config::MeshConfig;
use crate::object::{Kind, Resource};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth to know.
    Info,
    /// Probably not what was meant.
    Warning,
    /// Does not work.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Istio's code, for example `IST0101`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Kind of the object.
    pub kind: Kind,
    /// `namespace/name` of the object.
    pub object: String,
    /// Path of the field; empty for the whole object.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// A service of the platform's registry, as far as references need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownService {
    /// Fully qualified host.
    pub host: String,
    /// Ports.
    pub ports: Vec<u16>,
}

/// Checks references and conflicts among `resources`. `services` are those of the platform
/// (`None` if unknown: then references to hosts are not checked).
pub fn analyse(
    resources: &[Resource],
    services: Option<&[KnownService]>,
    mesh: &MeshConfig,
) -> Vec<Finding> {
    let _ = (resources, services, mesh);
    Vec::new()
}
