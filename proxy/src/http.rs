//! HTTP: the server side of a connection. Requests are served by `exchange`.

mod attempt;
pub mod body;
mod client_cert;
mod cookie;
mod exchange;
mod failure;
mod finish;
mod forward;
mod head;
pub(crate) mod headers;
pub mod incoming;
pub mod limits;
mod local;
mod mirror;
mod payload;
mod prepare;
mod report;
mod rescue;
mod response;
mod routed;
mod tunnel;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use mesh_route::HttpManager;
use mesh_route::http_manager::Codec;
use mesh_telemetry::drain::Phase;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::detect::{Detected, Inspect, detect};
use crate::listen::connection::{ConnError, Connection};
use crate::tls::ServerStream;
use crate::{http1, http2};
use incoming::Incoming;
use tunnel::{Successor, WayOut};

/// Serves the requests of one connection to its end.
///
/// # Errors
/// [`ConnError::Http1`], [`ConnError::Http2`] if the client broke the protocol, [`ConnError::Io`] if it left early.
pub async fn serve(
    connection: Rc<Connection>,
    mut stream: ServerStream,
    manager: Arc<HttpManager>,
) -> Result<(), ConnError> {
    let (violated, error) = match version(&connection, &mut stream, &manager).await? {
        Version::Http1 => match Box::pin(serve_http1(&connection, stream, manager)).await {
            Ok(()) => return Ok(()),
            Err(error) => (error.is_violation(), ConnError::Http1(error)),
        },
        Version::Http2 => match Box::pin(serve_http2(&connection, stream, manager)).await {
            Ok(()) => return Ok(()),
            Err(error) => (error.is_violation(), ConnError::Http2(error)),
        },
        Version::Gone => return Ok(()),
    };
    if violated {
        connection.stats.protocol_error.inc();
    }
    Err(error)
}

enum Version {
    Http1,
    Http2,
    /// The client left without a byte.
    Gone,
}

/// By configuration, ALPN, what detection saw, or the preface.
async fn version(
    connection: &Connection,
    stream: &mut ServerStream,
    manager: &HttpManager,
) -> Result<Version, ConnError> {
    match manager.codec {
        Codec::Http1 => return Ok(Version::Http1),
        Codec::Http2 => return Ok(Version::Http2),
        Codec::Auto => {}
    }
    let alpn = connection
        .handshake
        .as_ref()
        .and_then(|handshake| handshake.alpn.as_deref());
    if let Some(alpn) = alpn {
        return Ok(if alpn.ends_with(b"h2") {
            Version::Http2
        } else {
            Version::Http1
        });
    }
    let detected = match (&connection.detected, connection.is_tls()) {
        (Some(seen @ (Detected::Http1 | Detected::Http2)), false) => seen.clone(),
        _ => tokio::select! {
            biased;
            () = connection.worker.shared.drain.reached(Phase::Closing) => Detected::Closed,
            seen = detect(stream, Inspect { tls: false, http: true }, manager.idle_timeout) => seen?,
        },
    };
    Ok(match detected {
        Detected::Http2 => Version::Http2,
        Detected::Closed => Version::Gone,
        // What is no HTTP is answered with a 400.
        _ => Version::Http1,
    })
}

/// A client that takes longer than this for one head, where no limit is configured, only holds a
/// connection. nginx's default; idle connections have a limit of their own.
const HEAD_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

async fn serve_http1(
    connection: &Rc<Connection>,
    stream: ServerStream,
    manager: Arc<HttpManager>,
) -> Result<(), http1::Error> {
    let activity = Rc::new(Activity::new());
    let settings = http1::server::Settings {
        limits: http1::head::Limits {
            head_bytes: manager.max_request_headers_kib as usize * 1024,
            preserve_case: manager.http1.preserve_case,
        },
        head_timeout: manager.request_headers_timeout.unwrap_or(HEAD_LIMIT),
    };
    let closing = Rc::new(Cell::new(false));
    let server = http1::server::Server::new(stream, settings, Rc::clone(&closing));
    let http = http1::server::serve(server, |request| {
        let active = activity.begin();
        let (connection, manager) = (Rc::clone(connection), Arc::clone(&manager));
        let request = request.map(Incoming::Request);
        async move {
            let _active = active;
            let (response, successor) =
                exchange::serve(connection, manager, request, WayOut::Http1).await;
            (response, successor.and_then(Successor::http1))
        }
    });
    drive(
        connection,
        &manager,
        &activity,
        Farewell::InResponses,
        pin!(http),
        |_| closing.set(true),
    )
    .await
}

async fn serve_http2(
    connection: &Rc<Connection>,
    stream: ServerStream,
    manager: Arc<HttpManager>,
) -> Result<(), http2::Error> {
    let activity = Rc::new(Activity::new());
    let settings = http2::Settings {
        stream_window: manager
            .http2_stream_window_bytes
            .unwrap_or(limits::STREAM_WINDOW_BYTES),
        connection_window: manager
            .http2_connection_window_bytes
            .unwrap_or(limits::CONNECTION_WINDOW_BYTES),
        frame_bytes: limits::FRAME_BYTES,
        header_list_bytes: limits::HEADER_LIST_BYTES,
        concurrent_streams: manager
            .http2_max_concurrent_streams
            .unwrap_or(limits::CONCURRENT_STREAMS),
    };
    let mut server = http2::server::Server::new(stream, settings);
    let closer = server.closer();
    let http = async {
        while let Some((request, respond)) = server.accept().await? {
            let request = request.map(Incoming::Http2Request);
            let (connection, manager) = (Rc::clone(connection), Arc::clone(&manager));
            let active = activity.begin();
            let worker = Rc::clone(&connection.worker);
            // Boxed here, so that it isn't moved again and again on its way into the task.
            worker.spawn(Box::pin(async move {
                let _active = active;
                answer_http2(connection, manager, request, respond).await;
            }));
        }
        Ok(())
    };
    drive(
        connection,
        &manager,
        &activity,
        Farewell::Goaway,
        pin!(http),
        |_| closer.close(),
    )
    .await
}

async fn answer_http2(
    connection: Rc<Connection>,
    manager: Arc<HttpManager>,
    request: http::Request<Incoming>,
    mut respond: http2::server::Respond,
) {
    let answered = {
        let mut answer = pin!(exchange::serve(connection, manager, request, WayOut::Http2));
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            // The client took it back, or left: dropping the exchange cancels what it waits for.
            respond.poll_broken(cx).map(|_| None)
        })
        .await
    };
    let Some((response, successor)) = answered else {
        return;
    };
    match successor.and_then(Successor::http2) {
        None => {
            if let Err(error) = respond.send(response).await {
                tracing::debug!(%error, "response not sent");
            }
        }
        Some(successor) => {
            if let Some(stream) = respond.tunnel(&response) {
                let _ = successor.send(stream); // it may have been cancelled
            }
        }
    }
}

/// When a draining process tells a connection's client to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    /// HTTP/1.1: by `Connection: close` in the next response. Closing an idle connection could
    /// cross a request on its way, so that waits for the process to close.
    InResponses,
    /// HTTP/2: by GOAWAY, which loses nothing, once the connection has been used.
    Goaway,
}

/// Runs a connection; ends it in good order when the process drains, when it was idle for too
/// long, or when it has lived or served for long enough.
async fn drive<E, C: Future<Output = Result<(), E>>>(
    connection: &Connection,
    manager: &HttpManager,
    activity: &Activity,
    farewell: Farewell,
    mut http: Pin<&mut C>,
    graceful: impl Fn(Pin<&mut C>),
) -> Result<(), E> {
    let drain = &connection.worker.shared.drain;
    let draining = async {
        match farewell {
            Farewell::InResponses => std::future::pending().await,
            Farewell::Goaway => drain.reached(connection.direction.drains_in()).await,
        }
        activity.used().await;
    };
    let old = async {
        match manager.max_connection_duration {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = drain.reached(Phase::Closing) => {}
        () = draining => {}
        () = old => {}
        () = activity.worn(manager.max_requests_per_connection) => {}
        () = activity.idle_for(manager.idle_timeout) => {}
        result = http.as_mut() => return result,
    }
    graceful(http.as_mut());
    http.await
}

/// Requests in progress, how many there were, and when the last one ended.
#[derive(Debug)]
struct Activity {
    active: Cell<usize>,
    begun: Cell<u32>,
    last: Cell<Instant>,
    news: Notify,
}

impl Activity {
    fn new() -> Self {
        Self {
            active: Cell::new(0),
            begun: Cell::new(0),
            last: Cell::new(Instant::now()),
            news: Notify::new(),
        }
    }

    fn begin(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        self.begun.set(self.begun.get().saturating_add(1));
        self.news.notify_waiters();
        Active(Rc::clone(self))
    }

    /// Returns once there was a request.
    async fn used(&self) {
        self.begun_at_least(1).await;
    }

    /// Returns once `limit` requests have begun; 0 is no limit.
    async fn worn(&self, limit: u32) {
        match limit {
            0 => std::future::pending().await,
            limit => self.begun_at_least(limit).await,
        }
    }

    async fn begun_at_least(&self, wanted: u32) {
        // One thread: nothing can begin between the check and the wait.
        while self.begun.get() < wanted {
            self.news.notified().await;
        }
    }

    /// Returns once no request was in progress for `limit`. One timer per connection, set anew
    /// only when it fires.
    async fn idle_for(&self, limit: Option<std::time::Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let since = if self.active.get() > 0 {
                Instant::now()
            } else {
                self.last.get()
            };
            if self.active.get() == 0 && since.elapsed() >= limit {
                return;
            }
            tokio::time::sleep_until(since + limit).await;
        }
    }
}

struct Active(Rc<Activity>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        self.0.last.set(Instant::now());
    }
}
