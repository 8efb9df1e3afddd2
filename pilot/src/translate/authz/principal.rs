//! Who asks: identities, namespaces, service accounts, addresses and request headers.

use mesh_config::authorization_policy::{
    Condition, ServiceAccountRef, SourceRule, ValuePattern, Values,
};

use super::permission::{header_matcher, pattern};
use super::{HttpOnly, Judge, about_caller};
use crate::translate::wire::*;
use matcher::string_matcher::MatchPattern;
use rbac::principal::{Authenticated, Identifier, Set};

/// Scheme of identities in certificates.
const SCHEME: &str = "spiffe://";

fn of(identifier: Identifier) -> rbac::Principal {
    rbac::Principal {
        identifier: Some(identifier),
    }
}

/// Everybody.
pub(super) fn any() -> rbac::Principal {
    of(Identifier::Any(true))
}

/// The opposite.
pub(super) fn not(principal: rbac::Principal) -> rbac::Principal {
    of(Identifier::NotId(Box::new(principal)))
}

fn or(ids: Vec<rbac::Principal>) -> rbac::Principal {
    of(Identifier::OrIds(Set { ids }))
}

fn authenticated(name: matcher::StringMatcher) -> rbac::Principal {
    of(Identifier::Authenticated(Authenticated {
        principal_name: Some(name),
    }))
}

/// A caller and the conditions of `when` that speak of it; all must hold.
pub(super) fn build(
    judge: &Judge<'_>,
    source: &SourceRule,
    when: &[Condition],
) -> Result<rbac::Principal, HttpOnly> {
    let mut all = Vec::new();
    principals(&mut all, judge, &source.principals);
    push(&mut all, &source.service_accounts, service_account);
    push(&mut all, &source.namespaces, namespace);
    push(&mut all, &source.remote_ip_blocks, |net| {
        of(Identifier::RemoteIp(cidr(*net)))
    });
    push(&mut all, &source.ip_blocks, |net| {
        of(Identifier::DirectRemoteIp(cidr(*net)))
    });
    for condition in when.iter().filter(|condition| about_caller(condition)) {
        match condition {
            Condition::RequestHeader { name, values } if judge.http_only(values)? => {
                push(&mut all, values, |value| {
                    of(Identifier::Header(header_matcher(name, value, false)))
                });
            }
            Condition::SourceIp(values) => {
                push(&mut all, values, |net| {
                    of(Identifier::DirectRemoteIp(cidr(*net)))
                });
            }
            Condition::RemoteIp(values) => {
                push(&mut all, values, |net| of(Identifier::RemoteIp(cidr(*net))));
            }
            Condition::SourceNamespace(values) => push(&mut all, values, namespace),
            Condition::SourcePrincipal(values) => principals(&mut all, judge, values),
            _ => {}
        }
    }
    if all.is_empty() {
        all.push(any());
    }
    Ok(of(Identifier::AndIds(Set { ids: all })))
}

fn push<T>(
    all: &mut Vec<rbac::Principal>,
    values: &Values<T>,
    build: impl Fn(&T) -> rbac::Principal,
) {
    if !values.any.is_empty() {
        all.push(or(values.any.iter().map(&build).collect()));
    }
    if !values.none.is_empty() {
        all.push(not(or(values.none.iter().map(&build).collect())));
    }
}

/// Identities, each in the mesh's trust domain and all its aliases.
fn principals(all: &mut Vec<rbac::Principal>, judge: &Judge<'_>, values: &Values<ValuePattern>) {
    let expand = |list: &[ValuePattern]| -> Vec<ValuePattern> {
        list.iter()
            .flat_map(|value| aliases(value, judge.domains))
            .collect()
    };
    let expanded = Values {
        any: expand(&values.any),
        none: expand(&values.none),
    };
    push(all, &expanded, |value| authenticated(identity(value)));
}

/// The same identity in every trust domain that counts as the mesh's own; `cluster.local` stands for
/// the mesh's domain, whatever it is called.
fn aliases(value: &ValuePattern, domains: &[String]) -> Vec<ValuePattern> {
    let (ValuePattern::Exact(text) | ValuePattern::Prefix(text)) = value else {
        return vec![value.clone()];
    };
    let Some((domain, rest)) = text.split_once('/') else {
        return vec![value.clone()];
    };
    if domain != "cluster.local" && !domains.iter().any(|own| own == domain) {
        return vec![value.clone()];
    }
    domains
        .iter()
        .map(|own| {
            let text = format!("{own}/{rest}");
            match value {
                ValuePattern::Exact(_) => ValuePattern::Exact(text),
                _ => ValuePattern::Prefix(text),
            }
        })
        .collect()
}

/// A policy writes identities without their scheme.
fn identity(value: &ValuePattern) -> matcher::StringMatcher {
    match value {
        ValuePattern::Exact(text) => {
            pattern(&ValuePattern::Exact(format!("{SCHEME}{text}")), false)
        }
        ValuePattern::Prefix(text) => {
            pattern(&ValuePattern::Prefix(format!("{SCHEME}{text}")), false)
        }
        ValuePattern::Suffix(_) | ValuePattern::Present => pattern(value, false),
    }
}

/// `*` within a namespace's name stands for any text, as in Istio.
fn namespace(value: &ValuePattern) -> rbac::Principal {
    let text = match value {
        ValuePattern::Exact(text) => escape(text),
        ValuePattern::Prefix(text) => format!("{}.*", escape(text)),
        ValuePattern::Suffix(text) => format!(".*{}", escape(text)),
        ValuePattern::Present => ".*".to_owned(),
    };
    authenticated(string_matcher(MatchPattern::SafeRegex(regex(format!(
        ".*/ns/{text}/.*"
    )))))
}

/// A service account in any trust domain.
fn service_account(account: &ServiceAccountRef) -> rbac::Principal {
    let (namespace, name) = (escape(&account.namespace), escape(&account.name));
    authenticated(string_matcher(MatchPattern::SafeRegex(regex(format!(
        "spiffe://.+/ns/{namespace}/(.+/|)sa/{name}(/.+)?"
    )))))
}

/// Escapes what a regular expression would read as its own.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_counts_in_every_trust_domain_of_the_mesh() {
        let value = ValuePattern::Exact("cluster.local/ns/a/sa/b".to_owned());
        let domains = ["new.example".to_owned(), "old.example".to_owned()];
        assert_eq!(
            aliases(&value, &domains),
            [
                ValuePattern::Exact("new.example/ns/a/sa/b".to_owned()),
                ValuePattern::Exact("old.example/ns/a/sa/b".to_owned()),
            ]
        );
    }

    #[test]
    fn foreign_trust_domains_stay_as_they_are() {
        let value = ValuePattern::Exact("partner.example/ns/a/sa/b".to_owned());
        assert_eq!(aliases(&value, &["cluster.local".to_owned()]), [value]);
    }
}
