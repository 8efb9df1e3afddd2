//! What a suite needs of a place where the mesh runs.

mod binaries;
pub mod kubernetes;
pub mod local;
mod objects;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, ensure};
use serde_json::Value;

/// The directory `samples/` of the checkout.
#[must_use]
pub fn samples() -> PathBuf {
    binaries::workspace().join("samples")
}

/// A pod, as far as suites care.
#[derive(Debug, Clone)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// IP address; empty while it has none.
    pub ip: String,
    /// All its containers are ready.
    pub ready: bool,
    /// Containers that run, sidecars included.
    pub containers: usize,
    /// How often its containers were started again.
    pub restarts: u64,
}

/// What a command in a container printed, and how it ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// All that it printed.
    #[must_use]
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Standard output of a command that ended well.
    ///
    /// # Errors
    /// With what it printed, if it ended otherwise; `what` names it.
    fn success(self, what: &str) -> anyhow::Result<String> {
        ensure!(
            self.code == 0,
            "{what} ended with code {}: {}",
            self.code,
            self.printed()
        );
        Ok(self.stdout)
    }
}

/// A running mesh with Bookinfo in the namespace `default`.
pub trait Platform: Send + Sync {
    /// Where the ingress gateway's HTTP port is reached from outside.
    fn ingress(&self) -> SocketAddr;

    /// Where the ingress gateway's HTTPS port is reached from outside.
    ///
    /// # Errors
    /// When the platform doesn't say.
    fn ingress_https(&self) -> anyhow::Result<SocketAddr>;

    /// Applies manifests from text.
    ///
    /// # Errors
    /// With what the platform said.
    fn apply_text(&self, yaml: &str) -> anyhow::Result<()>;

    /// Applies a manifest file.
    ///
    /// # Errors
    /// With what the platform said.
    fn apply(&self, file: &Path) -> anyhow::Result<()>;

    /// Deletes the objects that a text names.
    ///
    /// # Errors
    /// With what the platform said.
    fn delete_text(&self, yaml: &str) -> anyhow::Result<()>;

    /// Deletes the objects that a file names.
    ///
    /// # Errors
    /// With what the platform said.
    fn delete(&self, file: &Path) -> anyhow::Result<()>;

    /// The pods with the label `app=APP`.
    ///
    /// # Errors
    /// When the platform doesn't answer.
    fn pods(&self, namespace: &str, app: &str) -> anyhow::Result<Vec<Pod>>;

    /// Runs a command in a pod's first container (or the named one).
    ///
    /// # Errors
    /// When it could not be started.
    fn exec(&self, pod: &Pod, container: Option<&str>, command: &[&str]) -> anyhow::Result<Ran>;

    /// Runs meshctl, which finds this mesh by itself.
    ///
    /// # Errors
    /// When it could not be started.
    fn meshctl(&self, arguments: &[&str]) -> anyhow::Result<Ran>;

    /// What meshctl prints.
    ///
    /// # Errors
    /// When its exit code is not 0, with what it said.
    fn meshctl_checked(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.meshctl(arguments)?
            .success(&format!("meshctl {}", arguments.join(" ")))
    }

    /// What `meshctl ARGUMENTS -o json` prints.
    ///
    /// # Errors
    /// As [`Platform::meshctl_checked`], or when it is not JSON.
    fn meshctl_json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.meshctl_checked(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("meshctl {}: not JSON: {text}", arguments.join(" ")))
    }

    /// `meshctl proxy-config WHAT POD -o json`.
    ///
    /// # Errors
    /// When the proxy doesn't answer.
    fn proxy_config(&self, what: &str, pod: &Pod) -> anyhow::Result<Value> {
        let pod = format!("{}.{}", pod.name, pod.namespace);
        self.meshctl_json(&["proxy-config", what, &pod])
    }

    /// A container's log so far.
    ///
    /// # Errors
    /// When there is none.
    fn logs(&self, pod: &Pod, container: &str) -> anyhow::Result<String>;

    /// Replaces a Deployment's pods, and waits until it is done.
    ///
    /// # Errors
    /// When it isn't within two minutes.
    fn rollout_restart(&self, namespace: &str, deployment: &str) -> anyhow::Result<()>;

    /// Labels a namespace: `KEY=VALUE`, or `KEY-` to remove a label.
    ///
    /// # Errors
    /// With what the platform said.
    fn label_namespace(&self, namespace: &str, label: &str) -> anyhow::Result<()>;

    /// Sets a Deployment's replicas, and waits until it has them.
    ///
    /// # Errors
    /// When it hasn't within two minutes.
    fn scale(&self, namespace: &str, deployment: &str, replicas: usize) -> anyhow::Result<()>;

    /// Kills a pod's processes without notice.
    ///
    /// # Errors
    /// When it can't.
    fn kill(&self, pod: &Pod) -> anyhow::Result<()>;

    /// Kills the processes of one container of a pod (the application's, or the named one).
    ///
    /// # Errors
    /// When it can't.
    fn kill_container(&self, pod: &Pod, container: Option<&str>) -> anyhow::Result<()>;

    /// The test program `meshecho`'s path inside containers.
    fn meshecho(&self) -> String;
}
