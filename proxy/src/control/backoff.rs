//! Exponential back-off with jitter.

use std::time::Duration;

/// Pauses that double from a first to a longest one; each is drawn from its upper half, so
/// that proxies that lost the same server do not come back together.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts with `first`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        self.pause_with(rand::random())
    }

    fn pause_with(&mut self, jitter: f64) -> Duration {
        let pause = self.next.mul_f64(0.5 + jitter / 2.0);
        self.next = (self.next * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        let mut next = || backoff.pause_with(1.0).as_millis();
        assert_eq!([next(), next(), next(), next()], [100, 200, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.pause_with(0.0).as_millis(), 50);
    }
}
