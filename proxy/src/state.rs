//! What the control side and the data path share: one [`Shared`] per process, behind an `Arc`.
//!
//! The control thread writes (snapshot, certificates, drain), workers read. Nothing in here
//! is locked on the request path; the access-log and TLS caches lock only when something is
//! resolved for the first time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use mesh_route::{AccessLogFormat, AccessLogSpec, Snapshot};
use mesh_telemetry::access_log::{AccessLog, Format, ISTIO_DEFAULT, Sink};
use mesh_telemetry::drain;
use mesh_telemetry::metrics::{CounterFamily, Registry};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::bootstrap::Bootstrap;
use crate::certs::Certs;

/// Everything that workers and the control thread have in common.
#[derive(Debug)]
pub struct Shared {
    /// Settings of this process, fixed at start: node, role, concurrency, times, addresses.
    pub bootstrap: Bootstrap,
    /// The active configuration.
    pub snapshot: SnapshotStore,
    /// The workload certificate and TLS configurations made of it.
    pub certs: Certs,
    /// All metrics of the process.
    pub registry: Registry,
    /// Access logs by their configuration.
    pub access_logs: AccessLogs,
    /// Tells connections that the end has begun, and counts them.
    pub drain: drain::Watch,
    /// What has to happen before we are ready.
    pub readiness: Readiness,
}

impl Shared {
    /// Makes the shared state of a process that has just begun: no configuration, no
    /// certificate, not ready.
    pub fn new(bootstrap: Bootstrap, drain: drain::Watch) -> Arc<Self> {
        let registry = Registry::new();
        let access_logs = AccessLogs::new(&registry);
        Arc::new(Self {
            readiness: Readiness::new(bootstrap.concurrency),
            bootstrap,
            snapshot: SnapshotStore::default(),
            certs: Certs::new(),
            access_logs,
            registry,
            drain,
        })
    }
}

/// The active snapshot and news of its replacement.
#[derive(Debug)]
pub struct SnapshotStore {
    current: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
}

impl Default for SnapshotStore {
    fn default() -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::default()),
            version: watch::Sender::new(0),
        }
    }
}

impl SnapshotStore {
    /// The snapshot now. Load once per request and hold it to the end of the request.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The swap itself, for a worker's own `arc_swap::Cache` (2 ns instead of 22).
    pub fn swap(&self) -> &ArcSwap<Snapshot> {
        &self.current
    }

    /// Wakes after each replacement; the value is [`Snapshot::version`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Replaces the snapshot. Only the control thread publishes, and it drops the old one.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let version = snapshot.version;
        let old = self.current.swap(snapshot);
        self.version.send_replace(version);
        drop(old);
    }
}

/// Access logs, one per (path, format); logs of the same path share a writer thread.
#[derive(Debug)]
pub struct AccessLogs {
    dropped: CounterFamily,
    open: Mutex<OpenLogs>,
}

#[derive(Debug, Default)]
struct OpenLogs {
    sinks: HashMap<Arc<str>, Sink>,
    logs: Vec<(AccessLogSpec, AccessLog)>,
}

impl AccessLogs {
    fn new(registry: &Registry) -> Self {
        let dropped = registry.counter(
            "meshproxy_access_log_dropped_total",
            "Access log lines for which there was no room.",
            &["path"],
        );
        Self {
            dropped,
            open: Mutex::default(),
        }
    }

    /// The log of a specification (its filter is the caller's affair). Takes a lock and
    /// compares: resolve once per configuration.
    ///
    /// A format that we cannot compile or a file that cannot be opened is reported as an error in
    /// our own log: then Istio's default format is used, or nothing is logged.
    pub fn get(&self, spec: &AccessLogSpec) -> Option<AccessLog> {
        let mut open = self.open.lock();
        let known = open
            .logs
            .iter()
            .find(|(known, _)| known.path == spec.path && known.format == spec.format);
        if let Some((_, log)) = known {
            return Some(log.clone());
        }
        let sink = match open.sinks.get(&spec.path) {
            Some(sink) => sink.clone(),
            None => {
                let sink = Sink::open(&spec.path, self.dropped.with(&[&spec.path]))
                    .inspect_err(|error| tracing::error!(path = %spec.path, error = chain(error), "no access log"))
                    .ok()?;
                open.sinks.insert(Arc::clone(&spec.path), sink.clone());
                sink
            }
        };
        let log = AccessLog::new(Arc::new(compile(&spec.format)), sink);
        open.logs.push((spec.clone(), log.clone()));
        Some(log)
    }

    /// Waits until all lines are written, for the end of the process.
    pub fn flush(&self, limit: std::time::Duration) {
        let sinks: Vec<Sink> = self.open.lock().sinks.values().cloned().collect();
        for sink in sinks {
            sink.flush(limit);
        }
    }
}

fn compile(format: &AccessLogFormat) -> Format {
    let compiled = match format {
        AccessLogFormat::Default => Format::parse(ISTIO_DEFAULT),
        AccessLogFormat::Text(text) => Format::parse(text),
        AccessLogFormat::Json(fields) => {
            Format::parse_json(fields.iter().map(|(name, text)| (&**name, &**text)))
        }
    };
    compiled.unwrap_or_else(|error| {
        tracing::error!(%error, "access log format is refused, the default one is used");
        Format::parse(ISTIO_DEFAULT).expect("the default format is compiled in a test")
    })
}

/// An error with its sources, for one log field.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their source in their own words.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What has to happen before the proxy says that it is ready.
#[derive(Debug)]
pub struct Readiness {
    workers_expected: usize,
    workers_listening: AtomicUsize,
    /// Set by the control thread: what is still missing, `None` once all has come.
    configuration: watch::Sender<Option<String>>,
}

impl Readiness {
    fn new(workers_expected: usize) -> Self {
        Self {
            workers_expected,
            workers_listening: AtomicUsize::new(0),
            configuration: watch::Sender::new(Some("waiting for the control plane".to_owned())),
        }
    }

    /// A worker's own listeners are open. Each worker calls this once, after its first
    /// snapshot's sockets are bound.
    pub fn worker_listening(&self) {
        self.workers_listening.fetch_add(1, Ordering::AcqRel);
    }

    /// Sets what is still missing of certificate and configuration.
    pub fn set_configuration(&self, missing: Option<String>) {
        self.configuration.send_if_modified(|current| {
            let changes = *current != missing;
            *current = missing;
            changes
        });
    }

    /// Why the proxy is not ready; `None` if it is.
    pub fn missing(&self) -> Option<String> {
        if let Some(missing) = self.configuration.borrow().clone() {
            return Some(missing);
        }
        let listening = self.workers_listening.load(Ordering::Acquire);
        (listening < self.workers_expected)
            .then(|| format!("{listening} of {} workers listen", self.workers_expected))
    }
}
