//! Kubernetes objects: the kinds the platform knows, manifests as read from files, what the
//! platform itself assigns, and the directory the control plane reads.

pub(crate) mod assigned;
pub(crate) mod decode;
pub(crate) mod directory;
pub(crate) mod kind;
pub(crate) mod names;
mod validate;
mod without_effect;

use std::fmt;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use serde_json::Value;

pub(crate) use kind::Kind;

/// The identity of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The kind.
    pub(crate) kind: Kind,
    /// Empty for a kind without namespaces.
    pub(crate) namespace: String,
    /// The name.
    pub(crate) name: String,
}

impl Key {
    /// A key; the namespace of a kind without namespaces is dropped.
    pub(crate) fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.info().namespaced {
            namespace
        } else {
            ""
        };
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.info().kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// An object as its author wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Manifest {
    /// What it is.
    pub(crate) key: Key,
    /// The whole object; `metadata.namespace` is filled in.
    pub(crate) value: Value,
    /// The same, typed, where the platform acts on it.
    pub(crate) body: Body,
    /// File (or `built in`) it comes from.
    pub(crate) source: String,
    /// What its author should know although it is taken: fields without effect, and warnings.
    pub(crate) notes: Vec<String>,
}

/// The typed half of a [`Manifest`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// Run as pods.
    Deployment(Box<Deployment>),
    /// Run as it is.
    Pod(Box<Pod>),
    /// Given an address and endpoints.
    Service(Box<Service>),
    /// Mounted, or read as environment.
    ConfigMap(Box<ConfigMap>),
    /// Mounted, or read as environment.
    Secret(Box<Secret>),
    /// Kept and shown to the control plane.
    Passive,
}
