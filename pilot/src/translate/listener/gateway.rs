//! Listeners of gateways: one per port (and address) of the Gateways that select the proxy.

use std::collections::BTreeSet;

use mesh_config::Protocol;
use mesh_config::virtual_service::{ConnectionMatch, GatewayRef};

use super::http::{self, Routes, Side};
use super::{tcp, tls_inspector};
use crate::snapshot::{GatewayServer, RouteRule, ServerGroup};
use crate::translate::tls::{downstream_socket, gateway_server};
use crate::translate::{access_log, authz, context::Context, names, wire::*};

/// Time for a client's TLS handshake: slow ones would hold memory.
const HANDSHAKE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// The listeners of a gateway; a group without a filter chain has no listener.
pub(super) fn build(cx: &Context<'_>) -> Vec<listener::Listener> {
    let groups = cx.gateway().groups.values();
    groups.filter_map(|group| one(cx, group)).collect()
}

fn one(cx: &Context<'_>, group: &ServerGroup) -> Option<listener::Listener> {
    let bind = match group.bind {
        Some(ip) => ip.to_string(),
        None if cx.is_ipv4() => names::WILDCARD.to_owned(),
        None => "::".to_owned(),
    };
    let name = names::listener(&bind, group.port);
    let mut filter_chains = Vec::new();
    let first = &group.servers[0];
    if first.is_plain_http() {
        // All servers of the port share one route configuration.
        let route = first.route_name.clone()?;
        let prefix = names::stat_prefix(&format!("outbound_{name}"));
        let filters = vec![http::filter(
            cx,
            Side::Gateway,
            &prefix,
            Routes::Named(route),
            authz::http_filters(cx),
        )];
        filter_chains.push(listener::FilterChain {
            filters,
            ..listener::FilterChain::default()
        });
    } else {
        let mut taken = BTreeSet::new();
        for server in &group.servers {
            filter_chains.extend(of_server(cx, server, &name, &mut taken));
        }
    }
    if filter_chains.is_empty() {
        return None;
    }
    let tls = group
        .servers
        .iter()
        .any(|server| server.server().tls.is_some());
    Some(listener::Listener {
        name,
        address: Some(address(bind, group.port)),
        traffic_direction: base::TrafficDirection::Outbound.into(),
        access_log: access_log::listener(cx.mesh()),
        listener_filters: if tls {
            vec![tls_inspector()]
        } else {
            Vec::new()
        },
        filter_chains,
        ..listener::Listener::default()
    })
}

fn of_server(
    cx: &Context<'_>,
    server: &GatewayServer,
    listener: &str,
    taken: &mut BTreeSet<String>,
) -> Vec<listener::FilterChain> {
    let Some(tls) = server.terminated() else {
        return if server.server().tls.is_some() {
            passthrough(cx, server, taken)
        } else {
            tcp_routes(cx, server)
                .map(|filters| chain(Vec::new(), filters, None))
                .into_iter()
                .collect()
        };
    };
    let socket = downstream_socket(&gateway_server(tls));
    let filters = match &server.route_name {
        Some(route) if server.server().port.protocol == Protocol::Https => {
            let prefix = server.server().name.clone();
            let prefix =
                prefix.unwrap_or_else(|| names::stat_prefix(&format!("outbound_{listener}")));
            let routes = Routes::Named(route.clone());
            let authorization = authz::http_filters(cx);
            Some(vec![http::filter(
                cx,
                Side::Gateway,
                &prefix,
                routes,
                authorization,
            )])
        }
        _ => tcp_routes(cx, server),
    };
    filters
        .map(|filters| chain(server.sni_hosts(), filters, Some(socket)))
        .into_iter()
        .collect()
}

fn chain(
    mut sni: Vec<String>,
    filters: Vec<listener::Filter>,
    socket: Option<base::TransportSocket>,
) -> listener::FilterChain {
    if sni.iter().any(|host| host == "*") {
        sni.clear();
    }
    sni.sort();
    listener::FilterChain {
        filter_chain_match: (!sni.is_empty()).then(|| listener::FilterChainMatch {
            server_names: sni,
            ..listener::FilterChainMatch::default()
        }),
        filters,
        transport_socket_connect_timeout: socket.as_ref().and_then(|_| duration(HANDSHAKE_TIMEOUT)),
        transport_socket: socket,
        ..listener::FilterChain::default()
    }
}

/// The VirtualServices bound to the server's Gateway with a host of the server.
fn rules<'b>(
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
        .filter(|rule| {
            let namespace = &rule.object.meta.namespace;
            server
                .server()
                .hosts
                .iter()
                .any(|own| rule.hosts.iter().any(|host| own.admits(namespace, host)))
        })
}

fn applies(server: &GatewayServer, condition: &ConnectionMatch) -> bool {
    let meta = &server.gateway.meta;
    let gateway = GatewayRef::Gateway {
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
    };
    (condition.gateways.is_empty() || condition.gateways.contains(&gateway))
        && condition
            .port
            .is_none_or(|port| port == server.server().port.number)
}

/// The first TCP route that takes the server's port.
fn tcp_routes(cx: &Context<'_>, server: &GatewayServer) -> Option<Vec<listener::Filter>> {
    let port = server.server().port.number.get();
    rules(cx, server).find_map(|rule| {
        let mut routes = rule.object.spec.tcp.iter();
        let route = routes.find(|route| {
            route.matches.is_empty() || route.matches.iter().any(|m| applies(server, m))
        })?;
        let mut filters = authz::network_filters(cx);
        filters.extend(tcp::to_destinations(cx, rule, &route.destinations, port));
        Some(filters)
    })
}

/// One chain per SNI match; a name that an older rule has taken is left out, as Envoy refuses
/// duplicates.
fn passthrough(
    cx: &Context<'_>,
    server: &GatewayServer,
    taken: &mut BTreeSet<String>,
) -> Vec<listener::FilterChain> {
    let port = server.server().port.number.get();
    let mut out = Vec::new();
    for rule in rules(cx, server) {
        for tls in &rule.object.spec.tls {
            for condition in &tls.matches {
                if !applies(server, &condition.connection) {
                    continue;
                }
                let sni: Vec<String> = condition
                    .sni_hosts
                    .iter()
                    .map(ToString::to_string)
                    .filter(|host| taken.insert(host.clone()))
                    .collect();
                if sni.is_empty() {
                    continue;
                }
                let mut filters = authz::network_filters(cx);
                filters.extend(tcp::to_destinations(cx, rule, &tls.destinations, port));
                out.push(chain(sni, filters, None));
            }
        }
    }
    out
}
