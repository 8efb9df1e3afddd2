//! Retry policy: which outcomes are tried again, how often, after how long.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::strings::StringMatcher;

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
    pub(crate) headers: Vec<ResponseCondition>,
    pub(crate) base_interval: Duration,
    pub(crate) max_interval: Duration,
}

/// A response header that makes the response retriable.
#[derive(Clone, Debug)]
pub(crate) struct ResponseCondition {
    pub(crate) name: http::HeaderName,
    /// `None`: present is enough.
    pub(crate) value: Option<StringMatcher>,
    pub(crate) invert: bool,
}

/// Conditions as bit flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(pub(crate) u32);

impl RetryOn {
    /// Any 5xx or no response at all.
    pub const SERVER_ERROR: Self = Self(1);
    /// 502, 503, 504 or no response at all.
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    /// No response at all.
    pub const RESET: Self = Self(1 << 2);
    /// No response, and the request's headers hadn't left.
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    /// No connection.
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    /// `x-envoy-ratelimited` responses too.
    pub const RATE_LIMITED: Self = Self(1 << 5);
    /// 409.
    pub const RETRIABLE_4XX: Self = Self(1 << 6);
    /// REFUSED_STREAM.
    pub const REFUSED_STREAM: Self = Self(1 << 7);
    /// The policy's status codes.
    pub const STATUS_CODES: Self = Self(1 << 8);
    /// The policy's response headers.
    pub const HEADERS: Self = Self(1 << 9);
    /// gRPC status 1.
    pub const GRPC_CANCELLED: Self = Self(1 << 10);
    /// gRPC status 4.
    pub const GRPC_DEADLINE: Self = Self(1 << 11);
    /// gRPC status 13.
    pub const GRPC_INTERNAL: Self = Self(1 << 12);
    /// gRPC status 8.
    pub const GRPC_EXHAUSTED: Self = Self(1 << 13);
    /// gRPC status 14.
    pub const GRPC_UNAVAILABLE: Self = Self(1 << 14);

    /// One condition by its name in `retry_on`; `None` if Envoy knows none of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "5xx" => Self::SERVER_ERROR,
            "gateway-error" => Self::GATEWAY_ERROR,
            "reset" => Self::RESET,
            "reset-before-request" => Self::RESET_BEFORE_REQUEST,
            "connect-failure" => Self::CONNECT_FAILURE,
            "envoy-ratelimited" => Self::RATE_LIMITED,
            "retriable-4xx" => Self::RETRIABLE_4XX,
            "refused-stream" => Self::REFUSED_STREAM,
            "retriable-status-codes" => Self::STATUS_CODES,
            "retriable-headers" => Self::HEADERS,
            "cancelled" => Self::GRPC_CANCELLED,
            "deadline-exceeded" => Self::GRPC_DEADLINE,
            "internal" => Self::GRPC_INTERNAL,
            "resource-exhausted" => Self::GRPC_EXHAUSTED,
            "unavailable" => Self::GRPC_UNAVAILABLE,
            // HTTP/3 only, which we don't speak: never the case.
            "http3-post-connect-failure" => Self(0),
            _ => return None,
        })
    }

    /// Both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Any of `other`.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

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
    /// The stream or connection broke before a response.
    Reset {
        /// The request's headers had left.
        sent_headers: bool,
    },
    /// The per-try timeout passed.
    PerTryTimeout,
}

static RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

impl RetryPolicy {
    /// Whether to try again and after which pause. `retries_done`: 0 after the first attempt;
    /// `random`: jitter. The cluster's retry limit is the caller's to ask
    /// ([`crate::cluster::limits`]).
    ///
    /// Source: Envoy's jittered exponential back-off: uniform in `0..min(base * 2^n, max)`.
    pub fn should_retry(
        &self,
        outcome: &Outcome<'_>,
        retries_done: u32,
        random: u64,
    ) -> Option<Duration> {
        if retries_done >= self.max_retries || !self.is_retriable(outcome) {
            return None;
        }
        let base = u64::try_from(self.base_interval.as_micros()).unwrap_or(u64::MAX);
        let max = u64::try_from(self.max_interval.as_micros()).unwrap_or(u64::MAX);
        let step = base.saturating_mul(1 << (retries_done + 1).min(20));
        Some(Duration::from_micros(random % step.min(max).max(1)))
    }

    /// Whether an outcome is one that may be retried at all, counts aside.
    pub fn is_retriable(&self, outcome: &Outcome<'_>) -> bool {
        let lost = RetryOn::RESET
            .with(RetryOn::SERVER_ERROR)
            .with(RetryOn::GATEWAY_ERROR);
        match outcome {
            Outcome::Response {
                status,
                grpc_status,
                headers,
            } => self.retries_response(*status, *grpc_status, headers),
            Outcome::ConnectFailure => self.on.has(
                lost.with(RetryOn::CONNECT_FAILURE)
                    .with(RetryOn::RESET_BEFORE_REQUEST),
            ),
            Outcome::RefusedStream => self.on.has(lost.with(RetryOn::REFUSED_STREAM)),
            Outcome::Reset { sent_headers } => {
                self.on.has(lost) || (!sent_headers && self.on.has(RetryOn::RESET_BEFORE_REQUEST))
            }
            Outcome::PerTryTimeout => self.on.has(lost),
        }
    }

    fn retries_response(&self, status: u16, grpc_status: Option<u16>, headers: &HeaderMap) -> bool {
        if headers.contains_key(&RATE_LIMITED) {
            return self.on.has(RetryOn::RATE_LIMITED);
        }
        let by_status = match status {
            409 => self.on.has(RetryOn::RETRIABLE_4XX),
            502..=504 => self
                .on
                .has(RetryOn::SERVER_ERROR.with(RetryOn::GATEWAY_ERROR)),
            500..=599 => self.on.has(RetryOn::SERVER_ERROR),
            _ => false,
        };
        let by_grpc = grpc_status.is_some_and(|code| match code {
            1 => self.on.has(RetryOn::GRPC_CANCELLED),
            4 => self.on.has(RetryOn::GRPC_DEADLINE),
            8 => self.on.has(RetryOn::GRPC_EXHAUSTED),
            13 => self.on.has(RetryOn::GRPC_INTERNAL),
            14 => self.on.has(RetryOn::GRPC_UNAVAILABLE),
            _ => false,
        });
        by_status
            || by_grpc
            || (self.on.has(RetryOn::STATUS_CODES) && self.statuses.contains(&status))
            || (self.on.has(RetryOn::HEADERS)
                && self.headers.iter().any(|header| header.holds(headers)))
    }
}

impl ResponseCondition {
    fn holds(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(&self.name) else {
            return self.value.is_none() && self.invert;
        };
        let matches = self
            .value
            .as_ref()
            .is_none_or(|matcher| matcher.matches_bytes(value.as_bytes()));
        matches != self.invert
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(conditions: &[&str]) -> RetryPolicy {
        let on = conditions
            .iter()
            .map(|name| RetryOn::named(name).unwrap())
            .fold(RetryOn::default(), RetryOn::with);
        RetryPolicy {
            max_retries: 2,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            avoid_previous_hosts: false,
            host_selection_attempts: 1,
            on,
            statuses: vec![503],
            headers: Vec::new(),
            base_interval: Duration::from_millis(25),
            max_interval: Duration::from_millis(250),
        }
    }

    fn response(headers: &HeaderMap, status: u16, grpc_status: Option<u16>) -> Outcome<'_> {
        Outcome::Response {
            status,
            grpc_status,
            headers,
        }
    }

    #[test]
    fn istio_default_retries_what_is_safe() {
        let policy = policy(&[
            "connect-failure",
            "refused-stream",
            "unavailable",
            "cancelled",
            "retriable-status-codes",
        ]);
        let none = HeaderMap::new();
        assert!(policy.is_retriable(&Outcome::ConnectFailure));
        assert!(policy.is_retriable(&Outcome::RefusedStream));
        assert!(policy.is_retriable(&response(&none, 503, None)));
        assert!(policy.is_retriable(&response(&none, 200, Some(14))));
        assert!(!policy.is_retriable(&response(&none, 500, None)));
        assert!(!policy.is_retriable(&Outcome::Reset { sent_headers: true }));
        assert!(!policy.is_retriable(&Outcome::PerTryTimeout));
    }

    #[test]
    fn stops_after_the_last_retry_and_backs_off_within_bounds() {
        let policy = policy(&["5xx"]);
        let none = HeaderMap::new();
        let outcome = response(&none, 500, None);
        for random in [0, 7, u64::MAX] {
            let first = policy.should_retry(&outcome, 0, random).unwrap();
            let second = policy.should_retry(&outcome, 1, random).unwrap();
            assert!(first < Duration::from_millis(50) && second < Duration::from_millis(100));
        }
        assert_eq!(policy.should_retry(&outcome, 2, 0), None);
    }

    #[test]
    fn rate_limited_responses_need_their_own_condition() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-envoy-ratelimited",
            http::HeaderValue::from_static("true"),
        );
        assert!(!policy(&["5xx"]).is_retriable(&response(&headers, 503, None)));
        assert!(policy(&["envoy-ratelimited"]).is_retriable(&response(&headers, 429, None)));
    }
}
