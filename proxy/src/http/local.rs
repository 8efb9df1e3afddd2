//! Responses of our own that are no failures: redirects, direct responses, preflights.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use super::response::ResponseBody;

/// A response with a text body, and where to go for a redirect.
pub(crate) fn local(
    status: StatusCode,
    location: Option<&str>,
    body: Bytes,
) -> Response<ResponseBody> {
    let mut headers = HeaderMap::with_capacity(8);
    if let Some(location) = location.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    let mut response = Response::new(ResponseBody::full(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
