//! Services and endpoints that ServiceEntries and WorkloadEntries describe.

use std::{collections::BTreeMap, sync::Arc};

use mesh_config::{
    Object, ServiceEntry, WorkloadEntry,
    service_entry::{EntryEndpoints, Location},
    visibility::DefaultExport,
    workload_entry::WorkloadAddress,
};

use super::{
    Address, Endpoint, ExportTo, Health, Labels, Locality, Registry, Resolution, Service,
    ServicePort, TargetPort, TlsMode, Vip, Workload, workload,
};

/// A WorkloadEntry (or a ServiceEntry's inline endpoint) as an endpoint of any service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Where it is.
    pub address: Address,
    /// Who it is.
    pub workload: Arc<Workload>,
    /// Its ports by service port name, where they differ from the service's.
    pub ports: BTreeMap<String, u16>,
    /// Share of the traffic.
    pub weight: u32,
}

/// The services of one ServiceEntry: one per host.
pub fn services(object: &Object<ServiceEntry>, default: &DefaultExport) -> Vec<Service> {
    let (meta, spec) = (&object.meta, &object.spec);
    let ports: Vec<ServicePort> = spec
        .ports
        .iter()
        .filter(|port| port.protocol != super::Protocol::Udp)
        .map(|port| ServicePort {
            name: port.name.clone(),
            number: port.number.get(),
            protocol: port.protocol,
            target: TargetPort::Number(port.target_port.unwrap_or(port.number).get()),
        })
        .collect();
    let vips = spec.addresses.iter().map(|net| {
        if net.prefix_len() == net.max_prefix_len() {
            Vip::Ip(net.addr())
        } else {
            Vip::Cidr(net.trunc())
        }
    });
    let vips: Vec<Vip> = vips.collect();
    spec.hosts
        .iter()
        .map(|host| {
            let hostname = host.to_string();
            Service {
                name: hostname.clone(),
                hostname: hostname.into(),
                namespace: meta.namespace.clone(),
                object: meta.name.clone(),
                vips: vips.clone(),
                ports: ports.clone(),
                resolution: resolution(&spec.endpoints),
                external: spec.location == Location::MeshExternal,
                registry: Registry::ServiceEntry,
                export_to: ExportTo::resolve(&spec.export_to, default, &meta.namespace),
                selector: spec
                    .endpoints
                    .selector()
                    .map(|selector| selector.labels().clone()),
                labels: meta.labels.clone(),
                subject_alt_names: spec.subject_alt_names.clone(),
                created: meta.creation_timestamp.clone().unwrap_or_default(),
                publish_not_ready: false,
            }
        })
        .collect()
}

fn resolution(endpoints: &EntryEndpoints) -> Resolution {
    match endpoints {
        EntryEndpoints::Passthrough => Resolution::Passthrough,
        EntryEndpoints::Static(_) | EntryEndpoints::Selected(_) => Resolution::Static,
        EntryEndpoints::Dns { logical: true, .. }
        | EntryEndpoints::SelectedDns { logical: true, .. } => Resolution::DnsRoundRobin,
        EntryEndpoints::Dns { .. } | EntryEndpoints::SelectedDns { .. } => Resolution::Dns,
    }
}

/// The endpoints that stand in the ServiceEntry itself: inline ones, or the host's own name when a
/// DNS entry lists none.
pub fn inline(object: &Object<ServiceEntry>, service: &Service) -> Vec<Endpoint> {
    let entries = object.spec.endpoints.inline();
    if matches!(object.spec.endpoints, EntryEndpoints::Dns { .. }) && entries.is_empty() {
        let name = Address::Name(service.hostname.clone());
        return service
            .ports
            .iter()
            .map(|port| own_name(&name, port))
            .collect();
    }
    entries
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| {
            let name = format!("{}-{index}", object.meta.name);
            instance(entry, &object.meta.namespace, &name, &Labels::new())
        })
        .flat_map(|instance| of_instance(&instance, service))
        .collect()
}

fn own_name(name: &Address, port: &ServicePort) -> Endpoint {
    let TargetPort::Number(number) = port.target else {
        unreachable!("a ServiceEntry's target port is a number")
    };
    Endpoint {
        address: name.clone(),
        port: number,
        port_name: port.name.as_str().into(),
        weight: 1,
        health: Health::Healthy,
        workload: None,
        locality: Locality::default(),
    }
}

/// A WorkloadEntry as an instance; `None` for a Unix socket, which no other pod can reach.
///
/// `meta_labels`: labels of the object, which win over those of the spec.
pub fn instance(
    entry: &WorkloadEntry,
    namespace: &str,
    name: &str,
    meta_labels: &Labels,
) -> Option<Instance> {
    let mut labels = entry.labels.clone();
    labels.extend(meta_labels.clone());
    let (address, addresses) = match &entry.address {
        WorkloadAddress::Ip(ip) => (Address::Ip(*ip), vec![*ip]),
        WorkloadAddress::Dns(host) => (Address::Name(host.as_str().into()), Vec::new()),
        WorkloadAddress::Unix(_) => return None,
    };
    let declared = labels.contains_key(workload::TLS_MODE_LABEL);
    let tls_mode = if !declared && entry.service_account.is_some() {
        TlsMode::Istio
    } else {
        workload::tls_mode(&labels)
    };
    Some(Instance {
        address,
        workload: Arc::new(Workload {
            object: name.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            addresses,
            service_account: entry.service_account.clone().unwrap_or_default(),
            tls_mode,
            locality: entry
                .locality
                .as_deref()
                .map(Locality::parse)
                .unwrap_or_default(),
            node: String::new(),
            ports: BTreeMap::new(),
            created: String::new(),
            labels,
        }),
        ports: entry
            .ports
            .iter()
            .map(|(name, port)| (name.clone(), port.get()))
            .collect(),
        weight: entry.weight.unwrap_or(1).max(1),
    })
}

/// The endpoints that an instance gives to a service: one per port of the service.
pub fn of_instance(instance: &Instance, service: &Service) -> Vec<Endpoint> {
    service
        .ports
        .iter()
        .filter_map(|port| {
            let number = match instance.ports.get(&port.name) {
                Some(number) => *number,
                None => instance.workload.resolve(&port.target)?,
            };
            Some(Endpoint {
                address: instance.address.clone(),
                port: number,
                port_name: port.name.as_str().into(),
                weight: instance.weight,
                health: Health::Healthy,
                locality: instance.workload.locality.clone(),
                workload: Some(instance.workload.clone()),
            })
        })
        .collect()
}

/// A pod as an instance of a ServiceEntry that selects pods.
pub fn of_pod(pod: &Arc<Workload>) -> Option<Instance> {
    Some(Instance {
        address: Address::Ip(*pod.addresses.first()?),
        workload: pod.clone(),
        ports: BTreeMap::new(),
        weight: 1,
    })
}
