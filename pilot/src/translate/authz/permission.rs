//! What is asked: hosts, methods, paths, ports and the destination's address.

use mesh_config::authorization_policy::{Condition, Operation, PathPattern, ValuePattern, Values};
use mesh_xds::any::pack;
use mesh_xds::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;

use super::{HttpOnly, Judge, about_caller};
use crate::translate::wire::*;
use matcher::path_matcher;
use rbac::permission::{Rule, Set};
use route::header_matcher::HeaderMatchSpecifier;

fn of(rule: Rule) -> rbac::Permission {
    rbac::Permission { rule: Some(rule) }
}

/// Everything.
pub(super) fn any() -> rbac::Permission {
    of(Rule::Any(true))
}

/// The opposite.
pub(super) fn not(permission: rbac::Permission) -> rbac::Permission {
    of(Rule::NotRule(Box::new(permission)))
}

fn or(rules: Vec<rbac::Permission>) -> rbac::Permission {
    of(Rule::OrRules(Set { rules }))
}

/// An operation and the conditions of `when` that speak of it; all must hold.
pub(super) fn build(
    judge: &Judge<'_>,
    operation: &Operation,
    when: &[Condition],
) -> Result<rbac::Permission, HttpOnly> {
    let mut all = Vec::new();
    if judge.http_only(&operation.hosts)? {
        push(&mut all, &operation.hosts, |host| {
            header(":authority", host, true)
        });
    }
    if judge.http_only(&operation.methods)? {
        push(&mut all, &operation.methods, |method| {
            header(":method", method, false)
        });
    }
    if judge.http_only(&operation.paths)? {
        push(&mut all, &operation.paths, path);
    }
    push(&mut all, &operation.ports, |port| {
        of(Rule::DestinationPort(port.get().into()))
    });
    for condition in when.iter().filter(|condition| !about_caller(condition)) {
        match condition {
            Condition::DestinationIp(values) => {
                push(&mut all, values, |net| of(Rule::DestinationIp(cidr(*net))));
            }
            Condition::DestinationPort(values) => {
                push(&mut all, values, |port| {
                    of(Rule::DestinationPort(port.get().into()))
                });
            }
            Condition::ConnectionSni(values) => {
                push(&mut all, values, |sni| {
                    of(Rule::RequestedServerName(pattern(sni, false)))
                });
            }
            _ => {}
        }
    }
    if all.is_empty() {
        all.push(any());
    }
    Ok(of(Rule::AndRules(Set { rules: all })))
}

/// Adds "one of these" and "none of those".
fn push<T>(
    all: &mut Vec<rbac::Permission>,
    values: &Values<T>,
    build: impl Fn(&T) -> rbac::Permission,
) {
    if !values.any.is_empty() {
        all.push(or(values.any.iter().map(&build).collect()));
    }
    if !values.none.is_empty() {
        all.push(not(or(values.none.iter().map(&build).collect())));
    }
}

/// A header, as a policy writes its value; hosts compare without regard to case.
fn header(name: &str, value: &ValuePattern, ignore_case: bool) -> rbac::Permission {
    of(Rule::Header(header_matcher(name, value, ignore_case)))
}

/// As [`header`], for principals too.
pub(super) fn header_matcher(
    name: &str,
    value: &ValuePattern,
    ignore_case: bool,
) -> route::HeaderMatcher {
    route::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(match value {
            ValuePattern::Present => HeaderMatchSpecifier::PresentMatch(true),
            other => HeaderMatchSpecifier::StringMatch(pattern(other, ignore_case)),
        }),
        ..route::HeaderMatcher::default()
    }
}

fn path(value: &PathPattern) -> rbac::Permission {
    match value {
        PathPattern::Value(value) => of(Rule::UrlPath(matcher::PathMatcher {
            rule: Some(path_matcher::Rule::Path(pattern(value, false))),
        })),
        PathPattern::Template(template) => of(Rule::UriTemplate(base::TypedExtensionConfig {
            name: "uri-template".to_owned(),
            typed_config: Some(pack(&UriTemplateMatchConfig {
                // Istio's {*} and {**} are Envoy's * and **.
                path_template: template.replace("{**}", "**").replace("{*}", "*"),
            })),
        })),
    }
}

/// A pattern as a string matcher; presence is "at least one character".
pub(super) fn pattern(value: &ValuePattern, ignore_case: bool) -> matcher::StringMatcher {
    use matcher::string_matcher::MatchPattern;
    matcher::StringMatcher {
        ignore_case,
        match_pattern: Some(match value {
            ValuePattern::Exact(text) => MatchPattern::Exact(text.clone()),
            ValuePattern::Prefix(text) => MatchPattern::Prefix(text.clone()),
            ValuePattern::Suffix(text) => MatchPattern::Suffix(text.clone()),
            ValuePattern::Present => MatchPattern::SafeRegex(regex(".+")),
        }),
    }
}
