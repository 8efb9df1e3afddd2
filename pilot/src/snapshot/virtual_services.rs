//! VirtualServices with their hosts resolved, in the order in which they win.

use std::sync::Arc;

use mesh_config::{HostPattern, MeshConfig, Object, VirtualService, virtual_service::GatewayRef};

use super::DOMAIN;
use crate::model::ExportTo;

/// A VirtualService, ready to be looked up.
#[derive(Debug)]
pub struct RouteRule {
    /// The object.
    pub object: Arc<Object<VirtualService>>,
    /// Its hosts; short names are resolved to its namespace.
    pub hosts: Vec<HostPattern>,
    /// Who sees it.
    pub export_to: ExportTo,
}

impl RouteRule {
    /// Whether the rule applies to sidecars.
    pub fn for_mesh(&self) -> bool {
        self.object.spec.gateways.contains(&GatewayRef::Mesh)
    }

    /// Whether the rule applies to a gateway.
    pub fn for_gateway(&self, namespace: &str, name: &str) -> bool {
        self.object.spec.gateways.iter().any(|gateway| {
            matches!(gateway, GatewayRef::Gateway { namespace: ns, name: n } if ns == namespace && n == name)
        })
    }

    /// Whether one of its hosts covers `host` (a concrete name, or a service's own pattern).
    pub fn covers(&self, host: &HostPattern) -> bool {
        self.hosts.iter().any(|own| own.covers(host))
    }
}

/// Sorts by precedence (oldest first) and resolves hosts.
pub(super) fn index(
    objects: &[Arc<Object<VirtualService>>],
    mesh: &MeshConfig,
) -> Vec<Arc<RouteRule>> {
    let mut objects = objects.to_vec();
    objects.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
    objects
        .into_iter()
        .map(|object| {
            let namespace = &object.meta.namespace;
            Arc::new(RouteRule {
                hosts: object
                    .spec
                    .hosts
                    .iter()
                    .map(|host| host.qualify(namespace, DOMAIN))
                    .collect(),
                export_to: ExportTo::resolve(
                    &object.spec.export_to,
                    &mesh.default_virtual_service_export_to,
                    namespace,
                ),
                object,
            })
        })
        .collect()
}
