//! Every cause of not being ready, told from objects as the API server shows them.

use serde_json::json;

use super::*;

fn deployment_with(status: Value) -> Value {
    json!({"kind": "Deployment", "metadata": {"name": "istiod", "generation": 2},
        "spec": {"replicas": 1}, "status": status})
}

/// A Deployment of generation 2 whose only pod is not available.
fn starting() -> Value {
    deployment_with(json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}))
}

fn pod(status: Value) -> Value {
    json!({"metadata": {"name": "istiod-a", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status})
}

fn why(object: &Value, pods: Vec<Value>) -> String {
    let events = Vec::new();
    unready(object, &Around { pods, events }).unwrap().text
}

#[test]
fn a_deployment_is_ready_when_every_pod_is_of_its_template_and_available() {
    let mut status = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1,
        "availableReplicas": 1});
    assert_eq!(
        unready(&deployment_with(status.clone()), &Around::default()),
        None
    );
    status["replicas"] = 2.into();
    assert!(unready(&deployment_with(status.clone()), &Around::default()).is_some());
    status["observedGeneration"] = 1.into();
    assert!(why(&deployment_with(status), vec![]).contains("kube-controller-manager"));
}

#[test]
fn pods_that_may_not_be_made_are_explained_by_the_api_server() {
    let message = "pods \"istiod-\" is forbidden: exceeded quota: small";
    let object = deployment_with(json!({"observedGeneration": 2, "conditions": [
        {"type": "ReplicaFailure", "status": "True", "message": message}]}));
    assert_eq!(
        why(&object, vec![]),
        format!("0 of 1 pods ready: {message}")
    );
}

#[test]
fn a_pod_that_no_node_takes() {
    let pod = pod(
        json!({"conditions": [{"type": "PodScheduled", "status": "False",
        "message": "0/1 nodes are available: 1 Insufficient memory."}]}),
    );
    let text = why(&starting(), vec![pod]);
    assert_eq!(
        text,
        "0 of 1 pods ready: istiod-a: no node takes it: 0/1 nodes are available: 1 Insufficient memory."
    );
}

#[test]
fn an_image_that_cannot_be_pulled() {
    let pod = pod(
        json!({"conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"name": "discovery", "image": "nowhere/meshd:1", "state":
            {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}}]}),
    );
    let text = why(&starting(), vec![pod]);
    assert!(
        text.contains("image nowhere/meshd:1 cannot be pulled: no such host"),
        "{text}"
    );
    assert!(text.contains("global.hub"), "{text}");
}

#[test]
fn a_crash_names_its_container_so_that_its_log_can_be_asked() {
    let pod = pod(
        json!({"conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"name": "discovery", "restartCount": 3, "ready": false,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}]}),
    );
    let pods = vec![pod];
    let events = Vec::new();
    let reason = unready(&starting(), &Around { pods, events }).unwrap();
    let crashed = ("istiod-a".to_owned(), "discovery".to_owned());
    assert_eq!(reason.crashed, Some(crashed));
    assert!(
        reason
            .text
            .ends_with("container discovery crashed (3 times, exit code 2)")
    );
}

#[test]
fn a_container_that_runs_is_explained_by_the_last_warning() {
    let pod = pod(
        json!({"conditions": [{"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "False"}],
        "containerStatuses": [{"name": "discovery", "ready": false, "state": {"running": {}}}]}),
    );
    let event = |time: &str, message: &str| {
        json!({"type": "Warning", "lastTimestamp": time, "message": message,
            "involvedObject": {"name": "istiod-a"}})
    };
    let around = Around {
        pods: vec![pod],
        events: vec![
            event(
                "2026-01-01T00:00:09Z",
                "Readiness probe failed: status 503\nmore",
            ),
            event("2026-01-01T00:00:05Z", "older"),
        ],
    };
    let text = unready(&starting(), &around).unwrap().text;
    assert!(
        text.ends_with("runs, but is not ready: Readiness probe failed: status 503"),
        "{text}"
    );
}

#[test]
fn the_youngest_pod_explains_and_ending_ones_do_not() {
    let at = |name: &str, time: &str, ending: Value| {
        json!({"metadata": {"name": name, "creationTimestamp": time, "deletionTimestamp": ending},
            "status": {}})
    };
    let pods = vec![
        at("old", "2026-01-01T00:00:00Z", Value::Null),
        at("young", "2026-01-01T00:00:01Z", Value::Null),
        at(
            "ending",
            "2026-01-01T00:00:02Z",
            "2026-01-01T00:00:03Z".into(),
        ),
    ];
    let text = why(&starting(), pods);
    assert_eq!(text, "0 of 1 pods ready: young: waits for the scheduler");
}

#[test]
fn definitions_are_ready_once_established() {
    let with = |conditions: Value| json!({"kind": "CustomResourceDefinition", "status": {"conditions": conditions}});
    let established = json!([{"type": "Established", "status": "True"}]);
    assert_eq!(unready(&with(established), &Around::default()), None);
    let taken = json!([{"type": "NamesAccepted", "status": "False", "message": "\"gw\" is already in use"}]);
    assert_eq!(
        why(&with(taken), vec![]),
        "not accepted: \"gw\" is already in use"
    );
}

#[test]
fn webhooks_are_ready_once_they_can_be_called() {
    let with = |bundle: &str| {
        json!({"kind": "MutatingWebhookConfiguration",
            "webhooks": [{"name": "a", "clientConfig": {"caBundle": bundle}}]})
    };
    assert_eq!(unready(&with("abc"), &Around::default()), None);
    assert!(why(&with(""), vec![]).starts_with("webhook a has no caBundle yet"));
}
