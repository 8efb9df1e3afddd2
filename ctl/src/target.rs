//! Which mesh and which pod a command means, and how its admin ports are reached.
//!
//! A mesh runs on the local platform, whose daemon asks its pods, or on Kubernetes, whose API server
//! forwards to a pod's port ([`forward`]): the images have no shell to run anything in.

pub(crate) mod forward;

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, ListParams};
use mesh_local::client::Client;
use serde_json::Value;

use crate::cluster::{ClusterArgs, MeshNamespace, because};
use crate::envoy::text;

/// Port of a proxy's admin interface, on its pod's loopback.
pub(crate) const ADMIN_PORT: u16 = 15000;
/// Port of the control plane's metrics and debug pages.
pub(crate) const MONITORING_PORT: u16 = 15014;

/// Options that say which mesh is meant: with --kubeconfig or --context the one of that cluster, else
/// with --state-dir that of the local platform there, else that of the local platform if one runs,
/// else that of the kubeconfig's current context.
#[derive(Args, Clone, Debug)]
#[command(
    next_help_heading = "Which mesh: the cluster of --kubeconfig or --context; else the local platform, if one runs; else the kubeconfig's current cluster"
)]
pub(crate) struct MeshArgs {
    /// State directory of the local platform.
    #[arg(long, env = "MESH_STATE_DIR", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    namespace: MeshNamespace,
}

/// A running mesh.
pub(crate) struct Mesh {
    platform: Platform,
    /// Of the control plane.
    namespace: String,
}

enum Platform {
    Local(Client),
    Kubernetes(kube::Client),
}

/// A pod's full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What one pod of the control plane answered.
pub(crate) struct FromControlPlane {
    pub(crate) pod: String,
    pub(crate) revision: String,
    pub(crate) answer: Value,
}

impl MeshArgs {
    /// The mesh that is meant.
    ///
    /// # Errors
    /// If no local platform runs and no cluster is configured.
    pub(crate) async fn mesh(&self) -> anyhow::Result<Mesh> {
        let namespace = self.namespace.istio_namespace.clone();
        let platform = self.platform().await?;
        Ok(Mesh {
            platform,
            namespace,
        })
    }

    async fn platform(&self) -> anyhow::Result<Platform> {
        if self.cluster.kubeconfig.is_some() || self.cluster.context.is_some() {
            return Ok(Platform::Kubernetes(self.cluster.client().await?));
        }
        if let Some(dir) = &self.state_dir {
            return Ok(Platform::Local(Client::new(dir)));
        }
        let local = mesh_local::default_state_dir().map(|dir| Client::new(&dir));
        if let Some(local) = local
            && local.status().await.is_ok()
        {
            return Ok(Platform::Local(local));
        }
        let client = self.cluster.client().await;
        let client = client.context(
            "no mesh is found: no local platform runs here (`meshctl local up` starts one; --state-dir names one \
             elsewhere), and no cluster is configured",
        )?;
        Ok(Platform::Kubernetes(client))
    }
}

impl Mesh {
    /// The mesh of the local platform whose state is in `state_dir`.
    pub(crate) fn local(state_dir: &std::path::Path) -> Self {
        Self {
            platform: Platform::Local(Client::new(state_dir)),
            namespace: "istio-system".to_owned(),
        }
    }

    /// The mesh on the cluster of `client`.
    pub(crate) fn kubernetes(client: kube::Client, namespace: &str) -> Self {
        Self {
            platform: Platform::Kubernetes(client),
            namespace: namespace.to_owned(),
        }
    }

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
            (None, namespace) => (name, namespace.unwrap_or(self.default_namespace())),
        };
        let pods = self.pods(namespace, "").await?;
        let names = pods.iter().map(|pod| text(&pod["metadata"], "name"));
        let found = if deployment {
            names.filter(|pod| deployment_of(pod) == Some(name)).min()
        } else {
            names.filter(|pod| *pod == name).min()
        };
        let list = self.list_command();
        let found = found
            .ok_or_else(|| anyhow!("no pod {name} in namespace {namespace} (see `{list}`)"))?;
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

    /// GETs a page of the control plane's monitoring port as JSON, from any of its pods.
    ///
    /// # Errors
    /// When no control plane runs.
    pub(crate) async fn control_plane(&self, path: &str) -> anyhow::Result<Value> {
        let pods = self.control_plane_pods().await?;
        self.ask_control_plane(&pods[0].0, path).await
    }

    /// GETs the same page from every pod of the control plane, whatever its revision.
    ///
    /// # Errors
    /// When no control plane runs, or a pod of it doesn't answer.
    pub(crate) async fn control_planes(&self, path: &str) -> anyhow::Result<Vec<FromControlPlane>> {
        let mut answers = Vec::new();
        for (pod, revision) in self.control_plane_pods().await? {
            let answer = self.ask_control_plane(&pod, path).await?;
            let pod = pod.name;
            answers.push(FromControlPlane {
                pod,
                revision,
                answer,
            });
        }
        Ok(answers)
    }

    /// Every proxy that is connected to some pod of the control plane, as its status page has it.
    pub(crate) async fn proxies(&self) -> anyhow::Result<Vec<Value>> {
        let answers = self.control_planes("/debug/syncz").await?;
        let lists = answers.into_iter().filter_map(|from| match from.answer {
            Value::Array(proxies) => Some(proxies),
            _ => None,
        });
        Ok(lists.flatten().collect())
    }

    /// The running pods of the control plane with their revisions; at least one.
    pub(crate) async fn control_plane_pods(&self) -> anyhow::Result<Vec<(Pod, String)>> {
        let pods = self.pods(&self.namespace, "app=istiod").await?;
        let running = pods.iter().filter(|pod| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        });
        let running = running.map(|pod| {
            let namespace = self.namespace.clone();
            let name = text(&pod["metadata"], "name").to_owned();
            let revision = match text(&pod["metadata"]["labels"], "istio.io/rev") {
                "" => "default",
                revision => revision,
            };
            (Pod { namespace, name }, revision.to_owned())
        });
        let running: Vec<_> = running.collect();
        if running.is_empty() {
            let (namespace, list) = (&self.namespace, self.list_command());
            bail!("no istiod pod runs in namespace {namespace} (see `{list}`)");
        }
        Ok(running)
    }

    async fn ask_control_plane(&self, pod: &Pod, path: &str) -> anyhow::Result<Value> {
        let answer = self.get_json(pod, MONITORING_PORT, path).await;
        answer.with_context(|| format!("ask the control plane, pod {}", pod.name))
    }

    /// Pods of a namespace as JSON. `labels`: a selector `KEY=VALUE`, or empty for all.
    async fn pods(&self, namespace: &str, labels: &str) -> anyhow::Result<Vec<Value>> {
        match &self.platform {
            Platform::Local(client) => {
                let pods = client.get("pods", Some(namespace), None).await?;
                let (key, value) = labels.split_once('=').unwrap_or_default();
                let wanted =
                    |pod: &Value| labels.is_empty() || pod["metadata"]["labels"][key] == value;
                Ok(pods.into_iter().filter(wanted).collect())
            }
            Platform::Kubernetes(client) => {
                let pods: Api<core::Pod> = Api::namespaced(client.clone(), namespace);
                let pods = Box::pin(pods.list(&ListParams::default().labels(labels))).await;
                let pods = pods.map_err(|error| because(&error));
                let pods =
                    pods.with_context(|| format!("list the pods of namespace {namespace}"))?;
                let pods = pods.items.iter().map(serde_json::to_value);
                Ok(pods.collect::<Result<_, _>>()?)
            }
        }
    }

    fn default_namespace(&self) -> &str {
        match &self.platform {
            Platform::Local(_) => "default",
            Platform::Kubernetes(client) => client.default_namespace(),
        }
    }

    fn list_command(&self) -> &'static str {
        match self.platform {
            Platform::Local(_) => "meshctl local get pods -A",
            Platform::Kubernetes(_) => "kubectl get pods -A",
        }
    }

    async fn get_json(&self, pod: &Pod, port: u16, path: &str) -> anyhow::Result<Value> {
        let (status, body) = match &self.platform {
            Platform::Local(client) => {
                let answer = client.pod_http(&pod.namespace, &pod.name, port, "GET", path);
                let answer = answer.await?;
                (answer.status, answer.body)
            }
            Platform::Kubernetes(client) => Box::pin(forward::get(client, pod, port, path)).await?,
        };
        if status != 200 {
            bail!(
                "GET {path} on port {port}: status {status}: {}",
                body.trim()
            );
        }
        serde_json::from_str(&body).with_context(|| format!("GET {path} on port {port}: not JSON"))
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
