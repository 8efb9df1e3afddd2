//! When a run of changes has calmed down enough to act on.

use std::time::{Duration, Instant};

use crate::store::Urgency;

/// How long to wait for more changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Configuration is pushed when none changed for this long ...
    pub config_quiet: Duration,
    /// ... or when the first change is this old.
    pub config_max: Duration,
    /// The same for changes of endpoints alone.
    pub endpoints_quiet: Duration,
    /// The same for changes of endpoints alone.
    pub endpoints_max: Duration,
}

impl Default for Timing {
    /// Quiet time of configuration as in Istio (`PILOT_DEBOUNCE_AFTER`), whose longest wait of 10 s
    /// is too long for one machine; endpoints wait only for the other files of the same change.
    fn default() -> Self {
        Self {
            config_quiet: Duration::from_millis(100),
            config_max: Duration::from_secs(1),
            endpoints_quiet: Duration::from_millis(10),
            endpoints_max: Duration::from_millis(100),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    first: Instant,
    last: Instant,
    urgency: Urgency,
}

/// Merges changes in time. Times are arguments.
#[derive(Debug)]
pub struct Debouncer {
    timing: Timing,
    pending: Option<Pending>,
}

impl Debouncer {
    /// A debouncer with nothing pending.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            pending: None,
        }
    }

    /// Something changed. Configuration in a run makes the whole run wait as configuration.
    pub fn note(&mut self, urgency: Urgency, now: Instant) {
        let pending = self.pending.get_or_insert(Pending {
            first: now,
            last: now,
            urgency,
        });
        pending.last = now;
        pending.urgency = pending.urgency.max(urgency);
    }

    /// When to act if nothing else happens; `None` if nothing is pending.
    pub fn due(&self) -> Option<Instant> {
        let Pending {
            first,
            last,
            urgency,
        } = self.pending?;
        let (quiet, max) = match urgency {
            Urgency::Config => (self.timing.config_quiet, self.timing.config_max),
            Urgency::Endpoints => (self.timing.endpoints_quiet, self.timing.endpoints_max),
        };
        Some((last + quiet).min(first + max))
    }

    /// Takes what is pending: when its first change was seen.
    pub fn take(&mut self) -> Option<Instant> {
        self.pending.take().map(|pending| pending.first)
    }
}
