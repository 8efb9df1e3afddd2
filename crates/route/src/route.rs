//! One route: what it matches (compiled away) and what is done.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::cors::Cors;
use crate::fault::Fault;
use crate::hash::HashPolicy;
use crate::mutate::HeaderMutations;
use crate::retry::RetryPolicy;
use crate::rewrite::{HostRewrite, PathRewrite};
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
    pub retry: Option<RetryPolicy>,
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
    /// (where configured) `grpc-timeout` honoured.
    pub fn timeouts(&self, headers: &HeaderMap) -> Timeouts {
        let _ = headers;
        todo!()
    }

    /// All clusters it can choose.
    pub fn clusters(&self) -> &[WeightedCluster] {
        &self.clusters
    }

    /// Hash of a request by the policies, `None` if none applies (the balancer then picks at random).
    pub fn hash(&self, request: &RequestView<'_>, source: std::net::IpAddr) -> Option<u64> {
        crate::hash::of_request(&self.hash, request, source)
    }
}

impl Mirror {
    /// Whether this request is mirrored.
    pub fn chosen(&self, random: u64) -> bool {
        random % 1_000_000 < u64::from(self.millionths)
    }
}
