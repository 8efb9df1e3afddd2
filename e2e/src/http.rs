//! A plain HTTP/1.1 client of one connection per request, as a browser's first visit.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The longest that a request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, as text.
    pub body: String,
    /// From connecting to the body's last byte.
    pub took: Duration,
}

/// A request to be sent: method, path, headers, body.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method; GET unless told.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers besides Host.
    pub headers: Vec<(String, String)>,
    /// Body; empty unless told.
    pub body: String,
}

impl Call {
    /// A GET of `path`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A POST of `body`.
    #[must_use]
    pub fn post(path: &str, body: &str) -> Self {
        Self {
            method: Method::POST,
            body: body.to_owned(),
            ..Self::get(path)
        }
    }
}

/// Sends `call` to `to` on a connection of its own.
///
/// # Errors
/// When no whole answer comes: refused, reset, too late.
pub async fn send(to: SocketAddr, call: &Call) -> anyhow::Result<Answer> {
    tokio::time::timeout(REQUEST_LIMIT, exchange(to, call))
        .await
        .with_context(|| {
            format!(
                "{} {}: no answer within {REQUEST_LIMIT:?}",
                call.method, call.path
            )
        })?
        .with_context(|| format!("{} http://{to}{}", call.method, call.path))
}

async fn exchange(to: SocketAddr, call: &Call) -> anyhow::Result<Answer> {
    let started = Instant::now();
    let stream = TcpStream::connect(to).await.context("connect")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(&call.path);
    if !call
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        request = request.header("host", to.to_string());
    }
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(call.body.clone())))?;
    let response = sender.send_request(request).await.context("send")?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.context("read the body")?.to_bytes();
    connection.abort();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        took: started.elapsed(),
    })
}

/// [`send`], for callers without a runtime.
///
/// # Errors
/// As [`send`].
pub fn send_blocking(to: SocketAddr, call: &Call) -> anyhow::Result<Answer> {
    runtime()?.block_on(send(to, call))
}

/// A small runtime for one question or one load.
///
/// # Errors
/// When the system gives none.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")
}
