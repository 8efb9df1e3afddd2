//! Cross-origin policy of a route.

use http::HeaderMap;

use crate::view::RequestView;

/// A compiled CORS policy.
#[derive(Debug)]
pub struct Cors {}

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
        let _ = request;
        todo!()
    }
}
