//! Why an object is not ready yet, as far as the objects around it tell.
//!
//! Pure functions on JSON, so that every cause can be tried without a cluster that has it.

use serde_json::Value;

use crate::envoy::{items, text};

/// Reasons of a waiting container that say its image is missing.
const IMAGE_REASONS: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
];

/// What surrounds a workload.
#[derive(Default)]
pub(crate) struct Around {
    /// Pods that its selector chooses.
    pub(crate) pods: Vec<Value>,
    /// Events of the namespace.
    pub(crate) events: Vec<Value>,
}

/// Why an object is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// One line for people.
    pub(crate) text: String,
    /// The crashed container whose last words would tell more: pod and container.
    pub(crate) crashed: Option<(String, String)>,
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        let crashed = None;
        Self { text, crashed }
    }
}

/// Why `object` is not ready; `None` if it is. Kinds without a notion of readiness always are.
pub(crate) fn unready(object: &Value, around: &Around) -> Option<Reason> {
    match text(object, "kind") {
        "CustomResourceDefinition" => definition(object).map(Reason::from),
        "Deployment" => deployment(object, around),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
            webhook(object).map(Reason::from)
        }
        _ => None,
    }
}

fn definition(object: &Value) -> Option<String> {
    if condition(object, "Established").is_some_and(|found| found["status"] == "True") {
        return None;
    }
    let refused = ["NamesAccepted", "NonStructuralSchema"].into_iter();
    let mut refused = refused.filter_map(|kind| condition(object, kind));
    let why = refused.find(|found| text(found, "message") != "no conflicts found");
    Some(match why {
        Some(found) => format!("not accepted: {}", text(found, "message")),
        None => "the API server does not serve it yet".to_owned(),
    })
}

/// A webhook without CA bundle is one that the API server can't call.
fn webhook(object: &Value) -> Option<String> {
    let mut hooks = items(&object["webhooks"]).iter();
    let bare = hooks.find(|hook| text(&hook["clientConfig"], "caBundle").is_empty())?;
    Some(format!(
        "webhook {} has no caBundle yet: the control plane fills it in once it leads",
        text(bare, "name")
    ))
}

/// As `kubectl rollout status` decides: every pod of the present template, and available.
fn deployment(object: &Value, around: &Around) -> Option<Reason> {
    let status = &object["status"];
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    if count("observedGeneration") < object["metadata"]["generation"].as_u64().unwrap_or(0) {
        let text =
            "no controller has seen it yet (does the cluster's kube-controller-manager run?)";
        return Some(text.to_owned().into());
    }
    let (updated, available) = (count("updatedReplicas"), count("availableReplicas"));
    if updated >= wanted && available >= updated && count("replicas") <= updated {
        return None;
    }
    let counted = format!("{} of {wanted} pods ready", available.min(updated));
    let failure = condition(object, "ReplicaFailure").filter(|found| found["status"] == "True");
    if let Some(failure) = failure {
        return Some(format!("{counted}: {}", text(failure, "message")).into());
    }
    let Some((pod, reason)) = newest_unready(around) else {
        return Some(counted.into());
    };
    Some(Reason {
        text: format!("{counted}: {pod}: {}", reason.text),
        ..reason
    })
}

/// The youngest pod that is not ready: older ones may be of an earlier template.
fn newest_unready(around: &Around) -> Option<(&str, Reason)> {
    let mut pods: Vec<&Value> = around.pods.iter().collect();
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods.sort_by_key(|pod| text(&pod["metadata"], "creationTimestamp"));
    let name = |pod: &'_ Value| text(&pod["metadata"], "name").to_owned();
    pods.into_iter().rev().find_map(|pod| {
        let event = last_warning(&name(pod), &around.events);
        Some((text(&pod["metadata"], "name"), unready_pod(pod, event)?))
    })
}

/// Why a pod is not ready; `None` if it is. `event`: the last warning about it.
fn unready_pod(pod: &Value, event: Option<&str>) -> Option<Reason> {
    if condition(pod, "Ready").is_some_and(|found| found["status"] == "True") {
        return None;
    }
    let scheduled = condition(pod, "PodScheduled");
    if let Some(found) = scheduled.filter(|found| found["status"] == "False") {
        return Some(format!("no node takes it: {}", text(found, "message")).into());
    }
    let lists = ["initContainerStatuses", "containerStatuses"];
    let containers = || lists.iter().flat_map(|list| items(&pod["status"][*list]));
    let waiting = containers().find_map(|container| waiting(pod, container));
    let starting = || {
        let behind = |text: &str| event.map_or(text.to_owned(), |event| format!("{text}: {event}"));
        match containers().find(|one| one["ready"] == false && one["state"]["running"].is_object())
        {
            Some(one) => behind(&format!(
                "container {} runs, but is not ready",
                text(one, "name")
            )),
            None if scheduled.is_none() => "waits for the scheduler".to_owned(),
            None => behind("starts"),
        }
    };
    Some(waiting.unwrap_or_else(|| starting().into()))
}

/// Why one container does not get going.
fn waiting(pod: &Value, container: &Value) -> Option<Reason> {
    let name = text(container, "name");
    let state = &container["state"];
    let (reason, message) = (
        text(&state["waiting"], "reason"),
        text(&state["waiting"], "message"),
    );
    if IMAGE_REASONS.contains(&reason) {
        let image = text(container, "image");
        let why = if message.is_empty() { reason } else { message };
        return Some(
            format!("image {image} cannot be pulled: {why} (check global.hub, global.tag and global.imagePullSecrets)")
                .into(),
        );
    }
    // Between crashes the state is running or waiting; what ended it is in the last state.
    let ended = [&state["terminated"], &container["lastState"]["terminated"]];
    let ended = ended
        .into_iter()
        .find(|ended| ended["exitCode"].as_i64().is_some_and(|code| code != 0));
    if let Some(ended) = ended {
        let times = container["restartCount"].as_u64().unwrap_or(0).max(1);
        let how = match text(ended, "reason") {
            reason @ ("OOMKilled" | "ContainerCannotRun" | "StartError") => {
                format!("{reason} {}", text(ended, "message"))
            }
            _ => format!("exit code {}", ended["exitCode"]),
        };
        return Some(Reason {
            text: format!("container {name} crashed ({times} times, {})", how.trim()),
            crashed: Some((text(&pod["metadata"], "name").to_owned(), name.to_owned())),
        });
    }
    let harmless = ["", "ContainerCreating", "PodInitializing"].contains(&reason);
    (!harmless).then(|| format!("container {name}: {reason}: {message}").into())
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(&object["status"]["conditions"])
        .iter()
        .find(|found| found["type"] == kind)
}

fn last_warning<'a>(pod: &str, events: &'a [Value]) -> Option<&'a str> {
    let about =
        |event: &&Value| event["type"] == "Warning" && event["involvedObject"]["name"] == pod;
    let last = events.iter().filter(about).max_by_key(|event| {
        let times = ["lastTimestamp", "eventTime"].map(|field| text(event, field));
        times[0].max(times[1])
    })?;
    Some(text(last, "message").lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests;
