//! Metrics of the watches, and one line in the log for an API server that is away.

use std::sync::Arc;
use std::time::Instant;

use mesh_config::Kind;
use mesh_telemetry::metrics::{CounterFamily, GaugeFamily, GaugeGuard, Registry};
use parking_lot::Mutex;

use super::objects::Happened;
use super::watch::Failure;

/// Handles of the metrics, shared by all watches.
#[derive(Clone)]
pub(super) struct Metrics {
    config_events: CounterFamily,
    registry_events: CounterFamily,
    lists: CounterFamily,
    errors: CounterFamily,
    interrupted: GaugeFamily,
    outage: Arc<Mutex<Outage>>,
}

/// Watches that can't reach the server now.
#[derive(Debug, Default)]
struct Outage {
    watches: usize,
    since: Option<Instant>,
}

impl Metrics {
    /// Registers the families. Once per registry.
    pub(super) fn register(registry: &Registry) -> Self {
        Self {
            config_events: registry.counter(
                "pilot_k8s_cfg_events",
                "Changes of mesh resources that the API server told.",
                &["type", "event"],
            ),
            registry_events: registry.counter(
                "pilot_k8s_reg_events",
                "Changes of Kubernetes' own objects that the API server told.",
                &["type", "event"],
            ),
            lists: registry.counter(
                "pilot_k8s_lists_total",
                "Lists of everything in a collection: one at the start, and when a watch can't be gone on with.",
                &["type"],
            ),
            errors: registry.counter(
                "pilot_k8s_watch_errors_total",
                "Requests to the API server that failed.",
                &["type", "reason"],
            ),
            interrupted: registry.gauge(
                "pilot_k8s_watches_interrupted",
                "Watches that wait for the API server.",
                &[],
            ),
            outage: Arc::default(),
        }
    }

    pub(super) fn listed(&self, kind: &str) {
        self.lists.with(&[kind]).inc();
    }

    pub(super) fn happened(&self, kind: &str, happened: &[Happened]) {
        let of_mesh = Kind::ALL.iter().any(|known| known.as_str() == kind) || kind == "MeshConfig";
        let events = if of_mesh {
            &self.config_events
        } else {
            &self.registry_events
        };
        for happened in happened {
            let event = match happened {
                Happened::Add => "add",
                Happened::Update => "update",
                Happened::Delete => "delete",
            };
            events.with(&[kind, event]).inc();
        }
    }

    pub(super) fn failed(&self, kind: &str, failure: &Failure) {
        let reason = match failure {
            Failure::Unreachable(_) => "unreachable",
            Failure::Refused(_) => "refused",
        };
        self.errors.with(&[kind, reason]).inc();
    }

    /// A watch can't reach the server. The first one tells; the others would say the same.
    pub(super) fn lost(&self, failure: &Failure) -> Lost {
        let mut outage = self.outage.lock();
        outage.watches += 1;
        if outage.since.is_none() {
            outage.since = Some(Instant::now());
            tracing::warn!(
                %failure,
                "the API server is out of reach: the mesh goes on with what is known"
            );
        }
        Lost {
            outage: Arc::clone(&self.outage),
            _counted: self.interrupted.with(&[]).hold(),
        }
    }
}

/// A watch that can't reach the server; dropped when it does again, or is given up.
pub(super) struct Lost {
    outage: Arc<Mutex<Outage>>,
    _counted: GaugeGuard,
}

impl Drop for Lost {
    fn drop(&mut self) {
        let mut outage = self.outage.lock();
        outage.watches -= 1;
        if outage.watches == 0
            && let Some(since) = outage.since.take()
        {
            let after_seconds = since.elapsed().as_secs();
            tracing::info!(after_seconds, "the API server answers again");
        }
    }
}
