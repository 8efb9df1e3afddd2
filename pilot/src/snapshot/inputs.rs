//! What a snapshot is built from: the store's objects, one list per kind.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
};
use mesh_config::{
    AuthorizationPolicy, DestinationRule, Gateway, MeshConfig, Object, PeerAuthentication,
    Resource, ServiceEntry, Sidecar, VirtualService, WorkloadEntry,
};

use crate::ingest::ObjectKey;
use crate::model::{Workload, locality::NodeLocality};

/// One object of the store; cheap to clone.
#[derive(Clone, Debug)]
pub enum Item {
    /// The mesh-wide settings (ConfigMap `istio`, key `mesh`). At most one.
    Mesh(Arc<MeshConfig>),
    /// A Kubernetes Namespace.
    Namespace(Arc<Namespace>),
    /// A Kubernetes Service.
    Service(Arc<Service>),
    /// A Kubernetes EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A Kubernetes Pod.
    Pod(Arc<Workload>),
    /// Where a Kubernetes Node is.
    Node(Arc<NodeLocality>),
    /// A Kubernetes Secret.
    Secret(Arc<Secret>),
    /// A VirtualService.
    VirtualService(Arc<Object<VirtualService>>),
    /// A DestinationRule.
    DestinationRule(Arc<Object<DestinationRule>>),
    /// A Gateway.
    Gateway(Arc<Object<Gateway>>),
    /// A ServiceEntry.
    ServiceEntry(Arc<Object<ServiceEntry>>),
    /// A WorkloadEntry.
    WorkloadEntry(Arc<Object<WorkloadEntry>>),
    /// A Sidecar.
    Sidecar(Arc<Object<Sidecar>>),
    /// A PeerAuthentication.
    PeerAuthentication(Arc<Object<PeerAuthentication>>),
    /// An AuthorizationPolicy.
    AuthorizationPolicy(Arc<Object<AuthorizationPolicy>>),
}

impl From<Resource> for Item {
    fn from(resource: Resource) -> Self {
        match resource {
            Resource::VirtualService(object) => Self::VirtualService(Arc::new(object)),
            Resource::DestinationRule(object) => Self::DestinationRule(Arc::new(object)),
            Resource::Gateway(object) => Self::Gateway(Arc::new(object)),
            Resource::ServiceEntry(object) => Self::ServiceEntry(Arc::new(object)),
            Resource::WorkloadEntry(object) => Self::WorkloadEntry(Arc::new(object)),
            Resource::Sidecar(object) => Self::Sidecar(Arc::new(object)),
            Resource::PeerAuthentication(object) => Self::PeerAuthentication(Arc::new(object)),
            Resource::AuthorizationPolicy(object) => Self::AuthorizationPolicy(Arc::new(object)),
        }
    }
}

/// Everything a snapshot is built from; collect it from [`Item`]s in any order.
///
/// Pointer equality of two inputs' `Arc`s means "unchanged": keep the `Arc` of an object that did
/// not change, and [`super::Change`] costs no comparison of contents.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Mesh-wide settings; `None` means Istio's defaults.
    pub mesh: Option<Arc<MeshConfig>>,
    /// Settings that name another trust domain than that in which certificates are signed, and which.
    pub ignored_trust_domain: Option<(ObjectKey, String)>,
    /// Namespaces.
    pub namespaces: Vec<Arc<Namespace>>,
    /// Services.
    pub services: Vec<Arc<Service>>,
    /// EndpointSlices.
    pub endpoint_slices: Vec<Arc<EndpointSlice>>,
    /// Pods.
    pub pods: Vec<Arc<Workload>>,
    /// Nodes.
    pub nodes: Vec<Arc<NodeLocality>>,
    /// Secrets.
    pub secrets: Vec<Arc<Secret>>,
    /// VirtualServices.
    pub virtual_services: Vec<Arc<Object<VirtualService>>>,
    /// DestinationRules.
    pub destination_rules: Vec<Arc<Object<DestinationRule>>>,
    /// Gateways.
    pub gateways: Vec<Arc<Object<Gateway>>>,
    /// ServiceEntries.
    pub service_entries: Vec<Arc<Object<ServiceEntry>>>,
    /// WorkloadEntries.
    pub workload_entries: Vec<Arc<Object<WorkloadEntry>>>,
    /// Sidecars.
    pub sidecars: Vec<Arc<Object<Sidecar>>>,
    /// PeerAuthentications.
    pub peer_authentications: Vec<Arc<Object<PeerAuthentication>>>,
    /// AuthorizationPolicies.
    pub authorization_policies: Vec<Arc<Object<AuthorizationPolicy>>>,
}

impl Extend<Item> for Inputs {
    fn extend<T: IntoIterator<Item = Item>>(&mut self, items: T) {
        for item in items {
            match item {
                Item::Mesh(mesh) => self.mesh = Some(mesh),
                Item::Namespace(object) => self.namespaces.push(object),
                Item::Service(object) => self.services.push(object),
                Item::EndpointSlice(object) => self.endpoint_slices.push(object),
                Item::Pod(object) => self.pods.push(object),
                Item::Node(object) => self.nodes.push(object),
                Item::Secret(object) => self.secrets.push(object),
                Item::VirtualService(object) => self.virtual_services.push(object),
                Item::DestinationRule(object) => self.destination_rules.push(object),
                Item::Gateway(object) => self.gateways.push(object),
                Item::ServiceEntry(object) => self.service_entries.push(object),
                Item::WorkloadEntry(object) => self.workload_entries.push(object),
                Item::Sidecar(object) => self.sidecars.push(object),
                Item::PeerAuthentication(object) => self.peer_authentications.push(object),
                Item::AuthorizationPolicy(object) => self.authorization_policies.push(object),
            }
        }
    }
}

impl FromIterator<Item> for Inputs {
    fn from_iter<T: IntoIterator<Item = Item>>(items: T) -> Self {
        let mut inputs = Self::default();
        inputs.extend(items);
        inputs
    }
}
