//! What a chart is rendered for: Helm's `.Release` and `.Capabilities`.

use serde_json::{Value, json};

/// Where and under which name a chart is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Name of the release; the gateway chart names its objects after it.
    pub name: String,
    /// Namespace that the objects go to.
    pub namespace: String,
    /// Whether an earlier rendering is already in the cluster (`.Release.IsUpgrade`).
    pub upgrade: bool,
    /// What the cluster can do.
    pub capabilities: Capabilities,
}

impl Release {
    /// A first installation in a cluster of the oldest supported version.
    pub fn new(name: impl Into<String>, namespace: impl Into<String>) -> Self {
        Release {
            name: name.into(),
            namespace: namespace.into(),
            upgrade: false,
            capabilities: Capabilities::default(),
        }
    }

    /// As templates see it, under `.Release`.
    pub(crate) fn to_value(&self) -> Value {
        json!({
            "Name": self.name,
            "Namespace": self.namespace,
            "IsInstall": !self.upgrade,
            "IsUpgrade": self.upgrade,
            // Always Helm: what installs the objects is no property of theirs.
            "Service": "Helm",
        })
    }
}

/// What a cluster can do, as far as a chart may ask: Helm's `.Capabilities`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Version of Kubernetes, such as `v1.34.0`.
    pub kube_version: String,
    /// API versions served, such as `apps/v1` or `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
}

impl Default for Capabilities {
    /// The oldest supported cluster, which serves nothing beyond Kubernetes' own APIs.
    fn default() -> Self {
        Capabilities {
            kube_version: "v1.34.0".to_owned(),
            api_versions: Vec::new(),
        }
    }
}

impl Capabilities {
    /// As templates see it, under `.Capabilities`.
    pub(crate) fn to_value(&self) -> Value {
        let mut numbers = self.kube_version.trim_start_matches('v').split('.');
        json!({
            "KubeVersion": {
                "Version": self.kube_version,
                "GitVersion": self.kube_version,
                "Major": numbers.next().unwrap_or_default(),
                "Minor": numbers.next().unwrap_or_default(),
            },
            "APIVersions": self.api_versions,
        })
    }
}
