//! State-of-the-world ADS, client's side: for control planes that don't speak incremental.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::{ProtocolError, Rejection, Update, error_detail};
use crate::any::message_name;
use crate::envoy::config::core::v3::Node;
use crate::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse, Resource};
use crate::google::protobuf::Any;
use crate::resource::{NamedResource, name_of};
use crate::type_url::whole_set;

/// A client of `StreamAggregatedResources`. See the [module](super) for its life.
#[derive(Debug)]
pub struct SotwClient {
    node: Node,
    types: BTreeMap<String, SotwType>,
}

#[derive(Debug, Default)]
struct SotwType {
    wildcard: bool,
    names: BTreeSet<String>,
    /// Content hashes of what was applied: tells what a response really changes.
    applied: BTreeMap<String, String>,
    /// The version of the last response that was applied in full.
    accepted: String,
    /// Whether [`accepted`](Self::accepted) describes exactly what is applied, so that a new
    /// stream may resume from it. Not so after a partial refusal, or once a name was added.
    resumable: bool,
    /// The nonce of the last response answered on this stream. Not of the last one received:
    /// a change of subscription meanwhile would pass for its ACK.
    nonce: String,
}

impl SotwClient {
    /// A client that introduces itself as `node` and subscribes to nothing.
    pub fn new(node: Node) -> Self {
        Self {
            node,
            types: BTreeMap::new(),
        }
    }

    /// Subscribes to everything of a type. Returns the request to write if a stream is open;
    /// `None` if that changes nothing.
    pub fn subscribe_all(&mut self, type_url: &str) -> Option<DiscoveryRequest> {
        let kind = self.types.entry(type_url.to_owned()).or_default();
        let changes = !std::mem::replace(&mut kind.wildcard, true);
        changes.then(|| kind.request(type_url))
    }

    /// Makes `names` the set of names subscribed to. What is no longer among them is
    /// forgotten: the caller drops it too. Returns as [`subscribe_all`](Self::subscribe_all).
    pub fn subscribe(
        &mut self,
        type_url: &str,
        names: BTreeSet<String>,
    ) -> Option<DiscoveryRequest> {
        let kind = self.types.entry(type_url.to_owned()).or_default();
        if kind.names == names {
            return None;
        }
        if !kind.wildcard {
            kind.applied.retain(|name, _| names.contains(name));
        }
        if !names.is_subset(&kind.names) {
            kind.resumable = false;
        }
        kind.names = names;
        Some(kind.request(type_url))
    }

    /// The requests that open a stream, in the order of type URLs, with the versions already
    /// accepted. The first one bears the node. Nonces of the stream before are forgotten.
    pub fn connect(&mut self) -> Vec<DiscoveryRequest> {
        let mut requests = Vec::new();
        for (type_url, kind) in &mut self.types {
            kind.nonce.clear();
            if !kind.resumable {
                kind.accepted.clear();
            }
            if kind.wildcard || !kind.names.is_empty() {
                requests.push(kind.request(type_url));
            }
        }
        if let Some(first) = requests.first_mut() {
            first.node = Some(self.node.clone());
        }
        requests
    }

    /// Takes in a response. What equals the applied resource is left out of the update; for
    /// clusters and listeners, what the response lacks is removed.
    ///
    /// # Errors
    /// See [`ProtocolError`].
    pub fn receive(&self, response: DiscoveryResponse) -> Result<Update, ProtocolError> {
        let type_url = response.type_url;
        let Some(kind) = self.types.get(&type_url) else {
            return Err(ProtocolError::Unsolicited { type_url });
        };
        if response.nonce.is_empty() {
            return Err(ProtocolError::NoNonce { type_url });
        }
        let mut present = BTreeSet::new();
        let mut changed = Vec::new();
        for (index, body) in response.resources.into_iter().enumerate() {
            let resource = read(body, index, &type_url)?;
            present.insert(resource.name.clone());
            let same = kind.applied.get(&resource.name) == Some(&resource.version);
            if kind.covers(&resource.name) && !same {
                changed.push(resource);
            }
        }
        let removed = if whole_set(&type_url) {
            kind.applied
                .keys()
                .filter(|name| !present.contains(*name))
                .cloned()
                .collect()
        } else {
            Vec::new()
        };
        let version = response.version_info;
        Ok(Update {
            type_url,
            changed,
            removed,
            version,
            nonce: response.nonce,
        })
    }

    /// Notes what was applied; returns the ACK, or the NACK if something was rejected. A NACK
    /// bears the version that was accepted before.
    pub fn finish(&mut self, update: &Update, rejected: &[Rejection]) -> DiscoveryRequest {
        let kind = self.types.entry(update.type_url.clone()).or_default();
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
        kind.resumable = rejected.is_empty();
        if kind.resumable {
            kind.accepted.clone_from(&update.version);
        }
        kind.nonce.clone_from(&update.nonce);
        let mut request = kind.request(&update.type_url);
        request.error_detail = error_detail(rejected);
        request
    }

    /// Names and content hashes of what was applied of a type.
    pub fn applied(&self, type_url: &str) -> Option<&BTreeMap<String, String>> {
        self.types.get(type_url).map(|kind| &kind.applied)
    }
}

impl SotwType {
    fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn request(&self, type_url: &str) -> DiscoveryRequest {
        let mut names: Vec<String> = self.names.iter().cloned().collect();
        if self.wildcard && !names.is_empty() {
            names.push("*".to_owned());
        }
        DiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names: names,
            version_info: self.accepted.clone(),
            response_nonce: self.nonce.clone(),
            ..DiscoveryRequest::default()
        }
    }
}

fn read(body: Any, index: usize, type_url: &str) -> Result<NamedResource, ProtocolError> {
    let unreadable = |reason: String| ProtocolError::Unreadable {
        type_url: type_url.to_owned(),
        index,
        reason,
    };
    // A resource may come wrapped, with its name beside it.
    if message_name(&body.type_url) == "envoy.service.discovery.v3.Resource" {
        let wrapped =
            Resource::decode(body.value).map_err(|error| unreadable(error.to_string()))?;
        let body = wrapped
            .resource
            .ok_or_else(|| unreadable("it has no payload".to_owned()))?;
        return name(body, Some(wrapped.name), type_url).map_err(unreadable);
    }
    if body.type_url != type_url {
        let expected = type_url.to_owned();
        return Err(ProtocolError::MixedTypes {
            expected,
            found: body.type_url,
        });
    }
    name(body, None, type_url).map_err(unreadable)
}

fn name(body: Any, given: Option<String>, type_url: &str) -> Result<NamedResource, String> {
    if body.type_url != type_url {
        return Err(format!("it wraps a {}", body.type_url));
    }
    let name = match given.filter(|name| !name.is_empty()) {
        Some(name) => name,
        None => name_of(&body).map_err(|error| error.to_string())?,
    };
    if name.is_empty() {
        return Err("it has no name".to_owned());
    }
    Ok(NamedResource::from_any(name, body))
}
