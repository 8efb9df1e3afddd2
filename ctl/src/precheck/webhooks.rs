//! Webhooks of others that would keep the mesh's pods from being made.

use kube::api::ListParams;
use serde_json::Value;

use super::{Finding, Level};
use crate::cluster::{Cluster, ObjectId};
use crate::envoy::{items, text};
use crate::install::manifest::COMPONENT;

const KINDS: [&str; 2] = [
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// Finds webhooks on pods that must answer, and whose Service does not exist.
pub(super) async fn check(cluster: &Cluster) -> anyhow::Result<Finding> {
    let mut dead = Vec::new();
    for kind in KINDS {
        let kind = ("admissionregistration.k8s.io/v1", kind);
        for configuration in cluster
            .list_kind(kind, None, &ListParams::default())
            .await?
        {
            for (webhook, service) in on_pods(&configuration) {
                if cluster.get(&service).await?.is_none() {
                    let id = ObjectId::of(&configuration)?;
                    dead.push(format!(
                        "{id}: webhook {webhook} calls {service}, which does not exist"
                    ));
                }
            }
        }
    }
    Ok(match dead.is_empty() {
        true => Finding::new(Level::Fine, "no webhook keeps pods from being made"),
        false => Finding::new(
            Level::Error,
            format!(
                "the API server will refuse new pods, as a webhook that must answer cannot (delete it with \
                 kubectl if what it belonged to is gone): {}",
                dead.join("; ")
            ),
        ),
    })
}

/// Webhooks of others that must answer before a pod is made, each with the Service that it calls.
fn on_pods(configuration: &Value) -> Vec<(&str, ObjectId)> {
    if !configuration["metadata"]["labels"][COMPONENT].is_null() {
        return Vec::new();
    }
    let hooks = items(&configuration["webhooks"]).iter();
    let must = hooks.filter(|hook| text(hook, "failurePolicy") != "Ignore");
    let on_pods = must.filter(|hook| {
        items(&hook["rules"]).iter().any(|rule| {
            let has = |list: &str, wanted: &str| {
                items(&rule[list])
                    .iter()
                    .any(|one| one == wanted || one == "*")
            };
            has("resources", "pods") && has("operations", "CREATE") && has("apiGroups", "")
        })
    });
    let with_service = on_pods.filter_map(|hook| {
        let service = &hook["clientConfig"]["service"];
        let id = ObjectId {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            namespace: Some(service["namespace"].as_str()?.to_owned()),
            name: service["name"].as_str()?.to_owned(),
        };
        Some((text(hook, "name"), id))
    });
    with_service.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn configuration(policy: &str, resource: &str) -> Value {
        json!({"metadata": {"name": "a"}, "webhooks": [{"name": "a.example.com",
            "failurePolicy": policy,
            "rules": [{"apiGroups": [""], "operations": ["CREATE"], "resources": [resource]}],
            "clientConfig": {"service": {"namespace": "gone", "name": "a"}}}]})
    }

    #[test]
    fn only_webhooks_on_pods_that_must_answer_count() {
        assert_eq!(on_pods(&configuration("Ignore", "pods")), []);
        assert_eq!(on_pods(&configuration("Fail", "secrets")), []);
        let service: ObjectId = "v1 Service gone/a".parse().unwrap();
        assert_eq!(
            on_pods(&configuration("Fail", "pods")),
            [("a.example.com", service.clone())]
        );
        assert_eq!(
            on_pods(&configuration("Fail", "*")),
            [("a.example.com", service)]
        );
    }
}
