//! One container as a process: own mounts, pid, uts and ipc namespaces, the pod's network namespace.
//!
//! Like runc: we start ourselves again with a hidden argument ([`dispatch`] must be the first call of
//! `main`); that process reads a [`Spec`] from an inherited descriptor, builds the container's view of the
//! file system, drops privileges and executes the program. A failure on the way comes back as
//! [`SpawnError`] with the step and the errno.
//!
//! The root is a tmpfs whose entries are the host's, read-only; `/etc` is the host's with own
//! `resolv.conf`, `hosts` and `hostname`; `/run`, `/tmp`, `/var/tmp`, `/dev/shm` are empty and writable. A
//! mount may stand at any path, whether or not it exists on the host. A program (`argv[0]`, absolute) that
//! the empty directories would hide is shown at its own path.
//!
//! Process 1 of the container is ours: it reaps, passes signals on, and ends with the program; that ends
//! everything the program has started.

mod container;
mod init;
mod root;
mod spawn;
mod spawner;
mod spec;
mod status;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

pub use spawn::{Child, exec_in, spawn};
pub use spec::{Capabilities, Exec, Mount, Source, Spec, Streams, User};

/// How a container's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Exit {
    /// It returned this exit code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

impl Exit {
    /// The code Kubernetes shows: the exit code, or 128 + the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program itself could not be executed.
    #[error("execute {}: {source}", .path.display())]
    Exec {
        /// The program.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A step of building the container failed.
    #[error("{step}: {source}")]
    Setup {
        /// What was attempted and with what.
        step: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl SpawnError {
    fn setup<Failed: Into<std::io::Error>>(
        step: impl Into<String>,
    ) -> impl FnOnce(Failed) -> SpawnError {
        let step = step.into();
        move |failed| SpawnError::Setup {
            step,
            source: failed.into(),
        }
    }
}

/// Runs the hidden commands of this module, if this process was started for one.
///
/// Must be the first thing in `main`, before any thread exists (namespaces are joined by single-threaded
/// processes only). `None`: an ordinary start, go on.
pub fn dispatch() -> Option<ExitCode> {
    init::dispatch()
}
