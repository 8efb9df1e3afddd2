//! Ports, and hosts against resolution.

use super::{Problems, duplicates};
use crate::host::HostPattern;
use crate::service_entry::{EntryEndpoints, ServiceEntry};
use crate::workload_entry::WorkloadAddress;

pub(super) fn check(spec: &ServiceEntry, found: &mut Problems) {
    for (index, host) in spec.hosts.iter().enumerate() {
        if *host == HostPattern::Any {
            found.error(
                format!("spec.hosts[{index}]"),
                "\"*\" is not allowed",
                "name the hosts, for example *.example.com",
            );
        }
    }
    for index in duplicates(spec.hosts.iter()) {
        found.error(
            format!("spec.hosts[{index}]"),
            format!("{} is listed twice", spec.hosts[index]),
            "remove one",
        );
    }
    ports(spec, found);
    match &spec.endpoints {
        EntryEndpoints::Dns { endpoints, .. } => dns(spec, endpoints.is_empty(), found),
        EntryEndpoints::SelectedDns { .. } => dns(spec, false, found),
        EntryEndpoints::Passthrough | EntryEndpoints::Static(_) | EntryEndpoints::Selected(_) => {}
    }
    endpoint_ports(spec, found);
}

fn ports(spec: &ServiceEntry, found: &mut Problems) {
    for index in duplicates(spec.ports.iter().map(|port| port.number)) {
        let number = spec.ports[index].number;
        found.error(
            format!("spec.ports[{index}].number"),
            format!("port {number} is listed twice"),
            "remove one",
        );
    }
    for index in duplicates(spec.ports.iter().map(|port| &port.name)) {
        let name = &spec.ports[index].name;
        found.error(
            format!("spec.ports[{index}].name"),
            format!("port name {name:?} is used twice"),
            "rename one",
        );
    }
    let by_bytes = spec
        .ports
        .iter()
        .position(|p| !p.protocol.is_http() && !p.protocol.is_tls());
    if let Some(index) = by_bytes
        && spec.hosts.len() > 1
        && spec.endpoints != EntryEndpoints::Passthrough
    {
        found.error(
            format!("spec.ports[{index}].protocol"),
            format!(
                "{} cannot tell several hosts apart",
                spec.ports[index].protocol
            ),
            "use HTTP, HTTPS or TLS, or one ServiceEntry for each host",
        );
    }
}

fn dns(spec: &ServiceEntry, hosts_are_resolved: bool, found: &mut Problems) {
    for (index, host) in spec.hosts.iter().enumerate() {
        if hosts_are_resolved && host.exact().is_none() {
            found.error(
                format!("spec.hosts[{index}]"),
                format!("{host} cannot be resolved by DNS"),
                "name endpoints, use resolution NONE, or name the host",
            );
        }
    }
    for (index, net) in spec.addresses.iter().enumerate() {
        if net.prefix_len() != net.max_prefix_len() {
            found.error(
                format!("spec.addresses[{index}]"),
                format!("the range {net} is allowed with resolution NONE and STATIC only"),
                "name single addresses",
            );
        }
    }
}

fn endpoint_ports(spec: &ServiceEntry, found: &mut Problems) {
    for (index, endpoint) in spec.endpoints.inline().iter().enumerate() {
        let path = format!("spec.endpoints[{index}]");
        for name in endpoint.ports.keys() {
            if !spec.ports.iter().any(|port| port.name == *name) {
                let problem = format!("the service has no port named {name:?}");
                found.error(
                    format!("{path}.ports[{name}]"),
                    problem,
                    "use a name of spec.ports",
                );
            }
        }
        if matches!(endpoint.address, WorkloadAddress::Unix(_)) && spec.ports.len() != 1 {
            found.error(
                format!("{path}.address"),
                "a unix socket serves exactly one port",
                "list one port in spec.ports",
            );
        }
    }
}
