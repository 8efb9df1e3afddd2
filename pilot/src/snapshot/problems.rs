//! References that lead nowhere and rules that contradict each other.

mod gateways;
mod unsupported;

use std::sync::Arc;

use hashbrown::HashMap;
use mesh_config::{
    HostPattern, LabelSelector, ObjectMeta,
    virtual_service::{Destination, GatewayRef, HttpAction},
};

use crate::model::{Endpoint, Service};

use super::{DOMAIN, MergedGateway, Problem, RouteRule, Snapshot, destination_rules::covers};

/// Collects what is wrong across objects.
pub(super) fn find(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for rule in &snapshot.rules.virtual_services {
        bound_gateways(snapshot, rule, problems);
        destinations(snapshot, rule, problems);
    }
    same_host(snapshot, problems);
    merged_gateways(snapshot, problems);
    gateways::find(snapshot, problems);
    unused_rules(snapshot, problems);
    aliased_hosts(snapshot, problems);
    unsupported::find(snapshot, problems);
    problems.extend(trust_domain(snapshot));
}

/// Certificates are signed in the trust domain of the start: another one in the settings would keep
/// every proxy out.
fn trust_domain(snapshot: &Snapshot) -> Option<Problem> {
    let (settings, asked) = snapshot.inputs.ignored_trust_domain.as_ref()?;
    Some(Problem {
        kind: settings.kind,
        namespace: settings.namespace.clone(),
        name: settings.name.clone(),
        field: "trustDomain".to_owned(),
        message: format!(
            "{asked} has no effect: certificates are signed for {}",
            snapshot.mesh.trust_domain
        ),
        remedy: "change it by the values of the installation, meshConfig.trustDomain".to_owned(),
    })
}

fn problem(
    kind: &'static str,
    meta: &ObjectMeta,
    field: String,
    message: String,
    remedy: &str,
) -> Problem {
    Problem {
        kind,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        field,
        message,
        remedy: remedy.to_owned(),
    }
}

fn bound_gateways(snapshot: &Snapshot, rule: &RouteRule, problems: &mut Vec<Problem>) {
    let object = &rule.object;
    for (index, gateway) in object.spec.gateways.iter().enumerate() {
        let GatewayRef::Gateway { namespace, name } = gateway else {
            continue;
        };
        let mut known = snapshot.rules.gateways.iter();
        if !known.any(|g| g.meta.namespace == *namespace && g.meta.name == *name) {
            problems.push(problem(
                "VirtualService",
                &object.meta,
                format!("spec.gateways[{index}]"),
                format!(
                    "Gateway {namespace}/{name} does not exist: the rules apply nowhere through it"
                ),
                "create the Gateway, or write NAMESPACE/NAME of an existing one",
            ));
        }
    }
}

fn destinations(snapshot: &Snapshot, rule: &RouteRule, problems: &mut Vec<Problem>) {
    let spec = &rule.object.spec;
    for (i, route) in spec.http.iter().enumerate() {
        let HttpAction::Forward(forward) = &route.action else {
            continue;
        };
        for (j, destination) in forward.destinations.iter().enumerate() {
            let path = format!("spec.http[{i}].route[{j}].destination");
            check(snapshot, rule, &destination.destination, &path, problems);
        }
        for (j, mirror) in forward.mirrors.iter().enumerate() {
            let path = format!("spec.http[{i}].mirrors[{j}].destination");
            check(snapshot, rule, &mirror.destination, &path, problems);
        }
    }
    let tls = spec.tls.iter().map(|route| &route.destinations);
    let tcp = spec.tcp.iter().map(|route| &route.destinations);
    for (kind, lists) in [
        ("tls", tls.collect::<Vec<_>>()),
        ("tcp", tcp.collect::<Vec<_>>()),
    ] {
        for (i, list) in lists.into_iter().enumerate() {
            for (j, destination) in list.iter().enumerate() {
                let path = format!("spec.{kind}[{i}].route[{j}].destination");
                check(snapshot, rule, &destination.destination, &path, problems);
            }
        }
    }
}

fn check(
    snapshot: &Snapshot,
    rule: &RouteRule,
    destination: &Destination,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    let meta = &rule.object.meta;
    let host = destination.host.qualify(&meta.namespace, DOMAIN);
    let host = snapshot.registry.alias_end(host.as_str());
    let Some(service) = snapshot.registry.with_host(host).first() else {
        problems.push(problem(
            "VirtualService",
            meta,
            format!("{path}.host"),
            format!("{host} is not a service of the mesh: requests sent there get 503"),
            "check the name, write it fully qualified if it is in another namespace, or add a ServiceEntry",
        ));
        return;
    };
    if let Some(port) = destination.port
        && service.port(port.get()).is_none()
    {
        problems.push(problem(
            "VirtualService",
            meta,
            format!("{path}.port.number"),
            format!("{host} has no port {port}: requests sent there get 503"),
            "use a port of the service",
        ));
    }
    if let Some(subset) = &destination.subset {
        let rules = &snapshot.rules.destination_rules;
        let mut matching = rules.iter().filter(|rule| covers(&rule.host, host));
        let (message, remedy) = match matching.find_map(|rule| rule.rule.subset(subset)) {
            None => (
                format!(
                    "no DestinationRule for {host} has a subset {subset}: requests sent there get 503"
                ),
                "add the subset to the DestinationRule of the host",
            ),
            Some(found) if selects_nothing(snapshot, service, &found.labels) => (
                format!("subset {subset} of {host} selects no pod: requests sent there get 503"),
                "start pods with the subset's labels, or correct the labels in the DestinationRule",
            ),
            Some(_) => return,
        };
        let field = format!("{path}.subset");
        problems.push(problem("VirtualService", meta, field, message, remedy));
    }
}

/// Whether a service has endpoints, but none with these labels.
fn selects_nothing(snapshot: &Snapshot, service: &Service, labels: &LabelSelector) -> bool {
    let endpoints = snapshot.registry.endpoints(service);
    let selected = |endpoint: &Endpoint| labels.matches(endpoint.labels());
    !endpoints.is_empty() && !endpoints.iter().any(selected)
}

/// Two VirtualServices for one host and sidecars: the older one wins whole.
fn same_host(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let mut first: HashMap<&HostPattern, &Arc<RouteRule>> = HashMap::new();
    for rule in snapshot
        .rules
        .virtual_services
        .iter()
        .filter(|r| r.for_mesh())
    {
        for (index, host) in rule.hosts.iter().enumerate() {
            let older = *first.entry(host).or_insert(rule);
            if Arc::ptr_eq(older, rule) {
                continue;
            }
            problems.push(problem(
                "VirtualService",
                &rule.object.meta,
                format!("spec.hosts[{index}]"),
                format!(
                    "{host} already has rules for sidecars in VirtualService {}, the older one, which wins",
                    older.object.meta
                ),
                "merge the rules into one VirtualService, or bind one of them to a gateway only",
            ));
        }
    }
}

/// Conflicts between the servers of Gateways, per set of selected pods.
fn merged_gateways(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for gateway in &snapshot.rules.gateways {
        let labels = gateway.spec.selector.labels();
        problems.extend(MergedGateway::build(&snapshot.rules.gateways, labels, &[]).problems);
    }
}

/// DestinationRules for hosts that do not exist.
fn unused_rules(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for rule in snapshot.rules.destination_rules.iter() {
        let Some(host) = rule.host.exact() else {
            continue;
        };
        let host = host.as_str();
        let wildcard = || {
            let mut services = snapshot.registry.services().iter();
            services.any(|service| {
                service.is_wildcard()
                    && service
                        .hostname
                        .parse()
                        .is_ok_and(|p: HostPattern| p.matches(host))
            })
        };
        if !snapshot.registry.with_host(host).is_empty() || wildcard() {
            continue;
        }
        let (message, remedy) = match snapshot.registry.alias_end(host) {
            end if end == host => (
                format!("{host} is not a service of the mesh: the rule applies to nothing"),
                "check the name, write it fully qualified if it is in another namespace, or add a ServiceEntry",
            ),
            end => (
                format!("{host} is another name of {end}: the rule applies to nothing"),
                "write the rule for what spec.externalName of that Service says",
            ),
        };
        let field = "spec.host".to_owned();
        problems.push(problem(
            "DestinationRule",
            &rule.meta,
            field,
            message,
            remedy,
        ));
    }
}

/// VirtualServices for other names of services: what counts is the service that they lead to.
fn aliased_hosts(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    for rule in &snapshot.rules.virtual_services {
        for (index, pattern) in rule.hosts.iter().enumerate() {
            let Some(host) = pattern.exact().filter(|_| rule.for_mesh()) else {
                continue;
            };
            let end = snapshot.registry.alias_end(host.as_str());
            if end == host.as_str() || snapshot.registry.with_host(end).is_empty() {
                continue;
            }
            problems.push(problem(
                "VirtualService",
                &rule.object.meta,
                format!("spec.hosts[{index}]"),
                format!("{host} is another name of {end}, whose rules hold for it"),
                "write the rules for what spec.externalName of that Service says",
            ));
        }
    }
}
