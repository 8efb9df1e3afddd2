//! One attempt: pick an endpoint, take a stream, send the request, wait for the head.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, Uri, Version};
use mesh_route::cluster::{ClusterKind, HttpProtocol, Limit, Report as Seen};
use mesh_route::route::{Timeouts, WeightedCluster};
use mesh_route::table::Matched;
use mesh_route::{
    Cluster, Endpoint, FormatContext, ForwardRoute, PickError, PickRequest, Picked, Snapshot,
};
use mesh_telemetry::trace::Context;
use smallvec::SmallVec;

use super::body::RequestBody;
use super::failure::Failure;
use super::head::Head;
use super::headers::{Malformed, Upgrade, is_idempotent, name, strip_hop_by_hop};
use super::incoming::Incoming;
use super::payload::Payload;
use super::report::Report;
use super::response::Held;
use crate::bootstrap::{INBOUND_PORT, OUTBOUND_PORT};
use crate::listen::connection::{Connection, Direction};
use crate::upstream::error::{AcquireError, Retry};
use crate::upstream::pool::Protocol;
use crate::upstream::{self, Info, Lease, Reuse, Target};

/// Everything an attempt reads. Borrowed from the request's own frame.
#[derive(Clone, Copy)]
pub(crate) struct Forwarding<'a> {
    /// The client's connection.
    pub(crate) connection: &'a Rc<Connection>,
    /// The configuration of this request.
    pub(crate) snapshot: &'a Snapshot,
    /// The request.
    pub(crate) head: &'a Head,
    /// The route with its surroundings.
    pub(crate) matched: Matched<'a>,
    /// How to forward.
    pub(crate) forward: &'a ForwardRoute,
    /// The chosen cluster as the route names it.
    pub(crate) weighted: &'a WeightedCluster,
    /// The cluster.
    pub(crate) cluster: &'a Arc<Cluster>,
    /// The route's timeouts.
    pub(crate) timeouts: Timeouts,
    /// The client's address.
    pub(crate) client: IpAddr,
    /// Where the request stands in its trace, if it is traced.
    pub(crate) trace: Option<Context>,
    /// For consistent balancing.
    pub(crate) hash: Option<u64>,
}

/// A response head with what it holds.
pub(crate) struct Answered {
    /// The upstream's response.
    pub(crate) response: Response<Incoming>,
    /// What lasts as long as its body.
    pub(crate) held: Held,
}

/// Endpoints that attempts have gone to.
pub(crate) type Tried = SmallVec<[SocketAddr; 4]>;

/// Makes one attempt. A pooled connection that turns out to be closed is no attempt: a fresh
/// one is tried at once if nothing was sent, or if sending again does no harm.
///
/// # Errors
/// [`Failure::Acquire`] or [`Failure::Stream`].
pub(crate) async fn run(
    cx: &Forwarding<'_>,
    report: &mut Report,
    payload: &Payload,
    tried: &mut Tried,
) -> Result<Answered, Failure> {
    let worker = &cx.connection.worker;
    let stats = worker.stats.cluster(&cx.cluster.name);
    let picked = pick(cx, tried).map_err(|error| {
        stats.none_healthy.inc();
        Failure::Acquire(error.into())
    })?;
    let endpoint = Arc::clone(&picked.endpoint);
    tried.push(endpoint.address);
    report.endpoint = Some(Arc::clone(&endpoint));
    let permit = cx.cluster.acquire(Limit::Requests).map_err(|overflow| {
        stats.pending_overflow.inc();
        Failure::Acquire(overflow.into())
    })?;
    stats.rq_total.inc();
    let active = stats.rq_active.hold();
    report.attempts += 1;
    let (lease, response) = send(cx, report, payload, &endpoint)
        .await
        .map_err(|failure| match payload.cut() {
            Some(cut) => Failure::Body(cut), // the endpoint is not to blame
            None => failure,
        })
        .inspect_err(|failure| {
            if matches!(failure, Failure::Stream(_)) {
                stats.rx_reset.inc();
            }
            if matches!(
                failure,
                Failure::Acquire(AcquireError::Connect(_)) | Failure::Stream(_)
            ) {
                cx.cluster
                    .report(&endpoint, Seen::LocalFailure, Instant::now());
            }
        })?;
    cx.cluster.report(
        &endpoint,
        Seen::Status(seen_status(&response)),
        Instant::now(),
    );
    Ok(Answered {
        response,
        held: Held {
            lease,
            _picked: picked,
            _permit: permit,
            _active: active,
        },
    })
}

fn pick(cx: &Forwarding<'_>, tried: &Tried) -> Result<Picked, PickError> {
    let retry = cx
        .forward
        .retry
        .as_ref()
        .filter(|retry| retry.avoid_previous_hosts);
    let picked = cx.cluster.pick(&PickRequest {
        hash: cx.hash,
        avoid: if retry.is_some() { tried } else { &[] },
        avoid_attempts: retry.map_or(0, |retry| retry.host_selection_attempts),
        original_destination: Some(cx.connection.destination),
        random: cx.connection.worker.random(),
    })?;
    // A passthrough to our own capture ports would come straight back.
    let own = cx.connection.worker.shared.bootstrap.instance_ip;
    let address = picked.endpoint.address;
    let loops = cx.cluster.kind == ClusterKind::OriginalDst
        && (address.ip() == own || address.ip().is_loopback())
        && matches!(address.port(), OUTBOUND_PORT | INBOUND_PORT);
    if loops {
        Err(PickError::NoDestination)
    } else {
        Ok(picked)
    }
}

async fn send(
    cx: &Forwarding<'_>,
    report: &mut Report,
    payload: &Payload,
    endpoint: &Arc<Endpoint>,
) -> Result<(Lease, Response<Incoming>), Failure> {
    let protocol = protocol(cx);
    let target = Target {
        cluster: cx.cluster,
        endpoint,
        protocol,
        host: Some(cx.head.authority()),
    };
    let mut reuse = Reuse::Allowed;
    loop {
        let mut lease = upstream::acquire(&cx.connection.worker, &target, reuse).await?;
        report.upstream = Some(Rc::clone(lease.info()));
        let request = build(
            cx,
            report.attempts,
            lease.version(),
            endpoint,
            Some(lease.info()),
            payload.attempt(),
        )?;
        let sent = Instant::now();
        match lease.send(request).await {
            Ok(response) => {
                report.service_time = Some(sent.elapsed());
                return Ok((lease, response));
            }
            Err(failed) => {
                let harmless = match failed.error.retry {
                    Retry::Safe => failed.request.is_some(),
                    Retry::IfReused => {
                        is_idempotent(&cx.head.method) || matches!(payload, Payload::Empty)
                    }
                    Retry::Never => false,
                };
                let stale = reuse == Reuse::Allowed && lease.is_reused();
                if !(stale && harmless && payload.is_repeatable()) {
                    return Err(Failure::Stream(failed.error));
                }
                reuse = Reuse::Fresh;
            }
        }
    }
}

fn protocol(cx: &Forwarding<'_>) -> Protocol {
    // An upgrade needs HTTP/1.1; mesh peers take either.
    if cx
        .head
        .upgrade
        .as_deref()
        .is_some_and(|protocol| protocol != "connect")
    {
        return Protocol::Http1;
    }
    match cx.cluster.http.protocol {
        HttpProtocol::Http1 => Protocol::Http1,
        HttpProtocol::Http2 => Protocol::Http2,
        HttpProtocol::Alpn => Protocol::Negotiated,
        HttpProtocol::Downstream if cx.head.version == Version::HTTP_2 => Protocol::Http2,
        HttpProtocol::Downstream => Protocol::Http1,
    }
}

/// Outlier detection counts gRPC's own errors too: 14 is a 503, other errors are 500.
fn seen_status(response: &Response<Incoming>) -> u16 {
    match response
        .headers()
        .get(name::GRPC_STATUS)
        .and_then(|value| value.to_str().ok())
    {
        Some("14") => 503,
        Some("2" | "13" | "15") => 500,
        Some("4") => 504,
        _ => response.status().as_u16(),
    }
}

/// The request as it goes out on a `connection`, as far as that is known, that speaks `version`.
pub(crate) fn build(
    cx: &Forwarding<'_>,
    attempts: u32,
    version: Version,
    endpoint: &Endpoint,
    connection: Option<&Info>,
    body: RequestBody,
) -> Result<Request<RequestBody>, Failure> {
    let (head, view) = (cx.head, cx.head.view());
    let mut headers = head.headers.clone();
    let upgrades =
        head.upgrade.is_some() && version < Version::HTTP_2 && head.method != Method::CONNECT
            || head
                .upgrade
                .as_deref()
                .is_some_and(|protocol| protocol != "connect");
    strip_hop_by_hop(
        &mut headers,
        if upgrades {
            Upgrade::Keep
        } else {
            Upgrade::Strip
        },
    );
    let path = cx.forward.rewritten_path(&view);
    if path.is_some()
        && let Ok(original) = HeaderValue::from_str(head.path())
    {
        headers.insert(name::X_ENVOY_ORIGINAL_PATH, original);
    }
    let host = cx
        .forward
        .rewritten_host(cx.weighted, &view, endpoint.hostname.as_deref());
    if cx.forward.append_forwarded_host
        && host.is_some()
        && let Ok(original) = HeaderValue::from_str(head.authority())
    {
        headers.append(name::X_FORWARDED_HOST, original);
    }
    add_ours(cx, attempts, &mut headers);
    let stranger = connection.is_none_or(|connection| !connection.introduced.get());
    if endpoint.meshed && stranger && cx.connection.direction != Direction::Inbound {
        cx.connection.worker.announcement.write(&mut headers);
    }
    // What a rule writes into Host is the authority; what the client wrote there is known.
    headers.remove(header::HOST);
    cx.matched
        .mutate_request(&mut headers, &context(cx, Some(endpoint)));
    let ruled = headers.remove(header::HOST);
    let ruled = ruled.as_ref().and_then(|value| value.to_str().ok());
    let authority = host.as_deref().or(ruled).unwrap_or(head.authority());
    assemble(cx, version, headers, authority, path.as_deref(), body)
}

fn add_ours(cx: &Forwarding<'_>, attempts: u32, headers: &mut HeaderMap) {
    if cx.matched.host.include_attempt_count {
        headers.insert(name::X_ENVOY_ATTEMPT_COUNT, HeaderValue::from(attempts));
    }
    if let Some(limit) = cx.timeouts.per_try.or(cx.timeouts.total) {
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        headers.insert(
            name::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
            HeaderValue::from(millis),
        );
    }
    if let Some(trace) = &cx.trace {
        trace.write(headers);
    }
}

/// Where header formats take their values from.
pub(crate) fn context<'a>(
    cx: &'a Forwarding<'_>,
    endpoint: Option<&'a Endpoint>,
) -> FormatContext<'a> {
    let connection = &**cx.connection;
    FormatContext {
        method: Some(cx.head.method.as_str()),
        path: Some(cx.head.path()),
        authority: Some(cx.head.authority()),
        scheme: Some(cx.head.scheme),
        request_headers: Some(&cx.head.headers),
        downstream_remote: Some(SocketAddr::new(cx.client, connection.peer.port())),
        downstream_direct_remote: Some(connection.peer),
        downstream_local: Some(connection.destination),
        protocol: Some(cx.head.protocol()),
        server_name: connection.server_name(),
        peer_uri: connection.principal().map(|principal| &**principal),
        local_uri: Some(&connection.worker.own_principal),
        upstream: endpoint.map(|endpoint| endpoint.address),
        upstream_cluster: Some(&cx.cluster.name),
        route_name: Some(&cx.matched.route.name),
        ..FormatContext::default()
    }
}

fn assemble(
    cx: &Forwarding<'_>,
    version: Version,
    mut headers: HeaderMap,
    authority: &str,
    path: Option<&str>,
    body: RequestBody,
) -> Result<Request<RequestBody>, Failure> {
    let head = cx.head;
    let connect = head.upgrade.as_deref() == Some("connect");
    let method = match head.upgrade.as_deref() {
        Some(protocol) if head.version == Version::HTTP_2 && protocol != "connect" => {
            websocket_from_http2(cx, &mut headers, protocol);
            Method::GET
        }
        _ => head.method.clone(),
    };
    let path = head.path_and_query(path).map_err(|_| Malformed::Path)?;
    let uri = if version == Version::HTTP_2 || connect {
        let mut parts = http::uri::Parts::default();
        parts.authority = Some(Authority::try_from(authority).map_err(|_| Malformed::Host)?);
        if !connect {
            parts.scheme = Some(if head.scheme == "https" {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            });
            parts.path_and_query = Some(path);
        }
        Uri::from_parts(parts).map_err(|_| Malformed::Path)?
    } else {
        Uri::from(path)
    };
    if version != Version::HTTP_2 {
        let host = HeaderValue::from_str(authority).map_err(|_| Malformed::Host)?;
        headers.insert(header::HOST, host);
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    if cx.cluster.http.preserve_case {
        *request.extensions_mut() = head.extensions.clone();
    }
    Ok(request)
}

/// RFC 8441 has no key, RFC 6455 needs one.
fn websocket_from_http2(cx: &Forwarding<'_>, headers: &mut HeaderMap, protocol: &str) {
    use base64::Engine as _;
    if let Ok(protocol) = HeaderValue::from_str(protocol) {
        headers.insert(header::UPGRADE, protocol);
    }
    if !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        let worker = &cx.connection.worker;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&worker.random().to_be_bytes());
        key[8..].copy_from_slice(&worker.random().to_be_bytes());
        let text = base64::engine::general_purpose::STANDARD.encode(key);
        let value = HeaderValue::try_from(text).expect("base64 is a valid header value");
        headers.insert(header::SEC_WEBSOCKET_KEY, value);
    }
}
