//! One route: what it matches (compiled away) and what is done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use crate::conditions::{derive, drawn};
use crate::cors::Cors;
use crate::fault::Fault;
use crate::hash::HashPolicy;
use crate::mutate::HeaderMutations;
use crate::retry::RetryPolicy;
use crate::rewrite::{HostRewrite, PathRewrite};
use crate::table::matcher::RouteMatcher;
use crate::view::RequestView;

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// Name, may be empty.
    pub name: Arc<str>,
    /// What to do.
    pub action: RouteAction,
    /// Fault of this route (or its virtual host): replaces the listener-wide one.
    pub fault: Option<Arc<Fault>>,
    /// CORS policy of this route or its virtual host.
    pub cors: Option<Arc<Cors>>,
    /// Share of spans to sample, in percent, in place of the manager's.
    pub sampling_percent: Option<f64>,
    pub(crate) matcher: RouteMatcher,
    pub(crate) mutations: HeaderMutations,
}

/// What a route does.
#[derive(Debug)]
pub enum RouteAction {
    /// Forward to a cluster.
    Forward(Box<ForwardRoute>),
    /// Redirect the client.
    Redirect(Box<RedirectRoute>),
    /// Answer at once.
    Direct {
        /// Status code.
        status: u16,
        /// Body.
        body: Bytes,
    },
}

/// How a request is forwarded.
#[derive(Debug)]
pub struct ForwardRoute {
    pub(crate) clusters: Vec<WeightedCluster>,
    pub(crate) total_weight: u32,
    /// Status if the cluster doesn't exist: 503 unless configured (404, 500).
    pub cluster_not_found_status: u16,
    /// Path rewrite.
    pub path_rewrite: Option<PathRewrite>,
    /// Host rewrite.
    pub host_rewrite: Option<HostRewrite>,
    /// Append the old host to x-forwarded-host when it is rewritten.
    pub append_forwarded_host: bool,
    /// Whole response must be complete within this; zero or none: no limit. Envoy's default 15 s.
    pub timeout: Option<Duration>,
    /// Stream idle timeout in place of the manager's.
    pub idle_timeout: Option<Duration>,
    /// Cap of `grpc-timeout`, where configured (zero: the client's value as it is).
    pub grpc_timeout_max: Option<Duration>,
    /// Maximum stream duration.
    pub max_stream_duration: Option<Duration>,
    /// Retries; the virtual host's one is already merged in.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Shadow requests.
    pub mirrors: Vec<Mirror>,
    /// Hash policies for ring hash and maglev.
    pub hash: Vec<HashPolicy>,
    /// Upgrades allowed or forbidden here, lowercase.
    pub upgrades: Vec<(Arc<str>, bool)>,
}

/// A cluster a route may choose.
#[derive(Debug)]
pub struct WeightedCluster {
    /// Cluster name.
    pub name: Arc<str>,
    pub(crate) weight: u32,
    pub(crate) mutations: HeaderMutations,
    /// Host rewrite of this cluster.
    pub host_rewrite: Option<HostRewrite>,
    /// Fault of this cluster, replaces the route's.
    pub fault: Option<Arc<Fault>>,
}

/// A shadow of the request.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where to.
    pub cluster: Arc<str>,
    pub(crate) millionths: u32,
    /// Leave the host as it is, else `-shadow` is appended.
    pub keep_host: bool,
    /// Host to send instead.
    pub host: Option<Arc<str>>,
}

/// A redirect.
#[derive(Debug)]
pub struct RedirectRoute {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Scheme to set (`https`), if any.
    pub scheme: Option<Arc<str>>,
    /// Host to set.
    pub host: Option<Arc<str>>,
    /// Port to set.
    pub port: Option<u16>,
    /// Path rewrite; an exact path replaces the whole, query included if it has one.
    pub path: Option<PathRewrite>,
    /// Drop the query.
    pub strip_query: bool,
}

/// Timeouts of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the response is complete, all attempts together.
    pub total: Option<Duration>,
    /// Per attempt.
    pub per_try: Option<Duration>,
    /// Per attempt without a byte.
    pub per_try_idle: Option<Duration>,
    /// Stream without activity, in place of the manager's.
    pub idle: Option<Duration>,
    /// Maximum stream duration.
    pub max_stream: Option<Duration>,
}

impl ForwardRoute {
    /// Timeouts, with `x-envoy-upstream-rq-timeout-ms`, `x-envoy-upstream-rq-per-try-timeout-ms` and
    /// (where configured) `grpc-timeout` honoured. The caller removes the former two from requests
    /// that come from outside the mesh.
    pub fn timeouts(&self, headers: &HeaderMap) -> Timeouts {
        let grpc = self.grpc_timeout_max.and_then(|max| {
            let asked = grpc_timeout(headers)?;
            Some(if max.is_zero() { asked } else { asked.min(max) })
        });
        let total = milliseconds(headers, &TIMEOUT).or(grpc).or(self.timeout);
        let per_try = milliseconds(headers, &PER_TRY_TIMEOUT)
            .or_else(|| self.retry.as_ref().and_then(|retry| retry.per_try_timeout));
        let total = total.filter(|time| !time.is_zero());
        Timeouts {
            total,
            // A per-try timeout that isn't below the total one has no effect.
            per_try: per_try
                .filter(|time| !time.is_zero())
                .filter(|time| total.is_none_or(|total| *time < total)),
            per_try_idle: self
                .retry
                .as_ref()
                .and_then(|retry| retry.per_try_idle_timeout),
            idle: self.idle_timeout,
            max_stream: self.max_stream_duration,
        }
    }

    /// All clusters it can choose.
    pub fn clusters(&self) -> &[WeightedCluster] {
        &self.clusters
    }

    /// Hash of a request by the policies, `None` if none applies (the balancer then picks at
    /// random). `source`: the client.
    pub fn hash(&self, request: &RequestView<'_>, source: SocketAddr) -> Option<u64> {
        crate::hash::of_request(&self.hash, request, source)
    }

    /// A `set-cookie` value for the response, where a hash policy makes cookies and the request
    /// had none.
    pub fn new_cookie(&self, request: &RequestView<'_>, source: SocketAddr) -> Option<String> {
        crate::hash::new_cookie(&self.hash, request, source)
    }

    pub(crate) fn choose(&self, random: u64) -> &WeightedCluster {
        let mut point = random % u64::from(self.total_weight.max(1));
        for cluster in &self.clusters {
            match point.checked_sub(u64::from(cluster.weight)) {
                None => return cluster,
                Some(rest) => point = rest,
            }
        }
        &self.clusters[self.clusters.len() - 1]
    }
}

// A name of static type is found without being parsed.
static TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
static PER_TRY_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

fn milliseconds(headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
    headers
        .get(name)?
        .to_str()
        .ok()?
        .parse()
        .ok()
        .map(Duration::from_millis)
}

/// Source: gRPC over HTTP/2, `Timeout -> "grpc-timeout" TimeoutValue TimeoutUnit`.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(&GRPC_TIMEOUT)?.to_str().ok()?;
    let (value, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = value.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value.checked_mul(3600)?),
        "M" => Duration::from_secs(value.checked_mul(60)?),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

impl Mirror {
    /// Whether this request is mirrored.
    pub fn chosen(&self, random: u64) -> bool {
        drawn(derive(random, 3), self.millionths)
    }
}
