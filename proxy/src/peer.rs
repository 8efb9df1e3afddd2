//! Who is at the other end, for telemetry: workload, service and version names.
//!
//! Learned from the `x-envoy-peer-metadata` header (base64 of a protobuf Struct with Istio's
//! node metadata keys), which our proxies add towards mesh endpoints and in answers to those
//! who sent theirs; for opaque bytes from `tcp::exchange`. Never used for policy: policy reads the certificate.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hashbrown::HashMap;
use http::{HeaderMap, HeaderValue};
use mesh_route::cluster::Workload;
use mesh_xds::google::protobuf::{Struct, Value, value::Kind};
use prost::Message as _;

use crate::http::headers::name;
use crate::tcp::exchange;

/// What Istio's metrics call an unset name.
pub const UNKNOWN: &str = "unknown";

/// Names of a workload as they stand in metric labels. `unknown` where not told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Workload (usually the deployment).
    pub workload: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Label `app`.
    pub app: Arc<str>,
    /// Label `version`.
    pub version: Arc<str>,
    /// Canonical service name.
    pub canonical_service: Arc<str>,
    /// Canonical revision; `latest` where the workload is known but has none.
    pub canonical_revision: Arc<str>,
    /// Cluster id.
    pub cluster: Arc<str>,
}

impl Default for Peer {
    fn default() -> Self {
        let unknown: Arc<str> = Arc::from(UNKNOWN);
        Self {
            workload: Arc::clone(&unknown),
            namespace: Arc::clone(&unknown),
            app: Arc::clone(&unknown),
            version: Arc::clone(&unknown),
            canonical_service: Arc::clone(&unknown),
            canonical_revision: Arc::clone(&unknown),
            cluster: unknown,
        }
    }
}

impl Peer {
    /// Reads the header's value; `None` for anything damaged.
    pub fn from_header(value: &[u8]) -> Option<Self> {
        let bytes = STANDARD.decode(value).ok()?;
        let metadata = Struct::decode(bytes.as_slice()).ok()?;
        Some(Self::from_metadata(&metadata))
    }

    /// Reads Istio's node metadata.
    pub fn from_metadata(metadata: &Struct) -> Self {
        let text = |key: &str| string(metadata.fields.get(key)?);
        let labels = match metadata
            .fields
            .get("LABELS")
            .and_then(|value| value.kind.as_ref())
        {
            Some(Kind::StructValue(labels)) => Some(labels),
            _ => None,
        };
        let label = |key: &str| string(labels?.fields.get(key)?);
        let workload = text("WORKLOAD_NAME").or_else(|| text("NAME"));
        let app = label("app").or_else(|| label("app.kubernetes.io/name"));
        let canonical_service = label("service.istio.io/canonical-name")
            .or_else(|| label("app.kubernetes.io/name"))
            .or_else(|| label("app"))
            .or_else(|| workload.clone());
        let version = label("version").or_else(|| label("app.kubernetes.io/version"));
        let canonical_revision = label("service.istio.io/canonical-revision")
            .or_else(|| version.clone())
            .unwrap_or_else(|| Arc::from("latest"));
        let or_unknown = |text: Option<Arc<str>>| text.unwrap_or_else(|| Arc::from(UNKNOWN));
        Self {
            workload: or_unknown(workload),
            namespace: or_unknown(text("NAMESPACE")),
            app: or_unknown(app),
            version: or_unknown(version),
            canonical_service: or_unknown(canonical_service),
            canonical_revision,
            cluster: or_unknown(text("CLUSTER_ID")),
        }
    }

    /// The workload that an endpoint's metadata names.
    ///
    /// `app` and `version` are not in it; the canonical names stand in, which for workloads
    /// with the usual labels are the same.
    pub fn from_workload(workload: &Workload) -> Self {
        Self {
            workload: Arc::clone(&workload.name),
            namespace: Arc::clone(&workload.namespace),
            app: Arc::clone(&workload.canonical_name),
            version: Arc::clone(&workload.canonical_revision),
            canonical_service: Arc::clone(&workload.canonical_name),
            canonical_revision: Arc::clone(&workload.canonical_revision),
            cluster: Arc::clone(&workload.cluster),
        }
    }
}

fn string(value: &Value) -> Option<Arc<str>> {
    match value.kind.as_ref()? {
        Kind::StringValue(text) if !text.is_empty() => Some(Arc::from(text.as_str())),
        _ => None,
    }
}

/// Our own workload's names, encoded for the header.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Value of `x-envoy-peer-metadata`.
    pub metadata: HeaderValue,
    /// Value of `x-envoy-peer-metadata-id`: the node id.
    pub id: HeaderValue,
    /// Both, for opaque bytes.
    pub frame: Bytes,
}

impl Announcement {
    /// Encodes `fields` (Istio's node metadata: NAME, NAMESPACE, WORKLOAD_NAME, LABELS,
    /// CLUSTER_ID, OWNER) and the node id.
    pub fn new(fields: &Struct, node_id: &str) -> Self {
        let text = STANDARD.encode(fields.encode_to_vec());
        Self {
            metadata: HeaderValue::from_str(&text).expect("base64 is a valid header value"),
            id: HeaderValue::from_str(node_id).unwrap_or(HeaderValue::from_static(UNKNOWN)),
            frame: exchange::frame(fields, node_id),
        }
    }

    /// Tells the peer of a request or response.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(name::X_ENVOY_PEER_METADATA, self.metadata.clone());
        headers.insert(name::X_ENVOY_PEER_METADATA_ID, self.id.clone());
    }
}

/// Decoded headers of one worker. A peer sends the same value with every request, so a look-up
/// replaces base64, protobuf and seven allocations.
#[derive(Debug, Default)]
pub struct PeerCache {
    known: RefCell<HashMap<HeaderValue, Rc<Peer>>>,
}

/// Peers (pods) known per worker. Each workload becomes a series of each metric, and a stranger
/// may send anything: beyond this number further ones stay unknown.
const CACHE_ENTRIES: usize = 16 * 1024;

/// Longest header that is looked at, in bytes. Istio's are around 500.
const HEADER_LIMIT_BYTES: usize = 8 * 1024;

impl PeerCache {
    /// The peer a header describes; `None` if it is damaged or too long.
    pub fn get(&self, value: &HeaderValue) -> Option<Rc<Peer>> {
        if value.len() > HEADER_LIMIT_BYTES {
            return None;
        }
        if let Some(peer) = self.known.borrow().get(value) {
            return Some(Rc::clone(peer));
        }
        let peer = Rc::new(Peer::from_header(value.as_bytes())?);
        let mut known = self.known.borrow_mut();
        if known.len() >= CACHE_ENTRIES {
            return None;
        }
        // A copy: the header's own bytes are a slice of the whole request head.
        if let Ok(owned) = HeaderValue::from_bytes(value.as_bytes()) {
            known.insert(owned, Rc::clone(&peer));
        }
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value {
            kind: Some(Kind::StringValue(value.to_owned())),
        }
    }

    fn announcement() -> Announcement {
        let labels = [("app", "reviews"), ("version", "v2")];
        let labels = labels.map(|(key, value)| (key.to_owned(), text(value)));
        let labels = Struct {
            fields: labels.into_iter().collect(),
        };
        let fields = [
            ("NAME".to_owned(), text("reviews-v2-abc")),
            ("NAMESPACE".to_owned(), text("default")),
            ("WORKLOAD_NAME".to_owned(), text("reviews-v2")),
            ("CLUSTER_ID".to_owned(), text("Kubernetes")),
            (
                "LABELS".to_owned(),
                Value {
                    kind: Some(Kind::StructValue(labels)),
                },
            ),
        ];
        Announcement::new(
            &Struct {
                fields: fields.into_iter().collect(),
            },
            "sidecar~a~b~c",
        )
    }

    #[test]
    fn what_one_proxy_announces_another_reads() {
        let cache = PeerCache::default();
        let header = announcement().metadata;
        let peer = cache.get(&header).unwrap();
        assert_eq!(&*peer.workload, "reviews-v2");
        assert_eq!(&*peer.app, "reviews");
        assert_eq!(&*peer.canonical_service, "reviews");
        assert_eq!(&*peer.canonical_revision, "v2");
        assert_eq!(&*peer.cluster, "Kubernetes");
        assert!(Rc::ptr_eq(&peer, &cache.get(&header).unwrap()));
    }

    #[test]
    fn damaged_headers_are_ignored() {
        for bad in ["", "%%%", "AAAA////", "aGVsbG8="] {
            let peer = Peer::from_header(bad.as_bytes());
            assert!(peer.is_none_or(|peer| &*peer.workload == UNKNOWN), "{bad}");
        }
    }
}
