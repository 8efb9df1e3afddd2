//! Manifests and objects of an API server in, store items out.

mod kubernetes;

use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_config::decode::{DecodeError, Decoded, OtherObject, documents, mesh_config, object};
use mesh_config::{Kind, Source};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::kubernetes::Kept;
use super::Problem;
use crate::snapshot::Item;

/// The key of the mesh-wide settings in their ConfigMap: Istio's.
const MESH_CONFIG_KEY: &str = "mesh";

/// Which ConfigMap holds the mesh-wide settings, under the key `mesh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfigMap {
    /// Namespace: that of the control plane.
    pub namespace: String,
    /// Name: `istio`, or `istio-REVISION`.
    pub name: String,
}

impl Default for MeshConfigMap {
    /// Istio's: `istio-system/istio`.
    fn default() -> Self {
        Self {
            namespace: "istio-system".to_owned(),
            name: "istio".to_owned(),
        }
    }
}

/// What identifies an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Kind, as in the manifest; `MeshConfig` for the mesh-wide settings.
    pub kind: &'static str,
    /// Namespace; empty for kinds that have none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key of its parts.
    pub fn new(kind: &'static str, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What a text holds.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects that pilot reads, in the order of the text.
    pub items: Vec<(ObjectKey, Item)>,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
    /// The text stops being YAML somewhere: what it held behind that point is unknown.
    pub broken: bool,
}

/// Decodes every document of a YAML text. Kinds that pilot doesn't read are left out.
///
/// `file`: where the text is from, for [`Problem::file`].
pub fn decode_all(text: &str, file: &str, settings: &MeshConfigMap) -> Manifests {
    let mut manifests = Manifests::default();
    for document in documents(text, file) {
        let nameless = matches!(&document, Err(error) if error.object.is_none());
        match document.map_or_else(
            |error| Err(problems_of(error)),
            |decoded| item_of(decoded, file, settings),
        ) {
            Ok(found) => manifests.items.extend(found),
            Err(problems) => {
                manifests.broken |= nameless;
                manifests.problems.extend(problems);
            }
        }
    }
    manifests
}

/// Decodes one object as an API server gives it; `None` if pilot doesn't read its kind, or not this
/// one of it.
///
/// `place`: where it is from, for [`Problem::file`].
///
/// # Errors
/// Everything that is wrong with it.
pub fn decode_value(
    value: Value,
    place: &str,
    settings: &MeshConfigMap,
) -> Result<Option<(ObjectKey, Item)>, Vec<Problem>> {
    let source = Source {
        file: place.to_owned(),
        ..Source::default()
    };
    let text = |value: Option<&Value>| Some(value?.as_str()?.to_owned());
    let api_version = text(value.get("apiVersion")).unwrap_or_default();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let kind = text(value.get("kind")).unwrap_or_default();
    let meta = value.get("metadata");
    match meta.and_then(|meta| text(meta.get("name"))) {
        Some(name) if Kind::find(group, &kind).is_none() => {
            let namespace = meta.and_then(|meta| text(meta.get("namespace")));
            let (group, version) = (group.to_owned(), version.to_owned());
            let other = OtherObject {
                group,
                version,
                kind,
                name,
                namespace,
                value,
            };
            item_of(Decoded::Other(other), place, settings)
        }
        _ => {
            let decoded = object(&value, &source).map_err(problems_of)?;
            item_of(decoded, place, settings)
        }
    }
}

fn problems_of(error: DecodeError) -> Vec<Problem> {
    let file = error.source.to_string();
    let object = error.object.unwrap_or_default();
    let problem = |field: mesh_config::FieldError| Problem {
        file: file.clone(),
        object: object.clone(),
        field: field.path,
        problem: field.problem,
        remedy: field.remedy,
    };
    error.errors.into_iter().map(problem).collect()
}

/// The item of an object, or nothing if pilot doesn't read it.
fn item_of(
    decoded: Decoded,
    file: &str,
    settings: &MeshConfigMap,
) -> Result<Option<(ObjectKey, Item)>, Vec<Problem>> {
    let object = match decoded {
        Decoded::Mesh(resource) => {
            let meta = resource.meta();
            let kind = resource.kind().as_str();
            let key = ObjectKey::new(kind, meta.namespace.as_str(), meta.name.as_str());
            return Ok(Some((key, resource.into())));
        }
        Decoded::Other(object) => object,
    };
    match (object.group.as_str(), object.kind.as_str()) {
        ("", "Namespace") => kubernetes::<Namespace>(object, file),
        ("", "Service") => kubernetes::<Service>(object, file),
        ("", "Pod") => kubernetes::<Pod>(object, file),
        ("", "Node") => kubernetes::<Node>(object, file),
        ("", "Secret") => kubernetes::<Secret>(object, file),
        ("discovery.k8s.io", "EndpointSlice") => kubernetes::<EndpointSlice>(object, file),
        ("", "ConfigMap") => mesh_settings(object, file, settings),
        (group, kind) => {
            tracing::debug!(group, kind, name = object.name, "kind is not read by pilot");
            Ok(None)
        }
    }
}

fn kubernetes<T: Kept>(
    object: OtherObject,
    file: &str,
) -> Result<Option<(ObjectKey, Item)>, Vec<Problem>> {
    let namespace = T::NAMESPACED.then(|| {
        let named = object.namespace.clone();
        named.unwrap_or_else(|| "default".to_owned())
    });
    let key = ObjectKey::new(
        T::KIND,
        namespace.as_deref().unwrap_or_default(),
        object.name.as_str(),
    );
    let mut typed: T = typed(object, &key, file)?;
    let meta = typed.metadata_mut();
    meta.name = Some(key.name.clone());
    meta.namespace = namespace;
    kubernetes::strip(meta);
    Ok(typed.keep().map(|item| (key, item)))
}

fn mesh_settings(
    object: OtherObject,
    file: &str,
    MeshConfigMap { namespace, name }: &MeshConfigMap,
) -> Result<Option<(ObjectKey, Item)>, Vec<Problem>> {
    if object.name != *name || object.namespace.as_deref() != Some(namespace) {
        return Ok(None);
    }
    let key = ObjectKey::new("MeshConfig", namespace, name);
    let map: ConfigMap = typed(object, &key, file)?;
    let Some(text) = map.data.as_ref().and_then(|data| data.get(MESH_CONFIG_KEY)) else {
        return Err(vec![Problem {
            file: file.to_owned(),
            object: key.to_string(),
            field: format!("data.{MESH_CONFIG_KEY}"),
            problem: "is missing".to_owned(),
            remedy: format!("put the mesh-wide settings under the key {MESH_CONFIG_KEY}"),
        }]);
    };
    let mesh = mesh_config(text, file).map_err(|error| {
        let mut problems = problems_of(error);
        for problem in &mut problems {
            // Of the ConfigMap as the user wrote it, and of the key that keeps the last good one.
            problem.object = key.to_string();
            problem.field = format!("data.{MESH_CONFIG_KEY}.{}", problem.field);
        }
        problems
    })?;
    Ok(Some((key, Item::Mesh(std::sync::Arc::new(mesh)))))
}

fn typed<T: DeserializeOwned>(
    object: OtherObject,
    key: &ObjectKey,
    file: &str,
) -> Result<T, Vec<Problem>> {
    serde_path_to_error::deserialize(object.value).map_err(|error| {
        vec![Problem {
            file: file.to_owned(),
            object: key.to_string(),
            field: error.path().to_string(),
            problem: error.inner().to_string(),
            remedy: "correct the field as the Kubernetes API defines it".to_owned(),
        }]
    })
}
