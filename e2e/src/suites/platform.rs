//! Pods as a platform runs them: labels that ask for sidecars, sizes, containers that die.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::{Mesh, Test};
use crate::bookinfo::{page, whole_page};
use crate::deadline::{eventually, eventually_true};
use crate::http::send_blocking;
use crate::load::Load;
use crate::platform::Pod;

/// The tests of this suite.
pub const TESTS: &[Test] = &[
    (
        "platform::a_labelled_namespace_gets_sidecars_at_the_next_restart",
        a_labelled_namespace_gets_sidecars_at_the_next_restart,
    ),
    (
        "platform::a_killed_sidecar_starts_again",
        a_killed_sidecar_starts_again,
    ),
    (
        "platform::a_killed_application_starts_again",
        a_killed_application_starts_again,
    ),
];

/// A container that ended the first time starts again at once, and is ready some probes later.
const READY_WITHIN: Duration = Duration::from_secs(30);

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: mesh/echo:latest
          imagePullPolicy: IfNotPresent
          args: [serve, --http, '8080', --name, web]
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
";

fn a_labelled_namespace_gets_sidecars_at_the_next_restart(mesh: &Mesh) -> anyhow::Result<()> {
    let platform = &mesh.platform;
    mesh.with_text(SHOP, || {
        let ready = |containers: usize, pods: usize| {
            let what = format!("{pods} pods of {containers} containers are ready");
            eventually(&what, READY_WITHIN, || {
                let found = platform.pods("shop", "web")?;
                let good = |pod: &&Pod| pod.ready && pod.containers == containers;
                ensure!(
                    found.len() == pods && found.iter().filter(good).count() == pods,
                    "{found:?}"
                );
                Ok(())
            })
        };
        ready(1, 1)?;
        platform.label_namespace("shop", "istio-injection=enabled")?;
        platform.rollout_restart("shop", "web")?;
        ready(2, 1)?;
        platform.scale("shop", "web", 0)?;
        ready(2, 0)?;
        platform.scale("shop", "web", 3)?;
        ready(2, 3)?;
        platform.label_namespace("shop", "istio-injection-")?;
        platform.rollout_restart("shop", "web")?;
        ready(1, 3)
    })
}

fn a_killed_sidecar_starts_again(mesh: &Mesh) -> anyhow::Result<()> {
    kill_container(mesh, "details", Some("istio-proxy"))
}

fn a_killed_application_starts_again(mesh: &Mesh) -> anyhow::Result<()> {
    kill_container(mesh, "details", None)
}

/// Kills a container's program; the pod must stay the same, be ready again, and serve.
fn kill_container(mesh: &Mesh, app: &str, container: Option<&str>) -> anyhow::Result<()> {
    let platform = &mesh.platform;
    let find = || -> anyhow::Result<Pod> {
        let pods = platform.pods("default", app)?;
        pods.into_iter().next().context("no pod")
    };
    let before = find()?;
    platform.kill_container(&before, container)?;
    eventually_true("the container was started again", READY_WITHIN, || {
        let pod = find()?;
        ensure!(pod.name == before.name, "{} took its place", pod.name);
        Ok(pod.restarts > before.restarts && pod.ready)
    })?;
    eventually("pages are whole again", READY_WITHIN, || {
        whole_page(&send_blocking(platform.ingress(), &page())?)
    })?;
    let load = Load::start(platform.ingress(), page(), 20, whole_page);
    load.wait_for(20)?;
    load.finish()?.assert_none_failed()
}
