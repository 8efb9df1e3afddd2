//! Reads an HTTP route of a VirtualService: matches, headers, CORS, and which action it takes.

use std::collections::BTreeMap;

use super::http_action;
use super::reader::{Fields, Node};
use super::scope::{is_header_name, string_match, value_match};
use super::virtual_service::{gateway_refs, source_match};
use crate::matching::{StringMatch, ValueMatch};
use crate::virtual_service::{
    CorsPolicy, HeaderChanges, HeaderOperations, HttpAction, HttpMatch, HttpRoute,
    UnmatchedPreflights,
};

pub(super) fn read(node: &Node<'_>) -> Option<HttpRoute> {
    let fields = node.open(
        &[
            "name",
            "match",
            "route",
            "redirect",
            "directResponse",
            "rewrite",
            "timeout",
            "retries",
            "fault",
            "mirror",
            "mirrors",
            "mirrorPercent",
            "mirrorPercentage",
            "corsPolicy",
            "headers",
        ],
        &[
            ("delegate", "put the routes into this VirtualService"),
            ("mirror_percent", "use mirrorPercentage"),
        ],
    )?;
    let matches = fields
        .items("match")
        .iter()
        .filter_map(http_match)
        .collect();
    let headers = fields
        .get("headers")
        .map(|node| header_operations(&node))
        .unwrap_or_default();
    let cors = fields.get("corsPolicy").and_then(|node| cors(&node));
    Some(HttpRoute {
        name: fields.text("name"),
        matches,
        action: action(&fields)?,
        headers,
        cors,
    })
}

/// Which of the three actions is set; fields that the action does not use are refused.
fn action(fields: &Fields<'_>) -> Option<HttpAction> {
    // An empty `route: []` beside a redirect says nothing; both set is a contradiction.
    fields.exclusive(&["redirect", "directResponse", "route"]);
    const FORWARD_ONLY: [&str; 8] = [
        "rewrite",
        "timeout",
        "retries",
        "fault",
        "mirror",
        "mirrors",
        "mirrorPercent",
        "mirrorPercentage",
    ];
    let refuse_forward_fields = |action: &str| {
        for name in fields.present(&FORWARD_ONLY) {
            let problem = format!("has no effect together with {action}");
            fields.error_at::<()>(name, problem, "remove it");
        }
    };
    if let Some(node) = fields.get("redirect") {
        refuse_forward_fields("redirect");
        return http_action::redirect(&node).map(HttpAction::Redirect);
    }
    if let Some(node) = fields.get("directResponse") {
        refuse_forward_fields("directResponse");
        return http_action::direct_response(&node).map(HttpAction::DirectResponse);
    }
    if fields.items("route").is_empty() {
        return fields.error("no action", "add route, redirect or directResponse");
    }
    http_action::forward(fields).map(|forward| HttpAction::Forward(Box::new(forward)))
}

fn http_match(node: &Node<'_>) -> Option<HttpMatch> {
    let fields = node.open(
        &[
            "name",
            "uri",
            "ignoreUriCase",
            "scheme",
            "method",
            "authority",
            "headers",
            "withoutHeaders",
            "queryParams",
            "port",
            "sourceLabels",
            "sourceNamespace",
            "gateways",
        ],
        &[(
            "statPrefix",
            "use the route's name to tell its traffic apart",
        )],
    )?;
    let text = |name: &str| fields.get(name).and_then(|node| string_match(&node, false));
    let uri = fields.get("uri").and_then(|node| string_match(&node, true));
    if let Some(StringMatch::Exact(path)) = &uri
        && !path.starts_with('/')
        && path != "*"
    {
        fields.error_at::<()>(
            "uri.exact",
            format!("{path:?} never matches: paths start with /"),
            format!("write \"/{path}\""),
        );
    }
    Some(HttpMatch {
        name: fields.text("name"),
        uri,
        ignore_uri_case: fields.flag("ignoreUriCase").unwrap_or_default(),
        scheme: text("scheme"),
        method: text("method"),
        authority: text("authority"),
        headers: header_matches(&fields, "headers"),
        without_headers: header_matches(&fields, "withoutHeaders"),
        query_params: query_matches(&fields),
        port: fields.port("port"),
        source: source_match(&fields),
        gateways: gateway_refs(&fields),
    })
}

fn header_matches(fields: &Fields<'_>, name: &str) -> BTreeMap<String, ValueMatch> {
    let mut matches = BTreeMap::new();
    let Some(node) = fields.get(name) else {
        return matches;
    };
    for (header, node) in node.entries() {
        if header.starts_with('@') {
            node.error::<()>("matching on JWT claims is not implemented yet", "remove it");
        } else if !is_header_name(header.strip_prefix(':').unwrap_or(header)) {
            node.error::<()>(
                format!("{header:?} is not a header name"),
                "use letters, digits and '-'",
            );
        } else if matches!(header, ":path" | ":scheme" | ":method" | ":authority") {
            let field = match header {
                ":path" => "uri",
                other => &other[1..],
            };
            node.error::<()>(
                format!("{header} is not matched as a header"),
                format!("use the field {field}"),
            );
        } else if let Some(value) = value_match(&node, false) {
            // Header names compare without regard to case.
            if matches.insert(header.to_ascii_lowercase(), value).is_some() {
                node.error::<()>(
                    "the header is listed twice, in different case",
                    "remove one",
                );
            }
        }
    }
    matches
}

fn query_matches(fields: &Fields<'_>) -> BTreeMap<String, ValueMatch> {
    let entries = fields
        .get("queryParams")
        .map(|node| node.entries())
        .unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, node)| Some((name.to_owned(), value_match(&node, false)?)))
        .collect()
}

/// `Headers`: changes in both directions.
pub(super) fn header_operations(node: &Node<'_>) -> HeaderOperations {
    let Some(fields) = node.open(&["request", "response"], &[]) else {
        return HeaderOperations::default();
    };
    let changes = |name: &str, authority: bool| {
        let node = fields.get(name)?;
        header_changes(&node, authority)
    };
    HeaderOperations {
        request: changes("request", true).unwrap_or_default(),
        response: changes("response", false).unwrap_or_default(),
    }
}

/// `authority`: whether `:authority` or `Host` may be set.
fn header_changes(node: &Node<'_>, authority: bool) -> Option<HeaderChanges> {
    let fields = node.open(&["set", "add", "remove"], &[])?;
    let changed = |name: &str| {
        let map = fields.text_map(name);
        for (header, value) in &map {
            let at = format!("{name}[{header}]");
            check_header_name(&fields, &at, header, authority);
            if value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
                fields.error_at::<()>(&at, "the value has a line break or NUL", "remove it");
            }
        }
        map
    };
    let remove = fields.texts("remove");
    for (index, header) in remove.iter().enumerate() {
        check_header_name(&fields, &format!("remove[{index}]"), header, false);
    }
    Some(HeaderChanges {
        set: changed("set"),
        add: changed("add"),
        remove,
    })
}

fn check_header_name(fields: &Fields<'_>, at: &str, header: &str, authority: bool) {
    let is_authority = header == ":authority" || header.eq_ignore_ascii_case("host");
    if is_authority && authority {
        return;
    }
    if is_authority || header.starts_with(':') {
        fields.error_at::<()>(
            at,
            format!("{header} cannot be changed here"),
            "use rewrite for path and authority",
        );
    } else if !is_header_name(header) {
        fields.error_at::<()>(
            at,
            format!("{header:?} is not a header name"),
            "use letters, digits and '-'",
        );
    }
}

fn cors(node: &Node<'_>) -> Option<CorsPolicy> {
    let fields = node.open(
        &[
            "allowOrigin",
            "allowOrigins",
            "allowMethods",
            "allowHeaders",
            "exposeHeaders",
            "maxAge",
            "allowCredentials",
            "unmatchedPreflights",
        ],
        &[],
    )?;
    fields.exclusive(&["allowOrigins", "allowOrigin"]);
    let origins = fields.items("allowOrigins");
    let mut allow_origins: Vec<_> = origins
        .iter()
        .filter_map(|n| string_match(n, false))
        .collect();
    allow_origins.extend(
        fields
            .texts("allowOrigin")
            .into_iter()
            .map(StringMatch::Exact),
    );
    let max_age = fields.duration("maxAge");
    if max_age.is_some_and(|age| age.subsec_nanos() != 0) {
        fields.error_at::<()>(
            "maxAge",
            "has a fraction of a second",
            "browsers count whole seconds: round it",
        );
    }
    Some(CorsPolicy {
        allow_origins,
        allow_methods: fields.texts("allowMethods"),
        allow_headers: fields.texts("allowHeaders"),
        expose_headers: fields.texts("exposeHeaders"),
        max_age,
        allow_credentials: fields.flag("allowCredentials"),
        unmatched_preflights: fields
            .choice(
                "unmatchedPreflights",
                &[
                    ("UNSPECIFIED", UnmatchedPreflights::Forward),
                    ("FORWARD", UnmatchedPreflights::Forward),
                    ("IGNORE", UnmatchedPreflights::Ignore),
                ],
                &[],
            )
            .unwrap_or_default(),
    })
}
