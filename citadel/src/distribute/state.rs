//! Which namespaces there are, and which of them have the roots. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use mesh_kubernetes::kube::core::PartialObjectMeta;
use mesh_kubernetes::kube::runtime::watcher::Event;

use super::{KEY, LABEL};

/// Namespaces without workloads, left out as Istio does.
const LEFT_OUT: [&str; 3] = ["kube-public", "kube-node-lease", "local-path-storage"];

/// What was seen of the cluster.
#[derive(Debug, Default)]
pub(super) struct State {
    namespaces: BTreeSet<String>,
    namespaces_known: bool,
    /// Hashes of the roots by namespace; none for a ConfigMap without our label.
    present: BTreeMap<String, u64>,
    present_known: bool,
}

impl State {
    pub(super) fn namespace(&mut self, event: Event<PartialObjectMeta<Namespace>>) {
        match event {
            Event::Init => {
                self.namespaces.clear();
                self.namespaces_known = false;
            }
            Event::InitDone => self.namespaces_known = true,
            Event::InitApply(namespace) | Event::Apply(namespace) => {
                let name = namespace.metadata.name.unwrap_or_default();
                let going = namespace.metadata.deletion_timestamp.is_some();
                if going || LEFT_OUT.contains(&name.as_str()) {
                    self.gone(&name);
                } else {
                    self.namespaces.insert(name);
                }
            }
            Event::Delete(namespace) => {
                self.gone(&namespace.metadata.name.unwrap_or_default());
            }
        }
    }

    pub(super) fn config_map(&mut self, event: Event<ConfigMap>) {
        match event {
            Event::Init => {
                self.present.clear();
                self.present_known = false;
            }
            Event::InitDone => self.present_known = true,
            Event::InitApply(found) | Event::Apply(found) => {
                let labels = found.metadata.labels.unwrap_or_default();
                let labelled = labels.get(LABEL.0).is_some_and(|value| value == LABEL.1);
                let pem = found.data.as_ref().and_then(|data| data.get(KEY));
                let namespace = found.metadata.namespace.unwrap_or_default();
                match pem.filter(|_| labelled) {
                    Some(pem) => self.present.insert(namespace, hash(pem)),
                    None => self.present.remove(&namespace),
                };
            }
            Event::Delete(found) => {
                self.present
                    .remove(&found.metadata.namespace.unwrap_or_default());
            }
        }
    }

    /// The namespaces that don't have exactly `pem`; none before everything was seen.
    pub(super) fn due(&self, pem: &str) -> Vec<String> {
        if !self.namespaces_known || !self.present_known {
            return Vec::new();
        }
        let wanted = hash(pem);
        let has = |namespace: &&String| self.present.get(*namespace) == Some(&wanted);
        self.namespaces
            .iter()
            .filter(|namespace| !has(namespace))
            .cloned()
            .collect()
    }

    /// `namespace` has `pem` now.
    pub(super) fn written(&mut self, namespace: String, pem: &str) {
        self.present.insert(namespace, hash(pem));
    }

    /// `namespace` is not there, or will not be for long.
    pub(super) fn gone(&mut self, namespace: &str) {
        self.namespaces.remove(namespace);
    }
}

fn hash(pem: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    pem.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use mesh_kubernetes::kube::api::ObjectMeta;

    use super::*;

    fn namespace(name: &str) -> PartialObjectMeta<Namespace> {
        PartialObjectMeta {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        }
    }

    fn config_map(namespace: &str, pem: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), pem.to_owned())].into()),
            ..ConfigMap::default()
        }
    }

    fn seen(namespaces: &[&str], present: &[(&str, &str)]) -> State {
        let mut state = State::default();
        for name in namespaces {
            state.namespace(Event::InitApply(namespace(name)));
        }
        state.namespace(Event::InitDone);
        for (name, pem) in present {
            state.config_map(Event::InitApply(config_map(name, pem)));
        }
        state.config_map(Event::InitDone);
        state
    }

    #[test]
    fn names_the_namespaces_that_lack_the_roots() {
        let mut state = seen(
            &["a", "b", "c", "kube-public"],
            &[("a", "new"), ("b", "old")],
        );
        assert_eq!(state.due("new"), ["b", "c"]);
        state.written("b".to_owned(), "new");
        state.config_map(Event::Delete(config_map("a", "new")));
        assert_eq!(state.due("new"), ["a", "c"]);
        let mut bare = config_map("b", "new");
        bare.metadata.labels = None;
        state.config_map(Event::Apply(bare));
        assert_eq!(state.due("new"), ["a", "b", "c"]);
    }

    #[test]
    fn leaves_a_terminating_namespace_alone() {
        let mut state = seen(&["a"], &[]);
        let mut going = namespace("a");
        going.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        state.namespace(Event::Apply(going));
        assert!(state.due("new").is_empty());
    }

    #[test]
    fn writes_nothing_before_it_has_seen_everything() {
        let mut state = State::default();
        state.namespace(Event::InitApply(namespace("a")));
        state.namespace(Event::InitDone);
        assert!(state.due("new").is_empty());
        state.config_map(Event::InitDone);
        assert_eq!(state.due("new"), ["a"]);
        state.config_map(Event::Init);
        assert!(state.due("new").is_empty());
    }
}
