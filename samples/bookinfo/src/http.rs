//! The little HTTP that the services need: a server with a graceful end, and a GET with a deadline.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::{conn::auto, graceful::GracefulShutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// How long a service keeps accepting after SIGTERM: callers that have not yet heard
/// that this endpoint is gone still get an answer.
const LAME_DUCK: Duration = Duration::from_secs(2);
/// How long requests in flight may take after that.
const FINISH_WITHIN: Duration = Duration::from_secs(15);
/// The largest body that a service reads, from a caller or from another service.
const BODY_LIMIT_BYTES: usize = 1 << 20;

/// Writes one line to the service's log (standard error).
fn log(line: &str) {
    use std::io::Write;
    // A service whose log is gone still serves.
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub(crate) type Reply = Response<Full<Bytes>>;

/// Serves `handle` on `listen` until SIGTERM or SIGINT, then finishes what is in flight.
pub(crate) async fn serve<H, F>(name: &str, listen: SocketAddr, handle: H) -> anyhow::Result<()>
where
    H: Fn(Request<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let listener = bind(listen).await?;
    log(&format!("{name} listening on {}", listener.local_addr()?));
    let server = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stopping: Option<tokio::time::Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv(), if stopping.is_none() => {
                stopping = Some(tokio::time::Instant::now() + LAME_DUCK);
                continue;
            }
            _ = tokio::signal::ctrl_c(), if stopping.is_none() => break,
            () = until(stopping) => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let handle = handle.clone();
        let service = service_fn(move |request| answer(handle.clone(), request));
        let connection = server
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A caller that hangs up is no event for the service.
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(FINISH_WITHIN, graceful.shutdown()).await;
    Ok(())
}

/// Binds `listen`; where the machine has no IPv6, `[::]` becomes `0.0.0.0`.
async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind(listen).await {
        Err(_) if listen.ip() == std::net::Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, listen.port())).await
        }
        other => other,
    };
    bound.with_context(|| format!("listen on {listen} (is the port taken?)"))
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn answer<H, F>(handle: H, request: Request<Incoming>) -> Result<Reply, Infallible>
where
    H: Fn(Request<Bytes>) -> F,
    F: Future<Output = Reply>,
{
    let (parts, body) = request.into_parts();
    let line = format!("\"{} {}\"", parts.method, parts.uri);
    let reply = match Limited::new(body, BODY_LIMIT_BYTES).collect().await {
        Ok(body) => handle(Request::from_parts(parts, body.to_bytes())).await,
        Err(error) => text(
            StatusCode::BAD_REQUEST,
            &format!("unreadable body: {error}\n"),
        ),
    };
    log(&format!("{line} {}", reply.status().as_u16()));
    Ok(reply)
}

/// A failed call to another service, as the page tells it.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The other side answered with this status.
    Status(StatusCode),
    /// Nothing usable came back: refused, reset, unreadable, or too late.
    NoAnswer,
}

impl CallError {
    /// The status to hand on: the other side's own, else 500.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Status(status) => *status,
            Self::NoAnswer => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// GETs `http://authority/path` with `headers`, whole answer within `budget`.
pub(crate) async fn get_json(
    authority: &str,
    path: &str,
    headers: &HeaderMap,
    budget: Duration,
) -> Result<serde_json::Value, CallError> {
    match tokio::time::timeout(budget, exchange(authority, path, headers)).await {
        Ok(Ok((StatusCode::OK, body))) => serde_json::from_slice(&body).map_err(|error| {
            log(&format!("GET http://{authority}{path}: not JSON: {error}"));
            CallError::NoAnswer
        }),
        Ok(Ok((status, _))) => Err(CallError::Status(status)),
        Ok(Err(error)) => {
            log(&format!("GET http://{authority}{path}: {error:#}"));
            Err(CallError::NoAnswer)
        }
        Err(_) => {
            log(&format!(
                "GET http://{authority}{path}: no answer within {budget:?}"
            ));
            Err(CallError::NoAnswer)
        }
    }
}

async fn exchange(
    authority: &str,
    path: &str,
    headers: &HeaderMap,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(authority).await.context("connect")?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path).body(Empty::<Bytes>::new())?;
    *request.headers_mut() = headers.clone();
    request
        .headers_mut()
        .insert(header::HOST, HeaderValue::from_str(authority)?);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), BODY_LIMIT_BYTES)
        .collect()
        .await;
    connection.abort();
    let body = body.map_err(|error| anyhow::anyhow!("read body: {error}"))?;
    Ok((status, body.to_bytes()))
}

/// An answer in plain text.
pub(crate) fn text(status: StatusCode, body: &str) -> Reply {
    with_type(status, "text/plain; charset=utf-8", body.to_owned())
}

/// An answer in HTML.
pub(crate) fn html(status: StatusCode, body: String) -> Reply {
    with_type(status, "text/html; charset=utf-8", body)
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    with_type(status, "application/json", body.to_string())
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// The number at the end of `/things/42`, if the path is of that shape.
pub(crate) fn id_in<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)
        .filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
}
