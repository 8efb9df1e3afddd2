//! Makes new connections for a pool, within the circuit breaker's limits.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_route::Cluster;
use mesh_route::cluster::{Limit, LimitGuard};
use tokio::sync::oneshot;

use super::error::{AcquireError, ConnectError};
use super::pool::{Open, Pool, Protocol};
use super::{Lease, Reuse, Target, connect_counted, http1, http2, take};
use crate::metrics::stats::ClusterStats;
use crate::tls::Offer;
use crate::worker::Worker;

/// How long a request that waits for a connection at the limit sleeps before it looks again:
/// connections of other workers count against the limit too, and they don't wake us.
const LIMIT_RECHECK: Duration = Duration::from_millis(20);

pub(super) async fn new_http1(
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
    let idle = http1::start(open, target.cluster, connected, permit, &stats);
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
pub(super) async fn new_http2(
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
    let shared = http2::start(worker, open, target.cluster, connected, permit, stats);
    pool.shared.borrow_mut().push(shared);
    Ok(())
}

pub(super) async fn new_negotiated(
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
        let shared = http2::start(worker, open, target.cluster, connected, permit, &stats);
        pool.shared.borrow_mut().push(Rc::clone(&shared));
        return Ok(Lease::Http2(http2::Lease::new(shared)));
    }
    let idle = http1::start(open, target.cluster, connected, permit, &stats);
    Ok(Lease::Http1(http1::Lease::new(
        idle,
        Rc::clone(pool),
        target.cluster,
    )))
}
