//! Objects that contradict each other, and names used twice.

use std::collections::BTreeMap;

use super::{DOMAIN, Finding, Index, Severity, finding};
use crate::host::HostPattern;
use crate::object::{Kind, Object, Resource};
use crate::virtual_service::GatewayRef;
use crate::{Gateway, VirtualService};

pub(super) fn check(index: &Index<'_>, resources: &[Resource], findings: &mut Vec<Finding>) {
    duplicate_names(resources, findings);
    mesh_hosts(index, findings);
    gateways(index, findings);
    peer_authentications(index, findings);
    sidecars(index, findings);
}

fn duplicate_names(resources: &[Resource], findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<(Kind, &str, &str), usize> = BTreeMap::new();
    for resource in resources {
        let meta = resource.meta();
        let count = seen
            .entry((resource.kind(), &meta.namespace, &meta.name))
            .or_default();
        *count += 1;
        if *count == 2 {
            let about = (resource.kind(), meta);
            let message = "is defined more than once; only one of them takes effect: rename or remove the others";
            findings.push(finding(
                "IST0106",
                Severity::Error,
                about,
                "metadata.name",
                message,
            ));
        }
    }
}

/// Several VirtualServices for one host of the mesh: the rules of only one take effect.
fn mesh_hosts(index: &Index<'_>, findings: &mut Vec<Finding>) {
    let mut by_host: BTreeMap<String, Vec<&Object<VirtualService>>> = BTreeMap::new();
    for object in &index.virtual_services {
        if !object.spec.gateways.contains(&GatewayRef::Mesh) {
            continue;
        }
        for host in &object.spec.hosts {
            let host = host.qualify(&object.meta.namespace, DOMAIN).to_string();
            by_host.entry(host).or_default().push(object);
        }
    }
    for (host, mut objects) in by_host {
        objects.sort_by_key(|object| object.meta.precedence());
        let Some((winner, losers)) = objects.split_first() else {
            continue;
        };
        for object in losers {
            if object.meta == winner.meta || !see_each_other(index, winner, object) {
                continue;
            }
            let about = (Kind::VirtualService, &object.meta);
            let message = format!(
                "{} has rules for {host} too and takes precedence; merge the two",
                winner.meta
            );
            findings.push(finding(
                "IST0109",
                Severity::Error,
                about,
                "spec.hosts",
                message,
            ));
        }
    }
}

/// Whether some namespace sees both objects.
fn see_each_other(
    index: &Index<'_>,
    a: &Object<VirtualService>,
    b: &Object<VirtualService>,
) -> bool {
    let default = &index.mesh.default_virtual_service_export_to;
    let sees = |namespace: &str| {
        [a, b].iter().all(|object| {
            let export_to = &object.spec.export_to;
            export_to.visible_in(namespace, &object.meta.namespace, default)
        })
    };
    // A namespace without a name of its own stands for "any other".
    sees(&a.meta.namespace) || sees(&b.meta.namespace) || sees("")
}

/// Servers of several Gateways for the same proxies, port and host.
fn gateways(index: &Index<'_>, findings: &mut Vec<Finding>) {
    for (position, object) in index.gateways.iter().enumerate() {
        for other in &index.gateways[..position] {
            let same_name = object.meta.namespace == other.meta.namespace
                && object.meta.name == other.meta.name;
            if same_name || object.spec.selector != other.spec.selector {
                continue;
            }
            if let Some((port, host)) = shared_host(&object.spec, &other.spec) {
                let message = format!(
                    "Gateway {} serves {host} on port {port} of the same proxies; merge the two",
                    other.meta
                );
                findings.push(finding(
                    "IST0145",
                    Severity::Error,
                    (Kind::Gateway, &object.meta),
                    "spec.servers",
                    message,
                ));
            }
        }
    }
}

fn shared_host<'a>(a: &'a Gateway, b: &Gateway) -> Option<(u16, &'a HostPattern)> {
    for mine in &a.servers {
        for theirs in b
            .servers
            .iter()
            .filter(|s| s.port.number == mine.port.number && s.bind == mine.bind)
        {
            let shared = mine.hosts.iter().find(|host| theirs.hosts.contains(host));
            if let Some(host) = shared {
                return Some((mine.port.number.get(), &host.host));
            }
        }
    }
    None
}

/// Several PeerAuthentications of one scope: the oldest takes effect.
fn peer_authentications(index: &Index<'_>, findings: &mut Vec<Finding>) {
    let mut objects = index.peer_authentications.clone();
    objects.sort_by_key(|object| object.meta.precedence());
    for (position, object) in objects.iter().enumerate() {
        let same_scope = |other: &&&Object<crate::PeerAuthentication>| {
            other.meta.namespace == object.meta.namespace
                && other.spec.selector == object.spec.selector
        };
        let Some(winner) = objects[..position].iter().find(same_scope) else {
            continue;
        };
        if winner.meta.name == object.meta.name {
            continue;
        }
        let scope = match &object.spec.selector {
            Some(_) => "the same workloads",
            None => "the same namespace",
        };
        let message = format!(
            "has no effect: {} is for {scope} and takes precedence; merge the two",
            winner.meta
        );
        findings.push(finding(
            "IST0167",
            Severity::Warning,
            (Kind::PeerAuthentication, &object.meta),
            "",
            message,
        ));
    }
}

/// Several Sidecars of one namespace without a selector, or with the same one.
fn sidecars(index: &Index<'_>, findings: &mut Vec<Finding>) {
    for (position, object) in index.sidecars.iter().enumerate() {
        let same = |other: &&&Object<crate::Sidecar>| {
            other.meta.namespace == object.meta.namespace
                && other.meta.name != object.meta.name
                && other.spec.workload_selector == object.spec.workload_selector
        };
        let Some(other) = index.sidecars[..position].iter().find(same) else {
            continue;
        };
        let (code, what) = match &object.spec.workload_selector {
            Some(_) => ("IST0110", "selects the same workloads"),
            None => ("IST0111", "has no workload selector either"),
        };
        let message = format!(
            "Sidecar {} {what}; which of them takes effect is not defined: keep one",
            other.meta
        );
        findings.push(finding(
            code,
            Severity::Error,
            (Kind::Sidecar, &object.meta),
            "spec.workloadSelector",
            message,
        ));
    }
}
