//! Kubernetes objects, as far as suites care.

use anyhow::ensure;
use serde_json::Value;

use super::Pod;

/// A pod's object in short.
pub(super) fn pod(object: &Value) -> Pod {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let conditions = object["status"]["conditions"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let statuses = ["containerStatuses", "initContainerStatuses"];
    let statuses = statuses.map(|list| object["status"][list].as_array());
    let statuses: Vec<&Value> = statuses.into_iter().flatten().flatten().collect();
    let running = statuses
        .iter()
        .filter(|status| status["state"]["running"].is_object());
    let restarts = statuses
        .iter()
        .filter_map(|status| status["restartCount"].as_u64());
    Pod {
        containers: running.count(),
        restarts: restarts.sum(),
        name: text(&object["metadata"]["name"]),
        namespace: text(&object["metadata"]["namespace"]),
        ip: text(&object["status"]["podIP"]),
        ready: conditions
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True"),
    }
}

/// A Deployment has as many pods as it should, all of its newest template and ready.
///
/// `replicas`: how many it should have; `None` means as many as it asks for.
///
/// # Errors
/// With its status, when it hasn't.
pub(super) fn rolled_out(deployment: &Value, replicas: Option<u64>) -> anyhow::Result<()> {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let wanted = replicas.or(spec["replicas"].as_u64()).unwrap_or(1);
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    let observed = status["observedGeneration"] == deployment["metadata"]["generation"];
    let counts = [
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
    ]
    .map(count);
    ensure!(
        observed && counts.iter().all(|count| *count == wanted),
        "{status}"
    );
    Ok(())
}
