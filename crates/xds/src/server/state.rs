//! What a session keeps per type, shared by both variants of the protocol.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Verdict;
use super::ledger::{Ledger, Told};
use super::pool::Interner;
use crate::google::rpc::Status;
use crate::resource::{EncodedResource, NameSet, Scope};

/// What a client wants of a type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Everything that the server has for it.
    pub wildcard: bool,
    /// These by name, whether or not they are part of everything.
    pub names: NameSet,
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
#[derive(Debug)]
pub(super) struct TypeState {
    pub(super) interner: Interner,
    pub(super) subscription: Subscription,
    pub(super) ledger: Ledger,
    /// A response is owed even if it is empty: the client waits for its first.
    pub(super) owed: bool,
    in_flight: Option<InFlight>,
    deferred: Option<Scope>,
    /// The last response carried a part only, the rest is deferred.
    partial: bool,
    sent: Option<String>,
    acked: Option<String>,
    nack: Option<Nack>,
}

/// What differs between what a client has and what exists.
#[derive(Default)]
pub(super) struct Difference<'a> {
    pub(super) changed: Vec<&'a EncodedResource>,
    pub(super) removed: Vec<Arc<str>>,
    /// Changed too, but for a later response.
    rest: Vec<Arc<str>>,
}

impl Difference<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }

    /// Puts off what goes beyond `bytes`, except for the first resource.
    pub(super) fn limit(&mut self, bytes: usize) {
        let mut sum = 0;
        let fits = self.changed.iter().take_while(|resource| {
            sum += resource.delta().len();
            sum <= bytes
        });
        let fitting = fits.count().max(1).min(self.changed.len());
        let rest = self.changed.drain(fitting..);
        self.rest = rest.map(|resource| resource.name().clone()).collect();
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let names = self.changed.iter().map(|resource| resource.name().clone());
        names.collect()
    }
}

impl TypeState {
    pub(super) fn new(interner: Interner) -> Self {
        Self {
            ledger: Ledger::new(interner.clone()),
            interner,
            subscription: Subscription::default(),
            owed: false,
            in_flight: None,
            deferred: None,
            partial: false,
            sent: None,
            acked: None,
            nack: None,
        }
    }

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
                if !self.partial {
                    self.acked = Some(flight.version);
                }
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
    pub(super) fn begin(&mut self, mut scope: Scope) -> Option<Scope> {
        if let Some(earlier) = self.deferred.take() {
            scope.merge(earlier);
        }
        let scope = self.narrow(scope)?;
        if self.in_flight.is_some() {
            self.deferred = Some(scope);
            return None;
        }
        Some(scope)
    }

    /// See [`Session::renew`](super::Session::renew).
    pub(super) fn renew(&mut self, names: &[Arc<str>]) -> Option<Scope> {
        let told = names.iter().filter(|name| self.ledger.get(name).is_some());
        let names: BTreeSet<Arc<str>> = told.cloned().collect();
        if names.is_empty() {
            return None;
        }
        self.owe(names.iter().cloned());
        self.begin(Scope::Only(Arc::new(names)))
    }

    /// Makes these names be answered for again.
    pub(super) fn owe(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        let owed = names.into_iter().map(|name| (name, Told::Owed));
        self.ledger.tell(owed, &self.subscription.names);
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
        let subscribed = &self.subscription.names;
        let names = match scope {
            Scope::All => Arc::clone(subscribed),
            Scope::Only(names) if names.iter().all(|name| subscribed.contains(name)) => names,
            Scope::Only(names) => Arc::new(names.intersection(subscribed).cloned().collect()),
        };
        (!names.is_empty()).then_some(Scope::Only(names))
    }

    /// Compares `resources`, all that exists within `scope`, with what the client has.
    pub(super) fn difference<'a>(
        &self,
        scope: &Scope,
        resources: &'a [EncodedResource],
    ) -> Difference<'a> {
        debug_assert!(resources.is_sorted_by(|a, b| a.name() < b.name()));
        match scope {
            Scope::All if self.subscription.wildcard => self.compare_all(resources),
            Scope::All => self.compare(&self.subscription.names, resources),
            Scope::Only(names) => self.compare(names, resources),
        }
    }

    fn compare_all<'a>(&self, resources: &'a [EncodedResource]) -> Difference<'a> {
        let mut out = Difference::default();
        let mut told = self.ledger.iter().peekable();
        for resource in resources {
            while let Some((name, told)) = told.next_if(|(name, _)| *name < resource.name()) {
                out.compare(name, None, Some(told));
            }
            let told = told.next_if(|(name, _)| *name == resource.name());
            out.compare(resource.name(), Some(resource), told.map(|(_, told)| told));
        }
        for (name, told) in told {
            out.compare(name, None, Some(told));
        }
        // Those asked for by name must be answered for even if they never existed.
        let exists = |name: &str| {
            resources
                .binary_search_by(|one| (**one.name()).cmp(name))
                .is_ok()
        };
        let named = self.subscription.names.iter();
        let unknown = named.filter(|name| !exists(name) && self.ledger.get(name).is_none());
        out.removed.extend(unknown.cloned());
        out
    }

    fn compare<'a>(
        &self,
        names: &BTreeSet<Arc<str>>,
        resources: &'a [EncodedResource],
    ) -> Difference<'a> {
        let mut out = Difference::default();
        let mut existing = resources.iter().peekable();
        for name in names {
            while existing.next_if(|one| one.name() < name).is_some() {}
            let existing = existing.next_if(|one| one.name() == name);
            out.compare(name, existing, self.ledger.get(name));
        }
        out
    }

    /// Notes what a response carries, and that it is unanswered.
    pub(super) fn sent(&mut self, difference: &Difference<'_>, nonce: String, version: &str) {
        let changed = difference.changed.iter();
        let changed = changed.map(|one| (one.name().clone(), Told::Version(one.version())));
        let removed = difference.removed.iter();
        let removed = removed.map(|name| (name.clone(), Told::Absent));
        self.ledger
            .tell(changed.chain(removed), &self.subscription.names);
        self.partial = !difference.rest.is_empty();
        if self.partial {
            let rest = difference.rest.iter().cloned().collect();
            let rest = Scope::Only(self.interner.names(rest));
            match &mut self.deferred {
                Some(deferred) => deferred.merge(rest),
                None => self.deferred = Some(rest),
            }
        }
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
        self.partial = false;
        if self.nack.is_none() && self.ledger.iter().next().is_some() {
            self.sent = Some(version.to_owned());
            self.acked = Some(version.to_owned());
        }
    }

    pub(super) fn status(&self) -> TypeStatus {
        let state = if self.sent.is_none() {
            SyncState::NotSent
        } else if self.in_flight.is_some() || self.nack.is_some() || self.partial {
            SyncState::Stale
        } else {
            SyncState::Synced
        };
        TypeStatus {
            state,
            sent: self.sent.clone(),
            acked: self.acked.clone(),
            nack: self.nack.clone(),
            resources: self.ledger.len(),
        }
    }
}

impl<'a> Difference<'a> {
    /// Adds what a client must be told of a name, given what it was told last.
    fn compare(
        &mut self,
        name: &Arc<str>,
        existing: Option<&'a EncodedResource>,
        told: Option<Told>,
    ) {
        match existing {
            Some(resource) if told != Some(Told::Version(resource.version())) => {
                self.changed.push(resource);
            }
            None if told != Some(Told::Absent) => self.removed.push(Arc::clone(name)),
            _ => {}
        }
    }
}
