//! First match of many routes without looking at all of them.
//!
//! The index only proposes: every proposal is checked by the route's full matcher, and the
//! lowest position that passes wins, so order is Envoy's first-match order whatever the
//! index holds.

use hashbrown::HashMap;

use crate::table::matcher::{PathMatcher, RouteMatcher};
use crate::view::RequestView;

/// Below this many routes a plain scan is faster than any lookup.
const SCAN_LIMIT: usize = 8;

/// Positions of routes by what their path condition needs.
#[derive(Debug, Default)]
pub(crate) struct RouteIndex {
    exact: HashMap<Box<str>, Vec<u32>>,
    prefixes: PrefixIndex,
    /// Everything else: patterns, case-insensitive ones, CONNECT.
    rest: Vec<u32>,
}

/// Prefixes in byte order, each knowing the longest other one that it begins with.
#[derive(Debug, Default)]
struct PrefixIndex {
    nodes: Vec<PrefixNode>,
}

#[derive(Debug)]
struct PrefixNode {
    prefix: Box<str>,
    parent: Option<u32>,
    routes: Vec<u32>,
}

impl RouteIndex {
    /// `None`: so few that they are just scanned.
    pub(crate) fn build<'a>(
        matchers: impl ExactSizeIterator<Item = &'a RouteMatcher>,
    ) -> Option<Box<Self>> {
        if matchers.len() <= SCAN_LIMIT {
            return None;
        }
        let mut index = Self::default();
        let mut prefixes: Vec<(&str, u32)> = Vec::new();
        for (at, matcher) in matchers.enumerate() {
            let at = u32::try_from(at).expect("fewer than 2^32 routes");
            match &matcher.path {
                PathMatcher::Exact(path) => index.exact.entry(path.clone()).or_default().push(at),
                PathMatcher::Prefix(prefix) | PathMatcher::SeparatedPrefix(prefix) => {
                    prefixes.push((prefix, at))
                }
                _ => index.rest.push(at),
            }
        }
        index.prefixes = PrefixIndex::build(prefixes);
        Some(Box::new(index))
    }

    /// The lowest position that `passes`, among those whose path condition may hold.
    pub(crate) fn first(
        &self,
        request: &RequestView<'_>,
        passes: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let path = request.path_only();
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
        if let Some(list) = self.exact.get(path) {
            consider(list);
        }
        self.prefixes.each(path, &mut consider);
        consider(&self.rest);
        (best != u32::MAX).then_some(best as usize)
    }
}

impl PrefixIndex {
    fn build(mut prefixes: Vec<(&str, u32)>) -> Self {
        prefixes.sort_unstable();
        let mut nodes: Vec<PrefixNode> = Vec::new();
        for (prefix, at) in prefixes {
            match nodes.last_mut() {
                Some(last) if *last.prefix == *prefix => last.routes.push(at),
                _ => {
                    let parent = Self::ancestor(&nodes, nodes.len().checked_sub(1), prefix);
                    nodes.push(PrefixNode {
                        prefix: prefix.into(),
                        parent,
                        routes: vec![at],
                    });
                }
            }
        }
        Self { nodes }
    }

    /// From `start` up: the first node that `text` begins with. In byte order every prefix of a
    /// text is its predecessor or an ancestor of that.
    fn ancestor(nodes: &[PrefixNode], start: Option<usize>, text: &str) -> Option<u32> {
        let mut at = start.map(|start| start as u32);
        while let Some(node) = at {
            let node_ref = &nodes[node as usize];
            if text.starts_with(&*node_ref.prefix) {
                return Some(node);
            }
            at = node_ref.parent;
        }
        None
    }

    /// Calls `visit` with the routes of every prefix of `path`, longest first.
    fn each(&self, path: &str, mut visit: impl FnMut(&[u32])) {
        let after = self.nodes.partition_point(|node| *node.prefix <= *path);
        let mut at = Self::ancestor(&self.nodes, after.checked_sub(1), path);
        while let Some(node) = at {
            let node = &self.nodes[node as usize];
            visit(&node.routes);
            at = node.parent;
        }
    }
}
