//! The TCP proxy filter.

use std::time::Duration;

use mesh_xds::envoy::extensions::filters::network::tcp_proxy::v3 as tcp;
use mesh_xds::envoy::r#type::v3::hash_policy::PolicySpecifier;

use crate::compile::{
    access_log, disregard, name, nothing_left, number, some_duration, take, timeout,
};
use crate::error::Refused;
use crate::tcp::TcpProxy;

/// Envoy's idle timeout of TCP connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

pub(crate) fn proxy(mut config: tcp::TcpProxy) -> Result<TcpProxy, Refused> {
    use tcp::tcp_proxy::ClusterSpecifier;
    // Statistics; logs are written at the end of a connection, and metadata_match of the
    // weighted clusters below is refused.
    disregard!(config: stat_prefix, access_log_flush_interval, flush_access_log_on_connected, access_log_options,
        check_drain_close);
    let clusters = match take(&mut config.cluster_specifier) {
        Some(ClusterSpecifier::Cluster(cluster)) => vec![(name(&cluster), 1)],
        Some(ClusterSpecifier::WeightedClusters(list)) => {
            if list
                .clusters
                .iter()
                .any(|cluster| cluster.metadata_match.is_some())
            {
                return Err(Refused::unsupported(
                    "weighted_clusters.clusters.metadata_match",
                ));
            }
            list.clusters
                .iter()
                .map(|cluster| (name(&cluster.name), cluster.weight))
                .collect()
        }
        None => return Err(Refused::missing("cluster_specifier")),
    };
    let total_weight = clusters
        .iter()
        .try_fold(0_u32, |sum, (_, weight)| sum.checked_add(*weight))
        .filter(|total| *total > 0)
        .ok_or_else(|| {
            Refused::field(
                "weighted_clusters",
                "the sum of weights must be between 1 and 4294967295",
            )
        })?;
    let max_duration = take(&mut config.max_downstream_connection_duration);
    let compiled = TcpProxy {
        clusters,
        total_weight,
        idle_timeout: timeout(
            take(&mut config.idle_timeout),
            Some(IDLE_TIMEOUT),
            "idle_timeout",
        )?,
        max_duration: some_duration(max_duration, "max_downstream_connection_duration")?,
        max_connect_attempts: number(take(&mut config.max_connect_attempts))
            .unwrap_or(1)
            .max(1),
        hash_source_ip: hashes_source(take(&mut config.hash_policy))?,
        access_logs: access_log::logs(take(&mut config.access_log))?,
    };
    nothing_left(&config)?;
    Ok(compiled)
}

fn hashes_source(policies: Vec<mesh_xds::envoy::r#type::v3::HashPolicy>) -> Result<bool, Refused> {
    let mut source = false;
    for policy in policies {
        match policy.policy_specifier {
            Some(PolicySpecifier::SourceIp(_)) => source = true,
            Some(PolicySpecifier::FilterState(_)) => {
                return Err(Refused::unsupported("hash_policy.filter_state"));
            }
            None => return Err(Refused::missing("hash_policy.policy_specifier")),
        }
    }
    Ok(source)
}
