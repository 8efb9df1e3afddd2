//! Retries: Istio's default and a route's own policy.

use mesh_config::virtual_service::HttpRetry;
use mesh_xds::any::pack;
use mesh_xds::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;

use crate::translate::wire::*;
use route::retry_policy::{RetryBackOff, RetryHostPredicate, retry_host_predicate::ConfigType};

/// Istio's default: failures before an answer, gRPC's statuses for "try elsewhere", and 503, which is
/// what a proxy answers for an application that it cannot reach.
const RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
/// The condition that a list of statuses implies.
const STATUS_CODES: &str = "retriable-status-codes";

/// A retry policy; `None` when the route turns retries off.
///
/// `hashed`: the destination is chosen by a hash, so that a retry stays on its endpoint.
pub(super) fn build(policy: Option<&HttpRetry>, hashed: bool) -> Option<route::RetryPolicy> {
    let mut out = route::RetryPolicy {
        retry_on: RETRY_ON.to_owned(),
        num_retries: uint32(2),
        retriable_status_codes: vec![503],
        host_selection_retry_max_attempts: 5,
        ..route::RetryPolicy::default()
    };
    let mut elsewhere = !hashed;
    if let Some(policy) = policy {
        if policy.attempts == 0 {
            return None;
        }
        out.num_retries = uint32(policy.attempts);
        out.per_try_timeout = policy.per_try_timeout.and_then(duration);
        out.retry_back_off = policy.backoff.map(|base| RetryBackOff {
            base_interval: duration(base),
            max_interval: None,
        });
        elsewhere = policy.ignore_previous_hosts.unwrap_or(elsewhere);
        if let Some(on) = &policy.retry_on {
            let mut conditions = on.conditions.clone();
            let listed = conditions.iter().any(|condition| condition == STATUS_CODES);
            if !on.status_codes.is_empty() && !listed {
                conditions.push(STATUS_CODES.to_owned());
            }
            out.retry_on = conditions.join(",");
            out.retriable_status_codes = on
                .status_codes
                .iter()
                .map(|code| u32::from(*code))
                .collect();
        }
    }
    if elsewhere {
        out.retry_host_predicate = vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(ConfigType::TypedConfig(pack(
                &PreviousHostsPredicate::default(),
            ))),
        }];
    }
    Some(out)
}
