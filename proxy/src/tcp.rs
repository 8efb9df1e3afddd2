//! Opaque bytes: pick a cluster and an endpoint, connect, copy both ways.

pub mod copy;
pub mod exchange;
mod report;
pub mod splice;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_route::cluster::{ClusterKind, EndpointSet, Report};
use mesh_route::{Cluster, PickRequest, Picked, TcpProxy};
use mesh_telemetry::access_log::ResponseFlag;
use mesh_telemetry::drain::Phase;
use smallvec::SmallVec;
use tokio::io::AsyncWriteExt as _;

use crate::listen::connection::{ConnError, Connection};
use crate::tls::{ClientStream, ServerStream};
use crate::upstream::connect::Connected;
use crate::upstream::error::AcquireError;
use crate::upstream::pool::Protocol;
use crate::upstream::{self, Target, TcpGuards};
use crate::worker::Worker;
use copy::{End, both_ways};
use exchange::{Agreed, Exchanged, Wanted};
use report::TcpReport;
pub(crate) use report::log_refused;

/// An upstream connection for one client.
struct Upstream {
    connected: Connected,
    guards: TcpGuards,
    picked: Picked,
}

/// Serves one connection to its end.
///
/// # Errors
/// [`ConnError::Io`] for errors other than the ways in which connections end every day.
pub async fn serve(
    connection: Rc<Connection>,
    stream: ServerStream,
    proxy: Arc<TcpProxy>,
) -> Result<(), ConnError> {
    let worker = Rc::clone(&connection.worker);
    let mut report = TcpReport::new(&connection, &proxy);
    // Boxed: what it takes to get there is freed before the bytes flow.
    let Some(mut way) = Box::pin(open(&connection, stream, &proxy, &mut report)).await? else {
        return Ok(());
    };
    let cluster = Arc::clone(&way.cluster);
    let idle = cluster.tcp_idle_timeout.or(proxy.idle_timeout);
    let too_long = async {
        match proxy.max_duration {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let removed = removed(&worker, &cluster, way.picked.endpoint.address);
    let closing = worker.shared.drain.reached(Phase::Closing);
    tokio::select! {
        biased;
        () = closing => report.flag(ResponseFlag::LocalReset),
        () = too_long => report.flag(ResponseFlag::DurationTimeout),
        () = removed => report.flag(ResponseFlag::UpstreamConnectionTermination),
        () = Box::pin(connection.orphaned()) => report.flag(ResponseFlag::LocalReset),
        end = both_ways(&mut way.stream, &mut way.upstream, idle, &report) => match end? {
            End::Closed => {}
            End::Idle => report.flag(ResponseFlag::StreamIdleTimeout),
        },
    }
    Ok(())
}

/// Both streams with what must live as long as they.
struct Way {
    stream: Exchanged<ServerStream>,
    upstream: Exchanged<ClientStream>,
    cluster: Arc<Cluster>,
    picked: Picked,
    _guards: TcpGuards,
}

/// Connects the client to an upstream; `None` after telling the report why not.
async fn open(
    connection: &Connection,
    stream: ServerStream,
    proxy: &TcpProxy,
    report: &mut TcpReport<'_>,
) -> std::io::Result<Option<Box<Way>>> {
    let worker = &connection.worker;
    let snapshot = worker.snapshot();
    let stream = meet_client(connection, stream, report).await?;
    let name = proxy.cluster(worker.random());
    report.cluster = Some(Arc::clone(name));
    let Some(cluster) = snapshot.cluster(name).cloned() else {
        report.flag(ResponseFlag::NoClusterFound);
        return Ok(None);
    };
    let Some(made) = connect(connection, proxy, &cluster, report).await else {
        return Ok(None);
    };
    report.connected(&cluster, &made.picked.endpoint, &made.connected);
    Ok(Some(Box::new(Way {
        stream,
        upstream: meet_upstream(worker, made.connected).await?,
        cluster,
        picked: made.picked,
        _guards: made.guards,
    })))
}

/// How long a client that agreed to tell who it is may keep us waiting. Ours tell with the
/// handshake's last message; Envoy only with the application's first byte.
const MEET_WITHIN: Duration = Duration::from_millis(250);

/// Learns who the client is and tells who we are, if both agreed to.
async fn meet_client(
    connection: &Connection,
    stream: ServerStream,
    report: &mut TcpReport<'_>,
) -> std::io::Result<Exchanged<ServerStream>> {
    let alpn = connection
        .handshake
        .as_ref()
        .and_then(|tls| tls.alpn.as_deref());
    let agreed = Agreed::by(alpn);
    let mut stream = Exchanged::new(stream, agreed, Wanted::Peer);
    if agreed == Agreed::Yes {
        let frame = tokio::time::timeout(MEET_WITHIN, poll_fn(|cx| stream.poll_frame(cx)));
        if let Ok(read) = frame.await {
            read?;
        }
        let worker = &connection.worker;
        report.client = stream.take_peer().map(|peer| worker.names.peer(peer));
        stream.write_all(&worker.announcement.frame).await?;
        stream.flush().await?;
    }
    Ok(stream)
}

/// Tells the upstream who we are, if both agreed to. What it tells is known from its endpoint.
async fn meet_upstream(
    worker: &Worker,
    connected: Connected,
) -> std::io::Result<Exchanged<ClientStream>> {
    let agreed = Agreed::by(connected.alpn.as_deref());
    let mut stream = Exchanged::new(connected.stream, agreed, Wanted::Bytes);
    if agreed == Agreed::Yes {
        stream.write_all(&worker.announcement.frame).await?;
        stream.flush().await?;
    }
    Ok(stream)
}

/// How often a connection looks whether its endpoint was taken out, where that ends it.
const REMOVAL_CHECK: Duration = Duration::from_secs(1);

/// Returns once the endpoint is no longer in its cluster, if the cluster says that this ends
/// connections.
async fn removed(worker: &Worker, cluster: &Cluster, address: SocketAddr) {
    if !cluster.close_on_removal || cluster.kind == ClusterKind::OriginalDst {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(REMOVAL_CHECK).await;
        let snapshot = worker.snapshot();
        let current = snapshot
            .cluster(&cluster.name)
            .map(|cluster| cluster.endpoints());
        let there =
            |set: &EndpointSet| set.all().iter().any(|endpoint| endpoint.address == address);
        if !current.is_some_and(|set| there(&set)) {
            return;
        }
    }
}

/// Tries as many endpoints as the proxy filter allows; `None` after telling the report why.
async fn connect(
    connection: &Connection,
    proxy: &TcpProxy,
    cluster: &Arc<Cluster>,
    report: &mut TcpReport<'_>,
) -> Option<Upstream> {
    let worker = &connection.worker;
    let mut tried: SmallVec<[SocketAddr; 4]> = SmallVec::new();
    for attempt in 1..=proxy.max_connect_attempts {
        let picked = cluster.pick(&PickRequest {
            hash: proxy.hash(connection.peer),
            avoid: &tried,
            avoid_attempts: 3,
            original_destination: Some(connection.destination),
            random: worker.random(),
        });
        let picked = match picked {
            Ok(picked) => picked,
            Err(error) => {
                report.failed(&AcquireError::Pick(error));
                return None;
            }
        };
        let endpoint = Arc::clone(&picked.endpoint);
        let target = Target {
            cluster,
            endpoint: &endpoint,
            protocol: Protocol::Http1,
            host: None,
        };
        match upstream::connect_tcp(worker, &target).await {
            Ok((connected, guards)) => {
                cluster.report(&endpoint, Report::Connected, Instant::now());
                return Some(Upstream {
                    connected,
                    guards,
                    picked,
                });
            }
            Err(error) => {
                let last = attempt == proxy.max_connect_attempts;
                if matches!(error, AcquireError::Connect(_)) {
                    cluster.report(&endpoint, Report::LocalFailure, Instant::now());
                }
                if last || matches!(error, AcquireError::Overflow(_)) {
                    report.failed(&error);
                    if attempt > 1 {
                        report.flag(ResponseFlag::UpstreamRetryLimitExceeded);
                    }
                    return None;
                }
                tried.push(endpoint.address);
            }
        }
    }
    None
}
