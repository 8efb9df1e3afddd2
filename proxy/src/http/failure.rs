//! Why a request is not answered by its upstream. `rescue` makes the answer of it.

use std::rc::Rc;
use std::sync::Arc;

use mesh_route::Outcome;
use mesh_route::fault::Abort;

use super::body::Cut;
use super::headers::Malformed;
use crate::upstream::error::{AcquireError, Broken, Retry, StreamError};

/// Who is to blame, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The client's request.
    Client,
    /// Configuration: a route, a policy, an injected fault.
    Configuration,
    /// The upstream or the way there.
    Upstream,
}

/// Why.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Failure {
    /// The request breaks HTTP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The client broke off its body.
    #[error("the client's body broke off: {0:?}")]
    Body(Cut),
    /// An authorization policy denied.
    #[error("denied by policy {policy:?}")]
    Denied {
        /// The policy that matched, if one did.
        policy: Option<Arc<str>>,
    },
    /// No virtual host or route matches, or the route table is not there.
    #[error("no route")]
    NoRoute,
    /// The route's cluster is unknown.
    #[error("no cluster {cluster}")]
    NoCluster {
        /// Its name.
        cluster: Arc<str>,
        /// Status by the route.
        status: u16,
    },
    /// The upgrade is not allowed here.
    #[error("upgrade refused")]
    UpgradeRefused,
    /// Fault injection.
    #[error("fault injected")]
    Injected(Abort),
    /// No stream to an upstream could be had.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The stream broke before the response.
    #[error("upstream stream broke: {}", .0.reason)]
    Stream(StreamError),
    /// A timeout.
    #[error("timeout: {0:?}")]
    Timeout(Timeout),
}

/// Which timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timeout {
    /// The route's.
    Request,
    /// One attempt's.
    PerTry,
    /// The client took too long to send its request.
    Receive,
    /// Nothing moved.
    Idle,
    /// The stream lived too long.
    MaxDuration,
}

impl Failure {
    /// Who is to blame.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Malformed(_) | Self::Body(_) | Self::UpgradeRefused => Fault::Client,
            Self::Denied { .. } | Self::NoRoute | Self::NoCluster { .. } | Self::Injected(_) => {
                Fault::Configuration
            }
            Self::Acquire(_) | Self::Stream(_) | Self::Timeout(_) => Fault::Upstream,
        }
    }

    /// How a retry policy sees it; `None`: no attempt was made, or none may be repeated.
    pub(crate) fn outcome(&self) -> Option<Outcome<'static>> {
        match self {
            Self::Acquire(AcquireError::Connect(_)) => Some(Outcome::ConnectFailure),
            Self::Stream(error) if error.broken == Broken::Refused => Some(Outcome::RefusedStream),
            Self::Stream(error) => Some(Outcome::Reset {
                sent_headers: error.retry != Retry::Safe,
            }),
            Self::Timeout(Timeout::PerTry) => Some(Outcome::PerTryTimeout),
            _ => None,
        }
    }

    /// For `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub(crate) fn transport_reason(&self) -> Option<Rc<str>> {
        match self {
            Self::Acquire(AcquireError::Connect(error)) => {
                let error: &crate::upstream::error::ConnectError = error;
                Some(Rc::from(crate::upstream::error::report(error).as_str()))
            }
            Self::Stream(error) => Some(Rc::clone(&error.reason)),
            _ => None,
        }
    }
}
