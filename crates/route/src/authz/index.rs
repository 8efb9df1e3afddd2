//! Leaves out policies that can't match, by what a match of them needs.

use hashbrown::HashMap;

use crate::authz::rule::Rule;
use crate::authz::{AuthzInput, Policy};

/// More alternatives than this aren't worth a bucket each.
const MOST_KEYS: usize = 64;

/// Positions of policies by something without which they can't match.
#[derive(Debug, Default)]
pub(crate) struct PolicyIndex {
    by_principal: HashMap<Box<str>, Vec<u32>>,
    by_namespace: HashMap<Box<str>, Vec<u32>>,
    by_path: HashMap<Box<str>, Vec<u32>>,
    rest: Vec<u32>,
}

/// A necessary condition that an index can hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Principal(&'a str),
    Namespace(&'a str),
    Path(&'a str),
}

impl PolicyIndex {
    pub(crate) fn build(policies: &[Policy]) -> Self {
        let mut index = Self::default();
        for (at, policy) in policies.iter().enumerate() {
            let at = u32::try_from(at).expect("fewer than 2^32 policies");
            let Some(keys) = fewest(keys(&policy.principals), keys(&policy.permissions)) else {
                index.rest.push(at);
                continue;
            };
            for key in keys {
                let (bucket, text) = match key {
                    Key::Principal(text) => (&mut index.by_principal, text),
                    Key::Namespace(text) => (&mut index.by_namespace, text),
                    Key::Path(text) => (&mut index.by_path, text),
                };
                bucket.entry(text.into()).or_default().push(at);
            }
        }
        index
    }

    /// The lowest position that `passes`, among those that may.
    pub(crate) fn first(
        &self,
        input: &AuthzInput<'_>,
        passes: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut best = u32::MAX;
        let mut consider = |list: &[u32]| {
            let found = list
                .iter()
                .take_while(|at| **at < best)
                .find(|at| passes(**at as usize));
            if let Some(at) = found {
                best = *at;
            }
        };
        if let Some(principal) = input.principal {
            if let Some(list) = self.by_principal.get(principal) {
                consider(list);
            }
            for list in namespaces(principal).filter_map(|name| self.by_namespace.get(name)) {
                consider(list);
            }
        }
        if let Some(list) = input
            .request
            .and_then(|request| self.by_path.get(request.path_only()))
        {
            consider(list);
        }
        consider(&self.rest);
        (best != u32::MAX).then_some(best as usize)
    }
}

/// Every `X` for which the principal contains `/ns/X/`; one in the mesh's own identities.
fn namespaces(principal: &str) -> impl Iterator<Item = &str> {
    principal
        .match_indices("/ns/")
        .filter_map(|(at, found)| principal[at + found.len()..].split('/').next())
}

/// `X`, if a text contains `/ns/X/` and nothing else: Istio's namespace rules.
fn namespace_rule(contained: &str) -> Option<&str> {
    let name = contained.strip_prefix("/ns/")?.strip_suffix('/')?;
    (!name.contains('/')).then_some(name)
}

/// Keys of which one must be there for the rule to hold; `None` if no such set is known.
fn keys(rule: &Rule) -> Option<Vec<Key<'_>>> {
    match rule {
        Rule::And(rules) => rules.iter().map(keys).fold(None, fewest),
        Rule::Or(rules) => {
            let mut all = Vec::new();
            for rule in rules {
                all.extend(keys(rule)?);
                if all.len() > MOST_KEYS {
                    return None;
                }
            }
            all.sort_unstable();
            all.dedup();
            Some(all)
        }
        Rule::Authenticated(Some(matcher)) => {
            let namespace = || {
                matcher
                    .as_contains()
                    .and_then(namespace_rule)
                    .map(Key::Namespace)
            };
            matcher
                .as_exact()
                .map(Key::Principal)
                .or_else(namespace)
                .map(|key| vec![key])
        }
        Rule::Path(matcher) => matcher.as_exact().map(|text| vec![Key::Path(text)]),
        _ => None,
    }
}

fn fewest<'a>(left: Option<Vec<Key<'a>>>, right: Option<Vec<Key<'a>>>) -> Option<Vec<Key<'a>>> {
    match (left, right) {
        (Some(left), Some(right)) if right.len() < left.len() => Some(right),
        (Some(left), _) => Some(left),
        (None, right) => right,
    }
}
