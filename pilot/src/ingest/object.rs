//! Manifests in, store items out.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_config::decode::{DecodeError, Decoded, OtherObject, documents, mesh_config};
use serde::de::DeserializeOwned;

use super::Problem;
use crate::snapshot::Item;

/// Namespace and name of the ConfigMap that holds the mesh-wide settings, and its key: Istio's.
const MESH_CONFIG: (&str, &str, &str) = ("istio-system", "istio", "mesh");

/// The annotation in which kubectl keeps a copy of the manifest: it changes with every apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

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
pub fn decode_all(text: &str, file: &str) -> Manifests {
    let mut manifests = Manifests::default();
    for document in documents(text, file) {
        match document.map_err(|error| (error.object.is_none(), problems_of(error))) {
            Ok(Decoded::Mesh(resource)) => {
                let meta = resource.meta();
                let key = ObjectKey::new(
                    resource.kind().as_str(),
                    meta.namespace.as_str(),
                    meta.name.as_str(),
                );
                manifests.items.push((key, resource.into()));
            }
            Ok(Decoded::Other(object)) => match item_of(object, file) {
                Ok(found) => manifests.items.extend(found),
                Err(problems) => manifests.problems.extend(problems),
            },
            Err((nameless, problems)) => {
                manifests.broken |= nameless;
                manifests.problems.extend(problems);
            }
        }
    }
    manifests
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

/// The item of a Kubernetes object, or nothing if pilot doesn't read its kind.
fn item_of(object: OtherObject, file: &str) -> Result<Option<(ObjectKey, Item)>, Vec<Problem>> {
    match (object.group.as_str(), object.kind.as_str()) {
        ("", "Namespace") => kubernetes("Namespace", object, file, Scope::Cluster, Item::Namespace),
        ("", "Service") => kubernetes("Service", object, file, Scope::Namespace, Item::Service),
        ("", "Pod") => kubernetes("Pod", object, file, Scope::Namespace, Item::Pod),
        ("", "Secret") => kubernetes("Secret", object, file, Scope::Namespace, Item::Secret),
        ("discovery.k8s.io", "EndpointSlice") => kubernetes(
            "EndpointSlice",
            object,
            file,
            Scope::Namespace,
            Item::EndpointSlice,
        ),
        ("", "ConfigMap") => mesh_settings(object, file),
        (group, kind) => {
            tracing::debug!(group, kind, name = object.name, "kind is not read by pilot");
            Ok(None)
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    Cluster,
    Namespace,
}

fn kubernetes<T: DeserializeOwned + HasMeta>(
    kind: &'static str,
    object: OtherObject,
    file: &str,
    scope: Scope,
    wrap: fn(Arc<T>) -> Item,
) -> Result<Option<(ObjectKey, Item)>, Vec<Problem>> {
    let namespace = match scope {
        Scope::Cluster => String::new(),
        Scope::Namespace => object
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned()),
    };
    let key = ObjectKey::new(kind, namespace.as_str(), object.name.as_str());
    let mut typed: T = typed(object, &key, file)?;
    let meta = typed.meta();
    meta.name = Some(key.name.clone());
    meta.namespace = (scope == Scope::Namespace).then_some(namespace);
    // Bookkeeping of the API server, which says nothing about the object's meaning.
    meta.resource_version = None;
    meta.generation = None;
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
    Ok(Some((key, wrap(Arc::new(typed)))))
}

fn mesh_settings(
    object: OtherObject,
    file: &str,
) -> Result<Option<(ObjectKey, Item)>, Vec<Problem>> {
    let (namespace, name, data_key) = MESH_CONFIG;
    if object.name != name || object.namespace.as_deref() != Some(namespace) {
        return Ok(None);
    }
    let key = ObjectKey::new("MeshConfig", namespace, name);
    let map: ConfigMap = typed(object, &key, file)?;
    let Some(text) = map.data.as_ref().and_then(|data| data.get(data_key)) else {
        return Err(vec![Problem {
            file: file.to_owned(),
            object: format!("ConfigMap {namespace}/{name}"),
            field: format!("data.{data_key}"),
            problem: "is missing".to_owned(),
            remedy: format!("put the mesh-wide settings under the key {data_key}"),
        }]);
    };
    let mesh = mesh_config(text, file).map_err(|error| {
        let mut problems = problems_of(error);
        for problem in &mut problems {
            // Of the ConfigMap as the user wrote it, and of the key that keeps the last good one.
            problem.object = key.to_string();
            problem.field = format!("data.{data_key}.{}", problem.field);
        }
        problems
    })?;
    Ok(Some((key, Item::Mesh(Arc::new(mesh)))))
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

/// The metadata of a Kubernetes object.
trait HasMeta {
    fn meta(&mut self) -> &mut ObjectMeta;
}

macro_rules! has_meta {
    ($($kind:ty),*) => {
        $(impl HasMeta for $kind {
            fn meta(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        })*
    };
}
has_meta!(Namespace, Service, Pod, Secret, EndpointSlice);
