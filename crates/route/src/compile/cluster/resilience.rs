//! Circuit breakers and outlier detection of a cluster.

use std::time::Duration;

use mesh_xds::envoy::config::cluster::v3 as cluster;
use mesh_xds::envoy::config::core::v3 as core;

use crate::cluster::{Bounds, OutlierPolicy};
use crate::compile::{Unset, disregard, flag, nothing_left, number, some_duration, take};
use crate::error::{At, Refused};

pub(super) fn bounds(breakers: Option<cluster::CircuitBreakers>) -> Result<Bounds, Refused> {
    let mut breakers = breakers.unwrap_or_default();
    let mut bounds = Bounds::default();
    for (at, mut one) in take(&mut breakers.thresholds).into_iter().enumerate() {
        let path = || format!("thresholds[{at}]");
        // Remaining units are a statistic.
        disregard!(one: track_remaining);
        if take(&mut one.priority) != core::RoutingPriority::Default as i32 {
            return Err(Refused::unsupported(format!("{}.priority", path())));
        }
        let or = |value: Option<u32>, default: u32| value.unwrap_or(default);
        bounds = Bounds {
            connections: or(number(take(&mut one.max_connections)), bounds.connections),
            pending: or(number(take(&mut one.max_pending_requests)), bounds.pending),
            requests: or(number(take(&mut one.max_requests)), bounds.requests),
            retries: or(number(take(&mut one.max_retries)), bounds.retries),
        };
        nothing_left(&one).at(path)?;
    }
    nothing_left(&breakers)?;
    Ok(bounds)
}

pub(super) fn outlier(mut config: cluster::OutlierDetection) -> Result<OutlierPolicy, Refused> {
    // Parameters of the statistical kinds; whether those are enforced is looked at below.
    disregard!(config: success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
        failure_percentage_threshold, failure_percentage_minimum_hosts, failure_percentage_request_volume,
        successful_active_health_check_uneject_host, max_ejection_time_jitter);
    // Off by value, or by Envoy's minimum of 5 hosts with 100 requests each: istiod always writes 0.
    let off = |value: &mut Option<mesh_xds::google::protobuf::UInt32Value>| {
        number(take(value)).is_none_or(|value| value == 0)
    };
    let statistical_off = off(&mut config.enforcing_success_rate)
        && off(&mut config.enforcing_local_origin_success_rate)
        && off(&mut config.enforcing_failure_percentage)
        && off(&mut config.enforcing_failure_percentage_local_origin);
    if !statistical_off {
        return Err(Refused::field(
            "enforcing_success_rate",
            "statistical outlier detection is not supported by this proxy (set it to 0)",
        ));
    }
    let duration =
        |value, default, field| Ok::<_, Refused>(some_duration(value, field)?.unwrap_or(default));
    let share = |value, default| number(value).unwrap_or(default).min(100);
    let length =
        |value: Option<u32>, default| Some(value.unwrap_or(default)).filter(|length| *length > 0);
    let base_ejection = duration(
        take(&mut config.base_ejection_time),
        Duration::from_secs(30),
        "base_ejection_time",
    )?;
    let compiled = OutlierPolicy {
        consecutive_5xx: length(number(take(&mut config.consecutive_5xx)), 5),
        consecutive_gateway: length(number(take(&mut config.consecutive_gateway_failure)), 5),
        consecutive_local: length(
            number(take(&mut config.consecutive_local_origin_failure)),
            5,
        ),
        split_local: take(&mut config.split_external_local_origin_errors),
        enforcing: [
            share(take(&mut config.enforcing_consecutive_5xx), 100),
            share(take(&mut config.enforcing_consecutive_gateway_failure), 0),
            share(
                take(&mut config.enforcing_consecutive_local_origin_failure),
                100,
            ),
        ],
        interval: duration(
            take(&mut config.interval),
            Duration::from_secs(10),
            "interval",
        )?
        .max(Duration::from_millis(1)),
        base_ejection,
        max_ejection: duration(
            take(&mut config.max_ejection_time),
            Duration::from_secs(300),
            "max_ejection_time",
        )?,
        max_ejection_percent: share(take(&mut config.max_ejection_percent), 10),
        always_one: flag(take(&mut config.always_eject_one_host), Unset::False),
    };
    nothing_left(&config)?;
    Ok(compiled)
}
