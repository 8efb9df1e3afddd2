//! Towards upstreams: pick nothing here (that is mesh-route's), but connect, pool and lease.
//!
//! `acquire` gives a stream on a pooled or new connection to one endpoint; `connect_tcp` a
//! connection for opaque bytes. Each worker has its own pools.

pub mod connect;
pub mod error;
mod http1;
mod http2;
pub mod pool;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use mesh_route::cluster::{Limit, LimitGuard};
use mesh_route::{Cluster, Endpoint};
use tokio::sync::oneshot;

use crate::http::body::RequestBody;
use crate::metrics::stats::ClusterStats;
use crate::peer::Peer;
use crate::tls::Offer;
use crate::worker::Worker;
use connect::{Connected, connect};
use error::{AcquireError, ConnectError, StreamError};
use pool::{Open, Pool, PoolKeyRef, Protocol};

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
}

impl Info {
    fn new(connected: &Connected) -> Self {
        Self {
            local: connected.local,
            principal: connected.principal.clone(),
            tls: matches!(connected.stream, crate::tls::ClientStream::Tls(_)),
            peer: RefCell::default(),
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
        Protocol::Http1 => new_http1(worker, target, &pool, reuse).await,
        Protocol::Http2 => new_http2(worker, target, &pool).await,
        Protocol::Negotiated => new_negotiated(worker, target, &pool).await,
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

/// How long a request that waits for a connection at the limit sleeps before it looks again:
/// connections of other workers count against the limit too, and they don't wake us.
const LIMIT_RECHECK: Duration = Duration::from_millis(20);

async fn new_http1(
    worker: &Rc<Worker>,
    target: &Target<'_>,
    pool: &Rc<Pool>,
    reuse: Reuse,
) -> Result<Lease, AcquireError> {
    let stats = worker.stats.cluster(&target.cluster.name);
    let _pending = pending(target.cluster, &stats)?;
    let (permit, open) = loop {
        match target.cluster.acquire(Limit::Connections) {
            Ok(permit) => break (Some(permit), Open::new(pool)),
            // Every endpoint gets one connection however low the limit, as in Envoy: else a
            // worker without any could starve.
            Err(_overflow) if pool.open.get() == 0 => break (None, Open::new(pool)),
            Err(_overflow) => {
                stats.cx_overflow.inc();
                let _ = tokio::time::timeout(LIMIT_RECHECK, pool.freed.notified()).await;
                if reuse == Reuse::Allowed
                    && let Some(lease) = take(pool, target.cluster)
                {
                    return Ok(lease);
                }
            }
        }
    };
    let connected = connect_counted(worker, target, Offer::Http1, &stats).await?;
    let idle = http1::start(worker, open, target.cluster, connected, permit, &stats).await;
    let idle = idle.map_err(|error| handshake_failed(target, &error))?;
    Ok(Lease::Http1(http1::Lease::new(
        idle,
        Rc::clone(pool),
        target.cluster,
    )))
}

fn pending(cluster: &Cluster, stats: &ClusterStats) -> Result<LimitGuard, AcquireError> {
    cluster.acquire(Limit::Pending).map_err(|overflow| {
        stats.pending_overflow.inc();
        overflow.into()
    })
}

/// One connection attempt at a time per pool; all who need it wait for the same one.
async fn new_http2(
    worker: &Rc<Worker>,
    target: &Target<'_>,
    pool: &Rc<Pool>,
) -> Result<Lease, AcquireError> {
    let stats = worker.stats.cluster(&target.cluster.name);
    let _pending = pending(target.cluster, &stats)?;
    loop {
        let (sender, receiver) = oneshot::channel();
        let first = {
            let mut connecting = pool.connecting.borrow_mut();
            let first = connecting.is_none();
            connecting.get_or_insert_default().push(sender);
            first
        };
        if first {
            spawn_http2(worker, target, pool, &stats);
        }
        match receiver.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_gone) => {
                let reason = "the connecting task was cancelled".to_owned();
                let address = target.endpoint.address;
                return Err(AcquireError::Connect(Rc::new(ConnectError::Tls {
                    address,
                    reason,
                })));
            }
        }
        if let Some(shared) = pool.take_shared() {
            return Ok(Lease::Http2(http2::Lease::new(shared)));
        }
    }
}

fn spawn_http2(
    worker: &Rc<Worker>,
    target: &Target<'_>,
    pool: &Rc<Pool>,
    stats: &Rc<ClusterStats>,
) {
    let (cluster, endpoint) = (Arc::clone(target.cluster), Arc::clone(target.endpoint));
    let host = target.host.map(str::to_owned);
    let (worker_of_task, pool, stats) = (Rc::clone(worker), Rc::clone(pool), Rc::clone(stats));
    worker.spawn(async move {
        let worker = worker_of_task;
        let target = Target {
            cluster: &cluster,
            endpoint: &endpoint,
            protocol: Protocol::Http2,
            host: host.as_deref(),
        };
        let result = connect_http2(&worker, &target, &pool, &stats).await;
        let waiters = pool.connecting.take().unwrap_or_default();
        for waiter in waiters {
            // Who waited may have been cancelled.
            let _ = waiter.send(result.clone());
        }
    });
}

async fn connect_http2(
    worker: &Rc<Worker>,
    target: &Target<'_>,
    pool: &Rc<Pool>,
    stats: &Rc<ClusterStats>,
) -> Result<(), AcquireError> {
    let permit = match target.cluster.acquire(Limit::Connections) {
        Ok(permit) => Some(permit),
        Err(_overflow) if pool.open.get() == 0 => None,
        Err(overflow) => {
            stats.cx_overflow.inc();
            return Err(overflow.into());
        }
    };
    let open = Open::new(pool);
    let connected = connect_counted(worker, target, Offer::Http2, stats).await?;
    let shared = http2::start(worker, open, target.cluster, connected, permit, stats).await;
    let shared = shared.map_err(|error| handshake_failed(target, &error))?;
    pool.shared.borrow_mut().push(shared);
    Ok(())
}

async fn new_negotiated(
    worker: &Rc<Worker>,
    target: &Target<'_>,
    pool: &Rc<Pool>,
) -> Result<Lease, AcquireError> {
    let stats = worker.stats.cluster(&target.cluster.name);
    let _pending = pending(target.cluster, &stats)?;
    let permit = target.cluster.acquire(Limit::Connections);
    let permit = match permit {
        Ok(permit) => Some(permit),
        Err(_overflow) if pool.open.get() == 0 => None,
        Err(overflow) => return Err(overflow.into()),
    };
    let open = Open::new(pool);
    let connected = connect_counted(worker, target, Offer::Negotiated, &stats).await?;
    let chose_http2 = connected
        .alpn
        .as_deref()
        .is_some_and(|name| name.ends_with(b"h2"));
    if chose_http2 {
        let shared = http2::start(worker, open, target.cluster, connected, permit, &stats).await;
        let shared = shared.map_err(|error| handshake_failed(target, &error))?;
        pool.shared.borrow_mut().push(Rc::clone(&shared));
        return Ok(Lease::Http2(http2::Lease::new(shared)));
    }
    let idle = http1::start(worker, open, target.cluster, connected, permit, &stats).await;
    let idle = idle.map_err(|error| handshake_failed(target, &error))?;
    Ok(Lease::Http1(http1::Lease::new(
        idle,
        Rc::clone(pool),
        target.cluster,
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

fn handshake_failed(target: &Target<'_>, error: &hyper::Error) -> AcquireError {
    let address = target.endpoint.address;
    let reason = error::report(error);
    AcquireError::Connect(Rc::new(ConnectError::Tls { address, reason }))
}
