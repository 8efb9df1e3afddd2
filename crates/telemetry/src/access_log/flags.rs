//! Response flags, with Envoy's letters.

use std::fmt;

macro_rules! flags {
    ($($variant:ident $short:literal $long:literal $doc:literal;)*) => {
        /// Why a response or connection ended other than by the upstream's own answer.
        ///
        /// Source: Envoy access log, `%RESPONSE_FLAGS%`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ResponseFlag {
            $(#[doc = $doc] $variant,)*
        }

        impl ResponseFlag {
            /// Every flag, in Envoy's order of output.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Envoy's letters, such as `UF`.
            pub const fn short(self) -> &'static str {
                match self { $(Self::$variant => $short),* }
            }

            /// Envoy's long name, such as `UpstreamConnectionFailure`.
            pub const fn long(self) -> &'static str {
                match self { $(Self::$variant => $long),* }
            }
        }
    };
}

flags! {
    FailedLocalHealthCheck "LH" "FailedLocalHealthCheck" "Local service failed its health check.";
    NoHealthyUpstream "UH" "NoHealthyUpstream" "No healthy host in the upstream cluster.";
    UpstreamRequestTimeout "UT" "UpstreamRequestTimeout" "The upstream did not answer in time.";
    LocalReset "LR" "LocalReset" "We reset the connection.";
    UpstreamRemoteReset "UR" "UpstreamRemoteReset" "The upstream reset the stream.";
    UpstreamConnectionFailure "UF" "UpstreamConnectionFailure" "No connection to the upstream could be made.";
    UpstreamConnectionTermination "UC" "UpstreamConnectionTermination" "The upstream closed its connection.";
    UpstreamOverflow "UO" "UpstreamOverflow" "A circuit breaker was open.";
    NoRouteFound "NR" "NoRouteFound" "No route or filter chain matched.";
    DelayInjected "DI" "DelayInjected" "The request was delayed by fault injection.";
    FaultInjected "FI" "FaultInjected" "The request was aborted by fault injection.";
    RateLimited "RL" "RateLimited" "The request was rate limited.";
    UnauthorizedExternalService "UAEX" "UnauthorizedExternalService" "External authorization denied the request.";
    RateLimitServiceError "RLSE" "RateLimitServiceError" "The rate limit service failed.";
    DownstreamConnectionTermination "DC" "DownstreamConnectionTermination" "The client closed its connection.";
    UpstreamRetryLimitExceeded "URX" "UpstreamRetryLimitExceeded" "Retries or connection attempts were used up.";
    StreamIdleTimeout "SI" "StreamIdleTimeout" "The stream was idle for too long.";
    InvalidEnvoyRequestHeaders "IH" "InvalidEnvoyRequestHeaders" "A strictly checked header had a bad value.";
    DownstreamProtocolError "DPE" "DownstreamProtocolError" "The client broke the HTTP protocol.";
    UpstreamMaxStreamDurationReached "UMSDR" "UpstreamMaxStreamDurationReached" "The stream lived too long.";
    NoFilterConfigFound "NFCF" "NoFilterConfigFound" "A filter's configuration did not arrive in time.";
    DurationTimeout "DT" "DurationTimeout" "The connection lived too long.";
    UpstreamProtocolError "UPE" "UpstreamProtocolError" "The upstream broke the HTTP protocol.";
    NoClusterFound "NC" "NoClusterFound" "The route's cluster does not exist.";
    OverloadManager "OM" "OverloadManagerTerminated" "The overload manager ended the request.";
    DnsResolutionFailed "DF" "DnsResolutionFailed" "The upstream's name could not be resolved.";
    DropOverload "DO" "DropOverload" "The request was dropped by drop_overload.";
    DownstreamRemoteReset "DR" "DownstreamRemoteReset" "The client reset the stream.";
}

/// A set of [`ResponseFlag`]s; a copy of one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseFlags(u64);

impl ResponseFlags {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Adds a flag.
    pub fn insert(&mut self, flag: ResponseFlag) {
        self.0 |= 1 << flag as u8;
    }

    /// Whether a flag is in the set.
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Whether there is no flag.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags in Envoy's order.
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        ResponseFlag::ALL
            .iter()
            .copied()
            .filter(move |flag| self.contains(*flag))
    }
}

impl From<ResponseFlag> for ResponseFlags {
    fn from(flag: ResponseFlag) -> Self {
        Self(1 << flag as u8)
    }
}

impl fmt::Display for ResponseFlags {
    /// Letters joined by commas, `-` for the empty set: also the value of the metric label
    /// `response_flags`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (position, flag) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            f.write_str(flag.short())?;
        }
        Ok(())
    }
}
