//! LDS: what sidecars and gateways listen on.
//!
//! - [`outbound`]: one listener per HTTP port, and per address and port of TCP services; redirected
//!   connections reach them through `virtualOutbound`.
//! - [`inbound`]: `virtualInbound`, one filter chain per port of the workload, transport and protocol.
//! - [`gateway`]: the ports of Gateways.

mod chain;
mod gateway;
mod http;
mod inbound;
mod outbound;
mod outbound_chains;
mod tcp;
mod virtual_outbound;

use super::{EncodedResource, Names, context::Context, names, shared::merged, wire::*};

pub(crate) use outbound::detected_route;

/// The listeners of a proxy, by name.
pub(crate) fn build(cx: &Context<'_>, wanted: &Names) -> Vec<EncodedResource> {
    let encode = |it: &listener::Listener| EncodedResource::new(it.name.as_str(), it);
    if !cx.is_sidecar() {
        let own = gateway::build(cx).iter().map(encode).collect();
        return merged(std::iter::empty(), own, wanted);
    }
    let shared = cx.shared.listeners.get_or_init(|| {
        let listeners = outbound::build(cx);
        let redirected = cx.intercepts().then(|| virtual_outbound::build(cx));
        let mut out: Vec<_> = listeners.chain(redirected).map(|it| encode(&it)).collect();
        out.sort_by(|a, b| a.name().cmp(b.name()));
        out
    });
    // Traffic to oneself does not leave by an outbound listener.
    let own_pod = names::listener(&cx.proxy.ip.to_string(), 0);
    let own_pod = own_pod.trim_end_matches('0');
    let others = shared.iter().filter(|one| !one.name().starts_with(own_pod));
    let own = inbound::build(cx).iter().map(encode).collect();
    merged(others, own, wanted)
}

/// A TLS inspector: finds out TLS, SNI and ALPN.
fn tls_inspector() -> listener::ListenerFilter {
    listener_filter(
        "envoy.filters.listener.tls_inspector",
        &mesh_xds::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector::default(),
    )
}

/// An HTTP inspector: finds out HTTP in plain text.
fn http_inspector() -> listener::ListenerFilter {
    listener_filter(
        "envoy.filters.listener.http_inspector",
        &mesh_xds::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector::default(
        ),
    )
}

/// Restores the address that the client dialled.
fn original_destination() -> listener::ListenerFilter {
    listener_filter(
        "envoy.filters.listener.original_dst",
        &mesh_xds::envoy::extensions::filters::listener::original_dst::v3::OriginalDst::default(),
    )
}

/// A predicate for these destination ports; `None` for no port.
fn for_ports(
    ports: impl IntoIterator<Item = u32>,
) -> Option<listener::ListenerFilterChainMatchPredicate> {
    use listener::listener_filter_chain_match_predicate::{MatchSet, Rule};
    let mut rules: Vec<_> = ports
        .into_iter()
        .filter_map(|port| i32::try_from(port).ok())
        .map(|port| listener::ListenerFilterChainMatchPredicate {
            rule: Some(Rule::DestinationPortRange(types::Int32Range {
                start: port,
                end: port + 1,
            })),
        })
        .collect();
    match rules.len() {
        0 => None,
        1 => rules.pop(),
        _ => Some(listener::ListenerFilterChainMatchPredicate {
            rule: Some(Rule::OrMatch(MatchSet { rules })),
        }),
    }
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}
