//! Retry policy: which outcomes are tried again, how often, after how long.

use std::time::Duration;

use http::HeaderMap;

/// A compiled retry policy.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Retries at most, beside the first attempt.
    pub max_retries: u32,
    /// Time of one attempt.
    pub per_try_timeout: Option<Duration>,
    /// Time of one attempt without a byte.
    pub per_try_idle_timeout: Option<Duration>,
    /// Retries go to other endpoints than those tried (previous_hosts).
    pub avoid_previous_hosts: bool,
    /// Picks again at most so often to find one not tried.
    pub host_selection_attempts: u32,
    pub(crate) on: RetryOn,
    pub(crate) statuses: Vec<u16>,
    pub(crate) base_interval: Duration,
    pub(crate) max_interval: Duration,
}

/// Conditions as bit flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(pub(crate) u32);

/// What came of an attempt.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// A response head (or trailers-only gRPC response).
    Response {
        /// Status.
        status: u16,
        /// `grpc-status` of the head, if there.
        grpc_status: Option<u16>,
        /// Response headers.
        headers: &'a HeaderMap,
    },
    /// No connection could be made; nothing was sent.
    ConnectFailure,
    /// HTTP/2 REFUSED_STREAM, or GOAWAY before this stream: surely not processed.
    RefusedStream,
    /// The stream or connection broke after the request was (partly) sent, before a response.
    /// `sent_headers`: the request's headers had left.
    Reset {
        /// The request's headers had left.
        sent_headers: bool,
    },
    /// The per-try timeout passed.
    PerTryTimeout,
}

impl RetryPolicy {
    /// Whether to try again and after which pause. `retries_done`: 0 after the first attempt;
    /// `random`: jitter. The cluster's retry limit is the caller's to ask
    /// ([`crate::cluster::limits`]).
    pub fn should_retry(
        &self,
        outcome: &Outcome<'_>,
        retries_done: u32,
        random: u64,
    ) -> Option<Duration> {
        let _ = (outcome, retries_done, random);
        todo!()
    }

    /// Whether an outcome is one that may be retried at all, counts aside.
    pub fn is_retriable(&self, outcome: &Outcome<'_>) -> bool {
        let _ = outcome;
        todo!()
    }
}
