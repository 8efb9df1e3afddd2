//! A request that has its route: gate, fault, cluster, attempts, and the response or tunnel.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use mesh_route::cors::CorsDecision;
use mesh_route::http_manager::HttpFilter;
use mesh_route::route::WeightedCluster;
use mesh_route::table::Matched;
use mesh_route::{Cluster, ForwardRoute};
use mesh_telemetry::access_log::ResponseFlag;

use super::attempt::{Answered, Forwarding};
use super::body::Replay;
use super::exchange::{Cx, Reply, TAKEN_BY_TUNNEL, finish_local};
use super::failure::Failure;
use super::finish::{self, Finish};
use super::head::Head;
use super::headers::is_idempotent;
use super::incoming::Incoming;
use super::local::local;
use super::payload::Payload;
use super::prepare::trace;
use super::report::Report;
use super::response::{Deadlines, ResponseBody};
use super::tunnel::WayOut;
use super::{cookie, forward, mirror, tunnel};

/// A request with its route.
pub(super) struct Routed<'a> {
    pub(super) head: &'a Rc<Head>,
    pub(super) matched: Matched<'a>,
    pub(super) forward: &'a ForwardRoute,
    pub(super) weighted: &'a WeightedCluster,
    pub(super) client: IpAddr,
}

/// Forwards a routed request, or stops it on the way.
pub(super) async fn forwarded(
    cx: &Cx<'_>,
    report: &mut Option<Box<Report>>,
    routed: &Routed<'_>,
    body: Incoming,
    way_out: WayOut,
) -> Result<Reply, Failure> {
    let taken = report.as_mut().expect(TAKEN_BY_TUNNEL);
    let cors = match gate(cx, taken, routed)? {
        Gate::Open(cors) => cors,
        Gate::Answered(response) => return Ok(Reply::Response(response)),
    };
    taken.cluster_name = Some(Arc::clone(&routed.weighted.name));
    inject_fault(cx, taken, routed).await?;
    let cluster = cx
        .snapshot
        .cluster(&routed.weighted.name)
        .ok_or_else(|| Failure::NoCluster {
            cluster: Arc::clone(&routed.weighted.name),
            status: routed.forward.cluster_not_found_status,
        })?;
    taken.cluster = Some(Arc::clone(cluster));
    let (forwarding, cookie) = forwarding(cx, routed, cluster);
    let payload = payload(taken, routed, body);
    mirror::start(&forwarding, &payload);
    let deadlines = Deadlines::new(cx.manager, &forwarding.timeouts);
    let answered = forward::run(&forwarding, taken, &payload, &deadlines).await?;
    let finish = Finish {
        forwarding: &forwarding,
        manager: cx.manager,
        cors,
        cookie,
    };
    if tunnel::agreed(routed.head, answered.response.status()) {
        return Ok(tunnelled(cx, report, &finish, answered, way_out));
    }
    let response = finish::respond(&finish, taken, answered, deadlines);
    Ok(Reply::Response(response))
}

enum Gate {
    /// Forward; these headers go into the response.
    Open(Option<HeaderMap>),
    Answered(Response<ResponseBody>),
}

/// What may stop a routed request: an upgrade that is not allowed, a cross-origin preflight.
fn gate(cx: &Cx<'_>, report: &mut Report, routed: &Routed<'_>) -> Result<Gate, Failure> {
    if let Some(protocol) = &routed.head.upgrade
        && !cx.manager.allows_upgrade(protocol, routed.forward)
    {
        return Err(Failure::UpgradeRefused);
    }
    Ok(match cross_origin(cx, routed) {
        CorsDecision::NotCors => Gate::Open(None),
        CorsDecision::Actual(headers) => Gate::Open(Some(headers)),
        CorsDecision::Preflight(headers) => {
            let mut response = local(StatusCode::OK, None, Bytes::new());
            response.headers_mut().extend(headers);
            Gate::Answered(finish_local(cx, report, &routed.matched, response))
        }
    })
}

/// What the attempts read, and the cookie to set if balancing needs one.
fn forwarding<'a>(
    cx: &Cx<'a>,
    routed: &Routed<'a>,
    cluster: &'a Arc<Cluster>,
) -> (Forwarding<'a>, Option<HeaderValue>) {
    let head = routed.head;
    let client = SocketAddr::new(routed.client, cx.connection.peer.port());
    let random = || cx.connection.worker.random();
    let sticky = cookie::sticky(routed.forward, &head.view(), client, random);
    let percent = routed.matched.route.sampling_percent;
    let forwarding = Forwarding {
        connection: cx.connection,
        snapshot: cx.snapshot,
        head,
        matched: routed.matched,
        forward: routed.forward,
        weighted: routed.weighted,
        cluster,
        timeouts: routed.forward.timeouts(&head.headers),
        client: routed.client,
        trace: trace(&head.headers, cx.manager, percent, cx.connection),
        hash: sticky.hash,
    };
    (forwarding, sticky.set_cookie)
}

/// Keeps what has passed of the body where another attempt may need it.
fn payload(report: &mut Report, routed: &Routed<'_>, body: Incoming) -> Payload {
    let may_repeat = routed.forward.retry.is_some() || is_idempotent(&routed.head.method);
    let replay = if may_repeat && routed.head.upgrade.is_none() {
        Replay::Keep
    } else {
        Replay::Once
    };
    let (payload, progress) = Payload::new(body, replay);
    report.progress = progress;
    payload
}

fn cross_origin(cx: &Cx<'_>, routed: &Routed<'_>) -> CorsDecision {
    let enabled = cx
        .manager
        .filters
        .iter()
        .any(|filter| matches!(filter, HttpFilter::Cors));
    match &routed.matched.route.cors {
        Some(cors) if enabled => cors.decide(&routed.head.view()),
        _ => CorsDecision::NotCors,
    }
}

/// First the delay, then the abort, as Envoy's fault filter.
async fn inject_fault(
    cx: &Cx<'_>,
    report: &mut Report,
    routed: &Routed<'_>,
) -> Result<(), Failure> {
    let Some(fault) = cx.manager.fault(&routed.matched) else {
        return Ok(());
    };
    let random = cx.connection.worker.random();
    let decision = fault.decide(&routed.head.view(), &routed.weighted.name, random);
    if let Some(delay) = decision.delay {
        report.flags.insert(ResponseFlag::DelayInjected);
        tokio::time::sleep(delay).await;
    }
    decision
        .abort
        .map_or(Ok(()), |abort| Err(Failure::Injected(abort)))
}

fn tunnelled(
    cx: &Cx<'_>,
    report: &mut Option<Box<Report>>,
    finish: &Finish<'_>,
    answered: Answered,
    way_out: WayOut,
) -> Reply {
    let mut report = report.take().expect("taken here only");
    let mut status = answered.response.status();
    let mut headers = answered.response.headers().clone();
    finish::upstream_response(finish, &mut report, &mut status, &mut headers);
    tunnel::translate(finish.forwarding.head, &mut status, &mut headers);
    let mut response = Response::new(ResponseBody::full(Bytes::new()));
    *response.status_mut() = status;
    report.responded(status.as_u16(), &headers);
    *response.headers_mut() = headers;
    let (client, successor) = way_out.open();
    tunnel::start(
        &cx.connection.worker,
        client,
        answered.response,
        answered.held,
        report,
    );
    Reply::Tunnel(response, Some(successor))
}
