//! Starting and watching containers.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use mesh_sys::process::{PidFd, inherit};
use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::pipe2;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;

use super::container::{Container, Program, to_memory};
use super::spawner::{self, PidNamespace};
use super::status::Event;
use super::{Capabilities, Exec, Exit, SpawnError, Spec, Streams, init};

/// A running container (or a program started in one); clones are handles of the same one.
///
/// Dropping handles does not end it; the end of this process does.
#[derive(Debug, Clone)]
pub struct Child {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pid: u32,
    pidfd: PidFd,
    capabilities: Capabilities,
    exit: watch::Receiver<Option<Exit>>,
}

/// Starts a container; returns when its program is running (executed).
///
/// # Errors
/// [`SpawnError`]; nothing stays behind.
pub async fn spawn(spec: Spec) -> Result<Child, SpawnError> {
    let Spec {
        netns,
        hostname,
        resolv_conf,
        hosts,
        mounts,
        exec,
        capabilities,
    } = spec;
    let program = Program::new(&exec, capabilities.clone());
    let container = Container {
        hostname,
        resolv_conf,
        hosts,
        mounts,
        program,
    };
    let start = || SpawnError::setup::<io::Error>("start the container's first process");
    let memory = to_memory(&container).map_err(start())?;
    let netns = netns.as_fd().try_clone_to_owned().map_err(start())?;
    let launch = Launch {
        hidden: init::CONTAINER,
        memory,
        beside: netns,
        streams: exec.streams,
    };
    Box::pin(launch.start(PidNamespace::New, capabilities)).await
}

/// Starts another program in a running container's namespaces.
///
/// # Errors
/// [`SpawnError`], also when the container has ended.
pub async fn exec_in(container: &Child, exec: Exec) -> Result<Child, SpawnError> {
    let start = || SpawnError::setup::<io::Error>("start a program in the container");
    let capabilities = container.shared.capabilities.clone();
    let memory = to_memory(&Program::new(&exec, capabilities.clone())).map_err(start())?;
    let process = || container.shared.pidfd.as_fd().try_clone_to_owned();
    let namespace = PidNamespace::Of(process().map_err(start())?);
    let beside = process().map_err(start())?;
    let launch = Launch {
        hidden: init::EXEC,
        memory,
        beside,
        streams: exec.streams,
    };
    Box::pin(launch.start(namespace, capabilities)).await
}

impl Child {
    /// Process id of the container's first process, as this process sees it.
    pub fn pid(&self) -> u32 {
        self.shared.pid
    }

    /// Waits until the program has ended (and with it everything it started); any number of callers, any
    /// number of times.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.shared.exit.clone();
        let ended = exit
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|exit| *exit);
        // Without an answer the runtime is shutting down, which kills everything.
        ended.unwrap_or(Exit::Signal(libc::SIGKILL))
    }

    /// How it ended, if it has.
    pub fn try_wait(&self) -> Option<Exit> {
        *self.shared.exit.borrow()
    }

    /// Sends `signal` (a number as in `libc`) to the program; SIGKILL ends every process of the container.
    ///
    /// # Errors
    /// `ESRCH` when it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.shared.pidfd.signal(signal)
    }
}

/// A hidden command about to be started.
struct Launch {
    hidden: &'static str,
    memory: OwnedFd,
    /// The pod's network namespace, or a pidfd of the container to join.
    beside: OwnedFd,
    streams: Streams,
}

impl Launch {
    async fn start(
        self,
        namespace: PidNamespace,
        capabilities: Capabilities,
    ) -> Result<Child, SpawnError> {
        let hidden = self.hidden;
        let start = || SpawnError::setup::<io::Error>("start ourselves as a container's process");
        let (status, told) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| start()(errno.into()))?;
        let mut status = BufReader::new(Receiver::from_owned_fd(status).map_err(start())?).lines();
        let process = spawner::start(self.command(told), namespace)
            .await
            .map_err(start())?;
        let pid = process.id();
        let mut starting = Starting {
            process: Some(process),
        };
        let pidfd = PidFd::open(pid).map_err(start())?;
        let program_runs = match next_event(&mut status).await.map_err(start())? {
            Some(event) => event.started().map(|()| true),
            // The pipe was closed by a successful execution.
            None if hidden == init::EXEC => Ok(true),
            None => Err(start()(io::Error::other("it ended without a word"))),
        };
        program_runs?;
        let process = starting.process.take().expect("taken only here");
        let (ended, exit) = watch::channel(None);
        let shared = Arc::new(Shared {
            pid,
            pidfd,
            capabilities,
            exit,
        });
        tokio::spawn(supervise(Arc::clone(&shared), process, status, ended));
        Ok(Child { shared })
    }

    fn command(self, told: OwnedFd) -> Command {
        let descriptors = vec![self.memory, told, self.beside];
        let mut command = Command::new("/proc/self/exe");
        command.arg(self.hidden).env_clear();
        command.args(
            descriptors
                .iter()
                .map(|descriptor| descriptor.as_raw_fd().to_string()),
        );
        command.stdin(stream(self.streams.stdin));
        command.stdout(stream(self.streams.stdout));
        command.stderr(stream(self.streams.stderr));
        inherit(&mut command, descriptors);
        command
    }
}

fn stream(descriptor: Option<OwnedFd>) -> Stdio {
    descriptor.map_or_else(Stdio::null, Stdio::from)
}

/// Kills and reaps a process that nobody will watch.
struct Starting {
    process: Option<std::process::Child>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

async fn next_event(status: &mut Lines<BufReader<Receiver>>) -> io::Result<Option<Event>> {
    match status.next_line().await? {
        Some(line) => serde_json::from_str(&line)
            .map(Some)
            .map_err(io::Error::other),
        None => Ok(None),
    }
}

/// Reaps the process and publishes how the program ended.
async fn supervise(
    shared: Arc<Shared>,
    mut process: std::process::Child,
    mut status: Lines<BufReader<Receiver>>,
    ended: watch::Sender<Option<Exit>>,
) {
    if let Err(error) = shared.pidfd.ended().await {
        tracing::warn!(pid = shared.pid, %error, "cannot watch a container");
    }
    let own = match process.wait() {
        Ok(status) => status.code().map_or(
            Exit::Signal(status.signal().unwrap_or(libc::SIGKILL)),
            Exit::Code,
        ),
        Err(_) => Exit::Signal(libc::SIGKILL),
    };
    // Process 1 tells how the program ended; if it was killed itself, that is how.
    let told = match next_event(&mut status).await {
        Ok(Some(Event::Ended(exit))) => Some(exit),
        _ => None,
    };
    ended.send_replace(Some(told.unwrap_or(own)));
}
