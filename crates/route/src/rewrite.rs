//! Path and host rewrites, redirect locations.

use std::sync::Arc;

use regex::Regex;

use crate::route::{ForwardRoute, RedirectRoute, WeightedCluster};
use crate::view::RequestView;

/// How a path is rewritten; the query always stays.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// Replace the matched prefix (its length in bytes; the whole path for an exact match).
    Prefix {
        /// Bytes of the path that matched.
        matched: usize,
        /// Replacement.
        to: Arc<str>,
    },
    /// Replace all matches; `\1` are groups.
    Regex {
        /// Pattern.
        pattern: Regex,
        /// Substitution in the regex crate's syntax (`${1}`).
        to: Arc<str>,
    },
    /// Replace the whole path.
    Whole(Arc<str>),
}

/// How the host is rewritten.
#[derive(Clone, Debug)]
pub enum HostRewrite {
    /// This one.
    Literal(Arc<str>),
    /// The chosen endpoint's host name, where it has one.
    Endpoint,
    /// A header's value, if present.
    Header(Arc<str>),
    /// Substitution on the path.
    PathRegex {
        /// Pattern.
        pattern: Regex,
        /// Substitution.
        to: Arc<str>,
    },
}

impl ForwardRoute {
    /// The path to send upstream (with query), `None` if it stays.
    pub fn rewritten_path(&self, request: &RequestView<'_>) -> Option<String> {
        let _ = request;
        todo!()
    }

    /// The host to send upstream, `None` if it stays. `endpoint_host`: the chosen endpoint's name.
    pub fn rewritten_host(
        &self,
        cluster: &WeightedCluster,
        request: &RequestView<'_>,
        endpoint_host: Option<&str>,
    ) -> Option<String> {
        let _ = (cluster, request, endpoint_host);
        todo!()
    }
}

impl RedirectRoute {
    /// The `location` of the redirect.
    pub fn location(&self, request: &RequestView<'_>) -> String {
        let _ = request;
        todo!()
    }
}
