//! Path and host rewrites, redirect locations.

use std::sync::Arc;

use regex::Regex;

use crate::route::{ForwardRoute, RedirectRoute, WeightedCluster};
use crate::view::RequestView;

/// How a path is rewritten; the query always stays.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// Replace the matched part: a prefix, or the whole path for exact and regex matches.
    Prefix {
        /// Bytes of the prefix that matched; `None`: the whole path.
        matched: Option<usize>,
        /// Replacement.
        to: Arc<str>,
    },
    /// Replace all matches.
    Regex(Substitution),
    /// Replace the whole path.
    Whole(Arc<str>),
}

/// A pattern and what its matches become.
#[derive(Clone, Debug)]
pub struct Substitution {
    /// Pattern, not anchored.
    pub pattern: Regex,
    /// Replacement in the regex crate's syntax (`${1}`).
    pub to: Arc<str>,
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
    PathRegex(Substitution),
}

impl PathRewrite {
    /// The new path with the old query.
    fn apply(&self, request: &RequestView<'_>) -> String {
        let path = request.path_only();
        let tail = &request.path[path.len()..];
        match self {
            Self::Prefix { matched, to } => {
                let rest = matched.map_or("", |length| path.get(length..).unwrap_or(""));
                format!("{to}{rest}{tail}")
            }
            Self::Regex(substitution) => format!("{}{tail}", substitution.apply(path)),
            Self::Whole(to) => format!("{to}{tail}"),
        }
    }
}

impl Substitution {
    fn apply(&self, text: &str) -> String {
        self.pattern.replace_all(text, &*self.to).into_owned()
    }
}

impl ForwardRoute {
    /// The path to send upstream (with query), `None` if it stays.
    pub fn rewritten_path(&self, request: &RequestView<'_>) -> Option<String> {
        self.path_rewrite
            .as_ref()
            .map(|rewrite| rewrite.apply(request))
    }

    /// The host to send upstream, `None` if it stays. `endpoint_host`: the chosen endpoint's name.
    pub fn rewritten_host(
        &self,
        cluster: &WeightedCluster,
        request: &RequestView<'_>,
        endpoint_host: Option<&str>,
    ) -> Option<String> {
        match cluster
            .host_rewrite
            .as_ref()
            .or(self.host_rewrite.as_ref())?
        {
            HostRewrite::Literal(host) => Some((**host).to_owned()),
            HostRewrite::Endpoint => endpoint_host.map(str::to_owned),
            HostRewrite::Header(name) => {
                let value = request.header(name)?;
                std::str::from_utf8(value)
                    .ok()
                    .filter(|host| !host.is_empty())
                    .map(str::to_owned)
            }
            HostRewrite::PathRegex(substitution) => Some(substitution.apply(request.path_only())),
        }
    }
}

impl RedirectRoute {
    /// The `location` of the redirect.
    ///
    /// Source: Envoy's `RouteEntryImplBase::newUri`: the port goes when the scheme changes
    /// and none is configured.
    pub fn location(&self, request: &RequestView<'_>) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme);
        let (old_host, old_port) = split_port(request.authority);
        let host = self.host.as_deref().unwrap_or(old_host);
        let port = match self.port {
            Some(port) => format!(":{port}"),
            None if self.host.is_some() || drops_port(request.scheme, scheme, old_port) => {
                String::new()
            }
            None => old_port.to_owned(),
        };
        format!("{scheme}://{host}{port}{}", self.target(request))
    }

    fn target(&self, request: &RequestView<'_>) -> String {
        let path = match &self.path {
            None => request.path.to_owned(),
            Some(PathRewrite::Whole(to)) if to.contains('?') => return (**to).to_owned(),
            Some(rewrite) => rewrite.apply(request),
        };
        if self.strip_query {
            return path.split('?').next().unwrap_or_default().to_owned();
        }
        path
    }
}

/// The default port of the old scheme says nothing under the new one.
fn drops_port(old_scheme: &str, new_scheme: &str, port: &str) -> bool {
    old_scheme != new_scheme && matches!((old_scheme, port), ("http", ":80") | ("https", ":443"))
}

/// `host` and `:port` (or nothing); brackets of IPv6 literals are respected.
pub(crate) fn split_port(authority: &str) -> (&str, &str) {
    match authority.rfind(':') {
        Some(at)
            if !authority[at..].contains(']')
                && all_digits(&authority[at + 1..])
                && !bare_v6(&authority[..at]) =>
        {
            authority.split_at(at)
        }
        _ => (authority, ""),
    }
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn bare_v6(host: &str) -> bool {
    host.contains(':') && !host.starts_with('[')
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn location(redirect: &RedirectRoute, authority: &str, path: &str) -> String {
        redirect.location(&RequestView {
            method: "GET",
            path,
            authority,
            scheme: "http",
            headers: &HeaderMap::new(),
        })
    }

    fn redirect() -> RedirectRoute {
        RedirectRoute {
            status: 301,
            scheme: None,
            host: None,
            port: None,
            path: None,
            strip_query: false,
        }
    }

    #[test]
    fn splits_the_port_off_names_and_addresses() {
        for (authority, host, port) in [
            ("a.b", "a.b", ""),
            ("a.b:80", "a.b", ":80"),
            ("[::1]:80", "[::1]", ":80"),
            ("[::1]", "[::1]", ""),
            ("::1", "::1", ""),
            ("a:", "a:", ""),
        ] {
            assert_eq!(split_port(authority), (host, port), "{authority}");
        }
    }

    #[test]
    fn https_redirect_keeps_path_and_drops_the_default_port() {
        let to_https = RedirectRoute {
            scheme: Some("https".into()),
            ..redirect()
        };
        assert_eq!(location(&to_https, "a.b:80", "/x?y=1"), "https://a.b/x?y=1");
        assert_eq!(location(&to_https, "a.b:8080", "/x"), "https://a.b:8080/x");
    }

    #[test]
    fn host_port_and_path_are_replaced() {
        let there = RedirectRoute {
            host: Some("new.example".into()),
            port: Some(8443),
            path: Some(PathRewrite::Whole("/moved".into())),
            ..redirect()
        };
        assert_eq!(
            location(&there, "a.b:80", "/x?y=1"),
            "http://new.example:8443/moved?y=1"
        );
        let strip = RedirectRoute {
            path: Some(PathRewrite::Prefix {
                matched: Some(4),
                to: "/new".into(),
            }),
            strip_query: true,
            ..redirect()
        };
        assert_eq!(location(&strip, "a.b", "/old/x?y=1"), "http://a.b/new/x");
    }
}
