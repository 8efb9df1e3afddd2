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

pub(crate) mod chain_match;

#[cfg(test)]
mod tests;

use chain_match::ChainMatch;

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
    /// Whose connections come to it.
    pub traffic: Traffic,
    /// Hand connections to the listener of their original destination.
    pub use_original_dst: bool,
    /// The original destination is to be read from the socket (listener filter).
    pub restores_destination: bool,
    /// Logs of connections that no chain took.
    pub access_logs: Vec<AccessLogSpec>,
    pub(crate) inspectors: Inspectors,
    pub(crate) matches: Vec<ChainMatch>,
    /// One for each of `matches`.
    pub(crate) chains: Vec<Arc<FilterChain>>,
    pub(crate) default_chain: Option<Arc<FilterChain>>,
}

/// Which way a listener's connections go, seen from the workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traffic {
    /// Not told.
    #[default]
    Unspecified,
    /// To the application.
    Inbound,
    /// From the application; also what Istio writes for a gateway's listeners.
    Outbound,
}

/// Listener filters that look at the first bytes.
#[derive(Debug, Default)]
pub(crate) struct Inspectors {
    /// `None`: not configured (TLS is then looked for where a chain needs it, as in Envoy).
    pub(crate) tls: Option<PortPredicate>,
    pub(crate) http: Option<PortPredicate>,
    pub(crate) timeout: Duration,
    pub(crate) continue_on_timeout: bool,
}

/// For which destination ports a listener filter is switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PortPredicate {
    Never,
    Always,
    /// From (included) and to (not included).
    Range(u32, u32),
    Not(Box<PortPredicate>),
    All(Vec<PortPredicate>),
    Some(Vec<PortPredicate>),
}

impl PortPredicate {
    fn holds(&self, port: u16) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Range(from, to) => (*from..*to).contains(&u32::from(port)),
            Self::Not(inner) => !inner.holds(port),
            Self::All(all) => all.iter().all(|one| one.holds(port)),
            Self::Some(some) => some.iter().any(|one| one.holds(port)),
        }
    }
}

/// What must be looked at before a chain can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Look for a ClientHello (SNI, ALPN).
    pub tls: bool,
    /// Look for an HTTP request line or the HTTP/2 preface in plaintext.
    pub http: bool,
    /// How long to wait for the bytes; `None` waits for ever.
    pub timeout: Option<Duration>,
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
    ///
    /// One criterion after the other, the most specific value that matches is kept and the
    /// rest is out for good: there is no way back to a chain that lost on an earlier one.
    pub fn select(&self, connection: &ConnInfo<'_>) -> Option<&Arc<FilterChain>> {
        match chain_match::best(&self.matches, connection) {
            Some(at) => Some(&self.chains[at]),
            None => self.default_chain.as_ref(),
        }
    }

    /// What to look at before [`Listener::select`], for a connection to `destination`. Nothing, if
    /// no chain for that port asks for it: server-first protocols then lose no time.
    pub fn inspect(&self, destination: SocketAddr) -> Inspection {
        let port = destination.port();
        let candidates = || chain_match::for_port(&self.matches, port);
        let on = |filter: &PortPredicate| !filter.holds(port);
        let tls = self.inspectors.tls.as_ref().is_none_or(on)
            && candidates().any(ChainMatch::asks_for_tls);
        let http = self.inspectors.http.as_ref().is_some_and(on)
            && candidates().any(ChainMatch::asks_for_http);
        let timeout = self.inspectors.timeout;
        Inspection {
            tls,
            http,
            timeout: (!timeout.is_zero()).then_some(timeout),
            continue_on_timeout: self.inspectors.continue_on_timeout,
        }
    }

    /// All chains, the default last.
    pub fn chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().chain(self.default_chain.as_ref())
    }
}
