//! One request from its head to its response: the life of a request, step by step.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use mesh_route::cors::CorsDecision;
use mesh_route::http_manager::HttpFilter;
use mesh_route::route::WeightedCluster;
use mesh_route::table::Matched;
use mesh_route::{AuthzInput, ForwardRoute, HttpManager, RouteDecision, Snapshot, Verdict};
use mesh_telemetry::access_log::ResponseFlag;

use super::attempt::{Answered, Forwarding};
use super::body::Replay;
use super::failure::Failure;
use super::finish::{self, Finish};
use super::head::{Admission, Head};
use super::headers::is_idempotent;
use super::local::local;
use super::payload::Payload;
use super::prepare::{prepare, trace};
use super::report::Report;
use super::response::{Deadlines, ResponseBody};
use super::{cookie, forward, mirror, rescue, tunnel};
use crate::listen::connection::Connection;

/// The configuration and connection of one request.
struct Cx<'a> {
    connection: &'a Rc<Connection>,
    snapshot: &'a Snapshot,
    manager: &'a Arc<HttpManager>,
}

/// What a request came to: a response without a report yet, or a tunnel that has taken it.
enum Reply {
    Response(Response<ResponseBody>),
    Tunnel(Response<ResponseBody>),
}

/// Serves one request. `manager`: the one the connection began with, for a connection whose
/// filter chain is gone; it is closed after this request.
pub(crate) async fn serve(
    connection: Rc<Connection>,
    manager: Arc<HttpManager>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let snapshot = connection.worker.snapshot();
    let current = connection.manager(&snapshot);
    let orphaned = current.is_none();
    let manager = current.unwrap_or(manager);
    let cx = Cx {
        connection: &connection,
        snapshot: &snapshot,
        manager: &manager,
    };
    let version = request.version();
    let mut report = Some(Box::new(Report::new(&connection, &manager)));

    let reply = Box::pin(answer(&cx, &mut report, request)).await;
    let mut response = match reply {
        Ok(Reply::Response(response) | Reply::Tunnel(response)) => response,
        Err(failure) => {
            let report = report
                .as_mut()
                .expect("only a tunnel takes the report, and it is no failure");
            rescued(&failure, report, &manager)
        }
    };
    // Asked now and not before: the drain may have begun meanwhile.
    let last = orphaned || connection.worker.is_draining();
    if last && version < Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(mut report) = report {
        report.responded(response.status().as_u16(), response.headers());
        response.body_mut().attach(report);
    }
    Ok(response)
}

fn rescued(
    failure: &Failure,
    report: &mut Report,
    manager: &HttpManager,
) -> Response<ResponseBody> {
    let answer = rescue::answer(failure, report.attempts > 1);
    tracing::debug!(%failure, fault = ?failure.fault(), details = %answer.details, "answered by us");
    let mut response = rescue::response(&answer, report.is_grpc());
    report.add_flags(answer.flags);
    report.transport_reason = failure.transport_reason();
    report.details = Some(answer.details);
    finish::server_header(response.headers_mut(), manager);
    response
}

async fn answer(
    cx: &Cx<'_>,
    report: &mut Option<Box<Report>>,
    mut request: Request<Incoming>,
) -> Result<Reply, Failure> {
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let scheme = if cx.connection.is_tls() {
        "https"
    } else {
        "http"
    };
    let port = cx.connection.destination.port();
    let (mut head, admission) = Head::admit(parts, cx.manager, scheme, port);
    let taken = report
        .as_mut()
        .expect("made by the caller, taken by a tunnel only");
    let client = match &admission {
        Admission::Go => prepare(&mut head, cx.manager, cx.connection, taken),
        _ => cx.connection.peer.ip(),
    };
    let head = Rc::new(head);
    taken.head = Some(Rc::clone(&head));
    match admission {
        Admission::Go => {}
        Admission::Refuse(malformed) => return Err(malformed.into()),
        Admission::Redirect(path) => {
            return Ok(Reply::Response(local(
                StatusCode::TEMPORARY_REDIRECT,
                Some(&path),
                Bytes::new(),
            )));
        }
    }
    authorize(cx, &head, client)?;
    let table = cx
        .snapshot
        .route_table(cx.manager)
        .ok_or(Failure::NoRoute)?;
    let decision = table.route(&head.view(), cx.connection.worker.random());
    match decision {
        RouteDecision::NotFound => Err(Failure::NoRoute),
        RouteDecision::RequireTls => {
            let location = format!("https://{}{}", head.authority(), head.path());
            Ok(Reply::Response(local(
                StatusCode::MOVED_PERMANENTLY,
                Some(&location),
                Bytes::new(),
            )))
        }
        RouteDecision::Redirect { matched, redirect } => {
            note_route(taken, &matched);
            let status =
                StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::MOVED_PERMANENTLY);
            let response = local(status, Some(&redirect.location(&head.view())), Bytes::new());
            Ok(Reply::Response(finish_local(cx, taken, &matched, response)))
        }
        RouteDecision::Direct {
            matched,
            status,
            body,
        } => {
            note_route(taken, &matched);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let response = local(status, None, body.clone());
            Ok(Reply::Response(finish_local(cx, taken, &matched, response)))
        }
        RouteDecision::Forward {
            matched,
            forward,
            cluster,
        } => {
            note_route(taken, &matched);
            let routed = Routed {
                head: &head,
                matched,
                forward,
                weighted: cluster,
                client,
            };
            Box::pin(forwarded(cx, report, &routed, body, on_upgrade)).await
        }
    }
}

fn authorize(cx: &Cx<'_>, head: &Head, client: IpAddr) -> Result<(), Failure> {
    if !cx
        .manager
        .filters
        .iter()
        .any(|filter| matches!(filter, HttpFilter::Rbac(_)))
    {
        return Ok(());
    }
    let view = head.view();
    let input = AuthzInput {
        remote: client,
        ..cx.connection.authz_input(Some(&view))
    };
    match cx.manager.authorize(&input) {
        Verdict::Allow { .. } => Ok(()),
        Verdict::Deny { policy } => Err(Failure::Denied {
            policy: policy.cloned(),
        }),
    }
}

/// The route that answers for hosts nobody routes, under REGISTRY_ONLY.
const BLOCK_ALL: &str = "block_all";

fn note_route(report: &mut Report, matched: &Matched<'_>) {
    report.route = Some(Arc::clone(&matched.route.name));
    if *matched.route.name == *BLOCK_ALL || *matched.host.name == *BLOCK_ALL {
        report.service_name = Some("BlackHoleCluster");
    }
}

fn finish_local(
    cx: &Cx<'_>,
    report: &mut Report,
    matched: &Matched<'_>,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    report.details = Some("direct_response".into());
    let context = mesh_route::FormatContext {
        status: Some(response.status().as_u16()),
        ..mesh_route::FormatContext::default()
    };
    matched.mutate_response(response.headers_mut(), &context);
    finish::server_header(response.headers_mut(), cx.manager);
    response
}

/// A request with its route.
struct Routed<'a> {
    head: &'a Rc<Head>,
    matched: Matched<'a>,
    forward: &'a ForwardRoute,
    weighted: &'a WeightedCluster,
    client: IpAddr,
}

async fn forwarded(
    cx: &Cx<'_>,
    report: &mut Option<Box<Report>>,
    routed: &Routed<'_>,
    body: Incoming,
    on_upgrade: OnUpgrade,
) -> Result<Reply, Failure> {
    let taken = report
        .as_mut()
        .expect("made by the caller, taken by a tunnel only");
    let head = routed.head;
    if let Some(protocol) = &head.upgrade
        && !cx.manager.allows_upgrade(protocol, routed.forward)
    {
        return Err(Failure::UpgradeRefused);
    }
    let cors = match cross_origin(cx, routed) {
        CorsDecision::NotCors => None,
        CorsDecision::Actual(headers) => Some(headers),
        CorsDecision::Preflight(headers) => {
            let mut response = local(StatusCode::OK, None, Bytes::new());
            response.headers_mut().extend(headers);
            return Ok(Reply::Response(finish_local(
                cx,
                taken,
                &routed.matched,
                response,
            )));
        }
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
    let client = SocketAddr::new(routed.client, cx.connection.peer.port());
    let view = head.view();
    let sticky = cookie::sticky(routed.forward, &view, client, || {
        cx.connection.worker.random()
    });
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
        trace: trace(
            &head.headers,
            cx.manager,
            routed.matched.route.sampling_percent,
            cx.connection,
        ),
        hash: sticky.hash,
    };
    let payload = payload(taken, routed, body);
    mirror::start(&forwarding, &payload);
    let deadlines = Deadlines::new(cx.manager, &forwarding.timeouts);
    let answered = forward::run(&forwarding, taken, &payload, &deadlines).await?;
    let finish = Finish {
        forwarding: &forwarding,
        manager: cx.manager,
        cors,
        cookie: sticky.set_cookie,
    };
    if tunnel::agreed(head, answered.response.status()) {
        return Ok(tunnelled(cx, report, &finish, answered, on_upgrade));
    }
    Ok(Reply::Response(finish::respond(
        &finish, taken, answered, deadlines,
    )))
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
    on_upgrade: OnUpgrade,
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
    tunnel::start(
        &cx.connection.worker,
        on_upgrade,
        answered.response,
        answered.held,
        report,
    );
    Reply::Tunnel(response)
}
