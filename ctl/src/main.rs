//! `meshctl`: starts meshes on this machine, and tells what a mesh does and why.

mod envoy;
mod local;
mod output;
mod proxy_config;
mod proxy_status;
mod target;
mod validate;
mod version;

use std::process::ExitCode;

use anstream::eprintln;
use clap::{Parser, Subcommand};
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
    /// Run Kubernetes manifests and the mesh on this machine: no cluster, no Docker, no root.
    #[command(subcommand)]
    Local(local::Local),
    /// Show every proxy and whether it has the configuration that the control plane sent.
    #[command(visible_alias = "ps")]
    ProxyStatus(proxy_status::ProxyStatus),
    /// Show what one proxy is configured with.
    #[command(visible_alias = "pc")]
    ProxyConfig(proxy_config::ProxyConfig),
    /// Check mesh configuration in files without applying it.
    Validate(validate::Validate),
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
            eprintln!("{} {error:#}", "error:".red().bold());
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Local(command) => local::run(command),
        Command::Validate(command) => validate::run(&command),
        Command::ProxyStatus(command) => block_on(proxy_status::run(&command)),
        Command::ProxyConfig(command) => block_on(proxy_config::run(&command)),
        Command::Version(command) => block_on(version::run(&command)),
    }
}

/// Runs one question to a mesh on a small runtime of its own.
fn block_on(question: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(question)?;
    Ok(ExitCode::SUCCESS)
}
