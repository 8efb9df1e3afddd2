//! Incremental ADS, server's side.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Subscription, TypeState, TypeStatus};
use super::{Outgoing, Received, Session};
use crate::envoy::config::core::v3::Node;
use crate::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
use crate::resource::{NamedResource, Scope};
use crate::type_url::wildcard_by_default;

/// The session of one `DeltaAggregatedResources` stream. See [`Session`].
#[derive(Debug)]
pub struct DeltaSession {
    id: u64,
    responses: u64,
    types: BTreeMap<String, TypeState>,
}

impl Session for DeltaSession {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn new(id: u64) -> Self {
        Self {
            id,
            responses: 0,
            types: BTreeMap::new(),
        }
    }

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn receive(&mut self, request: &DeltaDiscoveryRequest) -> Received {
        let type_url = request.type_url.clone();
        let first = !self.types.contains_key(&type_url);
        let state = self.types.entry(type_url.clone()).or_default();
        let verdict = state.answer(&request.response_nonce, request.error_detail.as_ref());
        let mut due = if first {
            open(state, request)
        } else {
            change(state, request)
        };
        if let Some(scope) = due.take() {
            due = state.begin(scope);
        }
        // An answer frees what was put off until it came.
        if let Some(deferred) = state.take_deferred() {
            match &mut due {
                Some(scope) => scope.merge(deferred),
                None => due = Some(deferred),
            }
        }
        Received {
            type_url,
            verdict,
            due,
        }
    }

    fn begin(&mut self, type_url: &str, scope: Scope) -> Option<Scope> {
        self.types.get_mut(type_url)?.begin(scope)
    }

    fn send(
        &mut self,
        type_url: &str,
        scope: &Scope,
        resources: &[NamedResource],
        version: &str,
    ) -> Option<Outgoing<DeltaDiscoveryResponse>> {
        let state = self.types.get_mut(type_url)?;
        let difference = state.difference(scope, resources);
        if difference.changed.is_empty() && difference.removed.is_empty() && !state.owed {
            state.up_to_date(version);
            return None;
        }
        self.responses += 1;
        let nonce = format!("{:x}-{}", self.id, self.responses);
        state.sent(scope, &difference, nonce.clone(), version);
        let changed = difference.names();
        let removed = difference.removed;
        let response = DeltaDiscoveryResponse {
            system_version_info: version.to_owned(),
            type_url: type_url.to_owned(),
            nonce,
            resources: difference.changed.into_iter().map(wire).collect(),
            removed_resources: removed.clone(),
            ..DeltaDiscoveryResponse::default()
        };
        Some(Outgoing {
            response,
            changed,
            removed,
        })
    }

    fn renew(&mut self, type_url: &str, names: BTreeSet<String>) -> Option<Scope> {
        self.types.get_mut(type_url)?.renew(names)
    }

    fn types(&self) -> Vec<String> {
        self.types.keys().cloned().collect()
    }

    fn subscription(&self, type_url: &str) -> Option<&Subscription> {
        self.types.get(type_url).map(|state| &state.subscription)
    }

    fn status(&self, type_url: &str) -> TypeStatus {
        self.types
            .get(type_url)
            .map(TypeState::status)
            .unwrap_or_default()
    }
}

/// The first request of a type: says what the client still has from an earlier stream.
fn open(state: &mut TypeState, request: &DeltaDiscoveryRequest) -> Option<Scope> {
    let names = &request.resource_names_subscribe;
    state.subscription = Subscription {
        wildcard: names.iter().any(|name| name == "*")
            || (names.is_empty() && wildcard_by_default(&request.type_url)),
        names: names.iter().filter(|name| *name != "*").cloned().collect(),
    };
    state.known = request
        .initial_resource_versions
        .iter()
        .filter(|(name, _)| state.subscription.covers(name))
        .map(|(name, version)| (name.clone(), version.clone()))
        .collect();
    // A name that it doesn't have must be answered for, if only by "there is none".
    let unknown = state
        .subscription
        .names
        .iter()
        .filter(|name| !state.known.contains_key(*name));
    state.forced = unknown.cloned().collect();
    // A client that starts empty waits for its first response; one that reconnects doesn't.
    state.owed = state.subscription.wildcard && state.known.is_empty();
    Some(Scope::All)
}

/// A later request: its names are changes to the subscription, whatever its nonce.
fn change(state: &mut TypeState, request: &DeltaDiscoveryRequest) -> Option<Scope> {
    let mut due: Option<Scope> = None;
    let mut add = |scope: Scope| match &mut due {
        Some(due) => due.merge(scope),
        None => due = Some(scope),
    };
    for name in &request.resource_names_unsubscribe {
        if name == "*" {
            state.subscription.wildcard = false;
            let names = &state.subscription.names;
            state.known.retain(|name, _| names.contains(name));
        } else if state.subscription.names.remove(name) {
            state.forced.remove(name);
            if state.subscription.wildcard {
                // The client may have dropped it: tell it again where it stands.
                state.forced.insert(name.clone());
                add(Scope::Only([name.clone()].into()));
            } else {
                state.known.remove(name);
            }
        }
    }
    for name in &request.resource_names_subscribe {
        if name == "*" {
            if !state.subscription.wildcard {
                state.subscription.wildcard = true;
                state.owed = true;
                add(Scope::All);
            }
        } else {
            // Also when subscribed already: asking again means "send it again".
            state.subscription.names.insert(name.clone());
            state.forced.insert(name.clone());
            add(Scope::Only([name.clone()].into()));
        }
    }
    due
}

fn wire(resource: &NamedResource) -> Resource {
    Resource {
        name: resource.name.clone(),
        version: resource.version.clone(),
        resource: Some(resource.body.clone()),
        ..Resource::default()
    }
}
