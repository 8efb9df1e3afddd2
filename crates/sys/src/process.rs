//! Processes in namespaces of their own, and what is set between fork and exec.
//!
//! Everything in a `pre_exec` closure runs in a forked copy of a process that may have other threads: no
//! allocation, no lock, only system calls on values prepared before.
//!
//! Needs Linux 5.10 or later (`close_range`, `setns` of a pidfd, `PIDFD_NONBLOCK`).

mod isolate;
mod pidfd;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid, setgid, setgroups, setsid, setuid};

pub use isolate::{IsolateError, Isolation, Step, spawn_isolated};
pub use pidfd::PidFd;

use crate::caps::{self, CapabilitySet};

/// Lets `command` inherit `descriptors` under their numbers; others of this process stay close-on-exec.
#[allow(unsafe_code)]
pub fn inherit(command: &mut Command, descriptors: Vec<OwnedFd>) {
    let keep_open = move || {
        for descriptor in &descriptors {
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: fcntl on descriptors that the closure owns; nothing is allocated.
    unsafe { command.pre_exec(keep_open) };
}

/// Takes over the descriptor that the parent left under `number` ([`inherit`]), close-on-exec.
///
/// # Errors
/// `EBADF` when nothing is open under it.
#[allow(unsafe_code)]
pub fn take_inherited(number: i32) -> io::Result<OwnedFd> {
    use std::os::fd::{BorrowedFd, FromRawFd};
    if number <= 2 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {number} is standard"),
        ));
    }
    // SAFETY: only borrowed for the call; if it is not open, the call says so.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: open (the call above succeeded) and left to us by the parent; callers take each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Keeps the kernel from backing this process and its later children with transparent huge pages, even
/// where `/sys/kernel/mm/transparent_hugepage/enabled` says `always`: 2 MiB at a time is dear for a heap of a few.
///
/// # Errors
/// As `prctl(2)`; callers log it and go on.
pub fn refuse_huge_pages() -> io::Result<()> {
    Ok(nix::sys::prctl::set_thp_disable(true)?)
}

/// Who a program runs as and what it may do.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User id; `None` leaves it.
    pub uid: Option<u32>,
    /// Group id; `None` leaves it.
    pub gid: Option<u32>,
    /// Supplementary groups; `None` leaves them (in a user namespace of one id they cannot be set).
    pub groups: Option<Vec<u32>>,
    /// All that it, or anything it executes, can ever have. As root it has these at once.
    pub bounding: CapabilitySet,
    /// Kept even when it is not root.
    pub ambient: CapabilitySet,
    /// Make standard input its controlling terminal.
    pub terminal: bool,
}

/// Makes `command` start with `credentials`, in a session of its own, with default signal handling, and be
/// killed when the calling thread ends.
#[allow(unsafe_code)]
pub fn with_credentials(command: &mut Command, credentials: Credentials) {
    let groups: Option<Vec<Gid>> = credentials
        .groups
        .as_ref()
        .map(|groups| groups.iter().copied().map(Gid::from_raw).collect());
    let become_it = move || {
        reset_signals()?;
        setsid()?;
        if credentials.terminal {
            control_terminal()?;
        }
        become_user(&credentials, groups.as_deref())?;
        // Last: changing credentials clears it.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok(())
    };
    // SAFETY: system calls on values prepared above; nothing is allocated.
    unsafe { command.pre_exec(become_it) };
}

fn become_user(credentials: &Credentials, groups: Option<&[Gid]>) -> io::Result<()> {
    // While we still have CAP_SETPCAP, CAP_SETGID and CAP_SETUID.
    caps::limit_bounding(credentials.bounding)?;
    if let Some(groups) = groups {
        setgroups(groups)?;
    }
    if let Some(gid) = credentials.gid {
        setgid(Gid::from_raw(gid))?;
    }
    if let Some(uid) = credentials.uid.filter(|uid| *uid != 0) {
        nix::sys::prctl::set_keepcaps(true)?;
        setuid(Uid::from_raw(uid))?;
        caps::keep_across_exec(credentials.ambient)?;
    }
    Ok(())
}

#[allow(unsafe_code)]
fn reset_signals() -> io::Result<()> {
    for number in 1..=libc::SIGSYS {
        // SAFETY: SIG_DFL is no handler; KILL and STOP are refused, which is as well.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

#[allow(unsafe_code)]
fn control_terminal() -> io::Result<()> {
    // SAFETY: descriptor 0 is the new process's standard input; the argument is a number.
    let result = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

#[cfg(test)]
mod tests;
