//! How long to wait before a container that ended is started again (the kubelet's rule).

use std::time::Duration;

/// The first wait; each next one is double. Source: kubelet `backOffPeriod`.
const FIRST: Duration = Duration::from_secs(10);
/// No wait is longer. Source: kubelet `MaxContainerBackOff`.
const LONGEST: Duration = Duration::from_secs(300);
/// A run at least this long makes the next failure count as the first. Source: client-go
/// `flowcontrol.Backoff` forgets after twice its maximum.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// The restarts of one container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The wait after a run of length `ran`: none after the first end, then 10 s, doubling.
    pub(crate) fn next(&mut self, ran: Duration) -> Duration {
        if ran >= FORGET_AFTER {
            self.last = None;
        }
        let wait = match self.last {
            None => Duration::ZERO,
            Some(Duration::ZERO) => FIRST,
            Some(last) => (last * 2).min(LONGEST),
        };
        self.last = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_restart_is_at_once_then_doubles_to_five_minutes() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8)
            .map(|_| backoff.next(Duration::from_secs(1)).as_secs())
            .collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_long_run_is_forgiven() {
        let mut backoff = Backoff::default();
        for _ in 0..4 {
            backoff.next(Duration::from_secs(1));
        }
        assert_eq!(backoff.next(Duration::from_secs(600)), Duration::ZERO);
    }
}
