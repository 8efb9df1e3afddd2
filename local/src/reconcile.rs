//! The one task that decides what exists: manifests in, pods and addresses out.
//!
//! At each change (of a file, of a pod, by a command) all of [`Controller::reconcile`] runs; every
//! step of it compares what is wanted with what is, so a step that failed is done by a later run.

mod admission;
mod analysis;
mod command;
mod deployment;
mod endpoints;
mod inject;
mod labels;
mod pods;
mod rollout;
mod service;
mod view;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_config::MeshConfig;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use command::Command;

use crate::api::wire::Status;
use crate::dns::Zone;
use crate::load::{Loaded, Places, load};
use crate::node::Node;
use crate::objects::assigned::Assigned;
use crate::objects::directory::Directory;
use crate::objects::{Key, Manifest};
use crate::publish::Publisher;
use crate::state::{self, StateError};
use pods::Running;

/// How often what cannot announce itself is looked at: the root certificate, ports that were
/// taken, `minReadySeconds`.
const TICK: Duration = Duration::from_millis(500);

/// A pod's identity.
pub(crate) type PodKey = (String, String);

/// What the controller is started with.
pub(crate) struct Setup {
    /// The machine.
    pub(crate) node: Arc<Node>,
    /// Where manifests come from.
    pub(crate) places: Places,
    /// Binds published ports.
    pub(crate) publisher: Publisher,
    /// Commands of clients.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// Wakes at changes of files.
    pub(crate) files_changed: mpsc::Receiver<()>,
    /// The names for cluster DNS.
    pub(crate) zone: watch::Sender<Arc<Zone>>,
    /// What runs, for people.
    pub(crate) status: watch::Sender<Status>,
}

/// Everything the platform knows.
pub(crate) struct Controller {
    setup: Setup,
    loaded: Loaded,
    world: BTreeMap<Key, Manifest>,
    assigned: Assigned,
    saved: Assigned,
    pods: BTreeMap<PodKey, Running>,
    directory: Directory,
    view: BTreeMap<Key, Value>,
    root_certificate: Option<String>,
    mesh: MeshConfig,
    mesh_text: String,
    services: Vec<service::Resolved>,
    installed: Vec<crate::net::ServicePort>,
    problems: BTreeMap<String, String>,
    retry: bool,
    to_stop: Vec<(PodKey, Option<Duration>)>,
}

impl Controller {
    /// Takes up the state directory.
    ///
    /// # Errors
    /// If it cannot be read or emptied.
    pub(crate) fn new(setup: Setup) -> Result<Self, StateError> {
        let state = &setup.node.state;
        let assigned = match std::fs::read(state.assigned()) {
            // What cannot be read is given out anew: uids and addresses only have to be unique.
            Ok(text) => serde_json::from_slice(&text).unwrap_or_default(),
            Err(_) => Assigned::default(),
        };
        let directory = Directory::open(state.objects())?;
        Ok(Self {
            loaded: Loaded::default(),
            world: BTreeMap::new(),
            saved: assigned.clone(),
            assigned,
            pods: BTreeMap::new(),
            directory,
            view: BTreeMap::new(),
            root_certificate: None,
            mesh: MeshConfig::default(),
            mesh_text: String::new(),
            services: Vec::new(),
            installed: Vec::new(),
            problems: BTreeMap::new(),
            retry: false,
            to_stop: Vec::new(),
            setup,
        })
    }

    /// Runs until `shutdown`, then ends every pod (at most `grace` each) and returns.
    pub(crate) async fn run(mut self, shutdown: CancellationToken, grace: Duration) {
        self.reload();
        self.reconcile().await;
        let mut tick = tokio::time::interval(TICK);
        loop {
            let node = Arc::clone(&self.setup.node);
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = node.changed.notified() => {}
                Some(()) = self.setup.files_changed.recv() => self.reload(),
                Some(command) = self.setup.commands.recv() => self.obey(command),
                _ = tick.tick() => {
                    if !self.tick() {
                        continue;
                    }
                }
            }
            self.reconcile().await;
        }
        self.end(grace).await;
    }

    fn reload(&mut self) {
        let loaded = load(&self.setup.places, &self.loaded);
        for problem in loaded
            .errors
            .iter()
            .filter(|error| !self.loaded.errors.contains(error))
        {
            tracing::error!("{problem}");
        }
        for warning in loaded
            .warnings
            .iter()
            .filter(|warning| !self.loaded.warnings.contains(warning))
        {
            tracing::warn!("{warning}");
        }
        self.setup
            .node
            .images
            .send_replace(Arc::clone(&loaded.images));
        self.loaded = loaded;
    }

    /// Whether there is something to do.
    fn tick(&mut self) -> bool {
        let path = self.setup.node.state.root_certificate();
        // Absent until the control plane has written it.
        let found = std::fs::read_to_string(path)
            .ok()
            .filter(|text| !text.is_empty());
        if found.is_some() && found != self.root_certificate {
            tracing::info!("the mesh has a root certificate");
            self.root_certificate = found;
            return true;
        }
        self.retry || self.waits_for_time()
    }

    /// Brings everything closer to what is wanted.
    async fn reconcile(&mut self) {
        self.retry = false;
        if self.build_world() {
            // Addresses first: they are among what pods are started with.
            self.resolve_services();
            self.share_data();
            self.read_mesh_config();
        }
        self.reap();
        self.run_deployments();
        self.run_bare_pods();
        self.resolve_services();
        self.install_services().await;
        self.publish().await;
        self.show();
        self.stop_marked();
        self.save();
    }

    fn save(&mut self) {
        if self.assigned == self.saved {
            return;
        }
        let path = self.setup.node.state.assigned();
        let text = serde_json::to_vec_pretty(&self.assigned).unwrap_or_default();
        match state::write_atomic(&path, &text, 0o600) {
            Ok(()) => {
                self.saved = self.assigned.clone();
                self.problems.remove("state");
            }
            Err(error) => self.problem("state", &crate::chain(&error)),
        }
    }

    /// Notes a problem that stays until the same `subject` is found well again.
    fn problem(&mut self, subject: &str, problem: &str) {
        let known = self.problems.insert(subject.to_owned(), problem.to_owned());
        if known.as_deref() != Some(problem) {
            tracing::error!("{problem}");
        }
        self.retry = true;
    }

    /// Notes all problems of one sort (`subject`s with this prefix); those not given are well again.
    fn problems_of(&mut self, prefix: &str, found: Vec<(String, String)>) {
        let found: Vec<(String, String)> = found
            .into_iter()
            .map(|(subject, problem)| (format!("{prefix} {subject}"), problem))
            .collect();
        self.problems.retain(|subject, _| {
            !subject.starts_with(prefix) || found.iter().any(|(other, _)| other == subject)
        });
        for (subject, problem) in found {
            self.problem(&subject, &problem);
        }
    }

    async fn end(&mut self, grace: Duration) {
        self.setup.publisher.close();
        for pod in self.pods.values() {
            pod.handle.stop(Some(grace));
        }
        for (_, mut pod) in std::mem::take(&mut self.pods) {
            pod.handle.ended().await;
        }
        if let Err(error) = self.directory.sync(&BTreeMap::new()) {
            tracing::warn!(error = %crate::chain(&error), "the object directory is not empty");
        }
    }
}
