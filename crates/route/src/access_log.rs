//! What to log where, as configured; formatting and writing are the telemetry crate's.

use std::sync::Arc;

/// One configured access log.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLogSpec {
    /// File path; `/dev/stdout` and `/dev/stderr` are the usual ones.
    pub path: Arc<str>,
    /// Line format with Envoy's `%COMMANDS%`.
    pub format: AccessLogFormat,
    /// Log only what passes; `None` logs everything.
    pub filter: Option<AccessLogFilter>,
}

impl AccessLogSpec {
    /// Equal, and cheaply so where both come from one configuration.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_text = match (&self.format, &other.format) {
            (AccessLogFormat::Text(own), AccessLogFormat::Text(others)) => Arc::ptr_eq(own, others),
            _ => false,
        };
        (same_text && self.path == other.path && self.filter == other.filter) || self == other
    }
}

/// The format of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessLogFormat {
    /// Envoy's built-in default line.
    Default,
    /// A text template (its own newline included, if any).
    Text(Arc<str>),
    /// A JSON object: key and template, in order.
    Json(Vec<(Arc<str>, Arc<str>)>),
}

/// Which requests or connections are logged.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessLogFilter {
    /// Response status compared with a value; status 0 for none.
    Status(Comparison, u32),
    /// Duration in milliseconds compared with a value.
    DurationMillis(Comparison, u32),
    /// Everything but health checks: we run no health-check filter, so everything.
    NotHealthCheck,
    /// A response flag of the list is set; empty: any flag.
    ResponseFlags(Vec<Arc<str>>),
    /// A random share, in millionths.
    Runtime(u32),
    /// gRPC status is (or, inverted, is not) in the list.
    GrpcStatus {
        /// Numeric gRPC codes.
        codes: Vec<u16>,
        /// Log those not in the list.
        exclude: bool,
    },
    /// All of them.
    And(Vec<AccessLogFilter>),
    /// Any of them.
    Or(Vec<AccessLogFilter>),
}

/// How a number is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Greater or equal.
    AtLeast,
    /// Less or equal.
    AtMost,
    /// Not equal.
    NotEqual,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogFacts<'a> {
    /// Response status, 0 if none was sent.
    pub status: u16,
    /// Milliseconds from first byte to end.
    pub duration_millis: u64,
    /// Envoy's short response flags, e.g. `["UF", "URX"]`.
    pub flags: &'a [&'a str],
    /// gRPC status of trailers or header.
    pub grpc_status: Option<u16>,
}

impl AccessLogSpec {
    /// Whether the request is logged. `random`: any uniform number.
    pub fn wants(&self, facts: &LogFacts<'_>, random: u64) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.passes(facts, random))
    }
}

impl AccessLogFilter {
    fn passes(&self, facts: &LogFacts<'_>, random: u64) -> bool {
        match self {
            Self::Status(comparison, value) => {
                comparison.holds(u64::from(facts.status), u64::from(*value))
            }
            Self::DurationMillis(comparison, value) => {
                comparison.holds(facts.duration_millis, u64::from(*value))
            }
            Self::NotHealthCheck => true,
            Self::ResponseFlags(flags) if flags.is_empty() => !facts.flags.is_empty(),
            Self::ResponseFlags(flags) => facts
                .flags
                .iter()
                .any(|flag| flags.iter().any(|f| **f == **flag)),
            Self::Runtime(millionths) => random % 1_000_000 < u64::from(*millionths),
            Self::GrpcStatus { codes, exclude } => {
                let listed = facts.grpc_status.is_some_and(|code| codes.contains(&code));
                listed != *exclude
            }
            Self::And(filters) => filters.iter().all(|filter| filter.passes(facts, random)),
            Self::Or(filters) => filters.iter().any(|filter| filter.passes(facts, random)),
        }
    }
}

impl Comparison {
    fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::AtLeast => left >= right,
            Self::AtMost => left <= right,
            Self::NotEqual => left != right,
        }
    }
}
