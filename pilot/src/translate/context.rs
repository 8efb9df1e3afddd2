//! What every builder reads: the snapshot as one proxy sees it.

use std::cell::OnceCell;
use std::sync::Arc;

use mesh_config::decode;
use mesh_config::{MeshConfig, ProxyConfig, peer_authentication::EffectiveMtls};

use super::{Proxy, ProxyKind};
use crate::model::{Labels, Resolution, Service, ServicePort, TlsMode};
use crate::snapshot::{
    DOMAIN, MergedGateway, MergedRule, Registry, Scope, ServiceTarget, Snapshot,
};

/// One proxy's view, for one call of [`super::resources`].
pub(crate) struct Context<'a> {
    /// Everything.
    pub(crate) snapshot: &'a Snapshot,
    /// The proxy that asks.
    pub(crate) proxy: &'a Proxy,
    /// What it sees.
    pub(crate) scope: Arc<Scope>,
    /// Labels of its workload.
    pub(crate) labels: &'a Labels,
    targets: OnceCell<Vec<ServiceTarget>>,
    gateway: OnceCell<MergedGateway>,
    mtls: OnceCell<EffectiveMtls>,
    config: OnceCell<ProxyConfig>,
}

impl<'a> Context<'a> {
    /// The view of `proxy`.
    pub(crate) fn new(snapshot: &'a Snapshot, proxy: &'a Proxy) -> Self {
        Self {
            snapshot,
            proxy,
            scope: snapshot.scope(proxy),
            labels: snapshot.labels(proxy),
            targets: OnceCell::new(),
            gateway: OnceCell::new(),
            mtls: OnceCell::new(),
            config: OnceCell::new(),
        }
    }

    /// Mesh-wide settings.
    pub(crate) fn mesh(&self) -> &'a MeshConfig {
        &self.snapshot.mesh
    }

    /// The proxy's settings: the mesh's, under those of its pod's annotation. The injector has
    /// refused a bad annotation; where none looked, the mesh's settings hold.
    pub(crate) fn config(&self) -> &ProxyConfig {
        self.config.get_or_init(|| {
            let base = &self.mesh().default_config;
            let own = self.proxy.own_config().map(|text| {
                decode::proxy_config(text, base, &self.proxy.id).inspect_err(
                    |error| tracing::warn!(proxy = self.proxy.id, %error, "settings of the pod are not used"),
                )
            });
            match own {
                Some(Ok(config)) => config,
                _ => base.clone(),
            }
        })
    }

    /// Whether the proxy is beside an application.
    pub(crate) fn is_sidecar(&self) -> bool {
        self.proxy.kind == ProxyKind::Sidecar
    }

    /// The service ports that lead to the proxy's workload, the oldest service first.
    pub(crate) fn targets(&self) -> &[ServiceTarget] {
        self.targets.get_or_init(|| {
            self.snapshot
                .registry
                .targets(self.proxy.ip, &self.proxy.namespace, self.labels)
        })
    }

    /// The listeners of a gateway proxy.
    pub(crate) fn gateway(&self) -> &MergedGateway {
        self.gateway.get_or_init(|| {
            MergedGateway::build(&self.snapshot.rules.gateways, self.labels, self.targets())
        })
    }

    /// What the proxy's own workload demands of its callers.
    pub(crate) fn own_mtls(&self) -> &EffectiveMtls {
        self.mtls
            .get_or_init(|| self.snapshot.rules.mtls(&self.proxy.namespace, self.labels))
    }

    /// The DestinationRule that this client uses towards a service.
    pub(crate) fn destination_rule(&self, service: &Service) -> Option<&'a Arc<MergedRule>> {
        self.snapshot
            .rules
            .destination_rules
            .find(service, &self.proxy.namespace, self.labels)
    }

    /// The identities that the servers of a service may show.
    pub(crate) fn identities(&self, service: &Service) -> Vec<String> {
        self.snapshot
            .registry
            .identities(service, &self.mesh().trust_domain)
    }

    /// The service with this host, as seen by the proxy. A gateway's routes may lead to services
    /// that are visible to the namespace of the route only.
    pub(crate) fn service(&self, host: &str, namespace: &str) -> Option<Arc<Service>> {
        if !self.is_sidecar() {
            let defined = self.snapshot.registry.with_host(host);
            let own = defined.iter().find(|service| {
                service.namespace == namespace
                    && service.export_to.visible_in(&self.proxy.namespace)
            });
            if let Some(service) = own {
                return Some(service.clone());
            }
        }
        self.scope.service(host).cloned()
    }

    /// Whether clients can use mesh mTLS towards every endpoint of a headless service's port.
    pub(crate) fn all_in_mesh(&self, service: &Service, port: &ServicePort) -> bool {
        let endpoints = self.snapshot.registry.endpoints(service);
        let mut any = false;
        for endpoint in Registry::port_endpoints(&endpoints, port) {
            any = true;
            if endpoint.tls_mode() == TlsMode::Disabled {
                return false;
            }
        }
        any
    }

    /// Whether a cluster for the service takes its endpoints from where the client was going.
    pub(crate) fn goes_to_original_destination(&self, service: &Service) -> bool {
        // A gateway has no original destination: it balances over the endpoints (Istio).
        service.resolution == Resolution::Passthrough && self.is_sidecar()
    }

    /// A host as a rule in `namespace` means it.
    pub(crate) fn qualify(host: &mesh_config::Host, namespace: &str) -> String {
        host.qualify(namespace, DOMAIN).to_string()
    }
}
