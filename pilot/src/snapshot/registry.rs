//! Services, workloads and endpoints, indexed.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use mesh_config::MeshConfig;

use super::{DOMAIN, Inputs, Problem, aliases::Aliases};
use crate::model::{
    self, Alias, Endpoint, Labels, Locality, Service, ServicePort, Workload, alias, endpoint,
    selects, service,
    service_entry::{self, Instance},
};

/// Key of a service: a host may be defined in several namespaces.
type ServiceKey = (String, Arc<str>);

/// Services, workloads and endpoints.
#[derive(Debug, Default)]
pub struct Registry {
    services: Vec<Arc<Service>>,
    by_host: HashMap<Arc<str>, Vec<Arc<Service>>>,
    endpoints: HashMap<ServiceKey, Arc<[Endpoint]>>,
    by_ip: HashMap<IpAddr, Arc<Workload>>,
    /// Services with a selector, by namespace.
    selecting: HashMap<String, Vec<Arc<Service>>>,
    aliases: Aliases,
}

/// A port of a service and the port of the workload that it leads to.
#[derive(Clone, Debug)]
pub struct ServiceTarget {
    /// The service.
    pub service: Arc<Service>,
    /// Its port.
    pub port: ServicePort,
    /// The workload's port.
    pub target: u16,
}

impl Registry {
    /// Indexes the inputs.
    pub(super) fn build(inputs: &Inputs, mesh: &MeshConfig, problems: &mut Vec<Problem>) -> Self {
        let mut registry = Self::default();
        let mut pods: HashMap<String, Vec<Arc<Workload>>> = HashMap::new();
        let nodes: HashMap<&str, &Locality> = inputs
            .nodes
            .iter()
            .map(|node| (node.node.as_str(), &node.locality))
            .collect();
        for workload in inputs.pods.iter().filter(|pod| !pod.addresses.is_empty()) {
            let workload = located(workload, &nodes);
            for ip in &workload.addresses {
                registry.by_ip.insert(*ip, workload.clone());
            }
            pods.entry(workload.namespace.clone())
                .or_default()
                .push(workload);
        }
        let mut entries: HashMap<String, Vec<Instance>> = HashMap::new();
        for entry in &inputs.workload_entries {
            let meta = &entry.meta;
            let instance =
                service_entry::instance(&entry.spec, &meta.namespace, &meta.name, &meta.labels);
            if let Some(instance) = instance {
                for ip in &instance.workload.addresses {
                    registry
                        .by_ip
                        .entry(*ip)
                        .or_insert_with(|| instance.workload.clone());
                }
                entries
                    .entry(meta.namespace.clone())
                    .or_default()
                    .push(instance);
            }
        }
        registry.add_kubernetes(inputs, mesh, &entries, problems);
        registry.add_entries(inputs, mesh, &entries, &pods);
        registry.index();
        registry
    }

    fn add_kubernetes(
        &mut self,
        inputs: &Inputs,
        mesh: &MeshConfig,
        entries: &HashMap<String, Vec<Instance>>,
        problems: &mut Vec<Problem>,
    ) {
        let mut slices: HashMap<(&str, &str), Vec<_>> = HashMap::new();
        for slice in &inputs.endpoint_slices {
            let meta = &slice.metadata;
            let name = meta
                .labels
                .as_ref()
                .and_then(|labels| labels.get(endpoint::SERVICE_NAME_LABEL));
            if let (Some(namespace), Some(name)) = (&meta.namespace, name) {
                slices.entry((namespace, name)).or_default().push(slice);
            }
        }
        for object in &inputs.services {
            let default = &mesh.default_service_export_to;
            if let Some(alias) = alias::from_kubernetes(object, DOMAIN, default) {
                self.aliases.add(alias);
                continue;
            }
            let service = match service::from_kubernetes(object, DOMAIN, default) {
                Ok(service) => service,
                Err(error) => {
                    problems.push(service_problem(object, &error));
                    continue;
                }
            };
            let key = (service.namespace.as_str(), service.name.as_str());
            let mut endpoints: Vec<Endpoint> = slices
                .get(&key)
                .into_iter()
                .flatten()
                .flat_map(|slice| {
                    endpoint::from_slice(slice, service.publish_not_ready, |ip| {
                        self.by_ip.get(&ip).cloned()
                    })
                })
                .collect();
            // Istio: a Service also selects the WorkloadEntries of its namespace.
            if let Some(selector) = &service.selector {
                let machines = entries.get(&service.namespace).into_iter().flatten();
                endpoints.extend(
                    machines
                        .filter(|instance| selects(selector, &instance.workload.labels))
                        .flat_map(|instance| service_entry::of_instance(instance, &service)),
                );
            }
            self.add(service, endpoints);
        }
    }

    fn add_entries(
        &mut self,
        inputs: &Inputs,
        mesh: &MeshConfig,
        entries: &HashMap<String, Vec<Instance>>,
        pods: &HashMap<String, Vec<Arc<Workload>>>,
    ) {
        for object in &inputs.service_entries {
            for service in service_entry::services(object, &mesh.default_service_export_to) {
                let mut endpoints = service_entry::inline(object, &service);
                if let Some(selector) = &service.selector {
                    let machines = entries.get(&service.namespace).into_iter().flatten();
                    let pods = pods
                        .get(&service.namespace)
                        .into_iter()
                        .flatten()
                        .filter(|_| !service.is_dns())
                        .filter_map(service_entry::of_pod);
                    let selected: Vec<Instance> = machines
                        .cloned()
                        .chain(pods)
                        .filter(|instance| selects(selector, &instance.workload.labels))
                        .collect();
                    endpoints.extend(
                        selected
                            .iter()
                            .flat_map(|instance| service_entry::of_instance(instance, &service)),
                    );
                }
                self.add(service, endpoints);
            }
        }
    }

    fn add(&mut self, service: Service, mut endpoints: Vec<Endpoint>) {
        let key = (service.namespace.clone(), service.hostname.clone());
        if let Some(known) = self.endpoints.get(&key) {
            endpoints.splice(0..0, known.iter().cloned());
        } else {
            self.services.push(Arc::new(service));
        }
        endpoints.sort_by(|a, b| {
            (&a.locality, &a.address, a.port, &a.port_name).cmp(&(
                &b.locality,
                &b.address,
                b.port,
                &b.port_name,
            ))
        });
        endpoints.dedup();
        self.endpoints.insert(key, endpoints.into());
    }

    /// Oldest first, as Istio resolves conflicts.
    fn index(&mut self) {
        self.services.sort_by(|a, b| {
            (&a.created, &a.name, &a.namespace).cmp(&(&b.created, &b.name, &b.namespace))
        });
        for service in &self.services {
            self.by_host
                .entry(service.hostname.clone())
                .or_default()
                .push(service.clone());
            if service.selector.is_some() {
                self.selecting
                    .entry(service.namespace.clone())
                    .or_default()
                    .push(service.clone());
            }
        }
        let by_host = &self.by_host;
        self.aliases.resolve(|host| by_host.contains_key(host));
    }

    /// Every service, the oldest first.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// The services with this host, one per namespace that defines it.
    pub fn with_host(&self, host: &str) -> &[Arc<Service>] {
        self.by_host.get(host).map_or(&[], Vec::as_slice)
    }

    /// The host that an external name leads to in the end; `host` itself, if it is none.
    pub fn alias_end<'a>(&'a self, host: &'a str) -> &'a str {
        self.aliases.end(host)
    }

    /// The external names that lead to a service, sorted.
    pub fn aliases(&self, host: &str) -> &[Alias] {
        self.aliases.of(host)
    }

    /// The endpoints of a service, of all its ports; those that are not ready too.
    pub fn endpoints(&self, service: &Service) -> Arc<[Endpoint]> {
        self.endpoints
            .get(&(service.namespace.clone(), service.hostname.clone()))
            .cloned()
            .unwrap_or_else(|| Arc::from([]))
    }

    /// The endpoints of one port of a service.
    pub fn port_endpoints<'a>(
        endpoints: &'a [Endpoint],
        port: &'a ServicePort,
    ) -> impl Iterator<Item = &'a Endpoint> {
        endpoints
            .iter()
            .filter(move |endpoint| *endpoint.port_name == *port.name)
    }

    /// The pod or machine with this address.
    pub fn workload(&self, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.by_ip.get(&ip)
    }

    /// The addresses of all known pods and machines.
    pub fn workload_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.by_ip.keys().copied()
    }

    /// The SPIFFE ids that the servers of a service may show: those of its endpoints' accounts and
    /// those that the service itself lists; sorted.
    pub fn identities(&self, service: &Service, trust_domain: &str) -> Vec<String> {
        let mut set: BTreeSet<String> = service.subject_alt_names.iter().cloned().collect();
        for workload in self
            .endpoints(service)
            .iter()
            .filter_map(|endpoint| endpoint.workload.as_ref())
            .filter(|workload| !workload.service_account.is_empty())
        {
            set.insert(format!(
                "spiffe://{trust_domain}/ns/{}/sa/{}",
                workload.namespace, workload.service_account
            ));
        }
        set.into_iter().collect()
    }

    /// The service ports that lead to a workload, the oldest service first.
    ///
    /// Known from selectors, so that a pod has its inbound listeners before it is ready; services
    /// without selector count when an endpoint has the workload's address.
    pub fn targets(&self, ip: IpAddr, namespace: &str, labels: &Labels) -> Vec<ServiceTarget> {
        let workload = self.by_ip.get(&ip);
        let mut out = Vec::new();
        for service in self.selecting.get(namespace).into_iter().flatten() {
            let selector = service.selector.as_ref();
            if !selector.is_some_and(|selector| selects(selector, labels)) {
                continue;
            }
            for port in &service.ports {
                let target = match (&port.target, workload) {
                    (model::TargetPort::Number(number), _) => Some(*number),
                    (target, Some(workload)) => workload.resolve(target),
                    (_, None) => None,
                };
                if let Some(target) = target {
                    out.push(ServiceTarget {
                        service: service.clone(),
                        port: port.clone(),
                        target,
                    });
                }
            }
        }
        let without_selector = self
            .services
            .iter()
            .filter(|service| service.selector.is_none() && !service.is_dns());
        for service in without_selector {
            out.extend(self.listed_targets(service, ip));
        }
        out
    }

    fn listed_targets(&self, service: &Arc<Service>, ip: IpAddr) -> Vec<ServiceTarget> {
        let endpoints = self.endpoints(service);
        endpoints
            .iter()
            .filter(|endpoint| endpoint.address == model::Address::Ip(ip))
            .filter_map(|endpoint| {
                let port = service
                    .ports
                    .iter()
                    .find(|port| port.name == *endpoint.port_name)?;
                Some(ServiceTarget {
                    service: service.clone(),
                    port: port.clone(),
                    target: endpoint.port,
                })
            })
            .collect()
    }
}

/// The workload where its node is, unless it says itself where it is. Newer clusters copy some of a
/// node's labels to its pods: region and zone, but no subzone, and as they were then.
fn located(workload: &Arc<Workload>, nodes: &HashMap<&str, &Locality>) -> Arc<Workload> {
    match nodes.get(workload.node.as_str()) {
        Some(locality) if !workload.names_locality() && !locality.is_empty() => {
            Arc::new(Workload {
                locality: Locality::clone(locality),
                ..Workload::clone(workload)
            })
        }
        _ => workload.clone(),
    }
}

fn service_problem(
    object: &k8s_openapi::api::core::v1::Service,
    error: &service::ServiceError,
) -> Problem {
    Problem {
        kind: "Service",
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        field: "spec".to_owned(),
        message: error.to_string(),
        remedy: "the service is left out of the mesh until this is changed".to_owned(),
    }
}
