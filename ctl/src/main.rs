//! `meshctl`: installs meshes on clusters, starts them on this machine, and tells what a mesh does
//! and why.

mod analyze;
mod check_inject;
mod cluster;
mod completion;
mod confirm;
mod dashboard;
mod envoy;
mod inject;
mod input;
mod install;
mod local;
mod manifest;
mod output;
mod precheck;
mod proxy_config;
mod proxy_status;
mod target;
mod uninstall;
mod upgrade;
mod validate;
mod verify_install;
mod version;
mod yaml;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use owo_colors::OwoColorize;

/// The command-line client of the mesh.
#[derive(Parser)]
#[command(name = "meshctl", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the mesh on a Kubernetes cluster, or bring an installation to other values.
    Install(install::Install),
    /// Bring an installation to this program's version, in place.
    Upgrade(upgrade::Upgrade),
    /// Remove one revision of the mesh from a Kubernetes cluster, or all of it.
    Uninstall(uninstall::Uninstall),
    /// Check whether everything that was installed is there and ready.
    VerifyInstall(verify_install::VerifyInstall),
    /// Check whether a cluster can take an installation.
    Precheck(precheck::Precheck),
    /// Show what an installation consists of, without a cluster.
    #[command(subcommand)]
    Manifest(manifest::Manifest),
    /// Open pages of the control plane or of a proxy in a browser.
    #[command(visible_alias = "dash")]
    Dashboard(dashboard::Dashboard),
    /// Run Kubernetes manifests and the mesh on this machine: no cluster, no Docker, no root.
    #[command(subcommand)]
    Local(local::Local),
    /// Show every proxy and whether it has the configuration that the control plane sent.
    #[command(visible_alias = "ps")]
    ProxyStatus(proxy_status::ProxyStatus),
    /// Show what one proxy is configured with.
    #[command(visible_alias = "pc")]
    ProxyConfig(proxy_config::ProxyConfig),
    /// Put the proxy into the pods of manifests, as the webhook would.
    Inject(inject::Inject),
    /// Explain why a pod has a proxy or not, and what to change.
    CheckInject(check_inject::CheckInject),
    /// Check mesh configuration in files without applying it.
    Validate(validate::Validate),
    /// Show what is doubtful in the configuration of a running mesh: references that lead nowhere,
    /// conflicts, rules without effect.
    #[command(visible_alias = "analyse")]
    Analyze(analyze::Analyze),
    /// Print a script that completes this program's commands and options in a shell.
    Completion(completion::Completion),
    /// Show the versions of this client, the control plane and the proxies.
    Version(version::Version),
}

fn main() -> ExitCode {
    // Hidden arguments by which the local platform starts itself anew inside its namespaces.
    if let Some(code) = mesh_local::reexec() {
        return code;
    }
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            // If nobody can be told, the exit code says it.
            let _ = writeln!(anstream::stderr(), "{} {error:#}", "error:".red().bold());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Install(command) => block_on(install::run(&command)),
        Command::Upgrade(command) => block_on(upgrade::run(&command)),
        Command::Uninstall(command) => block_on(uninstall::run(&command)),
        Command::VerifyInstall(command) => block_on(verify_install::run(&command)),
        Command::Precheck(command) => block_on(precheck::run(&command)),
        Command::Manifest(command) => manifest::run(&command),
        Command::Dashboard(command) => block_on(dashboard::run(&command)),
        Command::Local(command) => local::run(command),
        Command::Inject(command) => block_on(inject::run(&command)),
        Command::CheckInject(command) => block_on(check_inject::run(&command)),
        Command::Validate(command) => validate::run(&command),
        Command::Completion(command) => completion::run(&command, Cli::command()),
        Command::Analyze(command) => block_on(analyze::run(&command)),
        Command::ProxyStatus(command) => block_on(proxy_status::run(&command)),
        Command::ProxyConfig(command) => block_on(proxy_config::run(&command)),
        Command::Version(command) => block_on(version::run(&command)),
    }
}

/// Runs one question to a mesh on a small runtime of its own.
fn block_on<T: Into<Answer>>(
    question: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer: Answer = runtime.block_on(question)?.into();
    Ok(answer.0)
}

/// What a question's answer means for the exit code.
struct Answer(ExitCode);

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Self(ExitCode::SUCCESS)
    }
}

impl From<ExitCode> for Answer {
    fn from(code: ExitCode) -> Self {
        Self(code)
    }
}
