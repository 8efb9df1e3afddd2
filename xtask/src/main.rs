//! Developer tasks, run as `cargo xtask TASK`.

mod descriptors;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Developer tasks of this workspace.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Rebuilds the committed Envoy descriptor set from an unpacked `envoy-types` crate.
    Descriptors {
        /// Directory of the unpacked `envoy-types` crate.
        envoy_types: PathBuf,
        /// File to write.
        #[arg(long, default_value = "crates/xds/proto/envoy.fds")]
        out: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Descriptors { envoy_types, out } => descriptors::refresh(&envoy_types, &out),
    }
}
