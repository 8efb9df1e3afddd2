//! The thread that starts all containers.
//!
//! One thread, because two things belong to a thread: the pid namespace that its next child goes into, and
//! the life that the child's parent-death signal watches. It lives as long as the process.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::{mpsc, oneshot};

/// Which pid namespace a process is started in.
#[derive(Debug)]
pub(super) enum PidNamespace {
    /// A new one, as its process 1.
    New,
    /// That of the process behind this pidfd.
    Of(OwnedFd),
}

struct Job {
    command: Command,
    namespace: PidNamespace,
    result: oneshot::Sender<io::Result<Child>>,
}

/// Starts `command` in a pid namespace.
///
/// # Errors
/// As `clone(2)` and `execve(2)` of ourselves; `ESRCH` when the namespace's process has ended.
pub(super) async fn start(command: Command, namespace: PidNamespace) -> io::Result<Child> {
    let (result, started) = oneshot::channel();
    let job = Job {
        command,
        namespace,
        result,
    };
    jobs()?.send(job).await.map_err(|_| ended())?;
    started.await.map_err(|_| ended())?
}

fn ended() -> io::Error {
    io::Error::other("the thread that starts containers has ended")
}

fn jobs() -> io::Result<&'static mpsc::Sender<Job>> {
    static JOBS: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    if let Some(jobs) = JOBS.get() {
        return Ok(jobs);
    }
    let (sender, mut jobs) = mpsc::channel::<Job>(16);
    let own_namespace = File::open("/proc/self/ns/pid")?;
    thread::Builder::new().name("sandbox-spawner".to_owned()).spawn(move || {
        while let Some(job) = jobs.blocking_recv() {
            let Job { mut command, namespace, result } = job;
            let started = start_in(&mut command, namespace);
            // Closes our copies of the descriptors that the command was to inherit.
            drop(command);
            // If the caller has given up, it cannot kill the process; nobody else would.
            if let Err(Ok(mut orphan)) = result.send(started) {
                let _ = orphan.kill();
                let _ = orphan.wait();
            }
            if let Err(errno) = setns(&own_namespace, CloneFlags::CLONE_NEWPID) {
                tracing::error!(%errno, "cannot return to our own pid namespace: no more containers");
                return;
            }
        }
    })?;
    // If another thread was quicker, its sender stays and our thread ends with ours.
    Ok(JOBS.get_or_init(|| sender))
}

fn start_in(command: &mut Command, namespace: PidNamespace) -> io::Result<Child> {
    match namespace {
        PidNamespace::New => unshare(CloneFlags::CLONE_NEWPID)?,
        PidNamespace::Of(process) => setns(process, CloneFlags::CLONE_NEWPID)?,
    }
    command.spawn()
}
