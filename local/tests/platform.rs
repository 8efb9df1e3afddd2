//! The whole platform without the mesh: two pods behind a Service, in real namespaces, as whoever
//! runs the test and, when that is root, as `nobody` too.
//!
//! This program plays every part: the platform's two processes, the application in the pods and
//! the client in another pod. So it has a `main` of its own instead of the test harness. Where
//! namespaces are forbidden it says so and passes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "all of it is a test: a panic is its failure, and the application's output is what is looked at"
)]

mod platform {
    pub(crate) mod app;
    pub(crate) mod scenario;
}

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use platform::{app, scenario};

/// The uid that owns nothing.
const NOBODY: u32 = 65534;

fn main() -> ExitCode {
    if let Some(code) = mesh_local::reexec() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", port] => app::serve(port),
        ["get", url] => app::get(url),
        ["as-nobody"] => run("as nobody"),
        // What the test harness is asked by IDEs and by `cargo test -- --list`.
        ["--list", ..] => ExitCode::SUCCESS,
        _ if nix::unistd::geteuid().is_root() => match run("as root") {
            ExitCode::SUCCESS => run_as_nobody(),
            code => code,
        },
        _ => run("as an ordinary user"),
    }
}

fn run(who: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match runtime.block_on(scenario::run()) {
        Ok(scenario::Outcome::Passed) => {
            eprintln!("platform {who}: passed");
            ExitCode::SUCCESS
        }
        Ok(scenario::Outcome::Forbidden(why)) => {
            eprintln!("platform {who}: SKIPPED, NOT TESTED: {why}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("platform {who}: FAILED: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// From a copy that `nobody` may read, with nothing inherited.
fn run_as_nobody() -> ExitCode {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("platform");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [dir.path(), Path::new(&program)] {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let status = Command::new(&program)
        .arg("as-nobody")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .status()
        .unwrap();
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}
