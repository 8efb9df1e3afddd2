//! One request from its head to its response: the life of a request, step by step.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use mesh_route::http_manager::HttpFilter;
use mesh_route::table::Matched;
use mesh_route::{AuthzInput, HttpManager, RouteDecision, Snapshot, Verdict};

use super::body::Cut;
use super::failure::Failure;
use super::finish;
use super::head::{Admission, Head};
use super::incoming::Incoming;
use super::local::local;
use super::prepare::prepare;
use super::report::Report;
use super::rescue;
use super::response::ResponseBody;
use super::routed::{Routed, forwarded};
use super::tunnel::{Successor, WayOut};
use crate::listen::connection::Connection;

/// The configuration and connection of one request.
pub(super) struct Cx<'a> {
    pub(super) connection: &'a Rc<Connection>,
    pub(super) snapshot: &'a Snapshot,
    pub(super) manager: &'a Arc<HttpManager>,
}

/// What a request came to: a response without a report yet, or a tunnel that has taken it.
pub(super) enum Reply {
    Response(Response<ResponseBody>),
    Tunnel(Response<ResponseBody>, Option<Successor>),
}

/// Serves one request. `manager`: the one the connection began with, for a connection whose
/// filter chain is gone; it is closed after this request. A successor takes the connection over
/// once the response is sent.
pub(crate) async fn serve(
    connection: Rc<Connection>,
    manager: Arc<HttpManager>,
    request: Request<Incoming>,
    way_out: WayOut,
) -> (Response<ResponseBody>, Option<Successor>) {
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

    let reply = Box::pin(answer(&cx, &mut report, request, way_out)).await;
    let mut successor = None;
    let mut response = match reply {
        Ok(Reply::Response(response)) => response,
        Ok(Reply::Tunnel(response, heir)) => {
            successor = heir;
            response
        }
        Err(failure @ Failure::Body(Cut::Left)) => {
            report = None; // says that the client left, and nobody reads the answer
            rescue::response(&rescue::answer(&failure, false), false)
        }
        Err(failure) => {
            if matches!(failure, Failure::Body(Cut::Malformed)) {
                connection.stats.protocol_error.inc();
            }
            let report = report
                .as_mut()
                .expect("only a tunnel takes the report, and it is no failure");
            rescued(&failure, report, &manager)
        }
    };
    // Asked now and not before: the drain may have begun meanwhile.
    let last = orphaned || connection.is_draining();
    if last && version < Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(mut report) = report {
        report.responded(response.status().as_u16(), response.headers());
        response.body_mut().attach(report);
    }
    (response, successor)
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
    request: Request<Incoming>,
    way_out: WayOut,
) -> Result<Reply, Failure> {
    let (parts, body) = request.into_parts();
    let taken = report.as_mut().expect(TAKEN_BY_TUNNEL);
    let (head, client) = match admit(cx, taken, parts)? {
        Admitted::Request(head, client) => (head, client),
        Admitted::Answered(response) => return Ok(Reply::Response(response)),
    };
    authorize(cx, &head, client)?;
    let table = cx
        .snapshot
        .route_table(cx.manager)
        .ok_or(Failure::NoRoute)?;
    match table.route(&head.view(), cx.connection.worker.random()) {
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
            Box::pin(forwarded(cx, report, &routed, body, way_out)).await
        }
        decision => answer_locally(cx, taken, &head, &decision).map(Reply::Response),
    }
}

/// Why a report is there: only the start of a tunnel takes it, and nothing runs after that.
pub(super) const TAKEN_BY_TUNNEL: &str = "made with the request, taken by a tunnel only";

enum Admitted {
    Request(Rc<Head>, IpAddr),
    Answered(Response<ResponseBody>),
}

/// The connection manager's rules: framing, path, host, headers.
fn admit(cx: &Cx<'_>, report: &mut Report, parts: Parts) -> Result<Admitted, Failure> {
    let scheme = if cx.connection.is_tls() {
        "https"
    } else {
        "http"
    };
    let port = cx.connection.destination.port();
    let (mut head, admission) = Head::admit(parts, cx.manager, scheme, port);
    let client = match &admission {
        Admission::Go => prepare(&mut head, cx.manager, cx.connection, report),
        _ => cx.connection.peer.ip(),
    };
    let head = Rc::new(head);
    report.head = Some(Rc::clone(&head));
    match admission {
        Admission::Go => Ok(Admitted::Request(head, client)),
        Admission::Refuse(malformed) => Err(malformed.into()),
        Admission::Redirect(path) => {
            let response = local(StatusCode::TEMPORARY_REDIRECT, Some(&path), Bytes::new());
            Ok(Admitted::Answered(response))
        }
    }
}

/// What needs no upstream.
fn answer_locally(
    cx: &Cx<'_>,
    report: &mut Report,
    head: &Head,
    decision: &RouteDecision<'_>,
) -> Result<Response<ResponseBody>, Failure> {
    let (matched, response) = match decision {
        RouteDecision::Redirect { matched, redirect } => {
            let status =
                StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::MOVED_PERMANENTLY);
            (
                matched,
                local(status, Some(&redirect.location(&head.view())), Bytes::new()),
            )
        }
        RouteDecision::Direct {
            matched,
            status,
            body,
        } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::OK);
            (matched, local(status, None, (*body).clone()))
        }
        RouteDecision::RequireTls => {
            let location = format!("https://{}{}", head.authority(), head.path());
            return Ok(local(
                StatusCode::MOVED_PERMANENTLY,
                Some(&location),
                Bytes::new(),
            ));
        }
        RouteDecision::NotFound | RouteDecision::Forward { .. } => return Err(Failure::NoRoute),
    };
    note_route(report, matched);
    Ok(finish_local(cx, report, matched, response))
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

pub(super) fn finish_local(
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
