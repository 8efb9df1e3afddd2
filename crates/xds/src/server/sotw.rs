//! State-of-the-world ADS, server's side.

use std::collections::BTreeMap;
use std::sync::Arc;

use xxhash_rust::xxh64::Xxh64;

use super::grpc::EncodedResponse;
use super::ledger::Told;
use super::state::{Subscription, TypeState, TypeStatus};
use super::{Interner, Outgoing, Received, Session, Verdict, name_set};
use crate::envoy::config::core::v3::Node;
use crate::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use crate::resource::{EncodedResource, Scope};
use crate::type_url::{whole_set, wildcard_by_default};

/// The session of one `StreamAggregatedResources` stream. See [`Session`].
///
/// Clusters and listeners always go out as a whole set, the other types as the part that
/// changed. The wire's `version_info` is a hash over the names and versions in a response, so
/// that a client which reconnects with it and needs nothing new is sent nothing.
#[derive(Debug)]
pub struct SotwSession {
    id: u64,
    interner: Interner,
    responses: u64,
    types: BTreeMap<String, SotwType>,
}

#[derive(Debug)]
struct SotwType {
    state: TypeState,
    /// A wildcard by absence of names, which the first name ends.
    implicit_wildcard: bool,
    /// The `version_info` with which the client reconnected, until compared.
    resumed: Option<String>,
}

impl Session for SotwSession {
    type Request = DiscoveryRequest;
    fn new(id: u64, interner: Interner) -> Self {
        Self {
            id,
            interner,
            responses: 0,
            types: BTreeMap::new(),
        }
    }

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn receive(&mut self, request: &DiscoveryRequest) -> Received {
        let type_url = request.type_url.clone();
        let kind = self.types.entry(type_url.clone());
        let kind = kind.or_insert_with(|| SotwType::new(self.interner.clone()));
        let nonce = &request.response_nonce;
        if kind.state.untouched() {
            // Whatever the nonce, no response of ours can be meant: it opens the type.
            let resumed = (!request.version_info.is_empty()).then(|| request.version_info.clone());
            kind.resumed = resumed;
            kind.state.owed = true;
            let due = subscribe(kind, request).and_then(|scope| kind.state.begin(scope));
            return Received {
                type_url,
                verdict: Verdict::None,
                due,
            };
        }
        if kind.in_flight_differs(nonce) {
            // It answers nothing, but its names are the newest we know. Ignoring them would be
            // allowed, yet a name dropped and added again meanwhile would then never be sent,
            // while the client has forgotten it.
            if let Some(scope) = subscribe(kind, request) {
                let put_off = kind.state.begin(scope);
                debug_assert_eq!(put_off, None, "a response is unanswered");
            }
            return Received {
                type_url,
                verdict: Verdict::Stale,
                due: None,
            };
        }
        let verdict = kind.state.answer(nonce, request.error_detail.as_ref());
        let verdict = if verdict == Verdict::Stale {
            Verdict::None
        } else {
            verdict
        };
        let mut due = subscribe(kind, request).and_then(|scope| kind.state.begin(scope));
        if let Some(deferred) = kind.state.take_deferred() {
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
        // A whole-set type can't be sent in parts.
        let scope = if whole_set(type_url) {
            Scope::All
        } else {
            scope
        };
        self.types.get_mut(type_url)?.state.begin(scope)
    }

    fn send(
        &mut self,
        type_url: &str,
        scope: &Scope,
        resources: &[EncodedResource],
        version: &str,
    ) -> Option<Outgoing> {
        let kind = self.types.get_mut(type_url)?;
        let covered = || {
            let covered = resources.iter().filter(|one| {
                scope.contains(one.name()) && kind.state.subscription.covers(one.name())
            });
            covered.collect::<Vec<_>>()
        };
        if let Some(resumed) = kind.resumed.take()
            && resumed == set_version(&covered())
        {
            let told = covered().into_iter();
            let told: Vec<_> = told
                .map(|one| (one.name().clone(), Told::Version(one.version())))
                .collect();
            kind.state.ledger.retain(|_| false);
            kind.state.ledger.tell(told, &kind.state.subscription.names);
            kind.state.up_to_date(version);
            return None;
        }
        let whole = whole_set(type_url);
        let difference = kind.state.difference(scope, resources);
        // Absence can be told only by a whole set without it.
        let news = !difference.changed.is_empty() || (whole && !difference.removed.is_empty());
        if !(news || whole && kind.state.owed) {
            kind.state.up_to_date(version);
            return None;
        }
        let carried = if whole {
            covered()
        } else {
            difference.changed.clone()
        };
        self.responses += 1;
        let nonce = format!("{:x}-{}", self.id, self.responses);
        kind.state.sent(&difference, nonce.clone(), version);
        let head = DiscoveryResponse {
            version_info: set_version(&carried),
            type_url: type_url.to_owned(),
            nonce,
            ..DiscoveryResponse::default()
        };
        let carried = carried.into_iter().map(|one| one.packed().clone());
        let response = EncodedResponse::new(&head, carried.collect());
        Some(Outgoing {
            bytes: response.resource_bytes(),
            response,
            changed: difference.names(),
            removed: difference.removed,
        })
    }

    fn renew(&mut self, type_url: &str, names: &[Arc<str>]) -> Option<Scope> {
        self.types.get_mut(type_url)?.state.renew(names)
    }

    fn types(&self) -> Vec<String> {
        self.types.keys().cloned().collect()
    }

    fn subscription(&self, type_url: &str) -> Option<&Subscription> {
        self.types
            .get(type_url)
            .map(|kind| &kind.state.subscription)
    }

    fn status(&self, type_url: &str) -> TypeStatus {
        self.types
            .get(type_url)
            .map(|kind| kind.state.status())
            .unwrap_or_default()
    }
}

impl SotwType {
    fn new(interner: Interner) -> Self {
        Self {
            state: TypeState::new(interner),
            implicit_wildcard: false,
            resumed: None,
        }
    }

    /// Whether a request bears a nonce other than the unanswered response's: it was sent
    /// before that response arrived, and another one will follow.
    fn in_flight_differs(&self, nonce: &str) -> bool {
        self.state.awaits_answer() && !self.state.answers_latest(nonce)
    }
}

/// Takes over the request's names, which are the whole subscription; says what is new in it.
fn subscribe(kind: &mut SotwType, request: &DiscoveryRequest) -> Option<Scope> {
    let asked = &request.resource_names;
    let before = &kind.state.subscription;
    let opened = kind.state.untouched();
    // Every answer repeats the names.
    let same = asked
        .iter()
        .map(String::as_str)
        .eq(before.names.iter().map(|name| &**name));
    let names = if same {
        Arc::clone(&before.names)
    } else {
        name_set(asked, &kind.state.interner)
    };
    let never_named = opened || kind.implicit_wildcard;
    let implicit = asked.is_empty() && never_named && wildcard_by_default(&request.type_url);
    let wildcard = implicit || asked.iter().any(|name| name == "*");
    kind.implicit_wildcard = implicit;
    let widened = wildcard && !before.wildcard;
    if !wildcard && (before.wildcard || !Arc::ptr_eq(&names, &before.names)) {
        kind.state.ledger.retain(|name| names.contains(name));
    }
    let added = if Arc::ptr_eq(&names, &before.names) {
        Vec::new()
    } else {
        names.difference(&before.names).cloned().collect()
    };
    kind.state.subscription = Subscription { wildcard, names };
    if opened || widened {
        return Some(Scope::All);
    }
    if added.is_empty() {
        return None;
    }
    // A whole set must be whole even when one name was added.
    Some(if whole_set(&request.type_url) {
        Scope::All
    } else {
        Scope::only(added)
    })
}

/// A version for a set of resources: equal when names and versions are.
fn set_version(resources: &[&EncodedResource]) -> String {
    let mut hash = Xxh64::new(0);
    for resource in resources {
        // Lengths keep ("a", "bc") and ("ab", "c") apart.
        hash.update(&(resource.name().len() as u64).to_le_bytes());
        hash.update(resource.name().as_bytes());
        hash.update(&resource.version().to_bytes());
    }
    format!("{:016x}", hash.digest())
}
