//! `meshctl local`: Kubernetes manifests and the mesh on this machine.

mod get;
mod label;
mod manifests;
mod pod;
mod progress;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use mesh_local::client::Client;

use crate::{analyze, output};

/// What to do with the platform of this machine.
#[derive(Debug, Subcommand)]
pub(crate) enum Local {
    /// Run the manifests of directories and files, and the mesh around them, until Ctrl-C.
    Up(up::Up),
    /// End the platform and everything in it.
    Down(Down),
    /// Apply manifests: their objects take effect at once and last until deleted.
    Apply(manifests::Files),
    /// Delete the objects that manifests name, or one pod (another takes its place).
    Delete(manifests::Delete),
    /// List objects.
    Get(get::Get),
    /// Print what a container wrote.
    Logs(pod::Logs),
    /// Run a command in a container.
    Exec(pod::Exec),
    /// Restart the pods of a Deployment one after the other, or wait until that is done.
    #[command(subcommand)]
    Rollout(Rollout),
    /// Give a Deployment another number of pods.
    Scale(Scale),
    /// Change the labels of an object, such as `istio-injection` of a namespace.
    Label(label::Label),
    /// Show what runs and whether it is ready.
    Status(Place),
}

/// Which platform is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// State directory of the platform [default: $XDG_STATE_HOME/mesh or ~/.local/state/mesh].
    #[arg(long, env = "MESH_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Which platform and namespace are meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct Scope {
    #[command(flatten)]
    place: Place,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// Arguments of `down`.
#[derive(Args, Debug)]
pub(crate) struct Down {
    #[command(flatten)]
    place: Place,
}

/// What to do with a rollout.
#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Replace every pod by a new one of the same template, never with fewer ready than allowed.
    Restart {
        /// `deployment/NAME`, or `deployment` for all of the namespace.
        workload: String,
        #[command(flatten)]
        scope: Scope,
    },
    /// Wait until every pod is of the present template and ready.
    Status {
        /// `deployment/NAME`.
        workload: String,
        /// Seconds to wait; 0 only looks.
        #[arg(long, default_value_t = 60)]
        timeout: u64,
        #[command(flatten)]
        scope: Scope,
    },
}

/// Arguments of `scale`.
#[derive(Args, Debug)]
pub(crate) struct Scale {
    /// `deployment/NAME`.
    workload: String,
    /// Pods wanted.
    #[arg(long)]
    replicas: u32,
    #[command(flatten)]
    scope: Scope,
}

impl Place {
    /// The state directory, absolute.
    fn dir(&self) -> anyhow::Result<PathBuf> {
        let dir = match &self.state_dir {
            Some(dir) => dir.clone(),
            None => {
                mesh_local::default_state_dir().context("no home directory: give --state-dir")?
            }
        };
        std::path::absolute(&dir).with_context(|| format!("find {}", dir.display()))
    }

    fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.dir()?))
    }
}

/// Runs one of the subcommands.
///
/// # Errors
/// What the user has to know, with its causes.
pub(crate) fn run(command: Local) -> anyhow::Result<ExitCode> {
    // On the main thread: the inner process lives as long as the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Local::Up(up) => return Box::pin(up::run(up)).await,
            Local::Down(down) => down.run().await?,
            Local::Apply(files) => return manifests::apply(&files).await,
            Local::Delete(files) => return manifests::delete(&files).await,
            Local::Get(get) => get::run(&get).await?,
            Local::Logs(logs) => pod::logs(logs).await?,
            Local::Exec(exec) => return pod::exec(exec).await,
            Local::Rollout(Rollout::Restart { workload, scope }) => {
                restart(&workload, &scope).await?;
            }
            Local::Rollout(Rollout::Status {
                workload,
                timeout,
                scope,
            }) => {
                let name = deployment(&workload)?;
                let timeout = Duration::from_secs(timeout);
                progress::rolled_out(&scope.place.client()?, &scope.namespace, name, timeout)
                    .await?;
            }
            Local::Scale(scale) => {
                let name = deployment(&scale.workload)?;
                let client = scale.scope.place.client()?;
                client
                    .scale(&scale.scope.namespace, name, scale.replicas)
                    .await?;
                output::line(&format!("deployment/{name} scaled to {}", scale.replicas))?;
            }
            Local::Label(label) => label::run(label).await?,
            Local::Status(place) => {
                progress::print_status(&place.client()?.status().await?)?;
                analyze::print_found(&place.dir()?).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl Down {
    async fn run(&self) -> anyhow::Result<()> {
        self.place.client()?.down().await?;
        output::line("everything has ended")
    }
}

async fn restart(workload: &str, scope: &Scope) -> anyhow::Result<()> {
    let client = scope.place.client()?;
    let names = match workload {
        "deployment" | "deployments" | "deploy" => {
            let all = client
                .get("deployments", Some(&scope.namespace), None)
                .await?;
            let names = all
                .iter()
                .filter_map(|one| one["metadata"]["name"].as_str());
            names.map(str::to_owned).collect()
        }
        one => vec![deployment(one)?.to_owned()],
    };
    for name in names {
        client.rollout_restart(&scope.namespace, &name).await?;
        output::line(&format!("deployment/{name} restarted"))?;
    }
    Ok(())
}

/// The name in `deployment/NAME`; a name alone will do.
fn deployment(workload: &str) -> anyhow::Result<&str> {
    match workload.split_once('/') {
        None => Ok(workload),
        Some(("deployment" | "deployments" | "deploy", name)) => Ok(name),
        Some((kind, _)) => {
            anyhow::bail!("{kind} cannot be rolled out or scaled: give deployment/NAME")
        }
    }
}
