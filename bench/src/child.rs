//! Processes of a run: each is killed when its handle is dropped, and by the kernel when the benchmark
//! itself dies.
//!
//! Nothing is set between fork and exec. Instead every process starts as this program with the hidden
//! subcommand `contain`, which sets what must be set and becomes the program asked for.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::proc::{self, Memory};

/// Enough for 10,000 connections through a proxy.
const OPEN_FILES: u64 = 65_536;

/// A running process.
#[derive(Debug)]
pub(crate) struct Child {
    /// For people.
    pub(crate) name: String,
    process: std::process::Child,
    log: Option<PathBuf>,
}

/// What to start.
pub(crate) struct Program<'a> {
    /// For people.
    pub(crate) name: &'a str,
    /// The program.
    pub(crate) path: &'a Path,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// Added to the environment.
    pub(crate) environment: Vec<(&'a str, String)>,
    /// The processors that it may use; empty for all.
    pub(crate) processors: &'a [usize],
    /// Where standard error goes.
    pub(crate) log: Option<PathBuf>,
    /// Standard output: the caller reads it, or nobody does.
    pub(crate) output: Output,
}

/// What becomes of a process's standard output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Thrown away: where access logs go.
    Null,
    /// Read by us; standard input is a pipe from us, too.
    Piped,
}

impl Child {
    /// Starts a program. Must be called on the main thread, whose end kills the child.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(program: Program<'_>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let mut command = Command::new(own);
        let processors: Vec<String> = program.processors.iter().map(usize::to_string).collect();
        command.arg("contain");
        command.arg(format!("--parent={}", std::process::id()));
        if !processors.is_empty() {
            command.arg(format!("--processors={}", processors.join(",")));
        }
        command.arg("--").arg(program.path).args(&program.arguments);
        command.env("RUST_BACKTRACE", "0").envs(program.environment);
        command.stderr(match &program.log {
            None => Stdio::inherit(),
            Some(path) => {
                let file = File::create(path);
                file.with_context(|| format!("create {}", path.display()))?
                    .into()
            }
        });
        let (input, output) = match program.output {
            Output::Null => (Stdio::null(), Stdio::null()),
            Output::Piped => (Stdio::piped(), Stdio::piped()),
        };
        let process = command.stdin(input).stdout(output).spawn();
        Ok(Self {
            name: program.name.to_owned(),
            process: process.with_context(|| format!("start {}", program.name))?,
            log: program.log,
        })
    }

    /// The process's pipes.
    pub(crate) fn pipes(&mut self) -> &mut std::process::Child {
        &mut self.process
    }

    /// Fails with the process's last words if it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(error) => Err(error).with_context(|| format!("look after {}", self.name)),
        }
    }

    /// Waits for the end of a process that has closed its output; says how it ended.
    pub(crate) fn end(&mut self) -> anyhow::Error {
        match self.process.wait() {
            Ok(status) => self.ended(status),
            Err(error) => anyhow::Error::from(error).context(format!("look after {}", self.name)),
        }
    }

    fn ended(&self, status: ExitStatus) -> anyhow::Error {
        let (how, words) = (in_words(status), self.last_words());
        anyhow!("{} has ended: {how}{words}", self.name)
    }

    fn last_words(&self) -> String {
        let Some(path) = &self.log else {
            return String::new();
        };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(6).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        if lines.is_empty() {
            String::new()
        } else {
            format!("; its last words: {}", lines.join(" | "))
        }
    }

    /// Processor time so far, user and system, of all threads that live.
    ///
    /// # Errors
    /// When the process has ended.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        proc::processor_time(self.process.id())
            .with_context(|| format!("read the processor time of {}", self.name))
    }

    /// Resident memory now.
    ///
    /// # Errors
    /// When the process has ended.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        proc::memory(self.process.id()).with_context(|| format!("read the memory of {}", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn in_words(status: ExitStatus) -> String {
    match status.signal() {
        Some(number) => match Signal::try_from(number) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {number}"),
        },
        None => status.to_string(),
    }
}

/// `mesh-bench contain`: becomes `command`, tied to the life of `parent`.
///
/// # Errors
/// When the program cannot be executed; else it does not return.
pub(crate) fn contain(
    parent: u32,
    processors: &[usize],
    command: &[OsString],
) -> anyhow::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("tie the process to its parent")?;
    ensure!(
        std::os::unix::process::parent_id() == parent,
        "the benchmark has ended"
    );
    if !processors.is_empty() {
        let mut set = nix::sched::CpuSet::new();
        for processor in processors {
            set.set(*processor).context("choose processors")?;
        }
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set)
            .context("choose processors")?;
    }
    // Envoy and HAProxy take the limit as it is.
    raise_open_files()?;
    let (program, arguments) = command.split_first().context("no program")?;
    let failed = Command::new(program).args(arguments).exec();
    Err(failed).with_context(|| format!("execute {}", program.display()))
}

/// Raises this process's limit of open files as far as it may; returns it.
///
/// # Errors
/// When the system refuses even what is allowed.
pub(crate) fn raise_open_files() -> anyhow::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of files")?;
    if soft >= OPEN_FILES {
        return Ok(soft);
    }
    // Above the hard limit only with a privilege.
    let wanted = OPEN_FILES.max(hard);
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
        return Ok(wanted);
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raise the limit of files")?;
    Ok(hard)
}

/// Arguments of the types that programs take.
pub(crate) fn arguments<const N: usize>(list: [&dyn AsRef<OsStr>; N]) -> Vec<OsString> {
    list.map(|one| one.as_ref().to_owned()).into()
}

/// The processors of this run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processors {
    /// Of load generator, application and control plane.
    pub(crate) load: Vec<usize>,
    /// Of the proxies under measurement.
    pub(crate) proxies: Vec<usize>,
}

impl Processors {
    /// Divides the processors that we may use into halves; nobody is tied down where a half has fewer
    /// processors than a proxy has workers.
    ///
    /// # Errors
    /// When the system does not tell them.
    pub(crate) fn divide(workers: usize) -> anyhow::Result<Self> {
        let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))
            .context("read the processors")?;
        let all: Vec<usize> = (0..nix::sched::CpuSet::count())
            .filter(|processor| set.is_set(*processor).unwrap_or(false))
            .collect();
        let (load, proxies) = all.split_at(all.len() / 2);
        if load.is_empty() || proxies.len() < workers {
            return Ok(Self::default());
        }
        Ok(Self {
            load: load.to_vec(),
            proxies: proxies.to_vec(),
        })
    }
}
