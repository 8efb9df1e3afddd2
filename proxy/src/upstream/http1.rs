//! HTTP/1.1 connections to upstreams: one request at a time, then back to the pool.

use std::rc::Rc;
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_route::Cluster;
use mesh_route::cluster::LimitGuard;

use super::connect::Connected;
use super::error::StreamError;
use super::pool::{Open, Pool};
use super::{Info, SendError};
use crate::http::body::RequestBody;
use crate::metrics::stats::ClusterStats;
use crate::worker::Worker;

/// A connection without a request.
#[derive(Debug)]
pub(super) struct Idle {
    sender: http1::SendRequest<RequestBody>,
    info: Rc<Info>,
    served: u32,
    created: Instant,
    since: Instant,
}

impl Idle {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// When it became idle.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// Speaks HTTP/1.1 on a new connection. `permit`: the circuit breaker's connection, given back
/// when the connection closes.
pub(super) async fn start(
    worker: &Rc<Worker>,
    open: Open,
    cluster: &Cluster,
    connected: Connected,
    permit: Option<LimitGuard>,
    stats: &Rc<ClusterStats>,
) -> Result<Idle, hyper::Error> {
    let info = Rc::new(Info::new(&connected));
    let mut builder = http1::Builder::new();
    builder.preserve_header_case(cluster.http.preserve_case);
    let (sender, connection) = builder.handshake(TokioIo::new(connected.stream)).await?;
    let active = stats.cx_active.hold();
    stats.cx_total.inc();
    let stats = Rc::clone(stats);
    worker.spawn(async move {
        let _held = (open, permit, active);
        if let Err(error) = connection.with_upgrades().await {
            if error.is_parse() {
                stats.protocol_error.inc();
            }
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    let now = Instant::now();
    Ok(Idle {
        sender,
        info,
        served: 0,
        created: now,
        since: now,
    })
}

/// A connection in use by one request. Dropped without [`Lease::release`] it closes.
#[derive(Debug)]
pub struct Lease {
    connection: Idle,
    pool: Rc<Pool>,
    limits: Limits,
}

/// When a connection is not used again.
#[derive(Debug, Clone, Copy)]
struct Limits {
    requests: u32,
    duration: Option<std::time::Duration>,
}

impl Lease {
    pub(super) fn new(connection: Idle, pool: Rc<Pool>, cluster: &Cluster) -> Self {
        let limits = Limits {
            requests: cluster.http.max_requests_per_connection,
            duration: cluster.http.max_connection_duration,
        };
        Self {
            connection,
            pool,
            limits,
        }
    }

    pub(super) fn info(&self) -> &Rc<Info> {
        &self.connection.info
    }

    /// It has served a request before.
    pub(super) fn is_reused(&self) -> bool {
        self.connection.served > 0
    }

    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let result = self.connection.sender.try_send_request(request).await;
        result.map_err(|mut error| {
            let request = error.take_message();
            let error = StreamError::from_hyper(error.error(), request.is_some());
            SendError {
                error,
                request: request.map(Box::new),
            }
        })
    }

    /// The response is complete: the connection may serve again.
    pub(super) fn release(mut self) {
        self.connection.served += 1;
        self.connection.since = Instant::now();
        let worn = self.limits.requests > 0 && self.connection.served >= self.limits.requests;
        let old = self
            .limits
            .duration
            .is_some_and(|limit| self.connection.created.elapsed() >= limit);
        if !worn && !old {
            self.pool.put_idle(self.connection);
        }
    }
}
