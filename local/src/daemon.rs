//! The platform's process pair: [`Daemon`] is the outer one's handle; `inner` is what runs
//! inside the namespaces.

mod inner;
mod openid;
mod watch;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::pod::token::TokenError;
pub use crate::publish::Override;
use crate::state::{StateDir, StateError};
pub use crate::up::InnerExit;
use crate::up::{Outer, UpError};

/// First argument of the inner process.
const INNER: &str = "__local-inner";

/// What to run and where to keep its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Options {
    /// The state directory, absolute.
    pub state_dir: PathBuf,
    /// Files and directories with manifests and `images.yaml`, absolute.
    pub paths: Vec<PathBuf>,
    /// Where Service ports are published.
    pub publish: Vec<Override>,
    /// Where executables of images are looked for first.
    pub bin_dir: PathBuf,
    /// Directories of `PATH`.
    pub search_path: Vec<PathBuf>,
    /// Start the control plane and the ingress gateway too.
    pub mesh: bool,
    /// How long pods may take to end when the platform does.
    pub grace: Duration,
    /// Log filter, `info`.
    pub log: String,
}

/// Why the platform did not start or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another one uses the state directory.
    #[error("a platform already runs on {}: process {pid} (end it with `meshctl local down`, or choose another --state-dir)", .state_dir.display())]
    Running {
        /// The state directory.
        state_dir: PathBuf,
        /// The process that holds it.
        pid: String,
    },
    /// A given path doesn't exist.
    #[error("{} does not exist", .path.display())]
    NoSuchPath {
        /// The path.
        path: PathBuf,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The namespaces or their network cannot be made.
    #[error(transparent)]
    Up(#[from] UpError),
    /// The pod network cannot be made.
    #[error("the pod network cannot be made")]
    Network(#[from] crate::net::NetError),
    /// The key that signs tokens cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Anything else at the start.
    #[error("{what}")]
    Start {
        /// What was attempted.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the hidden commands by which the platform starts itself anew inside its namespaces.
///
/// Must be the first thing in `main`, before any thread exists. `None`: an ordinary start, go on.
#[must_use]
pub fn reexec() -> Option<ExitCode> {
    if let Some(code) = crate::sandbox::dispatch() {
        return Some(code);
    }
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == INNER).then(|| inner::main(&arguments.next().unwrap_or_default()))
}

/// A platform that this process has started. Dropping it kills everything in it.
#[derive(Debug)]
pub struct Daemon {
    outer: Outer,
    // Held for as long as the platform runs; the kernel lets go of it whatever happens.
    _lock: Flock<File>,
}

impl Daemon {
    /// Starts the platform. Call it on the main thread, within a tokio runtime.
    ///
    /// # Errors
    /// [`DaemonError::Running`] if the state directory is in use; others name what is wrong.
    pub fn start(options: &Options) -> Result<Self, DaemonError> {
        if let Some(path) = options.paths.iter().find(|path| !path.exists()) {
            return Err(DaemonError::NoSuchPath { path: path.clone() });
        }
        let state = StateDir::open(&options.state_dir)?;
        let lock = lock(&state)?;
        // Left by a platform that crashed; clients would find nobody behind it.
        crate::state::remove_file(&state.api_socket())?;
        let json = serde_json::to_string(options)
            .map_err(|error| start("encode the options")(std::io::Error::other(error)))?;
        let outer = Outer::start(&[OsString::from(INNER), OsString::from(json)])?;
        Ok(Self { outer, _lock: lock })
    }

    /// Serves the inner process until it has ended. Cancel safe.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub async fn run(&self) -> Result<InnerExit, DaemonError> {
        Ok(self.outer.run().await?)
    }

    /// Asks for the orderly end; [`Daemon::run`] then returns.
    ///
    /// # Errors
    /// If it is gone already.
    pub async fn terminate(&self) -> Result<(), DaemonError> {
        Ok(self.outer.terminate().await?)
    }
}

fn start(what: &str) -> impl FnOnce(std::io::Error) -> DaemonError {
    let what = what.to_owned();
    move |source| DaemonError::Start { what, source }
}

fn lock(state: &StateDir) -> Result<Flock<File>, DaemonError> {
    let path = state.lock();
    let failed = |source| StateError::new("lock", &path, source);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let pid = std::process::id().to_string();
            lock.set_len(0)
                .and_then(|()| lock.rewind())
                .and_then(|()| lock.write_all(pid.as_bytes()))
                .map_err(|source| StateError::new("write", &path, source))?;
            Ok(lock)
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            // Without its number the message is still of use.
            drop(file.read_to_string(&mut pid));
            if pid.is_empty() {
                "of an unknown number".clone_into(&mut pid);
            }
            Err(DaemonError::Running {
                state_dir: state.root().to_owned(),
                pid,
            })
        }
        Err((_, errno)) => Err(StateError::new("lock", &path, errno.into()).into()),
    }
}
