//! The local platform: `meshctl local up`, as the user who runs the tests or as an ordinary one.

mod residue;

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::{Platform, Pod, Ran, binaries, objects};
use crate::deadline::{eventually, eventually_true};
use crate::http::{Call, send_blocking};
pub use residue::Residue;

/// How long the mesh and Bookinfo may take to be ready (debug binaries on a busy machine).
const READY_WITHIN: Duration = Duration::from_secs(90);
const ROLLED_WITHIN: Duration = Duration::from_secs(120);
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
/// uid and gid of `nobody`, the ordinary user when the tests run as root.
const NOBODY: u32 = 65_534;

/// Who runs the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The user who runs the tests.
    Me,
    /// An ordinary user; takes root to become.
    Nobody,
}

/// A mesh started by `meshctl local up`; stopped when dropped.
pub struct Local {
    owner: Owner,
    binaries: PathBuf,
    directory: TempDir,
    up: Child,
    ingress: SocketAddr,
    before: Residue,
}

/// Why the local platform can't run as `owner` here, if it can't.
#[must_use]
pub fn unavailable(owner: Owner) -> Option<String> {
    let mut probe = Command::new("unshare");
    probe.args([
        "--user",
        "--map-root-user",
        "--net",
        "--pid",
        "--fork",
        "--mount",
        "true",
    ]);
    let root = nix::unistd::geteuid().is_root();
    match owner {
        Owner::Me if root => return None,
        Owner::Nobody if !root => {
            return Some("only root can start processes as another user".to_owned());
        }
        Owner::Nobody => drop(probe.uid(NOBODY).gid(NOBODY)),
        Owner::Me => {}
    }
    match probe.current_dir("/").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "user namespaces are forbidden: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("unshare(1) doesn't start: {error}")),
    }
}

impl Local {
    /// Builds the binaries, starts the mesh with Bookinfo, and waits until the page answers.
    ///
    /// # Errors
    /// With what `meshctl local up` printed, when it isn't ready in time.
    pub fn start(owner: Owner) -> anyhow::Result<Self> {
        let before = Residue::now()?;
        let directory = tempfile::Builder::new().prefix("mesh-e2e-").tempdir()?;
        let binaries = binaries::prepare(directory.path())?;
        let workspace = binaries::workspace();
        let log = std::fs::File::create(directory.path().join("up.log"))?;
        let state = directory.path().join("state");
        std::fs::create_dir(&state)?;
        if owner == Owner::Nobody {
            binaries::open_to_all(directory.path())?;
            std::os::unix::fs::chown(&state, Some(NOBODY), Some(NOBODY))?;
        }
        let inputs = binaries::inputs(directory.path(), &workspace)?;
        let mut up = command(owner, &binaries, &state);
        up.args(["local", "up"]).args(&inputs);
        up.args(["--publish", "istio-ingressgateway.istio-system:80=0"]);
        up.args(["--publish", "istio-ingressgateway.istio-system:443=0"]);
        let up = up
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start meshctl")?;
        let ingress = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut local = Self {
            owner,
            binaries,
            directory,
            up,
            ingress,
            before,
        };
        local
            .wait_until_ready()
            .with_context(|| format!("`meshctl local up` printed:\n{}", local.up_log()))?;
        Ok(local)
    }

    /// Ends the mesh as Ctrl-C does, and checks that nothing of it is left on the machine.
    ///
    /// # Errors
    /// When it doesn't end in time, or names what it left.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.interrupt()?;
        self.before.assert_same(&Residue::now()?)
    }

    fn interrupt(&mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.up.id().cast_signed()), Signal::SIGINT)?;
        eventually_true(
            "`meshctl local up` ended after SIGINT",
            STOPPED_WITHIN,
            || Ok(self.up.try_wait()?.is_some()),
        )
    }

    fn up_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("up.log")).unwrap_or_default()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            ensure!(self.up.try_wait()?.is_none(), "it ended");
            let ready = self.published(80).and_then(|ingress| {
                let answer = send_blocking(ingress, &Call::get("/productpage"))?;
                crate::bookinfo::whole_page(&answer)?;
                Ok(ingress)
            });
            match ready {
                Ok(ingress) => {
                    self.ingress = ingress;
                    return Ok(());
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error)
                        .with_context(|| format!("not ready within {READY_WITHIN:?}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// The host address that stands for a port of the ingress gateway.
    fn published(&self, port: u16) -> anyhow::Result<SocketAddr> {
        let service = self.meshctl_json(&[
            "local",
            "get",
            "service",
            "istio-ingressgateway",
            "-n",
            "istio-system",
        ])?;
        let published = service["metadata"]["annotations"]["local.mesh/published"]
            .as_str()
            .context("the service says no published address")?;
        let prefix = format!("{port}=");
        let address = published
            .split(',')
            .find_map(|pair| pair.trim().strip_prefix(&prefix));
        let address = address.with_context(|| format!("port {port} isn't published"))?;
        Ok(address.parse()?)
    }

    fn manifest(&self, verb: &str, yaml: &str) -> anyhow::Result<()> {
        let file = self.directory.path().join("manifest.yaml");
        std::fs::write(&file, yaml)?;
        self.meshctl_checked(&["local", verb, "-f", path(&file)?])
            .map(drop)
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
                let object = self.meshctl_json(&[
                    "local",
                    "get",
                    "deployment",
                    deployment,
                    "-n",
                    namespace,
                ])?;
                objects::rolled_out(&object, replicas)
            },
        )
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if matches!(self.up.try_wait(), Ok(None)) && self.interrupt().is_err() {
            // Both calls can fail only when the process has gone meanwhile.
            let _ = self.up.kill();
            let _ = self.up.wait();
        }
    }
}

impl Platform for Local {
    fn ingress(&self) -> SocketAddr {
        self.ingress
    }

    fn ingress_https(&self) -> anyhow::Result<SocketAddr> {
        self.published(443)
    }

    fn apply_text(&self, yaml: &str) -> anyhow::Result<()> {
        self.manifest("apply", yaml)
    }

    fn apply(&self, file: &Path) -> anyhow::Result<()> {
        self.apply_text(&std::fs::read_to_string(file)?)
    }

    fn delete_text(&self, yaml: &str) -> anyhow::Result<()> {
        self.manifest("delete", yaml)
    }

    fn delete(&self, file: &Path) -> anyhow::Result<()> {
        self.delete_text(&std::fs::read_to_string(file)?)
    }

    fn pods(&self, namespace: &str, app: &str) -> anyhow::Result<Vec<Pod>> {
        let list = self.meshctl_json(&["local", "get", "pods", "-n", namespace])?;
        let items = list["items"].as_array().context("no list of pods")?;
        let of_app = items
            .iter()
            .filter(|pod| pod["metadata"]["labels"]["app"] == app);
        Ok(of_app
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(objects::pod)
            .collect())
    }

    fn exec(&self, pod: &Pod, container: Option<&str>, command: &[&str]) -> anyhow::Result<Ran> {
        let mut arguments = vec!["local", "exec", &pod.name, "-n", &pod.namespace];
        if let Some(container) = container {
            arguments.extend(["-c", container]);
        }
        arguments.push("--");
        self.meshctl(&[&arguments[..], command].concat())
    }

    fn meshctl(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let state = self.directory.path().join("state");
        let output = command(self.owner, &self.binaries, &state)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("start meshctl")?;
        Ok(output.into())
    }

    fn logs(&self, pod: &Pod, container: &str) -> anyhow::Result<String> {
        self.meshctl_checked(&[
            "local",
            "logs",
            &pod.name,
            "-n",
            &pod.namespace,
            "-c",
            container,
        ])
    }

    fn rollout_restart(&self, namespace: &str, deployment: &str) -> anyhow::Result<()> {
        self.meshctl_checked(&[
            "local",
            "rollout",
            "restart",
            &format!("deployment/{deployment}"),
            "-n",
            namespace,
        ])?;
        self.rolled(namespace, deployment, None)
    }

    fn label_namespace(&self, namespace: &str, label: &str) -> anyhow::Result<()> {
        self.meshctl_checked(&["local", "label", "namespace", namespace, label])
            .map(drop)
    }

    fn scale(&self, namespace: &str, deployment: &str, replicas: usize) -> anyhow::Result<()> {
        let wanted = replicas.to_string();
        self.meshctl_checked(&[
            "local",
            "scale",
            &format!("deployment/{deployment}"),
            "-n",
            namespace,
            "--replicas",
            &wanted,
        ])?;
        self.rolled(namespace, deployment, Some(replicas as u64))
    }

    fn kill(&self, pod: &Pod) -> anyhow::Result<()> {
        residue::kill_pod(self.up.id(), &pod.ip)
    }

    fn kill_container(&self, pod: &Pod, container: Option<&str>) -> anyhow::Result<()> {
        // All of the container's processes but the first and the shell itself.
        self.exec(pod, container, &["sh", "-c", "kill -9 -1"])
            .map(drop)
    }

    fn meshecho(&self) -> String {
        self.binaries.join("meshecho").display().to_string()
    }
}

fn command(owner: Owner, binaries: &Path, state: &Path) -> Command {
    let mut command = Command::new(binaries.join("meshctl"));
    command.env("MESH_STATE_DIR", state).current_dir("/");
    if owner == Owner::Nobody {
        command.uid(NOBODY).gid(NOBODY).env("HOME", "/nonexistent");
    }
    command
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that isn't UTF-8")
}
