//! Incremental ADS, server's side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::grpc::EncodedResponse;
use super::ledger::Told;
use super::state::{Subscription, TypeState, TypeStatus};
use super::{Interner, Outgoing, PART_BYTES, Received, Session, name_set};
use crate::envoy::config::core::v3::Node;
use crate::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::resource::{ContentVersion, EncodedResource, Scope};
use crate::type_url::{whole_set, wildcard_by_default};

/// The session of one `DeltaAggregatedResources` stream. See [`Session`].
#[derive(Debug)]
pub struct DeltaSession {
    id: u64,
    interner: Interner,
    responses: u64,
    types: BTreeMap<String, TypeState>,
}

impl Session for DeltaSession {
    type Request = DeltaDiscoveryRequest;
    fn new(id: u64, interner: Interner) -> Self {
        Self {
            id,
            interner,
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
        let state = self.types.entry(type_url.clone());
        let state = state.or_insert_with(|| TypeState::new(self.interner.clone()));
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
        resources: &[EncodedResource],
        version: &str,
    ) -> Option<Outgoing> {
        let state = self.types.get_mut(type_url)?;
        let mut difference = state.difference(scope, resources);
        if difference.is_empty() && !state.owed {
            state.up_to_date(version);
            return None;
        }
        if !whole_set(type_url) {
            difference.limit(PART_BYTES);
        }
        self.responses += 1;
        let nonce = format!("{:x}-{}", self.id, self.responses);
        state.sent(&difference, nonce.clone(), version);
        let changed = difference.names();
        let carried = difference.changed.iter().map(|one| one.delta().clone());
        let removed = difference.removed;
        let head = DeltaDiscoveryResponse {
            system_version_info: version.to_owned(),
            type_url: type_url.to_owned(),
            nonce,
            removed_resources: removed.iter().map(|name| String::from(&**name)).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        let response = EncodedResponse::new(&head, carried.collect());
        Some(Outgoing {
            bytes: response.resource_bytes(),
            response,
            changed,
            removed,
        })
    }

    fn renew(&mut self, type_url: &str, names: &[Arc<str>]) -> Option<Scope> {
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
        names: name_set(names, &state.interner),
    };
    let subscription = &state.subscription;
    let has = request.initial_resource_versions.iter();
    let has = has.filter(|(name, _)| subscription.covers(name));
    let told = has.map(|(name, version)| {
        let version = ContentVersion::parse(version).map_or(Told::Owed, Told::Version);
        (Arc::from(name.as_str()), version)
    });
    let told: Vec<(Arc<str>, Told)> = told.collect();
    // A client that starts empty waits for its first response; one that reconnects doesn't.
    state.owed = subscription.wildcard && told.is_empty();
    state.ledger.tell(told, &subscription.names);
    Some(Scope::All)
}

/// A later request: its names are changes to the subscription, whatever its nonce.
fn change(state: &mut TypeState, request: &DeltaDiscoveryRequest) -> Option<Scope> {
    let (dropped, added) = (
        &request.resource_names_unsubscribe,
        &request.resource_names_subscribe,
    );
    if dropped.is_empty() && added.is_empty() {
        return None;
    }
    let mut names = BTreeSet::clone(&state.subscription.names);
    let wildcard = state.subscription.wildcard && !dropped.iter().any(|name| name == "*");
    if wildcard != state.subscription.wildcard {
        state.subscription.wildcard = wildcard;
        state.ledger.retain(|name| names.contains(name));
    }
    let gone = dropped.iter().filter_map(|name| names.take(name.as_str()));
    let mut due: BTreeSet<Arc<str>> = gone.collect();
    if !wildcard {
        let forgotten = std::mem::take(&mut due).into_iter();
        let forgotten = forgotten.map(|name| (name, Told::Absent));
        state.ledger.tell(forgotten, &names);
    } // Else the client may have dropped them: they are due, to tell it where they stand.
    let all = !wildcard && added.iter().any(|name| name == "*");
    if all {
        state.subscription.wildcard = true;
        state.owed = true;
    }
    // Also when subscribed already: asking again means "send it again".
    let added = added.iter().filter(|name| *name != "*");
    due.extend(added.clone().map(|name| Arc::from(name.as_str())));
    names.extend(added.map(|name| Arc::from(name.as_str())));
    state.subscription.names = state.interner.names(names);
    state.owe(due.iter().cloned());
    if all {
        return Some(Scope::All);
    }
    (!due.is_empty()).then(|| Scope::Only(Arc::new(due)))
}
