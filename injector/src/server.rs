//! The webhooks that the API server calls over HTTPS: `POST /inject` and `POST /validate`, and
//! `GET /ready` for whoever wants to know that they answer.
//!
//! `meshd` gives the socket and the certificate; [`crate::Inputs`] say what pods are injected
//! with. Nothing here has side effects, so dry runs need no case of their own.
//!
//! - `server/route.rs`: from an HTTP request to a page or a review
//! - `server/review.rs`: AdmissionReview v1, read and answered
//! - `server/mutate.rs`, `server/validate.rs`: the two answers

mod metrics;
mod mutate;
mod review;
mod route;
mod validate;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use mesh_telemetry::metrics::Registry;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::Inputs;
use metrics::Metrics;

/// A client that hasn't finished its handshake, or sent the head of a request, by then is cut off.
const START_LIMIT: Duration = Duration::from_secs(10);
/// A connection on which nothing answers a ping for that long is dead.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long connections may take to end after the stop: longer than a review's own limit.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Pause after a failed accept (too many open files), so that it doesn't spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    inputs: watch::Receiver<Option<Inputs>>,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Webhooks that inject by the newest `inputs`; while these are `None`, pods are refused
    /// (the API server's caller tries again). The metrics are registered in `registry`.
    pub fn new(inputs: watch::Receiver<Option<Inputs>>, registry: &Registry) -> Self {
        Server {
            inputs,
            metrics: Arc::new(Metrics::new(registry)),
        }
    }

    /// Serves until `stopped`'s sender is dropped; then ends the connections in good order.
    ///
    /// `tls`: whose certificate is presented; ALPN is set here, to HTTP/2 and HTTP/1.1.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        mut stopped: watch::Receiver<()>,
    ) {
        let mut tls = Arc::unwrap_or_clone(tls);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.changed() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (server, stopped) = (self.clone(), stopped.clone());
                    let (acceptor, watcher) = (acceptor.clone(), graceful.watcher());
                    tokio::spawn(server.connection(stream, acceptor, watcher, stopped));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept of a webhook's caller failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let _ = tokio::time::timeout(END_WITHIN, graceful.shutdown()).await;
    }

    async fn connection(
        self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        watcher: Watcher,
        mut stopped: watch::Receiver<()>,
    ) {
        let _ = stream.set_nodelay(true);
        let handshake = tokio::time::timeout(START_LIMIT, acceptor.accept(stream));
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            // Nothing was asked yet, and the end waits for everything that holds a watcher.
            _ = stopped.changed() => return,
        };
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            // An API server that trusts another root: the caBundle is not current yet.
            Ok(Err(error)) => return tracing::debug!(%error, "a webhook's TLS handshake failed"),
            Err(_) => return tracing::debug!("a webhook's TLS handshake timed out"),
        };
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let builder = connections();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = watcher.watch(connection);
        if let Err(error) = Box::pin(connection).await {
            tracing::debug!(%error, "a webhook's connection ended");
        }
    }
}

fn connections() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(START_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}
