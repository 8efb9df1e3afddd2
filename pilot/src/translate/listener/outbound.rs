//! Outbound listeners of sidecars: `0.0.0.0_PORT` for HTTP, `ADDRESS_PORT` for TCP services and for
//! ports whose protocol is detected.
//!
//! Services that ask for the same address and port share a listener; where one speaks HTTP and the
//! other bytes, the listener detects. What cannot be told apart goes to the oldest service (Istio).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use mesh_config::sidecar::{CaptureMode, EgressBind};

use super::http::{self, Routes, Side};
use super::outbound_chains::{self as chains, Chain, Content};
use super::{chain as inbound_chain, http_inspector, strings, tcp, tls_inspector};
use crate::model::{Address, Protocol, Registry as Source, Resolution, Service, ServicePort, Vip};
use crate::snapshot::{Egress, Registry};
use crate::translate::{access_log, audience::View, names, wire::*};

/// How long a client may be silent towards a port whose protocol nobody declared. Short, because
/// clients of MySQL and SMTP wait for the server's greeting, and every millisecond here is one that
/// they see. Long enough for a request that follows the handshake.
const SERVER_FIRST: Duration = Duration::from_millis(100);

/// A listener under construction.
struct Entry {
    bind: IpAddr,
    port: u16,
    /// Bound for real: the application dials it.
    bound: bool,
    /// What its ports speak so far; [`Protocol::Undeclared`] once it detects.
    protocol: Protocol,
    chains: Vec<Chain>,
    /// Made for a port that a Sidecar names: services of other listeners don't join.
    locked: bool,
}

/// Where a service's port is listened for.
struct Place {
    bind: IpAddr,
    ranges: Vec<IpNet>,
}

/// The outbound listeners of sidecars; those for pods of headless services include a proxy's own, which
/// the caller leaves out.
pub(super) fn build(cx: &View<'_>) -> impl Iterator<Item = listener::Listener> {
    let mut map: BTreeMap<(IpAddr, u16), Entry> = BTreeMap::new();
    for egress in &cx.scope.egress {
        let named = egress.listener.as_ref().is_some_and(|l| l.port.is_some());
        if !named {
            for entry in map.values_mut() {
                entry.locked = true;
            }
        }
        add_egress(cx, egress, &mut map);
    }
    map.into_values().map(move |entry| finish(cx, entry))
}

fn wildcard(cx: &View<'_>) -> IpAddr {
    if cx.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}

fn add_egress(cx: &View<'_>, egress: &Egress, map: &mut BTreeMap<(IpAddr, u16), Entry>) {
    let declared = egress.listener.as_ref().and_then(|l| l.port.as_ref());
    for service in &egress.services {
        for own in &service.ports {
            let mut port = own.clone();
            if let Some(declared) = declared {
                port.protocol = declared.protocol;
            }
            for place in places(cx, egress, service, &port) {
                add(cx, egress, service, &port, place, map);
            }
        }
    }
}

/// The address that a Sidecar's listener binds, and whether it is bound for real.
fn declared_bind(cx: &View<'_>, egress: &Egress) -> (Option<IpAddr>, bool) {
    let listener = egress.listener.as_ref();
    let bound = !cx.intercepts()
        || listener.is_some_and(|listener| listener.capture_mode == CaptureMode::None);
    match listener.and_then(|listener| listener.bind.as_ref()) {
        Some(EgressBind::Ip(ip)) => (Some(*ip), bound),
        // Refused by problems::find; nothing is bound for it.
        Some(EgressBind::Unix(_)) | None if bound => (Some(Ipv4Addr::LOCALHOST.into()), true),
        Some(EgressBind::Unix(_)) | None => (None, false),
    }
}

fn places(cx: &View<'_>, egress: &Egress, service: &Service, port: &ServicePort) -> Vec<Place> {
    let at = |bind| Place {
        bind,
        ranges: Vec::new(),
    };
    if let (Some(ip), _) = declared_bind(cx, egress) {
        return vec![at(ip)];
    }
    if port.protocol.is_http() {
        return vec![at(wildcard(cx))];
    }
    let ranges: Vec<IpNet> = service
        .vips
        .iter()
        .filter_map(|vip| match vip {
            Vip::Cidr(net) => Some(*net),
            Vip::Ip(_) => None,
        })
        .collect();
    let mut out: Vec<Place> = service.addresses().map(at).collect();
    if !ranges.is_empty() {
        out.push(Place {
            bind: wildcard(cx),
            ranges,
        });
    }
    if !out.is_empty() {
        return out;
    }
    if service.resolution == Resolution::Passthrough {
        let pods = pods(cx, service, port);
        let listed = service.registry == Source::Kubernetes || service.selector.is_some();
        if listed || !pods.is_empty() {
            return pods.into_iter().map(at).collect();
        }
    }
    vec![at(wildcard(cx))]
}

/// The addresses of a headless service's pods.
fn pods(cx: &View<'_>, service: &Service, port: &ServicePort) -> Vec<IpAddr> {
    let endpoints = cx.snapshot.registry.endpoints(service);
    let mut out: Vec<IpAddr> = Registry::port_endpoints(&endpoints, port)
        .filter_map(|endpoint| match endpoint.address {
            Address::Ip(ip) => Some(ip),
            Address::Name(_) => None,
        })
        .collect();
    out.sort();
    out.dedup();
    out
}

/// The route configuration of a port whose protocol is detected: its own where the listener stands for
/// the service's address, else the one of the port.
pub(crate) fn detected_route(
    cx: &View<'_>,
    egress: &Egress,
    service: &Service,
    port: &ServicePort,
) -> String {
    let places = places(cx, egress, service, port);
    let shared = places.iter().all(|place| place.bind == wildcard(cx));
    route_name(service, port, shared && !places.is_empty())
}

fn route_name(service: &Service, port: &ServicePort, shared: bool) -> String {
    if shared || port.protocol.is_http() {
        port.number.to_string()
    } else {
        format!("{}:{}", service.hostname, port.number)
    }
}

fn add(
    cx: &View<'_>,
    egress: &Egress,
    service: &Service,
    port: &ServicePort,
    place: Place,
    map: &mut BTreeMap<(IpAddr, u16), Entry>,
) {
    let shared = place.bind == wildcard(cx);
    let key = (place.bind, port.number);
    let known = map.get(&key);
    if known.is_some_and(|entry| entry.locked) {
        return;
    }
    if known.is_some_and(|entry| clash(entry.protocol, port.protocol)) {
        return;
    }
    let detects = |entry: &Entry| entry.protocol == Protocol::Undeclared;
    let mut new = Vec::new();
    let has_http = known.is_some_and(|entry| !entry.protocol.is_tcp());
    if !port.protocol.is_http() {
        let ranges = &place.ranges;
        new.extend(chains::of_service(
            cx, egress, service, port, ranges, shared,
        ));
    }
    let routed = port.protocol.is_http() || port.protocol == Protocol::Undeclared;
    if routed && !has_http {
        new.push(Chain::http(route_name(service, port, shared)));
    }
    let bound = declared_bind(cx, egress).1;
    let entry = map.entry(key).or_insert_with(|| Entry {
        bind: place.bind,
        port: port.number,
        bound,
        // A wildcard HTTP listener forwards what is not HTTP, so it detects too.
        protocol: if port.protocol.is_http() {
            Protocol::Undeclared
        } else {
            port.protocol
        },
        chains: Vec::new(),
        locked: false,
    });
    if !detects(entry) && entry.protocol.is_http() != port.protocol.is_http() {
        entry.protocol = Protocol::Undeclared;
    }
    for chain in new {
        if !entry
            .chains
            .iter()
            .any(|known| known.conflicts_with(&chain))
        {
            entry.chains.push(chain);
        }
    }
}

/// Protocols whose servers speak first cannot share a port with anything that is detected.
fn clash(known: Protocol, new: Protocol) -> bool {
    let first = |protocol| matches!(protocol, Protocol::Mongo | Protocol::MySql);
    (first(known) || first(new)) && known != new
}

/// A client that says nothing for so long waits for its server; 0: never. HTTP's clients always
/// speak first, late as it may be.
fn silence(cx: &View<'_>, entry: &Entry) -> Duration {
    let tcp = |chain: &Chain| !chain.detected_http && chain.sni.is_empty();
    match cx.mesh().protocol_detection_timeout {
        Duration::ZERO if entry.chains.iter().any(tcp) => SERVER_FIRST,
        own => own,
    }
}

fn finish(cx: &View<'_>, entry: Entry) -> listener::Listener {
    let name = names::listener(&entry.bind.to_string(), entry.port);
    let mut out = listener::Listener {
        address: Some(address(entry.bind, entry.port)),
        traffic_direction: base::TrafficDirection::Outbound.into(),
        continue_on_listener_filters_timeout: true,
        access_log: access_log::listener(cx.mesh()),
        listener_filters_timeout: duration(Duration::ZERO),
        bind_to_port: if entry.bound { None } else { boolean(false) },
        ..listener::Listener::default()
    };
    if entry.chains.iter().any(|chain| !chain.sni.is_empty()) {
        out.listener_filters.push(tls_inspector());
    }
    if entry.chains.iter().any(|chain| chain.detected_http) {
        out.listener_filters.push(http_inspector());
        out.listener_filters_timeout = duration(silence(cx, &entry));
    }
    for chain in entry.chains {
        let all = chain.matches_all();
        let written = write(cx, &name, chain);
        if all {
            out.default_filter_chain = Some(written);
        } else {
            out.filter_chains.push(written);
        }
    }
    match out.default_filter_chain.take() {
        Some(only) if out.filter_chains.is_empty() => out.filter_chains.push(only),
        Some(fallback) => out.default_filter_chain = Some(fallback),
        // What no chain takes is traffic to an unknown destination.
        None => out.default_filter_chain = Some(fallback(cx)),
    }
    out.name = name;
    out
}

fn fallback(cx: &View<'_>) -> listener::FilterChain {
    use mesh_config::sidecar::OutboundMode;
    let cluster = match cx.scope.outbound {
        OutboundMode::AllowAny => names::PASSTHROUGH,
        OutboundMode::RegistryOnly => names::BLACK_HOLE,
    };
    listener::FilterChain {
        name: names::PASSTHROUGH_CHAIN.to_owned(),
        filters: tcp::bare(cx, cluster),
        ..listener::FilterChain::default()
    }
}

fn write(cx: &View<'_>, name: &str, chain: Chain) -> listener::FilterChain {
    let matches_all = chain.matches_all();
    let mut sni = chain.sni;
    sni.sort();
    sni.retain(|host| host != "*");
    let condition = listener::FilterChainMatch {
        server_names: sni,
        prefix_ranges: chain.ranges.iter().map(|net| cidr(*net)).collect(),
        application_protocols: if chain.detected_http {
            strings(&inbound_chain::PLAIN_HTTP)
        } else {
            Vec::new()
        },
        transport_protocol: if chain.detected_http {
            "raw_buffer".to_owned()
        } else {
            String::new()
        },
        ..listener::FilterChainMatch::default()
    };
    let filters = match chain.content {
        Content::Tcp(filters) => filters,
        Content::Http(route) => {
            let prefix = names::stat_prefix(&format!("outbound_{name}"));
            vec![http::filter(
                cx,
                Side::Outbound,
                &prefix,
                Routes::Named(route),
                Vec::new(),
            )]
        }
    };
    listener::FilterChain {
        filter_chain_match: (!matches_all).then_some(condition),
        filters,
        ..listener::FilterChain::default()
    }
}
