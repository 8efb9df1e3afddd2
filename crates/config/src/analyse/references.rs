//! References from one object to another that lead nowhere.

use super::{DOMAIN, Finding, Index, Severity, finding};
use crate::host::{Host, HostPattern};
use crate::object::{Kind, Object, ObjectMeta};
use crate::virtual_service::{Destination, GatewayRef, HttpAction};
use crate::{DestinationRule, VirtualService};

pub(super) fn check(index: &Index<'_>, findings: &mut Vec<Finding>) {
    for object in &index.virtual_services {
        gateways(index, object, findings);
        for (path, destination) in destinations(&object.spec) {
            check_destination(index, object, &path, destination, findings);
        }
    }
    for object in &index.destination_rules {
        rule_host(index, object, findings);
    }
}

fn gateways(index: &Index<'_>, object: &Object<VirtualService>, findings: &mut Vec<Finding>) {
    let about = (Kind::VirtualService, &object.meta);
    for (position, reference) in object.spec.gateways.iter().enumerate() {
        let GatewayRef::Gateway { namespace, name } = reference else {
            continue;
        };
        let path = format!("spec.gateways[{position}]");
        let same =
            |g: &&&Object<crate::Gateway>| g.meta.namespace == *namespace && g.meta.name == *name;
        let Some(gateway) = index.gateways.iter().find(same) else {
            let message = format!("no Gateway {reference}; create it or correct the name");
            findings.push(finding("IST0101", Severity::Error, about, path, message));
            continue;
        };
        let admitted = |host: &HostPattern| {
            let mut servers = gateway.spec.servers.iter().flat_map(|server| &server.hosts);
            servers.any(|server| server.admits(&object.meta.namespace, host))
        };
        if !object.spec.hosts.iter().any(admitted) {
            let hosts: Vec<String> = object.spec.hosts.iter().map(ToString::to_string).collect();
            let message = format!(
                "no server of Gateway {reference} takes the hosts {}; add them to its servers' hosts",
                hosts.join(", ")
            );
            findings.push(finding("IST0132", Severity::Warning, about, path, message));
        }
    }
}

/// Every destination of the routes and mirrors, with its path.
fn destinations(spec: &VirtualService) -> Vec<(String, &Destination)> {
    let mut found = Vec::new();
    for (i, route) in spec.http.iter().enumerate() {
        let HttpAction::Forward(forward) = &route.action else {
            continue;
        };
        for (j, d) in forward.destinations.iter().enumerate() {
            found.push((
                format!("spec.http[{i}].route[{j}].destination"),
                &d.destination,
            ));
        }
        for (j, mirror) in forward.mirrors.iter().enumerate() {
            found.push((
                format!("spec.http[{i}].mirrors[{j}].destination"),
                &mirror.destination,
            ));
        }
    }
    for (i, route) in spec.tls.iter().enumerate() {
        for (j, d) in route.destinations.iter().enumerate() {
            found.push((
                format!("spec.tls[{i}].route[{j}].destination"),
                &d.destination,
            ));
        }
    }
    for (i, route) in spec.tcp.iter().enumerate() {
        for (j, d) in route.destinations.iter().enumerate() {
            found.push((
                format!("spec.tcp[{i}].route[{j}].destination"),
                &d.destination,
            ));
        }
    }
    found
}

fn check_destination(
    index: &Index<'_>,
    object: &Object<VirtualService>,
    path: &str,
    destination: &Destination,
    findings: &mut Vec<Finding>,
) {
    let about = (Kind::VirtualService, &object.meta);
    let host = destination.host.qualify(&object.meta.namespace, DOMAIN);
    if !index.has_host(&host) {
        let message = format!("no service or ServiceEntry has the host {host}; requests get a 503");
        findings.push(finding(
            "IST0101",
            Severity::Error,
            about,
            format!("{path}.host"),
            message,
        ));
        return;
    }
    check_port(index, about, path, &host, destination, findings);
    let Some(subset) = &destination.subset else {
        return;
    };
    let defines = |rule: &&Object<DestinationRule>| {
        rule.spec
            .host
            .qualify(&rule.meta.namespace, DOMAIN)
            .matches(host.as_str())
            && rule.spec.subset(subset).is_some()
    };
    if !index.destination_rules.iter().any(defines) {
        let message =
            format!("no DestinationRule defines the subset {subset} of {host}; requests get a 503");
        findings.push(finding(
            "IST0101",
            Severity::Error,
            about,
            format!("{path}.subset"),
            message,
        ));
    }
}

fn check_port(
    index: &Index<'_>,
    about: (Kind, &ObjectMeta),
    path: &str,
    host: &Host,
    destination: &Destination,
    findings: &mut Vec<Finding>,
) {
    let services = index.services.as_ref();
    let Some(ports) = services.and_then(|services| services.get(host.as_str())) else {
        return;
    };
    let path = format!("{path}.port");
    match destination.port {
        None if ports.len() > 1 => {
            let message = format!(
                "{host} has the ports {ports:?}; name one, unless the request's own port is meant"
            );
            findings.push(finding("IST0112", Severity::Warning, about, path, message));
        }
        Some(port) if !ports.contains(&port.get()) => {
            let message = format!("{host} has no port {port}; it has {ports:?}");
            findings.push(finding("IST0101", Severity::Error, about, path, message));
        }
        _ => {}
    }
}

fn rule_host(index: &Index<'_>, object: &Object<DestinationRule>, findings: &mut Vec<Finding>) {
    let host = object.spec.host.qualify(&object.meta.namespace, DOMAIN);
    if let HostPattern::Exact(exact) = &host
        && !index.has_host(exact)
    {
        let about = (Kind::DestinationRule, &object.meta);
        let message =
            format!("no service or ServiceEntry has the host {host}; the rule has no effect");
        findings.push(finding(
            "IST0174",
            Severity::Warning,
            about,
            "spec.host",
            message,
        ));
    }
}
