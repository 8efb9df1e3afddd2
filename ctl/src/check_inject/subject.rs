//! The pod in question: a running one, or what a workload would make.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Namespace as ClusterNamespace, Pod};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use mesh_injector::{Namespace, PROXY_CONTAINER};
use serde_json::{Value, json};

use crate::cluster::because;

/// What the command line names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Pod(String),
    Workload(&'static Workload, String),
    Labels(String),
    /// A pod that says nothing.
    Any,
}

/// A kind that makes pods.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Workload {
    kind: &'static str,
    group: &'static str,
    /// As kubectl takes it.
    names: &'static [&'static str],
    template: &'static str,
}

const TEMPLATE: &str = "/spec/template";
const WORKLOADS: [Workload; 6] = [
    Workload {
        kind: "Deployment",
        group: "apps",
        names: &["deployment", "deployments", "deploy"],
        template: TEMPLATE,
    },
    Workload {
        kind: "StatefulSet",
        group: "apps",
        names: &["statefulset", "statefulsets", "sts"],
        template: TEMPLATE,
    },
    Workload {
        kind: "DaemonSet",
        group: "apps",
        names: &["daemonset", "daemonsets", "ds"],
        template: TEMPLATE,
    },
    Workload {
        kind: "ReplicaSet",
        group: "apps",
        names: &["replicaset", "replicasets", "rs"],
        template: TEMPLATE,
    },
    Workload {
        kind: "Job",
        group: "batch",
        names: &["job", "jobs"],
        template: TEMPLATE,
    },
    Workload {
        kind: "CronJob",
        group: "batch",
        names: &["cronjob", "cronjobs", "cj"],
        template: "/spec/jobTemplate/spec/template",
    },
];

impl Target {
    pub(super) fn parse(target: Option<&str>, selector: Option<&str>) -> anyhow::Result<Target> {
        let Some(target) = target else {
            return Ok(selector.map_or(Target::Any, |labels| Target::Labels(labels.to_owned())));
        };
        let (kind, name) = target.split_once('/').unwrap_or(("pod", target));
        // As kubectl prints them: deployment.apps/web.
        let kind = kind.split('.').next().unwrap_or_default();
        if ["pod", "pods", "po"].contains(&kind) {
            return Ok(Target::Pod(name.to_owned()));
        }
        match WORKLOADS.iter().find(|known| known.names.contains(&kind)) {
            Some(workload) => Ok(Target::Workload(workload, name.to_owned())),
            None => bail!(
                "{kind} makes no pods: name a pod, or a deploy, sts, ds, rs, job or cronjob with /NAME"
            ),
        }
    }
}

/// A pod, and what it is looked at for.
#[derive(Debug)]
pub(super) struct Subject {
    /// For people: `pod web-1`, `deployment web`.
    pub(super) name: String,
    pub(super) namespace: Namespace,
    /// The pod, or the template of pods.
    pub(super) pod: Value,
    /// Whether the pod runs with a proxy; `None` if this is no running pod.
    pub(super) has_proxy: Option<bool>,
}

impl Subject {
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.pod["metadata"]["labels"]
            .as_object()
            .into_iter()
            .flatten();
        let pairs =
            labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        pairs.collect()
    }

    /// # Errors
    /// If there is no such pod or namespace.
    pub(super) async fn find(
        client: &Client,
        namespace: &str,
        target: &Target,
    ) -> anyhow::Result<Subject> {
        let namespace = find_namespace(client, namespace).await?;
        match target {
            Target::Any => Ok(Subject {
                name: "a pod without labels".to_owned(),
                pod: json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}}),
                has_proxy: None,
                namespace,
            }),
            Target::Pod(name) => {
                let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace.name);
                let found = pods.get_opt(name).await.map_err(|error| because(&error));
                let pod = found?.with_context(|| {
                    let namespace = &namespace.name;
                    format!("there is no pod {name} in namespace {namespace} (-n names another)")
                })?;
                Subject::running(namespace, &pod)
            }
            Target::Labels(labels) => {
                let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace.name);
                let found = pods.list(&ListParams::default().labels(labels)).await;
                let found = found.map_err(|error| because(&error))?;
                let pod = found.items.first().with_context(|| {
                    format!(
                        "namespace {} has no pod with labels {labels}",
                        namespace.name
                    )
                })?;
                Subject::running(namespace, pod)
            }
            Target::Workload(workload, name) => {
                Box::pin(Subject::of_workload(client, namespace, workload, name)).await
            }
        }
    }

    fn running(namespace: Namespace, pod: &Pod) -> anyhow::Result<Subject> {
        let name = format!("pod {}", pod.name_any());
        let pod = serde_json::to_value(pod)?;
        let is_proxy = |container: &Value| container["name"] == PROXY_CONTAINER;
        let has_proxy = ["containers", "initContainers"].iter().any(|list| {
            let containers = pod["spec"][list].as_array();
            containers.is_some_and(|containers| containers.iter().any(is_proxy))
        });
        Ok(Subject {
            name,
            namespace,
            pod,
            has_proxy: Some(has_proxy),
        })
    }

    async fn of_workload(
        client: &Client,
        namespace: Namespace,
        workload: &Workload,
        name: &str,
    ) -> anyhow::Result<Subject> {
        let kind = GroupVersionKind::gvk(workload.group, "v1", workload.kind);
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace.name, &resource);
        let found = api.get_opt(name).await.map_err(|error| because(&error))?;
        let kind = workload.names[0];
        let object = found.with_context(|| {
            let namespace = &namespace.name;
            format!("there is no {kind} {name} in namespace {namespace} (-n names another)")
        })?;
        let template = object.data.pointer(workload.template).cloned();
        Ok(Subject {
            name: format!("{kind} {name}"),
            namespace,
            pod: template.with_context(|| format!("{kind} {name} has no pod template"))?,
            has_proxy: None,
        })
    }
}

async fn find_namespace(client: &Client, name: &str) -> anyhow::Result<Namespace> {
    let api: Api<ClusterNamespace> = Api::all(client.clone());
    let found = api.get_opt(name).await.map_err(|error| because(&error));
    let found = found
        .with_context(|| format!("read namespace {name}"))?
        .with_context(|| format!("there is no namespace {name}"))?;
    Ok(Namespace {
        name: name.to_owned(),
        labels: found.labels().clone(),
        annotations: found.annotations().clone(),
    })
}
