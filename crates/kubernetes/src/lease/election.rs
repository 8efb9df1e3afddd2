//! One candidate's view of a lease: what it saw, when, and what it may do. No IO, no clock.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{DURATION, RENEW_DEADLINE};

/// The state of one candidate.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    /// The lease as last seen, and when it was first seen so.
    observed: Option<(LeaseSpec, Instant)>,
    /// When the write that last made us leader was begun.
    renewed: Option<Instant>,
}

impl Election {
    pub(super) fn new(identity: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            observed: None,
            renewed: None,
        }
    }

    /// Takes note of the lease as read at `now`.
    pub(super) fn observe(&mut self, spec: LeaseSpec, now: Instant) {
        if !self.ours(&spec) {
            self.renewed = None;
        }
        match &self.observed {
            Some((seen, _)) if *seen == spec => {}
            _ => self.observed = Some((spec, now)),
        }
    }

    /// There is no lease.
    pub(super) fn forget(&mut self) {
        self.observed = None;
    }

    /// Whether a claim is allowed: nobody holds the lease, we do, or its holder has not renewed
    /// it for as long as it promised to.
    pub(super) fn may_take(&self, now: Instant) -> bool {
        let Some((spec, since)) = &self.observed else {
            return true;
        };
        let promised = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(DURATION, Duration::from_secs);
        held_by(spec).is_none() || self.ours(spec) || now >= *since + promised
    }

    /// The lease to write: renewed if it is ours, else taken.
    pub(super) fn claim(&self, wall: Timestamp) -> LeaseSpec {
        let seen = self.observed.as_ref().map(|(spec, _)| spec);
        let transitions = seen.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let ours = seen.filter(|spec| self.ours(spec));
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: ours
                .and_then(|spec| spec.acquire_time.clone())
                .or(Some(MicroTime(wall))),
            renew_time: Some(MicroTime(wall)),
            // The first holder is no transition.
            lease_transitions: Some(match (seen, ours) {
                (Some(_), None) => transitions.saturating_add(1),
                _ => transitions,
            }),
            ..LeaseSpec::default()
        }
    }

    /// A claim was written; `began`: before it was sent.
    pub(super) fn claimed(&mut self, spec: LeaseSpec, began: Instant) {
        self.observed = Some((spec, began));
        self.renewed = Some(began);
    }

    /// Another wrote the lease since we read it. If it was ours, only the next read tells
    /// whether it still is.
    pub(super) fn lost(&mut self) {
        self.observed = None;
    }

    /// The lease to write when we give it up: free, and short for those who go by its duration.
    pub(super) fn released(&self, wall: Timestamp) -> LeaseSpec {
        let seen = self.observed.as_ref().map(|(spec, _)| spec);
        LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(MicroTime(wall)),
            renew_time: Some(MicroTime(wall)),
            lease_transitions: seen.and_then(|spec| spec.lease_transitions),
            ..LeaseSpec::default()
        }
    }

    /// Whether we lead at `now`.
    pub(super) fn leads(&self, now: Instant) -> bool {
        self.leads_for(now).is_some()
    }

    /// For how long we lead from `now` on without renewing; `None` if we don't.
    pub(super) fn leads_for(&self, now: Instant) -> Option<Duration> {
        let end = self.renewed? + RENEW_DEADLINE;
        end.checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    fn ours(&self, spec: &LeaseSpec) -> bool {
        held_by(spec) == Some(&self.identity)
    }
}

fn held_by(spec: &LeaseSpec) -> Option<&str> {
    spec.holder_identity
        .as_deref()
        .filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn wall() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    /// A lease held by `holder`, as written at its `renewal`-th second.
    fn held(holder: &str, renewal: i64) -> LeaseSpec {
        LeaseSpec {
            renew_time: Some(MicroTime(Timestamp::from_second(renewal).unwrap())),
            ..Election::new(holder).claim(wall())
        }
    }

    #[test]
    fn takes_a_lease_that_nobody_holds() {
        let start = Instant::now();
        let mut election = Election::new("a");
        assert!(election.may_take(start) && !election.leads(start));
        let claim = election.claim(wall());
        assert_eq!(claim.lease_transitions, Some(0));
        election.claimed(claim, start);
        assert!(election.leads(start));
    }

    #[test]
    fn waits_by_its_own_clock_until_the_holder_stops_renewing() {
        let start = Instant::now();
        let mut election = Election::new("b");
        // The holder's clock is decades behind: only that the lease changes counts.
        election.observe(held("a", 0), start);
        election.observe(held("a", 0), start + 14 * SECOND);
        assert!(!election.may_take(start + 14 * SECOND));
        election.observe(held("a", 2), start + 14 * SECOND);
        assert!(!election.may_take(start + 28 * SECOND));
        assert!(election.may_take(start + 29 * SECOND));
        let claim = election.claim(wall());
        assert_eq!(claim.holder_identity.as_deref(), Some("b"));
        assert_eq!(claim.lease_transitions, Some(1));
    }

    #[test]
    fn stops_leading_before_another_may_take_over() {
        let start = Instant::now();
        let (mut leader, mut other) = (Election::new("a"), Election::new("b"));
        let claim = leader.claim(wall());
        leader.claimed(claim.clone(), start);
        other.observe(claim, start);
        let ends = start + RENEW_DEADLINE;
        assert!(leader.leads(ends - SECOND) && !leader.leads(ends));
        assert!(!other.may_take(ends));
        assert!(other.may_take(start + DURATION));
    }

    #[test]
    fn renewing_keeps_when_the_lease_was_acquired() {
        let mut election = Election::new("a");
        let first = election.claim(wall());
        election.claimed(first.clone(), Instant::now());
        let renewed = election.claim(Timestamp::from_second(2).unwrap());
        assert_eq!(renewed.acquire_time, first.acquire_time);
        assert_ne!(renewed.renew_time, first.renew_time);
        assert_eq!(renewed.lease_transitions, Some(0));
    }

    #[test]
    fn a_lease_given_up_is_free_at_once() {
        let start = Instant::now();
        let (mut leader, mut other) = (Election::new("a"), Election::new("b"));
        let claim = leader.claim(wall());
        leader.claimed(claim, start);
        other.observe(leader.released(wall()), start);
        assert!(other.may_take(start));
        assert_eq!(other.claim(wall()).lease_transitions, Some(1));
    }

    #[test]
    fn a_lease_taken_by_another_ends_the_leadership_at_once() {
        let start = Instant::now();
        let mut election = Election::new("a");
        let claim = election.claim(wall());
        election.claimed(claim, start);
        election.observe(held("b", 1), start + SECOND);
        assert!(!election.leads(start + SECOND));
        assert!(!election.may_take(start + SECOND));
    }
}
