//! Istio's standard metrics, with exact names and labels, on both sides.
//!
//! The hot path resolves labels to handles by one look-up in a per-worker table whose keys are
//! pointers of interned label sets: no formatting, no lock. Source: Istio "Standard Metrics",
//! Envoy extension `istio.stats`.

pub mod ends;
pub mod stats;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use mesh_telemetry::access_log::ResponseFlags;
use mesh_telemetry::metrics::{
    BYTES, Counter, CounterFamily, Histogram, HistogramFamily, MILLISECONDS, Registry,
};

use crate::peer::{Peer, UNKNOWN};

/// Labels shared by all of Istio's metrics, in the order Envoy's `istio.stats` writes them.
const CONNECTION_LABELS: [&str; 24] = [
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
    "response_code",
];

/// HTTP metrics have one more; TCP ones leave out the response code.
const REQUEST_LABELS: [&str; 25] = {
    let mut labels = [""; 25];
    let mut index = 0;
    while index < 24 {
        labels[index] = CONNECTION_LABELS[index];
        index += 1;
    }
    labels[24] = "grpc_response_status";
    labels
};

const TCP_LABELS: [&str; 23] = {
    let mut labels = [""; 23];
    let mut index = 0;
    while index < 23 {
        labels[index] = CONNECTION_LABELS[index];
        index += 1;
    }
    labels
};

/// Which side reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The client's sidecar, or a gateway.
    Source,
    /// The server's sidecar.
    Destination,
}

/// What was spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestProtocol {
    /// HTTP of any version.
    Http,
    /// gRPC.
    Grpc,
    /// Opaque bytes.
    Tcp,
}

/// What is known about the connection's protection. Clients report `unknown`, as in Istio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecurityPolicy {
    /// Mutual TLS with SPIFFE identities.
    MutualTls,
    /// Anything else, seen by the server.
    None,
    /// Not told by this side.
    Unknown,
}

/// The destination service's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service {
    /// `reviews.default.svc.cluster.local`.
    pub host: Arc<str>,
    /// `reviews`, or the cluster's name for PassthroughCluster and BlackHoleCluster.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
}

/// The two ends of a connection or request. Interned by the worker: equal ends are the same `Rc`.
#[derive(Debug, Clone)]
pub struct Ends {
    /// Who reports.
    pub reporter: Reporter,
    /// The client.
    pub source: Rc<Peer>,
    /// Its identity.
    pub source_principal: Option<Rc<str>>,
    /// The server.
    pub destination: Rc<Peer>,
    /// Its identity.
    pub destination_principal: Option<Rc<str>>,
    /// The service.
    pub service: Rc<Service>,
    /// Protection.
    pub policy: SecurityPolicy,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// HTTP or gRPC (or TCP for connections).
    pub protocol: RequestProtocol,
    /// Status code; 0 if none was sent.
    pub code: u16,
    /// gRPC status, if there was one.
    pub grpc_status: Option<u16>,
    /// Flags.
    pub flags: Flags,
}

/// [`ResponseFlags`] that can be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub ResponseFlags);

impl std::hash::Hash for Flags {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let mut bits = 0u64;
        for flag in self.0.iter() {
            bits |= 1 << flag as u8;
        }
        state.write_u64(bits);
    }
}

/// The families of one process.
#[derive(Clone)]
pub struct Families {
    requests: CounterFamily,
    duration: HistogramFamily,
    request_bytes: HistogramFamily,
    response_bytes: HistogramFamily,
    tcp_sent: CounterFamily,
    tcp_received: CounterFamily,
    tcp_opened: CounterFamily,
    tcp_closed: CounterFamily,
    stats: stats::Families,
    panics: CounterFamily,
}

impl Families {
    /// Registers everything. Call once per process.
    pub fn register(registry: &Registry) -> Self {
        let tcp = |name, help| registry.counter(name, help, &TCP_LABELS);
        let sizes = |name, help| registry.histogram(name, help, &REQUEST_LABELS, BYTES);
        Self {
            requests: registry.counter("istio_requests_total", "Requests.", &REQUEST_LABELS),
            duration: registry.histogram(
                "istio_request_duration_milliseconds",
                "Duration of requests in milliseconds.",
                &REQUEST_LABELS,
                MILLISECONDS,
            ),
            request_bytes: sizes("istio_request_bytes", "Size of requests, headers included."),
            response_bytes: sizes(
                "istio_response_bytes",
                "Size of responses, headers included.",
            ),
            tcp_sent: tcp("istio_tcp_sent_bytes_total", "Bytes sent in responses."),
            tcp_received: tcp(
                "istio_tcp_received_bytes_total",
                "Bytes received in requests.",
            ),
            tcp_opened: tcp("istio_tcp_connections_opened_total", "Connections opened."),
            tcp_closed: tcp("istio_tcp_connections_closed_total", "Connections closed."),
            stats: stats::Families::register(registry),
            panics: registry.counter(
                "meshproxy_task_panics_total",
                "Connections ended by a bug of ours.",
                &[],
            ),
        }
    }

    /// Envoy's counters per cluster and listener.
    pub fn stats(&self) -> &stats::Families {
        &self.stats
    }

    /// A handle that counts tasks ended by a bug of ours.
    pub fn panics(&self) -> Counter {
        self.panics.with(&[])
    }

    /// The sum of `istio_requests_total` over all series that bear these label values, for tests.
    pub fn requests(&self, values: &[&str]) -> Option<u64> {
        self.requests.value(values)
    }
}

impl std::fmt::Debug for Families {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Families").finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct RequestHandles {
    requests: Counter,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

/// Handles of one TCP connection's series.
#[derive(Debug, Clone)]
pub struct TcpHandles {
    /// Bytes the server sent.
    pub sent: Counter,
    /// Bytes the client sent.
    pub received: Counter,
    /// Connections.
    pub opened: Counter,
    /// Connections.
    pub closed: Counter,
}

/// Pointers of interned parts; valid as long as the table's entry holds the parts themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    reporter: Reporter,
    source: usize,
    source_principal: usize,
    destination: usize,
    destination_principal: usize,
    service: usize,
    policy: SecurityPolicy,
    outcome: Outcome,
}

/// Istio's metrics of one worker.
pub struct Recorder {
    families: Families,
    requests: RefCell<HashMap<Key, (RequestHandles, Ends)>>,
}

/// Series handles kept per worker before the table starts afresh.
const TABLE_ENTRIES: usize = 4096;

impl Recorder {
    /// A recorder that counts into `families`.
    pub fn new(families: Families) -> Self {
        Self {
            families,
            requests: RefCell::default(),
        }
    }

    /// Counts one finished request.
    pub fn request(
        &self,
        ends: &Ends,
        outcome: Outcome,
        duration: Duration,
        request_bytes: u64,
        response_bytes: u64,
    ) {
        let key = Key::new(ends, outcome);
        let mut table = self.requests.borrow_mut();
        if let Some((handles, _)) = table.get(&key) {
            return handles.record(duration, request_bytes, response_bytes);
        }
        if table.len() >= TABLE_ENTRIES {
            table.clear();
        }
        let handles = self.resolve(ends, outcome);
        handles.record(duration, request_bytes, response_bytes);
        table.insert(key, (handles, ends.clone()));
    }

    fn resolve(&self, ends: &Ends, outcome: Outcome) -> RequestHandles {
        let code = outcome.code.to_string();
        let grpc = outcome
            .grpc_status
            .map(|status| status.to_string())
            .unwrap_or_default();
        let flags = outcome.flags.0.to_string();
        let mut values = ends.values(outcome.protocol, &flags).to_vec();
        values.extend([code.as_str(), grpc.as_str()]);
        RequestHandles {
            requests: self.families.requests.with(&values),
            duration: self.families.duration.with(&values),
            request_bytes: self.families.request_bytes.with(&values),
            response_bytes: self.families.response_bytes.with(&values),
        }
    }

    /// Handles for a TCP connection between `ends`.
    pub fn tcp(&self, ends: &Ends, flags: ResponseFlags) -> TcpHandles {
        let flags = flags.to_string();
        let values = ends.values(RequestProtocol::Tcp, &flags);
        TcpHandles {
            sent: self.families.tcp_sent.with(&values),
            received: self.families.tcp_received.with(&values),
            opened: self.families.tcp_opened.with(&values),
            closed: self.families.tcp_closed.with(&values),
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("series", &self.requests.borrow().len())
            .finish()
    }
}

impl RequestHandles {
    fn record(&self, duration: Duration, request_bytes: u64, response_bytes: u64) {
        self.requests.inc();
        self.duration.observe(duration.as_secs_f64() * 1000.0);
        self.request_bytes.observe(request_bytes as f64);
        self.response_bytes.observe(response_bytes as f64);
    }
}

impl Key {
    fn new(ends: &Ends, outcome: Outcome) -> Self {
        let principal = |p: &Option<Rc<str>>| p.as_ref().map_or(0, |p| Rc::as_ptr(p).addr());
        Self {
            reporter: ends.reporter,
            source: Rc::as_ptr(&ends.source).addr(),
            source_principal: principal(&ends.source_principal),
            destination: Rc::as_ptr(&ends.destination).addr(),
            destination_principal: principal(&ends.destination_principal),
            service: Rc::as_ptr(&ends.service).addr(),
            policy: ends.policy,
            outcome,
        }
    }
}

impl Ends {
    /// Label values in the order of [`TCP_LABELS`].
    fn values<'a>(&'a self, protocol: RequestProtocol, flags: &'a str) -> [&'a str; 23] {
        let (source, destination) = (&*self.source, &*self.destination);
        let principal = |p: &'a Option<Rc<str>>| p.as_deref().unwrap_or(UNKNOWN);
        [
            match self.reporter {
                Reporter::Source => "source",
                Reporter::Destination => "destination",
            },
            &source.workload,
            &source.canonical_service,
            &source.canonical_revision,
            &source.namespace,
            principal(&self.source_principal),
            &source.app,
            &source.version,
            &source.cluster,
            &destination.workload,
            &destination.namespace,
            principal(&self.destination_principal),
            &destination.app,
            &destination.version,
            &self.service.host,
            &destination.canonical_service,
            &destination.canonical_revision,
            &self.service.name,
            &self.service.namespace,
            &destination.cluster,
            match protocol {
                RequestProtocol::Http => "http",
                RequestProtocol::Grpc => "grpc",
                RequestProtocol::Tcp => "tcp",
            },
            flags,
            match self.policy {
                SecurityPolicy::MutualTls => "mutual_tls",
                SecurityPolicy::None => "none",
                SecurityPolicy::Unknown => UNKNOWN,
            },
        ]
    }
}
