//! Families: label values to series, series to cells.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::cell::{Counter, Gauge, Histogram, HistogramCell};
use super::text::{Encoder, Kind};

pub(super) trait Collect: Send + Sync {
    fn collect(&self, encoder: &mut Encoder);
}

/// A cell that can take over what a dropped handle had counted.
pub(super) trait Cell: Send + Sync {
    fn fold(&self, dropped: &Self);
}

impl Cell for AtomicU64 {
    fn fold(&self, dropped: &Self) {
        self.fetch_add(dropped.load(Relaxed), Relaxed);
    }
}

impl Cell for AtomicI64 {
    fn fold(&self, dropped: &Self) {
        self.fetch_add(dropped.load(Relaxed), Relaxed);
    }
}

impl Cell for HistogramCell {
    fn fold(&self, dropped: &Self) {
        self.add_from(dropped);
    }
}

struct Series<C> {
    /// Sum of the handles that are gone.
    base: C,
    live: Vec<Arc<C>>,
}

impl<C: Cell> Series<C> {
    fn fold_dropped(&mut self) {
        let base = &self.base;
        self.live.retain_mut(|cell| match Arc::get_mut(cell) {
            // No handle is left, and none can come back: we hold the only reference.
            Some(cell) => {
                base.fold(cell);
                false
            }
            None => true,
        });
    }
}

/// Number of live cells of one series from which a new handle first folds dropped ones.
const FOLD_THRESHOLD: usize = 8;

type Labels = Box<[Box<str>]>;

pub(super) struct Shared<C> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    series: Mutex<BTreeMap<Labels, Series<C>>>,
}

impl<C: Cell> Shared<C> {
    fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Self {
            name,
            help,
            labels,
            series: Mutex::new(BTreeMap::new()),
        })
    }

    fn handle(&self, values: &[&str], make: impl Fn() -> C) -> Arc<C> {
        debug_assert_eq!(
            values.len(),
            self.labels.len(),
            "one value per label of {}",
            self.name
        );
        let key: Labels = values.iter().map(|value| Box::from(*value)).collect();
        let cell = Arc::new(make());
        let mut series = self.series.lock();
        let entry = series.entry(key).or_insert_with(|| Series {
            base: make(),
            live: Vec::new(),
        });
        if entry.live.len() >= FOLD_THRESHOLD {
            entry.fold_dropped();
        }
        entry.live.push(Arc::clone(&cell));
        cell
    }

    fn collect(
        &self,
        encoder: &mut Encoder,
        kind: Kind,
        mut print: impl FnMut(&mut Encoder, &[(&str, &str)], &Series<C>),
    ) {
        let mut series = self.series.lock();
        if series.is_empty() {
            return;
        }
        encoder.family(self.name, self.help, kind);
        for (values, series) in series.iter_mut() {
            series.fold_dropped();
            let labels: Vec<(&str, &str)> = self
                .labels
                .iter()
                .copied()
                .zip(values.iter().map(|value| &**value))
                .collect();
            print(encoder, &labels, series);
        }
    }
}

/// A family of counters. Cheap to clone.
#[derive(Clone)]
pub struct CounterFamily(Arc<Shared<AtomicU64>>);

impl CounterFamily {
    pub(super) fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self(Shared::new(name, help, labels))
    }

    /// A new handle for a label set. Takes a lock and allocates: resolve once and keep it.
    ///
    /// `values`: one per label name, in the family's order.
    pub fn with(&self, values: &[&str]) -> Counter {
        Counter(self.0.handle(values, AtomicU64::default))
    }

    /// The current sum of a label set, for tests and status pages; `None` if it was never used.
    pub fn value(&self, values: &[&str]) -> Option<u64> {
        let key: Labels = values.iter().map(|value| Box::from(*value)).collect();
        self.0.series.lock().get(&key).map(total_u64)
    }
}

impl fmt::Debug for CounterFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CounterFamily({})", self.0.name)
    }
}

impl Collect for CounterFamily {
    fn collect(&self, encoder: &mut Encoder) {
        let name = self.0.name;
        self.0
            .collect(encoder, Kind::Counter, |encoder, labels, series| {
                encoder.sample(name, labels, total_u64(series) as f64);
            });
    }
}

fn total_u64(series: &Series<AtomicU64>) -> u64 {
    series
        .live
        .iter()
        .map(|cell| cell.load(Relaxed))
        .sum::<u64>()
        + series.base.load(Relaxed)
}

/// A family of gauges. Cheap to clone.
#[derive(Clone)]
pub struct GaugeFamily(Arc<Shared<AtomicI64>>);

impl GaugeFamily {
    pub(super) fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self(Shared::new(name, help, labels))
    }

    /// A new handle for a label set. Takes a lock and allocates: resolve once and keep it.
    pub fn with(&self, values: &[&str]) -> Gauge {
        Gauge(self.0.handle(values, AtomicI64::default))
    }

    /// The current sum of a label set; `None` if it was never used.
    pub fn value(&self, values: &[&str]) -> Option<i64> {
        let key: Labels = values.iter().map(|value| Box::from(*value)).collect();
        self.0.series.lock().get(&key).map(total_i64)
    }
}

impl fmt::Debug for GaugeFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GaugeFamily({})", self.0.name)
    }
}

impl Collect for GaugeFamily {
    fn collect(&self, encoder: &mut Encoder) {
        let name = self.0.name;
        self.0
            .collect(encoder, Kind::Gauge, |encoder, labels, series| {
                encoder.sample(name, labels, total_i64(series) as f64);
            });
    }
}

fn total_i64(series: &Series<AtomicI64>) -> i64 {
    series
        .live
        .iter()
        .map(|cell| cell.load(Relaxed))
        .sum::<i64>()
        + series.base.load(Relaxed)
}

/// A family of histograms. Cheap to clone.
#[derive(Clone)]
pub struct HistogramFamily {
    shared: Arc<Shared<HistogramCell>>,
    bounds: &'static [f64],
}

impl HistogramFamily {
    pub(super) fn with_bounds(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Self {
        debug_assert!(bounds.is_sorted(), "bounds of {name} ascend");
        Self {
            shared: Shared::new(name, help, labels),
            bounds,
        }
    }

    /// A new handle for a label set. Takes a lock and allocates: resolve once and keep it.
    pub fn with(&self, values: &[&str]) -> Histogram {
        Histogram(
            self.shared
                .handle(values, || HistogramCell::new(self.bounds)),
        )
    }

    /// The number of observations of a label set; `None` if it was never used.
    pub fn count(&self, values: &[&str]) -> Option<u64> {
        let key: Labels = values.iter().map(|value| Box::from(*value)).collect();
        let series = self.shared.series.lock();
        let series = series.get(&key)?;
        let sum = |cell: &HistogramCell| {
            cell.buckets
                .iter()
                .map(|bucket| bucket.load(Relaxed))
                .sum::<u64>()
        };
        Some(series.live.iter().map(|cell| sum(cell)).sum::<u64>() + sum(&series.base))
    }
}

impl fmt::Debug for HistogramFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HistogramFamily({})", self.shared.name)
    }
}

impl Collect for HistogramFamily {
    fn collect(&self, encoder: &mut Encoder) {
        let name = self.shared.name;
        let bounds = self.bounds;
        self.shared
            .collect(encoder, Kind::Histogram, |encoder, labels, series| {
                let total = HistogramCell::new(bounds);
                total.add_from(&series.base);
                for cell in &series.live {
                    total.add_from(cell);
                }
                let counts: Vec<u64> = total
                    .buckets
                    .iter()
                    .map(|bucket| bucket.load(Relaxed))
                    .collect();
                encoder.histogram(name, labels, bounds, &counts, total.sum());
            });
    }
}
