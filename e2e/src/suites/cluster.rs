//! What only a Kubernetes cluster has: jobs, webhooks, replicas of the control plane, and an
//! authority in Secrets.

mod authority;

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::bad_input::NO_REGEX;
use super::resilience::SYSTEM;
use super::{LIVE_WITHIN, Mesh, SOON, Test, echo};
use crate::bookinfo::{Stars, page, visit};
use crate::deadline::{eventually, eventually_true};
use crate::platform::Pod;
use crate::platform::kubernetes::kubectl;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "cluster::a_job_with_a_sidecar_completes",
        a_job_with_a_sidecar_completes,
    ),
    (
        "cluster::an_application_can_wait_for_its_proxy",
        an_application_can_wait_for_its_proxy,
    ),
    (
        "cluster::the_webhook_says_what_validate_says",
        the_webhook_says_what_validate_says,
    ),
    (
        "cluster::check_inject_explains_both_ways",
        check_inject_explains_both_ways,
    ),
    (
        "cluster::endpoints_follow_within_a_second",
        endpoints_follow_within_a_second,
    ),
    (
        "cluster::a_second_control_plane_goes_on",
        a_second_control_plane_goes_on,
    ),
    (
        "cluster::a_new_root_loses_no_request",
        authority::a_new_root_loses_no_request,
    ),
];

/// How long a program that asks once and ends may take, its image being there.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: asks, namespace: echo}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {app: asks}}
    spec:
      restartPolicy: Never
      containers:
        - name: asks
          image: mesh/echo:latest
          imagePullPolicy: IfNotPresent
          args: [get, 'http://server.echo/']
";

fn a_job_with_a_sidecar_completes(mesh: &Mesh) -> anyhow::Result<()> {
    let _echo = echo::start(mesh)?;
    mesh.with_text(JOB, || {
        eventually("the job is complete", ENDED_WITHIN, || {
            let job = kubectl::get(&["job", "asks", "-n", "echo"])?;
            ensure!(job["status"]["succeeded"] == 1, "{}", job["status"]);
            Ok(())
        })?;
        let pods = mesh.platform.pods("echo", "asks")?;
        asked_with_an_identity(mesh, pods.first().context("no pod of the job")?)
    })
}

const HELD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: held
  namespace: echo
  labels: {app: held}
  annotations:
    sidecar.istio.io/nativeSidecar: 'false'
    proxy.istio.io/config: '{holdApplicationUntilProxyStarts: true}'
spec:
  restartPolicy: Never
  containers:
    - name: asks
      image: mesh/echo:latest
      imagePullPolicy: IfNotPresent
      args: [get, 'http://server.echo/']
";

fn an_application_can_wait_for_its_proxy(mesh: &Mesh) -> anyhow::Result<()> {
    let _echo = echo::start(mesh)?;
    mesh.with_text(HELD, || {
        eventually("the application has ended", ENDED_WITHIN, || {
            let pod = kubectl::get(&["pod", "held", "-n", "echo"])?;
            let states = pod["status"]["containerStatuses"].as_array();
            let states = states.context("no containers yet")?;
            ensure!(states.len() == 2, "not a sidecar of the old kind");
            let asks = states.iter().find(|state| state["name"] == "asks");
            let ended = &asks.context("no application")?["state"]["terminated"];
            ensure!(ended["exitCode"].is_i64(), "{states:?}");
            Ok(())
        })?;
        let pods = mesh.platform.pods("echo", "held")?;
        asked_with_an_identity(mesh, pods.first().context("no pod")?)
    })
}

/// The pod's one request was answered, and came with its certificate.
fn asked_with_an_identity(mesh: &Mesh, pod: &Pod) -> anyhow::Result<()> {
    let log = mesh.platform.logs(pod, "asks")?;
    let good =
        log.starts_with("200\n") && log.contains("spiffe://cluster.local/ns/echo/sa/default");
    ensure!(good, "its answer: {log}");
    Ok(())
}

const WRONG: [&str; 2] = [
    NO_REGEX,
    "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: wrong, namespace: default}
spec:
  rules:
    - from: [{source: {ipBlocks: [10.0.0.0/99]}}]
",
];

fn the_webhook_says_what_validate_says(mesh: &Mesh) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("wrong.yaml");
    let file = file.to_str().context("a path that isn't UTF-8")?;
    for yaml in WRONG {
        std::fs::write(file, yaml)?;
        let validate = mesh.platform.meshctl(&["validate", "-f", file])?;
        ensure!(validate.code != 0, "validate accepts {yaml}");
        let words = validate.stdout.lines().next().unwrap_or_default();
        let words = words.split_once(": ").map_or("", |(_, words)| words);
        ensure!(words.contains("default/wrong: spec."), "{validate:?}");
        let refusal = kubectl::run(&["apply", "-f", file])?;
        ensure!(refusal.code != 0, "the webhook accepts {yaml}");
        ensure!(
            refusal.stderr.contains(words),
            "validate: {words}; webhook: {}",
            refusal.stderr
        );
    }
    Ok(())
}

fn check_inject_explains_both_ways(mesh: &Mesh) -> anyhow::Result<()> {
    let echo = echo::start(mesh)?;
    for (pod, reason) in [
        (&echo.client, "istio-injection=enabled"),
        (&echo.outside_client, "istio-injection"),
    ] {
        let name = format!("{}.{}", pod.name, pod.namespace);
        let told = mesh.platform.meshctl(&["check-inject", &name])?;
        let wanted = i32::from(pod.namespace == "outside");
        ensure!(
            told.code == wanted && told.stdout.contains(reason),
            "{told:?}"
        );
    }
    Ok(())
}

fn endpoints_follow_within_a_second(mesh: &Mesh) -> anyhow::Result<()> {
    let platform = &mesh.platform;
    let asks = platform.pods("default", "productpage")?;
    let asks = asks.first().context("no productpage")?;
    let cluster = "outbound|9080|v1|reviews.default.svc.cluster.local";
    let counts = [5, 1].map(|replicas| {
        platform.scale("default", "reviews-v1", replicas)?;
        let what = format!("{replicas} endpoints are known");
        eventually(&what, Duration::from_secs(1), || {
            let known = endpoints(&platform.proxy_config("endpoints", asks)?, cluster);
            ensure!(known.len() == replicas, "{known:?}");
            let pods = platform.pods("default", "reviews")?;
            let ready = |ip: &&String| pods.iter().any(|pod| pod.ready && pod.ip == **ip);
            ensure!(known.iter().filter(ready).count() == replicas, "{known:?}");
            Ok(())
        })
    });
    platform.scale("default", "reviews-v1", 1)?;
    counts.into_iter().collect()
}

/// The addresses of a cluster's endpoints.
fn endpoints(clusters: &Value, name: &str) -> Vec<String> {
    let found = clusters
        .as_array()
        .and_then(|list| list.iter().find(|cluster| cluster["name"] == name));
    let hosts = found.and_then(|cluster| cluster["host_statuses"].as_array());
    hosts
        .into_iter()
        .flatten()
        .filter_map(|host| host["address"]["socket_address"]["address"].as_str())
        .map(str::to_owned)
        .collect()
}

fn a_second_control_plane_goes_on(mesh: &Mesh) -> anyhow::Result<()> {
    let platform = &mesh.platform;
    platform.scale(SYSTEM, "istiod", 2)?;
    let outcome = mesh.under_load(mesh.pace.requests_per_second, |load| {
        load.wait_for(100)?;
        let replicas = platform.pods(SYSTEM, "istiod")?;
        platform.kill(replicas.first().context("no istiod pod")?)?;
        let file = mesh.networking("virtual-service-reviews-v3.yaml");
        // The API server may call the webhook of the one that is gone until it knows better.
        eventually("the route is accepted", SOON, || platform.apply(&file))?;
        let only_red = || {
            let stars = visit(platform.ingress(), &page(), 6)?;
            Ok(stars.iter().all(|stars| *stars == Stars::Red))
        };
        let live = eventually_true("only red stars", LIVE_WITHIN, only_red);
        platform.delete(&file)?;
        live
    });
    platform.scale(SYSTEM, "istiod", 1)?;
    outcome?.assert_none_failed()
}
