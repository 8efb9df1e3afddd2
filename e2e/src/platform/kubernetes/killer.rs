//! SIGKILL for the processes of a pod, sent from a privileged pod of the same node: the API
//! server offers only ends in good order.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use super::kubectl::{checked, get};
use crate::deadline::eventually;
use crate::platform::Pod;

const KILLED_WITHIN: Duration = Duration::from_secs(30);
const NAME: &str = "mesh-e2e-killer";

/// Kills every process of `pod`, or of one of its containers.
///
/// # Errors
/// When the killing pod doesn't succeed.
pub(super) fn kill(pod: &Pod, container: Option<&str>) -> anyhow::Result<()> {
    let object = get(&["pod", &pod.name, "-n", &pod.namespace])?;
    let uid = object["metadata"]["uid"]
        .as_str()
        .context("a pod without uid")?;
    let mut arguments = vec!["kill", uid];
    arguments.extend(container);
    let overrides = json!({"spec": {
        "nodeName": object["spec"]["nodeName"],
        "hostPID": true,
        "containers": [{
            "name": NAME,
            "image": "mesh/echo:latest",
            "imagePullPolicy": "IfNotPresent",
            "args": arguments,
            "securityContext": {"privileged": true, "runAsUser": 0},
        }],
    }});
    checked(&[
        "run",
        NAME,
        "-n",
        "kube-system",
        "--restart=Never",
        "--image=mesh/echo:latest",
        &format!("--overrides={overrides}"),
    ])?;
    let done = eventually("the killing pod has ended", KILLED_WITHIN, || {
        let killer = get(&["pod", NAME, "-n", "kube-system"])?;
        let phase = killer["status"]["phase"].as_str().unwrap_or_default();
        ensure!(matches!(phase, "Succeeded" | "Failed"), "it is {phase}");
        Ok(phase == "Succeeded")
    });
    let log = checked(&["logs", NAME, "-n", "kube-system"]);
    checked(&["delete", "pod", NAME, "-n", "kube-system", "--now"])?;
    ensure!(done?, "the killing pod failed: {}", log?);
    Ok(())
}
