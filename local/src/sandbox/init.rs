//! The hidden commands: ourselves, started anew, on the way to becoming a container.
//!
//! They run before any thread exists, because namespaces are joined by single-threaded processes only.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use mesh_sys::netns::NetNs;
use mesh_sys::process::{take_inherited, with_credentials};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};

use super::container::{Container, Program, from_memory};
use super::status::Event;
use super::{Exit, SpawnError, root, user};

/// Makes a container and is its process 1. Arguments: descriptors of the [`Container`], of the status pipe
/// and of the network namespace.
pub(super) const CONTAINER: &str = "__sandbox-container";

/// Joins a container. Arguments: descriptors of the [`Program`], of the status pipe and of a pidfd of the
/// container's process 1.
pub(super) const EXEC: &str = "__sandbox-exec";

/// What a shell returns for a command that it cannot execute.
const NOT_EXECUTED: u8 = 126;

pub(super) fn dispatch() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let hidden = arguments.next()?;
    let run = match hidden.to_str()? {
        CONTAINER => container,
        EXEC => exec,
        _ => return None,
    };
    let numbers: Vec<i32> = arguments
        .filter_map(|number| number.to_str()?.parse().ok())
        .collect();
    let [Ok(data), Ok(status), Ok(beside)] = [0, 1, 2].map(|index| {
        let number = numbers.get(index).copied().unwrap_or(-1);
        take_inherited(number)
    }) else {
        // Called by hand: there is nobody to tell.
        return Some(ExitCode::from(NOT_EXECUTED));
    };
    let mut status = File::from(status);
    match run(data, &mut status, beside) {
        Ok(exit) => Some(ExitCode::from(u8::try_from(exit.code()).unwrap_or(u8::MAX))),
        Err(error) => {
            Event::failure(&error).tell(&mut status);
            Some(ExitCode::from(NOT_EXECUTED))
        }
    }
}

fn container(data: OwnedFd, status: &mut File, netns: OwnedFd) -> Result<Exit, SpawnError> {
    // Of this thread, the only one: taken one by one in `attend`. The program gets its own set back.
    SigSet::all()
        .thread_block()
        .map_err(SpawnError::setup("block signals"))?;
    set_pdeathsig(Signal::SIGKILL).map_err(SpawnError::setup("tie the container to its parent"))?;
    let container: Container =
        from_memory(data).map_err(SpawnError::setup("read the container's description"))?;
    NetNs::from(netns)
        .enter()
        .map_err(SpawnError::setup("join the pod's network namespace"))?;
    let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(own).map_err(SpawnError::setup("make the container's namespaces"))?;
    let name = &container.hostname;
    sethostname(name).map_err(SpawnError::setup(format!("set the host name to {name}")))?;
    let mut command = prepare(&container.program)?;
    root::build(&container)?;
    enter_directory(&container.program.cwd)?;
    let program = command.spawn().map_err(not_executed(&container.program))?;
    Event::Started.tell(status);
    let exit = attend(Pid::from_raw(program.id().cast_signed()))
        .map_err(SpawnError::setup("wait for the program"))?;
    Event::Ended(exit).tell(status);
    Ok(exit)
}

fn exec(data: OwnedFd, _status: &mut File, container: OwnedFd) -> Result<Exit, SpawnError> {
    set_pdeathsig(Signal::SIGKILL).map_err(SpawnError::setup("tie the program to its parent"))?;
    let program: Program =
        from_memory(data).map_err(SpawnError::setup("read the program's description"))?;
    let mut command = prepare(&program)?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET;
    setns(container, namespaces).map_err(SpawnError::setup("join the container's namespaces"))?;
    enter_directory(&program.cwd)?;
    // Returns only on failure; success closes the status pipe.
    Err(not_executed(&program)(command.exec()))
}

fn prepare(program: &Program) -> Result<Command, SpawnError> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (name, arguments) = program
        .argv
        .split_first()
        .ok_or_else(|| SpawnError::setup("find a program to execute")(invalid()))?;
    let credentials = user::credentials(&program.user, &program.capabilities, program.terminal)
        .map_err(SpawnError::setup(
            "choose the program's user and capabilities",
        ))?;
    let mut command = Command::new(name);
    command
        .args(arguments)
        .env_clear()
        .envs(program.env.iter().map(|(name, value)| (name, value)));
    with_credentials(&mut command, credentials);
    Ok(command)
}

fn enter_directory(path: &Path) -> Result<(), SpawnError> {
    std::env::set_current_dir(path).map_err(SpawnError::setup(format!(
        "enter the working directory {}",
        path.display()
    )))
}

fn not_executed(program: &Program) -> impl FnOnce(io::Error) -> SpawnError {
    let path = program.argv.first().cloned().unwrap_or_default().into();
    move |source| SpawnError::Exec { path, source }
}

/// Process 1's work: reaps orphans, passes signals on, until the program ends.
fn attend(program: Pid) -> nix::Result<Exit> {
    loop {
        match SigSet::all().wait()? {
            Signal::SIGCHLD => {
                if let Some(exit) = reap(program)? {
                    return Ok(exit);
                }
            }
            // It may just have ended: SIGCHLD follows.
            signal => drop(kill(program, signal)),
        }
    }
}

fn reap(program: Pid) -> nix::Result<Option<Exit>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(pid, code) if pid == program => return Ok(Some(Exit::Code(code))),
            WaitStatus::Signaled(pid, signal, _) if pid == program => {
                return Ok(Some(Exit::Signal(signal as i32)));
            }
            WaitStatus::StillAlive => return Ok(None),
            _ => {}
        }
    }
}
