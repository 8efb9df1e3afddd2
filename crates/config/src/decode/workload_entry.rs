//! Reads a WorkloadEntry, by itself or as an endpoint of a ServiceEntry.

use std::collections::BTreeMap;

use super::reader::{Fields, Node};
use super::scope::labels;
use crate::number::PortNumber;
use crate::workload_entry::{WorkloadAddress, WorkloadEntry};

pub(super) fn read(node: &Node<'_>) -> Option<WorkloadEntry> {
    let fields = node.open(
        &[
            "address",
            "ports",
            "labels",
            "locality",
            "weight",
            "serviceAccount",
        ],
        &[("network", "all workloads must be reachable directly")],
    )?;
    let address = address(&fields);
    let ports = ports(&fields);
    if matches!(address, Some(WorkloadAddress::Unix(_))) && !ports.is_empty() {
        fields.error_at::<()>("ports", "a unix socket has no ports", "remove it");
    }
    Some(WorkloadEntry {
        ports,
        labels: labels(&fields, "labels"),
        locality: fields.text("locality"),
        weight: fields.limit("weight"),
        service_account: fields.text("serviceAccount"),
        address: address?,
    })
}

fn address(fields: &Fields<'_>) -> Option<WorkloadAddress> {
    let text = fields.required_text("address", "name an IP address or a host")?;
    if let Some(path) = text.strip_prefix("unix://") {
        let absolute = path.starts_with('/') || (path.starts_with('@') && path.len() > 1);
        if !absolute || path.len() < 2 {
            return fields.error_at(
                "address",
                format!("{path:?} is not an absolute path"),
                "write unix:///path",
            );
        }
        return Some(WorkloadAddress::Unix(path.to_owned()));
    }
    if let Ok(ip) = text.parse() {
        return Some(WorkloadAddress::Ip(ip));
    }
    match text.parse() {
        Ok(host) => Some(WorkloadAddress::Dns(host)),
        Err(error) => fields.error_at("address", error, "name an IP address or a host"),
    }
}

fn ports(fields: &Fields<'_>) -> BTreeMap<String, PortNumber> {
    let Some(node) = fields.get("ports") else {
        return BTreeMap::new();
    };
    let entries = node.entries().into_iter();
    entries
        .filter_map(|(name, node)| Some((name.to_owned(), node.port()?)))
        .collect()
}
