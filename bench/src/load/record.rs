//! What came of a load.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency told apart, in nanoseconds.
const LONGEST: u64 = 120_000_000_000;

/// What came of a load, in the time of the measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// Requests that failed.
    pub(crate) failed: u64,
    /// Requests that were due and had no answer 5 s after the end; at a fixed rate only.
    pub(crate) unfinished: u64,
    /// The first failure.
    pub(crate) failure: Option<String>,
    /// Length of the measurement.
    pub(crate) seconds: f64,
    /// Latencies in microseconds: p50, p90, p99, p99.9.
    pub(crate) latency: [f64; 4],
}

/// The percentiles of [`Outcome::latency`].
pub(crate) const PERCENTILES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

/// The running account.
pub(super) struct Record {
    histogram: Histogram<u64>,
    window: Option<(Instant, Option<Instant>)>,
    open: bool,
    clients: usize,
    failed: u64,
    failure: Option<String>,
    rate: Option<u32>,
}

impl Record {
    /// An empty account.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            histogram: Histogram::new_with_bounds(1, LONGEST, 3).context("make a histogram")?,
            window: None,
            open: false,
            clients: 0,
            failed: 0,
            failure: None,
            rate: None,
        })
    }

    /// A client has had its first answer.
    pub(super) fn client_answered(&mut self) {
        self.clients += 1;
    }

    /// How many clients have had an answer.
    pub(super) fn clients(&self) -> usize {
        self.clients
    }

    /// The measurement begins.
    pub(super) fn open(&mut self, at: Instant) {
        self.window = Some((at, None));
        self.open = true;
    }

    /// The measurement ends; at a fixed rate, requests that were due in it are still waited for.
    pub(super) fn close(&mut self, at: Instant, rate: Option<u32>) {
        if let Some((_, end)) = &mut self.window {
            *end = Some(at);
        }
        self.open = rate.is_some();
        self.rate = rate;
    }

    /// A request that was due at `due` has its answer.
    pub(super) fn done(&mut self, due: Instant, now: Instant) {
        if self.counts(due) {
            let nanoseconds = now.saturating_duration_since(due).as_nanos();
            let nanoseconds = u64::try_from(nanoseconds).unwrap_or(LONGEST);
            self.histogram.saturating_record(nanoseconds.max(1));
        }
    }

    fn counts(&self, due: Instant) -> bool {
        match self.window {
            Some((start, end)) => self.open && due >= start && end.is_none_or(|end| due < end),
            None => false,
        }
    }

    /// A request has failed. Those of the warm-up count, too: nothing may fail.
    pub(super) fn failed(&mut self, error: &io::Error) {
        self.failed += 1;
        if self.failure.is_none() {
            self.failure = Some(error.to_string());
        }
    }

    /// The sum of it.
    pub(super) fn outcome(&self) -> anyhow::Result<Outcome> {
        let (start, end) = self.window.context("nothing was measured")?;
        let length = end.context("the measurement has not ended")? - start;
        let requests = self.histogram.len();
        let due = self.rate.map_or(0, |rate| due(rate, length));
        let micros = |percentile| {
            let nanoseconds = self.histogram.value_at_percentile(percentile);
            Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6
        };
        Ok(Outcome {
            requests,
            failed: self.failed,
            unfinished: due.saturating_sub(requests + self.failed),
            failure: self.failure.clone(),
            seconds: length.as_secs_f64(),
            latency: PERCENTILES.map(micros),
        })
    }
}

/// Requests that are surely due in a time of that length, wherever it begins.
fn due(rate: u32, length: Duration) -> u64 {
    let nanoseconds = length.as_nanos() * u128::from(rate) / 1_000_000_000;
    u64::try_from(nanoseconds)
        .unwrap_or(u64::MAX)
        .saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_from_when_a_request_was_due() {
        let mut record = Record::new().unwrap();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        record.done(at(0), at(1)); // before the measurement
        record.open(at(10));
        record.done(at(9), at(12));
        record.done(at(20), at(30));
        record.close(at(1010), Some(2));
        record.done(at(1000), at(1020)); // due in time
        record.done(at(1010), at(1020)); // due too late
        let outcome = record.outcome().unwrap();
        assert_eq!((outcome.requests, outcome.unfinished), (2, 0));
        assert!((outcome.latency[0] - 10_000.0).abs() < 20.0, "{outcome:?}");
        assert!((outcome.latency[3] - 20_000.0).abs() < 20.0, "{outcome:?}");
    }

    #[test]
    fn what_stays_without_answer_is_told() {
        let mut record = Record::new().unwrap();
        let start = Instant::now();
        record.open(start);
        record.close(start + Duration::from_secs(1), Some(100));
        record.failed(&io::Error::other("no"));
        let outcome = record.outcome().unwrap();
        assert_eq!((outcome.failed, outcome.unfinished), (1, 98));
        assert_eq!(outcome.failure.as_deref(), Some("no"));
    }
}
