//! All objects, with one writer and many readers.
//!
//! The writer applies what sources report and says how urgent the result is; readers get the
//! [`Inputs`] of a snapshot and the list of problems. An object whose meaning did not change
//! keeps its `Arc`: that is how later stages see at no cost what is new, and why an edit of mere
//! bookkeeping causes no push.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_config::{MeshConfig, Object};
use mesh_identity::TrustDomain;
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::ingest::{Batch, Event, ObjectKey, Problem};
use crate::snapshot::{Inputs, Item};

/// How soon a change should reach the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Only where services run changed: cheap to push, and requests fail until it is.
    Endpoints,
    /// Configuration changed: often in many objects at once, and expensive to push.
    Config,
}

/// The effect of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The most thorough of what its objects need.
    pub urgency: Urgency,
    /// The objects, for logs and metrics.
    pub objects: BTreeSet<ObjectKey>,
}

/// What is wrong, by source and place.
#[derive(Debug, Default)]
struct Problems {
    places: RwLock<BTreeMap<(&'static str, String), Vec<Problem>>>,
    changed: Notify,
}

/// What holds whatever the mesh-wide settings say, and what where they say nothing (or what is the
/// default anyway).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The trust domain, in any case: that in which certificates are signed.
    pub trust_domain: TrustDomain,
    /// The namespace whose policies apply to the whole mesh: that of the control plane.
    pub root_namespace: String,
}

impl Default for Defaults {
    /// Istio's.
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::default(),
            root_namespace: MeshConfig::default().root_namespace,
        }
    }
}

/// The writer: owned by the one task that applies batches.
#[derive(Debug)]
pub struct Store {
    objects: BTreeMap<ObjectKey, Item>,
    defaults: Defaults,
    problems: Arc<Problems>,
}

/// A reader of the problems; cheap to clone.
#[derive(Clone, Debug)]
pub struct ProblemReader(Arc<Problems>);

impl ProblemReader {
    /// What is wrong now, by source and place.
    pub fn list(&self) -> Vec<Problem> {
        self.0.places.read().values().flatten().cloned().collect()
    }

    /// Completes when something was reported since the last call. For one reader.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

impl Store {
    /// An empty store.
    pub fn new(defaults: Defaults) -> Self {
        Self {
            objects: BTreeMap::new(),
            defaults,
            problems: Arc::default(),
        }
    }

    /// A reader of this store's problems.
    pub fn problems(&self) -> ProblemReader {
        ProblemReader(Arc::clone(&self.problems))
    }

    /// Applies a batch of the source of this name. `None`: nothing that matters changed.
    pub fn apply(&mut self, source: &'static str, batch: Batch) -> Option<Changed> {
        self.note_problems(source, batch.problems);
        let mut objects = BTreeSet::new();
        for event in batch.events {
            match event {
                Event::Set(key, item) => {
                    let same = self
                        .objects
                        .get(&key)
                        .is_some_and(|before| same_meaning(before, &item));
                    if !same {
                        self.objects.insert(key.clone(), item);
                        objects.insert(key);
                    }
                }
                Event::Delete(key) => {
                    if self.objects.remove(&key).is_some() {
                        objects.insert(key);
                    }
                }
            }
        }
        let urgency = objects.iter().map(|key| urgency(key.kind)).max()?;
        Some(Changed { urgency, objects })
    }

    /// What a snapshot is built from, in the order of kind, namespace and name.
    pub fn inputs(&self) -> Inputs {
        let mut inputs: Inputs = self.objects.values().cloned().collect();
        let mut mesh = inputs
            .mesh
            .take()
            .map_or_else(Default::default, Arc::unwrap_or_clone);
        let theirs = Defaults::default();
        let ours = self.defaults.trust_domain.as_str();
        if mesh.trust_domain != ours {
            let asked = std::mem::replace(&mut mesh.trust_domain, ours.to_owned());
            let mut keys = self.objects.keys();
            let settings = keys.find(|key| key.kind == "MeshConfig");
            if let Some(settings) = settings
                && asked != theirs.trust_domain.as_str()
            {
                inputs.ignored_trust_domain = Some((settings.clone(), asked));
            }
        }
        if mesh.root_namespace == theirs.root_namespace {
            mesh.root_namespace
                .clone_from(&self.defaults.root_namespace);
        }
        inputs.mesh = Some(Arc::new(mesh));
        inputs
    }

    /// Number of objects of each kind, in alphabetical order.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for key in self.objects.keys() {
            *counts.entry(key.kind).or_default() += 1;
        }
        counts
    }

    fn note_problems(&self, source: &'static str, places: Vec<(String, Vec<Problem>)>) {
        let mut all = self.problems.places.write();
        for (place, problems) in places {
            let key = (source, place);
            let known = all.get(&key).map(Vec::as_slice).unwrap_or_default();
            for problem in problems.iter().filter(|problem| !known.contains(problem)) {
                tracing::warn!(
                    file = problem.file,
                    object = problem.object,
                    field = problem.field,
                    remedy = problem.remedy,
                    "configuration refused: {}",
                    problem.problem
                );
            }
            if problems.is_empty() {
                all.remove(&key);
            } else {
                all.insert(key, problems);
            }
            self.problems.changed.notify_one();
        }
    }
}

fn urgency(kind: &str) -> Urgency {
    match kind {
        "EndpointSlice" | "Pod" | "Node" => Urgency::Endpoints,
        _ => Urgency::Config,
    }
}

/// Whether two versions of an object differ in nothing that anything reads.
fn same_meaning(a: &Item, b: &Item) -> bool {
    match (a, b) {
        (Item::Mesh(a), Item::Mesh(b)) => a == b,
        (Item::Namespace(a), Item::Namespace(b)) => a.metadata == b.metadata,
        (Item::Service(a), Item::Service(b)) => a == b,
        (Item::EndpointSlice(a), Item::EndpointSlice(b)) => a == b,
        (Item::Pod(a), Item::Pod(b)) => a == b,
        (Item::Node(a), Item::Node(b)) => a == b,
        (Item::Secret(a), Item::Secret(b)) => a == b,
        (Item::VirtualService(a), Item::VirtualService(b)) => same_object(a, b),
        (Item::DestinationRule(a), Item::DestinationRule(b)) => same_object(a, b),
        (Item::Sidecar(a), Item::Sidecar(b)) => same_object(a, b),
        (Item::PeerAuthentication(a), Item::PeerAuthentication(b)) => same_object(a, b),
        // Labels and annotations of these say something.
        (Item::Gateway(a), Item::Gateway(b)) => same_labelled(a, b),
        (Item::ServiceEntry(a), Item::ServiceEntry(b)) => same_labelled(a, b),
        (Item::WorkloadEntry(a), Item::WorkloadEntry(b)) => same_labelled(a, b),
        (Item::AuthorizationPolicy(a), Item::AuthorizationPolicy(b)) => same_labelled(a, b),
        _ => false,
    }
}

/// The age decides which of two contradicting objects wins, so it matters.
fn same_object<S: PartialEq>(a: &Object<S>, b: &Object<S>) -> bool {
    a.spec == b.spec && a.meta.precedence() == b.meta.precedence()
}

fn same_labelled<S: PartialEq>(a: &Object<S>, b: &Object<S>) -> bool {
    same_object(a, b) && a.meta.labels == b.meta.labels && a.meta.annotations == b.meta.annotations
}

#[cfg(test)]
mod tests;
