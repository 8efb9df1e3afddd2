//! Which request headers a service passes on to the services it calls.
//!
//! A sidecar cannot know which outgoing request belongs to which incoming one, so the
//! application carries the trace context (and the user, for routing by user) across.

use http::HeaderMap;

const FORWARDED: [&str; 14] = [
    "x-request-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "end-user",
    "user-agent",
    "authorization",
];

/// The headers of `incoming` that travel on.
pub(crate) fn headers(incoming: &HeaderMap) -> HeaderMap {
    FORWARDED
        .iter()
        .filter_map(|name| {
            let name = http::HeaderName::from_static(name);
            incoming.get(&name).map(|value| (name, value.clone()))
        })
        .collect()
}
