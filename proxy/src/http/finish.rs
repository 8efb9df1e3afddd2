//! What an upstream's response head becomes before the client sees it.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Extensions, Response, StatusCode, Version};
use mesh_route::HttpManager;
use mesh_route::http_manager::ServerHeader;

use super::attempt::{Answered, Forwarding, context};
use super::headers::{Upgrade, name, strip_hop_by_hop};
use super::report::Report;
use super::response::{Deadlines, ResponseBody};
use crate::listen::connection::Direction;

/// What finishing needs to know.
pub(crate) struct Finish<'a> {
    /// The request.
    pub(crate) forwarding: &'a Forwarding<'a>,
    /// The connection manager.
    pub(crate) manager: &'a HttpManager,
    /// Headers of an allowed cross-origin request.
    pub(crate) cors: Option<HeaderMap>,
    /// A cookie made for consistent balancing.
    pub(crate) cookie: Option<HeaderValue>,
}

/// The response for the client, with its body still to come.
pub(crate) fn respond(
    finish: &Finish<'_>,
    report: &mut Report,
    answered: Answered,
    deadlines: Deadlines,
) -> Response<ResponseBody> {
    let (mut parts, incoming) = answered.response.into_parts();
    upstream_response(finish, report, &mut parts.status, &mut parts.headers);
    parts.version = Version::HTTP_11;
    parts.extensions = kept_extensions(finish.manager, parts.extensions);
    let body = ResponseBody::upstream(incoming, answered.held, deadlines);
    Response::from_parts(parts, body)
}

/// Changes an upstream's response head for the client.
pub(crate) fn upstream_response(
    finish: &Finish<'_>,
    report: &mut Report,
    status: &mut StatusCode,
    headers: &mut HeaderMap,
) {
    report.details = Some("via_upstream".into());
    let switching = *status == StatusCode::SWITCHING_PROTOCOLS;
    strip_hop_by_hop(
        headers,
        if switching {
            Upgrade::Keep
        } else {
            Upgrade::Strip
        },
    );
    exchange_metadata(finish, report, headers);
    if let Some(time) = report.service_time {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        headers.insert(
            name::X_ENVOY_UPSTREAM_SERVICE_TIME,
            HeaderValue::from(millis),
        );
    }
    let forwarding = finish.forwarding;
    if forwarding.matched.host.include_attempt_count_in_response {
        headers.insert(
            name::X_ENVOY_ATTEMPT_COUNT,
            HeaderValue::from(report.attempts),
        );
    }
    let context = mesh_route::FormatContext {
        status: Some(status.as_u16()),
        ..context(forwarding, report.endpoint.as_deref())
    };
    forwarding.matched.mutate_response(headers, &context);
    if let Some(cors) = &finish.cors {
        headers.extend(cors.clone());
    }
    if let Some(cookie) = &finish.cookie {
        headers.append(header::SET_COOKIE, cookie.clone());
    }
    if finish.manager.request_id_in_response
        && let Some(id) = forwarding.head.headers.get(name::X_REQUEST_ID)
    {
        headers.insert(name::X_REQUEST_ID, id.clone());
    }
    if let Some(via) = &finish.manager.via {
        headers.append(header::VIA, via.clone());
    }
    server_header(headers, finish.manager);
}

/// Proxies tell each other who they are; applications and strangers are not told.
///
/// Envoy tells with every request and response: some 600 bytes. Ours says that it will remember,
/// and then the two tell each other once per connection; an Envoy ignores the offer.
fn exchange_metadata(finish: &Finish<'_>, report: &Report, headers: &mut HeaderMap) {
    let worker = &finish.forwarding.connection.worker;
    let told = headers.remove(name::X_ENVOY_PEER_METADATA);
    headers.remove(name::X_ENVOY_PEER_METADATA_ID);
    let remembered = headers.remove(name::X_MESH_PEER_REMEMBERED).is_some();
    if finish.forwarding.connection.direction == Direction::Inbound {
        if report.introduced {
            worker.announcement.write(headers);
            if finish.forwarding.connection.introduced.borrow().is_some() {
                let yes = HeaderValue::from_static("true");
                headers.insert(name::X_MESH_PEER_REMEMBERED, yes);
            }
        }
    } else if let (Some(value), Some(info)) = (told, &report.upstream) {
        info.introduced.set(remembered);
        if info.peer.borrow().is_none() {
            info.peer.replace(worker.peers.get(&value));
        }
    }
}

/// Writes the `server` header as the manager says.
pub(crate) fn server_header(headers: &mut HeaderMap, manager: &HttpManager) {
    let (name, keep) = match &manager.server_header {
        ServerHeader::PassThrough => return,
        ServerHeader::Overwrite(name) => (name, false),
        ServerHeader::AppendIfAbsent(name) => (name, true),
    };
    if keep && headers.contains_key(header::SERVER) {
        return;
    }
    headers.insert(header::SERVER, name.clone());
}

/// The note of the upstream's header case, if the client's side writes names as they came.
pub(crate) fn kept_extensions(manager: &HttpManager, extensions: Extensions) -> Extensions {
    if manager.http1.preserve_case {
        extensions
    } else {
        Extensions::new()
    }
}
