//! Schema of an HTTP route: conditions, headers, CORS; the actions stand in `action.rs`.

use super::super::builder::{
    Field, Schema, duration, field, flag, list, map, object, required, text, text_map, texts,
    uint32, words,
};
use super::super::shared::destination;
use super::{action, source_match, weight};

/// Schema of one HTTP route.
pub(super) fn route() -> Schema {
    let fields = [
        field("name", "A name for the route, seen in logs.", text()),
        field(
            "match",
            "Conditions of which one must hold; all requests match if left out.",
            list(request_match()),
        ),
        field(
            "route",
            "Where the requests go.",
            list(object([
                required("destination", "A service.", destination()),
                weight(),
                field(
                    "headers",
                    "Changes to headers, for this destination only.",
                    header_operations(),
                ),
            ])),
        ),
        field("headers", "Changes to headers.", header_operations()),
        field(
            "corsPolicy",
            "Which scripts of other origins may call (CORS).",
            cors_policy(),
        ),
    ];
    object(fields.into_iter().chain(action::fields()))
}

fn request_match() -> Schema {
    let fields = [
        field("name", "A name for the match, seen in logs.", text()),
        field("uri", "The path, with its query left out.", string_match()),
        field(
            "ignoreUriCase",
            "Compare the path without regard to case, for exact and prefix.",
            flag(),
        ),
        field("scheme", "http or https.", string_match()),
        field("method", "The method, for example GET.", string_match()),
        field("authority", "The host asked for.", string_match()),
        field(
            "headers",
            "Headers by name, in lower case; an empty match asks only for presence.",
            map(string_match().nullable()),
        ),
        field(
            "withoutHeaders",
            "Headers that must not match.",
            map(string_match().nullable()),
        ),
        field(
            "queryParams",
            "Parameters of the query, by name.",
            map(string_match().nullable()),
        ),
        field("port", "The port that the request was sent to.", uint32()),
        field(
            "statPrefix",
            "Prefix of the statistics of this route.",
            text(),
        ),
    ];
    object(fields.into_iter().chain(source_match()))
}

/// `{exact: …}`, `{prefix: …}` or `{regex: …}`.
fn string_match() -> Schema {
    object([
        field("exact", "The whole text.", text()),
        field("prefix", "The start of the text.", text()),
        field(
            "regex",
            "A regular expression (RE2) for the whole text.",
            text(),
        ),
    ])
    .one_of(&["exact", "prefix", "regex"])
}

fn header_operations() -> Schema {
    object([
        field(
            "request",
            "Changes before the request is sent on.",
            header_changes(),
        ),
        field(
            "response",
            "Changes before the response is sent back.",
            header_changes(),
        ),
    ])
}

fn header_changes() -> Schema {
    object([
        field("set", "Headers to set, in place of any value.", text_map()),
        field("add", "Values to add to headers.", text_map()),
        field("remove", "Headers to take away.", texts()),
    ])
}

fn cors_policy() -> Schema {
    object([
        field(
            "allowOrigin",
            "Deprecated: origins that may call, literally; use allowOrigins.",
            texts(),
        ),
        field(
            "allowOrigins",
            "Origins that may call.",
            list(string_match()),
        ),
        field("allowMethods", "Methods that may be used.", texts()),
        field("allowHeaders", "Headers that may be sent.", texts()),
        field("exposeHeaders", "Headers that scripts may read.", texts()),
        field(
            "maxAge",
            "How long browsers may remember the answer.",
            duration(),
        ),
        field(
            "allowCredentials",
            "Whether calls may carry cookies and the like.",
            flag().nullable(),
        ),
        unmatched_preflights(),
    ])
}

fn unmatched_preflights() -> Field {
    field(
        "unmatchedPreflights",
        "What becomes of a preflight request from an origin that is not allowed.",
        words(&["UNSPECIFIED", "FORWARD", "IGNORE"]),
    )
}
