//! `meshproxy`: the sidecar and gateway, and the set-up of traffic capture.

use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use mesh_proxy::admin::server::{broken, listen, serve};
use mesh_proxy::admin::{Admin, drain};
use mesh_proxy::bootstrap::{self, Bootstrap, Role};
use mesh_proxy::capture;
use mesh_proxy::certs::renew;
use mesh_proxy::control::{self, Control, ads, dns, shutdown};
use mesh_proxy::state::Shared;
use mesh_proxy::status::{Metrics, Readiness, Status, wait};
use mesh_proxy::worker::Workers;
use mesh_telemetry::log::{self, Format, LogHandle};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

#[global_allocator]
static ALLOCATOR: mesh_sys::alloc::Allocator = mesh_sys::alloc::Allocator;

/// Longest wait for the workers after their listeners were told to close.
const LAST_WORKER: Duration = Duration::from_secs(10);
/// Longest wait for the last access-log lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// Threads for name resolution, the only blocking work of the control side.
const BLOCKING_THREADS: usize = 4;

/// The data plane of the mesh.
#[derive(Parser)]
#[command(name = "meshproxy", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy. Its settings come from the environment, as the injector sets them.
    Proxy {
        /// Kind of proxy.
        #[arg(value_enum)]
        kind: Kind,
        /// Log filter, such as `info` or `info,mesh_proxy=debug`. Default: MESH_LOG, else info.
        #[arg(long, value_name = "FILTER")]
        log_level: Option<String>,
        /// Write the log as JSON.
        #[arg(long)]
        log_as_json: bool,
    },
    /// Redirect a pod's traffic to the proxy (the init container's job).
    Capture(Box<capture::Args>),
    /// Wait until the proxy of this pod is ready.
    Wait(wait::Args),
    /// Tell the clients of this pod's proxy to go, while everything is still served.
    Drain,
    /// Print the version.
    Version,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Beside an application.
    Sidecar,
    /// A gateway.
    Router,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Proxy {
            kind,
            log_level,
            log_as_json,
        } => {
            let role = match kind {
                Kind::Sidecar => Role::Sidecar,
                Kind::Router => Role::Router,
            };
            let bootstrap = bootstrap::from_environment(role)?;
            let format = if log_as_json {
                Format::Json
            } else {
                Format::Text
            };
            let log = log::init(
                format,
                log_level.as_deref().unwrap_or(&bootstrap.log_filter),
            )?;
            run(bootstrap, log)
        }
        Command::Capture(arguments) => {
            log::init(Format::Text, "info")?;
            capture::run(&arguments).context("capture traffic")
        }
        Command::Wait(arguments) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(wait::run(&arguments))?)
        }
        Command::Drain => {
            let admin = bootstrap::from_environment(Role::Sidecar)?.admin;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(drain::run(admin))?)
        }
        Command::Version => Ok(writeln!(
            std::io::stdout(),
            "meshproxy {}",
            env!("CARGO_PKG_VERSION")
        )?),
    }
}

fn run(bootstrap: Bootstrap, log: LogHandle) -> anyhow::Result<()> {
    tracing::info!(
        node = bootstrap.node.id,
        id = %bootstrap.id,
        workers = bootstrap.concurrency,
        control_plane = %bootstrap.discovery,
        "meshproxy {} starts",
        env!("CARGO_PKG_VERSION")
    );
    if let Err(error) = mesh_sys::socket::raise_nofile() {
        tracing::warn!(%error, "limit of open files stays as it is");
    }
    if let Err(error) = mesh_sys::process::refuse_huge_pages() {
        tracing::warn!(%error, "huge pages stay allowed, memory may be larger");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("start the control thread's runtime")?;
    let ended = LocalSet::new().block_on(&runtime, control_side(bootstrap, log));
    // A name resolution that hangs must not keep the process.
    runtime.shutdown_background();
    ended
}

/// The control thread's ports.
struct Ports {
    admin: TcpListener,
    status: TcpListener,
    readiness: TcpListener,
    metrics: TcpListener,
}

impl Ports {
    async fn open(bootstrap: &Bootstrap) -> anyhow::Result<Self> {
        Ok(Self {
            admin: listen(bootstrap.admin, "the admin interface").await?,
            status: listen(bootstrap.status, "merged metrics and probes").await?,
            readiness: listen(bootstrap.readiness, "readiness").await?,
            metrics: listen(bootstrap.metrics, "metrics").await?,
        })
    }
}

fn open_interfaces(ports: Ports, control: &Rc<Control>) {
    let broken = broken(&control.shared.registry);
    let of = |interface: &str| broken.with(&[interface]);
    let (admin, status) = (Admin::new(control.clone()), Status::new(control.clone()));
    let (ready, metrics) = (
        Readiness::new(control.clone()),
        Metrics::new(control.clone()),
    );
    spawn_local(serve(ports.admin, admin, of("admin")));
    spawn_local(serve(ports.status, status, of("status")));
    spawn_local(serve(ports.readiness, ready, of("readiness")));
    spawn_local(serve(ports.metrics, metrics, of("metrics")));
}

async fn control_side(bootstrap: Bootstrap, log: LogHandle) -> anyhow::Result<()> {
    let ports = Ports::open(&bootstrap).await?;
    let (signal, watch) = mesh_telemetry::drain::channel();
    let signal = Arc::new(signal);
    let shared = Shared::new(bootstrap, watch);
    let workers = Workers::start(&shared).context("start the worker threads")?;
    let control = Control::new(
        Arc::clone(&shared),
        workers.families().clone(),
        Arc::clone(&signal),
        log,
    );

    open_interfaces(ports, &control);
    spawn_local(renew::run(Arc::clone(&shared), control.certified.clone()));
    spawn_local(control::watch_certificates(control.clone()));
    spawn_local(dns::run(control.clone()));
    spawn_local(ads::run(control.clone()));

    shutdown::wait_and_drain(Arc::clone(&shared), signal, control.shutdown.clone())
        .await
        .context("receive signals")?;
    let joined = tokio::task::spawn_blocking(move || workers.join());
    if tokio::time::timeout(LAST_WORKER, joined).await.is_err() {
        tracing::warn!("workers do not end in time, what is open is cut");
    }
    shared.access_logs.flush(LAST_LINES);
    tracing::info!("meshproxy ends");
    Ok(())
}
