//! Listeners and filter chains: from a connection to what serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::AccessLogSpec;
use crate::authz::Rbac;
use crate::http_manager::HttpManager;
use crate::tcp::TcpProxy;
use crate::tls::DownstreamTls;
use crate::view::ConnInfo;

/// A compiled listener.
#[derive(Debug)]
pub struct Listener {
    /// Resource name.
    pub name: Arc<str>,
    /// Address to bind, or the original destination it stands for.
    pub address: SocketAddr,
    /// Further addresses.
    pub additional_addresses: Vec<SocketAddr>,
    /// It has a socket of its own; else it is found by original destination.
    pub bind: bool,
    /// Hand connections to the listener of their original destination.
    pub use_original_dst: bool,
    /// The original destination is to be read from the socket (listener filter).
    pub restores_destination: bool,
    /// Logs of connections that no chain took.
    pub access_logs: Vec<AccessLogSpec>,
    pub(crate) chains: Vec<Arc<FilterChain>>,
    pub(crate) default_chain: Option<Arc<FilterChain>>,
}

/// What must be looked at before a chain can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Look for a ClientHello (SNI, ALPN).
    pub tls: bool,
    /// Look for an HTTP request line or the HTTP/2 preface in plaintext.
    pub http: bool,
    /// How long to wait for the bytes; zero waits for ever.
    pub timeout: Duration,
    /// After the timeout go on with what is known, else close.
    pub continue_on_timeout: bool,
}

/// One filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// Name, may be empty.
    pub name: Arc<str>,
    /// TLS termination; `None` is plaintext.
    pub tls: Option<Arc<DownstreamTls>>,
    /// Time for the TLS handshake; `None`: no limit.
    pub handshake_timeout: Option<Duration>,
    /// Network-level policies, in order; all must allow.
    pub network_rbac: Vec<Arc<Rbac>>,
    /// What serves the connection.
    pub terminal: Terminal,
}

/// The last filter of a chain.
#[derive(Clone, Debug)]
pub enum Terminal {
    /// HTTP.
    Http(Arc<HttpManager>),
    /// Bytes.
    Tcp(Arc<TcpProxy>),
}

impl Listener {
    /// The chain that serves a connection, as Envoy chooses it; `None`: close it.
    pub fn select(&self, connection: &ConnInfo<'_>) -> Option<&Arc<FilterChain>> {
        let _ = connection;
        todo!()
    }

    /// What to look at before [`Listener::select`], for a connection to `destination`.
    pub fn inspect(&self, destination: SocketAddr) -> Inspection {
        let _ = destination;
        todo!()
    }

    /// All chains, the default last.
    pub fn chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().chain(self.default_chain.as_ref())
    }
}
