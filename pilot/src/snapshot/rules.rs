//! Routing rules and policies, indexed by what they are looked up by.

use std::sync::Arc;

use hashbrown::HashMap;
use mesh_config::{
    AuthorizationPolicy, Gateway, Labels, MeshConfig, Object, PeerAuthentication, Sidecar,
    authorization_policy::Action, peer_authentication::EffectiveMtls,
};

use super::{DestinationRules, Inputs, Problem, RouteRule, virtual_services};

/// Routing rules and policies.
#[derive(Debug, Default)]
pub struct Rules {
    /// VirtualServices, the oldest first.
    pub virtual_services: Vec<Arc<RouteRule>>,
    /// DestinationRules by namespace and host.
    pub destination_rules: DestinationRules,
    /// Gateways, the oldest first.
    pub gateways: Vec<Arc<Object<Gateway>>>,
    /// Sidecars, the oldest first.
    pub sidecars: Vec<Arc<Object<Sidecar>>>,
    root_namespace: String,
    peer_authentications: HashMap<String, Vec<Arc<Object<PeerAuthentication>>>>,
    authorization_policies: HashMap<String, Vec<Arc<Object<AuthorizationPolicy>>>>,
}

impl Rules {
    /// Indexes the inputs.
    pub(super) fn build(inputs: &Inputs, mesh: &MeshConfig, problems: &mut Vec<Problem>) -> Self {
        let mut gateways = inputs.gateways.clone();
        gateways.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
        let mut sidecars = inputs.sidecars.clone();
        sidecars.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
        Self {
            virtual_services: virtual_services::index(&inputs.virtual_services, mesh),
            destination_rules: DestinationRules::build(&inputs.destination_rules, mesh, problems),
            gateways,
            sidecars,
            root_namespace: mesh.root_namespace.clone(),
            peer_authentications: by_namespace(&inputs.peer_authentications),
            authorization_policies: by_namespace(&inputs.authorization_policies),
        }
    }

    /// What a workload demands of its callers' transport.
    pub fn mtls(&self, namespace: &str, labels: &Labels) -> EffectiveMtls {
        let own = self.peer_authentications.get(namespace);
        let root = self
            .peer_authentications
            .get(&self.root_namespace)
            .filter(|_| namespace != self.root_namespace);
        let policies = own
            .into_iter()
            .chain(root)
            .flatten()
            .map(|policy| &**policy);
        EffectiveMtls::compute(policies, namespace, labels, &self.root_namespace)
    }

    /// The authorization policies of a workload with this action: those of the root namespace first,
    /// each namespace's oldest first.
    pub fn authorization(
        &self,
        namespace: &str,
        labels: &Labels,
        action: Action,
    ) -> Vec<&Arc<Object<AuthorizationPolicy>>> {
        let root = self.authorization_policies.get(&self.root_namespace);
        let own = self
            .authorization_policies
            .get(namespace)
            .filter(|_| namespace != self.root_namespace);
        root.into_iter()
            .chain(own)
            .flatten()
            .filter(|policy| policy.spec.action == action)
            .filter(|policy| {
                let selector = policy.spec.selector.as_ref();
                selector.is_none_or(|selector| selector.matches(labels))
            })
            .collect()
    }

    /// The Sidecar of a workload: one that selects it, else the namespace's, else the mesh's.
    pub fn sidecar(&self, namespace: &str, labels: &Labels) -> Option<&Arc<Object<Sidecar>>> {
        let own = |sidecar: &&Arc<Object<Sidecar>>| sidecar.meta.namespace == namespace;
        let selected = self.sidecars.iter().filter(own).find(|sidecar| {
            let selector = sidecar.spec.workload_selector.as_ref();
            selector.is_some_and(|selector| !selector.is_empty() && selector.matches(labels))
        });
        let whole = |sidecar: &&Arc<Object<Sidecar>>| {
            let selector = sidecar.spec.workload_selector.as_ref();
            selector.is_none_or(mesh_config::LabelSelector::is_empty)
        };
        selected
            .or_else(|| self.sidecars.iter().filter(own).find(whole))
            .or_else(|| {
                self.sidecars
                    .iter()
                    .filter(|sidecar| sidecar.meta.namespace == self.root_namespace)
                    .find(whole)
            })
    }
}

fn by_namespace<S>(objects: &[Arc<Object<S>>]) -> HashMap<String, Vec<Arc<Object<S>>>> {
    let mut map: HashMap<String, Vec<Arc<Object<S>>>> = HashMap::new();
    for object in objects {
        map.entry(object.meta.namespace.clone())
            .or_default()
            .push(object.clone());
    }
    for list in map.values_mut() {
        list.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
    }
    map
}
