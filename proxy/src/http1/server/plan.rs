//! How a response goes out: framing, persistence, and whether content follows.

use http::header;
use http::{Method, StatusCode, Version};

use super::Asked;
use crate::http1::encode::{self, Persistence};
use crate::http1::head::Framing;

/// How a response is sent.
#[derive(Debug)]
pub(super) struct Plan {
    /// Written into the head; `None` where the head must not say.
    pub(super) framing: Option<Framing>,
    pub(super) persistence: Persistence,
    pub(super) has_body: bool,
    /// The client takes trailers.
    pub(super) trailers: bool,
    /// Another request may follow.
    pub(super) keep: bool,
}

impl Plan {
    pub(super) fn new<B: http_body::Body>(
        asked: &Asked,
        parts: &http::response::Parts,
        body: &B,
        closing: bool,
    ) -> Self {
        let switched = parts.status == StatusCode::SWITCHING_PROTOCOLS
            || (asked.method == Method::CONNECT && parts.status.is_success());
        let bodiless = switched
            || parts.status.is_informational()
            || matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        let head_only = asked.method == Method::HEAD;
        let framing = match content(parts, body) {
            _ if bodiless => None,
            // The length of what a GET would have got, if somebody knows it.
            _ if head_only => None,
            Some(bytes) => Some(Framing::Length(bytes)),
            None if encode::knows_chunks(asked.version) => Some(Framing::Chunked),
            None => Some(Framing::UntilClose),
        };
        let says_close = parts
            .headers
            .get(header::CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let keep =
            asked.keep_alive && !closing && !says_close && framing != Some(Framing::UntilClose);
        let persistence = match (keep, asked.version) {
            _ if switched => Persistence::Implied,
            (true, Version::HTTP_10) => Persistence::KeepAlive,
            (true, _) => Persistence::Implied,
            (false, _) => Persistence::Close,
        };
        Self {
            framing,
            persistence,
            has_body: !bodiless && !head_only,
            trailers: asked.takes_trailers,
            keep,
        }
    }
}

/// Bytes of a response's content, by its head or by its body.
fn content<B: http_body::Body>(parts: &http::response::Parts, body: &B) -> Option<u64> {
    let told = parts.headers.get(header::CONTENT_LENGTH);
    let told = told.and_then(|value| value.to_str().ok()?.parse().ok());
    told.or_else(|| body.size_hint().exact())
}
