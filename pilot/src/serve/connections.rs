//! The registry of connected proxies: where mail goes, and how far each has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh_identity::SpiffeId;
use mesh_xds::server::{SyncState, TypeStatus};
use mesh_xds::type_url;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::stream::Variant;
use crate::push::{Mailbox, Push};
use crate::translate::Proxy;

/// One stream.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Unique in this process.
    pub(crate) id: u64,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) mailbox: Mailbox,
    variant: Variant,
    identity: Option<SpiffeId>,
    connected: jiff::Timestamp,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The configuration version that the stream was last served from.
    version: String,
    types: BTreeMap<String, TypeStatus>,
}

impl Connection {
    /// Notes how far the proxy has come with a type.
    pub(crate) fn note(&self, type_url: &str, status: TypeStatus) {
        self.progress
            .lock()
            .types
            .insert(type_url.to_owned(), status);
    }

    /// Notes the version that the proxy is now served from.
    pub(crate) fn served_from(&self, version: &str) {
        let mut progress = self.progress.lock();
        if progress.version != version {
            version.clone_into(&mut progress.version);
        }
    }

    fn status(&self) -> ProxyStatus {
        let progress = self.progress.lock();
        let of = |url: &str| TypeSync::from(progress.types.get(url).cloned().unwrap_or_default());
        ProxyStatus {
            proxy: self.proxy.id.clone(),
            pod: self.proxy.pod.clone(),
            namespace: self.proxy.namespace.clone(),
            cluster_id: self.proxy.cluster_id().to_owned(),
            variant: self.variant,
            identity: self.identity.as_ref().map(ToString::to_string),
            connected_since: self.connected.to_string(),
            version: progress.version.clone(),
            proxy_version: self.proxy.version().to_owned(),
            clusters: of(type_url::CLUSTER),
            endpoints: of(type_url::ENDPOINT),
            listeners: of(type_url::LISTENER),
            routes: of(type_url::ROUTE),
            secrets: of(type_url::SECRET),
        }
    }
}

/// All streams. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    streams: RwLock<BTreeMap<u64, Arc<Connection>>>,
    numbers: AtomicU64,
}

impl Connections {
    /// A number for a new stream.
    pub(crate) fn number(&self) -> u64 {
        self.inner.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Registers a stream until the guard is dropped.
    pub(crate) fn register(
        &self,
        id: u64,
        proxy: Arc<Proxy>,
        variant: Variant,
        identity: Option<SpiffeId>,
    ) -> Registration {
        let connection = Arc::new(Connection {
            id,
            proxy,
            mailbox: Mailbox::default(),
            variant,
            identity,
            connected: jiff::Timestamp::now(),
            progress: Mutex::default(),
        });
        self.inner
            .streams
            .write()
            .insert(id, Arc::clone(&connection));
        Registration {
            connections: self.clone(),
            connection,
        }
    }

    /// Puts a push into every mailbox.
    pub(crate) fn broadcast(&self, push: &Push) {
        for connection in self.inner.streams.read().values() {
            connection.mailbox.put(push.clone());
        }
    }

    /// Number of streams.
    pub fn len(&self) -> usize {
        self.inner.streams.read().len()
    }

    /// Whether no proxy is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far every connected proxy has come, in the order of connecting.
    pub fn status(&self) -> Vec<ProxyStatus> {
        self.inner
            .streams
            .read()
            .values()
            .map(|connection| connection.status())
            .collect()
    }

    /// The latest stream of the proxy with this node id, or pod name with or without namespace
    /// (`reviews-v1-0` or `reviews-v1-0.default`).
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Connection>> {
        let is_it = |proxy: &Proxy| {
            proxy.id == name
                || proxy.pod == name
                || name
                    .strip_prefix(proxy.pod.as_str())
                    .and_then(|rest| rest.strip_prefix('.'))
                    == Some(proxy.namespace.as_str())
        };
        let streams = self.inner.streams.read();
        streams
            .values()
            .rev()
            .find(|connection| is_it(&connection.proxy))
            .cloned()
    }
}

/// Keeps a stream registered.
#[derive(Debug)]
pub(crate) struct Registration {
    connections: Connections,
    pub(crate) connection: Arc<Connection>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections
            .inner
            .streams
            .write()
            .remove(&self.connection.id);
    }
}

/// How far a proxy has come: an element of `/debug/syncz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyStatus {
    /// Node id: `sidecar~10.244.0.5~reviews-v1-0.default~default.svc.cluster.local`.
    pub proxy: String,
    /// Pod name.
    pub pod: String,
    /// Namespace.
    pub namespace: String,
    /// Cluster, `Kubernetes` by default.
    pub cluster_id: String,
    /// Variant of the protocol.
    #[serde(rename = "type")]
    pub variant: Variant,
    /// The caller's verified identity, if the port asks for one.
    pub identity: Option<String>,
    /// Time of connecting, RFC 3339.
    pub connected_since: String,
    /// The configuration version that it was last served from.
    pub version: String,
    /// The proxy's own version; empty if it doesn't tell.
    pub proxy_version: String,
    /// Clusters.
    pub clusters: TypeSync,
    /// Endpoints.
    pub endpoints: TypeSync,
    /// Listeners.
    pub listeners: TypeSync,
    /// Routes.
    pub routes: TypeSync,
    /// Secrets.
    pub secrets: TypeSync,
}

/// How far a proxy has come with a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeSync {
    /// Summary.
    pub status: Sync,
    /// The version last sent.
    pub sent: Option<String>,
    /// The version last applied.
    pub acked: Option<String>,
    /// The refusal that stands.
    pub nack: Option<Refusal>,
    /// Number of resources sent to it.
    pub resources: usize,
}

/// Summary of a proxy's progress with a type, in Istio's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sync {
    /// The proxy applied the last thing sent.
    #[serde(rename = "SYNCED")]
    Synced,
    /// The last thing sent is unanswered or refused.
    #[serde(rename = "STALE")]
    Stale,
    /// Nothing was sent.
    #[serde(rename = "NOT SENT")]
    NotSent,
}

/// A refused response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The version that was refused.
    pub version: String,
    /// The proxy's reason.
    pub message: String,
}

impl From<TypeStatus> for TypeSync {
    fn from(status: TypeStatus) -> Self {
        Self {
            status: match status.state {
                SyncState::Synced => Sync::Synced,
                SyncState::Stale => Sync::Stale,
                SyncState::NotSent => Sync::NotSent,
            },
            sent: status.sent,
            acked: status.acked,
            nack: status.nack.map(|nack| Refusal {
                version: nack.version,
                message: nack.message,
            }),
            resources: status.resources,
        }
    }
}
