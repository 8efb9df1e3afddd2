//! What one request leaves behind: Istio's metrics and an access-log record, written when the
//! response is complete or its future is dropped, whichever way that happens.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use mesh_route::access_log::LogFacts;
use mesh_route::{Cluster, Endpoint, HttpManager};
use mesh_telemetry::access_log::{Record, ResponseFlag, ResponseFlags};
use mesh_telemetry::metrics::GaugeGuard;
use smallvec::SmallVec;

use super::body::Progress;
use super::head::{Head, size_of_headers};
use super::headers::{is_grpc, name};
use crate::listen::connection::{Connection, Direction};
use crate::metrics::ends::{self, Far};
use crate::metrics::{Ends, Flags, Outcome, RequestProtocol};
use crate::peer::{Peer, UNKNOWN};
use crate::upstream::Info;

/// The record of one request while it lasts.
#[derive(Debug)]
pub(crate) struct Report {
    connection: Rc<Connection>,
    manager: Arc<HttpManager>,
    start: SystemTime,
    /// When the request's head was read.
    pub(crate) started: Instant,
    /// The request.
    pub(crate) head: Option<Rc<Head>>,
    /// Its body's progress, if it has one.
    pub(crate) progress: Option<Rc<Progress>>,
    /// What the client told about itself.
    pub(crate) client: Option<Rc<Peer>>,
    /// It told so with this very request.
    pub(crate) introduced: bool,
    /// Flags so far.
    pub(crate) flags: ResponseFlags,
    /// Who chose the status and why.
    pub(crate) details: Option<Cow<'static, str>>,
    /// Why no connection or stream came about.
    pub(crate) transport_reason: Option<Rc<str>>,
    /// The chosen cluster.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// Its name, known even where the cluster is not.
    pub(crate) cluster_name: Option<Arc<str>>,
    /// The endpoint of the last attempt.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// The connection of the last attempt.
    pub(crate) upstream: Option<Rc<Info>>,
    /// Times the request was sent.
    pub(crate) attempts: u32,
    /// Name of the route.
    pub(crate) route: Option<Arc<str>>,
    /// Name of the destination where no cluster gives one (`BlackHoleCluster`).
    pub(crate) service_name: Option<&'static str>,
    /// From sending to the response's head.
    pub(crate) service_time: Option<Duration>,
    /// Body bytes sent to the client.
    pub(crate) bytes_sent: u64,
    /// Bytes received from the client in a tunnel, after an upgrade.
    pub(crate) tunnelled: u64,
    status: u16,
    grpc_status: Option<u16>,
    response_headers: Option<HeaderMap>,
    response_head_bytes: u64,
    response_trailers: Option<HeaderMap>,
    first_byte: Option<Duration>,
    complete: bool,
    _active: GaugeGuard,
}

impl Report {
    /// Begins with a request's arrival.
    pub(crate) fn new(connection: &Rc<Connection>, manager: &Arc<HttpManager>) -> Self {
        connection.stats.rq_total.inc();
        Self {
            connection: Rc::clone(connection),
            manager: Arc::clone(manager),
            start: SystemTime::now(),
            started: Instant::now(),
            head: None,
            progress: None,
            client: None,
            introduced: false,
            flags: ResponseFlags::NONE,
            details: None,
            transport_reason: None,
            cluster: None,
            cluster_name: None,
            endpoint: None,
            upstream: None,
            attempts: 0,
            route: None,
            service_name: None,
            service_time: None,
            bytes_sent: 0,
            tunnelled: 0,
            status: 0,
            grpc_status: None,
            response_headers: None,
            response_head_bytes: 0,
            response_trailers: None,
            first_byte: None,
            complete: false,
            _active: connection.stats.rq_active.hold(),
        }
    }

    /// Adds flags.
    pub(crate) fn add_flags(&mut self, flags: ResponseFlags) {
        flags.iter().for_each(|flag| self.flags.insert(flag));
    }

    /// The head that goes to the client.
    pub(crate) fn responded(&mut self, status: u16, headers: &HeaderMap) {
        self.status = status;
        self.grpc_status = grpc_status(headers);
        self.response_head_bytes = size_of_headers(headers) as u64;
        self.first_byte = Some(self.started.elapsed());
        let worker = &self.connection.worker;
        let logs = self.manager.access_logs.iter();
        let read = logs
            .filter_map(|spec| worker.access_log(spec))
            .any(|log| log.reads_response_headers());
        if read {
            self.response_headers = Some(headers.clone());
        }
    }

    /// The trailers that go to the client.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.grpc_status = grpc_status(trailers).or(self.grpc_status);
        if !self.manager.access_logs.is_empty() {
            self.response_trailers = Some(trailers.clone());
        }
    }

    /// The response has ended in good order; otherwise dropping means that the client left.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// The response was cut off, `flag` says why.
    pub(crate) fn cut(&mut self, flag: ResponseFlag) {
        self.flags.insert(flag);
        self.complete = true;
    }

    fn body_bytes(&self) -> u64 {
        let body = self
            .progress
            .as_ref()
            .map_or(0, |progress| progress.bytes.get());
        body + self.tunnelled
    }

    /// The call is gRPC.
    pub(crate) fn is_grpc(&self) -> bool {
        self.head
            .as_ref()
            .is_some_and(|head| is_grpc(&head.headers))
    }

    fn ends(&self) -> Ends {
        let upstream_peer = self
            .upstream
            .as_ref()
            .and_then(|info| info.peer.borrow().clone());
        let peer = match self.connection.direction {
            Direction::Inbound => self.client.as_ref(),
            Direction::Outbound | Direction::Gateway => upstream_peer.as_ref(),
        };
        let host = self
            .head
            .as_ref()
            .map(|head| without_port(head.authority()));
        let far = Far {
            cluster: self.cluster.as_deref(),
            endpoint: self.endpoint.as_ref(),
            principal: self
                .upstream
                .as_ref()
                .and_then(|info| info.principal.as_ref()),
            peer,
            host,
        };
        let mut ends = ends::of(&self.connection, &far);
        if let (Some(name), None) = (self.service_name, far.cluster) {
            let names = &self.connection.worker.names;
            ends.service = names.service_named(host.unwrap_or(UNKNOWN), name, UNKNOWN);
        }
        ends
    }

    fn count(&self, duration: Duration) {
        let request_head = self.head.as_ref().map_or(0, |head| head.size_bytes());
        let protocol = if self.is_grpc() {
            RequestProtocol::Grpc
        } else {
            RequestProtocol::Http
        };
        let outcome = Outcome {
            protocol,
            code: self.status,
            grpc_status: self
                .grpc_status
                .filter(|_| protocol == RequestProtocol::Grpc),
            flags: Flags(self.flags),
        };
        let request_bytes = request_head + self.body_bytes();
        let response_bytes = self.response_head_bytes + self.bytes_sent;
        let recorder = &self.connection.worker.recorder;
        recorder.request(
            &self.ends(),
            outcome,
            duration,
            request_bytes,
            response_bytes,
        );
    }

    fn log(&self, duration: Duration) {
        let worker = &self.connection.worker;
        let flags: SmallVec<[&str; 4]> = self.flags.iter().map(ResponseFlag::short).collect();
        let facts = LogFacts {
            status: self.status,
            duration_millis: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            flags: &flags,
            grpc_status: self.grpc_status,
        };
        let record = self.record(duration);
        for spec in &self.manager.access_logs {
            if spec.wants(&facts, worker.random())
                && let Some(log) = worker.access_log(spec)
            {
                log.write(&record);
            }
        }
    }

    fn record(&self, duration: Duration) -> Record<'_> {
        let connection = &self.connection;
        let head = self.head.as_deref();
        let upstream = self.upstream.as_deref();
        Record {
            duration: Some(duration),
            response_duration: self.first_byte,
            protocol: head.map(Head::protocol),
            method: head.map(|head| head.method.as_str()),
            path: head.map(Head::path),
            authority: head.map(Head::authority),
            scheme: head.map(|head| head.scheme),
            request_headers: head.map(|head| &head.headers),
            response_headers: self.response_headers.as_ref(),
            response_trailers: self.response_trailers.as_ref(),
            response_code: self.status,
            response_code_details: self.details.as_deref(),
            upstream_transport_failure_reason: self.transport_reason.as_deref(),
            flags: self.flags,
            bytes_received: self.body_bytes(),
            bytes_sent: self.bytes_sent,
            upstream_service_time: self.service_time,
            upstream_host: self.endpoint.as_ref().map(|endpoint| endpoint.address),
            upstream_cluster: self.cluster_name.as_deref(),
            upstream_local_address: upstream.map(|info| info.local),
            upstream_attempts: self.attempts,
            downstream_local_address: Some(connection.destination),
            downstream_remote_address: Some(connection.peer),
            downstream_direct_remote_address: Some(connection.peer),
            requested_server_name: connection.server_name(),
            route_name: self.route.as_deref().filter(|name| !name.is_empty()),
            downstream_peer_uri_san: connection.principal().map(|principal| &**principal),
            upstream_peer_uri_san: upstream.and_then(|info| info.principal.as_deref()),
            ..Record::at(self.start)
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.complete {
            self.flags
                .insert(ResponseFlag::DownstreamConnectionTermination);
            self.details
                .get_or_insert(Cow::Borrowed("downstream_remote_disconnect"));
        }
        let duration = self.started.elapsed();
        self.count(duration);
        if !self.manager.access_logs.is_empty() {
            self.log(duration);
        }
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get(name::GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
