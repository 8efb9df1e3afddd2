//! One pod: its network, volumes and containers, from start to the last process.
//!
//! [`start`] makes a task per pod. What it observes is in a watch channel; every change also wakes
//! the reconciler. The order of things is the kubelet's: init containers one after the other
//! (sidecars among them stay), then the containers, and at the end containers before sidecars.

mod backoff;
mod container;
pub(crate) mod data;
pub(crate) mod downward;
mod env;
mod hook;
mod lifecycle;
mod log;
pub(crate) mod probe;
mod spec;
pub(crate) mod status;
pub(crate) mod token;
mod volumes;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) use log::{log_path, previous_log_path};

use crate::net::PodNetwork;
use crate::node::Node;
use crate::sandbox::{self, Child};
use status::{ContainerStatus, Observed, Phase};

/// What the kubelet allows a pod to end, if it says nothing itself.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// The handle of a pod's task.
#[derive(Debug)]
pub(crate) struct Handle {
    cx: Arc<Context>,
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

/// What all parts of one pod share.
pub(crate) struct Context {
    /// The pod as admitted, with name and uid.
    pub(crate) pod: Pod,
    /// The machine.
    pub(crate) node: Arc<Node>,
    observed: watch::Sender<Observed>,
    volumes: tokio::sync::Mutex<volumes::Volumes>,
    network: std::sync::OnceLock<PodNetwork>,
    children: Mutex<BTreeMap<String, Child>>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("pod", &self.name())
            .finish_non_exhaustive()
    }
}

/// Starts a pod. `pod`: as admitted; name, namespace and uid are set.
pub(crate) fn start(pod: Pod, node: Arc<Node>) -> Handle {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let observed = watch::Sender::new(first_sight(&pod));
    let cx = Arc::new(Context {
        volumes: tokio::sync::Mutex::new(volumes::Volumes::new(node.state.pods().join(uid))),
        pod,
        node,
        observed,
        network: std::sync::OnceLock::new(),
        children: Mutex::new(BTreeMap::new()),
    });
    let (stop, stopped) = watch::channel(None);
    let task = tokio::spawn(lifecycle::run(Arc::clone(&cx), stopped));
    Handle { cx, stop, task }
}

fn first_sight(pod: &Pod) -> Observed {
    let waiting = |reason: &'static str| {
        move |container: &Container| {
            let image = container.image.as_deref().unwrap_or_default();
            ContainerStatus::waiting(&container.name, image, reason)
        }
    };
    let init = || {
        pod.spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    Observed {
        address: None,
        phase: Phase::Pending,
        initialized: false,
        init: init().map(waiting("PodInitializing")).collect(),
        containers: containers.map(waiting("ContainerCreating")).collect(),
        sidecars: init()
            .filter(|init| is_sidecar(init))
            .map(|init| init.name.clone())
            .collect(),
        started: Timestamp::now(),
        ready_since: None,
        message: None,
        gone: false,
    }
}

/// An init container that goes on while the others run.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

impl Handle {
    /// What is known of the pod now.
    pub(crate) fn observed(&self) -> Observed {
        self.cx.observed.borrow().clone()
    }

    /// The pod as admitted.
    pub(crate) fn pod(&self) -> &Pod {
        &self.cx.pod
    }

    /// What `exec` and `pod_http` need.
    pub(crate) fn context(&self) -> Arc<Context> {
        Arc::clone(&self.cx)
    }

    /// Begins the orderly end, within the pod's own grace period and `grace`, if given. A later
    /// call can only shorten it.
    pub(crate) fn stop(&self, grace: Option<Duration>) {
        let own = self.cx.grace();
        let deadline = Instant::now() + grace.map_or(own, |most| most.min(own));
        self.stop.send_modify(|present| {
            *present = Some(present.map_or(deadline, |present| present.min(deadline)));
        });
    }

    /// Waits until nothing of the pod is left.
    pub(crate) async fn ended(&mut self) {
        if let Err(error) = (&mut self.task).await {
            tracing::error!(pod = self.cx.name(), %error, "a pod's task broke");
        }
    }
}

impl Context {
    /// The pod's name.
    pub(crate) fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// The pod's namespace.
    pub(crate) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn spec(&self) -> &PodSpec {
        static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.pod.spec.as_ref().unwrap_or(&EMPTY)
    }

    /// How long the pod may take to end.
    fn grace(&self) -> Duration {
        let seconds = self.spec().termination_grace_period_seconds;
        let own = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        own.map_or(DEFAULT_GRACE, Duration::from_secs)
    }

    /// Its network, once it has one.
    pub(crate) fn network(&self) -> Option<&PodNetwork> {
        self.network.get()
    }

    fn address(&self) -> Option<IpAddr> {
        self.network.get().map(|network| network.ip().into())
    }

    /// Changes what is known of the pod and wakes those who care.
    fn observe(&self, change: impl FnOnce(&mut Observed)) {
        let changed = self.observed.send_if_modified(|observed| {
            let before = observed.clone();
            change(observed);
            observed.settle(Timestamp::now());
            *observed != before
        });
        if changed {
            self.node.changed.notify_one();
        }
    }

    fn observe_container(&self, name: &str, change: impl FnOnce(&mut ContainerStatus)) {
        self.observe(|observed| {
            if let Some(container) = observed.container_mut(name) {
                change(container);
            }
        });
    }

    /// The running process of a container.
    pub(crate) fn child(&self, container: &str) -> Option<Child> {
        self.children
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(container)
            .cloned()
    }

    fn set_child(&self, container: &str, child: Option<Child>) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        match child {
            Some(child) => children.insert(container.to_owned(), child),
            None => children.remove(container),
        };
    }

    /// Runs a command in a running container, with the container's own environment.
    ///
    /// # Errors
    /// Why it could not be run, in one line.
    pub(crate) async fn exec(
        &self,
        container: &str,
        argv: Vec<String>,
        streams: sandbox::Streams,
    ) -> Result<Child, String> {
        let spec = self.container(container).ok_or_else(|| {
            let (pod, there) = (self.name(), self.container_names().join(", "));
            format!("pod {pod} has no container {container}; it has {there}")
        })?;
        let child = self.child(container).ok_or_else(|| {
            let pod = self.name();
            format!("container {container} of pod {pod} is not running")
        })?;
        let container = spec;
        let env = self.environment(container, &BTreeMap::new())?;
        let exec = sandbox::Exec {
            argv,
            env: env.into_iter().collect(),
            cwd: spec::working_dir(container),
            user: spec::user(self.spec(), container),
            streams,
            // The client's terminal already controls the client's own session.
            terminal: false,
        };
        sandbox::exec_in(&child, exec)
            .await
            .map_err(|error| error.to_string())
    }

    /// The container meant when none is named: the annotated one, else the first.
    pub(crate) fn default_container(&self) -> String {
        let annotations = self.pod.metadata.annotations.as_ref();
        let named = annotations
            .and_then(|all| all.get("kubectl.kubernetes.io/default-container"))
            .filter(|name| self.has_container(name));
        let first = || {
            self.spec()
                .containers
                .first()
                .map(|container| &container.name)
        };
        named.or_else(first).cloned().unwrap_or_default()
    }

    /// Whether the pod has a container of that name.
    pub(crate) fn has_container(&self, name: &str) -> bool {
        self.container(name).is_some()
    }

    /// The names of its containers.
    pub(crate) fn container_names(&self) -> Vec<&str> {
        let spec = self.spec();
        let all = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten());
        all.map(|container| container.name.as_str()).collect()
    }

    fn container(&self, name: &str) -> Option<&Container> {
        let spec = self.spec();
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
            .find(|container| container.name == name)
    }

    /// Brings the volumes up to date.
    async fn update_volumes(&self) -> Result<Option<u64>, String> {
        let data = self.node.data.borrow().clone();
        let sources = volumes::Sources {
            pod: &self.pod,
            address: self.address(),
            machine: &self.node.machine,
            data: &data,
            signer: &self.node.signer,
            now: now_seconds(),
        };
        let mut volumes = self.volumes.lock().await;
        volumes.update(&self.pod, &sources)?;
        Ok(volumes.next_renewal())
    }
}

pub(crate) fn now_seconds() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}
