//! What a route matches.

use crate::conditions::{HeaderCondition, QueryCondition, drawn};
use crate::strings::StringMatcher;
use crate::view::RequestView;

/// A compiled route match.
#[derive(Debug)]
pub(crate) struct RouteMatcher {
    pub(crate) path: PathMatcher,
    pub(crate) headers: Vec<HeaderCondition>,
    pub(crate) query: Vec<QueryCondition>,
    /// Share in millionths.
    pub(crate) fraction: Option<u32>,
    /// Only gRPC requests.
    pub(crate) grpc: bool,
}

/// A path condition. All but CONNECT see the path without query.
#[derive(Debug)]
pub(crate) enum PathMatcher {
    Exact(Box<str>),
    ExactAnyCase(Box<str>),
    Prefix(Box<str>),
    PrefixAnyCase(Box<str>),
    /// The prefix, followed by nothing or a slash.
    SeparatedPrefix(Box<str>),
    SeparatedPrefixAnyCase(Box<str>),
    Regex(StringMatcher),
    Connect,
}

impl RouteMatcher {
    pub(crate) fn matches(&self, request: &RequestView<'_>, random: u64) -> bool {
        self.mismatch(request, random).is_none()
    }

    /// The first condition that doesn't hold, for explanations.
    pub(crate) fn mismatch(&self, request: &RequestView<'_>, random: u64) -> Option<Mismatch> {
        if !self.path.matches(request) {
            return Some(Mismatch::Path);
        }
        if let Some(at) = self
            .headers
            .iter()
            .position(|condition| !condition.holds(request))
        {
            return Some(Mismatch::Header(at));
        }
        if self.grpc && !is_grpc(request) {
            return Some(Mismatch::Grpc);
        }
        if let Some(at) = self
            .query
            .iter()
            .position(|condition| !condition.holds(request))
        {
            return Some(Mismatch::Query(at));
        }
        match self.fraction {
            Some(share) if !drawn(random, share) => Some(Mismatch::Fraction),
            _ => None,
        }
    }
}

/// Why a route doesn't match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    Path,
    Header(usize),
    Query(usize),
    Grpc,
    Fraction,
}

impl PathMatcher {
    fn matches(&self, request: &RequestView<'_>) -> bool {
        if let Self::Connect = self {
            return request.method == "CONNECT";
        }
        // A CONNECT without a path is for CONNECT routes alone.
        if request.path.is_empty() {
            return false;
        }
        let path = request.path_only();
        match self {
            Self::Exact(want) => path == &**want,
            Self::ExactAnyCase(want) => path.eq_ignore_ascii_case(want),
            Self::Prefix(want) => path.starts_with(&**want),
            Self::PrefixAnyCase(want) => starts_with_any_case(path, want),
            Self::SeparatedPrefix(want) => path.starts_with(&**want) && separated(path, want.len()),
            Self::SeparatedPrefixAnyCase(want) => {
                starts_with_any_case(path, want) && separated(path, want.len())
            }
            Self::Regex(pattern) => pattern.matches(path),
            Self::Connect => false,
        }
    }

    /// Length of the part that a prefix rewrite replaces; `None`: the whole path.
    pub(crate) fn prefix_length(&self) -> Option<usize> {
        match self {
            Self::Prefix(prefix)
            | Self::PrefixAnyCase(prefix)
            | Self::SeparatedPrefix(prefix)
            | Self::SeparatedPrefixAnyCase(prefix) => Some(prefix.len()),
            _ => None,
        }
    }
}

fn separated(path: &str, length: usize) -> bool {
    path.as_bytes().get(length).is_none_or(|byte| *byte == b'/')
}

fn starts_with_any_case(path: &str, prefix: &str) -> bool {
    path.as_bytes()
        .get(..prefix.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

fn is_grpc(request: &RequestView<'_>) -> bool {
    request
        .headers
        .get(http::header::CONTENT_TYPE)
        .map(http::HeaderValue::as_bytes)
        .and_then(|value| value.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'+')
}
