//! The one place where a failure becomes a response: status, flags, body and details, as Envoy
//! words them, because people search for those words.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use mesh_route::fault::Abort;
use mesh_telemetry::access_log::{ResponseFlag, ResponseFlags};

use super::failure::{Failure, Timeout};
use super::headers::{Malformed, name};
use super::response::ResponseBody;
use crate::upstream::error::{AcquireError, Broken, ConnectError, report};

/// An answer of ours.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: StatusCode,
    /// gRPC status that a fault asks for.
    pub(crate) grpc_status: Option<u16>,
    /// Body text, may be empty.
    pub(crate) body: Cow<'static, str>,
    /// Response flags.
    pub(crate) flags: ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub(crate) details: Cow<'static, str>,
    /// A circuit breaker is open: say so to the caller.
    pub(crate) overloaded: bool,
}

impl Answer {
    fn new(
        status: StatusCode,
        flag: Option<ResponseFlag>,
        body: impl Into<Cow<'static, str>>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        let flags = flag.map(ResponseFlags::from).unwrap_or_default();
        let (body, details) = (body.into(), details.into());
        Self {
            status,
            grpc_status: None,
            body,
            flags,
            details,
            overloaded: false,
        }
    }
}

/// What a failure is answered with. `retried`: it was not the first attempt.
pub(crate) fn answer(failure: &Failure, retried: bool) -> Answer {
    use ResponseFlag as Flag;
    match failure {
        Failure::Malformed(Malformed::Host) => Answer::new(
            StatusCode::BAD_REQUEST,
            Some(Flag::DownstreamProtocolError),
            "",
            "missing_host_header",
        ),
        Failure::Malformed(Malformed::TransferCoding) => Answer::new(
            StatusCode::NOT_IMPLEMENTED,
            Some(Flag::DownstreamProtocolError),
            "Not Implemented",
            "http1.invalid_transfer_encoding",
        ),
        Failure::Malformed(Malformed::Path) => Answer::new(
            StatusCode::BAD_REQUEST,
            Some(Flag::DownstreamProtocolError),
            "",
            "path_normalization_failed",
        ),
        Failure::Body(_) => Answer::new(
            StatusCode::BAD_REQUEST,
            Some(Flag::DownstreamProtocolError),
            "Bad Request",
            "http1.codec_error",
        ),
        Failure::Denied { policy } => {
            let policy = policy.as_deref().unwrap_or("none").replace(' ', "_");
            let details = format!("rbac_access_denied_matched_policy[{policy}]");
            Answer::new(StatusCode::FORBIDDEN, None, "RBAC: access denied", details)
        }
        Failure::NoRoute => Answer::new(
            StatusCode::NOT_FOUND,
            Some(Flag::NoRouteFound),
            "",
            "route_not_found",
        ),
        Failure::NoCluster { status, .. } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            Answer::new(status, Some(Flag::NoClusterFound), "", "cluster_not_found")
        }
        Failure::UpgradeRefused => Answer::new(StatusCode::FORBIDDEN, None, "", "upgrade_failed"),
        Failure::Injected(abort) => injected(*abort),
        Failure::Acquire(error) => acquire(error, retried),
        Failure::Stream(error) => broken(error.broken, retried),
        Failure::Timeout(timeout) => timed_out(*timeout),
    }
}

fn injected(abort: Abort) -> Answer {
    let (status, grpc_status) = match abort {
        Abort::Http(status) => (
            StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            None,
        ),
        Abort::Grpc(status) => (StatusCode::OK, Some(status)),
    };
    let flag = Some(ResponseFlag::FaultInjected);
    let answer = Answer::new(status, flag, "fault filter abort", "fault_filter_abort");
    Answer {
        grpc_status,
        ..answer
    }
}

fn acquire(error: &AcquireError, retried: bool) -> Answer {
    match error {
        AcquireError::Pick(_) => {
            let flag = Some(ResponseFlag::NoHealthyUpstream);
            Answer::new(
                StatusCode::SERVICE_UNAVAILABLE,
                flag,
                "no healthy upstream",
                "no_healthy_upstream",
            )
        }
        AcquireError::Overflow(_) => {
            let answer = reset(ResponseFlag::UpstreamOverflow, "overflow", None, retried);
            Answer {
                overloaded: true,
                ..answer
            }
        }
        AcquireError::Connect(error) => {
            let flag = ResponseFlag::UpstreamConnectionFailure;
            match &**error {
                ConnectError::Timeout { .. } => reset(flag, "connection timeout", None, retried),
                ConnectError::Tcp { source, .. } => {
                    let reason = format!("delayed connect error: {}", without_code(source));
                    reset(flag, "remote connection failure", Some(reason), retried)
                }
                error => {
                    let reason = format!("TLS_error: {}", report(error));
                    reset(flag, "remote connection failure", Some(reason), retried)
                }
            }
        }
    }
}

/// `Connection refused (os error 111)` without the number, which differs between systems.
fn without_code(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn broken(broken: Broken, retried: bool) -> Answer {
    match broken {
        Broken::Terminated => reset(
            ResponseFlag::UpstreamConnectionTermination,
            "connection termination",
            None,
            retried,
        ),
        Broken::RemoteReset => reset(
            ResponseFlag::UpstreamRemoteReset,
            "remote reset",
            None,
            retried,
        ),
        Broken::Refused => reset(
            ResponseFlag::UpstreamRemoteReset,
            "remote refused stream reset",
            None,
            retried,
        ),
        Broken::Protocol => {
            let answer = reset(
                ResponseFlag::UpstreamProtocolError,
                "protocol error",
                None,
                retried,
            );
            Answer {
                status: StatusCode::BAD_GATEWAY,
                ..answer
            }
        }
    }
}

fn reset(flag: ResponseFlag, reason: &str, transport: Option<String>, retried: bool) -> Answer {
    let latest = if retried {
        "retried and the latest "
    } else {
        ""
    };
    let mut body = format!(
        "upstream connect error or disconnect/reset before headers. {latest}reset reason: {reason}"
    );
    let mut details = format!(
        "upstream_reset_before_response_started{{{}",
        reason.replace(' ', "_")
    );
    if let Some(transport) = transport {
        body.push_str(", transport failure reason: ");
        body.push_str(&transport);
        details.push('|');
        details.push_str(&transport.replace(' ', "_"));
    }
    details.push('}');
    Answer::new(StatusCode::SERVICE_UNAVAILABLE, Some(flag), body, details)
}

fn timed_out(timeout: Timeout) -> Answer {
    use ResponseFlag as Flag;
    let (flag, body, details) = match timeout {
        Timeout::Request => (
            Flag::UpstreamRequestTimeout,
            "upstream request timeout",
            "upstream_response_timeout",
        ),
        Timeout::PerTry => (
            Flag::UpstreamRequestTimeout,
            "upstream request timeout",
            "upstream_per_try_timeout",
        ),
        Timeout::Idle => (
            Flag::StreamIdleTimeout,
            "stream timeout",
            "stream_idle_timeout",
        ),
        Timeout::Receive => (
            Flag::DownstreamProtocolError,
            "request timeout",
            "request_overall_timeout",
        ),
        Timeout::MaxDuration => (
            Flag::UpstreamMaxStreamDurationReached,
            "upstream max stream duration reached",
            "upstream_max_stream_duration_reached",
        ),
    };
    let status = match timeout {
        Timeout::Receive => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::GATEWAY_TIMEOUT,
    };
    Answer::new(status, Some(flag), body, details)
}

/// The response of an answer; in gRPC's own form for gRPC callers.
pub(crate) fn response(answer: &Answer, is_grpc: bool) -> Response<ResponseBody> {
    let mut headers = HeaderMap::with_capacity(8);
    if answer.overloaded {
        headers.insert(name::X_ENVOY_OVERLOADED, HeaderValue::from_static("true"));
    }
    if is_grpc || answer.grpc_status.is_some() {
        let status = answer
            .grpc_status
            .unwrap_or_else(|| grpc_status(answer.status));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(name::GRPC_STATUS, HeaderValue::from(status));
        if let Ok(message) = HeaderValue::from_str(&percent_encode(&answer.body)) {
            headers.insert(name::GRPC_MESSAGE, message);
        }
        return assemble(StatusCode::OK, headers, Bytes::new());
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    if !answer.body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    let body = match &answer.body {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::copy_from_slice(text.as_bytes()),
    };
    assemble(answer.status, headers, body)
}

fn assemble(status: StatusCode, headers: HeaderMap, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Source: gRPC's "HTTP to gRPC Status Code Mapping".
fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// gRPC's "Percent-Byte-Encoded": everything but printable ASCII, and `%`.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            _ => {
                use std::fmt::Write as _;
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
