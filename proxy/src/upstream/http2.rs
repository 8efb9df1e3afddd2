//! HTTP/2 connections to upstreams: many streams at a time.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_route::Cluster;
use mesh_route::cluster::LimitGuard;

use super::connect::Connected;
use super::error::StreamError;
use super::pool::Open;
use super::{Info, SendError};
use crate::http::body::RequestBody;
use crate::http::incoming::Incoming;
use crate::http::limits::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES, HEADER_LIST_BYTES, PING_TIMEOUT, STREAM_WINDOW_BYTES,
};
use crate::metrics::stats::ClusterStats;
use crate::worker::{LocalExecutor, Worker};

/// One connection, shared by its streams.
#[derive(Debug)]
pub(super) struct Shared {
    sender: RefCell<http2::SendRequest<RequestBody>>,
    info: Rc<Info>,
    streams: Cell<u32>,
    /// What the peer allows now; written by the connection's task.
    peer_limit: Rc<Cell<usize>>,
    own_limit: Option<u32>,
    served: Cell<u32>,
    max_requests: u32,
    expires: Option<Instant>,
    last_used: Cell<Instant>,
}

impl Shared {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.borrow().is_closed()
    }

    pub(super) fn streams(&self) -> u32 {
        self.streams.get()
    }

    pub(super) fn has_room(&self) -> bool {
        let streams = self.streams.get();
        let worn = self.max_requests > 0 && self.served.get() >= self.max_requests;
        let expired = self.expires.is_some_and(|at| Instant::now() >= at);
        !worn
            && !expired
            && (streams as usize) < self.peer_limit.get()
            && self.own_limit.is_none_or(|limit| streams < limit)
    }

    pub(super) fn is_idle_for(&self, now: Instant, timeout: Duration) -> bool {
        let worn = self.max_requests > 0 && self.served.get() >= self.max_requests;
        self.streams.get() == 0 && (worn || now - self.last_used.get() >= timeout)
    }
}

/// Speaks HTTP/2 on a new connection.
pub(super) async fn start(
    worker: &Rc<Worker>,
    open: Open,
    cluster: &Cluster,
    connected: Connected,
    permit: Option<LimitGuard>,
    stats: &Rc<ClusterStats>,
) -> Result<Rc<Shared>, hyper::Error> {
    let info = Rc::new(Info::new(&connected));
    let options = &cluster.http;
    let mut builder = http2::Builder::new(LocalExecutor::new(worker));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(options.stream_window_bytes.unwrap_or(STREAM_WINDOW_BYTES))
        .initial_connection_window_size(
            options
                .connection_window_bytes
                .unwrap_or(CONNECTION_WINDOW_BYTES),
        )
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES)
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(options.ping_timeout.unwrap_or(PING_TIMEOUT));
    let (sender, connection) = builder.handshake(TokioIo::new(connected.stream)).await?;
    let peer_limit = Rc::new(Cell::new(connection.current_max_send_streams()));
    let active = stats.cx_active.hold();
    stats.cx_total.inc();
    let task_stats = Rc::clone(stats);
    let published = Rc::clone(&peer_limit);
    worker.spawn(async move {
        let _held = (open, permit, active);
        let mut connection = pin!(connection);
        let ended = std::future::poll_fn(|cx| {
            let ended = connection.as_mut().poll(cx);
            if ended.is_pending() {
                published.set(connection.current_max_send_streams());
            }
            match ended {
                Poll::Ready(result) => Poll::Ready(result),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Err(error) = ended.await {
            task_stats.protocol_error.inc();
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    let now = Instant::now();
    Ok(Rc::new(Shared {
        sender: RefCell::new(sender),
        info,
        streams: Cell::new(0),
        peer_limit,
        own_limit: options.max_concurrent_streams,
        served: Cell::new(0),
        max_requests: options.max_requests_per_connection,
        expires: options.max_connection_duration.map(|limit| now + limit),
        last_used: Cell::new(now),
    }))
}

/// One stream on a connection, counted until dropped.
#[derive(Debug)]
pub struct Lease {
    connection: Rc<Shared>,
    reused: bool,
}

impl Lease {
    pub(super) fn new(connection: Rc<Shared>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        let served = connection.served.get();
        connection.served.set(served.saturating_add(1));
        Self {
            connection,
            reused: served > 0,
        }
    }

    pub(super) fn info(&self) -> &Rc<Info> {
        &self.connection.info
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let sent = self
            .connection
            .sender
            .borrow_mut()
            .try_send_request(request);
        let sent = sent.await.map(|response| response.map(Incoming::Http2));
        sent.map_err(|mut error| {
            let request = error.take_message();
            let error = StreamError::from_hyper(error.error(), request.is_some());
            SendError {
                error,
                request: request.map(Box::new),
            }
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection
            .streams
            .set(self.connection.streams.get() - 1);
        self.connection.last_used.set(Instant::now());
    }
}
