//! What is kept of Kubernetes' own objects: what something reads, and nothing else.
//!
//! A cluster has far more of them than of the mesh's, and most of each says nothing to the mesh. What
//! nobody reads costs memory, and causes a push whenever it changes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use crate::model::locality::{self, NodeLocality};
use crate::model::workload;
use crate::snapshot::Item;
use crate::translate::SECRET_KEYS;

/// The annotation in which kubectl keeps a copy of the manifest: it changes with every apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A kind of Kubernetes that pilot reads.
pub(super) trait Kept: DeserializeOwned {
    /// Its name.
    const KIND: &'static str;
    /// Whether its objects are in namespaces.
    const NAMESPACED: bool = true;

    fn metadata_mut(&mut self) -> &mut ObjectMeta;

    /// What is kept; `None` if the object says nothing to the mesh.
    fn keep(self) -> Option<Item>;
}

/// Drops the API server's bookkeeping, which says nothing about the object's meaning.
pub(super) fn strip(meta: &mut ObjectMeta) {
    meta.uid = None;
    meta.resource_version = None;
    meta.generation = None;
    meta.managed_fields = None;
    meta.finalizers = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

impl Kept for Namespace {
    const KIND: &'static str = "Namespace";
    const NAMESPACED: bool = false;

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn keep(mut self) -> Option<Item> {
        self.metadata.annotations = None;
        self.spec = None;
        self.status = None;
        Some(Item::Namespace(Arc::new(self)))
    }
}

impl Kept for Service {
    const KIND: &'static str = "Service";

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn keep(mut self) -> Option<Item> {
        self.metadata.owner_references = None;
        self.status = None;
        Some(Item::Service(Arc::new(self)))
    }
}

impl Kept for EndpointSlice {
    const KIND: &'static str = "EndpointSlice";

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn keep(mut self) -> Option<Item> {
        // The controller notes the time of the last change there, once more for every change.
        self.metadata.annotations = None;
        self.metadata.owner_references = None;
        for endpoint in &mut self.endpoints {
            *endpoint = Endpoint {
                addresses: std::mem::take(&mut endpoint.addresses),
                conditions: endpoint.conditions.take(),
                zone: endpoint.zone.take(),
                ..Endpoint::default()
            };
        }
        Some(Item::EndpointSlice(Arc::new(self)))
    }
}

impl Kept for Pod {
    const KIND: &'static str = "Pod";

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn keep(self) -> Option<Item> {
        Some(Item::Pod(Arc::new(workload::from_pod(&self)?)))
    }
}

impl Kept for Node {
    const KIND: &'static str = "Node";
    const NAMESPACED: bool = false;

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn keep(self) -> Option<Item> {
        let labels = self.metadata.labels.unwrap_or_default();
        Some(Item::Node(Arc::new(NodeLocality {
            node: self.metadata.name?,
            locality: locality::of_labels(&labels),
        })))
    }
}

impl Kept for Secret {
    const KIND: &'static str = "Secret";

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn keep(mut self) -> Option<Item> {
        let ObjectMeta {
            name, namespace, ..
        } = self.metadata;
        self.metadata = ObjectMeta {
            name,
            namespace,
            ..ObjectMeta::default()
        };
        // Passwords of applications are not ours to hold.
        if let Some(data) = &mut self.data {
            data.retain(|key, _| SECRET_KEYS.contains(&key.as_str()));
        }
        if let Some(data) = &mut self.string_data {
            data.retain(|key, _| SECRET_KEYS.contains(&key.as_str()));
        }
        Some(Item::Secret(Arc::new(self)))
    }
}
