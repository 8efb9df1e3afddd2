//! What can go wrong between us and an upstream, who failed, and whether trying again is safe.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mesh_route::PickError;
use mesh_route::cluster::Overflow;

use crate::{http1, http2};

/// Whether a request that met an error may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The upstream may have acted on it.
    Never,
    /// Only if the connection had served before, and the request may be repeated: then the
    /// upstream most likely closed it while it was idle.
    IfReused,
    /// The upstream surely did not act on it.
    Safe,
}

/// Why no connection to an endpoint could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connect timeout passed, handshake included.
    #[error("connect to {address} timed out after {after:?} (is a NetworkPolicy blocking port {}?)", address.port())]
    Timeout {
        /// Endpoint.
        address: SocketAddr,
        /// The cluster's connect timeout.
        after: Duration,
    },
    /// TCP failed.
    #[error("connect to {address}")]
    Tcp {
        /// Endpoint.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The TLS handshake failed.
    #[error("TLS handshake with {address}: {reason}")]
    Tls {
        /// Endpoint.
        address: SocketAddr,
        /// What rustls or the identity check said; names found and expected identity.
        reason: String,
    },
    /// Our own certificate or the peer's roots are not there yet, or unusable.
    #[error("no TLS configuration for {address}: {reason}")]
    NoCredentials {
        /// Endpoint.
        address: SocketAddr,
        /// What is missing.
        reason: String,
    },
}

/// Why no stream on an upstream connection could be had. Nothing was sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AcquireError {
    /// The cluster has no endpoint to offer.
    #[error("pick an endpoint: {0}")]
    Pick(#[from] PickError),
    /// A circuit breaker is open.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// The connection failed; shared by all who waited for it.
    #[error(transparent)]
    Connect(Rc<ConnectError>),
}

/// How a stream broke after it was had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The connection ended before the response's head.
    Terminated,
    /// The peer reset the stream.
    RemoteReset,
    /// REFUSED_STREAM, or GOAWAY before this stream.
    Refused,
    /// The peer does not speak HTTP, or breaks its rules.
    Protocol,
}

/// A stream that broke before the response's head.
#[derive(Debug, Clone)]
pub struct StreamError {
    /// How.
    pub broken: Broken,
    /// Whether trying again is safe.
    pub retry: Retry,
    /// For the log.
    pub reason: Rc<str>,
}

impl StreamError {
    /// A connection that takes no more requests.
    pub(crate) fn unsent() -> Self {
        Self {
            broken: Broken::Refused,
            retry: Retry::Safe,
            reason: Rc::from("the connection takes no more requests"),
        }
    }

    /// Classifies how an HTTP/2 stream broke before the response's head.
    pub(crate) fn from_http2(error: &http2::Error) -> Self {
        use http2::Error;
        let (broken, retry) = match error {
            Error::Refused => (Broken::Refused, Retry::Safe),
            Error::Closed | Error::Io(_) | Error::Silent | Error::GoneAway(_) => {
                (Broken::Terminated, Retry::IfReused)
            }
            Error::Violation(_) => (Broken::Protocol, Retry::Never),
            Error::Reset(_) | Error::Cancelled | Error::Cut => (Broken::RemoteReset, Retry::Never),
        };
        Self {
            broken,
            retry,
            reason: Rc::from(report(error).as_str()),
        }
    }
}

impl StreamError {
    /// Classifies how an HTTP/1.1 connection broke before the response's head.
    pub(crate) fn from_http1(error: &http1::Error) -> Self {
        let (broken, retry) = if error.is_violation() {
            (Broken::Protocol, Retry::Never)
        } else {
            (Broken::Terminated, Retry::IfReused)
        };
        Self {
            broken,
            retry,
            reason: Rc::from(report(error).as_str()),
        }
    }
}

/// An error with its causes on one line.
pub(crate) fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
