//! What the proxies of one namespace see: Istio's `exportTo` and Sidecar egress.

use std::sync::Arc;

use super::{DOMAIN, RouteRule, Snapshot, destination_rules::covers};
use crate::model::{Registry, Service};
use crate::translate::{Proxy, ProxyKind};
use hashbrown::{HashMap, HashSet};
use mesh_config::{
    HostPattern, Object, Sidecar,
    gateway::NamespaceScope,
    sidecar::{EgressHost, EgressListener, OutboundMode},
    virtual_service::HttpAction,
};

/// What a scope depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeKey {
    /// Namespace of the proxies.
    pub namespace: String,
    /// What they are for.
    pub kind: ProxyKind,
    /// Namespace and name of the Sidecar.
    sidecar: Option<(String, String)>,
}

/// What the proxies of one namespace, kind and Sidecar see.
#[derive(Debug)]
pub struct Scope {
    /// Namespace of the proxies.
    pub namespace: String,
    /// The Sidecar that narrows it.
    pub sidecar: Option<Arc<Object<Sidecar>>>,
    /// Outbound listeners; without a Sidecar one for everything.
    pub egress: Vec<Egress>,
    /// Every service of all listeners, once per host, the oldest first.
    pub services: Vec<Arc<Service>>,
    /// What happens to traffic to unknown destinations.
    pub outbound: OutboundMode,
    by_host: HashMap<Arc<str>, Arc<Service>>,
    /// Whether some rule asks for the caller's labels, so that proxies of one scope may differ.
    pub(crate) depends_on_labels: bool,
}

/// One outbound listener of a scope.
#[derive(Debug)]
pub struct Egress {
    /// The listener of the Sidecar; `None` for the one that takes everything.
    pub listener: Option<EgressListener>,
    /// Services that it reaches, the oldest first.
    pub services: Vec<Arc<Service>>,
    /// VirtualServices for sidecars that it sees, the oldest first.
    pub rules: Vec<Arc<RouteRule>>,
}

impl ScopeKey {
    /// The scope of `proxy`.
    pub fn of(snapshot: &Snapshot, proxy: &Proxy) -> Self {
        let labels = snapshot.labels(proxy);
        let sidecar = match proxy.kind {
            ProxyKind::Router => None,
            ProxyKind::Sidecar => snapshot.rules.sidecar(&proxy.namespace, labels),
        };
        Self {
            namespace: proxy.namespace.clone(),
            kind: proxy.kind,
            sidecar: sidecar
                .map(|sidecar| (sidecar.meta.namespace.clone(), sidecar.meta.name.clone())),
        }
    }
}

impl Snapshot {
    /// The labels of a proxy's workload: the pod's, or those of the node while the pod is unknown.
    pub fn labels<'a>(&'a self, proxy: &'a Proxy) -> &'a crate::model::Labels {
        match self.registry.workload(proxy.ip) {
            Some(workload) if workload.namespace == proxy.namespace => &workload.labels,
            _ => &proxy.labels,
        }
    }
}

impl Scope {
    pub(super) fn build(snapshot: &Snapshot, key: &ScopeKey) -> Self {
        let sidecar = key.sidecar.as_ref().and_then(|(namespace, name)| {
            let mut sidecars = snapshot.rules.sidecars.iter();
            sidecars
                .find(|sidecar| sidecar.meta.namespace == *namespace && sidecar.meta.name == *name)
        });
        let visible = visible(snapshot, &key.namespace);
        let rules: Vec<_> = snapshot
            .rules
            .virtual_services
            .iter()
            .filter(|rule| rule.for_mesh() && rule.export_to.visible_in(&key.namespace))
            .cloned()
            .collect();
        let listeners = sidecar.map_or(&[][..], |sidecar| &sidecar.spec.egress);
        let egress: Vec<Egress> = if listeners.is_empty() {
            vec![Egress {
                listener: None,
                services: visible,
                rules,
            }]
        } else {
            listeners
                .iter()
                .map(|listener| narrow(snapshot, listener, &visible, &rules))
                .collect()
        };
        let services = merged(&egress);
        let outbound = sidecar
            .and_then(|sidecar| sidecar.spec.outbound_traffic_policy)
            .unwrap_or(snapshot.mesh.outbound_traffic_policy);
        let depends_on_labels = snapshot.rules.destination_rules.depend_on_labels()
            || egress
                .iter()
                .flat_map(|egress| &egress.rules)
                .any(|rule| asks_for_labels(rule));
        Self {
            namespace: key.namespace.clone(),
            sidecar: sidecar.cloned(),
            depends_on_labels,
            egress,
            by_host: services
                .iter()
                .map(|service| (service.hostname.clone(), service.clone()))
                .collect(),
            services,
            outbound,
        }
    }

    /// The service with this host that the proxies see.
    pub fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.by_host.get(host)
    }
}

/// Every visible service, once per host: the client's own namespace first, then Kubernetes'
/// definition, then the oldest.
fn visible(snapshot: &Snapshot, namespace: &str) -> Vec<Arc<Service>> {
    let mut chosen: HashMap<&str, usize> = HashMap::new();
    let mut out: Vec<Arc<Service>> = Vec::new();
    let rank = |service: &Service| {
        (
            service.namespace != namespace,
            service.registry != Registry::Kubernetes,
        )
    };
    for service in snapshot.registry.services() {
        if !service.export_to.visible_in(namespace) {
            continue;
        }
        match chosen.get(&*service.hostname) {
            Some(index) if rank(service) < rank(&out[*index]) => out[*index] = service.clone(),
            Some(_) => {}
            None => {
                chosen.insert(&service.hostname, out.len());
                out.push(service.clone());
            }
        }
    }
    out
}

fn narrow(
    snapshot: &Snapshot,
    listener: &EgressListener,
    visible: &[Arc<Service>],
    rules: &[Arc<RouteRule>],
) -> Egress {
    let rules: Vec<_> = rules
        .iter()
        .filter(|rule| {
            let owner = &rule.object.meta.namespace;
            listener.hosts.iter().any(|host| {
                host.namespace.contains(owner)
                    && rule.hosts.iter().any(|own| host.host.overlaps(own))
            })
        })
        .cloned()
        .collect();
    let destinations: HashSet<String> = rules
        .iter()
        .flat_map(|rule| destinations(rule))
        .map(|host| snapshot.registry.alias_end(&host).to_owned())
        .collect();
    let services = visible
        .iter()
        .filter(|service| {
            let listed = listener.hosts.iter().any(|host| contains(host, service));
            // Istio: what an imported VirtualService routes to is imported with it.
            listed || destinations.contains(&*service.hostname)
        })
        .filter_map(|service| only_port(service, listener))
        .collect();
    Egress {
        listener: Some(listener.clone()),
        services,
        rules,
    }
}

fn contains(host: &EgressHost, service: &Service) -> bool {
    !matches!(host.namespace, NamespaceScope::None)
        && host.namespace.contains(&service.namespace)
        && covers(&host.host, &service.hostname)
}

/// Every service once, with all the ports that some listener reaches.
fn merged(egress: &[Egress]) -> Vec<Arc<Service>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut services: Vec<Arc<Service>> = Vec::new();
    for service in egress.iter().flat_map(|egress| &egress.services) {
        let Some(known) = places.get(&*service.hostname) else {
            places.insert(&service.hostname, services.len());
            services.push(service.clone());
            continue;
        };
        let known = &mut services[*known];
        let more: Vec<_> = service
            .ports
            .iter()
            .filter(|port| known.port(port.number).is_none())
            .cloned()
            .collect();
        if !more.is_empty() {
            Arc::make_mut(known).ports.extend(more);
        }
    }
    services
}

/// A listener with a port reaches only that port of its services.
fn only_port(service: &Arc<Service>, listener: &EgressListener) -> Option<Arc<Service>> {
    let Some(port) = &listener.port else {
        return Some(service.clone());
    };
    let own = service.port(port.number.get())?.clone();
    let mut service = Service::clone(service);
    service.ports = vec![own];
    Some(Arc::new(service))
}

/// Whether a condition of a VirtualService is about the caller's labels.
fn asks_for_labels(rule: &RouteRule) -> bool {
    let spec = &rule.object.spec;
    let http = spec.http.iter().flat_map(|route| &route.matches);
    let tls = spec.tls.iter().flat_map(|route| &route.matches);
    let tcp = spec.tcp.iter().flat_map(|route| &route.matches);
    http.map(|condition| &condition.source)
        .chain(tls.map(|condition| &condition.connection.source))
        .chain(tcp.map(|condition| &condition.source))
        .any(|source| !source.labels.is_empty())
}

/// Hosts that a VirtualService routes to, fully qualified.
fn destinations(rule: &RouteRule) -> Vec<String> {
    let namespace = &rule.object.meta.namespace;
    let spec = &rule.object.spec;
    let http = spec.http.iter().flat_map(|route| match &route.action {
        HttpAction::Forward(forward) => forward
            .destinations
            .iter()
            .map(|destination| &destination.destination)
            .chain(forward.mirrors.iter().map(|mirror| &mirror.destination))
            .collect(),
        _ => Vec::new(),
    });
    let tls = spec.tls.iter().flat_map(|route| &route.destinations);
    let tcp = spec.tcp.iter().flat_map(|route| &route.destinations);
    http.chain(tls.chain(tcp).map(|destination| &destination.destination))
        .map(|destination| destination.host.qualify(namespace, DOMAIN).to_string())
        .collect()
}

/// The rule that governs a service for sidecars: the most specific host, then the oldest object.
pub(crate) fn rule_for<'a>(
    rules: &'a [Arc<RouteRule>],
    service: &Service,
) -> Option<&'a Arc<RouteRule>> {
    let mut best: Option<(&HostPattern, &Arc<RouteRule>)> = None;
    for rule in rules {
        let matching = rule
            .hosts
            .iter()
            .filter(|pattern| covers(pattern, &service.hostname))
            .min();
        if let Some(pattern) = matching
            && best.is_none_or(|(known, _)| pattern < known)
        {
            best = Some((pattern, rule));
        }
    }
    best.map(|(_, rule)| rule)
}
