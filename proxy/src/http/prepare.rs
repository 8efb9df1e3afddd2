//! What a request's headers become before anything looks at them: what strangers may not say is
//! removed, what the next hop needs is added.
//!
//! Source: Envoy "HTTP header manipulation", for edge and for sidecar.

use std::net::IpAddr;
use std::rc::Rc;

use http::HeaderMap;
use http::header::{self, HeaderValue};
use mesh_route::HttpManager;
use mesh_telemetry::trace::{Context, Sampler, new_request_id};

use super::client_cert;
use super::head::Head;
use super::headers::{
    append_forwarded_for, ensure_request_id, forwarded_address, name, sanitize_from_stranger,
};
use super::report::Report;
use crate::listen::connection::{Connection, Direction};

/// Applies the manager's rules; returns the client's address by them.
pub(crate) fn prepare(
    head: &mut Head,
    manager: &HttpManager,
    connection: &Connection,
    report: &mut Report,
) -> IpAddr {
    let peer = connection.peer.ip();
    let hops = manager.xff_trusted_hops;
    let headers = &mut head.headers;
    let client = if manager.use_remote_address {
        forwarded_address(headers, hops).unwrap_or(peer)
    } else {
        forwarded_address(headers, hops + 1).unwrap_or(peer)
    };
    if manager.use_remote_address {
        at_edge(headers, manager, peer, client, head.scheme);
    } else if !headers.contains_key(name::X_FORWARDED_PROTO) {
        headers.insert(
            name::X_FORWARDED_PROTO,
            HeaderValue::from_static(head.scheme),
        );
    }
    // The codec answers it when the body is asked for.
    headers.remove(header::EXPECT);
    take_peer_metadata(headers, connection, report);
    client_cert::apply(headers, manager.client_certificate, connection);
    if manager.generate_request_id {
        let keep = manager.preserve_external_request_id || !manager.use_remote_address;
        let worker = &connection.worker;
        ensure_request_id(headers, keep, || worker.with_rng(new_request_id));
    }
    client
}

/// The first proxy of ours: nothing the client says about itself is believed.
fn at_edge(
    headers: &mut HeaderMap,
    manager: &HttpManager,
    peer: IpAddr,
    client: IpAddr,
    scheme: &'static str,
) {
    let internal = is_private(client) && !headers.contains_key(name::X_FORWARDED_FOR);
    if !internal {
        sanitize_from_stranger(headers);
    }
    if manager.xff_trusted_hops == 0 || !headers.contains_key(name::X_FORWARDED_PROTO) {
        headers.insert(name::X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if internal {
        headers.insert(name::X_ENVOY_INTERNAL, HeaderValue::from_static("true"));
    } else if let Ok(address) = HeaderValue::from_str(&client.to_string()) {
        headers.insert(name::X_ENVOY_EXTERNAL_ADDRESS, address);
    }
    if !manager.skip_xff_append {
        append_forwarded_for(headers, peer);
    }
}

/// Envoy's "internal address": RFC 1918, loopback, and the same for IPv6.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

/// The application behind us must not see what proxies tell each other, and one in front of us
/// must not speak for us. What a client's proxy has told once holds for its connection,
/// if that is mutual TLS: another one may carry several clients.
fn take_peer_metadata(headers: &mut HeaderMap, connection: &Connection, report: &mut Report) {
    headers.remove(name::X_ENVOY_PEER_METADATA_ID);
    let told = headers.remove(name::X_ENVOY_PEER_METADATA);
    if connection.direction == Direction::Outbound {
        return;
    }
    let Some(peer) = told.and_then(|value| connection.worker.peers.get(&value)) else {
        report.client.clone_from(&connection.introduced.borrow());
        return;
    };
    report.introduced = true;
    if connection.principal().is_some() {
        connection.introduced.replace(Some(Rc::clone(&peer)));
    }
    report.client = Some(peer);
}

/// The position in the trace that goes upstream: a child span of the client's, or a new trace
/// where there is none. `None`: nothing is traced here, headers pass through as they are.
///
/// `percent`: the route's own sampling, in place of the manager's.
pub(crate) fn trace(
    headers: &HeaderMap,
    manager: &HttpManager,
    percent: Option<f64>,
    connection: &Connection,
) -> Option<Context> {
    let settings = manager.tracing.as_ref()?;
    let forced = headers.contains_key(name::X_ENVOY_FORCE_TRACE);
    let percent = match percent {
        _ if forced => settings.client_sampling_percent,
        Some(percent) => percent,
        None => settings.random_sampling_percent,
    };
    Some(
        connection
            .worker
            .with_rng(|rng| match Context::from_headers(headers) {
                Some(parent) => parent.child(rng),
                None => {
                    let sampler = Sampler::percent(percent.min(settings.overall_sampling_percent));
                    let sampling = sampler.sample(rng);
                    Context::root(rng, sampling)
                }
            }),
    )
}
