//! Worker threads: each has its own runtime, listening sockets, pools, random numbers, metric
//! handles and view of the configuration. Workers share nothing mutable but atomics.

mod names;
mod task;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mesh_route::{Cluster, Endpoint, Snapshot, UpstreamTransport};
use mesh_telemetry::access_log::AccessLog;
use mesh_telemetry::drain::{self, Phase};
use mesh_telemetry::metrics::Counter;
use rand::Rng as _;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::certs::WorkloadTls;
use crate::listen;
use crate::metrics::stats::WorkerStats;
use crate::metrics::{Families, Recorder};
use crate::peer::{Announcement, Peer, PeerCache};
use crate::state::Shared;
use crate::tls::{ClientTls, CredentialsError, Offer, TlsCache};
use crate::upstream::error::{AcquireError, ConnectError};
use crate::upstream::pool::Pools;
pub use names::Names;

/// Socket mark that capture rules exempt, where the proxy may set it.
const SOCKET_MARK: u32 = 1337;

/// How often stale connections and configurations are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Longest time that a finished worker waits for its last connections' tasks, once everything
/// was told to close.
const LAST_TASKS: Duration = Duration::from_secs(5);

/// All workers of the process.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    families: Families,
}

impl Workers {
    /// Starts as many workers as the bootstrap says. They end by themselves once
    /// `shared.drain` reaches [`Phase::Closing`] and their connections are gone.
    ///
    /// # Errors
    /// The system's error if a thread or runtime can't be made.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let families = Families::register(&shared.registry);
        let mut threads = Vec::new();
        for index in 0..shared.bootstrap.concurrency {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (shared, families) = (Arc::clone(shared), families.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                LocalSet::new().block_on(&runtime, async move {
                    Worker::new(index, shared, families).run().await;
                });
            })?);
        }
        Ok(Self { threads, families })
    }

    /// Counters of clusters and listeners, for the admin interface.
    pub fn families(&self) -> &Families {
        &self.families
    }

    /// Waits for all workers to end. Blocks: not for the control thread's runtime.
    pub fn join(self) {
        for thread in self.threads {
            // A worker's panic was already printed by the hook.
            let _ = thread.join();
        }
    }
}

/// A snapshot as one worker holds it: requests share its reference count with their own worker
/// only, never with another thread.
#[derive(Debug)]
pub struct Loaded(Arc<Snapshot>);

impl std::ops::Deref for Loaded {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// One worker's state. Lives on its thread only.
#[derive(Debug)]
pub struct Worker {
    /// 0 is the first; it also does what only one worker should do.
    pub index: usize,
    /// The process's shared state.
    pub shared: Arc<Shared>,
    /// Connections to upstreams.
    pub pools: Pools,
    /// Envoy's counters.
    pub stats: WorkerStats,
    /// Istio's metrics.
    pub recorder: Recorder,
    /// Peers by their metadata header.
    pub peers: PeerCache,
    /// Interned names.
    pub names: Names,
    /// What we tell peers of us.
    pub announcement: Announcement,
    /// Our own labels.
    pub own: Rc<Peer>,
    /// Our own identity.
    pub own_principal: Rc<str>,
    tls: TlsCache,
    snapshot: RefCell<Rc<Loaded>>,
    workload: RefCell<Option<Arc<WorkloadTls>>>,
    workload_news: RefCell<watch::Receiver<u64>>,
    logs: RefCell<Vec<(mesh_route::AccessLogSpec, Option<AccessLog>)>>,
    rng: RefCell<SmallRng>,
    mark: Cell<Option<u32>>,
    /// Each connection needs a descriptor on both sides.
    task_limit: usize,
    tasks: Cell<usize>,
    panics: Cell<u64>,
    panic_counter: Counter,
    /// Kept here because the process's own flag is behind a lock that all workers would touch.
    phase: Cell<Phase>,
}

impl Worker {
    /// A worker for the calling thread, which must be inside a `LocalSet`.
    pub fn new(index: usize, shared: Arc<Shared>, families: Families) -> Rc<Self> {
        let node = &shared.bootstrap.node;
        let announcement = Announcement::new(&node.peer_metadata(), &node.id);
        let panic_counter = families.panics();
        let own = Peer::from_header(announcement.metadata.as_bytes()).unwrap_or_default();
        let worker = Rc::new(Self {
            index,
            pools: Pools::default(),
            stats: WorkerStats::new(families.stats().clone()),
            recorder: Recorder::new(families),
            peers: PeerCache::default(),
            names: Names::default(),
            announcement,
            own: Rc::new(own),
            own_principal: Rc::from(shared.bootstrap.id.as_str()),
            tls: TlsCache::default(),
            snapshot: RefCell::new(Rc::new(Loaded(shared.snapshot.load()))),
            workload: RefCell::new(shared.certs.current()),
            workload_news: RefCell::new(shared.certs.subscribe()),
            logs: RefCell::default(),
            rng: RefCell::new(rand::make_rng()),
            mark: Cell::new(Some(SOCKET_MARK)),
            task_limit: task_limit(shared.bootstrap.concurrency),
            tasks: Cell::new(0),
            panics: Cell::new(0),
            panic_counter,
            phase: Cell::new(Phase::Running),
            shared,
        });
        tokio::task::spawn_local(note_phases(
            Rc::downgrade(&worker),
            worker.shared.drain.clone(),
        ));
        worker
    }

    /// Accepts and serves until the process closes.
    pub async fn run(self: Rc<Self>) {
        let housekeeping = tokio::task::spawn_local(housekeep(Rc::clone(&self)));
        listen::serve(&self).await;
        self.pools.close();
        let deadline = Instant::now() + LAST_TASKS;
        while self.live_tasks() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        housekeeping.abort();
    }

    /// The configuration now. Load once per request and hold it to the request's end.
    ///
    /// Checking for a new one is one atomic load; handing out the `Rc` touches no count that
    /// other workers touch.
    pub fn snapshot(&self) -> Rc<Loaded> {
        let mut current = self.snapshot.borrow_mut();
        let newest = self.shared.snapshot.swap().load();
        if !Arc::ptr_eq(&newest, &current.0) {
            *current = Rc::new(Loaded(Arc::clone(&newest)));
        }
        Rc::clone(&current)
    }

    /// The workload certificate now, `None` before the first.
    pub fn workload(&self) -> Option<Arc<WorkloadTls>> {
        let mut news = self.workload_news.borrow_mut();
        if news.has_changed().unwrap_or(false) {
            news.mark_unchanged();
            self.workload.replace(self.shared.certs.current());
        }
        self.workload.borrow().clone()
    }

    /// TLS towards an endpoint, `None` for plaintext.
    ///
    /// # Errors
    /// [`AcquireError::Connect`] if a certificate is missing.
    pub fn client_tls(
        &self,
        endpoint: &Endpoint,
        offer: Offer,
    ) -> Result<Option<Rc<ClientTls>>, AcquireError> {
        let UpstreamTransport::Tls(settings) = &endpoint.transport else {
            return Ok(None);
        };
        let workload = self.workload();
        let snapshot = self.snapshot();
        let tls = self
            .tls
            .client(settings, offer, workload.as_ref(), &snapshot);
        tls.map(Some).map_err(|error| {
            let (address, reason) = (endpoint.address, error.to_string());
            AcquireError::Connect(Rc::new(ConnectError::NoCredentials { address, reason }))
        })
    }

    /// TLS of a filter chain. `offered`: the client's ALPN list.
    ///
    /// # Errors
    /// [`CredentialsError`] if a certificate is missing or unusable.
    pub fn server_tls(
        &self,
        settings: &Arc<mesh_route::DownstreamTls>,
        offered: &[Vec<u8>],
    ) -> Result<Arc<rustls::ServerConfig>, CredentialsError> {
        let workload = self.workload();
        self.tls
            .server(settings, workload.as_ref(), &self.snapshot(), offered)
    }

    /// The open access log of a specification.
    pub fn access_log(&self, spec: &mesh_route::AccessLogSpec) -> Option<AccessLog> {
        let mut logs = self.logs.borrow_mut();
        if let Some((_, log)) = logs.iter().find(|(known, _)| known.is_same(spec)) {
            return log.clone();
        }
        let log = self.shared.access_logs.get(spec);
        logs.push((spec.clone(), log.clone()));
        log
    }

    /// A uniform number.
    pub fn random(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    /// Runs `use_rng` with the worker's generator.
    pub fn with_rng<T>(&self, use_rng: impl FnOnce(&mut SmallRng) -> T) -> T {
        use_rng(&mut self.rng.borrow_mut())
    }

    /// The same `Rc` for equal texts.
    pub fn intern(&self, text: &str) -> Rc<str> {
        self.names.text(text)
    }

    /// The mark for upstream sockets, if we may set one.
    pub fn socket_mark(&self) -> Option<u32> {
        self.mark.get()
    }

    /// The kernel refused to mark: don't try again.
    pub fn forbid_socket_mark(&self) {
        self.mark.set(None);
    }

    /// Another connection may be accepted.
    pub fn has_room(&self) -> bool {
        self.tasks.get() < self.task_limit
    }

    /// How far the end of the process has come.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Tasks that have not ended, for tests and for the end of the process.
    pub fn live_tasks(&self) -> usize {
        self.tasks.get()
    }

    /// Tasks that ended by a bug of ours.
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }

    /// Looks for stale connections and configurations; the worker itself does so every second.
    pub fn sweep(&self) {
        let snapshot = self.snapshot();
        self.tls.sweep(self.workload().as_ref());
        self.pools.sweep(&snapshot, |id| self.tls.is_live(id));
        if self.index == 0 {
            let now = Instant::now();
            let watched = |cluster: &&Arc<Cluster>| cluster.sweep_interval().is_some();
            snapshot
                .clusters()
                .filter(watched)
                .for_each(|cluster| cluster.sweep(now));
        }
    }
}

/// Connections a worker takes: its share of the descriptors, less some for files and control.
fn task_limit(workers: usize) -> usize {
    const RESERVED: u64 = 100;
    let descriptors = mesh_sys::socket::raise_nofile().unwrap_or(1024);
    let share = descriptors.saturating_sub(RESERVED) / 2 / workers.max(1) as u64;
    usize::try_from(share).unwrap_or(usize::MAX).max(16)
}

async fn note_phases(worker: Weak<Worker>, drain: drain::Watch) {
    for phase in [Phase::DrainingInbound, Phase::Draining] {
        drain.reached(phase).await;
        if let Some(worker) = worker.upgrade() {
            worker.phase.set(phase);
        }
    }
}

async fn housekeep(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while worker.shared.drain.phase() < Phase::Closing || worker.live_tasks() > 0 {
        ticks.tick().await;
        worker.sweep();
    }
}
