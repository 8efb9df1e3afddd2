//! VirtualService: routing rules for hosts.
//!
//! Source: Istio API `networking/v1/virtual_service.proto`.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;

use crate::destination_rule::SubsetName;
use crate::host::{Host, HostPattern};
use crate::matching::{Pattern, StringMatch, ValueMatch};
use crate::number::{Percent, PortNumber};
use crate::selector::LabelSelector;
use crate::visibility::ExportTo;

/// Routing rules for a set of hosts. `http`, `tls` and `tcp` are tried in order; the first rule
/// that matches decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VirtualService {
    /// Hosts the rules are for; at least one. Short names are relative to the object's namespace.
    pub hosts: Vec<HostPattern>,
    /// Where the rules apply; never empty (`[Mesh]` if the user named none).
    pub gateways: Vec<GatewayRef>,
    /// Which namespaces see the rules.
    pub export_to: ExportTo,
    /// Rules for HTTP.
    pub http: Vec<HttpRoute>,
    /// Rules for TLS that is passed through, by SNI.
    pub tls: Vec<TlsRoute>,
    /// Rules for plain TCP.
    pub tcp: Vec<TcpRoute>,
}

/// A place where rules apply.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GatewayRef {
    /// The reserved name `mesh`: every sidecar.
    Mesh,
    /// A Gateway; a name without a namespace was resolved to the object's own.
    Gateway {
        /// Namespace of the Gateway.
        namespace: String,
        /// Name of the Gateway.
        name: String,
    },
}

impl std::fmt::Display for GatewayRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GatewayRef::Mesh => f.write_str("mesh"),
            GatewayRef::Gateway { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

/// One rule for HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpRoute {
    /// Name for logs and metrics.
    pub name: Option<String>,
    /// Any of these must match; empty matches everything.
    pub matches: Vec<HttpMatch>,
    /// What to do with the request.
    pub action: HttpAction,
    /// Changes of request and response headers.
    pub headers: HeaderOperations,
    /// Cross-origin rules.
    pub cors: Option<CorsPolicy>,
}

/// Conditions on an HTTP request; all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HttpMatch {
    /// Name, appended to the route's in logs and metrics.
    pub name: Option<String>,
    /// Path (without the query).
    pub uri: Option<StringMatch>,
    /// Compare the path without regard to case (not for a regex).
    pub ignore_uri_case: bool,
    /// `:scheme`.
    pub scheme: Option<StringMatch>,
    /// Method.
    pub method: Option<StringMatch>,
    /// `:authority` or `Host`.
    pub authority: Option<StringMatch>,
    /// Headers that must match, by lower-case name.
    pub headers: BTreeMap<String, ValueMatch>,
    /// Headers that must not match, by lower-case name.
    pub without_headers: BTreeMap<String, ValueMatch>,
    /// Query parameters that must match.
    pub query_params: BTreeMap<String, ValueMatch>,
    /// Port on which the request came in.
    pub port: Option<PortNumber>,
    /// The caller's workload.
    pub source: SourceMatch,
    /// Where this match applies; empty means the VirtualService's own `gateways`.
    pub gateways: Vec<GatewayRef>,
}

/// Which callers (sidecars) a match applies to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SourceMatch {
    /// Labels that the caller has; empty for any.
    pub labels: LabelSelector,
    /// Namespace of the caller.
    pub namespace: Option<String>,
}

impl SourceMatch {
    /// Whether a caller with these labels in this namespace is meant.
    pub fn matches(&self, labels: &crate::Labels, namespace: &str) -> bool {
        self.labels.matches(labels) && self.namespace.as_deref().is_none_or(|n| n == namespace)
    }
}

/// What happens to a request that matched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HttpAction {
    /// Sent on.
    Forward(Box<Forward>),
    /// Answered with a redirect.
    Redirect(HttpRedirect),
    /// Answered by the proxy itself.
    DirectResponse(DirectResponse),
}

/// Where and how a request is sent on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Forward {
    /// At least one; weights as [`HttpDestination::weight`].
    pub destinations: Vec<HttpDestination>,
    /// Changes of path and authority.
    pub rewrite: Option<HttpRewrite>,
    /// Overall time for the response; `None` means no limit (Istio's default), as does `0s`.
    pub timeout: Option<Duration>,
    /// Retries; `None` means the mesh's default.
    pub retries: Option<HttpRetry>,
    /// Injected faults.
    pub fault: Option<HttpFault>,
    /// Copies of the request that are sent elsewhere, their responses ignored.
    pub mirrors: Vec<HttpMirror>,
}

/// A service, its subset and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Service; short names are relative to the namespace of the VirtualService.
    pub host: Host,
    /// Subset of a DestinationRule.
    pub subset: Option<SubsetName>,
    /// Port; may be absent if the service has just one (else the port of the request is used).
    pub port: Option<PortNumber>,
}

/// A destination with its share of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpDestination {
    /// Where to.
    pub destination: Destination,
    /// Share relative to the sum of the weights of the route. A single destination has 100 if it
    /// names none; 0 gets nothing.
    pub weight: u32,
    /// Changes of headers for this destination only.
    pub headers: HeaderOperations,
}

/// Header changes in both directions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HeaderOperations {
    /// Before the request goes to the destination.
    pub request: HeaderChanges,
    /// Before the response goes to the caller.
    pub response: HeaderChanges,
}

/// Header changes in one direction. Names are as written; they compare without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HeaderChanges {
    /// Overwritten.
    pub set: BTreeMap<String, String>,
    /// Appended.
    pub add: BTreeMap<String, String>,
    /// Removed.
    pub remove: Vec<String>,
}

impl HeaderChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// A redirect. At least one part of the location changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpRedirect {
    /// New path (and query), whole or as a replacement of the matched prefix.
    pub uri: Option<RedirectUri>,
    /// New authority.
    pub authority: Option<String>,
    /// New port.
    pub port: Option<RedirectPort>,
    /// New scheme, `http` or `https`.
    pub scheme: Option<String>,
    /// 301, 302, 303, 307 or 308; 301 unless named.
    pub code: u16,
}

/// How a redirect changes the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RedirectUri {
    /// The whole path and query.
    Full(String),
    /// Only the prefix that the rule matched (Istio's `%PREFIX()%` form).
    Prefix(String),
}

/// How a redirect changes the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RedirectPort {
    /// This port.
    Number(PortNumber),
    /// The default port of the protocol (80 or 443).
    FromProtocolDefault,
    /// The port on which the request came in.
    FromRequestPort,
}

/// An answer by the proxy itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DirectResponse {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// Body, at most 1 MiB.
    pub body: Option<Vec<u8>>,
}

/// Changes of path and authority before a request is sent on; at least one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpRewrite {
    /// Change of the path.
    pub uri: Option<UriRewrite>,
    /// New authority.
    pub authority: Option<String>,
}

/// How the path is rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UriRewrite {
    /// Replaces the matched prefix, or the whole path if the rule matched it exactly.
    Replace(String),
    /// Replaces what the pattern matches; the rewrite may refer to its groups as `\1`.
    Regex {
        /// The pattern.
        pattern: Pattern,
        /// The replacement, in RE2's syntax.
        rewrite: String,
    },
}

/// When and how often a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpRetry {
    /// Number of retries; 0 turns them off.
    pub attempts: u32,
    /// Time for each try; `None` means the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Conditions in Envoy's words; `None` means Istio's default set.
    pub retry_on: Option<RetryOn>,
    /// Whether a retry may go to another locality; `None` means Envoy's default.
    pub retry_remote_localities: Option<bool>,
    /// Base interval between tries; `None` means Envoy's 25 ms.
    pub backoff: Option<Duration>,
    /// Whether endpoints that failed are avoided in the next try; `None` means yes, unless
    /// endpoints are picked by a consistent hash.
    pub ignore_previous_hosts: Option<bool>,
}

/// Conditions for a retry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RetryOn {
    /// Envoy's named conditions, such as `connect-failure`, in the order written.
    pub conditions: Vec<String>,
    /// HTTP statuses that are retried (`retriable-status-codes` is implied).
    pub status_codes: Vec<u16>,
}

/// Faults injected before the request is sent on; at least one part is set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpFault {
    /// The request waits.
    pub delay: Option<FaultDelay>,
    /// The request fails.
    pub abort: Option<FaultAbort>,
}

/// A wait before the request is sent on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FaultDelay {
    /// How long.
    pub fixed: Duration,
    /// Share of the requests that wait.
    pub percentage: Percent,
}

/// An early failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FaultAbort {
    /// How the request fails.
    pub status: AbortStatus,
    /// Share of the requests that fail.
    pub percentage: Percent,
}

/// The failure the caller sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AbortStatus {
    /// An HTTP status, 200 to 599.
    Http(u16),
    /// A gRPC status, 0 to 16.
    Grpc(u8),
}

/// A copy of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpMirror {
    /// Where the copies go.
    pub destination: Destination,
    /// Share of the requests that are copied.
    pub percentage: Percent,
}

/// Cross-origin resource sharing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CorsPolicy {
    /// Origins that are allowed; `Exact("*")` allows any, as in Envoy.
    pub allow_origins: Vec<StringMatch>,
    /// `Access-Control-Allow-Methods`.
    pub allow_methods: Vec<String>,
    /// `Access-Control-Allow-Headers`.
    pub allow_headers: Vec<String>,
    /// `Access-Control-Expose-Headers`.
    pub expose_headers: Vec<String>,
    /// `Access-Control-Max-Age`.
    pub max_age: Option<Duration>,
    /// `Access-Control-Allow-Credentials`.
    pub allow_credentials: Option<bool>,
    /// What happens to a preflight from an origin that is not allowed.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// Fate of preflight requests whose origin is not allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum UnmatchedPreflights {
    /// Envoy's default: sent on (Istio: `UNSPECIFIED` and `FORWARD`).
    #[default]
    Forward,
    /// Answered without the CORS headers.
    Ignore,
}

/// One rule for TLS that is passed through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsRoute {
    /// Any of these must match; at least one.
    pub matches: Vec<TlsMatch>,
    /// At least one.
    pub destinations: Vec<TcpDestination>,
}

/// Conditions on a TLS connection; all must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsMatch {
    /// Any of these; at least one.
    pub sni_hosts: Vec<HostPattern>,
    /// The rest.
    pub connection: ConnectionMatch,
}

/// One rule for TCP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TcpRoute {
    /// Any of these must match; empty matches everything.
    pub matches: Vec<ConnectionMatch>,
    /// At least one.
    pub destinations: Vec<TcpDestination>,
}

/// Conditions on a connection; all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ConnectionMatch {
    /// Destination address is in one of these; empty for any.
    pub destination_subnets: Vec<IpNet>,
    /// Port that was dialled.
    pub port: Option<PortNumber>,
    /// The caller's workload.
    pub source: SourceMatch,
    /// Where this match applies; empty means the VirtualService's own `gateways`.
    pub gateways: Vec<GatewayRef>,
}

/// A destination with its share of the connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TcpDestination {
    /// Where to.
    pub destination: Destination,
    /// As [`HttpDestination::weight`].
    pub weight: u32,
}
