//! The call of the sidecar injector, as the API server calls its webhook.

use std::collections::BTreeMap;

use mesh_injector::{Context, Namespace, Outcome, Selection, Settings};
use serde_json::Value;

use super::Controller;
use crate::objects::{Key, Kind};

impl Controller {
    /// The pod as the injector leaves it.
    ///
    /// # Errors
    /// Why the injector refused it.
    pub(super) fn inject(&self, mut draft: Value, namespace: &str) -> Result<Value, String> {
        if !self.has_control_plane() {
            return Ok(draft);
        }
        let context = Context {
            namespace: &self.namespace(namespace),
            mesh: &self.mesh,
            settings: &Settings::default(),
            selection: Selection::ByLabels,
        };
        match mesh_injector::inject(&draft, &context) {
            Ok(Outcome::Skip(reason)) => {
                tracing::debug!(namespace, ?reason, "pod is not injected");
                Ok(draft)
            }
            Ok(Outcome::Patch(patch)) => {
                json_patch::patch(&mut draft, &patch)
                    .map_err(|error| format!("the injector's patch does not apply: {error}"))?;
                Ok(draft)
            }
            Err(error) => Err(format!("not injected: {}", crate::chain(&error))),
        }
    }

    /// Without a control plane there is no webhook.
    fn has_control_plane(&self) -> bool {
        let key = Key::new(Kind::DEPLOYMENT, "istio-system", "istiod");
        self.world.contains_key(&key)
    }

    fn namespace(&self, name: &str) -> Namespace {
        let object = self.world.get(&Key::new(Kind::NAMESPACE, "", name));
        let metadata = object.map(|object| &object.value["metadata"]);
        let map = |field: &str| -> BTreeMap<String, String> {
            let pairs = metadata.and_then(|metadata| metadata[field].as_object());
            pairs
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        };
        Namespace {
            name: name.to_owned(),
            labels: map("labels"),
            annotations: map("annotations"),
        }
    }

    /// Reads the mesh's settings again; bad ones are a problem, and the last good ones stay.
    pub(super) fn read_mesh_config(&mut self) {
        let text = self.mesh_config().unwrap_or_default().to_owned();
        if text == self.mesh_text {
            return;
        }
        self.mesh_text.clone_from(&text);
        match mesh_config::decode::mesh_config(&text, "ConfigMap istio-system/istio") {
            Ok(mesh) => {
                self.mesh = mesh;
                self.problems.remove("mesh");
            }
            Err(error) => self.problem("mesh", &error.to_string()),
        }
    }
}
