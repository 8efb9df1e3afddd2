//! Objects from an API server.
//!
//! One task per collection keeps a watch (`watch.rs`, whose state is `cursor.rs`): everything there
//! is, as a stream where the server has streamed lists, else in parts; then what happens. A watch
//! that is interrupted goes on from where it stood. Only when the server has forgotten what happened
//! since (410), or was set back behind what it told us, is everything listed anew; what is missing
//! then was deleted meanwhile (`objects.rs`). While the server is away, what is known stays.
//!
//! The kinds of the mesh are watched in the newest version that the cluster serves, as soon as it
//! serves any (`definitions.rs`).
//!
//! Objects go through the same decoding as files: one that can't be decoded becomes a
//! [`Problem`](super::Problem) of that object, and its last good version stays. No copy is kept here:
//! only names.

mod collection;
mod cursor;
mod definitions;
mod follow;
mod metrics;
mod objects;
mod watch;

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Client;
use mesh_telemetry::metrics::Registry;
use tokio::task::JoinSet;

use self::collection::Collection;
use self::definitions::{Definitions, follow_kind};
use self::follow::{Follower, Initial};
use self::metrics::Metrics;
use self::objects::Objects;
use super::{MeshConfigMap, Sink, Source};
use crate::status::Observed;

/// Name of the source, and place of its problems.
const NAME: &str = "kubernetes";

/// What is read from the API server, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The ConfigMap of the mesh-wide settings; the same as in [`crate::Options`].
    pub mesh_config: MeshConfigMap,
    /// The revision of this control plane. Mesh resources with a label `istio.io/rev` that names
    /// another one are not read; if empty, all are.
    pub revision: String,
}

/// The API server of a cluster as a source: `Options.sources` takes it.
///
/// ```no_run
/// # async fn run(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use mesh_pilot::ingest::kubernetes::{KubernetesSource, Settings};
/// use mesh_pilot::{Options, Pilot};
///
/// let options = Options::default();
/// let settings = Settings {
///     mesh_config: options.mesh_config.clone(),
///     revision: "default".to_owned(),
/// };
/// let source = KubernetesSource::new(client, settings, &options.metrics);
/// let pilot = Pilot::start(Options {
///     sources: vec![Box::new(source)],
///     ..options
/// })?;
/// # Ok(())
/// # }
/// ```
pub struct KubernetesSource {
    client: Client,
    settings: Settings,
    metrics: Metrics,
    observed: Observed,
}

impl KubernetesSource {
    /// Asks nothing yet. The client's account needs `get`, `list` and `watch` on what is read:
    /// namespaces, services, pods, nodes, secrets, endpointslices, the mesh's kinds and
    /// customresourcedefinitions everywhere, configmaps in the namespace of the mesh-wide settings.
    pub fn new(client: Client, settings: Settings, metrics: &Registry) -> Self {
        Self {
            client,
            settings,
            metrics: Metrics::register(metrics),
            observed: Observed::default(),
        }
    }

    /// What this source sees of the objects whose status is ours to write.
    pub fn observed(&self) -> Observed {
        self.observed.clone()
    }

    fn start(self, sink: Sink) -> JoinSet<()> {
        let collections = Collection::of_kubernetes(&self.settings);
        let (definitions, kinds) = Definitions::new(self.client.clone());
        let follower = Follower {
            client: self.client,
            sink,
            metrics: self.metrics,
            initial: Initial::new(collections.len() + kinds.len()),
            awaited: true,
        };
        let objects = |kind| Objects::new(kind, self.settings.clone(), self.observed.clone());
        let mut tasks = JoinSet::new();
        // The only error is that nobody listens any more.
        for collection in collections {
            let (mut follower, mut objects) = (follower.clone(), objects(collection.kind));
            tasks.spawn(async move {
                let _ = Box::pin(follower.follow(collection, &mut objects)).await;
            });
        }
        for (kind, served) in kinds {
            let task = follow_kind(kind, served, follower.clone(), objects(kind.as_str()));
            tasks.spawn(task.map(drop));
        }
        tasks.spawn(definitions.run(follower).map(drop));
        tasks
    }
}

impl Source for KubernetesSource {
    fn name(&self) -> &'static str {
        NAME
    }

    fn run(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        async move {
            let mut tasks = self.start(sink.clone());
            tokio::select! {
                () = sink.closed() => {}
                ended = tasks.join_next() => {
                    // A bug in a watch: the others would go on, but the mesh would age unseen.
                    tracing::error!(?ended, "a watch of the API server has ended");
                    sink.closed().await;
                }
            }
        }
        .boxed()
    }
}
