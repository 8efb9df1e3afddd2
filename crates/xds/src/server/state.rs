//! What a session keeps per type, shared by both variants of the protocol.

use std::collections::{BTreeMap, BTreeSet};

use super::Verdict;
use crate::google::rpc::Status;
use crate::resource::{NamedResource, Scope};

/// What a client wants of a type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Everything that the server has for it.
    pub wildcard: bool,
    /// These by name, whether or not they are part of everything.
    pub names: BTreeSet<String>,
}

impl Subscription {
    /// Whether a resource of this name is wanted.
    pub fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}

/// How far a client has come with a type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncState {
    /// Nothing was sent: it never asked, or there was nothing to send.
    #[default]
    NotSent,
    /// The client applied the last thing sent, or had it all.
    Synced,
    /// The last response is unanswered or refused.
    Stale,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// The configuration version that was refused.
    pub version: String,
    /// The client's reason.
    pub message: String,
}

/// What is known of a client's progress with a type. Versions are the configuration's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeStatus {
    /// Summary of the rest.
    pub state: SyncState,
    /// The version last sent.
    pub sent: Option<String>,
    /// The version last applied.
    pub acked: Option<String>,
    /// The refusal that stands, if the last answer was one.
    pub nack: Option<Nack>,
    /// How many resources the client holds or was sent.
    pub resources: usize,
}

#[derive(Debug)]
struct InFlight {
    nonce: String,
    version: String,
}

/// One type within a session.
#[derive(Debug, Default)]
pub(super) struct TypeState {
    pub(super) subscription: Subscription,
    /// The version of each resource that the client has or was last sent.
    pub(super) known: BTreeMap<String, String>,
    /// Names to answer for even if nothing about them changed.
    pub(super) forced: BTreeSet<String>,
    /// A response is owed even if it is empty: the client waits for its first.
    pub(super) owed: bool,
    in_flight: Option<InFlight>,
    deferred: Option<Scope>,
    sent: Option<String>,
    acked: Option<String>,
    nack: Option<Nack>,
}

/// What differs between what a client has and what exists.
pub(super) struct Difference<'a> {
    pub(super) changed: Vec<&'a NamedResource>,
    pub(super) removed: Vec<String>,
}

impl Difference<'_> {
    pub(super) fn names(&self) -> Vec<String> {
        self.changed
            .iter()
            .map(|resource| resource.name.clone())
            .collect()
    }
}

impl TypeState {
    /// Takes in the answer part of a request.
    pub(super) fn answer(&mut self, nonce: &str, error: Option<&Status>) -> Verdict {
        if nonce.is_empty() {
            return Verdict::None;
        }
        let Some(flight) = self.in_flight.take_if(|flight| flight.nonce == nonce) else {
            return Verdict::Stale;
        };
        match error {
            None => {
                self.acked = Some(flight.version);
                self.nack = None;
                Verdict::Ack
            }
            Some(status) => {
                let message = super::error_text(status);
                self.nack = Some(Nack {
                    version: flight.version,
                    message: message.clone(),
                });
                Verdict::Nack(message)
            }
        }
    }

    /// Whether `nonce` answers the response that is unanswered.
    pub(super) fn answers_latest(&self, nonce: &str) -> bool {
        self.in_flight
            .as_ref()
            .is_some_and(|flight| flight.nonce == nonce)
    }

    /// Whether a response is unanswered.
    pub(super) fn awaits_answer(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether nothing was ever sent for this type on this stream.
    pub(super) fn untouched(&self) -> bool {
        self.sent.is_none()
    }

    /// See [`Session::begin`](super::Session::begin).
    pub(super) fn begin(&mut self, scope: Scope) -> Option<Scope> {
        let mut scope = self.narrow(scope)?;
        if let Some(earlier) = self.deferred.take() {
            scope.merge(earlier);
        }
        if self.in_flight.is_some() {
            self.deferred = Some(scope);
            return None;
        }
        self.narrow(scope)
    }

    /// See [`Session::renew`](super::Session::renew).
    pub(super) fn renew(&mut self, names: BTreeSet<String>) -> Option<Scope> {
        let names: BTreeSet<String> = names
            .into_iter()
            .filter(|name| self.known.contains_key(name))
            .collect();
        self.forced.extend(names.iter().cloned());
        if names.is_empty() {
            None
        } else {
            self.begin(Scope::Only(names))
        }
    }

    /// What was put off while a response was unanswered.
    pub(super) fn take_deferred(&mut self) -> Option<Scope> {
        if self.in_flight.is_some() {
            return None;
        }
        let scope = self.deferred.take()?;
        self.narrow(scope)
    }

    fn narrow(&self, scope: Scope) -> Option<Scope> {
        if self.subscription.wildcard {
            return Some(scope);
        }
        let names: BTreeSet<String> = match scope {
            Scope::All => self.subscription.names.clone(),
            Scope::Only(names) => names
                .into_iter()
                .filter(|name| self.subscription.names.contains(name))
                .collect(),
        };
        (!names.is_empty()).then_some(Scope::Only(names))
    }

    /// Compares `resources`, all that exists within `scope`, with what the client has.
    pub(super) fn difference<'a>(
        &mut self,
        scope: &Scope,
        resources: &'a [NamedResource],
    ) -> Difference<'a> {
        let wanted = |name: &str| scope.contains(name) && self.subscription.covers(name);
        let mut changed = Vec::new();
        let mut existing = BTreeSet::new();
        for resource in resources.iter().filter(|resource| wanted(&resource.name)) {
            existing.insert(resource.name.as_str());
            let same = self.known.get(&resource.name) == Some(&resource.version);
            if !same || self.forced.contains(&resource.name) {
                changed.push(resource);
            }
        }
        let told: BTreeSet<&String> = self.known.keys().chain(&self.forced).collect();
        let removed = told
            .into_iter()
            .filter(|name| scope.contains(name) && !existing.contains(name.as_str()))
            .cloned()
            .collect();
        Difference { changed, removed }
    }

    /// Notes what a response carries, and that it is unanswered.
    pub(super) fn sent(
        &mut self,
        scope: &Scope,
        difference: &Difference<'_>,
        nonce: String,
        version: &str,
    ) {
        for name in &difference.removed {
            self.known.remove(name);
        }
        for resource in &difference.changed {
            self.known
                .insert(resource.name.clone(), resource.version.clone());
        }
        self.forced.retain(|name| !scope.contains(name));
        self.owed = false;
        self.sent = Some(version.to_owned());
        self.in_flight = Some(InFlight {
            nonce,
            version: version.to_owned(),
        });
    }

    /// Notes that the client has everything as of `version` without being sent anything.
    pub(super) fn up_to_date(&mut self, version: &str) {
        self.owed = false;
        if self.nack.is_none() && !self.known.is_empty() {
            self.sent = Some(version.to_owned());
            self.acked = Some(version.to_owned());
        }
    }

    pub(super) fn status(&self) -> TypeStatus {
        let state = if self.sent.is_none() {
            SyncState::NotSent
        } else if self.in_flight.is_some() || self.nack.is_some() {
            SyncState::Stale
        } else {
            SyncState::Synced
        };
        TypeStatus {
            state,
            sent: self.sent.clone(),
            acked: self.acked.clone(),
            nack: self.nack.clone(),
            resources: self.known.len(),
        }
    }
}
