//! Developer tasks, run as `cargo xtask TASK`.

mod bench;
mod crds;
mod demo;
mod descriptors;
mod images;
mod layers;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Developer tasks of this workspace.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the release binaries and starts the mesh with Bookinfo in it.
    Demo {
        /// Further arguments of `meshctl local up`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Builds the release binaries and measures the sidecar pair beside its peers.
    BenchMesh {
        /// Arguments of `mesh-bench`; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Builds the container images as archives, without Docker.
    Images(images::Options),
    /// Rebuilds the committed Envoy descriptor set from an unpacked `envoy-types` crate.
    Descriptors {
        /// Directory of the unpacked `envoy-types` crate.
        envoy_types: PathBuf,
        /// File to write.
        #[arg(long, default_value = "crates/xds/proto/envoy.fds")]
        out: PathBuf,
    },
    /// Writes the CustomResourceDefinitions of the base chart from crates/config.
    Crds {
        /// Only check that they are current.
        #[arg(long)]
        check: bool,
    },
    /// Checks that no crate depends on one of a layer above it.
    Layers,
}

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask stands in the workspace")?;
    match Arguments::parse().task {
        Task::Demo { arguments } => demo::run(root, &arguments),
        Task::BenchMesh { arguments } => bench::run(root, &arguments),
        Task::Images(options) => images::run(root, &options),
        Task::Descriptors { envoy_types, out } => descriptors::refresh(&envoy_types, &out),
        Task::Crds { check: true } => crds::check(root),
        Task::Crds { check: false } => crds::write(root),
        Task::Layers => layers::check(root),
    }
}
