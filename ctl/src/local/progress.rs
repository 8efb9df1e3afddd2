//! How the platform comes up, line by line, and what to do once it is up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mesh_local::api::wire::{Status, WorkloadStatus};
use mesh_local::client::{Client, ClientError};
use owo_colors::OwoColorize;
use serde_json::Value;

use crate::output;

/// Fast enough to look immediate, slow enough to cost nothing.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// Prints every change of every workload until all are ready; then where things are and what to
/// try. `pid`: the platform's process; another one on the same directory is not meant.
///
/// # Errors
/// If standard output cannot be written.
pub(super) async fn follow(client: Client, pid: Option<u32>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let mut problems: Vec<String> = Vec::new();
    loop {
        match client.status().await {
            Ok(status) if pid != Some(status.pid) => {}
            Ok(status) => {
                for problem in &status.problems {
                    if !problems.contains(problem) {
                        output::line(&format!("{} {problem}", "problem:".yellow().bold()))?;
                    }
                }
                problems.clone_from(&status.problems);
                for workload in &status.workloads {
                    show(workload, &mut shown, begun)?;
                }
                if status.all_ready() {
                    let pods = client.get("pods", None, None).await?;
                    return welcome(&status, &bare_namespaces(&pods), begun.elapsed());
                }
            }
            // It is still starting; whoever waits for it notices if it ends.
            Err(ClientError::NotRunning { .. } | ClientError::Closed(_)) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn show(
    workload: &WorkloadStatus,
    shown: &mut BTreeMap<String, String>,
    begun: Instant,
) -> anyhow::Result<()> {
    let name = format!("{}/{}", workload.namespace, workload.name);
    let state = describe(workload);
    if shown.get(&name) == Some(&state) {
        return Ok(());
    }
    output::line(&format!(
        "{:>6.1}s  {name:<40} {state}",
        begun.elapsed().as_secs_f32()
    ))?;
    shown.insert(name, state);
    Ok(())
}

fn describe(workload: &WorkloadStatus) -> String {
    let count = format!("{}/{}", workload.ready, workload.desired);
    let reason = workload.reason.as_deref().unwrap_or_default();
    match workload.phase.as_str() {
        "ready" => format!("{} {count}", "ready".green()),
        "running" => format!("{} {count}  {}", "running".yellow(), reason.dimmed()),
        phase => format!("{} {count}  {}", phase.yellow(), reason.dimmed()),
    }
}

/// Prints every change of one Deployment until its rollout is done.
///
/// # Errors
/// If there is no such Deployment, or it isn't done after `timeout`.
pub(super) async fn rolled_out(
    client: &Client,
    namespace: &str,
    name: &str,
    timeout: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    let mut said = String::new();
    loop {
        // Also says that it doesn't exist.
        client
            .get("deployments", Some(namespace), Some(name))
            .await?;
        let status = client.status().await?;
        let mut workloads = status.workloads.iter();
        let of = |one: &&WorkloadStatus| one.namespace == namespace && one.name == name;
        let workload = workloads.find(of).context("its state is not known yet")?;
        if workload.is_ready() {
            return output::line(&format!("deployment/{name} is rolled out"));
        }
        let state = match workload.outdated {
            0 => describe(workload),
            old => format!("{old} old; {}", describe(workload)),
        };
        if state != said {
            output::line(&format!("deployment/{name} {state}"))?;
            said = state;
        }
        if Instant::now() >= deadline {
            bail!(
                "deployment/{name} is not rolled out after {} s",
                timeout.as_secs()
            );
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// One line per workload, then the published addresses and the problems.
pub(super) fn print_status(status: &Status) -> anyhow::Result<()> {
    let rows = status.workloads.iter().map(|workload| {
        [
            workload.namespace.clone(),
            workload.name.clone(),
            format!("{}/{}", workload.ready, workload.desired),
            workload.phase.clone(),
            workload.reason.clone().unwrap_or_default(),
        ]
    });
    output::table(
        ["NAMESPACE", "NAME", "READY", "PHASE", "REASON"],
        rows.collect(),
    )?;
    for one in &status.published {
        let name = format!("{}.{}:{}", one.service, one.namespace, one.port);
        output::line(&format!("{name} is at http://{}", one.address))?;
    }
    for problem in &status.problems {
        output::line(&format!("{} {problem}", "problem:".yellow().bold()))?;
    }
    print_notes(status)
}

fn print_notes(status: &Status) -> anyhow::Result<()> {
    let mut notes = status.notes.iter();
    notes.try_for_each(|note| output::line(&format!("{} {note}", "note:".dimmed())))
}

/// The namespaces with pods that could have a sidecar and have none; empty without control plane.
fn bare_namespaces(pods: &[Value]) -> BTreeSet<&str> {
    let system = ["istio-system", "kube-system"];
    let has_proxy = |pod: &Value| {
        let lists = ["containers", "initContainers"].map(|list| pod["spec"][list].as_array());
        let mut containers = lists.into_iter().flatten().flatten();
        containers.any(|container| container["name"] == "istio-proxy")
    };
    if !pods
        .iter()
        .any(|pod| pod["metadata"]["labels"]["app"] == "istiod")
    {
        return BTreeSet::new();
    }
    let bare = pods.iter().filter(|pod| !has_proxy(pod));
    bare.filter_map(|pod| pod["metadata"]["namespace"].as_str())
        .filter(|namespace| !system.contains(namespace))
        .collect()
}

fn welcome(status: &Status, bare: &BTreeSet<&str>, took: Duration) -> anyhow::Result<()> {
    output::line(&format!(
        "\n{} after {:.1} s.",
        "All ready".green().bold(),
        took.as_secs_f32()
    ))?;
    let gateway = status
        .published
        .iter()
        .find(|one| one.service == "istio-ingressgateway" && one.port == 80);
    let has = |name: &str| {
        status
            .workloads
            .iter()
            .any(|workload| workload.name.starts_with(name))
    };
    if let Some(gateway) = gateway {
        let page = if has("productpage") {
            "/productpage"
        } else {
            "/"
        };
        let url = format!("http://{}{page}", gateway.address);
        output::line(&format!("Open {}", url.cyan().underline()))?;
    }
    for one in &status.published {
        if one.service != "istio-ingressgateway" {
            let name = format!("{}.{}:{}", one.service, one.namespace, one.port);
            output::line(&format!("{name} is at http://{}", one.address))?;
        }
    }
    print_notes(status)?;
    for namespace in bare {
        output::line(&format!(
            "{} pods of namespace {namespace} run without sidecar. To give them one:\n  meshctl local label namespace {namespace} istio-injection=enabled\n  meshctl local rollout restart deployment -n {namespace}",
            "note:".dimmed()
        ))?;
    }
    output::line("\nTry, in another terminal:")?;
    for (command, what) in commands(has("reviews")) {
        output::line(&format!(
            "  {:<88} {}",
            command.bold(),
            format!("# {what}").dimmed()
        ))?;
    }
    Ok(())
}

fn commands(bookinfo: bool) -> [(&'static str, &'static str); 3] {
    if bookinfo {
        [
            (
                "meshctl local apply -f samples/bookinfo/networking/virtual-service-reviews-80-20.yaml",
                "shift traffic",
            ),
            (
                "meshctl local apply -f samples/bookinfo/networking/virtual-service-ratings-test-delay.yaml",
                "inject a fault",
            ),
            ("meshctl proxy-status", "watch the proxies"),
        ]
    } else {
        [
            ("meshctl local get pods -A", "what runs"),
            ("meshctl local logs deployment/NAME -f", "what it writes"),
            ("meshctl proxy-status", "watch the proxies"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn namespaces_without_sidecars_are_found() {
        let pod = |namespace: &str, app: &str, container: &str| {
            json!({"metadata": {"namespace": namespace, "labels": {"app": app}},
                "spec": {"containers": [{"name": app}], "initContainers": [{"name": container}]}})
        };
        let mut pods = vec![
            pod("default", "a", "setup"),
            pod("shop", "b", "istio-proxy"),
            pod("kube-system", "c", "setup"),
        ];
        assert!(bare_namespaces(&pods).is_empty());
        pods.push(pod("istio-system", "istiod", "setup"));
        assert_eq!(bare_namespaces(&pods), BTreeSet::from(["default"]));
    }
}
