//! Outlier detection: endpoints that fail in a row are left out for a while.
//!
//! Source: Envoy's outlier detector, the consecutive-error kinds. Times are milliseconds since
//! the cluster's own start, so that they fit an atomic.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What an endpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It answered with this HTTP status (gRPC statuses mapped by the caller).
    Status(u16),
    /// Connection failure, timeout or reset before an answer (locally originated).
    LocalFailure,
    /// A connection was made (TCP), nothing known beyond that.
    Connected,
}

/// Compiled settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierPolicy {
    /// Any 5xx in a row; `None`: not looked at.
    pub consecutive_5xx: Option<u32>,
    /// 502, 503, 504 in a row.
    pub consecutive_gateway: Option<u32>,
    /// Local failures in a row, where they are told apart.
    pub consecutive_local: Option<u32>,
    /// Local failures have their own count; else they count as 5xx (and gateway errors).
    pub split_local: bool,
    /// Shares in percent with which a detection is enforced: 5xx, gateway, local.
    pub enforcing: [u32; 3],
    /// Time between sweeps.
    pub interval: Duration,
    /// Ejection lasts this times the number of ejections.
    pub base_ejection: Duration,
    /// But no longer than this.
    pub max_ejection: Duration,
    /// Share of endpoints ejected at most, in percent.
    pub max_ejection_percent: u32,
    /// One may be ejected whatever the share.
    pub always_one: bool,
}

/// Errors in a row and ejections of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Streaks {
    server: AtomicU32,
    gateway: AtomicU32,
    local: AtomicU32,
    /// Multiplier of the next ejection's length.
    ejections: AtomicU32,
    ejected_at: AtomicU64,
    /// Ejected since the last sweep, which therefore leaves the multiplier alone.
    recent: AtomicBool,
}

impl Streaks {
    /// Notes a report. True: a streak reached its length and is enforced.
    pub(crate) fn note(&self, policy: &OutlierPolicy, report: Report, random: u64) -> bool {
        let (server, gateway, local) = match report {
            Report::Status(502..=504) => (Some(true), Some(true), Some(false)),
            Report::Status(500..) => (Some(true), Some(false), Some(false)),
            Report::Status(_) => (Some(false), Some(false), Some(false)),
            Report::LocalFailure if policy.split_local => (None, None, Some(true)),
            Report::LocalFailure => (Some(true), Some(true), None),
            Report::Connected if policy.split_local => (None, None, Some(false)),
            Report::Connected => (None, None, None),
        };
        let [by_server, by_gateway, by_local] = policy.enforcing;
        let enforced = |share: u32| random % 100 < u64::from(share);
        // All three counters must move, whatever the first one says.
        let server = step(&self.server, server, policy.consecutive_5xx) && enforced(by_server);
        let gateway =
            step(&self.gateway, gateway, policy.consecutive_gateway) && enforced(by_gateway);
        let local = step(&self.local, local, policy.consecutive_local) && enforced(by_local);
        server || gateway || local
    }

    pub(crate) fn eject(&self, now_millis: u64) {
        self.ejections.fetch_add(1, Relaxed);
        self.ejected_at.store(now_millis, Relaxed);
        self.recent.store(true, Relaxed);
    }

    /// Whether an ejected endpoint's time is over.
    pub(crate) fn is_over(&self, policy: &OutlierPolicy, now_millis: u64) -> bool {
        let length = policy
            .base_ejection
            .saturating_mul(self.ejections.load(Relaxed))
            .min(policy.max_ejection.max(policy.base_ejection));
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        now_millis >= self.ejected_at.load(Relaxed).saturating_add(length)
    }

    pub(crate) fn forget(&self) {
        self.server.store(0, Relaxed);
        self.gateway.store(0, Relaxed);
        self.local.store(0, Relaxed);
    }

    /// A sweep that finds the endpoint in service: every quiet interval takes one off the multiplier.
    pub(crate) fn quiet(&self) {
        if !self.recent.swap(false, Relaxed) {
            let _ = self
                .ejections
                .fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
        }
    }
}

/// Moves a counter: up on an error, to zero on a success, `None` leaves it.
fn step(counter: &AtomicU32, error: Option<bool>, length: Option<u32>) -> bool {
    match error {
        None => false,
        Some(false) => {
            // Read first: the healthy path then writes nothing, and shares its cache line.
            if counter.load(Relaxed) != 0 {
                counter.store(0, Relaxed);
            }
            false
        }
        Some(true) => {
            let count = counter.fetch_add(1, Relaxed) + 1;
            let reached = length.is_some_and(|length| count >= length);
            if reached {
                counter.store(0, Relaxed);
            }
            reached
        }
    }
}
