//! Circuit breakers: counters with a bound, released by guards.

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
pub struct LimitGuard {}
