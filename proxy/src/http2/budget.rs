//! Budgets for what is legal one at a time and an attack by the thousand.

use std::time::{Duration, Instant};

/// Tokens that are spent by a nuisance, earned by useful work and come back with time.
#[derive(Debug)]
pub struct Budget {
    tokens: u32,
    limit: u32,
    /// When tokens were last given back for time.
    since: Instant,
}

/// How long it takes until a token comes back.
const PER_TOKEN: Duration = Duration::from_millis(10);

impl Budget {
    /// A full budget.
    #[must_use]
    pub const fn new(limit: u32, now: Instant) -> Self {
        Self {
            tokens: limit,
            limit,
            since: now,
        }
    }

    /// Spends one. False: there is none left. The clock is asked only then.
    pub fn spend(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.tokens == 0 {
            let now = now();
            let earned = now.duration_since(self.since).as_nanos() / PER_TOKEN.as_nanos();
            self.tokens = u32::try_from(earned).unwrap_or(u32::MAX).min(self.limit);
            if self.tokens > 0 {
                self.since = now;
            }
        }
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    /// Earns one.
    pub fn earn(&mut self) {
        self.tokens = (self.tokens + 1).min(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_earned_and_comes_back_with_time() {
        let start = Instant::now();
        let mut budget = Budget::new(3, start);
        assert!((0..3).all(|_| budget.spend(|| start)));
        assert!(!budget.spend(|| start));
        budget.earn();
        assert!(budget.spend(|| start));
        assert!(!budget.spend(|| start + Duration::from_millis(5)));
        assert!(budget.spend(|| start + Duration::from_millis(15)));
        assert!(!budget.spend(|| start + Duration::from_millis(15)));
        let later = start + Duration::from_secs(60);
        assert!((0..3).all(|_| budget.spend(|| later)));
        assert!(!budget.spend(|| later), "never more than the limit");
    }
}
