//! Reads what an HTTP route does: forward, redirect, direct response.

use std::time::Duration;

use serde_json::Value;

use super::http_route::header_operations;
use super::reader::{Fields, Node};
use super::scope::pattern;
use super::virtual_service::{destination, weight};
use crate::number::Percent;
use crate::virtual_service::{
    AbortStatus, DirectResponse, FaultAbort, FaultDelay, Forward, HttpDestination, HttpFault,
    HttpMirror, HttpRedirect, HttpRetry, HttpRewrite, RedirectPort, RedirectUri, RetryOn,
    UriRewrite,
};

/// Istio's limit for direct responses.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Istio's form of a redirect that replaces the matched prefix only.
const PREFIX_FORM: &str = "%PREFIX()%";

pub(super) fn forward(fields: &Fields<'_>) -> Option<Forward> {
    let nodes = fields.items("route");
    let single = nodes.len() == 1;
    let destinations = nodes
        .iter()
        .filter_map(|node| http_destination(node, single));
    Some(Forward {
        destinations: destinations.collect(),
        rewrite: fields.get("rewrite").and_then(|node| rewrite(&node)),
        // "0s" turns the timeout off, as no timeout does.
        timeout: fields
            .get("timeout")
            .and_then(|node| node.duration(Duration::ZERO))
            .filter(|timeout| !timeout.is_zero()),
        retries: fields.get("retries").and_then(|node| retries(&node)),
        fault: fields.get("fault").and_then(|node| fault(&node)),
        mirrors: mirrors(fields),
    })
}

fn http_destination(node: &Node<'_>, single: bool) -> Option<HttpDestination> {
    let fields = node.open(&["destination", "weight", "headers"], &[])?;
    let weight = weight(&fields, single);
    let headers = fields
        .get("headers")
        .map(|node| header_operations(&node))
        .unwrap_or_default();
    let node = fields.required("destination", "name the service")?;
    Some(HttpDestination {
        destination: destination(&node)?,
        weight,
        headers,
    })
}

fn rewrite(node: &Node<'_>) -> Option<HttpRewrite> {
    let fields = node.open(&["uri", "authority", "uriRegexRewrite"], &[])?;
    fields.exclusive(&["uri", "uriRegexRewrite"]);
    let regex = |node: Node<'_>| {
        let fields = node.open(&["match", "rewrite"], &[])?;
        Some(UriRewrite::Regex {
            pattern: pattern(&fields.required("match", "name a regular expression")?)?,
            rewrite: fields.required_text("rewrite", "name the replacement")?,
        })
    };
    let uri = match fields.text("uri") {
        Some(text) => Some(UriRewrite::Replace(text)),
        None => fields.get("uriRegexRewrite").and_then(regex),
    };
    let authority = fields.text("authority");
    if fields
        .present(&["uri", "authority", "uriRegexRewrite"])
        .is_empty()
    {
        return fields.error("rewrites nothing", "set uri, uriRegexRewrite or authority");
    }
    Some(HttpRewrite { uri, authority })
}

/// Conditions of Envoy's `retry_on` and `retry_grpc_on`.
const RETRY_CONDITIONS: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// An `HTTPRetry`.
pub(super) fn retries(node: &Node<'_>) -> Option<HttpRetry> {
    let fields = node.open(
        &[
            "attempts",
            "perTryTimeout",
            "retryOn",
            "retryRemoteLocalities",
            "retryIgnorePreviousHosts",
            "backoff",
        ],
        &[],
    )?;
    let attempts = fields.limit("attempts").unwrap_or(0);
    let others = fields.present(&[
        "perTryTimeout",
        "retryOn",
        "retryRemoteLocalities",
        "backoff",
    ]);
    if attempts == 0 && !others.is_empty() {
        fields.error_at::<()>(
            "attempts",
            format!(
                "is 0 or missing, which turns retries off, but {} is set",
                others.join(", ")
            ),
            "set attempts to 1 or more, or remove the others",
        );
    }
    Some(HttpRetry {
        attempts,
        per_try_timeout: fields
            .get("perTryTimeout")
            .and_then(|node| node.duration(Duration::ZERO))
            .filter(|timeout| !timeout.is_zero()),
        retry_on: fields.get("retryOn").and_then(|node| retry_on(&node)),
        retry_remote_localities: fields.flag("retryRemoteLocalities"),
        backoff: fields.duration("backoff"),
        ignore_previous_hosts: fields.flag("retryIgnorePreviousHosts"),
    })
}

fn retry_on(node: &Node<'_>) -> Option<RetryOn> {
    let mut found = RetryOn::default();
    for word in node
        .text()?
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        match word.parse::<u16>() {
            Ok(status) if (100..600).contains(&status) => found.status_codes.push(status),
            _ if RETRY_CONDITIONS.contains(&word) => found.conditions.push(word.to_owned()),
            _ => {
                let remedy = match super::nearest(word, RETRY_CONDITIONS) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!(
                        "use HTTP statuses or some of {}",
                        RETRY_CONDITIONS.join(", ")
                    ),
                };
                node.error::<()>(format!("{word:?} is not a retry condition"), remedy);
            }
        }
    }
    let empty = found.conditions.is_empty() && found.status_codes.is_empty();
    (!empty).then_some(found)
}

fn fault(node: &Node<'_>) -> Option<HttpFault> {
    let fields = node.open(&["delay", "abort"], &[])?;
    if fields.present(&["delay", "abort"]).is_empty() {
        return fields.error("injects nothing", "set delay or abort");
    }
    Some(HttpFault {
        delay: fields.get("delay").and_then(|node| delay(&node)),
        abort: fields.get("abort").and_then(|node| abort(&node)),
    })
}

fn delay(node: &Node<'_>) -> Option<FaultDelay> {
    let refused = &[("exponentialDelay", "use fixedDelay")];
    let fields = node.open(&["fixedDelay", "percentage", "percent"], refused)?;
    fields.exclusive(&["percentage", "percent"]);
    let fixed = fields.required("fixedDelay", "name the delay, for example \"5s\"")?;
    let percentage =
        percentage(&fields, "percentage").or_else(|| whole_percent(&fields, "percent"));
    Some(FaultDelay {
        fixed: fixed.duration(Duration::from_millis(1))?,
        // Istio: without a percentage no request is delayed.
        percentage: percentage.unwrap_or_default(),
    })
}

fn abort(node: &Node<'_>) -> Option<FaultAbort> {
    let refused = &[("http2Error", "use httpStatus or grpcStatus")];
    let fields = node.open(&["httpStatus", "grpcStatus", "percentage"], refused)?;
    fields.exclusive(&["httpStatus", "grpcStatus"]);
    let percentage = percentage(&fields, "percentage").unwrap_or_default();
    let status = match (fields.get("httpStatus"), fields.get("grpcStatus")) {
        (Some(node), _) => AbortStatus::Http(u16::try_from(node.integer(200, 599)?).ok()?),
        (None, Some(node)) => AbortStatus::Grpc(grpc_status(&node)?),
        (None, None) => {
            return fields.error(
                "no status",
                "set httpStatus, for example 500, or grpcStatus",
            );
        }
    };
    Some(FaultAbort { status, percentage })
}

/// Names of gRPC statuses by number.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn grpc_status(node: &Node<'_>) -> Option<u8> {
    let statuses: Vec<(&str, u8)> = GRPC_STATUSES.into_iter().zip(0..).collect();
    node.choice(&statuses, &[])
}

/// A `Percent`: `{value: 12.5}`; without a value 0.
fn percentage(fields: &Fields<'_>, name: &str) -> Option<Percent> {
    let node = fields.get(name)?;
    let fields = node.open(&["value"], &[])?;
    let Some(node) = fields.get("value") else {
        return Some(Percent::default());
    };
    percent(&node)
}

/// A number from 0 to 100.
pub(super) fn percent(node: &Node<'_>) -> Option<Percent> {
    let Value::Number(number) = node.value else {
        return node.error("expected a number from 0 to 100", "");
    };
    match number.as_f64().and_then(Percent::new) {
        Some(percent) => Some(percent),
        None => node.error(format!("{number} is not within 0 to 100"), ""),
    }
}

/// A deprecated whole percentage.
fn whole_percent(fields: &Fields<'_>, name: &str) -> Option<Percent> {
    percent(&fields.get(name)?)
}

fn mirrors(fields: &Fields<'_>) -> Vec<HttpMirror> {
    fields.exclusive(&["mirrors", "mirror"]);
    fields.exclusive(&["mirrorPercentage", "mirrorPercent"]);
    if let Some(node) = fields.get("mirror") {
        let share = percentage(fields, "mirrorPercentage")
            .or_else(|| whole_percent(fields, "mirrorPercent"))
            .unwrap_or(Percent::HUNDRED);
        let mirror = |destination| HttpMirror {
            destination,
            percentage: share,
        };
        return destination(&node).map(mirror).into_iter().collect();
    }
    for name in fields.present(&["mirrorPercentage", "mirrorPercent"]) {
        fields.error_at::<()>(
            name,
            "has no effect without mirror",
            "add mirror, or remove it",
        );
    }
    let read = |node: &Node<'_>| {
        let fields = node.open(&["destination", "percentage"], &[])?;
        let percentage = percentage(&fields, "percentage").unwrap_or(Percent::HUNDRED);
        let node = fields.required("destination", "name the service")?;
        Some(HttpMirror {
            destination: destination(&node)?,
            percentage,
        })
    };
    fields.items("mirrors").iter().filter_map(read).collect()
}

pub(super) fn redirect(node: &Node<'_>) -> Option<HttpRedirect> {
    let fields = node.open(
        &[
            "uri",
            "authority",
            "port",
            "derivePort",
            "scheme",
            "redirectCode",
            "prefixRewrite",
        ],
        &[],
    )?;
    fields.exclusive(&["uri", "prefixRewrite"]);
    fields.exclusive(&["port", "derivePort"]);
    let parts = [
        "uri",
        "authority",
        "port",
        "derivePort",
        "scheme",
        "prefixRewrite",
    ];
    if fields.present(&parts).is_empty() {
        return fields.error(
            "changes nothing",
            format!("set one of {}", parts.join(", ")),
        );
    }
    let uri = match fields.text("uri") {
        Some(text) => Some(match text.strip_prefix(PREFIX_FORM) {
            Some(prefix) => RedirectUri::Prefix(prefix.to_owned()),
            None => RedirectUri::Full(text),
        }),
        None => fields.text("prefixRewrite").map(RedirectUri::Prefix),
    };
    let derived = fields.choice(
        "derivePort",
        &[
            ("FROM_PROTOCOL_DEFAULT", RedirectPort::FromProtocolDefault),
            ("FROM_REQUEST_PORT", RedirectPort::FromRequestPort),
        ],
        &[],
    );
    let schemes = [("http", "http"), ("https", "https")];
    Some(HttpRedirect {
        uri,
        authority: fields.text("authority"),
        port: fields.port("port").map(RedirectPort::Number).or(derived),
        scheme: fields.choice("scheme", &schemes, &[]).map(str::to_owned),
        code: redirect_code(&fields)?,
    })
}

fn redirect_code(fields: &Fields<'_>) -> Option<u16> {
    let Some(code) = fields.limit("redirectCode") else {
        return Some(301);
    };
    match code {
        301 | 302 | 303 | 307 | 308 => u16::try_from(code).ok(),
        _ => fields.error_at(
            "redirectCode",
            format!("{code} is not a redirect that browsers follow"),
            "use 301, 302, 303, 307 or 308",
        ),
    }
}

pub(super) fn direct_response(node: &Node<'_>) -> Option<DirectResponse> {
    let fields = node.open(&["status", "body"], &[])?;
    let body = fields.get("body").and_then(|node| body(&node));
    let status = fields.required("status", "name the HTTP status, for example 503")?;
    Some(DirectResponse {
        status: u16::try_from(status.integer(200, 599)?).ok()?,
        body,
    })
}

fn body(node: &Node<'_>) -> Option<Vec<u8>> {
    let refused = &[("bytes", "write the body as string")];
    let text = node.open(&["string"], refused)?.text("string")?;
    if text.len() > MAX_BODY_BYTES {
        return node.error(
            format!("has {} bytes", text.len()),
            "at most 1 MiB is allowed",
        );
    }
    Some(text.into_bytes())
}
