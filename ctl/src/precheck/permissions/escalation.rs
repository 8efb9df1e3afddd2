//! Rights that roles give. Kubernetes lets nobody give away what he doesn't have: who makes a role or
//! binds it must have every right in it, or the right to `escalate` and `bind` it.

use kube::Client;
use serde_json::Value;

use super::{Access, refused};
use crate::envoy::{items, text};
use crate::install::manifest::Component;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The rights in the roles of `components` that we neither have nor may give without having them.
pub(super) async fn missing(
    client: &Client,
    components: &[Component],
) -> anyhow::Result<Vec<Access>> {
    let objects = components.iter().flat_map(|component| &component.objects);
    let mut questions: Vec<Access> = Vec::new();
    for role in objects.filter(|object| text(object, "apiVersion").starts_with(GROUP)) {
        let resource = match text(role, "kind") {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            _ => continue,
        };
        let freely = ["escalate", "bind"].map(|verb| {
            let name = role["metadata"]["name"].as_str();
            access(role, verb, (GROUP, resource), name)
        });
        if refused(client, freely.to_vec()).await?.is_empty() {
            continue;
        }
        for right in rights(role) {
            if !questions.contains(&right) {
                questions.push(right);
            }
        }
    }
    refused(client, questions).await
}

/// A question for each right that `role` gives. Paths that are no resources are left out: the
/// charts' roles have none.
fn rights(role: &Value) -> Vec<Access> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let texts = items(&rule[field]).iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let mut rights = Vec::new();
    for rule in items(&role["rules"]) {
        let mut names: Vec<Option<String>> =
            texts(rule, "resourceNames").into_iter().map(Some).collect();
        if names.is_empty() {
            names.push(None);
        }
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                for verb in texts(rule, "verbs") {
                    let what = (group.as_str(), resource.as_str());
                    let each = names.iter();
                    rights.extend(each.map(|name| access(role, &verb, what, name.as_deref())));
                }
            }
        }
    }
    rights
}

/// `resource`: may name a subresource, as in `gateways/status`.
fn access(role: &Value, verb: &str, (group, resource): (&str, &str), name: Option<&str>) -> Access {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Access {
        verb: verb.to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        subresource: subresource.to_owned(),
        namespace: role["metadata"]["namespace"].as_str().map(str::to_owned),
        name: name.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_right_of_a_role_is_asked_for() {
        let role = json!({"metadata": {"namespace": "a"}, "rules": [
            {"apiGroups": ["", "apps"], "resources": ["pods/log"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["x", "y"], "verbs": ["get"]},
            {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
        ]});
        let rights = rights(&role);
        let shown = |right: &Access| {
            let name = right.name.as_deref().unwrap_or("*");
            format!(
                "{} {}|{}|{}|{name}",
                right.verb, right.group, right.resource, right.subresource
            )
        };
        assert_eq!(
            rights.iter().map(shown).collect::<Vec<_>>(),
            [
                "get |pods|log|*",
                "list |pods|log|*",
                "get apps|pods|log|*",
                "list apps|pods|log|*",
                "get |secrets||x",
                "get |secrets||y",
            ]
        );
        assert!(
            rights
                .iter()
                .all(|right| right.namespace.as_deref() == Some("a"))
        );
    }
}
