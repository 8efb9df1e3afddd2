//! What hangs on a route: retries, mirrors, hash policies, faults, CORS.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use mesh_xds::envoy::config::route::v3 as route;
use mesh_xds::envoy::config::route::v3::route_action;
use mesh_xds::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use mesh_xds::envoy::extensions::filters::http::cors::v3 as cors;
use mesh_xds::envoy::extensions::filters::http::fault::v3 as fault;

use crate::compile::{
    Unset, disregard, duration, flag, matchers, millionths, name, nothing_left, number,
    runtime_share, some_duration, some_name, take,
};
use crate::cors::Cors;
use crate::error::{At, Refused};
use crate::fault::{Abort, Fault};
use crate::hash::{HashPolicy, HashSource};
use crate::retry::{ResponseCondition, RetryOn, RetryPolicy};
use crate::route::Mirror;

/// The retry host predicate that avoids endpoints already tried.
const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";

/// Compiles the retry policies of a table. Nearly all of its routes have the same one, and then share it.
#[derive(Default)]
pub(crate) struct Retries {
    last: RefCell<Option<(route::RetryPolicy, Arc<RetryPolicy>)>>,
}

impl Retries {
    pub(crate) fn compile(&self, policy: route::RetryPolicy) -> Result<Arc<RetryPolicy>, Refused> {
        let mut last = self.last.borrow_mut();
        if let Some((known, compiled)) = &*last
            && *known == policy
        {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Arc::new(retry(policy.clone())?);
        *last = Some((policy, Arc::clone(&compiled)));
        Ok(compiled)
    }
}

fn retry(mut policy: route::RetryPolicy) -> Result<RetryPolicy, Refused> {
    let on = take(&mut policy.retry_on)
        .split(',')
        .map(str::trim)
        .filter(|condition| !condition.is_empty())
        .try_fold(RetryOn::default(), |on, condition| {
            let one = RetryOn::named(condition).ok_or_else(|| {
                Refused::field("retry_on", format!("condition {condition:?} is not known"))
            })?;
            Ok(on.with(one))
        })?;
    let (base_interval, max_interval) = back_off(take(&mut policy.retry_back_off))?;
    let attempts = take(&mut policy.host_selection_retry_max_attempts);
    let compiled = RetryPolicy {
        max_retries: number(take(&mut policy.num_retries)).unwrap_or(1),
        per_try_timeout: some_duration(take(&mut policy.per_try_timeout), "per_try_timeout")?,
        per_try_idle_timeout: some_duration(
            take(&mut policy.per_try_idle_timeout),
            "per_try_idle_timeout",
        )?,
        avoid_previous_hosts: predicates(take(&mut policy.retry_host_predicate))?,
        host_selection_attempts: u32::try_from(attempts).unwrap_or(1).max(1),
        on,
        statuses: take(&mut policy.retriable_status_codes)
            .into_iter()
            .filter_map(|status| u16::try_from(status).ok())
            .collect(),
        headers: response_conditions(take(&mut policy.retriable_headers))?,
        base_interval,
        max_interval,
    };
    nothing_left(&policy)?;
    Ok(compiled)
}

/// Defaults of Envoy: 25 ms, and ten times that.
fn back_off(
    back_off: Option<route::retry_policy::RetryBackOff>,
) -> Result<(Duration, Duration), Refused> {
    let Some(back_off) = back_off else {
        return Ok((Duration::from_millis(25), Duration::from_millis(250)));
    };
    let base = back_off
        .base_interval
        .ok_or_else(|| Refused::missing("retry_back_off.base_interval"))?;
    let base = duration(base, "retry_back_off.base_interval")?.max(Duration::from_millis(1));
    let max =
        some_duration(back_off.max_interval, "retry_back_off.max_interval")?.unwrap_or(base * 10);
    if max < base {
        return Err(Refused::field(
            "retry_back_off.max_interval",
            "is less than base_interval",
        ));
    }
    Ok((base, max))
}

fn predicates(list: Vec<route::retry_policy::RetryHostPredicate>) -> Result<bool, Refused> {
    let mut avoid = false;
    for (at, predicate) in list.into_iter().enumerate() {
        use route::retry_policy::retry_host_predicate::ConfigType;
        let previous = match &predicate.config_type {
            Some(ConfigType::TypedConfig(any)) => crate::compile::type_name(any) == PREVIOUS_HOSTS,
            None => predicate.name == "envoy.retry_host_predicates.previous_hosts",
        };
        if !previous {
            return Err(Refused::field(
                format!("retry_host_predicate[{at}]"),
                format!(
                    "predicate {:?} is not supported by this proxy",
                    predicate.name
                ),
            ));
        }
        avoid = true;
    }
    Ok(avoid)
}

fn response_conditions(list: Vec<route::HeaderMatcher>) -> Result<Vec<ResponseCondition>, Refused> {
    use crate::conditions::{HeaderKey, HeaderTest};
    let mut conditions = Vec::with_capacity(list.len());
    for (at, matcher) in list.into_iter().enumerate() {
        let path = || format!("retriable_headers[{at}]");
        let condition = matchers::header(matcher).at(path)?;
        let value = match condition.test {
            HeaderTest::Text(matcher) => Some(matcher),
            HeaderTest::Present(true) => None,
            _ => return Err(Refused::unsupported(path())),
        };
        let HeaderKey::Field(name) = condition.name else {
            return Err(Refused::field(path(), "a response has no such header"));
        };
        conditions.push(ResponseCondition {
            name,
            value,
            invert: condition.invert,
        });
    }
    Ok(conditions)
}

pub(crate) fn mirrors(
    list: Vec<route_action::RequestMirrorPolicy>,
) -> Result<Vec<Mirror>, Refused> {
    list.into_iter()
        .enumerate()
        .map(|(at, policy)| mirror(policy).at(|| format!("request_mirror_policies[{at}]")))
        .collect()
}

fn mirror(mut policy: route_action::RequestMirrorPolicy) -> Result<Mirror, Refused> {
    // Shadows carry the trace context of their request, sampled or not.
    disregard!(policy: trace_sampled);
    let compiled = Mirror {
        cluster: some_name(&take(&mut policy.cluster))
            .ok_or_else(|| Refused::missing("cluster"))?,
        millionths: runtime_share(take(&mut policy.runtime_fraction))
            .at(|| "runtime_fraction".to_owned())?
            .unwrap_or(1_000_000),
        keep_host: take(&mut policy.disable_shadow_host_suffix_append),
        host: some_name(&take(&mut policy.host_rewrite_literal)),
    };
    nothing_left(&policy)?;
    Ok(compiled)
}

pub(crate) fn hash(list: Vec<route_action::HashPolicy>) -> Result<Vec<HashPolicy>, Refused> {
    list.into_iter()
        .enumerate()
        .map(|(at, policy)| {
            let terminal = policy.terminal;
            let source = hash_source(policy).at(|| format!("hash_policy[{at}]"))?;
            Ok(HashPolicy { source, terminal })
        })
        .collect()
}

fn hash_source(policy: route_action::HashPolicy) -> Result<HashSource, Refused> {
    use route_action::hash_policy::PolicySpecifier;
    Ok(match policy.policy_specifier {
        Some(PolicySpecifier::Header(header)) if header.regex_rewrite.is_some() => {
            return Err(Refused::unsupported("header.regex_rewrite"));
        }
        Some(PolicySpecifier::Header(header)) => {
            HashSource::Header(name(&header.header_name.to_ascii_lowercase()))
        }
        Some(PolicySpecifier::Cookie(cookie)) if !cookie.attributes.is_empty() => {
            return Err(Refused::unsupported("cookie.attributes"));
        }
        Some(PolicySpecifier::Cookie(cookie)) => HashSource::Cookie {
            name: name(&cookie.name),
            generate: some_duration(cookie.ttl, "cookie.ttl")?,
            path: name(&cookie.path),
        },
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
            HashSource::SourceIp
        }
        Some(PolicySpecifier::ConnectionProperties(_)) => {
            return Err(Refused::field(
                "connection_properties",
                "nothing of it is chosen",
            ));
        }
        Some(PolicySpecifier::QueryParameter(parameter)) => {
            HashSource::QueryParameter(name(&parameter.name))
        }
        Some(PolicySpecifier::FilterState(_)) => return Err(Refused::unsupported("filter_state")),
        None => return Err(Refused::missing("policy_specifier")),
    })
}

pub(crate) fn fault(mut message: fault::HttpFault) -> Result<Fault, Refused> {
    // Runtime keys: there is no runtime layer. Statistics are ours.
    disregard!(message: delay_percent_runtime, abort_percent_runtime, delay_duration_runtime, abort_http_status_runtime,
        abort_grpc_status_runtime, max_active_faults_runtime, response_rate_limit_percent_runtime,
        disable_downstream_cluster_stats);
    let delay = take(&mut message.delay)
        .map(delay)
        .transpose()
        .at(|| "delay".to_owned())?;
    let abort = take(&mut message.abort)
        .map(abort)
        .transpose()
        .at(|| "abort".to_owned())?;
    let compiled = Fault {
        delay,
        abort,
        headers: matchers::headers(take(&mut message.headers))?,
        cluster: some_name(&take(&mut message.upstream_cluster)),
    };
    nothing_left(&message)?;
    Ok(compiled)
}

fn delay(
    delay: mesh_xds::envoy::extensions::filters::common::fault::v3::FaultDelay,
) -> Result<(Duration, u32), Refused> {
    let share = delay
        .percentage
        .map_or(Ok(0), |share| millionths(&share))
        .at(|| "percentage".to_owned())?;
    match delay.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(pause)) => Ok((duration(pause, "fixed_delay")?, share)),
        Some(FaultDelaySecifier::HeaderDelay(_)) => Err(Refused::unsupported("header_delay")),
        None => Err(Refused::missing("fixed_delay")),
    }
}

fn abort(abort: fault::FaultAbort) -> Result<(Abort, u32), Refused> {
    use fault::fault_abort::ErrorType;
    let share = abort
        .percentage
        .map_or(Ok(0), |share| millionths(&share))
        .at(|| "percentage".to_owned())?;
    if !abort.response_body.is_empty() {
        return Err(Refused::unsupported("response_body"));
    }
    let code = |value: u32, field: &str| {
        u16::try_from(value).map_err(|_| Refused::field(field, format!("{value} is out of range")))
    };
    let abort = match abort.error_type {
        Some(ErrorType::HttpStatus(status)) => Abort::Http(status_code(status, "http_status")?),
        Some(ErrorType::GrpcStatus(status)) => Abort::Grpc(code(status, "grpc_status")?),
        Some(ErrorType::HeaderAbort(_)) => return Err(Refused::unsupported("header_abort")),
        None => return Err(Refused::missing("error_type")),
    };
    Ok((abort, share))
}

/// An HTTP status that can be sent as a final answer.
pub(crate) fn status_code(status: u32, field: &str) -> Result<u16, Refused> {
    u16::try_from(status)
        .ok()
        .filter(|status| (200..600).contains(status))
        .ok_or_else(|| {
            Refused::field(
                field,
                format!("{status} is not a status between 200 and 599"),
            )
        })
}

pub(crate) fn cors(mut policy: cors::CorsPolicy) -> Result<Option<Cors>, Refused> {
    // Shadow only counts.
    disregard!(policy: shadow_enabled);
    let enabled =
        runtime_share(take(&mut policy.filter_enabled)).at(|| "filter_enabled".to_owned())?;
    let value = |text: String, field: &str| -> Result<Option<HeaderValue>, Refused> {
        if text.is_empty() {
            return Ok(None);
        }
        let value = HeaderValue::try_from(text);
        value
            .map(Some)
            .map_err(|_| Refused::field(field, "is not a header value"))
    };
    let compiled = Cors {
        origins: matchers::strings(
            take(&mut policy.allow_origin_string_match),
            "allow_origin_string_match",
        )?,
        methods: value(take(&mut policy.allow_methods), "allow_methods")?,
        headers: value(take(&mut policy.allow_headers), "allow_headers")?,
        expose: value(take(&mut policy.expose_headers), "expose_headers")?,
        max_age: value(take(&mut policy.max_age), "max_age")?,
        credentials: flag(take(&mut policy.allow_credentials), Unset::False),
        forward_others: flag(
            take(&mut policy.forward_not_matching_preflights),
            Unset::True,
        ),
    };
    nothing_left(&policy)?;
    match enabled {
        Some(0) => Ok(None),
        None | Some(1_000_000) => Ok(Some(compiled)),
        Some(_) => Err(Refused::field(
            "filter_enabled",
            "only 0 and 100 percent are supported by this proxy",
        )),
    }
}
