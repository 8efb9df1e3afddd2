//! Webhooks of others that would keep the mesh's objects from being made.

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

/// Group and resource of what a control plane cannot come up without.
const NEEDED: [(&str, &str); 6] = [
    ("", "pods"),
    ("", "configmaps"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
];

/// Finds webhooks that must answer before the mesh's objects are made, and that nobody answers for.
pub(super) async fn check(cluster: &Cluster) -> anyhow::Result<Finding> {
    let mut dead = Vec::new();
    for kind in KINDS {
        let kind = ("admissionregistration.k8s.io/v1", kind);
        for configuration in cluster
            .list_kind(kind, None, &ListParams::default())
            .await?
        {
            for (webhook, service) in in_the_way(&configuration) {
                if let Some(why) = dumb(cluster, &service).await? {
                    let id = ObjectId::of(&configuration)?;
                    dead.push(format!(
                        "{id}: webhook {webhook} calls {service}, which {why}"
                    ));
                }
            }
        }
    }
    Ok(match dead.is_empty() {
        true => Finding::new(
            Level::Fine,
            "no webhook keeps the mesh's objects from being made",
        ),
        false => Finding::new(
            Level::Error,
            format!(
                "the API server will refuse new objects, as a webhook that must answer cannot (delete it with \
                 kubectl if what it belonged to is gone): {}",
                dead.join("; ")
            ),
        ),
    })
}

/// Why nobody answers for a Service, if nobody does.
async fn dumb(cluster: &Cluster, service: &ObjectId) -> anyhow::Result<Option<&'static str>> {
    if cluster.get(service).await?.is_none() {
        return Ok(Some("does not exist"));
    }
    let label = format!("kubernetes.io/service-name={}", service.name);
    let kind = ("discovery.k8s.io/v1", "EndpointSlice");
    let namespace = service.namespace.as_deref();
    let slices = cluster
        .list_kind(kind, namespace, &ListParams::default().labels(&label))
        .await?;
    let mut endpoints = slices.iter().flat_map(|slice| items(&slice["endpoints"]));
    // Unknown counts as ready, says Kubernetes.
    let ready = endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false);
    Ok((!ready).then_some("has no ready endpoint"))
}

/// Webhooks of others that must answer before what the mesh needs is made, each with the Service
/// that it calls.
fn in_the_way(configuration: &Value) -> Vec<(&str, ObjectId)> {
    if !configuration["metadata"]["labels"][COMPONENT].is_null() {
        return Vec::new();
    }
    let hooks = items(&configuration["webhooks"]).iter();
    let must = hooks.filter(|hook| text(hook, "failurePolicy") != "Ignore");
    let with_service = must.filter(|hook| concerns(hook)).filter_map(|hook| {
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

/// Whether a webhook is asked about anything [`NEEDED`]. One on selected pods counts, too, as
/// those of the applications may be among them.
fn concerns(hook: &Value) -> bool {
    let selects = ["namespaceSelector", "objectSelector"];
    let everything = selects.iter().all(|selector| {
        hook[*selector]
            .as_object()
            .is_none_or(|terms| terms.is_empty())
    });
    items(&hook["rules"]).iter().any(|rule| {
        let has = |list: &str, wanted: &str| {
            items(&rule[list])
                .iter()
                .any(|one| one == wanted || one == "*")
        };
        let mut needed = NEEDED
            .iter()
            .filter(|(_, resource)| everything || *resource == "pods");
        has("operations", "CREATE")
            && needed.any(|(group, resource)| has("apiGroups", group) && has("resources", resource))
    })
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
    fn only_webhooks_on_what_is_needed_that_must_answer_count() {
        assert_eq!(in_the_way(&configuration("Ignore", "pods")), []);
        assert_eq!(in_the_way(&configuration("Fail", "secrets")), []);
        let mut selective = configuration("Fail", "services");
        assert_eq!(in_the_way(&selective).len(), 1);
        selective["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"a": "b"}});
        assert_eq!(in_the_way(&selective), []);
        let service: ObjectId = "v1 Service gone/a".parse().unwrap();
        assert_eq!(
            in_the_way(&configuration("Fail", "pods")),
            [("a.example.com", service.clone())]
        );
        assert_eq!(
            in_the_way(&configuration("Fail", "*")),
            [("a.example.com", service)]
        );
    }
}
