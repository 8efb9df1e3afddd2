//! Labels and annotations that an injected pod carries.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::pod::name_of;

/// Adds the labels: the pod's own win over what is derived.
///
/// `workload`: name of the owner, for pods that say nothing better. `mesh_tls`: whether servers
/// of the pod speak mesh mTLS (sidecars do, gateways have listeners of their own).
pub(crate) fn add_labels(labels: &mut Map<String, Value>, workload: &str, mesh_tls: bool) {
    let found = |labels: &Map<String, Value>, names: &[&str]| -> Option<String> {
        let values = names.iter().filter_map(|name| labels.get(*name)?.as_str());
        values
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .next()
    };
    const NAME: &str = "service.istio.io/canonical-name";
    const REVISION: &str = "service.istio.io/canonical-revision";
    let name = found(labels, &[NAME, "app.kubernetes.io/name", "app"]);
    let name = name.unwrap_or_else(|| workload.to_owned());
    let revision = found(labels, &[REVISION, "app.kubernetes.io/version", "version"]);
    let revision = revision.unwrap_or_else(|| "latest".to_owned());
    labels.insert(NAME.to_owned(), label_value(&name).into());
    labels.insert(REVISION.to_owned(), revision.into());
    if mesh_tls && found(labels, &["security.istio.io/tlsMode"]).is_none() {
        labels.insert("security.istio.io/tlsMode".to_owned(), "istio".into());
    }
}

/// Cut to what a label may hold.
fn label_value(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(63)
        .map_or(text.len(), |(index, _)| index);
    text[..end].trim_matches(['-', '_', '.'])
}

/// What was added to a pod.
#[derive(Debug, Default)]
pub(crate) struct Added {
    pub(crate) init_containers: Vec<&'static str>,
    pub(crate) containers: Vec<&'static str>,
    pub(crate) volumes: Vec<String>,
    pub(crate) image_pull_secrets: Vec<String>,
}

impl Added {
    /// The value of `sidecar.istio.io/status`.
    pub(crate) fn status(&self, revision: &str) -> String {
        json!({
            "initContainers": self.init_containers,
            "containers": self.containers,
            "volumes": self.volumes,
            "imagePullSecrets": self.image_pull_secrets,
            "revision": revision,
        })
        .to_string()
    }
}

/// Annotations that every injected pod gets, unless it has them.
pub(crate) fn annotations(revision: &str, application: Option<&Value>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([("istio.io/rev".to_owned(), revision.to_owned())]);
    if let Some(container) = application {
        // So that `kubectl logs` and `kubectl exec` go to the application.
        for name in ["default-container", "default-logs-container"] {
            annotations.insert(
                format!("kubectl.kubernetes.io/{name}"),
                name_of(container).to_owned(),
            );
        }
    }
    annotations
}
