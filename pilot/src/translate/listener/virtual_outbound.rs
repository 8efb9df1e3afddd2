//! `virtualOutbound`: takes every redirected connection and hands it to the listener of the address
//! that was dialled; what no listener has goes on as it is, or nowhere.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_config::sidecar::OutboundMode;

use super::http::{self, Routes, Side};
use super::{chain, for_ports, http_inspector, strings, tcp};
use crate::translate::{access_log, audience::View, names, route as routes, wire::*};

/// The listener.
pub(super) fn build(cx: &View<'_>) -> listener::Listener {
    let mut out = listener::Listener {
        name: names::VIRTUAL_OUTBOUND.to_owned(),
        address: Some(address(names::WILDCARD, names::OUTBOUND_PORT)),
        use_original_dst: boolean(true),
        traffic_direction: base::TrafficDirection::Outbound.into(),
        access_log: access_log::listener(cx.mesh()),
        filter_chains: vec![loop_guard(cx)],
        ..listener::Listener::default()
    };
    let catch_all = match cx.scope.outbound {
        OutboundMode::AllowAny => names::PASSTHROUGH,
        OutboundMode::RegistryOnly => {
            out.filter_chains.push(refuse_http(cx));
            out.listener_filters.push(inspector(cx));
            out.listener_filters_timeout = duration(detection_timeout(cx));
            out.continue_on_listener_filters_timeout = true;
            names::BLACK_HOLE
        }
    };
    out.filter_chains.push(listener::FilterChain {
        name: "virtualOutbound-catchall-tcp".to_owned(),
        filters: tcp::bare(cx, catch_all),
        ..listener::FilterChain::default()
    });
    out
}

/// Envoy inspects before it hands a connection to the listener of its address: ports of services
/// whose servers may speak first are left alone.
fn inspector(cx: &View<'_>) -> listener::ListenerFilter {
    let ports: BTreeSet<u32> = cx
        .scope
        .services
        .iter()
        .flat_map(|service| &service.ports)
        .filter(|port| !port.protocol.is_http())
        .map(|port| port.number.into())
        .collect();
    let mut inspector = http_inspector();
    inspector.filter_disabled = for_ports(ports);
    inspector
}

/// How long detection waits for the first bytes; a server-first protocol to an unknown host must not
/// hang for ever.
fn detection_timeout(cx: &View<'_>) -> Duration {
    match cx.mesh().protocol_detection_timeout {
        Duration::ZERO => Duration::from_secs(5),
        own => own,
    }
}

/// A connection to the port itself, not redirected, would call itself again.
fn loop_guard(cx: &View<'_>) -> listener::FilterChain {
    listener::FilterChain {
        name: "virtualOutbound-blackhole".to_owned(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: uint32(names::OUTBOUND_PORT.into()),
            ..listener::FilterChainMatch::default()
        }),
        filters: tcp::bare(cx, names::BLACK_HOLE),
        ..listener::FilterChain::default()
    }
}

/// HTTP to unknown hosts is answered 502 rather than reset, so that the application sees why.
fn refuse_http(cx: &View<'_>) -> listener::FilterChain {
    let routes = route::RouteConfiguration {
        name: names::BLOCK_ALL.to_owned(),
        virtual_hosts: vec![routes::catch_all(cx)],
        validate_clusters: boolean(false),
        ..route::RouteConfiguration::default()
    };
    listener::FilterChain {
        name: "virtualOutbound-catchall-http".to_owned(),
        filter_chain_match: Some(listener::FilterChainMatch {
            application_protocols: strings(&chain::PLAIN_HTTP),
            transport_protocol: "raw_buffer".to_owned(),
            ..listener::FilterChainMatch::default()
        }),
        filters: vec![http::filter(
            cx,
            Side::Outbound,
            names::BLACK_HOLE,
            Routes::Inline(Box::new(routes)),
            Vec::new(),
        )],
        ..listener::FilterChain::default()
    }
}
