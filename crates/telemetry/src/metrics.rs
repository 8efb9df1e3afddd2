//! A small metrics registry made for worker threads.
//!
//! A family has a name, a help text and label names. A worker resolves a label set once to
//! a handle and keeps it; every handle owns a private cell, so workers never share a cache
//! line, and a scrape sums the cells of a series. When the last clone of a handle is dropped its
//! cell is folded into the series, so nothing that was counted is lost.
//!
//! Text is Prometheus exposition format 0.0.4. Families and series are printed in order of
//! name and label values, so that output is stable.

mod cell;
mod family;
mod text;

use std::sync::Arc;

use parking_lot::Mutex;

pub use cell::{Counter, Gauge, GaugeGuard, Histogram};
pub use family::{CounterFamily, GaugeFamily, HistogramFamily};
pub use text::{Encoder, Kind};

use family::Collect;

/// Istio's histogram bounds for `istio_request_duration_milliseconds`.
/// Source: Envoy `stats` default buckets, as Istio documents them.
pub const MILLISECONDS: &[f64] = &[
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Istio's histogram bounds for `istio_request_bytes` and `istio_response_bytes`: the same
/// numbers, since Envoy has one default list for every histogram.
pub const BYTES: &[f64] = MILLISECONDS;

/// Content type of [`Registry::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Collector = Box<dyn Fn(&mut Encoder) + Send + Sync>;

#[derive(Default)]
struct Inner {
    families: Mutex<Vec<Arc<dyn Collect>>>,
    collectors: Mutex<Vec<Collector>>,
}

/// The set of all metric families of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A family of counters. `name` ends in `_total` by convention; register each name once.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> CounterFamily {
        self.add(CounterFamily::new(name, help, labels))
    }

    /// A family of gauges.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> GaugeFamily {
        self.add(GaugeFamily::new(name, help, labels))
    }

    /// A family of histograms with upper `bounds` in ascending order (`+Inf` is added).
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> HistogramFamily {
        self.add(HistogramFamily::with_bounds(name, help, labels, bounds))
    }

    /// Calls `collect` at each scrape, for values that live elsewhere (certificate expiry, uptime).
    pub fn collector(&self, collect: impl Fn(&mut Encoder) + Send + Sync + 'static) {
        self.inner.collectors.lock().push(Box::new(collect));
    }

    /// All families as Prometheus text. Runs on the caller's thread; data threads are not stopped.
    pub fn render(&self) -> String {
        let mut encoder = Encoder::default();
        let families: Vec<_> = self.inner.families.lock().clone();
        for family in families {
            family.collect(&mut encoder);
        }
        for collect in self.inner.collectors.lock().iter() {
            collect(&mut encoder);
        }
        encoder.finish()
    }

    fn add<F: Collect + Clone + 'static>(&self, family: F) -> F {
        self.inner.families.lock().push(Arc::new(family.clone()));
        family
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("families", &self.inner.families.lock().len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
