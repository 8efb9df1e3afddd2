//! `apply` and `delete`: the platform's own directory of manifests.

use std::path::PathBuf;

use super::server::Api;
use super::wire::{Manifests, Outcome, Reply};
use crate::objects::{Key, Manifest, decode};
use crate::reconcile::Command;
use crate::state;

/// Keeps every good object of the text.
///
/// # Errors
/// If the platform is ending.
pub(super) async fn apply(api: &Api, given: Manifests) -> Result<Reply, String> {
    let (manifests, mut items) = decoded(&given);
    for manifest in manifests {
        items.push(apply_one(api, &manifest));
    }
    api.ask(Command::Reload).await?;
    Ok(Reply::Outcomes { items })
}

fn apply_one(api: &Api, manifest: &Manifest) -> Outcome {
    let path = file(api, &manifest.key);
    let text = serde_yaml::to_string(&manifest.value).unwrap_or_default();
    let before = std::fs::read_to_string(&path).ok();
    let action = match &before {
        Some(before) if *before == text => "unchanged",
        Some(_) => "configured",
        None => "created",
    };
    let notes = (!manifest.notes.is_empty()).then(|| manifest.notes.join("; "));
    match state::write_atomic(&path, text.as_bytes(), 0o600) {
        Ok(()) => outcome(&manifest.key, action, notes),
        Err(error) => outcome(&manifest.key, "refused", Some(crate::chain(&error))),
    }
}

/// Removes every object that the text names.
///
/// # Errors
/// If the platform is ending.
pub(super) async fn delete(api: &Api, given: Manifests) -> Result<Reply, String> {
    let (manifests, mut items) = decoded(&given);
    for manifest in manifests {
        let path = file(api, &manifest.key);
        let existed = path.exists();
        let removed = state::remove_file(&path);
        api.ask(Command::Reload).await?;
        let key = manifest.key.clone();
        let elsewhere = api.ask(|answer| Command::Source(key, answer)).await?;
        items.push(match (removed, elsewhere) {
            (Err(error), _) => outcome(&manifest.key, "refused", Some(crate::chain(&error))),
            (Ok(()), Some(source)) => {
                let action = if existed { "deleted" } else { "refused" };
                let note = format!("it still comes from {source}; remove it there");
                outcome(&manifest.key, action, Some(note))
            }
            (Ok(()), None) if existed => outcome(&manifest.key, "deleted", None),
            (Ok(()), None) => outcome(&manifest.key, "not found", None),
        });
    }
    Ok(Reply::Outcomes { items })
}

fn decoded(given: &Manifests) -> (Vec<Manifest>, Vec<Outcome>) {
    let namespace = given.namespace.as_deref().unwrap_or("default");
    let decoded = decode::decode(&given.text, &given.source, namespace);
    let refused = decoded
        .errors
        .into_iter()
        .chain(decoded.warnings)
        .map(|message| Outcome {
            object: given.source.clone(),
            namespace: String::new(),
            action: "refused".to_owned(),
            message: Some(message),
        });
    (decoded.manifests, refused.collect())
}

fn outcome(key: &Key, action: &str, message: Option<String>) -> Outcome {
    let kind = key.kind.info().kind.to_ascii_lowercase();
    Outcome {
        object: format!("{kind}/{}", key.name),
        namespace: key.namespace.clone(),
        action: action.to_owned(),
        message,
    }
}

/// The file of an object in `STATE/applied`. No name holds a separator, so none can leave it.
fn file(api: &Api, key: &Key) -> PathBuf {
    let kind = key.kind.info().kind.to_ascii_lowercase();
    let namespace = if key.namespace.is_empty() {
        "_"
    } else {
        &key.namespace
    };
    api.node
        .state
        .applied()
        .join(format!("{kind}.{namespace}.{}.yaml", key.name))
}
