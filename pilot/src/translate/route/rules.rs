//! The HTTP routes of one VirtualService for one port of one proxy.

use std::time::Duration;

use mesh_config::destination_rule::{HashKey, LoadBalancer};
use mesh_config::virtual_service::{
    Destination, Forward, GatewayRef, HttpAction, HttpDestination, HttpMatch, HttpRoute, UriRewrite,
};
use mesh_config::{Percent, SubsetName};

use super::{action, matching, mutation, retry};
use crate::snapshot::RouteRule;
use crate::translate::{audience::View, cluster::default_policy, names, wire::*};
use route::route_action::{
    ClusterSpecifier, HashPolicy, HostRewriteSpecifier, RequestMirrorPolicy, hash_policy,
};
use route::weighted_cluster::{ClusterWeight, cluster_weight};

/// For whom the routes are built.
pub(super) struct Target<'a, 'b> {
    /// The proxy's view.
    pub(super) cx: &'b View<'a>,
    /// The VirtualService.
    pub(super) rule: &'b RouteRule,
    /// The port on which requests come in.
    pub(super) port: u16,
    /// `mesh`, or the gateway.
    pub(super) gateway: GatewayRef,
    /// Whether requests come in encrypted (terminated here).
    pub(super) tls: bool,
}

impl Target<'_, '_> {
    fn namespace(&self) -> &str {
        &self.rule.object.meta.namespace
    }

    /// Whether a condition can hold for this proxy, port and gateway.
    fn applies(&self, condition: &HttpMatch) -> bool {
        if condition.port.is_some_and(|port| port.get() != self.port) {
            return false;
        }
        if !condition.gateways.is_empty() {
            return condition.gateways.contains(&self.gateway);
        }
        condition
            .source
            .matches(self.cx.caller_labels(), self.cx.namespace())
    }
}

/// The routes, in order, up to the first that takes everything.
pub(super) fn build(target: &Target<'_, '_>) -> Vec<route::Route> {
    let mut out = Vec::new();
    for http in &target.rule.object.spec.http {
        let conditions: Vec<Option<&HttpMatch>> = if http.matches.is_empty() {
            vec![None]
        } else {
            http.matches.iter().map(Some).collect()
        };
        for condition in conditions {
            if condition.is_some_and(|condition| !target.applies(condition)) {
                continue;
            }
            let built = one(target, http, condition);
            let last = built.r#match.as_ref().is_some_and(matching::is_catch_all);
            out.push(built);
            if last {
                return out;
            }
        }
    }
    out
}

fn one(target: &Target<'_, '_>, http: &HttpRoute, condition: Option<&HttpMatch>) -> route::Route {
    let mutations = mutation::build(&http.headers);
    let meta = &target.rule.object.meta;
    let config = format!(
        "/apis/networking.istio.io/v1/namespaces/{}/virtual-service/{}",
        meta.namespace, meta.name
    );
    let mut out = route::Route {
        name: route_name(http, condition),
        r#match: Some(matching::build(condition)),
        metadata: Some(metadata(
            "istio",
            structure([("config", string_value(config))]),
        )),
        request_headers_to_add: mutations.request_add,
        request_headers_to_remove: mutations.request_remove,
        response_headers_to_add: mutations.response_add,
        response_headers_to_remove: mutations.response_remove,
        ..route::Route::default()
    };
    match &http.action {
        HttpAction::Redirect(redirect) => {
            out.action = Some(action::redirect(redirect, target.port, target.tls));
        }
        HttpAction::DirectResponse(response) => {
            out.action = Some(action::direct_response(response));
        }
        HttpAction::Forward(to) => {
            if let Some(fault) = &to.fault {
                out.typed_per_filter_config
                    .insert(names::FAULT.to_owned(), action::fault(fault));
            }
            forward(target, &mut out, to, mutations.authority);
        }
    }
    if let Some(cors) = &http.cors {
        out.typed_per_filter_config
            .insert(names::CORS.to_owned(), action::cors_policy(cors));
    }
    out.decorator = Some(route::Decorator {
        operation: operation(&out, &meta.name, target.port),
        propagate: None,
    });
    out
}

fn route_name(http: &HttpRoute, condition: Option<&HttpMatch>) -> String {
    let name = http.name.clone().unwrap_or_default();
    match condition.and_then(|condition| condition.name.as_ref()) {
        Some(own) => format!("{name}.{own}"),
        None => name,
    }
}

fn forward(
    target: &Target<'_, '_>,
    out: &mut route::Route,
    to: &Forward,
    mut authority: Option<String>,
) {
    let mut action = route::RouteAction::default();
    set_timeout(&mut action, to.timeout);
    if let Some(rewrite) = &to.rewrite {
        match &rewrite.uri {
            Some(UriRewrite::Replace(path)) => action.prefix_rewrite.clone_from(path),
            Some(UriRewrite::Regex { pattern, rewrite }) => {
                action.regex_rewrite = Some(matcher::RegexMatchAndSubstitute {
                    pattern: Some(regex(pattern.as_str())),
                    substitution: rewrite.clone(),
                });
            }
            None => {}
        }
        if let Some(own) = &rewrite.authority {
            authority = Some(own.clone());
        }
    }
    let rewritten = authority.is_some();
    action.host_rewrite_specifier = authority.map(HostRewriteSpecifier::HostRewriteLiteral);
    action.request_mirror_policies = mirrors(target, to);
    let hashed = if let [only] = to.destinations.as_slice() {
        single(target, out, &mut action, only, rewritten)
    } else {
        weighted(target, &mut action, &to.destinations);
        false
    };
    let policy = to.retries.as_ref();
    let default = target.cx.mesh().default_http_retry_policy.as_ref();
    action.retry_policy = retry::build(policy.or(default), hashed);
    out.action = Some(route::route::Action::Route(action));
}

/// No limit unless the route sets one; gRPC's own timeout header counts within it.
///
/// `max_grpc_timeout` rather than its replacement, which limits streams as a whole (as Istio).
#[allow(deprecated)]
pub(super) fn set_timeout(action: &mut route::RouteAction, timeout: Option<Duration>) {
    let timeout = timeout.unwrap_or(Duration::ZERO);
    action.timeout = duration(timeout);
    action.max_grpc_timeout = duration(timeout);
}

fn mirrors(target: &Target<'_, '_>, to: &Forward) -> Vec<RequestMirrorPolicy> {
    to.mirrors
        .iter()
        .filter(|mirror| mirror.percentage > Percent::new(0.0).unwrap_or(Percent::HUNDRED))
        .map(|mirror| RequestMirrorPolicy {
            cluster: cluster_of(target, &mirror.destination),
            runtime_fraction: Some(runtime_fraction(mirror.percentage)),
            trace_sampled: boolean(false),
            ..RequestMirrorPolicy::default()
        })
        .collect()
}

/// One destination: its header changes become the route's. Returns whether it is chosen by a hash.
fn single(
    target: &Target<'_, '_>,
    out: &mut route::Route,
    action: &mut route::RouteAction,
    to: &HttpDestination,
    rewritten: bool,
) -> bool {
    let cluster = cluster_of(target, &to.destination);
    action.cluster_specifier = Some(ClusterSpecifier::Cluster(cluster));
    let own = mutation::build(&to.headers);
    out.request_headers_to_add.extend(own.request_add);
    out.request_headers_to_remove.extend(own.request_remove);
    out.response_headers_to_add.extend(own.response_add);
    out.response_headers_to_remove.extend(own.response_remove);
    if let (Some(authority), false) = (own.authority, rewritten) {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(authority));
    }
    let hash = hash_of(target, &to.destination);
    let hashed = hash.is_some();
    action.hash_policy.extend(hash);
    hashed
}

fn weighted(
    target: &Target<'_, '_>,
    action: &mut route::RouteAction,
    destinations: &[HttpDestination],
) {
    let mut clusters = Vec::new();
    for to in destinations.iter().filter(|to| to.weight > 0) {
        let own = mutation::build(&to.headers);
        clusters.push(ClusterWeight {
            name: cluster_of(target, &to.destination),
            weight: uint32(to.weight),
            request_headers_to_add: own.request_add,
            request_headers_to_remove: own.request_remove,
            response_headers_to_add: own.response_add,
            response_headers_to_remove: own.response_remove,
            host_rewrite_specifier: own
                .authority
                .map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
            ..ClusterWeight::default()
        });
        let hash = hash_of(target, &to.destination);
        action.hash_policy.extend(hash);
    }
    action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(route::WeightedCluster {
        clusters,
        ..route::WeightedCluster::default()
    }));
}

fn cluster_of(target: &Target<'_, '_>, destination: &Destination) -> String {
    destination_cluster(target.cx, destination, target.namespace(), target.port)
}

/// The cluster of a destination: of its own port, else of the only port of its service, else of the
/// port on which the request came in.
pub(crate) fn destination_cluster(
    cx: &View<'_>,
    destination: &Destination,
    namespace: &str,
    port: u16,
) -> String {
    let host = cx.destination(&destination.host, namespace);
    let subset = destination.subset.as_ref().map_or("", SubsetName::as_str);
    names::outbound_cluster(
        &host,
        subset,
        destination_port(cx, destination, namespace, port),
    )
}

fn destination_port(cx: &View<'_>, destination: &Destination, namespace: &str, port: u16) -> u16 {
    if let Some(port) = destination.port {
        return port.get();
    }
    let host = cx.destination(&destination.host, namespace);
    match cx
        .service(&host, namespace)
        .as_deref()
        .map(|s| &s.ports[..])
    {
        Some([only]) => only.number,
        _ => port,
    }
}

fn hash_of(target: &Target<'_, '_>, destination: &Destination) -> Option<HashPolicy> {
    let namespace = target.namespace();
    let host = target.cx.destination(&destination.host, namespace);
    let service = target.cx.service(&host, namespace)?;
    let rule = target.cx.destination_rule(&service)?;
    let port = destination_port(target.cx, destination, namespace, target.port);
    let settings = default_policy(Some(rule), destination.subset.as_ref(), port);
    hash_policy(settings.load_balancer.as_ref())
}

/// What a consistent-hash balancer hashes.
pub(super) fn hash_policy(balancer: Option<&LoadBalancer>) -> Option<HashPolicy> {
    use hash_policy::PolicySpecifier;
    let Some(LoadBalancer::ConsistentHash(hash)) = balancer else {
        return None;
    };
    let specifier = match &hash.key {
        HashKey::Header(name) => PolicySpecifier::Header(hash_policy::Header {
            header_name: name.clone(),
            regex_rewrite: None,
        }),
        HashKey::Cookie { name, path, ttl } => PolicySpecifier::Cookie(hash_policy::Cookie {
            name: name.clone(),
            path: path.clone().unwrap_or_default(),
            ttl: ttl.and_then(duration),
            attributes: Vec::new(),
        }),
        HashKey::SourceIp => {
            PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties {
                source_ip: true,
            })
        }
        HashKey::QueryParameter(name) => {
            PolicySpecifier::QueryParameter(hash_policy::QueryParameter { name: name.clone() })
        }
    };
    Some(HashPolicy {
        terminal: false,
        policy_specifier: Some(specifier),
    })
}

/// A name for traces: `HOST:PORT/PATH*`, or the VirtualService's where there are several hosts.
fn operation(built: &route::Route, rule: &str, port: u16) -> String {
    use route::route_match::PathSpecifier;
    let path = match built
        .r#match
        .as_ref()
        .and_then(|m| m.path_specifier.as_ref())
    {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(pattern)) => pattern.regex.clone(),
        _ => "/*".to_owned(),
    };
    if let Some(route::route::Action::Route(route::RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)),
        ..
    })) = &built.action
        && let Some((port, _, host)) = names::parse_outbound(cluster)
    {
        return format!("{host}:{port}{path}");
    }
    format!("{rule}:{port}{path}")
}
