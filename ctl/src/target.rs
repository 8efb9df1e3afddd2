//! Which mesh and which pod a command means, and how its admin ports are reached.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use mesh_local::client::Client;
use serde_json::Value;

/// Port of a proxy's admin interface, on its pod's loopback.
pub(crate) const ADMIN_PORT: u16 = 15000;
/// Port of the control plane's metrics and debug pages.
pub(crate) const MONITORING_PORT: u16 = 15014;
const SYSTEM_NAMESPACE: &str = "istio-system";

/// Options that say which mesh is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct MeshArgs {
    /// State directory of the local platform.
    #[arg(long, env = "MESH_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// A running mesh.
pub(crate) struct Mesh {
    client: Client,
}

/// A pod's full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl MeshArgs {
    /// The mesh of the local platform whose state is in `state_dir`.
    pub(crate) fn of(state_dir: &std::path::Path) -> Mesh {
        Mesh {
            client: Client::new(state_dir),
        }
    }

    /// The mesh of the local platform.
    pub(crate) fn mesh(&self) -> anyhow::Result<Mesh> {
        let dir = match &self.state_dir {
            Some(dir) => dir.clone(),
            None => {
                mesh_local::default_state_dir().context("no home directory: give --state-dir")?
            }
        };
        Ok(Mesh {
            client: Client::new(&dir),
        })
    }
}

impl Mesh {
    /// The pod that `target` names: `POD`, `POD.NAMESPACE` or `deployment/NAME[.NAMESPACE]`.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn pod(&self, target: &str, namespace: Option<&str>) -> anyhow::Result<Pod> {
        let (name, deployment) = match target.split_once('/') {
            Some(("deployment" | "deploy" | "deployments" | "deployments.apps", name)) => {
                (name, true)
            }
            Some(("pod" | "pods", name)) => (name, false),
            Some((kind, _)) => {
                bail!("{kind} is not understood here: give a pod, or deployment/NAME")
            }
            None => (target, false),
        };
        let (name, namespace) = match (name.split_once('.'), namespace) {
            (Some((name, namespace)), _) => (name, namespace),
            (None, namespace) => (name, namespace.unwrap_or("default")),
        };
        let pods = self.client.get("pods", Some(namespace), None).await?;
        let names = pods
            .iter()
            .filter_map(|pod| pod["metadata"]["name"].as_str());
        let found = if deployment {
            names.filter(|pod| deployment_of(pod) == Some(name)).min()
        } else {
            names.filter(|pod| *pod == name).min()
        };
        let found = found.ok_or_else(|| {
            anyhow!("no pod {name} in namespace {namespace} (see `meshctl local get pods -A`)")
        })?;
        Ok(Pod {
            namespace: namespace.to_owned(),
            name: found.to_owned(),
        })
    }

    /// GETs a page of a proxy's admin port as JSON.
    ///
    /// # Errors
    /// When the pod has no proxy, or the proxy doesn't answer.
    pub(crate) async fn admin(&self, pod: &Pod, path: &str) -> anyhow::Result<Value> {
        self.get_json(pod, ADMIN_PORT, path).await.with_context(|| {
            format!(
                "ask the proxy of {}.{} (has the pod a sidecar, and does it run?)",
                pod.name, pod.namespace
            )
        })
    }

    /// GETs a page of the control plane's monitoring port as JSON.
    ///
    /// # Errors
    /// When no control plane runs.
    pub(crate) async fn control_plane(&self, path: &str) -> anyhow::Result<Value> {
        let pods = self
            .client
            .get("pods", Some(SYSTEM_NAMESPACE), None)
            .await?;
        let running = pods.iter().find(|pod| {
            pod["metadata"]["labels"]["app"] == "istiod" && pod["status"]["phase"] == "Running"
        });
        let name = running
            .and_then(|pod| pod["metadata"]["name"].as_str())
            .context("no istiod pod runs in istio-system (see `meshctl local get pods -A`)")?;
        let pod = Pod {
            namespace: SYSTEM_NAMESPACE.to_owned(),
            name: name.to_owned(),
        };
        self.get_json(&pod, MONITORING_PORT, path)
            .await
            .context("ask the control plane")
    }

    async fn get_json(&self, pod: &Pod, port: u16, path: &str) -> anyhow::Result<Value> {
        let response = self
            .client
            .pod_http(&pod.namespace, &pod.name, port, "GET", path)
            .await?;
        if response.status != 200 {
            bail!(
                "GET {path} on port {port}: status {}: {}",
                response.status,
                response.body.trim()
            );
        }
        serde_json::from_str(&response.body)
            .with_context(|| format!("GET {path} on port {port}: not JSON"))
    }
}

/// The Deployment's name in a pod name: `reviews-v1-5d9f7c-abcde` is of `reviews-v1`.
fn deployment_of(pod: &str) -> Option<&str> {
    let (rest, _) = pod.rsplit_once('-')?;
    Some(rest.rsplit_once('-')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_recognised_as_a_deployments_own() {
        assert_eq!(deployment_of("reviews-v1-5d9f7c-abcde"), Some("reviews-v1"));
        assert_eq!(deployment_of("bare"), None);
    }
}
