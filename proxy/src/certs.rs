//! The workload's certificate: requested, renewed and handed to the data path.
//!
//! [`Certs`] is what the data path reads. The renewal loop on the control thread publishes a
//! new [`WorkloadTls`] per certificate; connections made before keep the old one.

pub mod renew;
pub mod request;
pub mod roots;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use mesh_identity::tls::{self, ClientAuth, TlsError};
use mesh_identity::{SpiffeIdSet, WorkloadCertificate};
use parking_lot::Mutex;
use rustls::{ClientConfig, ServerConfig};
use tokio::sync::watch;

type Alpn = Box<[Box<[u8]>]>;

/// A certificate with the TLS configurations made of it so far.
#[derive(Debug)]
pub struct WorkloadTls {
    /// Grows with each certificate: part of the key of pooled connections.
    pub generation: u64,
    /// The certificate.
    pub certificate: WorkloadCertificate,
    servers: Cache<(ClientAuth, SpiffeIdSet, Alpn), ServerConfig>,
    clients: Cache<(SpiffeIdSet, Alpn), ClientConfig>,
}

type Cache<K, C> = Mutex<HashMap<K, Arc<C>>>;

impl WorkloadTls {
    /// The server configuration for inbound connections; made once per argument set.
    /// See [`tls::server_config`].
    ///
    /// # Errors
    /// [`TlsError`] if rustls refuses the parts.
    pub fn server(
        &self,
        client: ClientAuth,
        allowed: &SpiffeIdSet,
        alpn: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, TlsError> {
        cached(
            &self.servers,
            (client, allowed.clone(), boxed(alpn)),
            || tls::server_config(&self.certificate, client, allowed, alpn),
        )
    }

    /// The client configuration towards peers with one of the `expected` ids; made once per
    /// argument set. See [`tls::client_config`].
    ///
    /// # Errors
    /// [`TlsError`] if rustls refuses the parts.
    pub fn client(
        &self,
        expected: &SpiffeIdSet,
        alpn: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, TlsError> {
        cached(&self.clients, (expected.clone(), boxed(alpn)), || {
            tls::client_config(&self.certificate, expected, alpn)
        })
    }
}

fn boxed(alpn: &[&[u8]]) -> Alpn {
    alpn.iter().map(|name| Box::from(*name)).collect()
}

fn cached<K: Eq + Hash, C>(
    cache: &Cache<K, C>,
    key: K,
    make: impl FnOnce() -> Result<Arc<C>, TlsError>,
) -> Result<Arc<C>, TlsError> {
    if let Some(config) = cache.lock().get(&key) {
        return Ok(Arc::clone(config));
    }
    // Made outside the lock: two workers may make the same one, which costs 25 us once.
    let config = make()?;
    Ok(Arc::clone(cache.lock().entry(key).or_insert(config)))
}

/// The current certificate and news of its replacement.
#[derive(Debug)]
pub struct Certs {
    current: ArcSwapOption<WorkloadTls>,
    generation: watch::Sender<u64>,
}

impl Certs {
    pub(crate) fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            generation: watch::Sender::new(0),
        }
    }

    /// The certificate now; `None` until the first one has come.
    pub fn current(&self) -> Option<Arc<WorkloadTls>> {
        self.current.load_full()
    }

    /// The generation now, 0 without a certificate: one atomic load, to see whether something
    /// made of [`Certs::current`] is stale.
    pub fn generation(&self) -> u64 {
        self.current
            .load()
            .as_ref()
            .map_or(0, |current| current.generation)
    }

    /// Wakes after each replacement; the value is [`WorkloadTls::generation`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Makes `certificate` the current one. Only the renewal loop and tests publish.
    pub fn publish(&self, certificate: WorkloadCertificate) {
        let generation = *self.generation.borrow() + 1;
        self.current.store(Some(Arc::new(WorkloadTls {
            generation,
            certificate,
            servers: Mutex::default(),
            clients: Mutex::default(),
        })));
        self.generation.send_replace(generation);
    }
}
