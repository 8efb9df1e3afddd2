//! Metrics of discovery. Names are Istio's where it has them.

use std::fmt;
use std::time::Duration;

use mesh_telemetry::metrics::{CounterFamily, GaugeFamily, GaugeGuard, HistogramFamily, Registry};
use mesh_xds::type_url;

use super::stream::Variant;
use crate::store::Urgency;

/// Upper bounds in seconds: from the quiet time of endpoints to a push that is far too slow.
const SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 5.0, 10.0, 30.0,
];

/// Handles of discovery's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    connected: GaugeFamily,
    pushes: CounterFamily,
    resources: CounterFamily,
    bytes: CounterFamily,
    rejects: CounterFamily,
    refused_streams: CounterFamily,
    push_time: HistogramFamily,
    convergence_time: HistogramFamily,
    snapshot_time: HistogramFamily,
    config_changes: CounterFamily,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Registers the families. Once per registry.
    pub fn register(registry: &Registry) -> Self {
        Self {
            connected: registry.gauge("pilot_xds", "Proxies connected now.", &["variant"]),
            pushes: registry.counter("pilot_xds_pushes", "Responses sent.", &["type"]),
            resources: registry.counter(
                "pilot_xds_resources_total",
                "Resources sent, and names said to be removed.",
                &["type"],
            ),
            bytes: registry.counter(
                "pilot_xds_config_bytes_total",
                "Bytes of resources sent.",
                &["type"],
            ),
            rejects: registry.counter(
                "pilot_total_xds_rejects",
                "Responses that proxies refused.",
                &["type"],
            ),
            refused_streams: registry.counter(
                "pilot_xds_refused_streams_total",
                "Streams that were turned away.",
                &["reason"],
            ),
            push_time: registry.histogram(
                "pilot_xds_push_time",
                "Seconds to translate and send one type to one proxy.",
                &["type"],
                SECONDS,
            ),
            convergence_time: registry.histogram(
                "pilot_proxy_convergence_time",
                "Seconds from a change until everything about it was sent to one proxy.",
                &[],
                SECONDS,
            ),
            snapshot_time: registry.histogram(
                "pilot_snapshot_time",
                "Seconds from a change until its snapshot was built.",
                &[],
                SECONDS,
            ),
            config_changes: registry.counter(
                "pilot_config_changes_total",
                "Batches of changed objects.",
                &["urgency"],
            ),
        }
    }

    pub(super) fn connected(&self, variant: Variant) -> GaugeGuard {
        self.connected.with(&[variant.as_str()]).hold()
    }

    pub(super) fn pushed(&self, url: &str, resources: usize, bytes: usize, took: Duration) {
        let label = [label(url)];
        self.pushes.with(&label).inc();
        self.resources.with(&label).add(resources as u64);
        self.bytes.with(&label).add(bytes as u64);
        self.push_time.with(&label).observe(took.as_secs_f64());
    }

    pub(super) fn rejected(&self, url: &str) {
        self.rejects.with(&[label(url)]).inc();
    }

    pub(super) fn refused_stream(&self, reason: &str) {
        self.refused_streams.with(&[reason]).inc();
    }

    pub(super) fn converged(&self, took: Duration) {
        self.convergence_time.with(&[]).observe(took.as_secs_f64());
    }

    pub(crate) fn snapshot_built(&self, took: Duration) {
        self.snapshot_time.with(&[]).observe(took.as_secs_f64());
    }

    pub(crate) fn config_changes(&self, urgency: Urgency) {
        let urgency = match urgency {
            Urgency::Endpoints => "endpoints",
            Urgency::Config => "config",
        };
        self.config_changes.with(&[urgency]).inc();
    }
}

/// The type's short name, a bounded set.
fn label(url: &str) -> &'static str {
    match url {
        type_url::CLUSTER => "cds",
        type_url::ENDPOINT => "eds",
        type_url::LISTENER => "lds",
        type_url::ROUTE => "rds",
        type_url::SECRET => "sds",
        _ => "other",
    }
}
