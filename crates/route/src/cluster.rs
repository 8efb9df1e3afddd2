//! Clusters: endpoints, balancing, limits and outlier state of one upstream service.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};

pub(crate) mod assignment;
pub mod balance;
pub mod endpoint;
pub mod labels;
pub mod limits;
pub mod outlier;
pub(crate) mod runtime;
pub mod set;

#[cfg(test)]
mod tests;

pub use endpoint::{Endpoint, EndpointStats, Health, InFlight, Locality};
pub use labels::{ServiceLabels, Workload};
pub use limits::{Bounds, Limit, LimitGuard, Overflow};
pub use outlier::{OutlierPolicy, Report};
pub use set::{BalancePolicy, EndpointSet};

use assignment::Assignment;
use limits::Usage;

use crate::tls::UpstreamTransport;

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
    /// How endpoints are chosen.
    pub balance: BalancePolicy,
    /// Circuit breaker bounds.
    pub bounds: Bounds,
    /// Outlier detection, if configured.
    pub outlier: Option<OutlierPolicy>,
    /// How names are resolved, for the DNS kinds.
    pub dns: DnsOptions,
    pub(crate) eds_name: Option<Arc<str>>,
    /// For [`ClusterKind::OriginalDst`]: connect to this port instead.
    pub(crate) port_override: Option<u16>,
    /// Sockets by endpoint labels, first match.
    pub(crate) sockets: Box<[(SocketLabels, UpstreamTransport)]>,
    pub(crate) socket: UpstreamTransport,
    pub(crate) targets: Vec<DnsTarget>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: ArcSwap<EndpointSet>,
    pub(crate) source: Mutex<EndpointSource>,
    /// The last endpoint made for an original destination: inbound it is nearly always the same.
    pub(crate) last_original: ArcSwapOption<Endpoint>,
}

/// Labels by which an endpoint's socket is chosen: a slice, since there are at most a few.
pub(crate) type SocketLabels = Box<[(Arc<str>, Arc<str>)]>;

/// What all versions of a cluster share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) usage: Arc<Usage>,
    /// Zero of the outlier detection's clock.
    pub(crate) epoch: OnceLock<Instant>,
}

/// Where endpoints come from; touched by the control thread only.
#[derive(Debug, Default)]
pub(crate) struct EndpointSource {
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) resolved: BTreeMap<DnsTarget, Vec<IpAddr>>,
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
    /// Stream is reset after so long.
    pub max_stream_duration: Option<Duration>,
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
    /// Send HTTP/1.1 trailers.
    pub enable_trailers: bool,
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
