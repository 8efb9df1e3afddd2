//! Load balancing of a cluster.

use mesh_xds::envoy::config::cluster::v3 as cluster;
use mesh_xds::envoy::config::cluster::v3::cluster as inner;

use crate::cluster::BalancePolicy;
use crate::cluster::balance::Algorithm;
use crate::compile::{disregard, known, nothing_left, number, port, take};
use crate::error::{At, Refused};

/// What the several fields about balancing come to.
pub(super) struct Balance {
    pub(super) policy: BalancePolicy,
    pub(super) port_override: Option<u16>,
    pub(super) close: bool,
}

pub(super) fn balance(config: &mut cluster::Cluster) -> Result<Balance, Refused> {
    let mut common = take(&mut config.common_lb_config).unwrap_or_default();
    // New endpoints take part at once; updates are batched by the control plane.
    disregard!(common: update_merge_window, ignore_new_hosts_until_first_hc, override_host_status);
    let hashing = take(&mut common.consistent_hashing_lb_config).unwrap_or_default();
    if hashing.hash_balance_factor.is_some() {
        return Err(Refused::unsupported(
            "common_lb_config.consistent_hashing_lb_config.hash_balance_factor",
        ));
    }
    let by_locality_weight = match take(&mut common.locality_config_specifier) {
        Some(inner::common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => true,
        Some(inner::common_lb_config::LocalityConfigSpecifier::ZoneAwareLbConfig(_)) => {
            return Err(Refused::unsupported(
                "common_lb_config.zone_aware_lb_config",
            ));
        }
        None => false,
    };
    let panic_percent = take(&mut common.healthy_panic_threshold).map_or(50.0, |share| share.value);
    let close = take(&mut common.close_connections_on_host_set_change);
    nothing_left(&common).at(|| "common_lb_config".to_owned())?;
    let (algorithm, port_override) = algorithm(config, hashing.use_hostname_for_hashing)?;
    Ok(Balance {
        policy: BalancePolicy {
            algorithm,
            panic_percent,
            by_locality_weight,
        },
        port_override,
        close,
    })
}

fn algorithm(
    config: &mut cluster::Cluster,
    by_hostname: bool,
) -> Result<(Algorithm, Option<u16>), Refused> {
    use inner::{LbConfig, LbPolicy};
    let policy = known(take(&mut config.lb_policy), "lb_policy")?;
    let settings = take(&mut config.lb_config);
    Ok(match (policy, settings) {
        (LbPolicy::RoundRobin, None) => (Algorithm::RoundRobin, None),
        (LbPolicy::RoundRobin, Some(LbConfig::RoundRobinLbConfig(settings))) => {
            nothing_left(&settings).at(|| "round_robin_lb_config".to_owned())?;
            (Algorithm::RoundRobin, None)
        }
        (LbPolicy::LeastRequest, None) => (Algorithm::LeastRequest { choices: 2 }, None),
        (LbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(mut settings))) => {
            let choices = number(take(&mut settings.choice_count))
                .unwrap_or(2)
                .clamp(1, 64);
            nothing_left(&settings).at(|| "least_request_lb_config".to_owned())?;
            (Algorithm::LeastRequest { choices }, None)
        }
        (LbPolicy::Random, None) => (Algorithm::Random, None),
        (LbPolicy::RingHash, None) => {
            (ring(inner::RingHashLbConfig::default(), by_hostname)?, None)
        }
        (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(settings))) => {
            (ring(settings, by_hostname)?, None)
        }
        (LbPolicy::Maglev, None) => (maglev(None, by_hostname)?, None),
        (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(settings))) => (
            maglev(settings.table_size.map(|size| size.value), by_hostname)?,
            None,
        ),
        (LbPolicy::ClusterProvided, None) => (Algorithm::RoundRobin, None),
        (LbPolicy::ClusterProvided, Some(LbConfig::OriginalDstLbConfig(mut settings))) => {
            let value = number(take(&mut settings.upstream_port_override));
            nothing_left(&settings).at(|| "original_dst_lb_config".to_owned())?;
            let value =
                value.map(|value| port(value, "original_dst_lb_config.upstream_port_override"));
            (Algorithm::RoundRobin, value.transpose()?)
        }
        (LbPolicy::LoadBalancingPolicyConfig, _) => {
            return Err(Refused::unsupported("load_balancing_policy"));
        }
        (policy, Some(_)) => {
            return Err(Refused::field(
                "lb_config",
                format!("doesn't belong to lb_policy {policy:?}"),
            ));
        }
    })
}

fn ring(mut settings: inner::RingHashLbConfig, by_hostname: bool) -> Result<Algorithm, Refused> {
    let size = |value: Option<mesh_xds::google::protobuf::UInt64Value>, default: u32| {
        value.map_or(default, |value| {
            u32::try_from(value.value).unwrap_or(u32::MAX).min(8 << 20)
        })
    };
    let min_size = size(take(&mut settings.minimum_ring_size), 1024).max(1);
    let max_size = size(take(&mut settings.maximum_ring_size), 8 << 20);
    nothing_left(&settings).at(|| "ring_hash_lb_config".to_owned())?;
    if min_size > max_size {
        return Err(Refused::field(
            "ring_hash_lb_config.minimum_ring_size",
            "is more than the maximum",
        ));
    }
    Ok(Algorithm::RingHash {
        min_size,
        max_size,
        by_hostname,
    })
}

fn maglev(size: Option<u64>, by_hostname: bool) -> Result<Algorithm, Refused> {
    let size = size.unwrap_or(65_537);
    let prime = size > 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= size)
            .all(|divisor| !size.is_multiple_of(divisor));
    let size = u32::try_from(size)
        .ok()
        .filter(|size| prime && *size <= 5_000_011);
    let size = size.ok_or_else(|| {
        Refused::field(
            "maglev_lb_config.table_size",
            "must be a prime up to 5000011",
        )
    })?;
    Ok(Algorithm::Maglev { size, by_hostname })
}
