//! Other names of services: Kubernetes Services of type ExternalName.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use mesh_config::visibility::DefaultExport;

use super::{ExportTo, service};

/// A name that the cluster's DNS answers with another name.
///
/// Its ports mean nothing, as in Kubernetes. Requests for it are routed as those for what it leads
/// to, when that is a service of the mesh; otherwise it is a name like any other outside the mesh.
///
/// Source: Istio since 1.21 (`ENABLE_EXTERNAL_NAME_ALIAS`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Fully qualified: `db.default.svc.cluster.local`.
    pub hostname: Arc<str>,
    /// `spec.externalName`, without a trailing dot.
    pub target: Arc<str>,
    /// Who sees it.
    pub export_to: ExportTo,
}

/// The alias that a Kubernetes Service is; `None` for every other type of Service.
///
/// `domain` and `default`: as for [`service::from_kubernetes`].
pub fn from_kubernetes(
    object: &core::Service,
    domain: &str,
    default: &DefaultExport,
) -> Option<Alias> {
    let meta = &object.metadata;
    let spec = object.spec.as_ref()?;
    if spec.type_.as_deref() != Some("ExternalName") {
        return None;
    }
    let (name, namespace) = (meta.name.as_ref()?, meta.namespace.as_ref()?);
    let target = spec.external_name.as_deref()?;
    Some(Alias {
        hostname: format!("{name}.{namespace}.svc.{domain}").into(),
        target: target.trim_end_matches('.').to_ascii_lowercase().into(),
        export_to: service::export_to(meta, default, namespace),
    })
}
