//! One accepted connection on its way to its filter chain: look at the first bytes, choose the
//! chain, terminate TLS, ask the network policies. `inbound`, `outbound` and `gateway` call
//! these steps in their order.

mod inspect;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use futures::future::LocalBoxFuture;
use mesh_route::http_manager::CertificateDetails;
use mesh_route::{
    AuthzInput, ConnInfo, FilterChain, HttpManager, Listener, Snapshot, Terminal, Verdict,
};
use mesh_telemetry::access_log::ResponseFlag;
use mesh_telemetry::drain::{InFlight, Phase};
use mesh_telemetry::metrics::GaugeGuard;
use smallvec::SmallVec;
use tokio::net::TcpStream;

use super::Accepted;
pub use super::error::ConnError;
use crate::detect::{Detected, Prefixed};
use crate::metrics::stats::ListenerStats;
use crate::peer::Peer;
use crate::tls::{self, Handshake, ServerIo, ServerStream, accepts_peer};
use crate::worker::Worker;
use crate::{http, tcp};

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the application beside us.
    Outbound,
    /// To the application beside us.
    Inbound,
    /// To a port of our own: a gateway.
    Gateway,
}

impl Direction {
    /// The phase in which clients are told to go. The application beside us has to finish its own
    /// work, when others already have to go.
    pub fn drains_in(self) -> Phase {
        match self {
            Direction::Inbound => Phase::DrainingInbound,
            Direction::Outbound | Direction::Gateway => Phase::Draining,
        }
    }
}

/// An accepted connection with everything its requests ask about.
#[derive(Debug)]
pub struct Connection {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// Where it came from.
    pub direction: Direction,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The listener's counters.
    pub stats: Rc<ListenerStats>,
    /// Who connected.
    pub peer: SocketAddr,
    /// Our address on the socket.
    pub local: SocketAddr,
    /// Where the client wanted to go.
    pub destination: SocketAddr,
    /// What the first bytes were, if somebody looked.
    pub detected: Option<Detected>,
    /// What the TLS handshake told, if we terminated TLS.
    pub handshake: Option<Handshake>,
    chosen: RefCell<Option<Chosen>>,
    client_words: RefCell<Option<(CertificateDetails, HeaderValue)>>,
    /// The client's workload, once its proxy has told.
    pub(crate) introduced: RefCell<Option<Rc<Peer>>>,
    _active: GaugeGuard,
    _in_flight: InFlight,
}

/// The chain of a connection under one version of the configuration.
#[derive(Debug)]
struct Chosen {
    version: u64,
    chain: Arc<FilterChain>,
}

impl Connection {
    /// A connection that has just been accepted for `listener`.
    pub fn new(
        worker: &Rc<Worker>,
        direction: Direction,
        listener: &Listener,
        accepted: &Accepted,
    ) -> Self {
        let stats = worker.stats.listener(&listener.name);
        stats.cx_total.inc();
        Self {
            worker: Rc::clone(worker),
            direction,
            listener: Arc::clone(&listener.name),
            peer: accepted.peer,
            local: accepted.local,
            destination: accepted.destination,
            detected: None,
            handshake: None,
            chosen: RefCell::default(),
            client_words: RefCell::default(),
            introduced: RefCell::default(),
            _active: stats.cx_active.hold(),
            _in_flight: worker.shared.drain.enter(),
            stats,
        }
    }

    /// SNI, whoever terminates TLS.
    pub fn server_name(&self) -> Option<&str> {
        match &self.detected {
            Some(Detected::Tls(hello)) => hello.server_name.as_deref(),
            _ => self.handshake.as_ref()?.server_name.as_deref(),
        }
    }

    /// The client's verified identity.
    pub fn principal(&self) -> Option<&Rc<str>> {
        self.handshake.as_ref()?.principal.as_ref()
    }

    /// What is told about the client's certificate, made once: reading a certificate costs more
    /// than all else that a request's head needs.
    pub(crate) fn client_words(
        &self,
        details: CertificateDetails,
        make: impl FnOnce() -> Option<HeaderValue>,
    ) -> Option<HeaderValue> {
        let mut words = self.client_words.borrow_mut();
        match &*words {
            Some((known, value)) if *known == details => Some(value.clone()),
            _ => {
                let value = make()?;
                *words = Some((details, value.clone()));
                Some(value)
            }
        }
    }

    /// The connection is TLS as far as we terminate it.
    pub fn is_tls(&self) -> bool {
        self.handshake.is_some()
    }

    /// The filter chain by the configuration in `snapshot`.
    ///
    /// # Errors
    /// [`ConnError::NoChain`], or [`ConnError::Plaintext`] if TLS would have been taken.
    pub fn choose(&self, snapshot: &Snapshot) -> Result<Arc<FilterChain>, ConnError> {
        let destination = self.destination;
        let listener = self
            .listener(snapshot)
            .ok_or(ConnError::NoListener { destination })?;
        let Some(chain) = self.select(listener) else {
            if self.direction == Direction::Inbound && self.would_take_tls(listener) {
                self.stats.plaintext_refused.inc();
                return Err(ConnError::Plaintext { destination });
            }
            self.stats.no_chain.inc();
            tcp::log_refused(
                self,
                &listener.access_logs,
                ResponseFlag::NoRouteFound,
                None,
            );
            return Err(ConnError::NoChain {
                listener: Arc::clone(&listener.name),
                destination,
            });
        };
        let chosen = Chosen {
            version: snapshot.version,
            chain: Arc::clone(chain),
        };
        self.chosen.replace(Some(chosen));
        Ok(Arc::clone(chain))
    }

    fn listener<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Arc<Listener>> {
        // Not redirected: it came by a socket of the listener's own.
        if self.destination == self.local {
            return snapshot.listener(&self.listener);
        }
        match self.direction {
            Direction::Inbound => snapshot.inbound(),
            Direction::Outbound | Direction::Gateway => snapshot.outbound(self.destination),
        }
    }

    fn select<'a>(&self, listener: &'a Listener) -> Option<&'a Arc<FilterChain>> {
        let mut protocols: SmallVec<[&[u8]; 4]> = SmallVec::new();
        let tls = match &self.detected {
            Some(Detected::Tls(hello)) => {
                protocols.extend(hello.alpn.iter().map(Vec::as_slice));
                true
            }
            Some(Detected::Http1) => {
                protocols.push(b"http/1.1");
                false
            }
            Some(Detected::Http2) => {
                protocols.push(b"h2c");
                false
            }
            _ => false,
        };
        listener.select(&ConnInfo {
            destination: self.destination,
            source: self.peer,
            server_name: self.server_name(),
            tls,
            application_protocols: &protocols,
        })
    }

    fn would_take_tls(&self, listener: &Listener) -> bool {
        let plaintext = !matches!(self.detected, Some(Detected::Tls(_)));
        let mesh: [&[&[u8]]; 2] = [&[b"istio-http/1.1"], &[b"istio"]];
        plaintext
            && mesh.iter().any(|protocols| {
                let info = ConnInfo {
                    destination: self.destination,
                    source: self.peer,
                    server_name: None,
                    tls: true,
                    application_protocols: protocols,
                };
                listener.select(&info).is_some()
            })
    }

    /// The HTTP manager by the newest configuration, so that a changed policy holds for the next
    /// request of an old connection. `None`: this connection should end.
    pub fn manager(&self, snapshot: &Snapshot) -> Option<Arc<HttpManager>> {
        let mut chosen = self.chosen.borrow_mut();
        let current = chosen.as_mut()?;
        if current.version != snapshot.version {
            let chain = self.select(self.listener(snapshot)?)?;
            // TLS that we terminated can't be taken back, nor added.
            if chain.tls.is_some() != current.chain.tls.is_some() {
                return None;
            }
            *current = Chosen {
                version: snapshot.version,
                chain: Arc::clone(chain),
            };
        }
        match &current.chain.terminal {
            Terminal::Http(manager) => Some(Arc::clone(manager)),
            Terminal::Tcp(_) => None,
        }
    }

    /// Whether the client is to go.
    pub fn is_draining(&self) -> bool {
        self.worker.phase() >= self.direction.drains_in()
    }

    /// Returns once the listener of this connection was removed by configuration, or has no chain
    /// for it any more, and the time to drain (ProxyConfig `drainDuration`) has passed since.
    pub async fn orphaned(&self) {
        let mut news = self.worker.shared.snapshot.subscribe();
        loop {
            if news.changed().await.is_err() {
                return std::future::pending().await;
            }
            if self.is_orphan() {
                tokio::time::sleep(self.worker.shared.bootstrap.drain).await;
                if self.is_orphan() {
                    return;
                }
            }
        }
    }

    fn is_orphan(&self) -> bool {
        let snapshot = self.worker.snapshot();
        let listener = snapshot.listener(&self.listener);
        listener.is_none_or(|listener| self.select(listener).is_none())
    }

    /// Terminates TLS if the chain says so.
    ///
    /// # Errors
    /// [`ConnError::Credentials`], [`ConnError::Handshake`].
    pub async fn secure(
        &mut self,
        stream: Prefixed<TcpStream>,
        chain: &FilterChain,
    ) -> Result<ServerStream, ConnError> {
        let Some(settings) = &chain.tls else {
            return Ok(stream.map(ServerIo::Plain));
        };
        let offered = match &self.detected {
            Some(Detected::Tls(hello)) => hello.alpn.as_slice(),
            _ => &[],
        };
        let config = self.worker.server_tls(settings, offered)?;
        let worker = Rc::clone(&self.worker);
        let handshake = tls::accept(stream, config, &worker.names);
        let limit = chain.handshake_timeout.unwrap_or(HANDSHAKE_LIMIT);
        let result = match tokio::time::timeout(limit, handshake).await {
            Ok(result) => result,
            Err(_elapsed) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        let (stream, handshake) = result.map_err(|error| {
            self.stats.tls_error.inc();
            ConnError::Handshake(error)
        })?;
        if let Err(reason) = accepts_peer(&settings.common, handshake.certificate.as_deref()) {
            self.stats.tls_error.inc();
            return Err(ConnError::Handshake(std::io::Error::other(reason)));
        }
        self.stats.tls_handshake.inc();
        self.handshake = Some(handshake);
        Ok(stream)
    }

    /// Asks the chain's network policies.
    ///
    /// # Errors
    /// [`ConnError::Denied`] by the first that denies.
    pub fn admit(&self, chain: &FilterChain) -> Result<(), ConnError> {
        for rbac in &chain.network_rbac {
            if let Verdict::Deny { policy } = rbac.decide(&self.authz_input(None)) {
                self.stats.rbac_denied.inc();
                if let Terminal::Tcp(proxy) = &chain.terminal {
                    let policy = policy.map_or("none", |policy| policy);
                    let details = format!("rbac_access_denied_matched_policy[{policy}]");
                    let flag = ResponseFlag::UnauthorizedExternalService;
                    tcp::log_refused(self, &proxy.access_logs, flag, Some(&details));
                }
                return Err(ConnError::Denied {
                    policy: policy.cloned(),
                });
            }
        }
        Ok(())
    }

    /// The connection as policies see it.
    pub fn authz_input<'a>(
        &'a self,
        request: Option<&'a mesh_route::RequestView<'a>>,
    ) -> AuthzInput<'a> {
        AuthzInput {
            direct_remote: self.peer,
            remote: self.peer.ip(),
            destination: self.destination,
            server_name: self.server_name(),
            principal: self.principal().map(|principal| &**principal),
            tls: self.is_tls(),
            request,
        }
    }

    /// Hands the connection to what its chain ends in.
    pub fn serve(self, stream: ServerStream, chain: &FilterChain) -> Serving {
        let connection = Rc::new(self);
        match &chain.terminal {
            Terminal::Http(manager) => {
                Box::pin(http::serve(connection, stream, Arc::clone(manager)))
            }
            Terminal::Tcp(proxy) => Box::pin(tcp::serve(connection, stream, Arc::clone(proxy))),
        }
    }
}

/// A connection in service. What it took to get there is freed before: only this stays in memory as
/// long as the connection lasts. Yields what ended it, if not the client or the upstream in good order.
pub type Serving = LocalBoxFuture<'static, Result<(), ConnError>>;

/// A handshake that takes longer than this is given up where no limit is configured: else
/// anybody could hold sockets open for nothing. nginx's default.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(60);
