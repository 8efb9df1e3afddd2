//! Serving gRPC on a socket of our own, so that the TLS certificate can be renewed between
//! handshakes and every connection ends with the process.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

/// A client that hasn't finished its handshake by then is cut off.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A connection on which nothing answers a ping for that long is dead.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// What a stream may have written that the connection has not sent: a push lies in memory that all
/// connections share until then.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// HTTP/2 windows: a full push of a large mesh without waiting for window updates.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// How long connections may take to end after the stop.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Pause after a failed accept (too many open files), so that it doesn't spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `routes` until `stopped`'s sender is dropped, over TLS if there is a configuration.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    routes: Routes,
    mut stopped: watch::Receiver<()>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let routes = routes.prepare();
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let server = Server {
                    tls: acceptor.clone(),
                    routes: routes.clone(),
                    watcher: graceful.watcher(),
                };
                tokio::spawn(server.connection(stream, stopped.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(END_WITHIN, graceful.shutdown()).await;
}

/// What one connection is served with.
struct Server {
    tls: Option<TlsAcceptor>,
    routes: Routes,
    watcher: Watcher,
}

impl Server {
    async fn connection(mut self, stream: TcpStream, mut stopped: watch::Receiver<()>) {
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = self.tls.take() else {
            return Box::pin(self.serve_http2(stream)).await;
        };
        let handshake = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream));
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            // Nothing was asked yet, and the end waits for everything that holds a watcher.
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok(Ok(stream)) => Box::pin(self.serve_http2(stream)).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        }
    }

    async fn serve_http2<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let service = TowerToHyperService::new(self.routes);
        let connection = server.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%error, "connection ended");
        }
    }
}

#[cfg(test)]
mod tests;
