//! Incremental ADS, client's side.

use std::collections::{BTreeMap, BTreeSet};

use super::{ProtocolError, Rejection, Update, error_detail};
use crate::envoy::config::core::v3::Node;
use crate::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use crate::resource::NamedResource;

/// A client of `DeltaAggregatedResources`. See the [module](super) for its life.
#[derive(Debug)]
pub struct DeltaClient {
    node: Node,
    types: BTreeMap<String, DeltaType>,
}

#[derive(Debug, Default)]
struct DeltaType {
    wildcard: bool,
    names: BTreeSet<String>,
    /// What was applied, with the server's versions: told to the next stream.
    applied: BTreeMap<String, String>,
}

impl DeltaClient {
    /// A client that introduces itself as `node` and subscribes to nothing.
    pub fn new(node: Node) -> Self {
        Self {
            node,
            types: BTreeMap::new(),
        }
    }

    /// Subscribes to everything of a type. Returns the request to write if a stream is open
    /// (if none is, [`connect`](Self::connect) will say it); `None` if that changes nothing.
    pub fn subscribe_all(&mut self, type_url: &str) -> Option<DeltaDiscoveryRequest> {
        let opened = !self.types.contains_key(type_url);
        let kind = self.types.entry(type_url.to_owned()).or_default();
        if std::mem::replace(&mut kind.wildcard, true) {
            return None;
        }
        let names = if opened {
            Vec::new()
        } else {
            vec!["*".to_owned()]
        };
        Some(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// Makes `names` the set of names subscribed to. What is no longer among them is
    /// forgotten: the caller drops it too. Returns as [`subscribe_all`](Self::subscribe_all).
    pub fn subscribe(
        &mut self,
        type_url: &str,
        names: BTreeSet<String>,
    ) -> Option<DeltaDiscoveryRequest> {
        let kind = self.types.entry(type_url.to_owned()).or_default();
        let added: Vec<String> = names.difference(&kind.names).cloned().collect();
        let dropped: Vec<String> = kind.names.difference(&names).cloned().collect();
        if added.is_empty() && dropped.is_empty() {
            return None;
        }
        if !kind.wildcard {
            kind.applied.retain(|name, _| names.contains(name));
        }
        kind.names = names;
        Some(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: added,
            resource_names_unsubscribe: dropped,
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// The requests that open a stream, in the order of type URLs: every subscription with
    /// what is already applied. The first one bears the node.
    pub fn connect(&self) -> Vec<DeltaDiscoveryRequest> {
        let wanted = self
            .types
            .iter()
            .filter(|(_, kind)| kind.wildcard || !kind.names.is_empty());
        let mut requests: Vec<DeltaDiscoveryRequest> = wanted
            .map(|(type_url, kind)| {
                let mut names: Vec<String> = kind.names.iter().cloned().collect();
                // Nothing named means everything; with names it must be said.
                if kind.wildcard && !names.is_empty() {
                    names.push("*".to_owned());
                }
                DeltaDiscoveryRequest {
                    type_url: type_url.clone(),
                    resource_names_subscribe: names,
                    initial_resource_versions: kind.applied.clone(),
                    ..DeltaDiscoveryRequest::default()
                }
            })
            .collect();
        if let Some(first) = requests.first_mut() {
            first.node = Some(self.node.clone());
        }
        requests
    }

    /// Takes in a response. Resources that are no longer subscribed to are left out.
    ///
    /// # Errors
    /// See [`ProtocolError`].
    pub fn receive(&self, response: DeltaDiscoveryResponse) -> Result<Update, ProtocolError> {
        let type_url = response.type_url;
        let Some(kind) = self.types.get(&type_url) else {
            return Err(ProtocolError::Unsolicited { type_url });
        };
        if response.nonce.is_empty() {
            return Err(ProtocolError::NoNonce { type_url });
        }
        let mut changed = Vec::with_capacity(response.resources.len());
        for (index, resource) in response.resources.into_iter().enumerate() {
            let resource = read(resource, index, &type_url)?;
            if kind.covers(&resource.name) {
                changed.push(resource);
            }
        }
        Ok(Update {
            changed,
            removed: response.removed_resources,
            version: response.system_version_info,
            nonce: response.nonce,
            type_url,
        })
    }

    /// Notes what was applied; returns the ACK, or the NACK if something was rejected.
    pub fn finish(&mut self, update: &Update, rejected: &[Rejection]) -> DeltaDiscoveryRequest {
        if let Some(kind) = self.types.get_mut(&update.type_url) {
            for name in &update.removed {
                kind.applied.remove(name);
            }
            let refused: BTreeSet<&str> = rejected.iter().map(|one| one.name.as_str()).collect();
            for resource in &update.changed {
                if !refused.contains(resource.name.as_str()) && kind.covers(&resource.name) {
                    kind.applied
                        .insert(resource.name.clone(), resource.version.clone());
                }
            }
        }
        DeltaDiscoveryRequest {
            type_url: update.type_url.clone(),
            response_nonce: update.nonce.clone(),
            error_detail: error_detail(rejected),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// Names and versions of what was applied of a type.
    pub fn applied(&self, type_url: &str) -> Option<&BTreeMap<String, String>> {
        self.types.get(type_url).map(|kind| &kind.applied)
    }
}

impl DeltaType {
    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}

fn read(resource: Resource, index: usize, type_url: &str) -> Result<NamedResource, ProtocolError> {
    let unreadable = |reason: &str| ProtocolError::Unreadable {
        type_url: type_url.to_owned(),
        index,
        reason: reason.to_owned(),
    };
    let body = resource
        .resource
        .ok_or_else(|| unreadable("it has no payload"))?;
    if body.type_url != type_url {
        let expected = type_url.to_owned();
        return Err(ProtocolError::MixedTypes {
            expected,
            found: body.type_url,
        });
    }
    if resource.name.is_empty() {
        return Err(unreadable("it has no name"));
    }
    Ok(NamedResource {
        name: resource.name,
        version: resource.version,
        body,
    })
}
