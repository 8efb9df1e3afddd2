//! Towards upstreams: pick nothing here (that is mesh-route's), but connect, pool and lease.
//!
//! `acquire` gives a stream on a pooled or new connection to one endpoint; `connect_tcp` a
//! connection for opaque bytes. Each worker has its own pools.

pub mod connect;
pub mod error;
mod grow;
mod http1;
mod http2;
pub mod pool;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use mesh_route::cluster::{Limit, LimitGuard};
use mesh_route::{Cluster, Endpoint};

use crate::http::body::RequestBody;
use crate::http::incoming::Incoming;
use crate::metrics::stats::ClusterStats;
use crate::peer::Peer;
use crate::tls::Offer;
use crate::worker::Worker;
use connect::{Connected, connect};
use error::{AcquireError, ConnectError, StreamError};
use pool::{Pool, PoolKeyRef, Protocol};

/// Where a stream is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The cluster, for its options and limits.
    pub cluster: &'a Arc<Cluster>,
    /// The picked endpoint.
    pub endpoint: &'a Arc<Endpoint>,
    /// What to speak.
    pub protocol: Protocol,
    /// The request's host, for clusters that take the server name from it.
    pub host: Option<&'a str>,
}

/// Whether a pooled connection will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Any will do.
    Allowed,
    /// A new one: a pooled one has just failed.
    Fresh,
}

/// What is known about an upstream connection.
#[derive(Debug)]
pub struct Info {
    /// Our address on it.
    pub local: SocketAddr,
    /// Identity of the peer under mesh mTLS.
    pub principal: Option<Rc<str>>,
    /// The connection is TLS.
    pub tls: bool,
    /// The workload behind it, once a response has told.
    pub peer: RefCell<Option<Rc<Peer>>>,
    /// The peer remembers who we are for as long as the connection lasts.
    pub introduced: Cell<bool>,
}

impl Info {
    fn new(connected: &Connected) -> Self {
        Self {
            local: connected.local,
            principal: connected.principal.clone(),
            tls: matches!(connected.stream, crate::tls::ClientStream::Tls(_)),
            peer: RefCell::default(),
            introduced: Cell::new(false),
        }
    }
}

/// A request that got no response head.
#[derive(Debug)]
pub struct SendError {
    /// What broke.
    pub error: StreamError,
    /// The request, if it surely was not sent.
    pub request: Option<Box<Request<RequestBody>>>,
}

/// A stream on an upstream connection.
#[derive(Debug)]
pub enum Lease {
    /// A whole HTTP/1.1 connection.
    Http1(http1::Lease),
    /// One stream of an HTTP/2 connection.
    Http2(http2::Lease),
}

impl Lease {
    /// What is known about the connection.
    pub fn info(&self) -> &Rc<Info> {
        match self {
            Self::Http1(lease) => lease.info(),
            Self::Http2(lease) => lease.info(),
        }
    }

    /// The connection has served a request before.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.is_reused(),
            Self::Http2(lease) => lease.is_reused(),
        }
    }

    /// What is spoken.
    pub fn version(&self) -> http::Version {
        match self {
            Self::Http1(_) => http::Version::HTTP_11,
            Self::Http2(_) => http::Version::HTTP_2,
        }
    }

    /// Sends a request and waits for the response's head. Dropping the future cancels it.
    ///
    /// # Errors
    /// [`SendError`] if the stream broke before the head.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        match self {
            Self::Http1(lease) => lease.send(request).await,
            Self::Http2(lease) => lease.send(request).await,
        }
    }

    /// The response is complete. (Dropping instead closes an HTTP/1.1 connection.)
    pub fn release(self) {
        match self {
            Self::Http1(lease) => lease.release(),
            Self::Http2(lease) => drop(lease),
        }
    }
}

/// A stream to `target` on a pooled or new connection.
///
/// # Errors
/// [`AcquireError`]; nothing was sent.
pub async fn acquire(
    worker: &Rc<Worker>,
    target: &Target<'_>,
    reuse: Reuse,
) -> Result<Lease, AcquireError> {
    let offer = match target.protocol {
        Protocol::Http1 => Offer::Http1,
        Protocol::Http2 => Offer::Http2,
        Protocol::Negotiated => Offer::Negotiated,
    };
    let transport = worker.client_tls(target.endpoint, offer)?;
    let key = PoolKeyRef {
        cluster: &target.cluster.name,
        address: target.endpoint.address,
        transport: transport.as_ref().map_or(0, |tls| tls.id),
        protocol: target.protocol,
    };
    let pool = worker.pools.get(&key);
    if reuse == Reuse::Allowed
        && let Some(lease) = take(&pool, target.cluster)
    {
        return Ok(lease);
    }
    match target.protocol {
        Protocol::Http1 => grow::new_http1(worker, target, &pool, reuse).await,
        Protocol::Http2 => grow::new_http2(worker, target, &pool).await,
        Protocol::Negotiated => grow::new_negotiated(worker, target, &pool).await,
    }
}

fn take(pool: &Rc<Pool>, cluster: &Cluster) -> Option<Lease> {
    if let Some(shared) = pool.take_shared() {
        return Some(Lease::Http2(http2::Lease::new(shared)));
    }
    let idle = pool.take_idle()?;
    Some(Lease::Http1(http1::Lease::new(
        idle,
        Rc::clone(pool),
        cluster,
    )))
}

/// A connection for opaque bytes; never pooled.
///
/// # Errors
/// [`AcquireError`]; no byte was sent.
pub async fn connect_tcp(
    worker: &Rc<Worker>,
    target: &Target<'_>,
) -> Result<(Connected, TcpGuards), AcquireError> {
    let stats = worker.stats.cluster(&target.cluster.name);
    let permit = target
        .cluster
        .acquire(Limit::Connections)
        .inspect_err(|_| stats.cx_overflow.inc())?;
    let connected = connect_counted(worker, target, Offer::Tcp, &stats).await?;
    stats.cx_total.inc();
    Ok((
        connected,
        TcpGuards {
            _permit: permit,
            _active: stats.cx_active.hold(),
        },
    ))
}

/// What a TCP connection holds in counters as long as it lasts.
#[derive(Debug)]
pub struct TcpGuards {
    _permit: LimitGuard,
    _active: mesh_telemetry::metrics::GaugeGuard,
}

async fn connect_counted(
    worker: &Rc<Worker>,
    target: &Target<'_>,
    offer: Offer,
    stats: &ClusterStats,
) -> Result<Connected, AcquireError> {
    let tls = worker.client_tls(target.endpoint, offer)?;
    let connected = connect(
        worker,
        target.cluster,
        target.endpoint,
        tls.as_deref(),
        target.host,
    )
    .await;
    connected.map_err(|error| {
        match &error {
            ConnectError::Timeout { .. } => stats.connect_timeout.inc(),
            ConnectError::Tls { .. } => stats.tls_failure.inc(),
            _ => {}
        }
        stats.connect_fail.inc();
        tracing::debug!(cluster = %target.cluster.name, error = %error::report(&error), "connect failed");
        AcquireError::Connect(Rc::new(error))
    })
}
