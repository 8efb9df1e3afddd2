//! Route configurations of sidecars: one per HTTP port, and one per service and port whose protocol is
//! detected.

use std::sync::Arc;

use hashbrown::HashSet;
use mesh_config::sidecar::OutboundMode;
use mesh_config::virtual_service::GatewayRef;

use super::rules::{self, Target};
use super::{configuration, domains, match_all, retry};
use crate::model::{Protocol, Service};
use crate::snapshot::{Egress, RouteRule};
use crate::translate::{audience::View, cluster::default_policy, names, wire::*};
use route::route_action::ClusterSpecifier;

/// The route configuration with this name: `9080` or `HOST:PORT`.
pub(super) fn build(cx: &View<'_>, name: &str) -> route::RouteConfiguration {
    let (host, port) = match name.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, name),
    };
    match port.parse() {
        Ok(port) => for_port(cx, name, host, port),
        Err(_) => configuration(name, Vec::new()),
    }
}

/// Every name that the sidecar's listeners refer to.
pub(super) fn names(cx: &View<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for egress in &cx.scope.egress {
        for service in &egress.services {
            for port in &service.ports {
                if port.protocol.is_http() {
                    out.push(port.number.to_string());
                } else if port.protocol == Protocol::Undeclared {
                    out.push(crate::translate::listener::detected_route(
                        cx, egress, service, port,
                    ));
                }
            }
        }
    }
    out
}

/// The listener of the scope that serves a port: the one for this port, else the one for all.
fn egress<'b>(cx: &'b View<'_>, port: u16) -> Option<&'b Egress> {
    let number = |egress: &Egress| {
        let listener = egress.listener.as_ref();
        listener
            .and_then(|l| l.port.as_ref())
            .map(|p| p.number.get())
    };
    let egress = &cx.scope.egress;
    let own = egress.iter().find(|egress| number(egress) == Some(port));
    own.or_else(|| egress.iter().find(|egress| number(egress).is_none()))
}

fn for_port(cx: &View<'_>, name: &str, only: Option<&str>, port: u16) -> route::RouteConfiguration {
    let Some(egress) = egress(cx, port) else {
        return configuration(name, Vec::new());
    };
    let mut hosts = virtual_hosts(cx, egress, port, only);
    if only.is_some() {
        // One service behind one address: whatever the request calls it.
        for host in &mut hosts {
            host.domains = vec!["*".to_owned()];
        }
    } else {
        hosts.push(catch_all(cx));
    }
    configuration(name, hosts)
}

fn virtual_hosts(
    cx: &View<'_>,
    egress: &Egress,
    port: u16,
    only: Option<&str>,
) -> Vec<route::VirtualHost> {
    let mut services: Vec<&Arc<Service>> = egress
        .services
        .iter()
        .filter(|service| only.is_none_or(|host| *service.hostname == *host))
        .filter(|service| {
            let port = service.port(port);
            port.is_some_and(|p| p.protocol.is_http() || p.protocol == Protocol::Undeclared)
        })
        .collect();
    services.sort_by(|a, b| a.hostname.cmp(&b.hostname));
    let full_names: HashSet<String> = services
        .iter()
        .map(|service| service.hostname.to_ascii_lowercase())
        .collect();
    let mut taken = HashSet::new();
    let mut out = Vec::new();
    for service in services {
        let mut domains = domains::of_service(service, cx.dns_domain());
        for alias in cx.snapshot.registry.aliases(&service.hostname) {
            if alias.export_to.visible_in(cx.namespace()) {
                domains.extend(domains::of_name(&alias.hostname, cx.dns_domain()));
            }
        }
        let domains = domains::dedupe(domains, &mut taken, &full_names);
        if !domains.is_empty() {
            let routes = routes(cx, egress, service, port);
            out.push(virtual_host(&service.hostname, port, domains, routes));
        }
    }
    if port == 80 && only.is_none() {
        out.extend(foreign_hosts(cx, egress, port, &mut taken));
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

fn virtual_host(
    host: &str,
    port: u16,
    domains: Vec<String>,
    routes: Vec<route::Route>,
) -> route::VirtualHost {
    route::VirtualHost {
        name: format!("{host}:{port}"),
        domains,
        routes,
        include_request_attempt_count: true,
        ..route::VirtualHost::default()
    }
}

/// The routes of the service's VirtualService; without one, or where none of them is for this proxy,
/// straight to the service.
fn routes(cx: &View<'_>, egress: &Egress, service: &Service, port: u16) -> Vec<route::Route> {
    let rule = crate::snapshot::rule_for(&egress.rules, service);
    let routes = rule.map_or_else(Vec::new, |rule| of_rule(cx, rule, port));
    if routes.is_empty() {
        vec![straight(cx, service, port)]
    } else {
        routes
    }
}

fn of_rule(cx: &View<'_>, rule: &RouteRule, port: u16) -> Vec<route::Route> {
    rules::build(&Target {
        cx,
        rule,
        port,
        gateway: GatewayRef::Mesh,
        tls: false,
    })
}

/// Hosts of VirtualServices that are no services: rules for them apply on port 80, as in Istio.
fn foreign_hosts(
    cx: &View<'_>,
    egress: &Egress,
    port: u16,
    taken: &mut HashSet<String>,
) -> Vec<route::VirtualHost> {
    let mut out = Vec::new();
    for rule in &egress.rules {
        if rule.object.spec.http.is_empty() {
            continue;
        }
        for host in &rule.hosts {
            let covers_service = egress
                .services
                .iter()
                .any(|service| crate::snapshot::covers(host, &service.hostname));
            let text = host.to_string();
            if covers_service || text == "*" || !taken.insert(text.clone()) {
                continue;
            }
            let routes = of_rule(cx, rule, port);
            if !routes.is_empty() {
                out.push(virtual_host(&text, port, vec![text.clone()], routes));
            }
        }
    }
    out
}

/// The route to a service that no VirtualService governs.
fn straight(cx: &View<'_>, service: &Service, port: u16) -> route::Route {
    let rule = cx.destination_rule(service).map(|rule| &**rule);
    let settings = default_policy(rule, None, port);
    let hash = rules::hash_policy(settings.load_balancer.as_ref());
    let default = cx.mesh().default_http_retry_policy.as_ref();
    let mut action = route::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(names::outbound_cluster(
            &service.hostname,
            "",
            port,
        ))),
        retry_policy: retry::build(default, hash.is_some()),
        hash_policy: hash.into_iter().collect(),
        ..route::RouteAction::default()
    };
    rules::set_timeout(&mut action, None);
    route::Route {
        name: "default".to_owned(),
        r#match: Some(match_all()),
        decorator: Some(route::Decorator {
            operation: format!("{}:{port}/*", service.hostname),
            propagate: None,
        }),
        action: Some(route::route::Action::Route(action)),
        ..route::Route::default()
    }
}

/// What happens to requests for hosts that the mesh does not know.
pub(crate) fn catch_all(cx: &View<'_>) -> route::VirtualHost {
    let (name, action) = match cx.scope.outbound {
        OutboundMode::AllowAny => {
            let mut action = route::RouteAction {
                cluster_specifier: Some(ClusterSpecifier::Cluster(names::PASSTHROUGH.to_owned())),
                ..route::RouteAction::default()
            };
            rules::set_timeout(&mut action, None);
            (names::ALLOW_ANY, route::route::Action::Route(action))
        }
        OutboundMode::RegistryOnly => {
            let action = route::DirectResponseAction {
                status: 502,
                ..route::DirectResponseAction::default()
            };
            (
                names::BLOCK_ALL,
                route::route::Action::DirectResponse(action),
            )
        }
    };
    route::VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![route::Route {
            name: name.to_owned(),
            r#match: Some(match_all()),
            action: Some(action),
            ..route::Route::default()
        }],
        include_request_attempt_count: true,
        ..route::VirtualHost::default()
    }
}
