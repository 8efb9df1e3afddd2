//! Labels changed by hand: `meshctl local label`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Controller;
use crate::api::wire::{Label, Outcome};
use crate::objects::assigned::Relabel;
use crate::objects::{Body, Key, Kind, Manifest, names};

impl Controller {
    /// Puts labels changed by hand into the manifests; what the manifests of those objects said.
    /// A change that its manifest has gone past is forgotten.
    pub(super) fn relabel(&mut self, world: &mut BTreeMap<Key, Manifest>) -> BTreeMap<Key, Value> {
        let mut written = BTreeMap::new();
        let by_name: BTreeMap<String, Key> = world
            .keys()
            .map(|key| (key.to_string(), key.clone()))
            .collect();
        for (name, record) in self.assigned.relabelled() {
            let Some(manifest) = by_name.get(name).and_then(|key| world.get_mut(key)) else {
                continue;
            };
            written.insert(manifest.key.clone(), manifest.value.clone());
            overlay(&mut record.labels, &mut manifest.value);
        }
        written
    }

    /// Changes labels of an object, as `kubectl label` does.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub(super) fn label(&mut self, wanted: &Label) -> Result<Outcome, String> {
        let kind = Kind::named(&wanted.kind).ok_or_else(|| Self::unknown_kind(&wanted.kind))?;
        let key = Key::new(kind, &wanted.namespace, &wanted.name);
        let manifest = self.labelled(&key)?;
        let present = manifest.value.clone();
        for (name, value) in &wanted.changes {
            check(name, value.as_deref(), &present, wanted.overwrite)?;
        }
        let action = action(&present, &wanted.changes);
        let found = self.loaded.manifests.get(&key);
        let written: BTreeMap<&String, Option<String>> = wanted
            .changes
            .keys()
            .map(|name| (name, found.and_then(|found| label(&found.value, name))))
            .collect();
        let Some(record) = self.assigned.get_mut(&key) else {
            return Err(format!("{key} does not exist"));
        };
        for (name, value) in &wanted.changes {
            let change = Relabel {
                value: value.clone(),
                written: written[name].clone(),
            };
            record.labels.insert(name.clone(), change);
        }
        Ok(Outcome {
            object: format!("{}/{}", kind.info().kind.to_ascii_lowercase(), key.name),
            namespace: key.namespace,
            action: action.to_owned(),
            message: None,
        })
    }

    fn labelled(&self, key: &Key) -> Result<&Manifest, String> {
        match self.world.get(key) {
            Some(manifest) if !matches!(manifest.body, Body::Pod(_)) => Ok(manifest),
            None if key.kind != Kind::POD => Err(format!("{key} does not exist")),
            _ => Err(format!(
                "{key}: a pod keeps the labels it was started with; change them in its manifest, or in spec.template.metadata.labels of its Deployment"
            )),
        }
    }
}

/// Puts changes into an object as its manifest has it, and forgets those that it has gone past.
fn overlay(changes: &mut BTreeMap<String, Relabel>, object: &mut Value) {
    changes.retain(|key, change| label(object, key) == change.written);
    for (key, change) in changes {
        set(object, key, change.value.as_deref());
    }
}

fn label(object: &Value, key: &str) -> Option<String> {
    object["metadata"]["labels"][key]
        .as_str()
        .map(str::to_owned)
}

fn set(object: &mut Value, key: &str, value: Option<&str>) {
    let labels = &mut object["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    match (labels.as_object_mut(), value) {
        (Some(labels), Some(value)) => drop(labels.insert(key.to_owned(), value.into())),
        (Some(labels), None) => drop(labels.remove(key)),
        (None, _) => {}
    }
}

fn check(key: &str, value: Option<&str>, object: &Value, overwrite: bool) -> Result<(), String> {
    if !names::is_label_key(key) {
        return Err(format!(
            "{key:?} is not a valid label; use at most 63 letters, digits, '-', '_' and '.', after DOMAIN/ if you like"
        ));
    }
    let Some(value) = value else { return Ok(()) };
    if !names::is_label_value(value) {
        return Err(format!(
            "{key}: {value:?} is not a valid value; use at most 63 letters, digits, '-', '_' and '.'"
        ));
    }
    match label(object, key) {
        Some(present) if present != value && !overwrite => Err(format!(
            "{key} already has the value {present:?}; add --overwrite to change it"
        )),
        _ => Ok(()),
    }
}

/// What `kubectl` would print.
fn action(object: &Value, changes: &BTreeMap<String, Option<String>>) -> &'static str {
    let mut changed = changes
        .iter()
        .filter(|(key, value)| label(object, key) != **value)
        .peekable();
    if changed.peek().is_none() {
        return "not labeled";
    }
    match changed.all(|(_, value)| value.is_none()) {
        true => "unlabeled",
        false => "labeled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_named_as_kubectl_names_them() {
        let object = json!({"metadata": {"labels": {"a": "1"}}});
        let changes = |pairs: &[(&str, Option<&str>)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
                .collect()
        };
        let said = |pairs| action(&object, &changes(pairs));
        assert_eq!(said(&[("b", Some("2"))]), "labeled");
        assert_eq!(said(&[("a", None)]), "unlabeled");
        assert_eq!(said(&[("a", Some("1")), ("c", None)]), "not labeled");
    }

    #[test]
    fn another_value_needs_permission() {
        let object = json!({"metadata": {"labels": {"a": "1"}}});
        assert_eq!(check("a", Some("1"), &object, false), Ok(()));
        assert_eq!(check("a", Some("2"), &object, true), Ok(()));
        let error = check("a", Some("2"), &object, false).unwrap_err();
        assert!(error.contains("--overwrite"), "{error}");
        assert!(check("a b", None, &object, false).is_err());
        assert!(check("a", Some("x y"), &object, true).is_err());
    }

    #[test]
    fn labels_come_and_go() {
        let mut object = json!({"metadata": {"name": "a"}});
        set(&mut object, "x", Some("y"));
        assert_eq!(label(&object, "x").as_deref(), Some("y"));
        set(&mut object, "x", None);
        assert_eq!(label(&object, "x"), None);
    }

    #[test]
    fn a_change_holds_until_the_manifest_says_something_else() {
        let change = |value: Option<&str>, written: Option<&str>| Relabel {
            value: value.map(str::to_owned),
            written: written.map(str::to_owned),
        };
        let mut changes = BTreeMap::from([
            ("added".to_owned(), change(Some("1"), None)),
            ("removed".to_owned(), change(None, Some("old"))),
        ]);
        let mut object = json!({"metadata": {"labels": {"removed": "old"}}});
        overlay(&mut changes, &mut object);
        assert_eq!(object["metadata"]["labels"], json!({"added": "1"}));
        let mut object = json!({"metadata": {"labels": {"removed": "new", "added": "2"}}});
        overlay(&mut changes, &mut object);
        assert_eq!(
            object["metadata"]["labels"],
            json!({"removed": "new", "added": "2"})
        );
        assert!(changes.is_empty());
    }
}
