//! A DestinationRule's balancing, limits and outlier detection on a cluster.

use mesh_config::MeshConfig;
use mesh_config::destination_rule::{
    ConnectionPool, H2UpgradePolicy, HashAlgorithm, LoadBalancer, OutlierDetection, TcpKeepalive,
};

use super::builder::{Builder, use_downstream_protocol};
use crate::translate::wire::*;
use cluster::circuit_breakers::Thresholds;
use cluster::cluster::{DiscoveryType, LbConfig, LbPolicy, MaglevLbConfig, RingHashLbConfig};

/// No limit on anything. Envoy's own defaults are low (3 retries, 1,024 connections), and a retry
/// budget that pods use up in a rollout shows as 503 to users (Istio).
pub(super) fn no_limits() -> Thresholds {
    Thresholds {
        max_connections: uint32(u32::MAX),
        max_pending_requests: uint32(u32::MAX),
        max_requests: uint32(u32::MAX),
        max_retries: uint32(u32::MAX),
        track_remaining: true,
        ..Thresholds::default()
    }
}

/// One set of limits.
pub(super) fn breakers(thresholds: Thresholds) -> cluster::CircuitBreakers {
    cluster::CircuitBreakers {
        thresholds: vec![thresholds],
        ..cluster::CircuitBreakers::default()
    }
}

/// Applies limits and timeouts. `pool`: the rule's; `None` means no limits.
pub(super) fn connection_pool(
    builder: &mut Builder,
    pool: Option<&ConnectionPool>,
    mesh: &MeshConfig,
) {
    let default = ConnectionPool::default();
    let pool = pool.unwrap_or(&default);
    let mut limits = no_limits();
    let set = |slot: &mut Option<_>, value: Option<u32>| {
        if let Some(value) = value.filter(|value| *value > 0) {
            *slot = uint32(value);
        }
    };
    set(&mut limits.max_requests, pool.http.http2_max_requests);
    set(
        &mut limits.max_pending_requests,
        pool.http.http1_max_pending_requests,
    );
    set(&mut limits.max_retries, pool.http.max_retries);
    set(&mut limits.max_connections, pool.tcp.max_connections);
    let cluster = &mut builder.cluster;
    cluster.connect_timeout = duration(pool.tcp.connect_timeout.unwrap_or(mesh.connect_timeout));
    cluster.circuit_breakers = Some(breakers(limits));
    if let Some(keepalive) = pool.tcp.keepalive.as_ref().or(mesh.tcp_keepalive.as_ref()) {
        cluster.upstream_connection_options = Some(cluster::UpstreamConnectionOptions {
            tcp_keepalive: Some(tcp_keepalive(keepalive)),
            ..cluster::UpstreamConnectionOptions::default()
        });
    }
    http_limits(builder, pool);
    if pool.http.use_client_protocol {
        builder.options().upstream_protocol_options = Some(use_downstream_protocol());
    }
}

fn tcp_keepalive(keepalive: &TcpKeepalive) -> base::TcpKeepalive {
    let seconds = |value: Option<std::time::Duration>| {
        value.and_then(|value| uint32(u32::try_from(value.as_secs()).unwrap_or(u32::MAX)))
    };
    base::TcpKeepalive {
        keepalive_probes: keepalive.probes.and_then(uint32),
        keepalive_time: seconds(keepalive.time),
        keepalive_interval: seconds(keepalive.interval),
    }
}

fn http_limits(builder: &mut Builder, pool: &ConnectionPool) {
    let idle = pool.http.idle_timeout.or(pool.tcp.idle_timeout);
    let requests = pool.http.max_requests_per_connection.filter(|n| *n > 0);
    let age = pool.tcp.max_connection_duration;
    let streams = pool.http.max_concurrent_streams.filter(|n| *n > 0);
    if idle.is_some() || requests.is_some() || age.is_some() {
        builder.options().common_http_protocol_options = Some(base::HttpProtocolOptions {
            idle_timeout: idle.and_then(duration),
            max_connection_duration: age.and_then(duration),
            max_requests_per_connection: requests.and_then(uint32),
            ..base::HttpProtocolOptions::default()
        });
    }
    if let (Some(streams), Some(http2)) = (streams, builder.http2()) {
        http2.max_concurrent_streams = uint32(streams);
    }
}

/// Whether HTTP/1.1 is sent to this port as HTTP/2.
pub(super) fn upgrades_to_http2(
    pool: Option<&ConnectionPool>,
    port_is_http: bool,
    mesh: &MeshConfig,
) -> bool {
    let http = pool.map(|pool| &pool.http);
    if http.is_some_and(|http| http.use_client_protocol) {
        return false;
    }
    match http.map(|http| http.h2_upgrade_policy) {
        Some(H2UpgradePolicy::Upgrade) => true,
        Some(H2UpgradePolicy::DoNotUpgrade) => false,
        Some(H2UpgradePolicy::MeshDefault) | None => port_is_http && mesh.h2_upgrade,
    }
}

/// Applies outlier detection. Success rates are never judged (Istio); the panic threshold is 0
/// unless the rule says otherwise: with few endpoints, sending to all of them is rarely wanted.
pub(super) fn outlier_detection(builder: &mut Builder, outlier: Option<&OutlierDetection>) {
    let Some(outlier) = outlier else { return };
    let enforced = |count: u32| uint32(if count > 0 { 100 } else { 0 });
    let mut out = cluster::OutlierDetection {
        enforcing_success_rate: uint32(0),
        interval: outlier.interval.and_then(duration),
        base_ejection_time: outlier.base_ejection_time.and_then(duration),
        max_ejection_percent: outlier
            .max_ejection_percent
            .map(|percent| percent.parts_per_million() / 10_000)
            .filter(|percent| *percent > 0)
            .and_then(uint32),
        ..cluster::OutlierDetection::default()
    };
    if let Some(count) = outlier.consecutive_5xx_errors {
        out.consecutive_5xx = uint32(count);
        out.enforcing_consecutive_5xx = enforced(count);
    }
    if let Some(count) = outlier.consecutive_gateway_errors {
        out.consecutive_gateway_failure = uint32(count);
        out.enforcing_consecutive_gateway_failure = enforced(count);
    }
    if outlier.split_external_local_origin_errors {
        out.split_external_local_origin_errors = true;
        out.enforcing_local_origin_success_rate = uint32(0);
        if let Some(count) = outlier.consecutive_local_origin_failures.filter(|n| *n > 0) {
            out.consecutive_local_origin_failure = uint32(count);
            out.enforcing_consecutive_local_origin_failure = uint32(100);
        }
    }
    builder.cluster.outlier_detection = Some(out);
    builder
        .cluster
        .common_lb_config
        .get_or_insert_default()
        .healthy_panic_threshold = Some(types::Percent {
        value: outlier.min_health_percent.as_f64(),
    });
}

/// Applies balancing; a policy of `PASSTHROUGH` turns the cluster into one of the original
/// destination.
pub(super) fn load_balancer(builder: &mut Builder, balancer: Option<&LoadBalancer>) {
    if balancer == Some(&LoadBalancer::Passthrough) {
        builder.set_kind(DiscoveryType::OriginalDst);
        builder.cluster.load_assignment = None;
    }
    if builder.kind() == DiscoveryType::OriginalDst {
        builder.cluster.lb_policy = LbPolicy::ClusterProvided.into();
        return;
    }
    let policy = match balancer {
        None | Some(LoadBalancer::Default | LoadBalancer::LeastRequest) => LbPolicy::LeastRequest,
        Some(LoadBalancer::RoundRobin) => LbPolicy::RoundRobin,
        Some(LoadBalancer::Random) => LbPolicy::Random,
        Some(LoadBalancer::ConsistentHash(hash)) => {
            let (policy, config) = consistent_hash(hash.algorithm);
            builder.cluster.lb_config = Some(config);
            policy
        }
        Some(LoadBalancer::Passthrough) => unreachable!("turned into original destination above"),
    };
    builder.cluster.lb_policy = policy.into();
}

fn consistent_hash(algorithm: HashAlgorithm) -> (LbPolicy, LbConfig) {
    match algorithm {
        HashAlgorithm::RingHash { minimum_ring_size } => (
            LbPolicy::RingHash,
            LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: uint64(minimum_ring_size),
                ..RingHashLbConfig::default()
            }),
        ),
        HashAlgorithm::Maglev { table_size } => (
            LbPolicy::Maglev,
            LbConfig::MaglevLbConfig(MaglevLbConfig {
                table_size: uint64(table_size),
            }),
        ),
    }
}
