//! Route configurations of gateways: `http.PORT`, `https.PORT.PORTNAME.GATEWAY.NAMESPACE`.

use std::collections::BTreeMap;

use mesh_config::HostPattern;
use mesh_config::virtual_service::GatewayRef;

use super::rules::{self, Target};
use super::{configuration, matching};
use crate::snapshot::{GatewayServer, RouteRule};
use crate::translate::{context::Context, wire::*};
use route::virtual_host::TlsRequirementType;

/// The virtual hosts of all servers that share the route configuration `name`. Rules of several
/// VirtualServices for one host are joined, the oldest first, those that take everything last.
pub(super) fn build(cx: &Context<'_>, name: &str) -> route::RouteConfiguration {
    let servers = cx.gateway().servers_of_route(name);
    let Some(first) = servers.first() else {
        return configuration(name, Vec::new());
    };
    let mut hosts: BTreeMap<HostPattern, route::VirtualHost> = BTreeMap::new();
    for server in &servers {
        add_server(cx, server, &mut hosts);
    }
    if hosts.is_empty() {
        // Without routes Envoy answers 404.
        let port = first.server().port.number;
        let nothing = virtual_host("blackhole", port.get(), "*".to_owned());
        return configuration(name, vec![nothing]);
    }
    let mut hosts: Vec<_> = hosts.into_values().collect();
    for host in &mut hosts {
        host.routes
            .sort_by_key(|route| route.r#match.as_ref().is_some_and(matching::is_catch_all));
    }
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    configuration(name, hosts)
}

fn virtual_host(host: &str, port: u16, domain: String) -> route::VirtualHost {
    route::VirtualHost {
        name: format!("{host}:{port}"),
        domains: vec![domain],
        include_request_attempt_count: true,
        ..route::VirtualHost::default()
    }
}

fn add_server(
    cx: &Context<'_>,
    server: &GatewayServer,
    hosts: &mut BTreeMap<HostPattern, route::VirtualHost>,
) {
    let spec = server.server();
    let port = spec.port.number.get();
    let meta = &server.gateway.meta;
    let redirect = spec.https_redirect;
    for rule in rules_of(cx, server) {
        let shared = shared_hosts(server, rule);
        if shared.is_empty() {
            continue;
        }
        let routes = rules::build(&Target {
            cx,
            rule,
            port,
            gateway: GatewayRef::Gateway {
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
            },
            tls: server.terminated().is_some(),
        });
        if routes.is_empty() {
            continue;
        }
        for pattern in shared {
            let text = pattern.to_string();
            let host = hosts
                .entry(pattern)
                .or_insert_with(|| virtual_host(&text, port, text.clone()));
            host.routes.extend(routes.iter().cloned());
        }
    }
    if redirect {
        for own in &spec.hosts {
            let text = own.host.to_string();
            hosts
                .entry(own.host.clone())
                .or_insert_with(|| virtual_host(&text, port, text.clone()));
        }
        for (pattern, host) in hosts.iter_mut() {
            if spec.hosts.iter().any(|own| own.host.covers(pattern)) {
                host.require_tls = TlsRequirementType::All.into();
            }
        }
    }
}

/// The VirtualServices bound to a server's Gateway that the gateway's namespace sees, the oldest first.
pub(super) fn rules_of<'b>(
    cx: &'b Context<'_>,
    server: &'b GatewayServer,
) -> impl Iterator<Item = &'b RouteRule> {
    let meta = &server.gateway.meta;
    cx.snapshot
        .rules
        .virtual_services
        .iter()
        .map(|rule| &**rule)
        .filter(|rule| rule.for_gateway(&meta.namespace, &meta.name))
        .filter(|rule| rule.export_to.visible_in(&cx.proxy.namespace))
}

/// The hosts that both a server and a VirtualService name.
fn shared_hosts(server: &GatewayServer, rule: &RouteRule) -> Vec<HostPattern> {
    let namespace = &rule.object.meta.namespace;
    let mut out: Vec<HostPattern> = Vec::new();
    for own in &server.server().hosts {
        if !own.namespace.contains(namespace) {
            continue;
        }
        for host in &rule.hosts {
            if let Some(both) = own.host.intersect(host)
                && !out.contains(both)
            {
                out.push(both.clone());
            }
        }
    }
    out
}
