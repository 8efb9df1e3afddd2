//! Clusters: endpoints, balancing, limits and outlier state of one upstream service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub mod endpoint;
pub mod labels;
pub mod limits;
pub mod outlier;

pub use endpoint::{Endpoint, EndpointSet, InFlight};
pub use labels::{ServiceLabels, Workload};
pub use limits::{Limit, LimitGuard, Overflow};
pub use outlier::Report;

/// A compiled cluster with its runtime state.
#[derive(Debug)]
pub struct Cluster {
    /// Resource name.
    pub name: Arc<str>,
    /// How endpoints are found.
    pub kind: ClusterKind,
    /// Time to connect, TLS handshake included. Default 5 s.
    pub connect_timeout: Duration,
    /// Source address to connect from.
    pub bind_source: Option<IpAddr>,
    /// TCP keepalive, if configured.
    pub keepalive: Option<Keepalive>,
    /// HTTP protocol and its options.
    pub http: HttpOptions,
    /// Connections are closed after so long without a byte (TCP); HTTP has its own in `http`.
    pub tcp_idle_timeout: Option<Duration>,
    /// Telemetry labels: the destination service.
    pub service: ServiceLabels,
    /// Close connections to endpoints that are taken out.
    pub close_on_removal: bool,
}

/// How endpoints are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterKind {
    /// By EDS.
    Eds,
    /// Written in the resource.
    Static,
    /// Host names, all addresses of each.
    StrictDns,
    /// One host name, one address at a time.
    LogicalDns,
    /// The connection's original destination.
    OriginalDst,
}

/// TCP keepalive settings; unset ones are the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Probes before giving up.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// What is spoken to the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 (by prior knowledge in plaintext).
    Http2,
    /// What the client speaks.
    Downstream,
    /// What ALPN yields, offering both.
    Alpn,
}

/// HTTP towards the endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptions {
    /// Protocol.
    pub protocol: HttpProtocol,
    /// Pooled connection without streams is closed after so long; default one hour.
    pub idle_timeout: Option<Duration>,
    /// Connection is drained after so long.
    pub max_connection_duration: Option<Duration>,
    /// Requests per connection, 0: unlimited.
    pub max_requests_per_connection: u32,
    /// Concurrent streams per HTTP/2 connection, if limited.
    pub max_concurrent_streams: Option<u32>,
    /// HTTP/2 stream window in bytes, if set.
    pub stream_window_bytes: Option<u32>,
    /// HTTP/2 connection window in bytes, if set.
    pub connection_window_bytes: Option<u32>,
    /// HTTP/2 ping interval, if set.
    pub ping_interval: Option<Duration>,
    /// HTTP/2 ping timeout.
    pub ping_timeout: Option<Duration>,
    /// Write HTTP/1.1 header names as they came.
    pub preserve_case: bool,
}

/// What a pick is made for.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickRequest<'a> {
    /// Hash for ring hash and maglev; `None` there picks by `random`.
    pub hash: Option<u64>,
    /// Endpoints already tried, to be avoided.
    pub avoid: &'a [SocketAddr],
    /// Extra picks to avoid them (retry policy's host selection attempts).
    pub avoid_attempts: u32,
    /// Original destination of the connection, for [`ClusterKind::OriginalDst`].
    pub original_destination: Option<SocketAddr>,
    /// Any uniform number.
    pub random: u64,
}

/// A picked endpoint. Hold `in_flight` as long as the request (or TCP connection) lasts.
#[derive(Debug)]
pub struct Picked {
    /// Where to.
    pub endpoint: Arc<Endpoint>,
    /// Counts the request on the endpoint until dropped.
    pub in_flight: InFlight,
}

/// Why nothing was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// No endpoints at all.
    #[error("no endpoints")]
    Empty,
    /// None is healthy and panic mode is off.
    #[error("no healthy endpoint")]
    NoHealthy,
    /// An ORIGINAL_DST cluster without an original destination.
    #[error("no original destination")]
    NoDestination,
}

/// A host name that the proxy must resolve for this cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsTarget {
    /// Host name.
    pub host: Arc<str>,
    /// Port of the endpoints.
    pub port: u16,
}

/// DNS settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsOptions {
    /// Time between resolutions. Default 5 s.
    pub refresh: Duration,
    /// Follow the record's own lifetime instead.
    pub respect_ttl: bool,
    /// Address families.
    pub family: DnsFamily,
}

/// Address families to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6 first, else IPv4.
    Auto,
    /// IPv4.
    V4Only,
    /// IPv6.
    V6Only,
    /// IPv4 first, else IPv6.
    V4Preferred,
    /// Both.
    All,
}

impl Cluster {
    /// Picks an endpoint and counts the request on it. One atomic load and a few counters; no lock.
    ///
    /// # Errors
    /// [`PickError`] if there is none to pick.
    pub fn pick(&self, request: &PickRequest<'_>) -> Result<Picked, PickError> {
        let _ = request;
        todo!()
    }

    /// The current endpoints.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        todo!()
    }

    /// Takes one unit of a limit; `Err` is an overflow, counted; it says nothing about endpoints.
    ///
    /// # Errors
    /// [`Overflow`] if the limit is reached.
    pub fn acquire(&self, limit: Limit) -> Result<LimitGuard, Overflow> {
        let _ = limit;
        todo!()
    }

    /// Notes what an endpoint did; may eject it.
    pub fn report(&self, endpoint: &Arc<Endpoint>, report: Report, now: Instant) {
        let _ = (endpoint, report, now);
        todo!()
    }

    /// Takes ejected endpoints back whose time is over. Call about every [`Cluster::sweep_interval`].
    pub fn sweep(&self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// How often to call [`Cluster::sweep`]; `None`: no outlier detection here.
    pub fn sweep_interval(&self) -> Option<Duration> {
        todo!()
    }

    /// Host names to resolve, for the DNS kinds.
    pub fn dns_targets(&self) -> &[DnsTarget] {
        todo!()
    }

    /// How to resolve them.
    pub fn dns_options(&self) -> DnsOptions {
        todo!()
    }

    /// Takes the addresses of one target; endpoints known before keep their state. Control thread only.
    pub fn set_resolved(&self, target: &DnsTarget, addresses: &[IpAddr]) {
        let _ = (target, addresses);
        todo!()
    }
}
