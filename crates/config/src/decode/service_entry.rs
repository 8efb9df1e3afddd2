//! Reads a ServiceEntry.

use super::reader::{Fields, Node};
use super::scope::{SelectorKey, export_to, selector};
use super::virtual_service::subnet;
use super::workload_entry;
use crate::protocol::Protocol;
use crate::selector::LabelSelector;
use crate::service_entry::{EntryEndpoints, Location, ServiceEntry, ServiceEntryPort};
use crate::workload_entry::{WorkloadAddress, WorkloadEntry};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Resolution {
    None,
    Static,
    Dns,
    DnsRoundRobin,
}

pub(super) fn read(spec: &Node<'_>) -> Option<ServiceEntry> {
    let fields = spec.open(
        &[
            "hosts",
            "addresses",
            "ports",
            "location",
            "resolution",
            "endpoints",
            "workloadSelector",
            "exportTo",
            "subjectAltNames",
        ],
        &[],
    )?;
    if fields.items("hosts").is_empty() {
        fields.error_at::<()>("hosts", "at least one host is required", "name the hosts");
    }
    let hosts = fields.parses("hosts");
    let addresses = fields
        .items("addresses")
        .iter()
        .filter_map(subnet)
        .collect();
    let ports = fields.items("ports").iter().filter_map(port).collect();
    let locations = [
        ("MESH_EXTERNAL", Location::MeshExternal),
        ("MESH_INTERNAL", Location::MeshInternal),
    ];
    Some(ServiceEntry {
        hosts,
        addresses,
        ports,
        location: fields
            .choice("location", &locations, &[])
            .unwrap_or_default(),
        export_to: export_to(&fields, true),
        subject_alt_names: fields.texts("subjectAltNames"),
        endpoints: endpoints(&fields)?,
    })
}

fn port(node: &Node<'_>) -> Option<ServiceEntryPort> {
    let fields = node.open(&["number", "protocol", "name", "targetPort"], &[])?;
    let number = fields
        .required("number", "name the port's number")
        .and_then(|node| node.port());
    let name = fields.required_text("name", "name the port, for example \"https\"");
    let protocol: Protocol = fields.parse("protocol").unwrap_or_default();
    if protocol == Protocol::Udp {
        fields.error_at::<()>(
            "protocol",
            "UDP is not proxied",
            "use a protocol over TCP, or remove the port",
        );
    }
    Some(ServiceEntryPort {
        protocol,
        target_port: fields.port("targetPort"),
        number: number?,
        name: name?,
    })
}

fn endpoints(fields: &Fields<'_>) -> Option<EntryEndpoints> {
    let words = [
        ("NONE", Resolution::None),
        ("STATIC", Resolution::Static),
        ("DNS", Resolution::Dns),
        ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin),
    ];
    let refused = [(
        "DYNAMIC_DNS",
        "use DNS with the names of the hosts, or NONE",
    )];
    let resolution = match fields.get("resolution") {
        None => Resolution::None,
        Some(node) => node.choice(&words, &refused)?,
    };
    fields.exclusive(&["workloadSelector", "endpoints"]);
    let nodes = fields.items("endpoints");
    let inline: Vec<WorkloadEntry> = nodes.iter().filter_map(workload_entry::read).collect();
    if inline.len() != nodes.len() {
        return None;
    }
    let selected = fields.get("workloadSelector").map(|_| {
        // An empty selector selects all workloads of the namespace.
        selector(fields, "workloadSelector", SelectorKey::Labels).unwrap_or_default()
    });
    match resolution {
        Resolution::None => passthrough(fields),
        Resolution::Static => statically(&nodes, inline, selected),
        Resolution::Dns | Resolution::DnsRoundRobin => resolved(
            fields,
            &nodes,
            inline,
            selected,
            resolution == Resolution::DnsRoundRobin,
        ),
    }
}

fn passthrough(fields: &Fields<'_>) -> Option<EntryEndpoints> {
    for name in fields.present(&["endpoints", "workloadSelector"]) {
        let problem = "cannot be set with resolution NONE (the default)";
        fields.error_at::<()>(
            name,
            problem,
            "set resolution to STATIC or DNS, or remove it",
        );
    }
    Some(EntryEndpoints::Passthrough)
}

fn statically(
    nodes: &[Node<'_>],
    inline: Vec<WorkloadEntry>,
    selected: Option<LabelSelector>,
) -> Option<EntryEndpoints> {
    for (node, endpoint) in nodes.iter().zip(&inline) {
        if let WorkloadAddress::Dns(host) = &endpoint.address {
            let problem =
                format!("endpoint address {host} is not an IP address, as resolution STATIC needs");
            node.error::<()>(problem, "use resolution DNS");
        }
    }
    Some(match selected {
        Some(selector) => EntryEndpoints::Selected(selector),
        None => EntryEndpoints::Static(inline),
    })
}

fn resolved(
    fields: &Fields<'_>,
    nodes: &[Node<'_>],
    inline: Vec<WorkloadEntry>,
    selected: Option<LabelSelector>,
    logical: bool,
) -> Option<EntryEndpoints> {
    for (node, endpoint) in nodes.iter().zip(&inline) {
        if let WorkloadAddress::Unix(_) = &endpoint.address {
            node.error::<()>(
                "a unix socket is not resolved by DNS",
                "use resolution STATIC",
            );
        }
    }
    if logical && inline.len() > 1 {
        fields.error_at::<()>(
            "endpoints",
            "DNS_ROUND_ROBIN takes one endpoint at most",
            "use resolution DNS",
        );
    }
    Some(match selected {
        Some(selector) => EntryEndpoints::SelectedDns { selector, logical },
        None => EntryEndpoints::Dns {
            endpoints: inline,
            logical,
        },
    })
}
