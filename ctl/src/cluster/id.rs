//! What an object is called.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use serde_json::Value;

/// An object's kind and name. Shown as `Deployment istio-system/istiod` or `ClusterRole istiod`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectId {
    /// `apps/v1`, or `v1` for the core group.
    pub(crate) api_version: String,
    pub(crate) kind: String,
    /// `None` for objects of the whole cluster.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl ObjectId {
    /// The name of `object`.
    ///
    /// # Errors
    /// If it lacks apiVersion, kind or metadata.name.
    pub(crate) fn of(object: &Value) -> anyhow::Result<Self> {
        let field = |name: &str, value: &Value| {
            let text = value.as_str().map(str::to_owned);
            text.with_context(|| format!("an object without {name}: {object}"))
        };
        Ok(Self {
            api_version: field("apiVersion", &object["apiVersion"])?,
            kind: field("kind", &object["kind"])?,
            namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
            name: field("metadata.name", &object["metadata"]["name"])?,
        })
    }

    /// The API group; empty for the core group.
    pub(crate) fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// Whether both name the same object, perhaps in different versions of its kind.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.group() == other.group()
            && self.kind == other.kind
            && self.namespace == other.namespace
            && self.name == other.name
    }

    /// One line that [`FromStr`] reads: `apps/v1 Deployment istio-system/istiod`.
    pub(crate) fn to_line(&self) -> String {
        format!("{} {self}", self.api_version)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl FromStr for ObjectId {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [api_version, kind, name] = words[..] else {
            bail!("{line:?} does not name an object");
        };
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, name),
        };
        Ok(Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_names_the_object_it_came_from() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": "istio-system"}});
        let id = ObjectId::of(&object).unwrap();
        assert_eq!(id.to_line(), "apps/v1 Deployment istio-system/istiod");
        assert_eq!(id.to_line().parse::<ObjectId>().unwrap(), id);
        assert!(ObjectId::of(&json!({"kind": "Deployment"})).is_err());
    }

    #[test]
    fn versions_of_a_kind_are_the_same_object() {
        let old: ObjectId = "policy/v1beta1 PodDisruptionBudget a/b".parse().unwrap();
        let new: ObjectId = "policy/v1 PodDisruptionBudget a/b".parse().unwrap();
        assert!(old.is_same(&new));
        assert!(!old.is_same(&"v1 PodDisruptionBudget a/b".parse().unwrap()));
    }
}
