//! What clients may ask of the controller.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::oneshot;

use super::Controller;
use crate::api::wire::{DeletePod, Finding, Get, Label, Outcome, Scale, Workload};
use crate::objects::{Key, Kind};
use crate::pod::Context;

/// One question or order; the answer goes into its channel (a client that went away is no error).
pub(crate) enum Command {
    /// Objects.
    Get(Get, oneshot::Sender<Result<Vec<Value>, String>>),
    /// A pod, to work with its containers: namespace, name or `deployment/NAME`.
    Pod(
        String,
        String,
        oneshot::Sender<Result<Arc<Context>, String>>,
    ),
    /// Which of these objects exist in a file that is not the platform's own: the file.
    Source(Key, oneshot::Sender<Option<String>>),
    /// Read the files now.
    Reload(oneshot::Sender<()>),
    /// The end of one pod.
    Delete(DeletePod, oneshot::Sender<Result<String, String>>),
    /// A rolling restart.
    Restart(Workload, oneshot::Sender<Result<(), String>>),
    /// Another size.
    Scale(Scale, oneshot::Sender<Result<(), String>>),
    /// Other labels.
    Label(Label, oneshot::Sender<Result<Outcome, String>>),
    /// What is doubtful among the mesh's objects.
    Findings(oneshot::Sender<Vec<Finding>>),
}

impl Controller {
    /// Does what a client asked for.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Get(get, answer) => drop(answer.send(self.get(&get))),
            Command::Pod(namespace, name, answer) => {
                let found = self
                    .find_pod(&namespace, &name)
                    .map(|pod| pod.handle.context());
                let found = found.ok_or_else(|| self.no_pod(&namespace, &name));
                drop(answer.send(found));
            }
            Command::Source(key, answer) => {
                let source = self
                    .loaded
                    .manifests
                    .get(&key)
                    .map(|found| found.source.clone());
                drop(answer.send(source));
            }
            Command::Reload(answer) => {
                self.reload();
                let _ = answer.send(());
            }
            Command::Delete(pod, answer) => {
                let grace = pod.grace_seconds.map(Duration::from_secs);
                drop(answer.send(self.delete_pod(&pod.namespace, &pod.pod, grace)));
            }
            Command::Restart(workload, answer) => {
                let now = Timestamp::now().to_string();
                let change = |record: &mut crate::objects::assigned::Record| {
                    record.restarted_at = Some(now);
                };
                drop(answer.send(self.change(&workload.namespace, &workload.name, change)));
            }
            Command::Scale(scale, answer) => {
                let replicas = i32::try_from(scale.replicas).unwrap_or(i32::MAX);
                let change = |record: &mut crate::objects::assigned::Record| {
                    record.replicas = Some(replicas);
                };
                drop(answer.send(self.change(&scale.namespace, &scale.name, change)));
            }
            Command::Label(label, answer) => drop(answer.send(self.label(&label))),
            Command::Findings(answer) => drop(answer.send(self.findings())),
        }
    }

    fn change(
        &mut self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut crate::objects::assigned::Record),
    ) -> Result<(), String> {
        let key = Key::new(Kind::DEPLOYMENT, namespace, name);
        match self.assigned.get_mut(&key) {
            Some(record) => {
                change(record);
                Ok(())
            }
            None => Err(format!("{key} does not exist")),
        }
    }

    fn get(&self, get: &Get) -> Result<Vec<Value>, String> {
        let kind = Kind::named(&get.kind).ok_or_else(|| Self::unknown_kind(&get.kind))?;
        let namespace = get.namespace.as_deref().filter(|_| kind.info().namespaced);
        let found: Vec<Value> = self
            .view
            .iter()
            .filter(|(key, _)| key.kind == kind)
            .filter(|(key, _)| namespace.is_none_or(|namespace| key.namespace == namespace))
            .filter(|(key, _)| get.name.as_ref().is_none_or(|name| key.name == *name))
            .map(|(_, value)| value.clone())
            .collect();
        match &get.name {
            Some(name) if found.is_empty() => Err(format!(
                "{} does not exist",
                Key::new(kind, namespace.unwrap_or("default"), name)
            )),
            _ => Ok(found),
        }
    }

    pub(super) fn unknown_kind(name: &str) -> String {
        let kinds: Vec<&str> = Kind::all().map(|kind| kind.info().plural).collect();
        format!(
            "kind {name} is not known here; there are {}",
            kinds.join(", ")
        )
    }

    pub(super) fn no_pod(&self, namespace: &str, name: &str) -> String {
        let there: Vec<&str> = self
            .pods
            .keys()
            .filter(|(other, _)| other == namespace)
            .map(|(_, name)| name.as_str())
            .collect();
        let there = if there.is_empty() {
            "no pods".to_owned()
        } else {
            there.join(", ")
        };
        let wanted = match name.contains('/') {
            true => format!("a pod of {name}"),
            false => format!("pod {name}"),
        };
        format!("{wanted} does not exist in namespace {namespace}, which has {there}")
    }
}
