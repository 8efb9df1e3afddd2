//! The test application: a server that tells what reached it, and a client that tells what came back.

mod capture;
mod client;
mod kill;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The end-to-end suites' test application")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Serve until SIGTERM.
    Serve(server::Options),
    /// Send one HTTP request; prints the status, then the body.
    Get(client::Get),
    /// Send one line over TCP; prints what comes back.
    Tcp(client::Tcp),
    /// Record every packet that this network namespace sees; prints their bytes.
    Capture(capture::Options),
    /// Kill the processes of a pod on this node.
    Kill(kill::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().role {
        Role::Serve(options) => server::run(options).await?,
        Role::Get(options) => return client::get(&options).await,
        Role::Tcp(options) => return client::tcp(&options).await,
        Role::Capture(options) => capture::run(&options)?,
        Role::Kill(options) => kill::run(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}
