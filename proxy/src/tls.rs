//! TLS on both sides, from configurations that are built once per certificate and settings.
//!
//! Building one costs 25 us, a look-up 30 ns (performance.md lesson 6). Keys are the pointers
//! of what a configuration was made of, all of which the entry keeps alive.

mod build;
pub mod stream;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use mesh_route::tls::{Source, TlsCommon};
use mesh_route::{DownstreamTls, Secret, Snapshot, UpstreamTls};
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::certs::WorkloadTls;
use crate::detect::Prefixed;
use crate::worker::Names;
pub use build::{CredentialsError, accepts_peer};
pub use stream::{ClientStream, PAGE_OFFSET_BYTES, ServerIo, ServerStream};

/// What we want to speak, and so offer by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offer {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Either, the peer chooses.
    Negotiated,
    /// Opaque bytes.
    Tcp,
}

/// A client configuration with what the connector needs beside it.
#[derive(Debug)]
pub struct ClientTls {
    /// Number of this configuration, never reused and never 0: part of the pool's key.
    pub id: u64,
    /// rustls' part.
    pub config: Arc<ClientConfig>,
    /// Server name to send.
    pub sni: Option<Arc<str>>,
    /// Take the server name from the request's host where `sni` is none.
    pub host_as_name: bool,
    /// Mesh mTLS: the peer has a SPIFFE id.
    pub mesh: bool,
    /// The settings, for what is asked after the handshake.
    pub settings: Arc<UpstreamTls>,
}

/// Settings, what is offered, certificate and roots: by pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    settings: usize,
    offer: Option<Offer>,
    certificate: usize,
    roots: usize,
}

/// What a configuration is made of.
#[derive(Debug, Clone)]
struct Materials {
    workload: Option<Arc<WorkloadTls>>,
    certificate: Option<Arc<Secret>>,
    roots: Option<Arc<Secret>>,
}

impl Materials {
    fn new(common: &TlsCommon, workload: Option<&Arc<WorkloadTls>>, snapshot: &Snapshot) -> Self {
        let secret = |source: Option<&Source>| match source {
            Some(Source::Inline(secret)) => Some(Arc::clone(secret)),
            Some(Source::Secret(name)) => snapshot.secret(name).cloned(),
            None => None,
        };
        Self {
            workload: workload.cloned(),
            certificate: secret(common.certificates.first()),
            roots: secret(common.peer.roots.as_ref()),
        }
    }

    /// Only the parts that the settings refer to count: a rotation of the workload certificate
    /// must not touch connections that don't use it.
    fn key(&self, settings: usize, offer: Option<Offer>, uses_workload: bool) -> Key {
        let pointer =
            |secret: &Option<Arc<Secret>>| secret.as_ref().map_or(0, |s| Arc::as_ptr(s).addr());
        let workload = self.workload.as_ref().filter(|_| uses_workload);
        let workload = workload.map_or(0, |certificate| Arc::as_ptr(certificate).addr());
        Key {
            settings,
            offer,
            certificate: pointer(&self.certificate) | workload,
            roots: pointer(&self.roots),
        }
    }
}

#[derive(Debug)]
struct ServerEntry {
    with_alpn: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
    _settings: Arc<DownstreamTls>,
    materials: Materials,
}

#[derive(Debug)]
struct ClientEntry {
    tls: Rc<ClientTls>,
    materials: Materials,
}

/// One worker's configurations.
#[derive(Debug, Default)]
pub struct TlsCache {
    servers: RefCell<HashMap<Key, ServerEntry>>,
    clients: RefCell<HashMap<Key, ClientEntry>>,
    last_id: Cell<u64>,
}

/// Configurations kept per worker and side before the stale ones are looked for.
const CACHE_ENTRIES: usize = 256;

impl TlsCache {
    /// The server configuration of a filter chain. `offered`: the client's ALPN list.
    ///
    /// # Errors
    /// [`CredentialsError`] if a certificate is not there yet or unusable.
    pub fn server(
        &self,
        settings: &Arc<DownstreamTls>,
        workload: Option<&Arc<WorkloadTls>>,
        snapshot: &Snapshot,
        offered: &[Vec<u8>],
    ) -> Result<Arc<ServerConfig>, CredentialsError> {
        let materials = Materials::new(&settings.common, workload, snapshot);
        let key = materials.key(
            Arc::as_ptr(settings).addr(),
            None,
            build::uses_workload(&settings.common),
        );
        let mut servers = self.servers.borrow_mut();
        if !servers.contains_key(&key) {
            if servers.len() >= CACHE_ENTRIES {
                servers.retain(|_, entry| same_workload(&entry.materials, workload));
            }
            let entry = ServerEntry {
                with_alpn: build::server(settings, &materials, build::Alpn::Configured)?,
                without_alpn: build::server(settings, &materials, build::Alpn::None)?,
                _settings: Arc::clone(settings),
                materials,
            };
            servers.insert(key, entry);
        }
        let entry = servers.get(&key).expect("inserted above");
        let known = |name: &Vec<u8>| entry.with_alpn.alpn_protocols.contains(name);
        // rustls ends the handshake if there is no common protocol; Envoy goes on without one.
        let common = offered.is_empty() || offered.iter().any(known);
        Ok(Arc::clone(if common {
            &entry.with_alpn
        } else {
            &entry.without_alpn
        }))
    }

    /// The client configuration towards an endpoint.
    ///
    /// # Errors
    /// [`CredentialsError`] if a certificate is not there yet or unusable.
    pub fn client(
        &self,
        settings: &Arc<UpstreamTls>,
        offer: Offer,
        workload: Option<&Arc<WorkloadTls>>,
        snapshot: &Snapshot,
    ) -> Result<Rc<ClientTls>, CredentialsError> {
        let materials = Materials::new(&settings.common, workload, snapshot);
        let uses_workload = build::uses_workload(&settings.common);
        let key = materials.key(Arc::as_ptr(settings).addr(), Some(offer), uses_workload);
        let mut clients = self.clients.borrow_mut();
        if let Some(entry) = clients.get(&key) {
            return Ok(Rc::clone(&entry.tls));
        }
        if clients.len() >= CACHE_ENTRIES {
            clients.retain(|_, entry| same_workload(&entry.materials, workload));
        }
        self.last_id.set(self.last_id.get() + 1);
        let tls = Rc::new(ClientTls {
            id: self.last_id.get(),
            config: build::client(settings, &materials, offer)?,
            sni: settings.sni.clone(),
            host_as_name: settings.auto_host_sni,
            mesh: settings.common.is_mesh(),
            settings: Arc::clone(settings),
        });
        let entry = ClientEntry {
            tls: Rc::clone(&tls),
            materials,
        };
        clients.insert(key, entry);
        Ok(tls)
    }

    /// Forgets configurations of certificates that were replaced.
    pub fn sweep(&self, workload: Option<&Arc<WorkloadTls>>) {
        self.servers
            .borrow_mut()
            .retain(|_, entry| same_workload(&entry.materials, workload));
        self.clients
            .borrow_mut()
            .retain(|_, entry| same_workload(&entry.materials, workload));
    }

    /// Whether connections made with configuration `id` may still be used.
    pub fn is_live(&self, id: u64) -> bool {
        id == 0
            || self
                .clients
                .borrow()
                .values()
                .any(|entry| entry.tls.id == id)
    }
}

fn same_workload(materials: &Materials, workload: Option<&Arc<WorkloadTls>>) -> bool {
    match (&materials.workload, workload) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        (None, None) => true,
        _ => false,
    }
}

/// What a handshake told about a client.
#[derive(Debug, Clone, Default)]
pub struct Handshake {
    /// SNI.
    pub server_name: Option<Rc<str>>,
    /// What ALPN chose.
    pub alpn: Option<Rc<[u8]>>,
    /// Verified SPIFFE id.
    pub principal: Option<Rc<str>>,
    /// Leaf certificate, DER.
    pub certificate: Option<Rc<[u8]>>,
}

/// Terminates TLS on an accepted connection whose first bytes may have been read.
///
/// # Errors
/// The handshake's error.
pub async fn accept(
    stream: Prefixed<TcpStream>,
    config: Arc<ServerConfig>,
    names: &Names,
) -> io::Result<(ServerStream, Handshake)> {
    let stream = Box::pin(TlsAcceptor::from(config).accept(stream)).await?;
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let handshake = Handshake {
        server_name: session.server_name().map(|name| names.text(name)),
        alpn: session.alpn_protocol().map(Rc::from),
        principal: mesh_identity::peer::identity(chain)
            .ok()
            .map(|id| names.text(id.as_str())),
        certificate: chain.first().map(|leaf| names.certificate(leaf)),
    };
    Ok((Prefixed::new(ServerIo::Tls(Box::new(stream))), handshake))
}
