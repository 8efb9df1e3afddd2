//! Route tables: host, then first matching route.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::mutate::{FormatContext, HeaderMutations};
use crate::route::{ForwardRoute, RedirectRoute, Route, WeightedCluster};
use crate::view::RequestView;

/// A compiled route configuration.
#[derive(Debug)]
pub struct RouteTable {
    /// Resource name.
    pub name: Arc<str>,
    pub(crate) hosts: Vec<Arc<VirtualHost>>,
    pub(crate) mutations: HeaderMutations,
    /// Weighted clusters must exist when the table is used; Envoy's `validate_clusters`.
    pub validate_clusters: bool,
}

/// A compiled virtual host.
#[derive(Debug)]
pub struct VirtualHost {
    /// Name.
    pub name: Arc<str>,
    /// Routes in order.
    pub routes: Vec<Arc<Route>>,
    /// Also send `x-envoy-attempt-count` upstream.
    pub include_attempt_count: bool,
    /// And in the response.
    pub include_attempt_count_in_response: bool,
}

/// A route with its surroundings, for header mutations and per-route settings.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    /// The table.
    pub table: &'a RouteTable,
    /// The virtual host.
    pub host: &'a Arc<VirtualHost>,
    /// The route.
    pub route: &'a Arc<Route>,
    /// The chosen weighted cluster, where the route forwards.
    pub cluster: Option<&'a WeightedCluster>,
}

/// What a route table says about a request. Borrows the table only.
#[derive(Clone, Copy, Debug)]
pub enum RouteDecision<'a> {
    /// Forward to [`WeightedCluster::name`] of `cluster`.
    Forward {
        /// The route with its surroundings.
        matched: Matched<'a>,
        /// How to forward.
        forward: &'a ForwardRoute,
        /// The chosen cluster.
        cluster: &'a WeightedCluster,
    },
    /// Answer with a redirect; the location by [`RedirectRoute::location`].
    Redirect {
        /// The route with its surroundings.
        matched: Matched<'a>,
        /// Where to.
        redirect: &'a RedirectRoute,
    },
    /// Answer directly.
    Direct {
        /// The route with its surroundings.
        matched: Matched<'a>,
        /// Status code.
        status: u16,
        /// Body, may be empty.
        body: &'a Bytes,
    },
    /// A host matched but TLS is required for it: redirect to https, 301.
    RequireTls,
    /// No host or no route: 404, response flag NR.
    NotFound,
}

impl RouteTable {
    /// Routes a request. `random`: any uniform number; picks the weighted cluster and runtime
    /// fractions. No allocation.
    pub fn route<'t>(&'t self, request: &RequestView<'_>, random: u64) -> RouteDecision<'t> {
        let _ = (request, random);
        todo!()
    }

    /// The virtual host of an authority (`host[:port]`), as Envoy finds it.
    pub fn host(&self, authority: &str) -> Option<&Arc<VirtualHost>> {
        let _ = authority;
        todo!()
    }

    /// All virtual hosts, as configured.
    pub fn hosts(&self) -> &[Arc<VirtualHost>] {
        &self.hosts
    }
}

impl Matched<'_> {
    /// Header changes of all levels to the request on its way upstream: weighted cluster, route,
    /// virtual host, table (or the reverse where the table says so).
    pub fn mutate_request(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        let _ = (headers, context);
        todo!()
    }

    /// The same for the response on its way to the client.
    pub fn mutate_response(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        let _ = (headers, context);
        todo!()
    }
}
