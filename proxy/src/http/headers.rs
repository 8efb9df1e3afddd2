//! Header hygiene: what must not cross a proxy, and what a proxy adds.
//!
//! Sources: RFC 9110 section 7.6.1 (hop-by-hop fields), RFC 9112 section 6 (framing), Envoy's
//! "HTTP header manipulation" reference for `x-forwarded-*`, `x-request-id` and `x-envoy-*`.

use std::net::IpAddr;

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use smallvec::SmallVec;

/// Names the standard library of header names lacks.
pub(crate) mod name {
    use http::header::HeaderName;

    macro_rules! names {
        ($($constant:ident = $text:literal;)*) => {
            $(#[doc = concat!("`", $text, "`.")]
            pub(crate) const $constant: HeaderName = HeaderName::from_static($text);)*
        };
    }

    names! {
        KEEP_ALIVE = "keep-alive";
        PROXY_CONNECTION = "proxy-connection";
        HTTP2_SETTINGS = "http2-settings";
        X_FORWARDED_FOR = "x-forwarded-for";
        X_FORWARDED_PROTO = "x-forwarded-proto";
        X_FORWARDED_HOST = "x-forwarded-host";
        X_FORWARDED_CLIENT_CERT = "x-forwarded-client-cert";
        X_REQUEST_ID = "x-request-id";
        X_ENVOY_ATTEMPT_COUNT = "x-envoy-attempt-count";
        X_ENVOY_DECORATOR_OPERATION = "x-envoy-decorator-operation";
        X_ENVOY_EXPECTED_RQ_TIMEOUT_MS = "x-envoy-expected-rq-timeout-ms";
        X_ENVOY_EXTERNAL_ADDRESS = "x-envoy-external-address";
        X_ENVOY_FORCE_TRACE = "x-envoy-force-trace";
        X_ENVOY_INTERNAL = "x-envoy-internal";
        X_ENVOY_ORIGINAL_PATH = "x-envoy-original-path";
        X_ENVOY_OVERLOADED = "x-envoy-overloaded";
        X_ENVOY_PEER_METADATA = "x-envoy-peer-metadata";
        X_ENVOY_PEER_METADATA_ID = "x-envoy-peer-metadata-id";
        X_MESH_PEER_REMEMBERED = "x-mesh-peer-remembered";
        X_ENVOY_RETRY_ON = "x-envoy-retry-on";
        X_ENVOY_MAX_RETRIES = "x-envoy-max-retries";
        X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS = "x-envoy-upstream-rq-timeout-ms";
        X_ENVOY_UPSTREAM_SERVICE_TIME = "x-envoy-upstream-service-time";
        GRPC_STATUS = "grpc-status";
        GRPC_MESSAGE = "grpc-message";
    }
}

/// Headers that only trusted hops may set; an edge removes them from what a stranger sends.
const FROM_STRANGERS: [HeaderName; 8] = [
    name::X_ENVOY_DECORATOR_OPERATION,
    name::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS,
    name::X_ENVOY_RETRY_ON,
    name::X_ENVOY_MAX_RETRIES,
    name::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS,
    name::X_ENVOY_ORIGINAL_PATH,
    name::X_ENVOY_INTERNAL,
    name::X_ENVOY_ATTEMPT_COUNT,
];

/// Why a request is refused before routing; all answer 4xx or 501 in `rescue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// HTTP/1.1 without Host, with more than one, or with one that can be no host.
    #[error("exactly one valid host header is required")]
    Host,
    /// A transfer coding we can't undo.
    #[error("only the chunked transfer coding is supported")]
    TransferCoding,
    /// A path that is no absolute path, or holds a NUL or a malformed escape that the
    /// configuration refuses.
    #[error("malformed request path")]
    Path,
}

/// Checks what hyper leaves to us: exactly one valid Host on HTTP/1.1 (RFC 9112 section 3.2), and no
/// transfer coding but chunked (a `gzip, chunked` body would be forwarded with its inner coding unlabelled).
///
/// # Errors
/// The first rule broken.
pub(crate) fn check_framing(request: &Parts) -> Result<(), Malformed> {
    let headers = &request.headers;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Malformed::TransferCoding);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let valid = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.as_bytes().iter().all(may_be_in_authority),
        (Some(_), Some(_)) => false,
        // HTTP/1.1 has it beside an absolute target too, HTTP/2 may have `:authority` instead.
        (None, _) if request.version == Version::HTTP_11 => false,
        (None, _) => request.version < Version::HTTP_11 || request.uri.authority().is_some(),
    };
    valid.then_some(()).ok_or(Malformed::Host)
}

/// RFC 3986 section 3.2.
fn may_be_in_authority(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@[]".contains(byte)
}

/// The protocol an HTTP/1.1 request or response asks to switch to.
pub(crate) fn upgrade_protocol(headers: &HeaderMap) -> Option<&str> {
    let asked = headers
        .get_all(header::CONNECTION)
        .iter()
        .any(|value| list(value).any(|item| item.eq_ignore_ascii_case("upgrade")));
    if !asked {
        return None;
    }
    headers
        .get(header::UPGRADE)?
        .to_str()
        .ok()
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Whether an upgrade survives [`strip_hop_by_hop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// Connection and Upgrade go on to the next hop.
    Keep,
    /// They stop here.
    Strip,
}

/// Removes what concerns one connection only: fields named by Connection and the known ones.
/// `TE: trailers` stays, gRPC servers refuse calls without it.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, upgrade: Upgrade) {
    // One look at all names is cheaper than eight look-ups that find nothing.
    if upgrade == Upgrade::Strip && !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        strip_named_by_connection(headers);
        headers.remove(header::CONNECTION);
    }
    headers.remove(name::KEEP_ALIVE);
    headers.remove(name::PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    if let Entry::Occupied(te) = headers.entry(header::TE) {
        let trailers = te
            .iter()
            .any(|value| list(value).any(|item| item == "trailers"));
        if trailers {
            te.into_mut()
                .clone_from(&HeaderValue::from_static("trailers"));
        } else {
            te.remove_entry_mult();
        }
    }
    match upgrade {
        Upgrade::Strip => {
            headers.remove(header::UPGRADE);
            headers.remove(name::HTTP2_SETTINGS);
        }
        Upgrade::Keep => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        }
    }
}

static HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::UPGRADE,
    name::KEEP_ALIVE,
    name::PROXY_CONNECTION,
    name::HTTP2_SETTINGS,
];

/// Cold: most Connection fields say only `keep-alive` or `close`.
fn strip_named_by_connection(headers: &mut HeaderMap) {
    let mut named: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for value in headers.get_all(header::CONNECTION) {
        for item in list(value) {
            if ["close", "keep-alive", "upgrade", "te"]
                .iter()
                .any(|s| item.eq_ignore_ascii_case(s))
            {
                continue;
            }
            // A client must not make us drop what the next hop's policy depends on.
            let Ok(item) = HeaderName::try_from(item) else {
                continue;
            };
            if item != header::HOST && !item.as_str().starts_with("x-forwarded-") {
                named.push(item);
            }
        }
    }
    for item in named {
        headers.remove(item);
    }
}

fn list(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

/// Removes the headers that only a trusted hop may set.
pub(crate) fn sanitize_from_stranger(headers: &mut HeaderMap) {
    for name in &FROM_STRANGERS {
        headers.remove(name);
    }
}

/// Appends `address` to `x-forwarded-for`.
pub(crate) fn append_forwarded_for(headers: &mut HeaderMap, address: IpAddr) {
    let mut text = String::with_capacity(40);
    if let Some(before) = headers
        .get(name::X_FORWARDED_FOR)
        .and_then(|v| v.to_str().ok())
    {
        text.push_str(before);
        text.push(',');
    }
    use std::fmt::Write as _;
    let _ = write!(text, "{address}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(name::X_FORWARDED_FOR, value);
    }
}

/// The address in `x-forwarded-for` that `trusted_hops` proxies in front of us vouch for,
/// counted from the right.
pub(crate) fn forwarded_address(headers: &HeaderMap, trusted_hops: u32) -> Option<IpAddr> {
    let index = usize::try_from(trusted_hops.checked_sub(1)?).ok()?;
    let text = headers.get(name::X_FORWARDED_FOR)?.to_str().ok()?;
    text.rsplit(',').nth(index)?.trim().parse().ok()
}

/// Sets `x-request-id` if absent or if `keep` is false.
pub(crate) fn ensure_request_id(
    headers: &mut HeaderMap,
    keep: bool,
    make: impl FnOnce() -> HeaderValue,
) {
    if !keep || !headers.contains_key(name::X_REQUEST_ID) {
        headers.insert(name::X_REQUEST_ID, make());
    }
}

/// True for methods that RFC 9110 section 9.2.2 lets a proxy repeat.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// True for gRPC requests and responses.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let Some(rest) = kind.as_bytes().strip_prefix(b"application/grpc") else {
        return false;
    };
    rest.first()
        .is_none_or(|&byte| byte == b'+' || byte == b';')
}

#[cfg(test)]
#[path = "headers/tests.rs"]
mod tests;
