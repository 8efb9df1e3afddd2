//! A small HTTP/1.1 server for the control thread's interfaces.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_telemetry::metrics::{Counter, CounterFamily, Registry};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// What a handler answers.
pub type Answer = Response<Full<Bytes>>;

/// Connections at once per interface; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Time limit for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which mostly means that descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} for {purpose} (is another process using the port?)")]
pub struct ListenError {
    address: SocketAddr,
    purpose: &'static str,
    #[source]
    source: io::Error,
}

/// Answers requests on the control thread.
pub trait Handler: 'static {
    /// Answers one request.
    fn handle(self: Rc<Self>, request: Request<Incoming>) -> impl Future<Output = Answer>;
}

/// Who sent a request; an extension of each.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// Opens a port; serve it with [`serve`].
///
/// # Errors
/// [`ListenError`] that names address and purpose.
pub async fn listen(
    address: SocketAddr,
    purpose: &'static str,
) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError {
            address,
            purpose,
            source,
        })
}

/// Connections to the control interfaces that broke HTTP or were too slow, by interface.
pub fn broken(registry: &Registry) -> CounterFamily {
    registry.counter(
        "meshproxy_control_protocol_error_total",
        "Connections to the proxy's own ports that broke the protocol or were too slow.",
        &["interface"],
    )
}

/// Serves a port until the task is dropped. Runs in a `LocalSet`. `broken`: see [`broken`].
pub async fn serve<H: Handler>(listener: TcpListener, handler: Rc<H>, broken: Counter) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection to a control interface is not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (handler, broken) = (Rc::clone(&handler), broken.clone());
        tokio::task::spawn_local(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                let handler = Rc::clone(&handler);
                request.extensions_mut().insert(PeerAddress(peer));
                async move { Ok::<_, std::convert::Infallible>(handler.handle(request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                if error.is_parse() || error.is_timeout() {
                    broken.inc();
                }
                tracing::debug!(%error, "connection to a control interface ended early");
            }
            drop(permit);
        });
    }
}

/// A plain-text answer.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=utf-8", body)
}

/// A JSON answer.
pub fn json(value: &serde_json::Value) -> Answer {
    // Printing a Value cannot fail: its keys are strings.
    let body = serde_json::to_vec_pretty(value).unwrap_or_default();
    typed(StatusCode::OK, "application/json", body)
}

/// An answer of any type.
pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// The parameters of a request's query, decoded.
#[derive(Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query of `uri`.
    pub fn of(uri: &Uri) -> Self {
        let text = uri.query().unwrap_or_default();
        Self(
            url::form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is present, with any value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether a parameter has this value.
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    /// All parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
