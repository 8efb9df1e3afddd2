//! Cross-origin policy of a route.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::strings::StringMatcher;
use crate::view::RequestView;

/// A compiled CORS policy.
#[derive(Debug)]
pub struct Cors {
    pub(crate) origins: Vec<StringMatcher>,
    pub(crate) methods: Option<HeaderValue>,
    pub(crate) headers: Option<HeaderValue>,
    pub(crate) expose: Option<HeaderValue>,
    pub(crate) max_age: Option<HeaderValue>,
    pub(crate) credentials: bool,
    /// Preflights from origins that aren't allowed go to the upstream. Envoy's default: true.
    pub(crate) forward_others: bool,
}

/// What CORS does to a request.
#[derive(Debug)]
pub enum CorsDecision {
    /// Nothing.
    NotCors,
    /// Answer the preflight with 200 and these headers.
    Preflight(HeaderMap),
    /// Forward; add these headers to the response.
    Actual(HeaderMap),
}

impl Cors {
    /// Decides on a request. Allocates only for requests with an `origin` that is allowed.
    pub fn decide(&self, request: &RequestView<'_>) -> CorsDecision {
        let Some(origin) = request
            .headers
            .get(ORIGIN)
            .filter(|origin| !origin.is_empty())
        else {
            return CorsDecision::NotCors;
        };
        let preflight = request.method == "OPTIONS"
            && request
                .headers
                .get(ACCESS_CONTROL_REQUEST_METHOD)
                .is_some_and(|method| !method.is_empty());
        if !self
            .origins
            .iter()
            .any(|allowed| allowed.matches_bytes(origin.as_bytes()))
        {
            return if preflight && !self.forward_others {
                CorsDecision::Preflight(HeaderMap::new())
            } else {
                CorsDecision::NotCors
            };
        }
        let mut headers = HeaderMap::with_capacity(6);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            headers.insert(
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
        if !preflight {
            put(
                &mut headers,
                ACCESS_CONTROL_EXPOSE_HEADERS,
                self.expose.as_ref(),
            );
            return CorsDecision::Actual(headers);
        }
        put(
            &mut headers,
            ACCESS_CONTROL_ALLOW_METHODS,
            self.methods.as_ref(),
        );
        put(
            &mut headers,
            ACCESS_CONTROL_ALLOW_HEADERS,
            self.headers.as_ref(),
        );
        put(&mut headers, ACCESS_CONTROL_MAX_AGE, self.max_age.as_ref());
        CorsDecision::Preflight(headers)
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<&HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(method: &str, origin: &'static str) -> CorsDecision {
        let cors = Cors {
            origins: vec![StringMatcher::suffix(".example.com")],
            methods: Some(HeaderValue::from_static("GET,POST")),
            headers: None,
            expose: Some(HeaderValue::from_static("x-a")),
            max_age: None,
            credentials: true,
            forward_others: true,
        };
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        headers.insert(
            ACCESS_CONTROL_REQUEST_METHOD,
            HeaderValue::from_static("POST"),
        );
        cors.decide(&RequestView {
            method,
            path: "/",
            authority: "api",
            scheme: "http",
            headers: &headers,
        })
    }

    #[test]
    fn preflight_of_an_allowed_origin_is_answered() {
        let CorsDecision::Preflight(headers) = decide("OPTIONS", "https://a.example.com") else {
            panic!("not answered");
        };
        assert_eq!(
            headers[ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://a.example.com"
        );
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "GET,POST");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    }

    #[test]
    fn actual_request_gets_exposed_headers_and_others_nothing() {
        assert!(
            matches!(decide("POST", "https://a.example.com"), CorsDecision::Actual(h) if h[ACCESS_CONTROL_EXPOSE_HEADERS] == "x-a")
        );
        assert!(matches!(
            decide("OPTIONS", "https://evil.com"),
            CorsDecision::NotCors
        ));
    }
}
