//! Why a connection ends before its time.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::http2;
use crate::tls::CredentialsError;

/// Why a connection was ended by us.
#[derive(Debug, thiserror::Error)]
pub enum ConnError {
    /// No listener is configured (any more).
    #[error("no listener for {destination}")]
    NoListener {
        /// Where the client wanted to go.
        destination: SocketAddr,
    },
    /// No filter chain takes the connection.
    #[error("no filter chain of {listener} takes a connection to {destination}")]
    NoChain {
        /// The listener.
        listener: Arc<str>,
        /// Where the client wanted to go.
        destination: SocketAddr,
    },
    /// Plaintext where mutual TLS is required.
    #[error("plaintext to {destination} refused (PeerAuthentication STRICT)")]
    Plaintext {
        /// Where the client wanted to go.
        destination: SocketAddr,
    },
    /// The client showed too little in time and the listener insists.
    #[error("protocol not clear in time")]
    Undetected,
    /// A network policy denied.
    #[error("denied by network policy {policy:?}")]
    Denied {
        /// Name of the policy, if one matched.
        policy: Option<Arc<str>>,
    },
    /// TLS could not be terminated.
    #[error("TLS handshake with the client")]
    Handshake(#[source] std::io::Error),
    /// Our certificate is missing.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The client's connection failed.
    #[error("client connection")]
    Io(#[from] std::io::Error),
    /// The client broke HTTP/1.1, or left early.
    #[error("HTTP/1.1 connection")]
    Http1(#[source] crate::http1::Error),
    /// The client broke HTTP/2, or left early.
    #[error("HTTP/2 connection")]
    Http2(#[source] http2::Error),
}
