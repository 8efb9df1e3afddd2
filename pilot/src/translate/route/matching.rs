//! Conditions of HTTP routes.

use mesh_config::matching::{StringMatch, ValueMatch};
use mesh_config::virtual_service::HttpMatch;

use super::match_all;
use crate::translate::wire::*;
use matcher::string_matcher::MatchPattern;
use route::header_matcher::HeaderMatchSpecifier;
use route::query_parameter_matcher::QueryParameterMatchSpecifier;
use route::route_match::PathSpecifier;

/// A condition in Envoy's form; `None` matches every request.
pub(super) fn build(condition: Option<&HttpMatch>) -> route::RouteMatch {
    let mut out = match_all();
    let Some(condition) = condition else {
        return out;
    };
    if let Some(uri) = &condition.uri {
        out.path_specifier = Some(match uri {
            StringMatch::Exact(path) => PathSpecifier::Path(path.clone()),
            StringMatch::Prefix(path) => PathSpecifier::Prefix(path.clone()),
            StringMatch::Regex(pattern) => PathSpecifier::SafeRegex(regex(pattern.as_str())),
        });
    }
    out.case_sensitive = boolean(!condition.ignore_uri_case);
    let present = condition
        .headers
        .iter()
        .map(|(name, value)| header(name, value));
    let absent = condition.without_headers.iter().map(|(name, value)| {
        let mut matcher = header(name, value);
        matcher.invert_match = true;
        // "Is not X" holds for a request without the header; "is not there" needs no such help.
        matcher.treat_missing_header_as_empty = matches!(value, ValueMatch::Value(_));
        matcher
    });
    out.headers = present.chain(absent).collect();
    out.headers.sort_by(|a, b| a.name.cmp(&b.name));
    let pseudo = [
        (":method", &condition.method),
        (":authority", &condition.authority),
        (":scheme", &condition.scheme),
    ];
    for (name, value) in pseudo {
        if let Some(value) = value {
            out.headers.push(string_header(name, value));
        }
    }
    out.query_parameters = condition
        .query_params
        .iter()
        .map(|(name, value)| route::QueryParameterMatcher {
            name: name.clone(),
            query_parameter_match_specifier: Some(match value {
                ValueMatch::Present => QueryParameterMatchSpecifier::PresentMatch(true),
                ValueMatch::Value(value) => {
                    QueryParameterMatchSpecifier::StringMatch(string(value))
                }
            }),
        })
        .collect();
    out
}

/// Whether a condition matches every request, so that no later route is ever reached.
pub(super) fn is_catch_all(condition: &route::RouteMatch) -> bool {
    let path = match &condition.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(pattern)) => pattern.regex == ".*",
        _ => false,
    };
    path && condition.headers.is_empty() && condition.query_parameters.is_empty()
}

fn header(name: &str, value: &ValueMatch) -> route::HeaderMatcher {
    match value {
        ValueMatch::Present => route::HeaderMatcher {
            name: name.to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
            ..route::HeaderMatcher::default()
        },
        ValueMatch::Value(value) => string_header(name, value),
    }
}

fn string_header(name: &str, value: &StringMatch) -> route::HeaderMatcher {
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(string(value))),
        ..route::HeaderMatcher::default()
    }
}

/// A string match in Envoy's form.
pub(super) fn string(value: &StringMatch) -> matcher::StringMatcher {
    string_matcher(match value {
        StringMatch::Exact(text) => MatchPattern::Exact(text.clone()),
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.clone()),
        StringMatch::Regex(pattern) => MatchPattern::SafeRegex(regex(pattern.as_str())),
    })
}
