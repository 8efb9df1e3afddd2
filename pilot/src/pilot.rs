//! All parts of discovery joined.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use mesh_identity::TrustDomain;
use mesh_telemetry::drain::{self, Phase};
use mesh_telemetry::metrics::{Kind, Registry};
use mesh_xds::server::Interner;
use mesh_xds::server::grpc::AdsServer;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::ingest::file::FileSourceError;
use crate::ingest::{FileSource, MeshConfigMap, Problem, Sink, Source};
use crate::push::Timing;
use crate::push::pipeline::{Pipeline, Published};
use crate::serve::debug::{self, Page};
use crate::serve::{
    Access, Ads, Connections, Metrics, ProxyStatus, SecretReaders, Shared, Throttle,
};
use crate::status::StatusWriter;
use crate::store::{Defaults, ProblemReader, Store};

/// Batches that wait for the store.
const BATCHES_LIMIT: usize = 64;

/// How discovery runs.
pub struct Options {
    /// Directories (or files) of manifests, the more important first.
    pub config_dirs: Vec<PathBuf>,
    /// Further sources.
    pub sources: Vec<Box<dyn Source>>,
    /// The trust domain where mesh-wide settings don't name another one than the default.
    pub trust_domain: TrustDomain,
    /// The ConfigMap of the mesh-wide settings. Its namespace is the mesh's root namespace where the
    /// settings don't name another one than the default.
    pub mesh_config: MeshConfigMap,
    /// How long to wait for more changes before a push.
    pub timing: Timing,
    /// Who tells the users of the API server what became of their objects.
    pub status: Option<StatusWriter>,
    /// Which gateways get the secrets of their namespace; `None`: every one whose identity is proven.
    pub secret_readers: Option<SecretReaders>,
    /// Where metrics are registered.
    pub metrics: Registry,
}

impl Default for Options {
    /// No sources, trust domain `cluster.local`, Istio's ConfigMap, default timing, metrics of its own.
    fn default() -> Self {
        Self {
            config_dirs: Vec::new(),
            sources: Vec::new(),
            trust_domain: TrustDomain::default(),
            mesh_config: MeshConfigMap::default(),
            timing: Timing::default(),
            status: None,
            secret_readers: None,
            metrics: Registry::new(),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sources: Vec<&str> = self.sources.iter().map(|source| source.name()).collect();
        f.debug_struct("Options")
            .field("config_dirs", &self.config_dirs)
            .field("sources", &sources)
            .field("trust_domain", &self.trust_domain)
            .field("mesh_config", &self.mesh_config)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

/// Why discovery can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A configuration directory can't be used.
    #[error("start discovery")]
    Files(#[from] FileSourceError),
}

/// Running discovery. Its tasks end with [`Pilot::shutdown`], or when it is dropped.
#[derive(Debug)]
pub struct Pilot {
    shared: Shared,
    problems: ProblemReader,
    signal: drain::Signal,
    tasks: JoinSet<()>,
}

impl Pilot {
    /// Starts to watch the sources; proxies are answered as soon as each has been read once.
    /// Call within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] if a configuration directory can't be read or watched.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let mut sources = options.sources;
        if !options.config_dirs.is_empty() {
            let settings = options.mesh_config.clone();
            sources.push(Box::new(FileSource::new(&options.config_dirs, settings)?));
        }
        let (sender, batches) = mpsc::channel(BATCHES_LIMIT);
        let (publish, latest) = watch::channel(None);
        let (signal, drain) = drain::channel();
        let shared = Shared {
            latest,
            connections: Connections::default(),
            interner: Interner::default(),
            throttle: Throttle::default(),
            metrics: Metrics::register(&options.metrics),
            secret_readers: options.secret_readers,
            drain,
        };
        let store = Store::new(Defaults {
            trust_domain: options.trust_domain,
            root_namespace: options.mesh_config.namespace,
        });
        let problems = store.problems();
        count_problems(&options.metrics, &shared, &problems);
        let awaited: BTreeSet<&'static str> = sources.iter().map(|source| source.name()).collect();
        let pipeline = Pipeline {
            store,
            awaited,
            timing: options.timing,
            batches,
            latest: publish,
            connections: shared.connections.clone(),
            metrics: shared.metrics.clone(),
            started: jiff::Timestamp::now().as_second(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(pipeline.run());
        if let Some(status) = options.status {
            tasks.spawn(status.run(shared.latest.clone(), problems.clone()));
        }
        for source in sources {
            let sink = Sink::new(source.name(), sender.clone());
            tasks.spawn(source.run(sink));
        }
        Ok(Self {
            shared,
            problems,
            signal,
            tasks,
        })
    }

    /// The discovery service, for a port with this access.
    pub fn ads_service(&self, access: Access) -> AdsServer<Ads> {
        Ads::service(self.shared.clone(), access)
    }

    /// A page of the monitoring port (`/ready`, `/debug/...`); see [`crate::serve::debug`].
    pub fn debug(&self, path_and_query: &str) -> Option<Page> {
        debug::page(&self.shared, &self.problems, path_and_query)
    }

    /// How far every connected proxy has come.
    pub fn status(&self) -> Vec<ProxyStatus> {
        self.shared.connections.status()
    }

    /// Everything that is wrong with the configuration.
    pub fn problems(&self) -> Vec<Problem> {
        debug::all_problems(&self.shared, &self.problems)
    }

    /// What proxies are served from; `None` until every source has been read once.
    pub fn published(&self) -> Option<Arc<Published>> {
        self.shared.latest.borrow().clone()
    }

    /// A watch of [`Pilot::published`].
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Published>>> {
        self.shared.latest.clone()
    }

    /// Ends every stream and task, and waits for them.
    ///
    /// Streams are endless: a gRPC server that shuts down gracefully waits for them, so call
    /// this before waiting for the server.
    pub async fn shutdown(mut self) {
        self.signal.advance(Phase::Closing);
        self.signal.idle().await;
        self.tasks.shutdown().await;
    }
}

/// A gauge that is right at every scrape.
fn count_problems(metrics: &Registry, shared: &Shared, problems: &ProblemReader) {
    let (shared, problems) = (shared.clone(), problems.clone());
    metrics.collector(move |encoder| {
        let name = "pilot_config_problems";
        encoder.family(name, "Configuration problems that stand now.", Kind::Gauge);
        let count = debug::all_problems(&shared, &problems).len();
        encoder.sample(name, &[], count as f64);
    });
}
