//! HTTP/2 connections to upstreams: many streams at a time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;
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
use crate::http2::Settings;
use crate::http2::client::{Client, KeepAlive, connect};
use crate::metrics::stats::ClusterStats;
use crate::worker::Worker;

/// One connection, shared by its streams.
#[derive(Debug)]
pub(super) struct Shared {
    client: Client,
    info: Rc<Info>,
    streams: Cell<u32>,
    own_limit: Option<u32>,
    served: Cell<u32>,
    max_requests: u32,
    expires: Option<Instant>,
    last_used: Cell<Instant>,
}

impl Shared {
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
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
            && streams < self.client.concurrent_streams()
            && self.own_limit.is_none_or(|limit| streams < limit)
    }

    pub(super) fn is_idle_for(&self, now: Instant, timeout: Duration) -> bool {
        let worn = self.max_requests > 0 && self.served.get() >= self.max_requests;
        self.streams.get() == 0 && (worn || now - self.last_used.get() >= timeout)
    }
}

/// Speaks HTTP/2 on a new connection.
pub(super) fn start(
    worker: &Rc<Worker>,
    open: Open,
    cluster: &Cluster,
    connected: Connected,
    permit: Option<LimitGuard>,
    stats: &Rc<ClusterStats>,
) -> Rc<Shared> {
    let info = Rc::new(Info::new(&connected));
    let options = &cluster.http;
    let settings = Settings {
        stream_window: options.stream_window_bytes.unwrap_or(STREAM_WINDOW_BYTES),
        connection_window: options
            .connection_window_bytes
            .unwrap_or(CONNECTION_WINDOW_BYTES),
        frame_bytes: FRAME_BYTES,
        header_list_bytes: HEADER_LIST_BYTES,
        concurrent_streams: 0, // upstreams open none
    };
    let keep_alive = options.ping_interval.map(|interval| KeepAlive {
        interval,
        timeout: options.ping_timeout.unwrap_or(PING_TIMEOUT),
    });
    let (client, connection) = connect(connected.stream, settings);
    let active = stats.cx_active.hold();
    stats.cx_total.inc();
    let task_stats = Rc::clone(stats);
    worker.spawn(Box::pin(async move {
        let _held = (open, permit, active);
        if let Err(error) = connection.run(keep_alive).await {
            task_stats.protocol_error.inc();
            tracing::debug!(%error, "upstream connection ended");
        }
    }));
    let now = Instant::now();
    Rc::new(Shared {
        client,
        info,
        streams: Cell::new(0),
        own_limit: options.max_concurrent_streams,
        served: Cell::new(0),
        max_requests: options.max_requests_per_connection,
        expires: options.max_connection_duration.map(|limit| now + limit),
        last_used: Cell::new(now),
    })
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
        let exchange = self.connection.client.send(declared(request));
        let exchange = exchange.map_err(|request| SendError {
            error: StreamError::unsent(),
            request: Some(request),
        })?;
        match exchange.response().await {
            Ok(response) => Ok(response.map(Incoming::Http2Response)),
            Err(error) => Err(SendError {
                error: StreamError::from_http2(&error),
                request: None,
            }),
        }
    }
}

/// Says how long the body is, where that is known and means something.
fn declared(mut request: Request<RequestBody>) -> Request<RequestBody> {
    let length = request.body().size_hint().exact();
    let expects_body = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH
    );
    if let Some(length) = length.filter(|length| *length > 0 || expects_body)
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        let length = HeaderValue::from(length);
        request.headers_mut().insert(CONTENT_LENGTH, length);
    }
    request
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection
            .streams
            .set(self.connection.streams.get() - 1);
        self.connection.last_used.set(Instant::now());
    }
}
