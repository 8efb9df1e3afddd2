//! From an HTTP request to a page or a review.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use serde_json::Value;

use super::Server;
use super::review::{Answer, Review};

/// Most bytes of a review. The API server takes objects up to 3 MiB, and a review of an update
/// holds the old one and the new one; Istio has the same limit.
const BODY_LIMIT: usize = 6 << 20;
/// A review that is not here by then is given up: the API server waits for 10 s by default.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the API server asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Webhook {
    /// To inject a pod.
    Inject,
    /// To validate an object.
    Validate,
}

/// A request that is no review: the status, and what to do.
struct Refusal(StatusCode, String);

impl Server {
    /// Answers any request; what is no review in good form gets a 4xx with the reason as text.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let webhook = match (request.method(), request.uri().path()) {
            (&Method::GET, "/ready") => return text(StatusCode::OK, "ready\n".to_owned()),
            (&Method::POST, path) if is_inject(path) => Webhook::Inject,
            (&Method::POST, "/validate") => Webhook::Validate,
            (_, path) if path == "/validate" || is_inject(path) => {
                let words = "a webhook takes POST of an AdmissionReview\n".to_owned();
                return text(StatusCode::METHOD_NOT_ALLOWED, words);
            }
            _ => {
                let words = "there are /inject, /validate and /ready\n".to_owned();
                return text(StatusCode::NOT_FOUND, words);
            }
        };
        match read(request).await {
            Ok(review) => {
                let answer = self.review(webhook, &review);
                json(&answer.to_json(&review.uid))
            }
            Err(Refusal(status, problem)) => {
                self.count_unreadable(webhook, status);
                tracing::warn!(?webhook, %status, problem, "a webhook's request was refused");
                text(status, problem + "\n")
            }
        }
    }

    fn review(&self, webhook: Webhook, review: &Review) -> Answer {
        match webhook {
            Webhook::Inject => self.inject(review),
            Webhook::Validate => self.validate(review),
        }
    }

    fn count_unreadable(&self, webhook: Webhook, status: StatusCode) {
        match webhook {
            Webhook::Inject => {
                self.metrics.requests.with(&[]).inc();
                self.metrics.failed.with(&[]).inc();
            }
            Webhook::Validate => self.metrics.unreadable.with(&[status.as_str()]).inc(),
        }
    }
}

/// Istio's charts may add `/cluster/NAME/net/NETWORK`, which says nothing here: there is one cluster.
fn is_inject(path: &str) -> bool {
    path == "/inject" || path.starts_with("/inject/")
}

async fn read(request: Request<Incoming>) -> Result<Review, Refusal> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next();
    if !media_type.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        let problem = format!(
            "content type {:?} is not taken: send application/json",
            content_type.unwrap_or_default()
        );
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem));
    }
    if request.body().size_hint().lower() > BODY_LIMIT as u64 {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(too_large());
        }
        Ok(Err(error)) => {
            let problem = format!("the body could not be read: {error}");
            return Err(Refusal(StatusCode::BAD_REQUEST, problem));
        }
        Err(_) => {
            let problem = format!("the body did not arrive within {BODY_TIMEOUT:?}");
            return Err(Refusal(StatusCode::REQUEST_TIMEOUT, problem));
        }
    };
    Review::read(&body).map_err(|problem| Refusal(StatusCode::BAD_REQUEST, problem))
}

fn too_large() -> Refusal {
    let problem = format!("the body is larger than {} MiB", BODY_LIMIT >> 20);
    Refusal(StatusCode::PAYLOAD_TOO_LARGE, problem)
}

fn json(value: &Value) -> Response<Full<Bytes>> {
    reply(StatusCode::OK, "application/json", value.to_string())
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    reply(status, "text/plain; charset=utf-8", text)
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
