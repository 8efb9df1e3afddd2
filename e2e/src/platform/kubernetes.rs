//! A Kubernetes cluster, found by `KUBECONFIG`: the mesh is installed into it and removed again.
//!
//! The cluster's nodes must have the images of `cargo xtask images` (or `MESH_E2E_HUB` and
//! `MESH_E2E_TAG` name others). `kubectl` must be on the PATH; the namespaces that the suites use
//! must not exist.

mod ingress;
mod inventory;
mod killer;
pub(crate) mod kubectl;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::{Platform, Pod, Ran, binaries, objects};
use crate::bookinfo::whole_page;
use crate::deadline::eventually;
use crate::http::{Call, send_blocking};
use inventory::Inventory;
use kubectl::{checked, get};

const ROLLED_WITHIN: Duration = Duration::from_secs(120);
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long the cluster may take to forget what was deleted.
const GONE_WITHIN: Duration = Duration::from_secs(90);
const SYSTEM: &str = "istio-system";
const INGRESS: &str = "istio-ingressgateway";

/// A mesh in a cluster.
pub struct Kubernetes {
    binaries: PathBuf,
    directory: TempDir,
    before: Inventory,
    ingress: SocketAddr,
    /// The mesh-wide settings that a test replaced, as they were: deleting the test's restores them.
    replaced: Mutex<Option<Value>>,
}

/// Why the platform can't be used here, if it can't.
#[must_use]
pub fn unavailable() -> Option<String> {
    if std::env::var_os("KUBECONFIG").is_none() {
        return Some("KUBECONFIG names no cluster".to_owned());
    }
    match kubectl::run(&["get", "--raw", "/readyz"]) {
        Ok(ran) if ran.code == 0 => None,
        Ok(ran) => Some(format!(
            "the cluster of KUBECONFIG does not answer: {}",
            ran.stderr.trim()
        )),
        Err(error) => Some(format!("{error:#}")),
    }
}

impl Kubernetes {
    /// Builds meshctl, installs the mesh and Bookinfo, and waits until the page answers.
    ///
    /// # Errors
    /// With what meshctl or kubectl said.
    pub fn start() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("mesh-e2e-").tempdir()?;
        let binaries = binaries::prepare(directory.path())?;
        let mut mesh = Self {
            binaries,
            directory,
            before: Inventory::now()?,
            ingress: SocketAddr::from(([127, 0, 0, 1], 0)),
            replaced: Mutex::default(),
        };
        mesh.install()?;
        mesh.label_namespace("default", "istio-injection=enabled")?;
        let samples = binaries::workspace().join("samples/bookinfo");
        mesh.apply(&samples.join("platform/kube/bookinfo.yaml"))?;
        for file in ["bookinfo-gateway.yaml", "destination-rule-all.yaml"] {
            mesh.apply(&samples.join("networking").join(file))?;
        }
        mesh.ingress = ingress::service_port(SYSTEM, INGRESS, 80)?;
        eventually("Bookinfo's page is whole", READY_WITHIN, || {
            whole_page(&send_blocking(mesh.ingress, &Call::get("/productpage"))?)
        })?;
        Ok(mesh)
    }

    /// Removes the mesh; Bookinfo must serve without it, and nothing else may be left.
    ///
    /// # Errors
    /// When something remains, or says what failed.
    pub fn stop(self) -> anyhow::Result<()> {
        self.meshctl_checked(&["uninstall", "--purge", "-y"])?;
        self.label_namespace("default", "istio-injection-")?;
        for deployment in [
            "productpage-v1",
            "details-v1",
            "ratings-v1",
            "reviews-v1",
            "reviews-v2",
            "reviews-v3",
        ] {
            self.rollout_restart("default", deployment)?;
        }
        for pod in self.pods("default", "productpage")? {
            ensure!(pod.containers == 1, "{pod:?} still has a sidecar");
        }
        let page = ingress::service_port("default", "productpage", 9080)?;
        eventually("Bookinfo serves without the mesh", READY_WITHIN, || {
            whole_page(&send_blocking(page, &Call::get("/productpage"))?)
        })?;
        let samples = binaries::workspace().join("samples/bookinfo");
        checked(&[
            "delete",
            "--wait",
            "-f",
            path(&samples.join("platform/kube/bookinfo.yaml"))?,
        ])?;
        for namespace in ["echo", "outside", "shop"] {
            checked(&["delete", "namespace", namespace, "--ignore-not-found"])?;
        }
        eventually("the cluster is as it was", GONE_WITHIN, || {
            self.before.assert_same(&Inventory::now()?)
        })
    }

    fn install(&self) -> anyhow::Result<()> {
        let mut arguments = vec![
            "install".to_owned(),
            "-y".to_owned(),
            "--set=profile=demo".to_owned(),
            "--set=meshConfig.accessLogFile=/dev/stdout".to_owned(),
        ];
        for (variable, key) in [("MESH_E2E_HUB", "hub"), ("MESH_E2E_TAG", "tag")] {
            if let Ok(value) = std::env::var(variable) {
                arguments.push(format!("--set=global.{key}={value}"));
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.meshctl_checked(&arguments).map(drop)
    }

    fn rolled(
        &self,
        namespace: &str,
        deployment: &str,
        replicas: Option<u64>,
    ) -> anyhow::Result<()> {
        eventually(
            &format!("{deployment} is rolled out"),
            ROLLED_WITHIN,
            || {
                let object = get(&["deployment", deployment, "-n", namespace])?;
                objects::rolled_out(&object, replicas)
            },
        )
    }

    /// Runs kubectl with a manifest as file.
    fn manifest(&self, verb: &[&str], yaml: &str) -> anyhow::Result<()> {
        let file = self.directory.path().join("manifest.yaml");
        std::fs::write(&file, yaml)?;
        checked(&[verb, &["-f", path(&file)?]].concat()).map(drop)
    }

    fn replaced(&self) -> MutexGuard<'_, Option<Value>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mesh's own ConfigMap, if `yaml` is about to replace it.
    fn remember(&self, yaml: &str) -> anyhow::Result<()> {
        if !replaces_mesh_settings(yaml) {
            return Ok(());
        }
        let mut object = get(&["configmap", "istio", "-n", SYSTEM])?;
        for field in [
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "managedFields",
        ] {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove(field);
            }
        }
        self.replaced().get_or_insert(object);
        Ok(())
    }
}

impl Platform for Kubernetes {
    fn ingress(&self) -> SocketAddr {
        self.ingress
    }

    fn ingress_https(&self) -> anyhow::Result<SocketAddr> {
        ingress::beside((SYSTEM, INGRESS), (80, self.ingress), 443)
    }

    fn apply_text(&self, yaml: &str) -> anyhow::Result<()> {
        self.remember(yaml)?;
        self.manifest(&["apply"], yaml)
    }

    fn apply(&self, file: &Path) -> anyhow::Result<()> {
        self.apply_text(&std::fs::read_to_string(file)?)
    }

    fn delete_text(&self, yaml: &str) -> anyhow::Result<()> {
        if replaces_mesh_settings(yaml)
            && let Some(object) = self.replaced().take()
        {
            return self.manifest(&["replace"], &object.to_string());
        }
        self.manifest(&["delete", "--ignore-not-found"], yaml)
    }

    fn delete(&self, file: &Path) -> anyhow::Result<()> {
        self.delete_text(&std::fs::read_to_string(file)?)
    }

    fn pods(&self, namespace: &str, app: &str) -> anyhow::Result<Vec<Pod>> {
        let list = get(&["pods", "-n", namespace, "-l", &format!("app={app}")])?;
        let items = list["items"].as_array().context("no list of pods")?;
        Ok(items
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(objects::pod)
            .collect())
    }

    fn exec(&self, pod: &Pod, container: Option<&str>, command: &[&str]) -> anyhow::Result<Ran> {
        let mut arguments = vec!["exec", &pod.name, "-n", &pod.namespace];
        if let Some(container) = container {
            arguments.extend(["-c", container]);
        }
        arguments.push("--");
        kubectl::run(&[&arguments[..], command].concat())
    }

    fn meshctl(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let output = Command::new(self.binaries.join("meshctl"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("start meshctl")?;
        Ok(output.into())
    }

    fn logs(&self, pod: &Pod, container: &str) -> anyhow::Result<String> {
        checked(&["logs", &pod.name, "-n", &pod.namespace, "-c", container])
    }

    fn rollout_restart(&self, namespace: &str, deployment: &str) -> anyhow::Result<()> {
        let deployment_path = format!("deployment/{deployment}");
        checked(&["rollout", "restart", &deployment_path, "-n", namespace])?;
        self.rolled(namespace, deployment, None)
    }

    fn label_namespace(&self, namespace: &str, label: &str) -> anyhow::Result<()> {
        checked(&["label", "--overwrite", "namespace", namespace, label]).map(drop)
    }

    fn scale(&self, namespace: &str, deployment: &str, replicas: usize) -> anyhow::Result<()> {
        let deployment_path = format!("deployment/{deployment}");
        let count = format!("--replicas={replicas}");
        checked(&["scale", &deployment_path, "-n", namespace, &count])?;
        self.rolled(namespace, deployment, Some(replicas as u64))
    }

    fn kill(&self, pod: &Pod) -> anyhow::Result<()> {
        killer::kill(pod, None)
    }

    fn kill_container(&self, pod: &Pod, container: Option<&str>) -> anyhow::Result<()> {
        let object = get(&["pod", &pod.name, "-n", &pod.namespace])?;
        let first = object["spec"]["containers"][0]["name"].as_str();
        killer::kill(pod, container.or(first))
    }

    fn meshecho(&self) -> String {
        "/meshecho".to_owned()
    }
}

fn replaces_mesh_settings(yaml: &str) -> bool {
    yaml.contains("kind: ConfigMap") && yaml.contains("name: istio,")
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that isn't UTF-8")
}
