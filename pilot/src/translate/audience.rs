//! Who gets the same resources, and what their builders may know of a proxy.
//!
//! Most of what a proxy gets is not about itself: clusters, endpoints, outbound listeners and
//! routes of the services that it sees. Their builders are given a [`View`] instead of the proxy.
//! All that a view knows besides the snapshot is its [`Audience`], which is also the key under which the
//! results are kept ([`Shared`]): a builder cannot read what the key does not hold.

use std::cell::OnceCell;
use std::sync::Arc;

use mesh_config::decode;
use mesh_config::{MeshConfig, ProxyConfig};

use super::shared::Shared;
use super::{Proxy, ProxyKind};
use crate::model::{Labels, Resolution, Service, ServicePort, TlsMode};
use crate::snapshot::{DOMAIN, MergedRule, Registry, Scope, ScopeKey, Snapshot};

/// Everything about a proxy that shared resources may depend on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Audience {
    /// Namespace, kind and Sidecar.
    scope: ScopeKey,
    /// Labels of the workload, where some rule chooses callers by theirs.
    labels: Option<Labels>,
    /// Whether its address is one of IPv4.
    ipv4: bool,
    /// Whether traffic is redirected to it.
    intercepts: bool,
    cluster_id: String,
    dns_domain: String,
    /// What its pod's annotation says about the proxy.
    own_config: Option<String>,
}

impl Audience {
    /// Which scope it sees.
    pub(crate) fn scope(&self) -> &ScopeKey {
        &self.scope
    }

    /// The audience that `proxy` belongs to.
    pub(super) fn of(snapshot: &Snapshot, proxy: &Proxy) -> Self {
        let scope = ScopeKey::of(snapshot, proxy);
        // Gateways match labels by the rules of Gateways, which no scope holds.
        let by_labels = proxy.kind == ProxyKind::Router || snapshot.scope(&scope).depends_on_labels;
        let mode = proxy.metadata.get("INTERCEPTION_MODE");
        Self {
            scope,
            labels: by_labels.then(|| snapshot.labels(proxy).clone()),
            ipv4: proxy.ip.is_ipv4(),
            intercepts: mode.map(String::as_str) != Some("NONE"),
            cluster_id: proxy.cluster_id().to_owned(),
            dns_domain: proxy.dns_domain.clone(),
            own_config: proxy.own_config().map(str::to_owned),
        }
    }
}

/// What the builders of shared resources read: the snapshot as an audience sees it.
pub(crate) struct View<'a> {
    /// Everything.
    pub(crate) snapshot: &'a Snapshot,
    /// What the audience sees.
    pub(crate) scope: Arc<Scope>,
    /// What was built for it so far.
    pub(super) shared: Arc<Shared>,
    config: OnceCell<ProxyConfig>,
}

impl<'a> View<'a> {
    /// The view of the proxies like `proxy`.
    pub(super) fn new(snapshot: &'a Snapshot, proxy: &Proxy) -> Self {
        let shared = snapshot.shared(Audience::of(snapshot, proxy));
        shared.note_use();
        Self {
            snapshot,
            scope: shared.scope(),
            shared,
            config: OnceCell::new(),
        }
    }

    fn audience(&self) -> &Audience {
        self.shared.audience()
    }

    /// Mesh-wide settings.
    pub(crate) fn mesh(&self) -> &'a MeshConfig {
        &self.snapshot.mesh
    }

    /// The proxies' settings: the mesh's, under those of their pods' annotation. The injector has
    /// refused a bad annotation; where none looked, the mesh's settings hold.
    pub(crate) fn config(&self) -> &ProxyConfig {
        self.config.get_or_init(|| {
            let base = &self.mesh().default_config;
            let namespace = self.namespace();
            let own = self.audience().own_config.as_ref().map(|text| {
                decode::proxy_config(text, base, namespace).inspect_err(
                    |error| tracing::warn!(namespace, %error, "settings of a pod are not used"),
                )
            });
            match own {
                Some(Ok(config)) => config,
                _ => base.clone(),
            }
        })
    }

    /// Whether the proxies are beside applications.
    pub(crate) fn is_sidecar(&self) -> bool {
        self.audience().scope.kind == ProxyKind::Sidecar
    }

    /// Namespace of the proxies.
    pub(crate) fn namespace(&self) -> &str {
        &self.scope.namespace
    }

    /// The labels by which rules choose callers; empty where no rule does.
    pub(crate) fn caller_labels(&self) -> &Labels {
        static NONE: Labels = Labels::new();
        self.audience().labels.as_ref().unwrap_or(&NONE)
    }

    /// Whether the proxies' addresses are those of IPv4.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.audience().ipv4
    }

    /// Whether traffic is redirected to the proxies; without that, listeners are bound where
    /// applications and peers dial them.
    pub(crate) fn intercepts(&self) -> bool {
        self.audience().intercepts
    }

    /// The cluster that the proxies belong to.
    pub(crate) fn cluster_id(&self) -> &str {
        &self.audience().cluster_id
    }

    /// Search domain of the proxies: `NAMESPACE.svc.cluster.local`.
    pub(crate) fn dns_domain(&self) -> &str {
        &self.audience().dns_domain
    }

    /// The DestinationRule that these clients use towards a service.
    pub(crate) fn destination_rule(&self, service: &Service) -> Option<&'a Arc<MergedRule>> {
        self.snapshot
            .rules
            .destination_rules
            .find(service, self.namespace(), self.caller_labels())
    }

    /// The identities that the servers of a service may show.
    pub(crate) fn identities(&self, service: &Service) -> Vec<String> {
        self.snapshot
            .registry
            .identities(service, &self.mesh().trust_domain)
    }

    /// The service with this host, as seen by the proxies. A gateway's routes may lead to services
    /// that are visible to the namespace of the route only.
    pub(crate) fn service(&self, host: &str, namespace: &str) -> Option<Arc<Service>> {
        if !self.is_sidecar() {
            let defined = self.snapshot.registry.with_host(host);
            let own = defined.iter().find(|service| {
                service.namespace == namespace && service.export_to.visible_in(self.namespace())
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

    /// The host to which a rule in `namespace` sends requests by this name.
    pub(crate) fn destination(&self, host: &mesh_config::Host, namespace: &str) -> String {
        let host = host.qualify(namespace, DOMAIN).to_string();
        self.snapshot.registry.alias_end(&host).to_owned()
    }
}
