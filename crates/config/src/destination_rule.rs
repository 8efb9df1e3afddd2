//! DestinationRule: what happens to traffic after routing.
//!
//! Source: Istio API `networking/v1/destination_rule.proto`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::host::HostPattern;
use crate::number::{Percent, PortNumber};
use crate::selector::LabelSelector;
use crate::tls::ClientTls;
use crate::visibility::ExportTo;

/// Policies for one host (or all hosts of a wildcard).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DestinationRule {
    /// Service the rules are for; a short name is relative to the object's namespace.
    pub host: HostPattern,
    /// Policy for the whole service.
    pub traffic_policy: TrafficPolicy,
    /// Named sets of endpoints, unique by name.
    pub subsets: Vec<Subset>,
    /// Which namespaces see the rules.
    pub export_to: ExportTo,
    /// Which clients (of the object's own namespace) the rules apply to; `None` for all.
    pub workload_selector: Option<LabelSelector>,
}

impl DestinationRule {
    /// The subset of that name.
    pub fn subset(&self, name: &SubsetName) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == *name)
    }

    /// What applies to `port` of the service, or of one of its subsets.
    ///
    /// A port-level policy replaces all that its own level says for other ports, also the parts it
    /// leaves out. A subset's policy replaces the service's part by part, but the subset's
    /// port-level policy replaces it whole.
    ///
    /// Source: Istio API, `TrafficPolicy.portLevelSettings`; Istio's merge of subset policies.
    pub fn policy(&self, subset: Option<&SubsetName>, port: PortNumber) -> PolicySettings {
        let whole = &self.traffic_policy;
        let base = whole.port_level(port).unwrap_or(&whole.settings);
        let Some(subset) = subset.and_then(|name| self.subset(name)) else {
            return base.clone();
        };
        match subset.traffic_policy.port_level(port) {
            Some(settings) => settings.clone(),
            None => subset.traffic_policy.settings.clone().or(base),
        }
    }
}

/// Name of a subset; as Istio demands, an RFC 1123 label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubsetName(String);

impl SubsetName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SubsetName {
    type Err = SubsetNameError;

    fn from_str(text: &str) -> Result<Self, SubsetNameError> {
        let fits = !text.is_empty()
            && text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fits {
            Ok(SubsetName(text.to_owned()))
        } else {
            Err(SubsetNameError(text.to_owned()))
        }
    }
}

impl fmt::Display for SubsetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a subset name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a subset name: use at most 63 letters, digits and '-', not '-' at an end")]
pub struct SubsetNameError(String);

/// A named set of the host's endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subset {
    /// Name that routes refer to.
    pub name: SubsetName,
    /// Labels that the endpoints have; empty for all endpoints.
    pub labels: LabelSelector,
    /// Policy that replaces the service's.
    pub traffic_policy: TrafficPolicy,
}

/// Policy for all ports, and for single ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TrafficPolicy {
    /// For ports without settings of their own.
    pub settings: PolicySettings,
    /// For single ports, unique by port.
    pub port_level: Vec<(PortNumber, PolicySettings)>,
}

impl TrafficPolicy {
    /// The settings named for `port` itself.
    pub fn port_level(&self, port: PortNumber) -> Option<&PolicySettings> {
        self.port_level
            .iter()
            .find(|(number, _)| *number == port)
            .map(|(_, settings)| settings)
    }
}

/// The four parts of a policy; `None` means Istio's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PolicySettings {
    /// How an endpoint is picked.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits and timeouts of connections.
    pub connection_pool: Option<ConnectionPool>,
    /// When an endpoint is taken out.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards the service.
    pub tls: Option<ClientTls>,
}

impl PolicySettings {
    /// These settings, completed part by part from `base`.
    pub fn or(self, base: &PolicySettings) -> PolicySettings {
        PolicySettings {
            load_balancer: self.load_balancer.or_else(|| base.load_balancer.clone()),
            connection_pool: self
                .connection_pool
                .or_else(|| base.connection_pool.clone()),
            outlier_detection: self
                .outlier_detection
                .or_else(|| base.outlier_detection.clone()),
            tls: self.tls.or_else(|| base.tls.clone()),
        }
    }
}

/// How an endpoint is picked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LoadBalancer {
    /// `simple: UNSPECIFIED` or no policy: the mesh's default (least request).
    Default,
    /// In turn.
    RoundRobin,
    /// The less loaded of two picked at random (`LEAST_CONN` is its old name).
    LeastRequest,
    /// At random.
    Random,
    /// The address the caller dialled, no balancing.
    Passthrough,
    /// By a hash of the request, so that equal keys meet the same endpoint.
    ConsistentHash(ConsistentHash),
}

/// Balancing by hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConsistentHash {
    /// What is hashed.
    pub key: HashKey,
    /// How the hash finds the endpoint.
    pub algorithm: HashAlgorithm,
}

/// What is hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashKey {
    /// The value of this header.
    Header(String),
    /// The value of a cookie, made by the proxy if absent and `ttl` is set.
    Cookie {
        /// Name of the cookie.
        name: String,
        /// Path of a cookie made by the proxy.
        path: Option<String>,
        /// Lifetime of a cookie made by the proxy; `Some(0)` makes a session cookie, `None` makes none.
        ttl: Option<Duration>,
    },
    /// The caller's address.
    SourceIp,
    /// The value of this query parameter.
    QueryParameter(String),
}

/// How a hash finds the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// Ketama ring with at least this many entries (1024 by default, as Istio).
    RingHash {
        /// Entries of the ring.
        minimum_ring_size: u64,
    },
    /// Maglev table with this many entries, a prime (65537 by default, as Envoy).
    Maglev {
        /// Entries of the table.
        table_size: u64,
    },
}

/// Limits and timeouts of connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ConnectionPool {
    /// For TCP and HTTP.
    pub tcp: TcpSettings,
    /// For HTTP.
    pub http: HttpSettings,
}

/// Limits of TCP connections; `None` means Istio's default (in effect no limit).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TcpSettings {
    /// Connections to all endpoints together.
    pub max_connections: Option<u32>,
    /// Time to connect; the mesh's `connectTimeout` if `None`.
    pub connect_timeout: Option<Duration>,
    /// Keepalive probes.
    pub keepalive: Option<TcpKeepalive>,
    /// Age at which a connection is closed.
    pub max_connection_duration: Option<Duration>,
    /// Idle time after which a TCP connection is closed; zero turns it off.
    pub idle_timeout: Option<Duration>,
}

/// TCP keepalive; `None` means the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TcpKeepalive {
    /// Probes without an answer before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// Limits of HTTP; `None` means Istio's default (in effect no limit).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HttpSettings {
    /// Requests that wait for a connection.
    pub http1_max_pending_requests: Option<u32>,
    /// Requests in flight.
    pub http2_max_requests: Option<u32>,
    /// Requests after which a connection is closed.
    pub max_requests_per_connection: Option<u32>,
    /// Retries in flight.
    pub max_retries: Option<u32>,
    /// Idle time after which a pooled connection is closed.
    pub idle_timeout: Option<Duration>,
    /// Whether HTTP/1.1 is sent as HTTP/2.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// Keep the caller's protocol towards the service.
    pub use_client_protocol: bool,
    /// Streams at once in one HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
}

/// Whether HTTP/1.1 is sent as HTTP/2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum H2UpgradePolicy {
    /// What the mesh says.
    #[default]
    MeshDefault,
    /// No.
    DoNotUpgrade,
    /// Yes.
    Upgrade,
}

/// When an endpoint is taken out; `None` means Envoy's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct OutlierDetection {
    /// Server errors in a row (5 by default; 0 turns it off).
    pub consecutive_5xx_errors: Option<u32>,
    /// Statuses 502, 503, 504 in a row (0 turns it off).
    pub consecutive_gateway_errors: Option<u32>,
    /// Whether failures to reach the endpoint count apart from its answers.
    pub split_external_local_origin_errors: bool,
    /// Failures to reach the endpoint in a row (5 by default; needs the split).
    pub consecutive_local_origin_failures: Option<u32>,
    /// Time between sweeps (10 s by default).
    pub interval: Option<Duration>,
    /// Shortest time out (30 s by default), multiplied by the number of ejections.
    pub base_ejection_time: Option<Duration>,
    /// Greatest share of endpoints that is out at once (10 % by default).
    pub max_ejection_percent: Option<Percent>,
    /// Share of healthy endpoints below which nothing is taken out (0 by default).
    pub min_health_percent: Percent,
}
