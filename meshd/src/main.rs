//! `meshd`: the control plane in one process. It reads configuration and endpoints, serves them
//! to proxies over xDS, signs the proxies' certificates, and on Kubernetes injects the proxies.

mod authentication;
mod grpc;
mod monitoring;
mod options;
mod platform;
mod root_certificate;
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use mesh_citadel::{CaService, server_cert};
use mesh_pilot::{Access, Pilot};
use mesh_telemetry::log;
use mesh_telemetry::metrics::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;

use crate::authentication::Authentication;
use crate::monitoring::Monitoring;
use crate::options::Options;
use crate::platform::{Platform, files, kubernetes};
use crate::sockets::bind;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// On Kubernetes a pod that ends is sent new connections until every node knows; so long it still
/// serves, and proxies that it then lets go of find another replica.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// After the first configuration is out: watches, webhooks and leases have begun by then.
const START_SETTLES: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let log = log::init(options.log_format(), &options.log_filter())?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(run(options, log))
}

async fn run(options: Options, log: log::LogHandle) -> anyhow::Result<()> {
    let mut end = End::new()?;
    let metrics = Registry::new();
    let sockets = Sockets::bind(&options)?;
    let (stop, stopped) = watch::channel(());
    let pages = Arc::new(Monitoring::new(metrics.clone(), log));
    let served = monitoring::serve(sockets.monitoring, pages.clone(), stopped.clone());
    let served = tokio::spawn(served);

    // The API server may take its time: probes and signals are answered meanwhile.
    let starting = start_platform(&options, &metrics);
    let mut platform = tokio::select! {
        platform = Box::pin(starting) => platform?,
        ended = end.comes() => return ended.map(drop),
    };
    let names = options.names();
    let tls = server_cert::server_config(platform.authority.clone(), names, &metrics)?;
    let pilot = Arc::new(Pilot::start(std::mem::take(&mut platform.discovery))?);
    let servers = Servers {
        pilot: &pilot,
        platform: &platform,
        metrics: &metrics,
        stopped,
    };
    let servers = servers.start(sockets.plaintext, sockets.secure, sockets.webhooks, tls);
    pages.started(pilot.clone(), platform.injection.clone());
    platform.following.spawn(let_go_of_the_start(pilot.watch()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        xds = %options.xds_address,
        secure = %options.secure_address,
        monitoring = %options.monitoring_address,
        "control plane is listening"
    );

    let ended = end.comes().await?;
    tracing::info!("control plane is stopping");
    pages.leave();
    leave(&mut platform, ended, &mut end).await;
    drop(stop);
    let _ = served.await;
    drop(pages);
    if let Some(pilot) = Arc::into_inner(pilot) {
        pilot.shutdown().await;
    }
    servers.join_all().await;
    Ok(())
}

async fn start_platform(options: &Options, metrics: &Registry) -> anyhow::Result<Platform> {
    if options.kubernetes.kubernetes {
        Box::pin(kubernetes::start(options, metrics)).await
    } else {
        files::start(options, metrics)
    }
}

/// Gives the memory back that only the start needed, once what it read is published and its first
/// proxies have come.
async fn let_go_of_the_start<T>(mut published: watch::Receiver<Option<T>>) {
    if published.wait_for(Option::is_some).await.is_err() {
        return;
    }
    tokio::time::sleep(START_SETTLES).await;
    if let Err(error) = mesh_sys::memory::trim() {
        tracing::debug!(%error, "the start's memory stays");
    }
}

/// Ends what this replica leads, so that another takes over at once; then waits until nobody is
/// sent here any more. A second signal ends the wait.
async fn leave(platform: &mut Platform, ended: Ended, end: &mut End) {
    platform.writing.shutdown().await;
    let campaigns = std::mem::take(&mut platform.campaigns);
    let resigning = campaigns.into_iter().map(|one| one.resign());
    futures::future::join_all(resigning).await;
    if platform.injection.is_some() && ended == Ended::Terminated {
        let _ = tokio::time::timeout(LEAVE_WITHIN, end.comes()).await;
    }
}

/// Every socket, bound before anything else begins: a port that is taken is told at once.
struct Sockets {
    plaintext: TcpListener,
    secure: TcpListener,
    monitoring: TcpListener,
    webhooks: Option<TcpListener>,
}

impl Sockets {
    fn bind(options: &Options) -> anyhow::Result<Self> {
        let webhooks = options.kubernetes.webhook_address;
        let webhooks = options
            .kubernetes
            .kubernetes
            .then(|| bind(webhooks, "webhooks"))
            .transpose()?;
        Ok(Self {
            plaintext: bind(options.xds_address, "plaintext xDS")?,
            secure: bind(options.secure_address, "xDS and certificates over TLS")?,
            monitoring: bind(options.monitoring_address, "metrics and debug pages")?,
            webhooks,
        })
    }
}

/// What the servers are made of.
struct Servers<'a> {
    pilot: &'a Pilot,
    platform: &'a Platform,
    metrics: &'a Registry,
    stopped: watch::Receiver<()>,
}

impl Servers<'_> {
    fn start(
        self,
        plaintext: TcpListener,
        secure: TcpListener,
        webhooks: Option<TcpListener>,
        tls: Arc<rustls::ServerConfig>,
    ) -> JoinSet<()> {
        let Platform {
            authority,
            verifier,
            ..
        } = self.platform;
        let open = Routes::new(self.pilot.ads_service(Access::Anyone));
        let authentication = Authentication::new(verifier.clone(), authority.clone());
        let authority = CaService::new(authority.clone(), verifier.clone(), self.metrics);
        let guarded = Routes::new(authority.into_server())
            .add_service(authentication.guard(self.pilot.ads_service(Access::Identified)));
        let mut servers = JoinSet::new();
        servers.spawn(grpc::serve(plaintext, None, open, self.stopped.clone()));
        let secured = grpc::serve(secure, Some(tls.clone()), guarded, self.stopped.clone());
        servers.spawn(secured);
        if let (Some(listener), Some(inputs)) = (webhooks, self.platform.injection.clone()) {
            let server = mesh_injector::Server::new(inputs, self.metrics);
            servers.spawn(server.serve(listener, tls, self.stopped));
        }
        servers
    }
}

/// The signals that end the process.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// SIGTERM: from a supervisor.
    Terminated,
    /// SIGINT: from a person who waits.
    Interrupted,
}

impl End {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    async fn comes(&mut self) -> anyhow::Result<Ended> {
        tokio::select! {
            _ = self.terminate.recv() => Ok(Ended::Terminated),
            _ = self.interrupt.recv() => Ok(Ended::Interrupted),
        }
    }
}
