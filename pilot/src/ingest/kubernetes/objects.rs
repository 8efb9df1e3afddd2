//! What is known of one collection: which objects exist, and which of them are in trouble.
//!
//! Their contents are not kept: the store has them. Names are, to find out after an outage which
//! objects are gone.

use std::collections::BTreeSet;

use mesh_config::Kind;
use serde_json::Value;

use super::Settings;
use super::cursor::Told;
use crate::ingest::{Batch, Event, ObjectKey, Problem, decode_value};
use crate::status::{Existing, Observed};

/// The label by which an object is for the control plane of one revision only.
const REVISION_LABEL: &str = "istio.io/rev";

/// What happened to an object, as metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Add,
    Update,
    Delete,
}

/// The objects of one collection.
#[derive(Debug)]
pub(super) struct Objects {
    kind: &'static str,
    /// Of the mesh's API: these have revisions and a status.
    of_mesh: bool,
    settings: Settings,
    observed: Observed,
    /// Those that the store has.
    known: BTreeSet<ObjectKey>,
    /// Those of which problems were reported.
    troubled: BTreeSet<ObjectKey>,
    /// Those that the list under way has held so far.
    listed: Option<BTreeSet<ObjectKey>>,
}

/// What followed from what the server told.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// For the store.
    pub(super) batch: Batch,
    /// For metrics.
    pub(super) happened: Vec<Happened>,
    /// A list was completed.
    pub(super) listed: bool,
}

impl Objects {
    /// None are known yet. `kind`: of their keys.
    pub(super) fn new(kind: &'static str, settings: Settings, observed: Observed) -> Self {
        Self {
            kind,
            of_mesh: Kind::ALL.iter().any(|known| known.as_str() == kind),
            settings,
            observed,
            known: BTreeSet::new(),
            troubled: BTreeSet::new(),
            listed: None,
        }
    }

    /// Takes in what the server told.
    pub(super) fn apply(&mut self, told: Vec<Told>) -> Outcome {
        let mut outcome = Outcome::default();
        for told in told {
            match told {
                Told::Listing => self.listed = Some(BTreeSet::new()),
                Told::Set(object) => {
                    let key = self.key(&object);
                    if let Some(listed) = &mut self.listed {
                        listed.insert(key.clone());
                    }
                    self.set(key, object, &mut outcome);
                }
                Told::Gone(object) => {
                    let key = self.key(&object);
                    self.remove(&key, &mut outcome);
                }
                Told::Listed => {
                    let listed = self.listed.take().unwrap_or_default();
                    self.retain(&listed, &mut outcome);
                    outcome.listed = true;
                }
            }
        }
        outcome
    }

    /// All are gone: their kind is.
    pub(super) fn clear(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        self.listed = None;
        self.retain(&BTreeSet::new(), &mut outcome);
        outcome
    }

    fn retain(&mut self, listed: &BTreeSet<ObjectKey>, outcome: &mut Outcome) {
        let all: BTreeSet<&ObjectKey> = self.known.union(&self.troubled).collect();
        let gone = all.into_iter().filter(|key| !listed.contains(*key));
        let gone: Vec<ObjectKey> = gone.cloned().collect();
        for key in gone {
            self.remove(&key, outcome);
        }
    }

    fn key(&self, object: &Value) -> ObjectKey {
        let text = |path| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        ObjectKey::new(
            self.kind,
            text("/metadata/namespace"),
            text("/metadata/name"),
        )
    }

    fn set(&mut self, key: ObjectKey, object: Value, outcome: &mut Outcome) {
        if self.of_mesh && !in_revision(&object, &self.settings.revision) {
            return self.remove(&key, outcome);
        }
        let existing = Existing::read(&object);
        match decode_value(object, super::NAME, &self.settings.mesh_config) {
            Ok(Some((found, item))) => {
                debug_assert_eq!(found, key, "a collection holds objects of one kind");
                if self.of_mesh {
                    self.observed.note(&key, existing);
                } else {
                    self.observed.forget(&key);
                }
                self.clear_trouble(&key, outcome);
                outcome.happened.push(match self.known.insert(key.clone()) {
                    true => Happened::Add,
                    false => Happened::Update,
                });
                outcome.batch.events.push(Event::Set(key, item));
            }
            Ok(None) => self.remove(&key, outcome),
            Err(problems) => {
                self.observed.note(&key, existing);
                outcome.happened.push(Happened::Update);
                outcome.batch.problems.push((key.to_string(), problems));
                self.troubled.insert(key);
            }
        }
    }

    fn remove(&mut self, key: &ObjectKey, outcome: &mut Outcome) {
        self.observed.forget(key);
        self.clear_trouble(key, outcome);
        if self.known.remove(key) {
            outcome.happened.push(Happened::Delete);
            outcome.batch.events.push(Event::Delete(key.clone()));
        }
    }

    fn clear_trouble(&mut self, key: &ObjectKey, outcome: &mut Outcome) {
        if self.troubled.remove(key) {
            let nothing: Vec<Problem> = Vec::new();
            outcome.batch.problems.push((key.to_string(), nothing));
        }
    }
}

/// Whether an object is for this revision: it names none, or this one. As in Istio, a control plane
/// without a revision takes all.
fn in_revision(object: &Value, revision: &str) -> bool {
    let labels = object.pointer("/metadata/labels");
    let label = labels.and_then(|labels| labels.get(REVISION_LABEL));
    match label.and_then(Value::as_str) {
        Some(label) if !revision.is_empty() => label == revision,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
