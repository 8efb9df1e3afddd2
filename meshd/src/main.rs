//! `meshd`: the control plane in one process. It reads configuration and endpoints, serves them
//! to proxies over xDS, and signs the proxies' certificates.

mod authentication;
mod grpc;
mod monitoring;
mod options;
mod root_certificate;

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use clap::Parser;
use mesh_citadel::{Authority, CaService, Verifier, control_plane_names, server_cert};
use mesh_pilot::{Access, Pilot};
use mesh_telemetry::log;
use mesh_telemetry::metrics::Registry;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tonic::service::Routes;

use crate::authentication::Authentication;
use crate::monitoring::Monitoring;
use crate::options::Options;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let log = log::init(options.log_format(), &options.log_level)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(run(options, log))
}

async fn run(options: Options, log: log::LogHandle) -> anyhow::Result<()> {
    let metrics = Registry::new();
    let authority =
        Authority::load_or_create(&options.state_dir, options.authority()?, SystemTime::now())?;
    let authority = Arc::new(authority);
    if let Some(path) = &options.root_cert_out {
        root_certificate::publish(path, authority.root_pem())?;
    }
    let verifier = Arc::new(Verifier::new(
        &options.jwks,
        &options.token_issuer,
        &options.token_audience,
    ));
    let names = control_plane_names(&options.namespace, &options.cluster_domain);
    let tls = server_cert::server_config(authority.clone(), names, &metrics)?;

    let plaintext = bind(options.xds_address, "plaintext xDS")?;
    let secure = bind(options.secure_address, "xDS and certificates over TLS")?;
    let monitoring = bind(options.monitoring_address, "metrics and debug pages")?;

    let pilot = Pilot::start(options.pilot(&metrics)?)?;
    let (stop, stopped) = watch::channel(());
    let open = Routes::new(pilot.ads_service(Access::Anyone));
    let authentication = Authentication::new(verifier.clone(), authority.clone());
    let guarded = Routes::new(CaService::new(authority, verifier, &metrics).into_server())
        .add_service(authentication.guard(pilot.ads_service(Access::Identified)));
    let servers = [
        tokio::spawn(grpc::serve(plaintext, None, open, stopped.clone())),
        tokio::spawn(grpc::serve(secure, Some(tls), guarded, stopped.clone())),
    ];
    let pilot = Arc::new(pilot);
    let pages = Monitoring {
        pilot: pilot.clone(),
        metrics,
        log,
    };
    let pages = tokio::spawn(monitoring::serve(monitoring, Arc::new(pages), stopped));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        xds = %options.xds_address,
        secure = %options.secure_address,
        monitoring = %options.monitoring_address,
        "control plane is listening"
    );

    terminated().await?;
    tracing::info!("control plane is stopping");
    drop(stop);
    let _ = pages.await;
    if let Some(pilot) = Arc::into_inner(pilot) {
        pilot.shutdown().await;
    }
    for server in servers {
        let _ = server.await;
    }
    Ok(())
}

/// Connections that may wait to be accepted: after a restart every proxy of a large mesh comes at once, and
/// what overflows is reset.
const BACKLOG: u32 = 4096;

fn bind(address: std::net::SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| {
        format!("listen on {address} for {what} (is the port taken? `ss -ltnp` tells by whom)")
    })
}

fn listen(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        std::net::SocketAddr::V4(_) => TcpSocket::new_v4()?,
        std::net::SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As `TcpListener::bind` does it: a restart need not wait for old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Ends at SIGTERM or SIGINT.
async fn terminated() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result.context("listen for SIGINT")?,
    }
    Ok(())
}
