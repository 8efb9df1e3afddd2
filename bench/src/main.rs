//! `cargo bench-mesh`: what our sidecar pair costs, beside no mesh, Envoy and HAProxy in the same run.
//!
//! docs/benchmarks.md says what is compared and how; docs/performance.md holds the results.

mod child;
mod contender;
mod directory;
mod exclusive;
mod load;
mod measure;
mod memory;
mod options;
mod parts;
mod place;
mod proc;
mod report;
mod results;
mod run;
mod server;
mod soak;
mod swarm;
mod workload;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use options::{Command, Options};

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let Some(command) = options.command else {
        directory::sweep();
        return run::run(&options.run);
    };
    match command {
        Command::XdsSwarm(options) => {
            directory::sweep();
            swarm::command(&options)?;
        }
        Command::Soak(options) => {
            directory::sweep();
            return soak::command(&options);
        }
        Command::Server { http1, http2, tcp } => server::run(http1, http2, tcp)?,
        Command::Load { spec } => load::run(&parse(&spec)?)?,
        Command::Idle { spec } => load::hold(&parse(&spec)?)?,
        Command::Contain {
            parent,
            processors,
            command,
        } => child::contain(parent, &processors, &command)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(spec: &str) -> anyhow::Result<load::Spec> {
    serde_json::from_str(spec).context("read the load's specification")
}
