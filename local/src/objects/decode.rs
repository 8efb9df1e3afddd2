//! Text to manifests: one bad document is an error about that document only.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use mesh_config::decode::Source;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kind::Role;
use super::validate::validate;
use super::{Body, Key, Kind, Manifest, names, without_effect};

/// What one text holds.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// Objects that can be used.
    pub(crate) manifests: Vec<Manifest>,
    /// Objects refused: file, object, field path and remedy, one text each.
    pub(crate) errors: Vec<String>,
    /// Objects of kinds the platform doesn't run.
    pub(crate) warnings: Vec<String>,
}

/// Reads all documents of a YAML text. `namespace`: of objects that name none.
pub(crate) fn decode(text: &str, file: &str, namespace: &str) -> Decoded {
    let mut decoded = Decoded::default();
    for (index, (line, document)) in split(text).into_iter().enumerate() {
        let place = Place {
            source: Source {
                file: file.to_owned(),
                document: index,
                line,
            },
            namespace,
        };
        match serde_yaml::from_str::<Value>(&document) {
            Ok(Value::Null) => {}
            Ok(value) => place.take(value, &mut decoded),
            Err(error) => decoded
                .errors
                .push(format!("{}: not YAML: {error}", place.source)),
        }
    }
    decoded
}

/// Documents with their first lines. Only a line that starts with `---` separates, so a broken
/// document doesn't take its neighbours with it.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        let marker = line.strip_prefix("---");
        if let Some(rest) = marker.filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])) {
            let rest = rest.trim_start();
            // Lines count from one, and the document usually begins below its marker.
            documents.push(match rest.is_empty() || rest.starts_with('#') {
                true => (index + 2, String::new()),
                false => (index + 1, format!("{rest}\n")),
            });
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents.retain(|(_, document)| !document.trim().is_empty());
    documents
}

struct Place<'a> {
    source: Source,
    namespace: &'a str,
}

impl Place<'_> {
    fn take(&self, value: Value, decoded: &mut Decoded) {
        let kind = value["kind"].as_str().unwrap_or_default();
        if kind.ends_with("List") && value["items"].is_array() {
            for item in value["items"].as_array().into_iter().flatten() {
                self.take(item.clone(), decoded);
            }
            return;
        }
        match self.manifest(value) {
            Ok(Some(manifest)) => decoded.manifests.push(manifest),
            Ok(None) => {}
            Err(Refusal::Error(error)) => decoded.errors.push(error),
            Err(Refusal::Warning(warning)) => decoded.warnings.push(warning),
        }
    }

    fn manifest(&self, mut value: Value) -> Result<Option<Manifest>, Refusal> {
        let source = &self.source;
        let (kind, name) = self.identity(&value)?;
        let namespace = match value["metadata"]["namespace"].as_str() {
            Some(namespace) => namespace.to_owned(),
            None => self.namespace.to_owned(),
        };
        if kind.info().namespaced {
            value["metadata"]["namespace"] = Value::String(namespace.clone());
        }
        let key = Key::new(kind, &namespace, &name);
        for name in [
            Some(&key.name),
            Some(&key.namespace).filter(|namespace| !namespace.is_empty()),
        ]
        .into_iter()
        .flatten()
        {
            if !names::is_valid(name) {
                return Err(Refusal::Error(format!(
                    "{source}: {key}: metadata: {name:?} is not a valid name; use lower-case letters, digits and '-'"
                )));
            }
        }
        let mut notes = Vec::new();
        let body = if kind.info().role == Role::Mesh {
            match mesh_config::decode::object(&value, source) {
                Ok(resource) => notes.extend(warnings(&resource)),
                Err(error) => return Err(Refusal::Error(error.to_string())),
            }
            Body::Passive
        } else {
            let idle = without_effect::fields(kind.info().kind, &value);
            if !idle.is_empty() {
                notes.push(format!("without effect here: {}", idle.join(", ")));
            }
            body(kind, &value)
                .and_then(|body| validate(&body).map(|()| body))
                .map_err(|problem| Refusal::Error(format!("{source}: {key}: {problem}")))?
        };
        Ok(Some(Manifest {
            key,
            value,
            body,
            source: source.file.clone(),
            notes,
        }))
    }

    fn identity(&self, value: &Value) -> Result<(Kind, String), Refusal> {
        let source = &self.source;
        let field = |value: &Value, path: &str| {
            value
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                .ok_or_else(|| {
                    Refusal::Error(format!(
                        "{source}: {path}: missing or not a text; every object needs one"
                    ))
                })
        };
        let api_version = field(&value["apiVersion"], "apiVersion")?;
        let kind_name = field(&value["kind"], "kind")?;
        let name = field(&value["metadata"]["name"], "metadata.name")?;
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let Some(kind) = Kind::of(group, &kind_name) else {
            return Err(Refusal::Warning(format!(
                "{source}: {kind_name} {name} ({api_version}) is left out: the local platform does not run this kind"
            )));
        };
        if kind.info().role == Role::Computed {
            return Err(Refusal::Warning(format!(
                "{source}: {kind_name} {name} is left out: the platform makes these itself"
            )));
        }
        Ok((kind, name))
    }
}

/// What the control plane would warn of.
fn warnings(decoded: &mesh_config::decode::Decoded) -> Vec<String> {
    let mesh_config::decode::Decoded::Mesh(resource) = decoded else {
        return Vec::new();
    };
    // Errors were found when it was decoded.
    let found = mesh_config::validate::validate(resource).unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

enum Refusal {
    Error(String),
    Warning(String),
}

fn body(kind: Kind, value: &Value) -> Result<Body, String> {
    Ok(match kind.info().kind {
        "Deployment" => Body::Deployment(typed(value)?),
        "Pod" => Body::Pod(typed(value)?),
        "Service" => Body::Service(typed(value)?),
        "ConfigMap" => Body::ConfigMap(typed(value)?),
        "Secret" => Body::Secret(typed(value)?),
        "Namespace" => typed::<Namespace>(value).map(|_| Body::Passive)?,
        _ => typed::<ServiceAccount>(value).map(|_| Body::Passive)?,
    })
}

/// Decodes strictly: a field the type doesn't have is refused by its path, as kubectl does.
fn typed<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Box<T>, String> {
    // Through YAML, because its errors name the path of the field.
    let text = serde_yaml::to_string(value).map_err(|error| error.to_string())?;
    let typed: T = serde_yaml::from_str(&text).map_err(|error| without_position(&error))?;
    let back = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    match lost(value, &back, "") {
        Some(path) => Err(format!(
            "{path}: unknown field; correct its name or remove it"
        )),
        None => Ok(Box::new(typed)),
    }
}

/// The positions are of a text the user has never seen.
fn without_position(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    text.split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// The path of the first field that is in `written` but not in `read`.
fn lost(written: &Value, read: &Value, path: &str) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written
            .iter()
            .filter(|(_, value)| !value.is_null())
            .find_map(|(key, value)| {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match read.get(key) {
                    Some(read) => lost(value, read, &path),
                    None => Some(path),
                }
            }),
        (Value::Array(written), Value::Array(read)) => written
            .iter()
            .zip(read)
            .enumerate()
            .find_map(|(index, (written, read))| lost(written, read, &format!("{path}[{index}]"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
