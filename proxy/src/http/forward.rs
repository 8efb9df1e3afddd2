//! Forwards a request: attempts with their timeouts, retries with their pauses, until there is
//! a response head or no more hope.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use http::HeaderMap;
use mesh_route::cluster::{Limit, LimitGuard};
use mesh_route::{Outcome, RetryPolicy};
use mesh_telemetry::access_log::ResponseFlag;
use tokio::time::Instant;

use super::attempt::{self, Answered, Forwarding, Tried};
use super::body::Progress;
use super::failure::{Failure, Timeout};
use super::headers::{is_idempotent, name};
use super::payload::Payload;
use super::report::Report;
use super::response::Deadlines;
use crate::upstream::error::Retry;

/// Sends a request upstream, as often as the route's policy says.
///
/// # Errors
/// The last attempt's [`Failure`], or [`Failure::Timeout`].
pub(crate) async fn run(
    cx: &Forwarding<'_>,
    report: &mut Report,
    payload: &Payload,
    deadlines: &Deadlines,
) -> Result<Answered, Failure> {
    let progress = report.progress.clone();
    let attempts = Box::pin(attempts(cx, report, payload));
    let answered = within(attempts, deadlines, progress.as_deref()).await;
    if let Err(Failure::Timeout(Timeout::Request)) = &answered {
        cx.connection
            .worker
            .stats
            .cluster(&cx.cluster.name)
            .rq_timeout
            .inc();
    }
    payload.forget();
    answered
}

async fn attempts(
    cx: &Forwarding<'_>,
    report: &mut Report,
    payload: &Payload,
) -> Result<Answered, Failure> {
    let mut tried = Tried::new();
    let mut retries = 0;
    let mut _retrying: Option<LimitGuard> = None;
    loop {
        let result = one(cx, report, payload, &mut tried).await;
        let Some(policy) = &cx.forward.retry else {
            return result;
        };
        match decide(cx, policy, &result, payload, retries) {
            Decision::Done => return result,
            Decision::Exhausted => {
                report
                    .flags
                    .insert(ResponseFlag::UpstreamRetryLimitExceeded);
                return result;
            }
            Decision::Again { pause, permit } => {
                drop(result); // the failed response's connection closes, or its stream is reset
                cx.connection
                    .worker
                    .stats
                    .cluster(&cx.cluster.name)
                    .rq_retry
                    .inc();
                retries += 1;
                _retrying = Some(permit);
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// One attempt within its own timeout.
async fn one(
    cx: &Forwarding<'_>,
    report: &mut Report,
    payload: &Payload,
    tried: &mut Tried,
) -> Result<Answered, Failure> {
    let attempt = Box::pin(attempt::run(cx, report, payload, tried));
    // Until the head nothing moves towards us: both limits are one.
    let limits = [cx.timeouts.per_try, cx.timeouts.per_try_idle];
    let Some(limit) = limits.into_iter().flatten().min() else {
        return attempt.await;
    };
    match tokio::time::timeout(limit, attempt).await {
        Ok(result) => result,
        Err(_elapsed) => {
            cx.connection
                .worker
                .stats
                .cluster(&cx.cluster.name)
                .rq_per_try_timeout
                .inc();
            Err(Failure::Timeout(Timeout::PerTry))
        }
    }
}

enum Decision {
    Done,
    Exhausted,
    Again { pause: Duration, permit: LimitGuard },
}

fn decide(
    cx: &Forwarding<'_>,
    policy: &RetryPolicy,
    result: &Result<Answered, Failure>,
    payload: &Payload,
    retries: u32,
) -> Decision {
    let outcome = match result {
        Ok(answered) => of_response(
            answered.response.status().as_u16(),
            answered.response.headers(),
        ),
        Err(failure) => match failure.outcome() {
            Some(Outcome::Reset { .. }) if died_with_its_server(cx, failure) => {
                Outcome::ConnectFailure
            }
            Some(outcome) => outcome,
            None => return Decision::Done,
        },
    };
    if !payload.is_repeatable() {
        return Decision::Done;
    }
    let random = cx.connection.worker.random();
    let Some(pause) = policy.should_retry(&outcome, retries, random) else {
        let spent = retries > 0 && retries >= policy.max_retries && policy.is_retriable(&outcome);
        return if spent {
            Decision::Exhausted
        } else {
            Decision::Done
        };
    };
    match cx.cluster.acquire(Limit::Retries) {
        Ok(permit) => Decision::Again { pause, permit },
        Err(_overflow) => {
            cx.connection
                .worker
                .stats
                .cluster(&cx.cluster.name)
                .rq_retry_overflow
                .inc();
            Decision::Done
        }
    }
}

/// Whether a request that may be repeated (RFC 9110, section 9.2.2) was lost with its connection, while
/// there are other endpoints: it is tried there wherever one without a connection is.
///
/// Envoy would tell the client, nginx does the same. Pods that are killed under load would cost a
/// request or two otherwise.
fn died_with_its_server(cx: &Forwarding<'_>, failure: &Failure) -> bool {
    matches!(failure, Failure::Stream(error) if error.retry == Retry::IfReused)
        && is_idempotent(&cx.head.method)
        && cx.cluster.endpoints().all().len() > 1
}

fn of_response(status: u16, headers: &HeaderMap) -> Outcome<'_> {
    let grpc_status = headers
        .get(name::GRPC_STATUS)
        .and_then(|value| value.to_str().ok());
    Outcome::Response {
        status,
        grpc_status: grpc_status.and_then(|text| text.parse().ok()),
        headers,
    }
}

/// Waits for `attempts` as long as the deadlines allow. The idle limit starts anew whenever the
/// client has sent more of its body, and the request's own limit ends with its body. No timer is
/// made where no limit is set.
async fn within<T>(
    attempts: impl Future<Output = Result<T, Failure>>,
    deadlines: &Deadlines,
    progress: Option<&Progress>,
) -> Result<T, Failure> {
    let mut attempts = pin!(attempts);
    let moved = || progress.map_or(0, |progress| progress.bytes.get());
    let mut seen = moved();
    loop {
        let receiving = progress.is_some_and(|progress| !progress.complete.get());
        let limits = [
            deadlines.total.map(|at| (at, Timeout::Request)),
            deadlines.stream.map(|at| (at, Timeout::MaxDuration)),
            deadlines
                .request
                .filter(|_| receiving)
                .map(|at| (at, Timeout::Receive)),
            deadlines
                .idle
                .map(|limit| (Instant::now() + limit, Timeout::Idle)),
        ];
        let Some((at, which)) = limits.into_iter().flatten().min_by_key(|(at, _)| *at) else {
            return attempts.await;
        };
        if let Ok(result) = tokio::time::timeout_at(at, attempts.as_mut()).await {
            return result;
        }
        let received = progress.is_none_or(|progress| progress.complete.get());
        match which {
            Timeout::Idle if moved() != seen => seen = moved(),
            Timeout::Receive if received => {}
            which => return Err(Failure::Timeout(which)),
        }
    }
}
