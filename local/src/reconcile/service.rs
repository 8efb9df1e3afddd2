//! Services: addresses, endpoints, DNS names, and rules of the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::Controller;
use super::endpoints::{self, Candidate, Slice};
use crate::dns::{Target, Zone};
use crate::net::{Protocol, ServicePort};
use crate::objects::{Body, Key};
use crate::publish::Wish;

/// A Service with what the platform found for it.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    /// The Service.
    pub(super) key: Key,
    /// As its author wrote it.
    pub(super) object: Arc<Service>,
    /// Its address; `None` for headless ones.
    pub(super) cluster_ip: Option<Ipv4Addr>,
    /// Node ports by ports.
    pub(super) node_ports: BTreeMap<u16, u16>,
    /// Its endpoints.
    pub(super) slices: Vec<Slice>,
}

impl Resolved {
    fn spec(&self) -> &ServiceSpec {
        static EMPTY: std::sync::LazyLock<ServiceSpec> =
            std::sync::LazyLock::new(ServiceSpec::default);
        self.object.spec.as_ref().unwrap_or(&EMPTY)
    }

    pub(super) fn kind(&self) -> &str {
        self.spec().type_.as_deref().unwrap_or("ClusterIP")
    }

    /// Name, port and protocol of every port.
    pub(super) fn ports(&self) -> Vec<(Option<String>, u16, String)> {
        let ports = self.spec().ports.iter().flatten();
        ports
            .filter_map(|port| {
                let number = u16::try_from(port.port).ok()?;
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                Some((port.name.clone(), number, protocol))
            })
            .collect()
    }

    fn domain(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.key.name, self.key.namespace)
    }

    /// The rules of the node for this Service.
    fn rules(&self) -> Vec<ServicePort> {
        let Some(address) = self.cluster_ip else {
            return Vec::new();
        };
        let rule = |(_, port, protocol): (Option<String>, u16, String)| {
            let protocol_kind = match protocol.as_str() {
                "TCP" => Protocol::Tcp,
                "UDP" => Protocol::Udp,
                _ => return None,
            };
            let mut ready = BTreeSet::new();
            for slice in &self.slices {
                let same = slice.ports.iter().find(|candidate| {
                    candidate.service_port == port && candidate.protocol == protocol
                });
                let Some(target) = same else { continue };
                let endpoints = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
                ready.extend(
                    endpoints.map(|endpoint| SocketAddrV4::new(endpoint.address, target.target)),
                );
            }
            Some(ServicePort {
                address,
                port,
                protocol: protocol_kind,
                endpoints: ready,
            })
        };
        self.ports().into_iter().filter_map(rule).collect()
    }

    /// Adds the names of this Service.
    fn name(&self, zone: &mut Zone) {
        let domain = self.domain();
        if let Some(host) = self.spec().external_name.as_deref()
            && self.kind() == "ExternalName"
        {
            zone.add_alias(&domain, host);
            return;
        }
        if let Some(address) = self.cluster_ip {
            zone.add_addresses(&domain, &[address]);
            for (name, port, protocol) in self.ports() {
                let Some(name) = name else { continue };
                let target = Target {
                    host: domain.clone(),
                    port,
                };
                zone.add_service(&service_name(&name, &protocol, &domain), vec![target]);
            }
            return;
        }
        zone.add_addresses(&domain, &[]);
        for slice in &self.slices {
            for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
                zone.add_addresses(&domain, &[endpoint.address]);
                let host = endpoint.hostname.clone();
                let host = host.unwrap_or_else(|| endpoint.address.to_string().replace('.', "-"));
                let host = format!("{host}.{domain}");
                zone.add_addresses(&host, &[endpoint.address]);
                for port in slice.ports.iter().filter(|port| !port.name.is_empty()) {
                    let target = Target {
                        host: host.clone(),
                        port: port.target,
                    };
                    let name = service_name(&port.name, &port.protocol, &domain);
                    zone.add_service(&name, vec![target]);
                }
            }
        }
    }
}

fn service_name(port: &str, protocol: &str, domain: &str) -> String {
    format!("_{port}._{}.{domain}", protocol.to_ascii_lowercase())
}

impl Controller {
    /// Finds addresses and endpoints of every Service, and names them.
    pub(super) fn resolve_services(&mut self) {
        let services: Vec<(Key, Service)> = self
            .world
            .values()
            .filter_map(|manifest| match &manifest.body {
                Body::Service(object) => {
                    let mut object = (**object).clone();
                    object.metadata.namespace = Some(manifest.key.namespace.clone());
                    Some((manifest.key.clone(), object))
                }
                _ => None,
            })
            .collect();
        // Addresses that are asked for come first, so that a free choice doesn't take them.
        let (asking, others): (Vec<_>, Vec<_>) = services
            .into_iter()
            .partition(|(_, object)| wanted_address(object).is_ok_and(|ip| ip.is_some()));
        let mut resolved = Vec::new();
        for (key, object) in asking.into_iter().chain(others) {
            match self.resolve(&key, &object) {
                Ok(service) => {
                    self.problems.remove(&key.to_string());
                    resolved.push(service);
                }
                Err(problem) => self.problem(&key.to_string(), &format!("{key}: {problem}")),
            }
        }
        resolved.sort_by(|left, right| left.key.cmp(&right.key));
        let mut zone = Zone::default();
        zone.add_addresses("kubernetes.default.svc.cluster.local", &[crate::net::API]);
        zone.add_addresses("kube-dns.kube-system.svc.cluster.local", &[crate::net::DNS]);
        for service in &resolved {
            service.name(&mut zone);
        }
        self.setup.zone.send_if_modified(|present| {
            let changed = **present != zone;
            if changed {
                *present = Arc::new(zone);
            }
            changed
        });
        self.services = resolved;
    }

    fn resolve(&mut self, key: &Key, object: &Service) -> Result<Resolved, String> {
        let spec = object.spec.clone().unwrap_or_default();
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        let headless = spec.cluster_ip.as_deref() == Some("None");
        let cluster_ip = match kind {
            "ExternalName" => None,
            "ClusterIP" if headless => None,
            "ClusterIP" | "NodePort" | "LoadBalancer" => {
                Some(self.assigned.cluster_ip(key, wanted_address(object)?)?)
            }
            other => return Err(format!("spec.type: {other} is not a type of Service")),
        };
        let mut node_ports = BTreeMap::new();
        if matches!(kind, "NodePort" | "LoadBalancer") {
            for port in spec.ports.iter().flatten() {
                let number = u16::try_from(port.port)
                    .map_err(|_| format!("spec.ports: {} is no port", port.port))?;
                let wanted = port.node_port.and_then(|port| u16::try_from(port).ok());
                let wanted = wanted.filter(|port| *port != 0);
                node_ports.insert(number, self.assigned.node_port(key, number, wanted)?);
            }
        }
        let candidates = self.pods.values().filter_map(|pod| {
            let observed = pod.observed();
            let address = observed.address?;
            (!observed.gone).then(|| Candidate {
                pod: pod.handle.pod(),
                address,
                ready: observed.ready(),
                terminating: pod.deleting.is_some(),
            })
        });
        let slices = endpoints::slices(object, candidates);
        let object = Arc::new(object.clone());
        Ok(Resolved {
            key: key.clone(),
            object,
            cluster_ip,
            node_ports,
            slices,
        })
    }

    /// Gives the node its rules, if they changed.
    pub(super) async fn install_services(&mut self) {
        let mut rules: Vec<ServicePort> = self.services.iter().flat_map(Resolved::rules).collect();
        rules.sort();
        if rules == self.installed {
            return;
        }
        match self.setup.node.network.set_services(&rules).await {
            Ok(()) => {
                self.installed = rules;
                self.problems.remove("rules");
            }
            Err(error) => self.problem("rules", &crate::chain(&error)),
        }
    }

    /// Opens and closes published ports.
    pub(super) async fn publish(&mut self) {
        let mut wishes = Vec::new();
        for service in &self.services {
            let Some(address) = service.cluster_ip else {
                continue;
            };
            for (_, port, protocol) in service.ports() {
                if protocol == "TCP" {
                    wishes.push(Wish {
                        namespace: service.key.namespace.clone(),
                        service: service.key.name.clone(),
                        port,
                        target: (address, port).into(),
                        balanced: service.kind() == "LoadBalancer",
                        node_port: service
                            .node_ports
                            .get(&port)
                            .copied()
                            .filter(|_| service.kind() == "NodePort"),
                    });
                }
            }
        }
        let failures = self
            .setup
            .publisher
            .update(&self.setup.node.network, &wishes)
            .await;
        self.problems_of("publish", failures);
    }
}

/// `spec.clusterIP`, if it names an address.
fn wanted_address(object: &Service) -> Result<Option<Ipv4Addr>, String> {
    let written = object
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref());
    match written {
        None | Some("" | "None") => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| format!("spec.clusterIP: {text} is not an IPv4 address")),
    }
}
