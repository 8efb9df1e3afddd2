//! What is written into an object's status, in the form of Istio's `IstioStatus`.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Istio's condition: the object, in its present form, is in force.
pub(super) const RECONCILED: &str = "Reconciled";

/// Longest message: some objects are wrong in very many places.
const MESSAGE_BYTES: usize = 4096;

/// What is to be said of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Verdict {
    /// Whether its present form is in force.
    pub(super) in_force: bool,
    /// A word for machines.
    pub(super) reason: &'static str,
    /// Everything that is wrong with it, for people.
    pub(super) message: String,
}

impl Verdict {
    /// `refused`: what keeps the object from being in force. `problems`: what is wrong with it
    /// otherwise, and ignored.
    pub(super) fn new(refused: &[String], problems: &[String]) -> Self {
        let message = |texts: &[String]| {
            let mut text = texts.join("; ");
            if text.len() > MESSAGE_BYTES {
                text.truncate(text.floor_char_boundary(MESSAGE_BYTES));
                text.push_str(" ...");
            }
            text
        };
        if !refused.is_empty() {
            Self {
                in_force: false,
                reason: "Invalid",
                message: message(refused),
            }
        } else if !problems.is_empty() {
            Self {
                in_force: true,
                reason: "PartlyIgnored",
                message: message(problems),
            }
        } else {
            Self {
                in_force: true,
                reason: "InForce",
                message: String::new(),
            }
        }
    }

    fn status(&self) -> &'static str {
        if self.in_force { "True" } else { "False" }
    }

    /// Equal for equal statuses, whenever they were written.
    pub(super) fn digest(&self, generation: Option<i64>) -> u64 {
        digest(self.status(), self.reason, &self.message, generation)
    }

    /// The merge patch that brings a status up to date. `current`: the object as the server has it
    /// now; its version guards the conditions that others write.
    pub(super) fn patch(&self, current: &Value, now: Timestamp) -> Value {
        let generation = current.pointer("/metadata/generation");
        let conditions = current
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let mut conditions = conditions.cloned().unwrap_or_default();
        let ours = conditions.iter().position(is_ours);
        let since = ours
            .and_then(|index| conditions.get(index))
            .filter(|old| old["status"] == self.status())
            .and_then(|old| old["lastTransitionTime"].as_str())
            .map_or_else(
                || now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                str::to_owned,
            );
        let mut condition = Map::new();
        condition.insert("type".to_owned(), RECONCILED.into());
        condition.insert("status".to_owned(), self.status().into());
        condition.insert("reason".to_owned(), self.reason.into());
        condition.insert("message".to_owned(), self.message.as_str().into());
        condition.insert("lastTransitionTime".to_owned(), since.into());
        if let Some(generation) = generation {
            condition.insert("observedGeneration".to_owned(), generation.clone());
        }
        match ours {
            Some(index) => conditions[index] = condition.into(),
            None => conditions.push(condition.into()),
        }
        json!({
            "metadata": {"resourceVersion": current.pointer("/metadata/resourceVersion")},
            "status": {"conditions": conditions},
        })
    }
}

/// The digest of our condition in a status, if it is there.
pub(super) fn digest_of(status: &Value) -> Option<u64> {
    let ours = status
        .get("conditions")?
        .as_array()?
        .iter()
        .find(|condition| is_ours(condition))?;
    let text = |field: &str| ours.get(field).and_then(Value::as_str).unwrap_or_default();
    Some(digest(
        text("status"),
        text("reason"),
        text("message"),
        ours.get("observedGeneration").and_then(Value::as_i64),
    ))
}

fn is_ours(condition: &Value) -> bool {
    condition["type"] == RECONCILED
}

fn digest(status: &str, reason: &str, message: &str, generation: Option<i64>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (status, reason, message, generation).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
