//! Hash policies for consistent balancing. xxHash64 with seed 0 throughout, as Envoy.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use xxhash_rust::xxh64::xxh64;

use crate::conditions::query_value;
use crate::view::RequestView;

/// One source of the request's hash.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// If a hash is there after this one, the rest is not looked at.
    pub terminal: bool,
}

/// What is hashed.
#[derive(Clone, Debug)]
pub enum HashSource {
    /// All values of a header (name lowercase, or `:authority` and the like).
    Header(Arc<str>),
    /// A cookie.
    Cookie {
        /// Name.
        name: Arc<str>,
        /// Make the cookie where it is absent, with this lifetime (zero: session cookie).
        generate: Option<Duration>,
        /// Path of the generated cookie.
        path: Arc<str>,
    },
    /// The client's address.
    SourceIp,
    /// First value of a query parameter.
    QueryParameter(Arc<str>),
}

/// xxHash64 of an address, as Envoy hashes it (its text without port).
pub fn of_address(address: IpAddr) -> u64 {
    of_text(format_args!("{address}"))
}

/// xxHash64 of formatted text, without allocation up to 64 bytes.
pub(crate) fn of_text(text: std::fmt::Arguments<'_>) -> u64 {
    struct Buffer(SmallVec<[u8; 64]>);
    impl std::fmt::Write for Buffer {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    let mut buffer = Buffer(SmallVec::new());
    buffer.write_fmt(text).expect("the buffer grows");
    xxh64(&buffer.0, 0)
}

/// Hash of a request by a list of policies; `None` if none gave a value.
///
/// Source: Envoy's `HashPolicyImpl`: each further value is xored to the rotated hash.
pub fn of_request(
    policies: &[HashPolicy],
    request: &RequestView<'_>,
    source: SocketAddr,
) -> Option<u64> {
    let mut hash: Option<u64> = None;
    for policy in policies {
        if let Some(value) = policy.source.value(request, source) {
            hash = Some(hash.map_or(value, |before| before.rotate_left(1) ^ value));
        }
        if policy.terminal && hash.is_some() {
            break;
        }
    }
    hash
}

/// The `set-cookie` value to send with the response where a policy makes cookies and the
/// request had none. It fits the hash that [`of_request`] gave for the same request.
pub fn new_cookie(
    policies: &[HashPolicy],
    request: &RequestView<'_>,
    source: SocketAddr,
) -> Option<String> {
    policies.iter().find_map(|policy| match &policy.source {
        HashSource::Cookie {
            name,
            generate: Some(lifetime),
            path,
        } if cookie(request, name).is_none() => {
            let mut text = format!("{name}=\"{}\"", generated(source));
            if !lifetime.is_zero() {
                write!(text, "; Max-Age={}", lifetime.as_secs())
                    .expect("writing to a String can't fail");
            }
            if !path.is_empty() {
                write!(text, "; Path={path}").expect("writing to a String can't fail");
            }
            text.push_str("; HttpOnly");
            Some(text)
        }
        _ => None,
    })
}

impl HashSource {
    fn value(&self, request: &RequestView<'_>, source: SocketAddr) -> Option<u64> {
        match self {
            Self::Header(name) => header(request, name),
            Self::Cookie { name, generate, .. } => match (cookie(request, name), generate) {
                (Some(value), _) => Some(xxh64(value.as_bytes(), 0)),
                (None, Some(_)) => Some(of_text(format_args!("{}", generated(source)))),
                (None, None) => None,
            },
            Self::SourceIp => Some(of_address(source.ip())),
            Self::QueryParameter(name) => {
                query_value(request.query(), name).map(|value| xxh64(value.as_bytes(), 0))
            }
        }
    }
}

/// The value of a made cookie: the same for all requests of one connection until the client
/// sends it, so that they go to one endpoint.
fn generated(source: SocketAddr) -> impl std::fmt::Display {
    struct Hex(u64);
    impl std::fmt::Display for Hex {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:016x}", self.0)
        }
    }
    Hex(of_text(format_args!("{source}")))
}

/// One value is hashed as it is; several are sorted and chained by seed, so that their order
/// doesn't count.
fn header(request: &RequestView<'_>, name: &str) -> Option<u64> {
    if name.starts_with(':') || name == "host" {
        let value = request.header(name)?;
        return (!value.is_empty()).then(|| xxh64(value, 0));
    }
    let mut values: SmallVec<[&[u8]; 4]> = request
        .headers
        .get_all(name)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    if values.is_empty() {
        return None;
    }
    values.sort_unstable();
    Some(values.iter().fold(0, |seed, value| xxh64(value, seed)))
}

fn cookie<'a>(request: &RequestView<'a>, name: &str) -> Option<&'a str> {
    request
        .headers
        .get_all(http::header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn view(headers: &HeaderMap) -> RequestView<'_> {
        RequestView {
            method: "GET",
            path: "/a?user=x&k=v",
            authority: "a",
            scheme: "http",
            headers,
        }
    }

    fn policy(source: HashSource) -> HashPolicy {
        HashPolicy {
            source,
            terminal: false,
        }
    }

    #[test]
    fn values_are_hashed_and_combined_as_envoy_does() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("jason"));
        let client: SocketAddr = "10.0.0.1:99".parse().unwrap();
        let one = policy(HashSource::Header("x-user".into()));
        let two = policy(HashSource::QueryParameter("user".into()));
        let first = xxh64(b"jason", 0);
        assert_eq!(
            of_request(std::slice::from_ref(&one), &view(&headers), client),
            Some(first)
        );
        assert_eq!(
            of_request(&[one, two], &view(&headers), client),
            Some(first.rotate_left(1) ^ xxh64(b"x", 0))
        );
        assert_eq!(of_address(client.ip()), xxh64(b"10.0.0.1", 0));
    }

    #[test]
    fn made_cookie_keeps_the_hash_when_it_comes_back() {
        let client: SocketAddr = "10.0.0.1:99".parse().unwrap();
        let policies = [policy(HashSource::Cookie {
            name: "session".into(),
            generate: Some(Duration::from_secs(60)),
            path: "/".into(),
        })];
        let mut headers = HeaderMap::new();
        let before = of_request(&policies, &view(&headers), client);
        let set = new_cookie(&policies, &view(&headers), client).unwrap();
        assert!(set.ends_with("; Max-Age=60; Path=/; HttpOnly"), "{set}");
        let pair = set.split(';').next().unwrap();
        headers.insert(
            "cookie",
            HeaderValue::from_str(&format!("a=b; {pair}")).unwrap(),
        );
        let other: SocketAddr = "10.0.0.9:1".parse().unwrap();
        assert_eq!(of_request(&policies, &view(&headers), other), before);
        assert_eq!(new_cookie(&policies, &view(&headers), other), None);
    }
}
