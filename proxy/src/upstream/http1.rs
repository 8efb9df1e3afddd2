//! HTTP/1.1 connections to upstreams: one request at a time, then back to the pool.

use std::rc::Rc;
use std::time::Instant;

use http::{Request, Response};
use mesh_route::Cluster;
use mesh_route::cluster::LimitGuard;
use mesh_telemetry::metrics::GaugeGuard;

use super::connect::Connected;
use super::error::StreamError;
use super::pool::{Open, Pool};
use super::{Info, SendError};
use crate::detect::Prefixed;
use crate::http::body::RequestBody;
use crate::http::incoming::Incoming;
use crate::http::limits::HEADER_LIST_BYTES;
use crate::http1::client::{Client, Settings};
use crate::http1::head::Limits as HeadLimits;
use crate::metrics::stats::ClusterStats;
use crate::tls::ClientStream;

/// A connection without a request. Nobody reads from it: that the upstream has closed it is seen
/// when it is wanted again, or by the pool's sweep.
#[derive(Debug)]
pub(super) struct Idle {
    client: Client<ClientStream, RequestBody>,
    info: Rc<Info>,
    served: u32,
    created: Instant,
    since: Instant,
    stats: Rc<ClusterStats>,
    /// What is given back when it closes: the pool's count, the circuit breaker's connection, the
    /// cluster's gauge.
    _held: (Open, Option<LimitGuard>, GaugeGuard),
}

impl Idle {
    /// It can take a request.
    pub(super) fn is_ready(&self) -> bool {
        self.client.is_ready()
    }

    /// When it became idle.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// Speaks HTTP/1.1 on a new connection. `permit`: the circuit breaker's connection, given back
/// when the connection closes.
pub(super) fn start(
    open: Open,
    cluster: &Cluster,
    connected: Connected,
    permit: Option<LimitGuard>,
    stats: &Rc<ClusterStats>,
) -> Idle {
    let info = Rc::new(Info::new(&connected));
    let settings = Settings {
        limits: HeadLimits {
            head_bytes: HEADER_LIST_BYTES as usize,
            preserve_case: cluster.http.preserve_case,
        },
        trailers: cluster.http.enable_trailers,
    };
    stats.cx_total.inc();
    let now = Instant::now();
    Idle {
        client: Client::new(connected.stream, settings),
        info,
        served: 0,
        created: now,
        since: now,
        stats: Rc::clone(stats),
        _held: (open, permit, stats.cx_active.hold()),
    }
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
        match self.connection.client.send(request).await {
            Ok(response) => Ok(response.map(Incoming::Response)),
            Err(error) => {
                if error.is_violation() {
                    self.connection.stats.protocol_error.inc();
                }
                Err(SendError {
                    error: StreamError::from_http1(&error),
                    request: None,
                })
            }
        }
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

    /// The stream after an upgrade; the response must have been dropped. `None`: it wasn't.
    ///
    /// What the connection counted as ends here: a tunnel is the request's, not the pool's.
    pub(crate) fn into_stream(self) -> Option<Prefixed<ClientStream>> {
        self.connection.client.into_stream()
    }
}
