//! Kills the processes of a pod's containers from outside: for a pod that sees all of its node's
//! processes.

use std::path::Path;

use anyhow::{Context, ensure};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[derive(Args)]
pub(crate) struct Options {
    /// The pod's uid.
    pod: String,
    /// Only this container of it.
    container: Option<String>,
}

/// Sends SIGKILL to every process of the pod or container.
///
/// # Errors
/// When there is none.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    // The kubelet mounts a file of this directory into every container.
    let directory = match &options.container {
        Some(container) => format!("/pods/{}/containers/{container}/", options.pod),
        None => format!("/pods/{}/containers/", options.pod),
    };
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc").context("read /proc")? {
        let path = entry?.path();
        let Some(pid) = pid(&path) else { continue };
        // A process that has ended meanwhile has no mounts.
        let mounts = std::fs::read_to_string(path.join("mountinfo")).unwrap_or_default();
        if mounts.contains(&directory) && kill(pid, Signal::SIGKILL).is_ok() {
            killed += 1;
        }
    }
    ensure!(killed > 0, "no process has a mount of {directory}");
    Ok(())
}

fn pid(path: &Path) -> Option<Pid> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    Some(Pid::from_raw(number))
}
