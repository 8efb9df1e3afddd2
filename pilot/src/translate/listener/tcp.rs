//! Network filters that forward bytes.

use mesh_config::SubsetName;
use mesh_config::destination_rule::{HashKey, LoadBalancer};
use mesh_config::virtual_service::TcpDestination;
use mesh_xds::envoy::r#type::v3::{HashPolicy, hash_policy};

use crate::model::Service;
use crate::snapshot::RouteRule;
use crate::translate::{
    access_log, audience::View, authz, cluster::default_policy, context::Context, names,
    route as routes, wire::*,
};
use tcp::tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight};

/// A TCP proxy to one cluster.
pub(super) fn to_cluster(cx: &View<'_>, cluster: &str) -> tcp::TcpProxy {
    tcp::TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        access_log: access_log::build(cx.mesh()),
        ..tcp::TcpProxy::default()
    }
}

/// As [`to_cluster`], as the only filter of a chain: for traffic that no policy speaks of.
pub(super) fn bare(cx: &View<'_>, cluster: &str) -> Vec<listener::Filter> {
    vec![network_filter(names::TCP_PROXY, &to_cluster(cx, cluster))]
}

/// To the proxy's own application, past its authorization policies.
pub(super) fn inbound(cx: &Context<'_>, cluster: &str) -> Vec<listener::Filter> {
    let mut out = authz::network_filters(cx);
    out.extend(bare(cx, cluster));
    out
}

/// To a service, with what its DestinationRule says about connections.
pub(super) fn to_service(cx: &View<'_>, service: &Service, port: u16) -> Vec<listener::Filter> {
    let cluster = names::outbound_cluster(&service.hostname, "", port);
    let mut proxy = to_cluster(cx, &cluster);
    apply_rule(cx, &mut proxy, service, None, port);
    vec![network_filter(names::TCP_PROXY, &proxy)]
}

/// To the destinations of a VirtualService's TCP or TLS route. `port`: of the listener.
pub(super) fn to_destinations(
    cx: &View<'_>,
    rule: &RouteRule,
    destinations: &[TcpDestination],
    port: u16,
) -> Vec<listener::Filter> {
    let meta = &rule.object.meta;
    let cluster = |to: &TcpDestination| {
        routes::destination_cluster(cx, &to.destination, &meta.namespace, port)
    };
    let mut proxy = match destinations {
        [only] => to_cluster(cx, &cluster(only)),
        several => tcp::TcpProxy {
            stat_prefix: format!("{}.{}", meta.name, meta.namespace),
            cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: several
                    .iter()
                    .filter(|to| to.weight > 0)
                    .map(|to| ClusterWeight {
                        name: cluster(to),
                        weight: to.weight,
                        metadata_match: None,
                    })
                    .collect(),
            })),
            access_log: access_log::build(cx.mesh()),
            ..tcp::TcpProxy::default()
        },
    };
    if let Some(first) = destinations.first() {
        let host = cx.destination(&first.destination.host, &meta.namespace);
        if let Some(service) = cx.service(&host, &meta.namespace) {
            let subset = first.destination.subset.as_ref();
            let subset = subset.filter(|_| destinations.len() == 1);
            let port = first.destination.port.map_or(port, |port| port.get());
            apply_rule(cx, &mut proxy, &service, subset, port);
        }
    }
    vec![network_filter(names::TCP_PROXY, &proxy)]
}

fn apply_rule(
    cx: &View<'_>,
    proxy: &mut tcp::TcpProxy,
    service: &Service,
    subset: Option<&SubsetName>,
    port: u16,
) {
    let rule = cx.destination_rule(service).map(|rule| &**rule);
    let settings = default_policy(rule, subset, port);
    if let Some(pool) = &settings.connection_pool {
        proxy.idle_timeout = pool.tcp.idle_timeout.and_then(duration);
        proxy.max_downstream_connection_duration =
            pool.tcp.max_connection_duration.and_then(duration);
    }
    if let Some(LoadBalancer::ConsistentHash(hash)) = &settings.load_balancer
        && hash.key == HashKey::SourceIp
    {
        proxy.hash_policy = vec![HashPolicy {
            policy_specifier: Some(hash_policy::PolicySpecifier::SourceIp(
                hash_policy::SourceIp::default(),
            )),
        }];
    }
}
