//! Consistent balancing by a cookie that we make where the client has none.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use mesh_route::hash::HashSource;
use mesh_route::{ForwardRoute, RequestView};

/// The request's hash, with the cookie that makes the next one equal.
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    /// For the balancer.
    pub(crate) hash: Option<u64>,
    /// For the response, if a cookie was made.
    pub(crate) set_cookie: Option<HeaderValue>,
}

/// Hashes a request by its route's policies.
pub(crate) fn sticky(
    forward: &ForwardRoute,
    view: &RequestView<'_>,
    client: SocketAddr,
    random: impl FnOnce() -> u64,
) -> Sticky {
    if forward.hash.is_empty() {
        return Sticky::default();
    }
    let hash = forward.hash(view, client);
    let made = forward.hash.iter().find_map(|policy| match &policy.source {
        HashSource::Cookie {
            name,
            generate: Some(lifetime),
            path,
        } if !has_cookie(view.headers, name) => Some((name, *lifetime, path)),
        _ => None,
    });
    let Some((name, lifetime, path)) = made else {
        return Sticky {
            hash,
            set_cookie: None,
        };
    };
    // The value is what the next request's hash will be made of: hash it the same way now.
    let value = format!("{:016x}", random());
    let mut headers = view.headers.clone();
    if let Ok(cookie) = HeaderValue::from_str(&format!("{name}={value}")) {
        headers.append(COOKIE, cookie);
    }
    let with_cookie = RequestView {
        headers: &headers,
        ..*view
    };
    let hash = forward.hash(&with_cookie, client).or(hash);
    Sticky {
        hash,
        set_cookie: HeaderValue::from_str(&set_cookie(name, &value, lifetime, path)).ok(),
    }
}

fn set_cookie(name: &str, value: &str, lifetime: Duration, path: &str) -> String {
    let mut text = format!("{name}=\"{value}\"");
    if !lifetime.is_zero() {
        text.push_str(&format!("; Max-Age={}", lifetime.as_secs()));
    }
    if !path.is_empty() {
        text.push_str(&format!("; Path={path}"));
    }
    text.push_str("; HttpOnly");
    text
}

fn has_cookie(headers: &HeaderMap, name: &str) -> bool {
    let cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).any(|pair| {
        pair.split_once('=')
            .is_some_and(|(key, _)| key.trim() == name)
    })
}
