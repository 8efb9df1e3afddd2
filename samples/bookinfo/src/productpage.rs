//! productpage: the page, the login, and the JSON API over details, reviews and ratings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::forward;
use crate::http::{CallError, Reply, get_json, html, id_in, json, serve as serve_http, text};
use crate::page;

/// How long one call to another service may take.
const CALL_BUDGET: Duration = Duration::from_secs(3);
/// Reviews are asked once more when the first call fails: with a 7 s delay in ratings
/// the page fails after 6 s, although reviews would have waited 10 s.
const REVIEWS_ATTEMPTS: usize = 2;
const SESSION_COOKIE: &str = "session";

/// Where the other services are.
#[derive(Args)]
pub(crate) struct Options {
    /// Domain that is appended to every host below.
    #[arg(long, env = "SERVICES_DOMAIN", default_value = "")]
    services_domain: String,
    /// Host of the details service.
    #[arg(long, env = "DETAILS_HOSTNAME", default_value = "details")]
    details_hostname: String,
    /// Port of the details service.
    #[arg(long, env = "DETAILS_SERVICE_PORT", default_value_t = 9080)]
    details_port: u16,
    /// Host of the reviews service.
    #[arg(long, env = "REVIEWS_HOSTNAME", default_value = "reviews")]
    reviews_hostname: String,
    /// Port of the reviews service.
    #[arg(long, env = "REVIEWS_SERVICE_PORT", default_value_t = 9080)]
    reviews_port: u16,
    /// Host of the ratings service.
    #[arg(long, env = "RATINGS_HOSTNAME", default_value = "ratings")]
    ratings_hostname: String,
    /// Port of the ratings service.
    #[arg(long, env = "RATINGS_SERVICE_PORT", default_value_t = 9080)]
    ratings_port: u16,
}

impl Options {
    fn authority(&self, hostname: &str, port: u16) -> String {
        let domain = &self.services_domain;
        let dot = if domain.is_empty() { "" } else { "." };
        format!("{hostname}{dot}{domain}:{port}")
    }
}

/// A part of the page: the other service's JSON, or the status and message to show instead.
pub(crate) struct Part {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

/// Serves the page (`/productpage`), `/login`, `/logout`, `/api/v1/products...`, `/` and `/health`.
pub(crate) async fn serve(listen: SocketAddr, options: Options) -> anyhow::Result<()> {
    let options = Arc::new(options);
    serve_http("productpage", listen, move |request| {
        let options = options.clone();
        async move { answer(&request, &options).await }
    })
    .await
}

async fn answer(request: &Request<Bytes>, options: &Options) -> Reply {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/" | "/index.html") => html(StatusCode::OK, page::index()),
        (&Method::GET, "/health") => text(StatusCode::OK, "Product page is healthy"),
        (&Method::GET, "/productpage") => product_page(request.headers(), options).await,
        (&Method::POST, "/login") => login(request),
        (&Method::GET, "/logout") => logout(request.headers()),
        (&Method::GET, path) if path.starts_with("/api/v1/products") => {
            api(path, request.headers(), options).await
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

async fn product_page(headers: &HeaderMap, options: &Options) -> Reply {
    let user = session_user(headers);
    let headers = outgoing(headers, user.as_deref());
    let details = details("0", &headers, options).await;
    let reviews = reviews("0", &headers, options).await;
    html(
        StatusCode::OK,
        page::product(user.as_deref(), &details, &reviews),
    )
}

async fn api(path: &str, headers: &HeaderMap, options: &Options) -> Reply {
    let headers = outgoing(headers, session_user(headers).as_deref());
    if path == "/api/v1/products" {
        let product = json!([{"id": 0, "title": page::TITLE, "descriptionHtml": page::SUMMARY}]);
        return json(StatusCode::OK, &product);
    }
    let rest = path.trim_start_matches("/api/v1/products");
    let (id, what) = rest
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((rest.trim_start_matches('/'), ""));
    if id_in(id, "").is_none() {
        return json(
            StatusCode::NOT_FOUND,
            &json!({"error": "please provide a numeric product ID"}),
        );
    }
    let part = match what {
        "" => details(id, &headers, options).await,
        "reviews" => reviews(id, &headers, options).await,
        "ratings" => ratings(id, &headers, options).await,
        _ => return json(StatusCode::NOT_FOUND, &json!({"error": "no such resource"})),
    };
    json(part.status, &part.body)
}

async fn details(id: &str, headers: &HeaderMap, options: &Options) -> Part {
    let authority = options.authority(&options.details_hostname, options.details_port);
    let answer = get_json(&authority, &format!("/details/{id}"), headers, CALL_BUDGET).await;
    part(answer, "details")
}

async fn reviews(id: &str, headers: &HeaderMap, options: &Options) -> Part {
    let authority = options.authority(&options.reviews_hostname, options.reviews_port);
    let path = format!("/reviews/{id}");
    let mut answer = Err(CallError::NoAnswer);
    for _ in 0..REVIEWS_ATTEMPTS {
        answer = get_json(&authority, &path, headers, CALL_BUDGET).await;
        if answer.is_ok() {
            break;
        }
    }
    part(answer, "reviews")
}

async fn ratings(id: &str, headers: &HeaderMap, options: &Options) -> Part {
    let authority = options.authority(&options.ratings_hostname, options.ratings_port);
    let answer = get_json(&authority, &format!("/ratings/{id}"), headers, CALL_BUDGET).await;
    part(answer, "ratings")
}

fn part(answer: Result<Value, CallError>, what: &str) -> Part {
    match answer {
        Ok(body) => Part {
            status: StatusCode::OK,
            body,
        },
        Err(error) => Part {
            status: error.status(),
            body: json!({"error": format!("Sorry, product {what} are currently unavailable for this book.")}),
        },
    }
}

/// The headers for calls to other services: the trace context, and who is logged in.
fn outgoing(incoming: &HeaderMap, user: Option<&str>) -> HeaderMap {
    let mut headers = forward::headers(incoming);
    headers.remove("end-user");
    if let Some(user) = user.and_then(|user| HeaderValue::from_str(user).ok()) {
        headers.insert("end-user", user);
    }
    headers
}

/// Signs in whoever asks: this is a sample, and the password is not looked at.
fn login(request: &Request<Bytes>) -> Reply {
    let user = form_value(request.body(), "username").unwrap_or_default();
    let cookie = format!(
        "{SESSION_COOKIE}={}; HttpOnly; Path=/; SameSite=Lax",
        URL_SAFE_NO_PAD.encode(user)
    );
    back(request.headers(), &cookie)
}

fn logout(headers: &HeaderMap) -> Reply {
    back(
        headers,
        &format!("{SESSION_COOKIE}=; HttpOnly; Path=/; Max-Age=0"),
    )
}

/// A redirect to where the user came from, setting `cookie`.
fn back(headers: &HeaderMap, cookie: &str) -> Reply {
    let page = HeaderValue::from_static("/productpage");
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::FOUND;
    let to = headers.get(header::REFERER).cloned().unwrap_or(page);
    reply.headers_mut().insert(header::LOCATION, to);
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        reply.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    reply
}

/// Who is logged in, by the session cookie.
fn session_user(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(SESSION_COOKIE)?.strip_prefix('='))
        .and_then(|value| URL_SAFE_NO_PAD.decode(value).ok())
        .and_then(|user| String::from_utf8(user).ok())
        .filter(|user| !user.is_empty())
}

/// The value of `name` in an `application/x-www-form-urlencoded` body.
fn form_value(body: &[u8], name: &str) -> Option<String> {
    body.split(|&b| b == b'&').find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(percent_decode(value))
    })
}

fn percent_decode(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_cookie_names_the_user() {
        let mut headers = HeaderMap::new();
        let value = format!("a=b; session={}", URL_SAFE_NO_PAD.encode("jason"));
        headers.insert(header::COOKIE, HeaderValue::from_str(&value).unwrap());
        assert_eq!(session_user(&headers).as_deref(), Some("jason"));
    }

    #[test]
    fn form_values_are_percent_decoded() {
        assert_eq!(
            form_value(b"x=1&username=ja%20son+b%", "username").as_deref(),
            Some("ja son b%")
        );
    }

    #[test]
    fn only_the_session_decides_the_end_user() {
        let mut incoming = HeaderMap::new();
        incoming.insert("end-user", HeaderValue::from_static("mallory"));
        incoming.insert("x-request-id", HeaderValue::from_static("1"));
        let out = outgoing(&incoming, None);
        assert!(out.get("end-user").is_none() && out.contains_key("x-request-id"));
    }
}
