//! `virtualInbound`: takes every redirected inbound connection; one set of filter chains per port of
//! the workload, and one for ports that no service names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use mesh_config::peer_authentication::MtlsMode;
use mesh_config::sidecar::CaptureMode;
use mesh_config::{PortNumber, Protocol};

use super::chain::{self, Chain, Transport};
use super::http::{self, Routes, Side};
use super::{for_ports, http_inspector, original_destination, strings, tcp, tls_inspector};
use crate::translate::route as routes;
use crate::translate::tls::{downstream_socket, mesh_server};
use crate::translate::{access_log, authz, context::Context, names, wire::*};
use route::route_action::ClusterSpecifier;

/// A port of the workload.
struct Port {
    /// The workload's port.
    number: u16,
    protocol: Protocol,
    /// For traces: host and port as callers know them.
    called: String,
    service_port: u16,
    /// Bound for real at this address instead of being redirected.
    bind: Option<std::net::IpAddr>,
}

/// The inbound listeners: those that a Sidecar binds for real, and, where traffic is redirected,
/// `virtualInbound`.
pub(super) fn build(cx: &Context<'_>) -> Vec<listener::Listener> {
    let mut chains = vec![loop_guard(cx)];
    let mut bound = Vec::new();
    // Catch-all chains carry no port; those of a port are preferred by Envoy whatever their order.
    for port in ports(cx) {
        let built = of_port(cx, &port);
        match port.bind {
            Some(bind) => bound.push(listener(
                cx,
                names::listener(&bind.to_string(), port.number),
                address(bind, port.number),
                built,
                false,
            )),
            None => chains.extend(built),
        }
    }
    if !cx.intercepts() {
        return bound;
    }
    chains.extend(passthrough(cx));
    let wildcard = if cx.is_ipv4() { names::WILDCARD } else { "::" };
    let virtual_inbound = listener(
        cx,
        names::VIRTUAL_INBOUND.to_owned(),
        address(wildcard, names::INBOUND_PORT),
        chains,
        true,
    );
    bound.insert(0, virtual_inbound);
    bound
}

fn listener(
    cx: &Context<'_>,
    name: String,
    at: base::Address,
    filter_chains: Vec<listener::FilterChain>,
    redirected: bool,
) -> listener::Listener {
    let mut out = listener::Listener {
        name,
        address: Some(at),
        traffic_direction: base::TrafficDirection::Inbound.into(),
        continue_on_listener_filters_timeout: true,
        access_log: access_log::listener(cx.mesh()),
        listener_filters_timeout: duration(cx.mesh().protocol_detection_timeout),
        ..listener::Listener::default()
    };
    if redirected {
        out.listener_filters.push(original_destination());
    }
    inspectors(&mut out, &filter_chains);
    out.filter_chains = filter_chains;
    out
}

/// TLS is looked for everywhere (one byte tells); HTTP only on ports that need it, since waiting for a
/// client that waits for its server would never end.
fn inspectors(out: &mut listener::Listener, chains: &[listener::FilterChain]) {
    let condition = |c: &listener::FilterChain| c.filter_chain_match.clone().unwrap_or_default();
    if chains
        .iter()
        .any(|c| condition(c).transport_protocol == "tls")
    {
        out.listener_filters.push(tls_inspector());
    }
    let port = |c: &listener::FilterChain| condition(c).destination_port.map_or(0, |p| p.value);
    let detects = |c: &listener::FilterChain| {
        let alpn = condition(c).application_protocols;
        alpn.iter()
            .any(|value| value == "http/1.1" || value == "h2c")
    };
    let needed: BTreeSet<u32> = chains.iter().filter(|c| detects(c)).map(&port).collect();
    if needed.is_empty() {
        return;
    }
    let declared: BTreeSet<u32> = chains.iter().map(port).filter(|port| *port > 0).collect();
    let mut inspector = http_inspector();
    inspector.filter_disabled = for_ports(declared.difference(&needed).copied());
    out.listener_filters.push(inspector);
}

/// The workload's ports: those of its Sidecar's ingress, else those of its services (the oldest
/// service wins a port).
fn ports(cx: &Context<'_>) -> Vec<Port> {
    let ingress = cx
        .scope
        .sidecar
        .as_ref()
        .filter(|sidecar| !sidecar.spec.ingress.is_empty());
    if let Some(sidecar) = ingress {
        let called = format!("{}.{}", sidecar.meta.name, sidecar.meta.namespace);
        return sidecar
            .spec
            .ingress
            .iter()
            .map(|listener| {
                let number = listener.port.number.get();
                let real = !cx.intercepts() || listener.capture_mode == CaptureMode::None;
                let any = || Ipv4Addr::UNSPECIFIED.into();
                Port {
                    number,
                    protocol: listener.port.protocol,
                    called: called.clone(),
                    service_port: number,
                    bind: real.then(|| listener.bind.unwrap_or_else(any)),
                }
            })
            .collect();
    }
    let mut by_port: BTreeMap<u16, Port> = BTreeMap::new();
    for target in cx.targets() {
        by_port.entry(target.target).or_insert_with(|| Port {
            number: target.target,
            protocol: target.port.protocol,
            called: target.service.hostname.to_string(),
            service_port: target.port.number,
            bind: None,
        });
    }
    by_port.into_values().collect()
}

fn of_port(cx: &Context<'_>, port: &Port) -> Vec<listener::FilterChain> {
    let mode = PortNumber::new(port.number)
        .map_or(MtlsMode::Permissive, |number| cx.own_mtls().of(number));
    let cluster = names::inbound_cluster(port.number);
    let name = names::listener(names::WILDCARD, port.number);
    chain::of(mode, port.protocol)
        .iter()
        .map(|chain| {
            let matched = if port.bind.is_some() { 0 } else { port.number };
            let operation = format!("{}:{}/*", port.called, port.service_port);
            let spec = Spec {
                name: name.clone(),
                stat_prefix: names::stat_prefix(&format!("inbound_{name}")),
                port: matched,
                cluster: &cluster,
                virtual_host: format!("inbound|http|{}", port.service_port),
                operation,
                retries: !matches!(port.protocol, Protocol::Grpc | Protocol::GrpcWeb),
            };
            write(cx, chain, &spec)
        })
        .collect()
}

/// Ports that no service names: whatever the workload demands, protocol unknown. Ports that a policy
/// names get chains of their own.
fn passthrough(cx: &Context<'_>) -> Vec<listener::FilterChain> {
    let mtls = cx.own_mtls();
    let known: BTreeSet<u16> = ports(cx).iter().map(|port| port.number).collect();
    let named = mtls
        .ports
        .iter()
        .filter(|(port, _)| !known.contains(&port.get()))
        .map(|(port, mode)| (port.get(), *mode));
    std::iter::once((0, mtls.mode))
        .chain(named)
        .flat_map(|(port, mode)| {
            chain::of(mode, Protocol::Undeclared)
                .into_iter()
                .map(move |chain| (port, chain))
        })
        .map(|(port, chain)| {
            let name = if chain.http {
                "virtualInbound-catchall-http"
            } else {
                names::VIRTUAL_INBOUND
            };
            let spec = Spec {
                name: name.to_owned(),
                stat_prefix: names::stat_prefix(names::INBOUND_PASSTHROUGH),
                port,
                cluster: names::INBOUND_PASSTHROUGH,
                virtual_host: "inbound|http|0".to_owned(),
                operation: ":0/*".to_owned(),
                retries: true,
            };
            write(cx, &chain, &spec)
        })
        .collect()
}

/// A connection to the port itself, not redirected, would call itself again.
fn loop_guard(cx: &Context<'_>) -> listener::FilterChain {
    listener::FilterChain {
        name: "virtualInbound-blackhole".to_owned(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: uint32(names::INBOUND_PORT.into()),
            ..listener::FilterChainMatch::default()
        }),
        filters: tcp::bare(cx, names::BLACK_HOLE),
        ..listener::FilterChain::default()
    }
}

/// What a filter chain is made for.
struct Spec<'a> {
    name: String,
    stat_prefix: String,
    /// 0 for any port.
    port: u16,
    cluster: &'a str,
    virtual_host: String,
    operation: String,
    /// Whether a request that never reached the application is tried again.
    retries: bool,
}

fn write(cx: &Context<'_>, chain: &Chain, spec: &Spec<'_>) -> listener::FilterChain {
    let filters = if chain.http {
        let routes = Routes::Inline(Box::new(inline_routes(spec)));
        let authorization = authz::http_filters(cx);
        vec![http::filter(
            cx,
            Side::Inbound,
            &spec.stat_prefix,
            routes,
            authorization,
        )]
    } else {
        tcp::inbound(cx, spec.cluster)
    };
    listener::FilterChain {
        name: spec.name.clone(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: uint32(spec.port.into()).filter(|port| port.value > 0),
            transport_protocol: chain.transport.as_str().to_owned(),
            application_protocols: strings(&chain.alpn),
            ..listener::FilterChainMatch::default()
        }),
        filters,
        transport_socket: (chain.terminates && chain.transport == Transport::Tls)
            .then(|| downstream_socket(&mesh_server(chain.http))),
        ..listener::FilterChain::default()
    }
}

fn inline_routes(spec: &Spec<'_>) -> route::RouteConfiguration {
    let mut action = route::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(spec.cluster.to_owned())),
        timeout: duration(Duration::ZERO),
        max_stream_duration: Some(route::route_action::MaxStreamDuration {
            max_stream_duration: duration(Duration::ZERO),
            grpc_timeout_header_max: duration(Duration::ZERO),
            ..route::route_action::MaxStreamDuration::default()
        }),
        ..route::RouteAction::default()
    };
    if spec.retries {
        // The application may close an idle connection just as a request is sent on it (Istio).
        action.retry_policy = Some(route::RetryPolicy {
            retry_on: "reset-before-request".to_owned(),
            num_retries: uint32(2),
            ..route::RetryPolicy::default()
        });
    }
    route::RouteConfiguration {
        name: spec.cluster.to_owned(),
        virtual_hosts: vec![route::VirtualHost {
            name: spec.virtual_host.clone(),
            domains: vec!["*".to_owned()],
            routes: vec![route::Route {
                name: "default".to_owned(),
                r#match: Some(routes::match_all()),
                decorator: Some(route::Decorator {
                    operation: spec.operation.clone(),
                    propagate: None,
                }),
                action: Some(route::route::Action::Route(action)),
                ..route::Route::default()
            }],
            ..route::VirtualHost::default()
        }],
        validate_clusters: boolean(false),
        ..route::RouteConfiguration::default()
    }
}
