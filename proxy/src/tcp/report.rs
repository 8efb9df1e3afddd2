//! What one TCP connection leaves behind: counters while it lasts, an access-log record at its
//! end, whichever way it ends.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mesh_route::access_log::LogFacts;
use mesh_route::{AccessLogSpec, Cluster, Endpoint, TcpProxy};
use mesh_telemetry::access_log::{Record, ResponseFlag, ResponseFlags};
use smallvec::SmallVec;

use super::copy::Observer;
use crate::listen::connection::Connection;
use crate::metrics::TcpHandles;
use crate::metrics::ends::{self, Far};
use crate::metrics::stats::ClusterStats;
use crate::peer::Peer;
use crate::upstream::connect::Connected;
use crate::upstream::error::{AcquireError, ConnectError, report};

pub(super) struct TcpReport<'a> {
    connection: &'a Connection,
    proxy: &'a TcpProxy,
    start: SystemTime,
    started: Instant,
    pub(super) cluster: Option<Arc<str>>,
    /// What the client told about itself.
    pub(super) client: Option<Rc<Peer>>,
    flags: ResponseFlags,
    failure: Option<String>,
    upstream: Option<(SocketAddr, SocketAddr)>,
    upstream_principal: Option<Rc<str>>,
    handles: Option<(TcpHandles, Rc<ClusterStats>)>,
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl<'a> TcpReport<'a> {
    pub(super) fn new(connection: &'a Connection, proxy: &'a TcpProxy) -> Self {
        Self {
            connection,
            proxy,
            start: SystemTime::now(),
            started: Instant::now(),
            cluster: None,
            client: None,
            flags: ResponseFlags::NONE,
            failure: None,
            upstream: None,
            upstream_principal: None,
            handles: None,
            received: Cell::new(0),
            sent: Cell::new(0),
        }
    }

    pub(super) fn flag(&mut self, flag: ResponseFlag) {
        self.flags.insert(flag);
    }

    pub(super) fn failed(&mut self, error: &AcquireError) {
        self.flag(match error {
            AcquireError::Pick(_) => ResponseFlag::NoHealthyUpstream,
            AcquireError::Overflow(_) => ResponseFlag::UpstreamOverflow,
            AcquireError::Connect(_) => ResponseFlag::UpstreamConnectionFailure,
        });
        if let AcquireError::Connect(error) = error {
            let error: &ConnectError = error;
            self.failure = Some(report(error));
        }
    }

    pub(super) fn connected(
        &mut self,
        cluster: &Cluster,
        endpoint: &Arc<Endpoint>,
        with: &Connected,
    ) {
        let worker = &self.connection.worker;
        self.upstream = Some((endpoint.address, with.local));
        self.upstream_principal = with.principal.clone();
        let far = Far {
            cluster: Some(cluster),
            endpoint: Some(endpoint),
            principal: with.principal.as_ref(),
            peer: self.client.as_ref(),
            host: None,
        };
        let handles = worker
            .recorder
            .tcp(&ends::of(self.connection, &far), ResponseFlags::NONE);
        handles.opened.inc();
        self.handles = Some((handles, worker.stats.cluster(&cluster.name)));
    }

    /// Counts a connection that never reached its upstream.
    fn count_failed(&self) {
        let worker = &self.connection.worker;
        let snapshot = worker.snapshot();
        let cluster = self
            .cluster
            .as_ref()
            .and_then(|name| snapshot.cluster(name));
        let far = Far {
            cluster: cluster.map(|c| &**c),
            peer: self.client.as_ref(),
            ..Far::default()
        };
        let handles = worker
            .recorder
            .tcp(&ends::of(self.connection, &far), self.flags);
        handles.opened.inc();
        handles.closed.inc();
    }

    fn log(&self) {
        let duration = self.started.elapsed();
        let flags: SmallVec<[&str; 4]> = self.flags.iter().map(ResponseFlag::short).collect();
        let facts = LogFacts {
            duration_millis: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            flags: &flags,
            ..LogFacts::default()
        };
        let record = Record {
            duration: Some(duration),
            flags: self.flags,
            upstream_transport_failure_reason: self.failure.as_deref(),
            bytes_received: self.received.get(),
            bytes_sent: self.sent.get(),
            upstream_host: self.upstream.map(|(remote, _)| remote),
            upstream_local_address: self.upstream.map(|(_, local)| local),
            upstream_cluster: self.cluster.as_deref(),
            upstream_peer_uri_san: self.upstream_principal.as_deref(),
            downstream_local_address: Some(self.connection.destination),
            downstream_remote_address: Some(self.connection.peer),
            downstream_direct_remote_address: Some(self.connection.peer),
            downstream_peer_uri_san: self.connection.principal().map(|principal| &**principal),
            requested_server_name: self.connection.server_name(),
            ..Record::at(self.start)
        };
        write(self.connection, &self.proxy.access_logs, &facts, &record);
    }
}

fn write(
    connection: &Connection,
    specs: &[AccessLogSpec],
    facts: &LogFacts<'_>,
    record: &Record<'_>,
) {
    let worker = &connection.worker;
    for spec in specs {
        if spec.wants(facts, worker.random())
            && let Some(log) = worker.access_log(spec)
        {
            log.write(record);
        }
    }
}

/// Logs a connection that never came as far as an upstream.
///
/// `details`: why we ended it.
pub(crate) fn log_refused(
    connection: &Connection,
    specs: &[AccessLogSpec],
    flag: ResponseFlag,
    details: Option<&str>,
) {
    let flags = [flag.short()];
    let facts = LogFacts {
        flags: &flags,
        ..LogFacts::default()
    };
    let record = Record {
        flags: flag.into(),
        connection_termination_details: details,
        downstream_local_address: Some(connection.destination),
        downstream_remote_address: Some(connection.peer),
        downstream_direct_remote_address: Some(connection.peer),
        downstream_peer_uri_san: connection.principal().map(|principal| &**principal),
        requested_server_name: connection.server_name(),
        ..Record::at(SystemTime::now())
    };
    write(connection, specs, &facts, &record);
}

impl Observer for TcpReport<'_> {
    fn forward(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
        if let Some((handles, stats)) = &self.handles {
            handles.received.add(bytes);
            stats.tx_bytes.add(bytes);
        }
    }

    fn backward(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
        if let Some((handles, stats)) = &self.handles {
            handles.sent.add(bytes);
            stats.rx_bytes.add(bytes);
        }
    }
}

impl Drop for TcpReport<'_> {
    fn drop(&mut self) {
        match &self.handles {
            Some((handles, _)) => handles.closed.inc(),
            None => self.count_failed(),
        }
        self.log();
    }
}
