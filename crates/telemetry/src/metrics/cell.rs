//! Handles and the private cells behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A counter handle. Clones share the cell; `add` is one relaxed atomic addition.
#[derive(Debug, Clone)]
pub struct Counter(pub(super) Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }
}

/// A gauge handle. Clones share the cell, and the handles of a series add up.
#[derive(Debug, Clone)]
pub struct Gauge(pub(super) Arc<AtomicI64>);

impl Gauge {
    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Sets this handle's part of the sum.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds one until the guard is dropped, so that a cancelled task leaves the gauge right.
    #[must_use]
    pub fn hold(&self) -> GaugeGuard {
        self.add(1);
        GaugeGuard(self.clone())
    }
}

/// Takes one from a gauge when dropped. Made by [`Gauge::hold`].
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Sums are kept in thousandths, so that an observation is one integer addition; 64 bits
/// hold 584 million years of milliseconds.
const SUM_SCALE: f64 = 1000.0;

#[derive(Debug)]
pub(super) struct HistogramCell {
    bounds: &'static [f64],
    /// One per bound and one for `+Inf`, not cumulative.
    pub(super) buckets: Box<[AtomicU64]>,
    pub(super) sum_thousandths: AtomicU64,
}

impl HistogramCell {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            bounds,
            buckets,
            sum_thousandths: AtomicU64::new(0),
        }
    }

    pub(super) fn add_from(&self, other: &Self) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            mine.fetch_add(theirs.load(Relaxed), Relaxed);
        }
        self.sum_thousandths
            .fetch_add(other.sum_thousandths.load(Relaxed), Relaxed);
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum_thousandths.load(Relaxed) as f64 / SUM_SCALE
    }
}

/// A histogram handle. Clones share the cell; `observe` is two relaxed atomic additions.
#[derive(Debug, Clone)]
pub struct Histogram(pub(super) Arc<HistogramCell>);

impl Histogram {
    /// Counts `value`, in the family's unit. Negative values and NaN count as zero.
    pub fn observe(&self, value: f64) {
        let value = if value > 0.0 { value } else { 0.0 };
        let cell = &*self.0;
        let bucket = cell.bounds.partition_point(|bound| *bound < value);
        cell.buckets[bucket].fetch_add(1, Relaxed);
        cell.sum_thousandths
            .fetch_add((value * SUM_SCALE) as u64, Relaxed);
    }
}
