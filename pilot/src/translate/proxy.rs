//! The proxy that asks: what its xDS node says about it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_xds::envoy::config::core::v3::Node;
use mesh_xds::google::protobuf::{Struct, Value, value::Kind};

use crate::model::{Labels, Locality};

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// Beside an application.
    Sidecar,
    /// A gateway.
    Router,
}

/// A proxy, as far as its configuration depends on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// The whole node id.
    pub id: String,
    /// Sidecar or gateway.
    pub kind: ProxyKind,
    /// The workload's address, by which it is found among the pods.
    pub ip: IpAddr,
    /// Pod name.
    pub pod: String,
    /// Namespace.
    pub namespace: String,
    /// Search domain: `NAMESPACE.svc.cluster.local`.
    pub dns_domain: String,
    /// Labels that the node's metadata gives; a known pod's labels win over them.
    pub labels: Labels,
    /// Service account.
    pub service_account: String,
    /// Name of the Deployment or the like.
    pub workload: String,
    /// Where it runs.
    pub locality: Locality,
    /// The rest of the metadata that matters, as text: `CLUSTER_ID`, `MESH_ID`, `INTERCEPTION_MODE`, ...
    pub metadata: BTreeMap<String, String>,
}

/// Why a node cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not four parts.
    #[error(
        "node id {id:?} is not TYPE~IP~POD.NAMESPACE~DOMAIN (start the proxy with `proxy sidecar` or `proxy router`)"
    )]
    Id {
        /// What was sent.
        id: String,
    },
    /// A type other than sidecar and router.
    #[error("node type {kind:?} is not known (expected sidecar or router)")]
    Kind {
        /// What was sent.
        kind: String,
    },
    /// Not an address.
    #[error("node address {ip:?} is not an IP address (is INSTANCE_IP set?)")]
    Address {
        /// What was sent.
        ip: String,
    },
}

impl Proxy {
    /// Reads a node: id `sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.cluster.local`, metadata keys
    /// `NAMESPACE`, `LABELS`, `SERVICE_ACCOUNT`, `WORKLOAD_NAME`, `CLUSTER_ID`, ... as Istio's.
    ///
    /// # Errors
    /// [`ProxyError`] if the id is not Istio's.
    pub fn from_node(node: &Node) -> Result<Self, ProxyError> {
        let mut parts = node.id.splitn(4, '~');
        let (Some(kind), Some(ip), Some(pod), Some(domain)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ProxyError::Id {
                id: node.id.clone(),
            });
        };
        let kind = match kind {
            "sidecar" => ProxyKind::Sidecar,
            "router" => ProxyKind::Router,
            other => {
                return Err(ProxyError::Kind {
                    kind: other.to_owned(),
                });
            }
        };
        let ip = ip
            .parse()
            .map_err(|_| ProxyError::Address { ip: ip.to_owned() })?;
        let (pod, id_namespace) = pod.rsplit_once('.').unwrap_or((pod, ""));
        let metadata = node.metadata.clone().unwrap_or_default();
        let text = |key: &str| string(&metadata, key);
        let namespace = text("NAMESPACE")
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| id_namespace.to_owned());
        Ok(Self {
            id: node.id.clone(),
            kind,
            ip,
            pod: pod.to_owned(),
            dns_domain: domain.to_owned(),
            labels: labels(&metadata),
            service_account: text("SERVICE_ACCOUNT").unwrap_or_default(),
            workload: text("WORKLOAD_NAME").unwrap_or_default(),
            locality: node
                .locality
                .as_ref()
                .map(|locality| Locality {
                    region: locality.region.clone(),
                    zone: locality.zone.clone(),
                    subzone: locality.sub_zone.clone(),
                })
                .unwrap_or_default(),
            metadata: metadata
                .fields
                .keys()
                .filter_map(|key| Some((key.clone(), text(key)?)))
                .chain(own_config(&metadata))
                .collect(),
            namespace,
        })
    }

    /// The cluster that the proxy belongs to; `Kubernetes` unless its metadata says otherwise.
    pub fn cluster_id(&self) -> &str {
        self.metadata
            .get("CLUSTER_ID")
            .map_or("Kubernetes", String::as_str)
    }

    /// What the pod's annotation `proxy.istio.io/config` says, if it has one.
    pub fn own_config(&self) -> Option<&str> {
        self.metadata.get(OWN_CONFIG).map(String::as_str)
    }

    /// The proxy's version by its metadata (`ISTIO_VERSION`); empty if it doesn't tell.
    pub fn version(&self) -> &str {
        self.metadata
            .get("ISTIO_VERSION")
            .map_or("", String::as_str)
    }
}

/// The annotation by which a pod overrides `defaultConfig`, and its key in [`Proxy::metadata`].
pub const OWN_CONFIG: &str = "proxy.istio.io/config";

fn own_config(metadata: &Struct) -> Option<(String, String)> {
    let Kind::StructValue(annotations) = metadata.fields.get("ANNOTATIONS")?.kind.as_ref()? else {
        return None;
    };
    Some((OWN_CONFIG.to_owned(), string(annotations, OWN_CONFIG)?))
}

fn string(metadata: &Struct, key: &str) -> Option<String> {
    match metadata.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.clone()),
        Kind::BoolValue(value) => Some(value.to_string()),
        _ => None,
    }
}

fn labels(metadata: &Struct) -> Labels {
    let Some(Value {
        kind: Some(Kind::StructValue(labels)),
    }) = metadata.fields.get("LABELS")
    else {
        return Labels::new();
    };
    labels
        .fields
        .keys()
        .filter_map(|key| Some((key.clone(), string(labels, key)?)))
        .collect()
}
