//! Listeners of a Sidecar against each other.

use super::{Problems, duplicates};
use crate::gateway::NamespaceScope;
use crate::host::HostPattern;
use crate::sidecar::Sidecar;

pub(super) fn check(spec: &Sidecar, found: &mut Problems) {
    for index in duplicates(spec.ingress.iter().map(|listener| listener.port.number)) {
        let port = spec.ingress[index].port.number;
        found.error(
            format!("spec.ingress[{index}].port"),
            format!("port {port} is listed twice"),
            "keep one",
        );
    }
    let last = spec.egress.len().saturating_sub(1);
    for (index, listener) in spec.egress.iter().enumerate() {
        if listener.port.is_none() && index != last {
            found.error(
                format!("spec.egress[{index}]"),
                "a listener without a port takes all other ports and must be the only one, at the end",
                "move it to the end",
            );
        }
        let everything = |host: &crate::sidecar::EgressHost| {
            host.namespace == NamespaceScope::Any && host.host == HostPattern::Any
        };
        if listener.hosts.len() > 1 && listener.hosts.iter().any(everything) {
            found.warn(
                format!("spec.egress[{index}].hosts"),
                "\"*/*\" selects everything",
                "remove the other hosts",
            );
        }
    }
    let ports: Vec<_> = spec
        .egress
        .iter()
        .enumerate()
        .filter_map(|(index, listener)| Some((index, listener.port.as_ref()?.number)))
        .collect();
    for duplicate in duplicates(ports.iter().map(|(_, port)| port)) {
        let (index, port) = ports[duplicate];
        found.error(
            format!("spec.egress[{index}].port"),
            format!("port {port} is listed twice"),
            "keep one",
        );
    }
}
