//! A pod with the context it is injected in, as YAML: two documents, the case and the pod.
#![allow(clippy::unwrap_used, reason = "test support: a bad case file is a bug")]

use mesh_config::MeshConfig;
use mesh_injector::{Context, Namespace, Selection, Settings};
use serde_json::Value;

/// A pod and its context.
pub(crate) struct Case {
    /// The pod.
    pub(crate) pod: Value,
    /// Its namespace.
    pub(crate) namespace: Namespace,
    /// The mesh's settings.
    pub(crate) mesh: MeshConfig,
    /// The injector's settings.
    pub(crate) settings: Settings,
}

impl Case {
    /// Reads `{namespace: {labels}, mesh: {...}, settings: {revision, nativeSidecar, ...}}` and the pod.
    pub(crate) fn parse(text: &str) -> Case {
        let (head, pod) = text
            .split_once("\n---\n")
            .expect("two documents: the case, the pod");
        let head: Value = serde_yaml::from_str(head).unwrap();
        let pod: Value = serde_yaml::from_str(pod).unwrap();
        let labels = head["namespace"]["labels"]
            .as_object()
            .into_iter()
            .flatten();
        let labels = labels
            .map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()))
            .collect();
        let name = head["namespace"]["name"]
            .as_str()
            .unwrap_or("default")
            .to_owned();
        let mesh = match &head["mesh"] {
            Value::Null => MeshConfig::default(),
            value => mesh_config::decode::mesh_config(&value.to_string(), "mesh").unwrap(),
        };
        Case {
            pod,
            namespace: Namespace {
                name,
                labels,
                ..Namespace::default()
            },
            mesh,
            settings: settings(&head["settings"]),
        }
    }

    /// The context, for `inject`.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            namespace: &self.namespace,
            mesh: &self.mesh,
            settings: &self.settings,
            selection: Selection::ByLabels,
        }
    }
}

fn settings(value: &Value) -> Settings {
    let mut settings = Settings {
        proxy_image: "mesh/proxy:test".to_owned(),
        ..Settings::default()
    };
    for (name, value) in value.as_object().into_iter().flatten() {
        let text = || value.as_str().unwrap().to_owned();
        match name.as_str() {
            "nativeSidecar" => settings.native_sidecar = value.as_bool(),
            "injectByDefault" => settings.inject_by_default = value.as_bool().unwrap(),
            "revision" => settings.revision = text(),
            "controlPlaneAddress" => settings.control_plane_address = Some(text()),
            "imagePullPolicy" => settings.image_pull_policy = Some(text()),
            "values" => {
                settings = Settings::from_values(&value.to_string(), &settings).unwrap();
            }
            "imagePullSecret" => settings.image_pull_secrets = vec![text()],
            other => panic!("unknown setting {other}"),
        }
    }
    settings
}
