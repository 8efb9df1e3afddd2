//! Schema of what an HTTP route does with a request, beside sending it on.

use super::super::builder::{
    Field, Schema, duration, field, flag, int32, list, number, object, required, text, uint32,
    words,
};
use super::super::shared::destination;

/// The fields of an HTTP route that say what is done.
pub(super) fn fields() -> impl Iterator<Item = Field> {
    let other = [
        field(
            "redirect",
            "Answer with a redirect, in place of a route.",
            redirect(),
        ),
        field(
            "directResponse",
            "Answer at once, in place of a route.",
            direct_response(),
        ),
        field(
            "delegate",
            "Another VirtualService, without hosts, whose routes stand in for this one.",
            object([
                field("name", "Its name.", text()),
                field("namespace", "Its namespace; the same if left out.", text()),
            ]),
        ),
        field(
            "rewrite",
            "Changes before the request is sent on.",
            rewrite(),
        ),
        field(
            "timeout",
            "How long the whole request may take, with all retries; unlimited if left out.",
            duration(),
        ),
        field("retries", "When and how often to try again.", retries()),
        field("fault", "Failures to inject, for tests.", fault()),
    ];
    other.into_iter().chain(mirrors())
}

/// Copies of requests.
fn mirrors() -> [Field; 5] {
    [
        field(
            "mirror",
            "A service that gets a copy of each request; its answers are dropped.",
            destination(),
        ),
        field(
            "mirrors",
            "Services that get copies of requests.",
            list(object([
                required("destination", "A service.", destination()),
                field(
                    "percentage",
                    "The share of requests to copy; all if left out.",
                    percent(),
                ),
            ])),
        ),
        field(
            "mirrorPercentage",
            "The share of requests to copy to mirror; all if left out.",
            percent(),
        ),
        field(
            "mirrorPercent",
            "Deprecated: use mirrorPercentage.",
            uint32().nullable(),
        ),
        field(
            "mirror_percent",
            "Deprecated: use mirrorPercentage.",
            uint32().nullable(),
        ),
    ]
}

fn percent() -> Schema {
    object([field("value", "From 0 to 100.", number())])
}

fn redirect() -> Schema {
    object([
        field("uri", "The new path.", text()),
        field(
            "prefixRewrite",
            "What to put in place of the matched prefix of the path.",
            text(),
        ),
        field("authority", "The new host.", text()),
        field("scheme", "The new scheme, http or https.", text()),
        field("port", "The new port.", uint32()),
        field(
            "derivePort",
            "Where the new port comes from.",
            words(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]),
        ),
        field(
            "redirectCode",
            "The status of the answer: 301 (default), 302, 303, 307 or 308.",
            uint32(),
        ),
    ])
    .one_of(&["port", "derivePort"])
}

fn direct_response() -> Schema {
    object([
        required("status", "The status of the answer.", uint32()),
        field(
            "body",
            "The body of the answer; none if left out.",
            object([
                field("string", "The body as text.", text()),
                field("bytes", "The body in base64.", text().format("byte")),
            ])
            .one_of(&["string", "bytes"]),
        ),
    ])
}

fn rewrite() -> Schema {
    object([
        field(
            "uri",
            "The new path, or what to put in place of the matched prefix.",
            text(),
        ),
        field("authority", "The new host.", text()),
        field(
            "uriRegexRewrite",
            "Rewrite the path by a regular expression.",
            object([
                field("match", "A regular expression (RE2).", text()),
                field(
                    "rewrite",
                    "What to put in its place; \\1 is the first group.",
                    text(),
                ),
            ]),
        ),
    ])
}

fn retries() -> Schema {
    object([
        field(
            "attempts",
            "How often to try again at most; 0 turns retries off.",
            int32(),
        ),
        field(
            "perTryTimeout",
            "How long one attempt may take; as long as the request if left out.",
            duration(),
        ),
        field(
            "retryOn",
            "Conditions, separated by commas, for example 5xx,reset or a status.",
            text(),
        ),
        field(
            "retryRemoteLocalities",
            "Whether to try endpoints of other localities.",
            flag().nullable(),
        ),
        field(
            "retryIgnorePreviousHosts",
            "Whether to avoid endpoints that were tried already; true if left out.",
            flag().nullable(),
        ),
        field(
            "backoff",
            "How long to wait before the first retry; 25ms if left out.",
            duration(),
        ),
    ])
}

fn fault() -> Schema {
    let delay = object([
        field("fixedDelay", "How long to wait.", duration()),
        field("exponentialDelay", "Has no effect.", duration()),
        field("percentage", "The share of requests to delay.", percent()),
        field("percent", "Deprecated: use percentage.", int32()),
    ])
    .one_of(&["fixedDelay", "exponentialDelay"]);
    let abort = object([
        field("httpStatus", "An HTTP status.", int32()),
        field(
            "grpcStatus",
            "A gRPC status, for example UNAVAILABLE.",
            text(),
        ),
        field("http2Error", "Has no effect.", text()),
        field(
            "percentage",
            "The share of requests to refuse; all if left out.",
            percent(),
        ),
    ])
    .one_of(&["httpStatus", "grpcStatus", "http2Error"]);
    object([
        field("delay", "Wait before sending on.", delay),
        field("abort", "Answer with an error.", abort),
    ])
}
