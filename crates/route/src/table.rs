//! Route tables: host, then first matching route.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::mutate::{FormatContext, HeaderMutations};
use crate::route::{ForwardRoute, RedirectRoute, Route, RouteAction, WeightedCluster};
use crate::view::RequestView;

pub(crate) mod hosts;
pub(crate) mod index;
pub(crate) mod matcher;

#[cfg(test)]
mod tests;

/// A compiled route configuration.
#[derive(Debug)]
pub struct RouteTable {
    /// Resource name.
    pub name: Arc<str>,
    pub(crate) hosts: Vec<Arc<VirtualHost>>,
    pub(crate) by_host: hosts::HostIndex,
    pub(crate) ignore_port: bool,
    pub(crate) mutations: HeaderMutations,
    pub(crate) most_specific_wins: bool,
}

/// A compiled virtual host.
#[derive(Debug)]
pub struct VirtualHost {
    /// Name.
    pub name: Arc<str>,
    /// Domains as configured.
    pub domains: Vec<Arc<str>>,
    /// Routes in order.
    pub routes: Box<[Arc<Route>]>,
    /// Plaintext requests are redirected to https.
    pub require_tls: bool,
    /// Send `x-envoy-attempt-count` upstream.
    pub include_attempt_count: bool,
    /// And in the response.
    pub include_attempt_count_in_response: bool,
    pub(crate) index: Option<Box<index::RouteIndex>>,
    pub(crate) mutations: HeaderMutations,
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
        let Some(host) = self.host(request.authority) else {
            return RouteDecision::NotFound;
        };
        if host.require_tls && request.scheme != "https" {
            return RouteDecision::RequireTls;
        }
        match host.first_match(request, random) {
            Some(route) => self.decide(host, route, random),
            None => RouteDecision::NotFound,
        }
    }

    fn decide<'t>(
        &'t self,
        host: &'t Arc<VirtualHost>,
        route: &'t Arc<Route>,
        random: u64,
    ) -> RouteDecision<'t> {
        let matched = Matched {
            table: self,
            host,
            route,
            cluster: None,
        };
        match &route.action {
            RouteAction::Forward(forward) => {
                let cluster = forward.choose(random);
                let matched = Matched {
                    cluster: Some(cluster),
                    ..matched
                };
                RouteDecision::Forward {
                    matched,
                    forward,
                    cluster,
                }
            }
            RouteAction::Redirect(redirect) => RouteDecision::Redirect { matched, redirect },
            RouteAction::Direct { status, body } => RouteDecision::Direct {
                matched,
                status: *status,
                body,
            },
        }
    }

    /// The virtual host of an authority (`host[:port]`), as Envoy finds it: exact domain, then
    /// the longest `*suffix`, then the longest `prefix*`, then `*`.
    pub fn host(&self, authority: &str) -> Option<&Arc<VirtualHost>> {
        let authority = if self.ignore_port {
            crate::rewrite::split_port(authority).0
        } else {
            authority
        };
        self.by_host.find(authority).map(|index| &self.hosts[index])
    }

    /// All virtual hosts, as configured.
    pub fn hosts(&self) -> &[Arc<VirtualHost>] {
        &self.hosts
    }
}

impl VirtualHost {
    /// The first route in order that matches.
    pub(crate) fn first_match(
        &self,
        request: &RequestView<'_>,
        random: u64,
    ) -> Option<&Arc<Route>> {
        let matches = |route: &Route| route.matcher.matches(request, random);
        match &self.index {
            None => self.routes.iter().find(|route| matches(route)),
            Some(index) => index
                .first(request, |at| matches(&self.routes[at]))
                .map(|found| &self.routes[found]),
        }
    }
}

impl Matched<'_> {
    /// Header changes of all levels to the request on its way upstream: weighted cluster, route,
    /// virtual host, table (or the reverse where the table says so).
    pub fn mutate_request(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        self.each_level(|level| level.apply_request(headers, context));
    }

    /// The same for the response on its way to the client.
    pub fn mutate_response(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        self.each_level(|level| level.apply_response(headers, context));
    }

    /// Later levels overwrite earlier ones: by default the least specific level has the last
    /// word, with `most_specific_header_mutations_wins` the most specific one.
    fn each_level(&self, mut apply: impl FnMut(&HeaderMutations)) {
        let cluster = self.cluster.map(|cluster| &cluster.mutations);
        let levels = [
            cluster,
            Some(&self.route.mutations),
            Some(&self.host.mutations),
            Some(&self.table.mutations),
        ];
        if self.table.most_specific_wins {
            levels.into_iter().rev().flatten().for_each(&mut apply);
        } else {
            levels.into_iter().flatten().for_each(&mut apply);
        }
    }
}
