//! Connections to upstreams, kept per worker: no lock, no sharing between threads.
//!
//! Keyed by cluster, endpoint, transport and protocol. The transport's number changes with the
//! cluster's TLS settings and with our certificate, so a rotation simply starts new connections;
//! the old ones finish their streams and are swept away.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::{Equivalent, HashMap};
use mesh_route::Snapshot;
use mesh_route::cluster::ClusterKind;
use tokio::sync::{Notify, oneshot};

use super::error::AcquireError;
use super::http1::Idle;
use super::http2::Shared;

/// What connections of one pool have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub(super) cluster: Arc<str>,
    pub(super) address: SocketAddr,
    /// 0 for plaintext, else [`crate::tls::ClientTls::id`].
    pub(super) transport: u64,
    pub(super) protocol: Protocol,
}

/// A key that borrows the cluster's name: look-ups touch no shared reference count.
pub(super) struct PoolKeyRef<'a> {
    pub(super) cluster: &'a Arc<str>,
    pub(super) address: SocketAddr,
    pub(super) transport: u64,
    pub(super) protocol: Protocol,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Both are offered by ALPN; the pool may hold either.
    Negotiated,
}

impl Hash for PoolKeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.cluster.hash(state);
        self.address.hash(state);
        self.transport.hash(state);
        self.protocol.hash(state);
    }
}

impl Equivalent<PoolKey> for PoolKeyRef<'_> {
    fn equivalent(&self, key: &PoolKey) -> bool {
        *self.cluster == key.cluster
            && self.address == key.address
            && self.transport == key.transport
            && self.protocol == key.protocol
    }
}

impl PoolKeyRef<'_> {
    fn to_owned(&self) -> PoolKey {
        PoolKey {
            cluster: Arc::clone(self.cluster),
            address: self.address,
            transport: self.transport,
            protocol: self.protocol,
        }
    }
}

/// Who waits for a connection, told how it went.
pub(super) type Waiter = oneshot::Sender<Result<(), AcquireError>>;

/// Connections of one key.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// HTTP/1.1 connections without a request, most recently used last.
    pub(super) idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections.
    pub(super) shared: RefCell<Vec<Rc<Shared>>>,
    /// Who waits for the HTTP/2 connection that is being made.
    pub(super) connecting: RefCell<Option<Vec<Waiter>>>,
    /// Connections that are open, idle or not.
    pub(super) open: Cell<usize>,
    /// Told whenever a connection becomes free or closes.
    pub(super) freed: Notify,
}

/// All pools of a worker.
#[derive(Debug, Default)]
pub struct Pools {
    pools: RefCell<HashMap<PoolKey, Rc<Pool>>>,
}

impl Pools {
    /// Connections open now, over all keys.
    pub fn open_connections(&self) -> usize {
        self.pools
            .borrow()
            .values()
            .map(|pool| pool.open.get())
            .sum()
    }

    pub(super) fn get(&self, key: &PoolKeyRef<'_>) -> Rc<Pool> {
        if let Some(pool) = self.pools.borrow().get(key) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool::default());
        self.pools
            .borrow_mut()
            .insert(key.to_owned(), Rc::clone(&pool));
        pool
    }

    /// Drops idle connections that outlived their cluster's idle timeout, and all connections
    /// whose cluster, endpoint or transport is gone: streams on them finish first.
    ///
    /// `live_transports`: says whether a transport number is still handed out.
    pub fn sweep(&self, snapshot: &Snapshot, live_transports: impl Fn(u64) -> bool) {
        self.pools.borrow_mut().retain(|key, pool| {
            let wanted = live_transports(key.transport) && is_wanted(snapshot, key);
            let idle_timeout = snapshot
                .cluster(&key.cluster)
                .and_then(|c| c.http.idle_timeout);
            if wanted {
                pool.close_idle(idle_timeout.unwrap_or(Duration::MAX));
            } else {
                pool.close_all();
            }
            pool.open.get() > 0 || pool.connecting.borrow().is_some()
        });
    }

    /// Closes all connections as soon as their streams have ended.
    pub fn close(&self) {
        for pool in self.pools.borrow().values() {
            pool.close_all();
        }
    }
}

fn is_wanted(snapshot: &Snapshot, key: &PoolKey) -> bool {
    let Some(cluster) = snapshot.cluster(&key.cluster) else {
        return false;
    };
    cluster.kind == ClusterKind::OriginalDst
        || cluster
            .endpoints()
            .all()
            .iter()
            .any(|endpoint| endpoint.address == key.address)
}

impl Pool {
    /// The most recently used free connection that is still good.
    pub(super) fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let mut index = idle.len();
        while index > 0 {
            index -= 1;
            let connection = idle.remove(index);
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Gives a connection back, or lets it close if nothing may use it any more.
    pub(super) fn put_idle(&self, connection: Idle) {
        if connection.is_ready() {
            self.idle.borrow_mut().push(connection);
        }
        self.freed.notify_one();
    }

    /// An HTTP/2 connection with room for a stream, least loaded first.
    pub(super) fn take_shared(&self) -> Option<Rc<Shared>> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|connection| !connection.is_closed());
        let free = shared.iter().filter(|connection| connection.has_room());
        free.min_by_key(|connection| connection.streams()).cloned()
    }

    fn close_idle(&self, timeout: Duration) {
        let now = Instant::now();
        self.idle
            .borrow_mut()
            .retain(|c| c.is_ready() && now - c.since() < timeout);
        self.shared
            .borrow_mut()
            .retain(|c| !c.is_closed() && !c.is_idle_for(now, timeout));
    }

    fn close_all(&self) {
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }
}

/// Counts a connection of a pool as open until dropped. Held by the connection's own task.
#[derive(Debug)]
pub(super) struct Open(Rc<Pool>);

impl Open {
    pub(super) fn new(pool: &Rc<Pool>) -> Self {
        pool.open.set(pool.open.get() + 1);
        Self(Rc::clone(pool))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.freed.notify_one();
    }
}
