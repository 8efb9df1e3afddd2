//! `meshctl local up`: starts the platform, shows how it comes up, and ends it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use mesh_local::client::Client;
use mesh_local::daemon::{Daemon, InnerExit, Options, Override};
use tokio::signal::unix::{SignalKind, signal};

use super::{Place, progress};
use crate::output;

/// How long pods may take to end at Ctrl-C; their own grace period, if shorter, counts. Nobody is
/// left who could still send them anything, so this is shorter than a proxy's drain.
const GRACE: Duration = Duration::from_secs(4);

/// Arguments of `up`.
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Directories (their own files, not those in directories below) and files to run and watch.
    #[arg(value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Run in the background; end it with `meshctl local down`.
    #[arg(short, long)]
    detach: bool,
    /// Seconds to wait with --detach until everything is ready. What is not ready then is named, and
    /// goes on starting.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Where a Service's port is bound on 127.0.0.1: SERVICE.NAMESPACE:PORT=HOSTPORT, 0 for any free
    /// port; *=0 for any free port for every Service that is published.
    #[arg(long, value_name = "SERVICE.NAMESPACE:PORT=HOSTPORT")]
    publish: Vec<Override>,
    /// Run the manifests alone, without control plane and ingress gateway.
    #[arg(long)]
    no_mesh: bool,
    /// Log filter of the platform (STATE/platform.log).
    #[arg(long, env = "MESH_LOG", default_value = "info")]
    log: String,
    /// Started by `--detach`: outlives the terminal.
    #[arg(long, hide = true)]
    background: bool,
}

pub(super) async fn run(up: Up) -> anyhow::Result<ExitCode> {
    let state_dir = up.place.dir()?;
    if up.detach {
        return detach(&state_dir, Duration::from_secs(up.timeout)).await;
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let daemon = Daemon::start(&options(&up, &state_dir)?)?;
    let ended = daemon.run();
    let shown = async {
        // In the background nobody looks.
        if up.background {
            return Ok(());
        }
        progress::follow(Client::new(&state_dir), Some(std::process::id())).await?;
        output::line("\nStop with Ctrl-C, or: meshctl local down")
    };
    tokio::pin!(ended, shown);
    let mut showing = true;
    let mut ending = false;
    loop {
        tokio::select! {
            exit = &mut ended => return code(exit?),
            result = &mut shown, if showing => {
                result?;
                showing = false;
                continue;
            }
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {
                if up.background {
                    continue;
                }
            }
        }
        showing = false;
        if ending {
            // Asked twice: dropping the handle kills everything at once.
            return Ok(ExitCode::FAILURE);
        }
        ending = true;
        output::line("ending ... (again to kill what is left)")?;
        daemon.terminate().await?;
    }
}

/// Starts ourselves again in the background and waits until everything is ready.
async fn detach(state_dir: &Path, timeout: Duration) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(state_dir)
        .with_context(|| format!("create {}", state_dir.display()))?;
    if let Ok(running) = Client::new(state_dir).status().await {
        bail!(
            "a platform already runs on {}: process {} (end it with `meshctl local down`, or choose another --state-dir)",
            state_dir.display(),
            running.pid
        );
    }
    let log_path = state_dir.join("up.log");
    let log = new_log(&log_path).with_context(|| {
        let path = log_path.display();
        format!("write {path} (make room there, or choose another place with --state-dir)")
    })?;
    let arguments = std::env::args_os()
        .skip(1)
        .filter(|argument| !matches!(argument.to_str(), Some("-d" | "--detach")));
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .args(arguments)
        .arg("--background")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start the platform in the background")?;
    let child_pid = child.id();
    let place = format!("--state-dir {}", state_dir.display());
    let mut code = ExitCode::SUCCESS;
    tokio::select! {
        exit = child.wait() => {
            let said = std::fs::read_to_string(&log_path).unwrap_or_default();
            let said: Vec<&str> = said.lines().skip(1).collect();
            bail!("the platform did not start ({}):\n{}", exit?, said.join("\n"));
        }
        result = progress::follow(Client::new(state_dir), child_pid) => result?,
        () = tokio::time::sleep(timeout) => {
            output::line(&format!(
                "Not everything is ready after {} s; it goes on, see: meshctl local status {place}",
                timeout.as_secs()
            ))?;
            code = ExitCode::FAILURE;
        }
    }
    output::line(&format!(
        "\nIt runs in the background; end it with: meshctl local down {place}"
    ))?;
    Ok(code)
}

/// The file for what a platform in the background says. Its first line shows at once whether the
/// disk is full.
fn new_log(path: &Path) -> std::io::Result<std::fs::File> {
    let mut log = std::fs::File::create(path)?;
    log.write_all(b"what `meshctl local up` said:\n")?;
    Ok(log)
}

fn code(exit: InnerExit) -> anyhow::Result<ExitCode> {
    match exit {
        InnerExit::Code(0) => Ok(ExitCode::SUCCESS),
        // It has said why.
        InnerExit::Code(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        InnerExit::Signal(signal) => {
            bail!("the platform was killed by signal {signal}; everything in it is gone")
        }
    }
}

fn options(up: &Up, state_dir: &Path) -> anyhow::Result<Options> {
    let program = std::env::current_exe().context("find this program's directory")?;
    let paths = up
        .paths
        .iter()
        .map(|path| std::path::absolute(path).with_context(|| format!("find {}", path.display())));
    let search = std::env::var_os("PATH").unwrap_or_default();
    Ok(Options {
        state_dir: state_dir.to_owned(),
        paths: paths.collect::<anyhow::Result<_>>()?,
        publish: up.publish.clone(),
        bin_dir: program.parent().unwrap_or(Path::new("/")).to_owned(),
        search_path: std::env::split_paths(&search)
            .filter(|dir| dir.is_absolute())
            .collect(),
        mesh: !up.no_mesh,
        grace: GRACE,
        log: up.log.clone(),
    })
}
