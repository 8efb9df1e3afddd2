//! A program in new namespaces, with an init of its own.
//!
//! `spawn_isolated` makes three processes. The first leaves our namespaces and waits, so that we have a
//! child to wait for. Its child is process 1 of the new pid namespace: it reaps orphans and ends when the
//! program ends. The program is process 2, and an ordinary process (default signal handling) with ordinary
//! children of its own. Each is killed by the kernel when the one before it dies, and with process 1
//! everything in the namespace.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{getegid, geteuid, getppid, pipe2, setsid, write};

/// Which namespaces a program gets. Pid, mount, network, ipc and uts always; a user namespace as chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Root of the host keeps being root.
    AsRoot,
    /// A user namespace with one id: root inside, the calling user outside.
    AsUser,
}

impl Isolation {
    /// Root needs no user namespace, anybody else does.
    pub fn for_this_user() -> Isolation {
        if geteuid().is_root() {
            Isolation::AsRoot
        } else {
            Isolation::AsUser
        }
    }
}

/// What was being attempted when starting failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Making the namespaces.
    Namespaces,
    /// Mapping the user and group id.
    IdMaps,
    /// Making mounts private.
    Mounts,
    /// Anything else, execution included.
    Start,
}

impl Step {
    fn from_byte(byte: u8) -> Step {
        match byte {
            1 => Step::Namespaces,
            2 => Step::IdMaps,
            3 => Step::Mounts,
            _ => Step::Start,
        }
    }
}

/// Why a program could not be started in new namespaces.
#[derive(Debug, thiserror::Error)]
#[error("start in new namespaces ({step:?}): {source}")]
pub struct IsolateError {
    /// How far it got.
    pub step: Step,
    /// The kernel's answer.
    pub source: io::Error,
}

/// Starts `command` in new namespaces; the returned child ends when the program does, with its exit code
/// (128 + signal if it was killed by one).
///
/// The program is in a session of its own (no terminal signals) and is killed with everything it started
/// when the calling *thread* ends.
///
/// # Errors
/// [`IsolateError`] with the step; the program has not run then.
#[allow(unsafe_code)]
pub fn spawn_isolated(command: &mut Command, isolation: Isolation) -> Result<Child, IsolateError> {
    let start = |source: io::Error| IsolateError {
        step: Step::Start,
        source,
    };
    let (progress, report) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| start(errno.into()))?;
    let plan = Plan {
        isolation,
        parent: nix::unistd::getpid().as_raw(),
        uid_map: format!("0 {} 1", geteuid()),
        gid_map: format!("0 {} 1", getegid()),
        report,
    };
    // SAFETY: Plan::run makes system calls on values prepared above; nothing is allocated.
    unsafe { command.pre_exec(move || plan.run()) };
    let spawned = command.spawn();
    // The command still holds the writing end; only the program's side must not.
    match spawned {
        Ok(child) => Ok(child),
        Err(source) => Err(IsolateError {
            step: last_step(progress),
            source,
        }),
    }
}

fn last_step(progress: OwnedFd) -> Step {
    let _ = nix::fcntl::fcntl(&progress, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    let mut steps = [0; 16];
    let read = std::fs::File::from(progress).read(&mut steps).unwrap_or(0);
    Step::from_byte(steps[..read].last().copied().unwrap_or(0))
}

/// What the forked process needs, prepared before the fork.
struct Plan {
    isolation: Isolation,
    parent: i32,
    uid_map: String,
    gid_map: String,
    report: OwnedFd,
}

impl Plan {
    fn run(&self) -> io::Result<()> {
        setsid()?;
        self.at(1);
        let mut namespaces = CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS;
        if self.isolation == Isolation::AsUser {
            namespaces |= CloneFlags::CLONE_NEWUSER;
        }
        unshare(namespaces)?;
        if self.isolation == Isolation::AsUser {
            self.at(2);
            // Without this an unprivileged process may not map groups (user_namespaces(7)).
            write_file("/proc/self/setgroups", "deny")?;
            write_file("/proc/self/uid_map", &self.uid_map)?;
            write_file("/proc/self/gid_map", &self.gid_map)?;
        }
        self.at(3);
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )?;
        self.at(4);
        die_with_parent(Some(self.parent))?;
        become_child()?; // process 1 of the new pid namespace goes on
        die_with_parent(None)?;
        // Shows the new namespace's processes. Where the host's /proc is partly hidden (in a container) this
        // is forbidden; the host's /proc does as well, with other numbers.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let _ = mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>);
        become_child()?; // process 2 goes on, and executes the program
        die_with_parent(None)
    }

    fn at(&self, step: u8) {
        let _ = write(self.report.as_fd(), &[step]);
    }
}

fn write_file(path: &str, text: &str) -> io::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, text.as_bytes())?;
    Ok(())
}

/// Has the kernel kill us when our parent dies, and checks that it has not died before (`expected`: its id,
/// if it is visible from our pid namespace).
fn die_with_parent(expected: Option<i32>) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if expected.is_some_and(|parent| getppid().as_raw() != parent) {
        return Err(Errno::ESRCH.into());
    }
    Ok(())
}

/// Forks; returns in the child. The parent closes all descriptors but the standard ones, reaps until that
/// child ends, and ends as it did.
#[allow(unsafe_code)]
fn become_child() -> io::Result<()> {
    // SAFETY: we are the only thread of this process (forked by `Command`), and call nothing that allocates.
    let child = Errno::result(unsafe { libc::fork() })?;
    if child == 0 {
        return Ok(());
    }
    // SAFETY: numbers only. Nothing of this process uses a descriptor above 2 again: it never returns.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if ended == child {
            let signalled = libc::WIFSIGNALED(status);
            let code = if signalled {
                128 + libc::WTERMSIG(status)
            } else {
                libc::WEXITSTATUS(status)
            };
            // SAFETY: ends this process at once, without running what the forked copy inherited.
            unsafe { libc::_exit(code) };
        }
        if ended < 0 && Errno::last() != Errno::EINTR {
            // SAFETY: as above.
            unsafe { libc::_exit(255) };
        }
    }
}
