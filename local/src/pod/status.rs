//! What is known of a running pod, and its form as a Kubernetes PodStatus.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use serde_json::{Value, json};

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Not running, and why.
    Waiting {
        /// `ContainerCreating`, `CrashLoopBackOff`, ...
        reason: &'static str,
        /// More about it; may be empty.
        message: String,
    },
    /// Running.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Ended for good, or until the restart that is about to come.
    Terminated(Termination),
}

/// The end of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Termination {
    /// Exit code, or 128 + signal.
    pub(crate) code: i32,
    /// Why the platform ended it, if it did.
    pub(crate) message: String,
    /// Start of the run.
    pub(crate) started: Timestamp,
    /// End of the run.
    pub(crate) finished: Timestamp,
}

/// What is known of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerStatus {
    /// Its name.
    pub(crate) name: String,
    /// Its image.
    pub(crate) image: String,
    /// What it does.
    pub(crate) state: State,
    /// How its last run ended.
    pub(crate) last: Option<Termination>,
    /// Its startup probe has passed.
    pub(crate) started: bool,
    /// Its readiness probe passes.
    pub(crate) ready: bool,
    /// Why a probe fails; for people.
    pub(crate) probe: Option<String>,
    /// Times it was started again.
    pub(crate) restarts: u32,
}

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Something has not started yet.
    Pending,
    /// Every container has been started.
    Running,
    /// Every container ended well and none is restarted.
    Succeeded,
    /// Every container ended, one of them badly.
    Failed,
}

/// What is known of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Its address, once it has one.
    pub(crate) address: Option<Ipv4Addr>,
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// All init containers are through, or running as sidecars.
    pub(crate) initialized: bool,
    /// Init containers in order.
    pub(crate) init: Vec<ContainerStatus>,
    /// Containers in order.
    pub(crate) containers: Vec<ContainerStatus>,
    /// Names of init containers that are sidecars.
    pub(crate) sidecars: Vec<String>,
    /// When the platform took it up.
    pub(crate) started: Timestamp,
    /// Since when it is ready, if it is.
    pub(crate) ready_since: Option<Timestamp>,
    /// What the whole pod waits for.
    pub(crate) message: Option<String>,
    /// Nothing of it is left.
    pub(crate) gone: bool,
}

impl ContainerStatus {
    /// A container that has not been started.
    pub(crate) fn waiting(name: &str, image: &str, reason: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            state: State::Waiting {
                reason,
                message: String::new(),
            },
            last: None,
            started: false,
            ready: false,
            probe: None,
            restarts: 0,
        }
    }

    /// Why it isn't running or ready, for people.
    pub(crate) fn reason(&self) -> Option<String> {
        match &self.state {
            State::Waiting { reason, message } if message.is_empty() => {
                Some(format!("{}: {reason}", self.name))
            }
            State::Waiting { reason, message } => {
                Some(format!("{}: {reason}: {message}", self.name))
            }
            State::Terminated(end) => Some(format!("{}: exited with {}", self.name, end.code)),
            State::Running { .. } if !self.ready => Some(match &self.probe {
                Some(probe) => format!("{}: not ready: {probe}", self.name),
                None => format!("{}: not ready yet", self.name),
            }),
            State::Running { .. } => None,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "image": self.image,
            "imageID": self.image,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
            "state": state_json(&self.state),
            "lastState": self.last.as_ref().map_or(json!({}), |end| {
                state_json(&State::Terminated(end.clone()))
            }),
        })
    }
}

fn state_json(state: &State) -> Value {
    match state {
        State::Waiting { reason, message } if message.is_empty() => {
            json!({"waiting": {"reason": reason}})
        }
        State::Waiting { reason, message } => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        State::Running { since } => json!({"running": {"startedAt": seconds(*since)}}),
        State::Terminated(end) => json!({"terminated": {
            "exitCode": end.code,
            "reason": if end.code == 0 { "Completed" } else { "Error" },
            "message": end.message,
            "startedAt": seconds(end.started),
            "finishedAt": seconds(end.finished),
        }}),
    }
}

/// RFC 3339 in whole seconds, as Kubernetes writes times.
pub(crate) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Observed {
    /// Whether the pod is ready: running, with every container (and sidecar) ready.
    pub(crate) fn ready(&self) -> bool {
        self.ready_since.is_some()
    }

    /// Brings `ready_since` up to date with the containers.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        let sidecars_ready = self
            .init
            .iter()
            .filter(|init| self.sidecars.contains(&init.name))
            .all(|sidecar| sidecar.ready);
        let ready = self.phase == Phase::Running
            && self.initialized
            && sidecars_ready
            && self.containers.iter().all(|container| container.ready);
        self.ready_since = match (ready, self.ready_since) {
            (true, Some(since)) => Some(since),
            (true, None) => Some(now),
            (false, _) => None,
        };
    }

    /// The container of that name, among all.
    pub(crate) fn container_mut(&mut self, name: &str) -> Option<&mut ContainerStatus> {
        self.init
            .iter_mut()
            .chain(&mut self.containers)
            .find(|container| container.name == name)
    }

    /// Why the pod isn't ready, for people.
    pub(crate) fn reason(&self) -> Option<String> {
        if self.ready() {
            return None;
        }
        let sidecar = |name: &String| self.sidecars.contains(name);
        let pending_init = self.init.iter().find(|init| match &init.state {
            State::Terminated(end) => end.code != 0,
            State::Running { .. } => sidecar(&init.name) && !init.ready,
            State::Waiting { .. } => true,
        });
        let message = self.message.clone();
        message
            .or_else(|| pending_init.and_then(ContainerStatus::reason))
            .or_else(|| self.containers.iter().find_map(ContainerStatus::reason))
    }

    /// The status as Kubernetes shows it. `node`: address of the machine.
    pub(crate) fn to_json(&self, node: IpAddr, deleting: bool) -> Value {
        let condition = |kind: &str, is: bool, since: Option<Timestamp>| {
            let mut condition = json!({
                "type": kind,
                "status": if is { "True" } else { "False" },
            });
            if let Some(since) = since {
                condition["lastTransitionTime"] = seconds(since).into();
            }
            condition
        };
        let ready = self.ready() && !deleting;
        let mut ready_condition = condition("Ready", ready, self.ready_since);
        if !ready {
            ready_condition["reason"] = "ContainersNotReady".into();
            ready_condition["message"] = self.reason().unwrap_or_default().into();
        }
        let mut status = json!({
            "phase": match self.phase {
                Phase::Pending => "Pending",
                Phase::Running => "Running",
                Phase::Succeeded => "Succeeded",
                Phase::Failed => "Failed",
            },
            "hostIP": node.to_string(),
            "startTime": seconds(self.started),
            "qosClass": "BestEffort",
            "conditions": [
                condition("PodScheduled", true, Some(self.started)),
                condition("Initialized", self.initialized, None),
                condition("ContainersReady", self.ready(), self.ready_since),
                ready_condition,
            ],
            "containerStatuses": all_json(&self.containers),
        });
        if !self.init.is_empty() {
            status["initContainerStatuses"] = all_json(&self.init);
        }
        if let Some(address) = self.address {
            status["podIP"] = address.to_string().into();
            status["podIPs"] = json!([{"ip": address.to_string()}]);
        }
        if let Some(message) = &self.message {
            status["message"] = message.as_str().into();
        }
        status
    }
}

fn all_json(containers: &[ContainerStatus]) -> Value {
    containers.iter().map(ContainerStatus::to_json).collect()
}
