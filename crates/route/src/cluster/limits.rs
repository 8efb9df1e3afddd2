//! Circuit breakers: counters with a bound, released by guards.
//!
//! The counters survive a new version of the cluster, the bounds are the new version's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Which bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Connections (HTTP/1.1 and TCP).
    Connections,
    /// Requests waiting for a connection.
    Pending,
    /// Requests in flight.
    Requests,
    /// Retries in flight.
    Retries,
}

/// Number of limits.
const KINDS: usize = 4;

/// The configured bounds. Envoy's defaults: 1024 each, 3 retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections.
    pub connections: u32,
    /// Waiting requests.
    pub pending: u32,
    /// Requests.
    pub requests: u32,
    /// Retries.
    pub retries: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            pending: 1024,
            requests: 1024,
            retries: 3,
        }
    }
}

impl Bounds {
    fn of(&self, limit: Limit) -> u32 {
        match limit {
            Limit::Connections => self.connections,
            Limit::Pending => self.pending,
            Limit::Requests => self.requests,
            Limit::Retries => self.retries,
        }
    }
}

/// Counters of one cluster, shared by its versions.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    current: [AtomicU32; KINDS],
    overflows: [AtomicU64; KINDS],
}

impl Usage {
    pub(crate) fn acquire(
        self: &Arc<Self>,
        limit: Limit,
        bounds: &Bounds,
    ) -> Result<LimitGuard, Overflow> {
        let bound = bounds.of(limit);
        let counter = &self.current[limit as usize];
        if counter.fetch_add(1, Relaxed) >= bound {
            counter.fetch_sub(1, Relaxed);
            self.overflows[limit as usize].fetch_add(1, Relaxed);
            return Err(Overflow { limit, bound });
        }
        Ok(LimitGuard {
            usage: Arc::clone(self),
            limit,
        })
    }

    pub(crate) fn current(&self, limit: Limit) -> u32 {
        self.current[limit as usize].load(Relaxed)
    }

    pub(crate) fn overflows(&self, limit: Limit) -> u64 {
        self.overflows[limit as usize].load(Relaxed)
    }
}

/// The bound is reached: response flag UO, `x-envoy-overloaded`, status 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit breaker open: {limit:?} at {bound}")]
pub struct Overflow {
    /// Which.
    pub limit: Limit,
    /// The configured bound.
    pub bound: u32,
}

/// Holds one unit until dropped.
#[derive(Debug)]
pub struct LimitGuard {
    usage: Arc<Usage>,
    limit: Limit,
}

impl Drop for LimitGuard {
    fn drop(&mut self) {
        self.usage.current[self.limit as usize].fetch_sub(1, Relaxed);
    }
}
