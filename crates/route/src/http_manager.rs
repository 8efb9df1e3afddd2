//! The HTTP connection manager: everything between a connection and its routes.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::access_log::AccessLogSpec;
use crate::authz::{AuthzInput, Rbac, Verdict};
use crate::table::RouteTable;

pub mod path;

pub use path::{EscapedSlashes, Normalised, PathNormalisation};

/// A compiled HTTP connection manager.
#[derive(Debug)]
pub struct HttpManager {
    /// Where routes come from; see [`crate::Snapshot::route_table`].
    pub routes: RouteSource,
    /// HTTP filters before the router, in order.
    pub filters: Vec<HttpFilter>,
    /// What the client speaks.
    pub codec: Codec,
    /// The `server` response header.
    pub server_header: ServerHeader,
    /// Trust the connection's own address as the client's (an edge proxy); else the
    /// x-forwarded-for header is taken as it is.
    pub use_remote_address: bool,
    /// Hops in x-forwarded-for to trust, counted from the right.
    pub xff_trusted_hops: u32,
    /// Don't append the peer's address to x-forwarded-for.
    pub skip_xff_append: bool,
    /// What to do with the client certificate header.
    pub client_certificate: ForwardClientCertificate,
    /// Path normalisation.
    pub path: PathNormalisation,
    /// How the port in `host` is treated before routing.
    pub strip_port: StripPort,
    /// Connection without streams is closed after so long; default one hour.
    pub idle_timeout: Option<Duration>,
    /// Stream without any activity is ended after so long; default five minutes.
    pub stream_idle_timeout: Option<Duration>,
    /// Whole request must be received within this.
    pub request_timeout: Option<Duration>,
    /// Header must be received within this.
    pub request_headers_timeout: Option<Duration>,
    /// Connection is drained after so long.
    pub max_connection_duration: Option<Duration>,
    /// Stream is reset after so long.
    pub max_stream_duration: Option<Duration>,
    /// Time between the GOAWAY announcement and the last GOAWAY; default 5 s.
    pub drain_timeout: Duration,
    /// Requests per connection, 0 is unlimited.
    pub max_requests_per_connection: u32,
    /// Request header limit in KiB, default 60.
    pub max_request_headers_kib: u32,
    /// HTTP/1.1 options.
    pub http1: Http1Options,
    /// HTTP/2: concurrent streams offered, `None` for the proxy's default.
    pub http2_max_concurrent_streams: Option<u32>,
    /// HTTP/2 stream window in bytes, if set.
    pub http2_stream_window_bytes: Option<u32>,
    /// HTTP/2 connection window in bytes, if set.
    pub http2_connection_window_bytes: Option<u32>,
    /// Upgrades allowed by default, lowercase (`websocket`, `connect`).
    pub upgrades: Vec<Arc<str>>,
    /// Access logs.
    pub access_logs: Vec<AccessLogSpec>,
    /// Make `x-request-id` where it is absent.
    pub generate_request_id: bool,
    /// Keep an `x-request-id` that comes from outside.
    pub preserve_external_request_id: bool,
    /// Always write it into the response too.
    pub request_id_in_response: bool,
    /// Tracing settings, `None`: no spans are reported (headers are still passed on).
    pub tracing: Option<Tracing>,
    /// `via` value to append, if any.
    pub via: Option<HeaderValue>,
}

/// Where a manager's routes come from.
#[derive(Clone, Debug)]
pub enum RouteSource {
    /// Written in the listener.
    Inline(Arc<RouteTable>),
    /// A route configuration by name.
    Rds(Arc<str>),
}

/// One HTTP filter.
#[derive(Clone, Debug)]
pub enum HttpFilter {
    /// Authorization.
    Rbac(Arc<Rbac>),
    /// Faults: the listener-wide one, if any; a route's own one replaces it.
    Fault(Option<Arc<crate::fault::Fault>>),
    /// CORS, by the route's policy.
    Cors,
}

/// Protocol of the downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// By ALPN or preface.
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// The `server` response header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    /// Replace by this name.
    Overwrite(HeaderValue),
    /// Write this name if there is none.
    AppendIfAbsent(HeaderValue),
    /// Leave it alone.
    PassThrough,
}

/// `x-forwarded-client-cert` treatment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardClientCertificate {
    /// Remove it.
    Sanitize,
    /// Pass it on from mTLS peers.
    ForwardOnly,
    /// Append this hop's certificate.
    AppendForward(CertificateDetails),
    /// Replace by this hop's certificate.
    SanitizeSet(CertificateDetails),
    /// Pass it on always.
    AlwaysForwardOnly,
}

/// Which details of the client certificate the header carries beside `By` and `Hash`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateDetails {
    /// `Subject`.
    pub subject: bool,
    /// `URI`.
    pub uri: bool,
    /// `DNS`.
    pub dns: bool,
    /// `Cert` (PEM, URL encoded).
    pub certificate: bool,
    /// `Chain` (PEM, URL encoded).
    pub chain: bool,
}

/// How the port in `host` is treated before routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StripPort {
    /// Left as it is.
    Keep,
    /// Removed if it is the listener's port.
    Matching,
    /// Removed.
    Any,
}

/// HTTP/1.1 options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http1Options {
    /// Accept HTTP/1.0 requests. (Our proxy always does; a false here means "as Envoy: 426".)
    pub accept_http_10: bool,
    /// Accept absolute-form request targets.
    pub allow_absolute_url: bool,
    /// Send trailers.
    pub enable_trailers: bool,
    /// Write header names as they came.
    pub preserve_case: bool,
}

/// Tracing settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Share of requests sampled at random, in percent.
    pub random_sampling_percent: f64,
    /// Overall cap in percent.
    pub overall_sampling_percent: f64,
    /// Share traced when the client forces it, in percent.
    pub client_sampling_percent: f64,
    /// Literal tags.
    pub tags: Vec<(Arc<str>, TraceTag)>,
}

/// Where a span tag comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceTag {
    /// A fixed value.
    Literal(Arc<str>),
    /// A request header, or a default.
    Header(Arc<str>, Arc<str>),
    /// An environment variable, or a default.
    Environment(Arc<str>, Arc<str>),
}

impl HttpManager {
    /// Asks every authorization filter in order; the first denial decides.
    pub fn authorize(&self, input: &AuthzInput<'_>) -> Verdict<'_> {
        let mut verdict = Verdict::Allow { policy: None };
        for filter in &self.filters {
            if let HttpFilter::Rbac(rbac) = filter {
                verdict = rbac.decide(input);
                if !verdict.allowed() {
                    return verdict;
                }
            }
        }
        verdict
    }

    /// Whether this upgrade (lowercase) is allowed for a route, which may override.
    pub fn allows_upgrade(&self, upgrade: &str, route: &crate::route::ForwardRoute) -> bool {
        let overridden = route.upgrades.iter().find(|(name, _)| **name == *upgrade);
        overridden.map_or_else(
            || self.upgrades.iter().any(|name| **name == *upgrade),
            |(_, enabled)| *enabled,
        )
    }

    /// The fault that applies to a route: its own, else the listener-wide one.
    pub fn fault<'a>(
        &'a self,
        matched: &crate::table::Matched<'a>,
    ) -> Option<&'a Arc<crate::fault::Fault>> {
        let own = matched.cluster.and_then(|cluster| cluster.fault.as_ref());
        own.or(matched.route.fault.as_ref()).or_else(|| {
            self.filters.iter().find_map(|filter| match filter {
                HttpFilter::Fault(fault) => fault.as_ref(),
                _ => None,
            })
        })
    }
}
