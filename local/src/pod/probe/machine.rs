//! The thresholds of a probe: how many results in a row change the verdict.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

/// When a probe runs and how many results count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Wait after the container's start.
    pub(crate) initial_delay: Duration,
    /// Between two probes.
    pub(crate) period: Duration,
    /// For one probe.
    pub(crate) timeout: Duration,
    /// Successes in a row that make the verdict good.
    pub(crate) success_threshold: u32,
    /// Failures in a row that make it bad.
    pub(crate) failure_threshold: u32,
}

impl Schedule {
    /// Reads a probe's schedule, with Kubernetes' defaults (10 s, 1 s, 1, 3).
    pub(crate) fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            let value = value.and_then(|value| u64::try_from(value).ok());
            Duration::from_secs(value.unwrap_or(default))
        };
        let count = |value: Option<i32>, default: u32| {
            value
                .and_then(|value| u32::try_from(value).ok())
                .unwrap_or(default)
                .max(1)
        };
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            success_threshold: count(probe.success_threshold, 1),
            failure_threshold: count(probe.failure_threshold, 3),
        }
    }
}

/// The verdict of one probe and the results that lead to the next.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    schedule: Schedule,
    good: Option<bool>,
    last: Option<bool>,
    in_a_row: u32,
}

impl Machine {
    /// A probe without a verdict.
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            good: None,
            last: None,
            in_a_row: 0,
        }
    }

    /// Takes one result; returns the verdict if it is a new one.
    pub(crate) fn observe(&mut self, success: bool) -> Option<bool> {
        if self.last == Some(success) {
            self.in_a_row += 1;
        } else {
            self.last = Some(success);
            self.in_a_row = 1;
        }
        let needed = if success {
            self.schedule.success_threshold
        } else {
            self.schedule.failure_threshold
        };
        if self.in_a_row < needed || self.good == Some(success) {
            return None;
        }
        self.good = Some(success);
        Some(success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(success_threshold: i32, failure_threshold: i32) -> Machine {
        Machine::new(Schedule::of(&Probe {
            success_threshold: Some(success_threshold),
            failure_threshold: Some(failure_threshold),
            ..Probe::default()
        }))
    }

    fn verdicts(machine: &mut Machine, results: &str) -> String {
        results
            .chars()
            .map(|result| match machine.observe(result == '+') {
                Some(true) => 'G',
                Some(false) => 'B',
                None => '.',
            })
            .collect()
    }

    #[test]
    fn needs_results_in_a_row() {
        assert_eq!(verdicts(&mut machine(1, 3), "+--+---+"), "G.....BG");
        assert_eq!(verdicts(&mut machine(2, 1), "+-++-++"), ".B.GB.G");
    }

    #[test]
    fn an_unchanged_verdict_is_not_repeated() {
        assert_eq!(verdicts(&mut machine(1, 1), "++++----"), "G...B...");
    }

    #[test]
    fn defaults_are_the_kubelets() {
        let schedule = Schedule::of(&Probe::default());
        assert_eq!(schedule.period, Duration::from_secs(10));
        assert_eq!(schedule.timeout, Duration::from_secs(1));
        assert_eq!(
            (schedule.success_threshold, schedule.failure_threshold),
            (1, 3)
        );
    }
}
