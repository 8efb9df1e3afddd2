//! Whether the user may do what an installation does.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use serde_json::{Value, json};

use super::{Finding, Level};
use crate::cluster::{Cluster, ObjectId, because};
use crate::install::manifest::{Component, Place};

/// What installing, checking and removing an object takes.
const VERBS: [&str; 5] = ["get", "list", "create", "patch", "delete"];
/// What waiting for pods and talking to them takes.
const PODS: [(&str, &str, &str); 3] = [
    ("list", "pods", ""),
    ("get", "pods", "log"),
    ("create", "pods", "portforward"),
];
const CONCURRENCY: usize = 16;

/// One question to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Access {
    verb: &'static str,
    group: String,
    resource: String,
    subresource: &'static str,
    namespace: Option<String>,
}

/// Asks for every kind that is installed, and tells all that is missing.
pub(super) async fn check(
    cluster: &Cluster,
    components: &[Component],
    place: &Place,
) -> anyhow::Result<Finding> {
    let questions = questions(cluster, components, place)?;
    let asked = questions
        .iter()
        .map(|access| allowed(cluster.client(), access));
    let asked: Vec<_> = asked.collect();
    let answers: Vec<bool> = stream::iter(asked)
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let refused = questions
        .into_iter()
        .zip(answers)
        .filter(|(_, allowed)| !allowed);
    let refused: Vec<Access> = refused.map(|(access, _)| access).collect();
    Ok(match refused.is_empty() {
        true => Finding::new(Level::Fine, "all permissions that an installation needs"),
        false => Finding::new(
            Level::Error,
            format!(
                "permissions are missing (ask for the ClusterRole cluster-admin, or for these):\n    {}",
                lines(&refused).join("\n    ")
            ),
        ),
    })
}

fn questions(
    cluster: &Cluster,
    components: &[Component],
    place: &Place,
) -> anyhow::Result<Vec<Access>> {
    let mut questions: Vec<Access> = Vec::new();
    let mut add = |access: Access| {
        if !questions.contains(&access) {
            questions.push(access);
        }
    };
    for object in components.iter().flat_map(|component| &component.objects) {
        let id = ObjectId::of(object)?;
        // A kind that comes with the installation: whoever may install it, may use it or not.
        let Some(resource) = cluster.resource(&id.api_version, &id.kind) else {
            continue;
        };
        for verb in VERBS {
            add(Access {
                verb,
                group: resource.group.clone(),
                resource: resource.plural.clone(),
                subresource: "",
                namespace: id.namespace.clone(),
            });
        }
    }
    for verb in ["get", "create"] {
        add(Access {
            verb,
            group: String::new(),
            resource: "namespaces".to_owned(),
            subresource: "",
            namespace: None,
        });
    }
    for (verb, resource, subresource) in PODS {
        add(Access {
            verb,
            group: String::new(),
            resource: resource.to_owned(),
            subresource,
            namespace: Some(place.namespace.clone()),
        });
    }
    Ok(questions)
}

async fn allowed(client: &Client, access: &Access) -> anyhow::Result<bool> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": access.verb,
            "group": access.group,
            "resource": access.resource,
            "subresource": access.subresource,
            "namespace": access.namespace,
        }},
    });
    let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&review)?)?;
    let answer: Result<Value, kube::Error> = Box::pin(client.request(request)).await;
    let answer = answer
        .map_err(|error| because(&error))
        .context("ask what we may do")?;
    Ok(answer["status"]["allowed"] == true)
}

/// `in istio-system: create, patch deployments.apps, services`.
fn lines(refused: &[Access]) -> Vec<String> {
    let mut verbs: BTreeMap<(Option<&str>, String), Vec<&str>> = BTreeMap::new();
    for access in refused {
        let mut what = access.resource.clone();
        if !access.subresource.is_empty() {
            what = format!("{what}/{}", access.subresource);
        }
        if !access.group.is_empty() {
            what = format!("{what}.{}", access.group);
        }
        let namespace = access.namespace.as_deref();
        verbs
            .entry((namespace, what))
            .or_default()
            .push(access.verb);
    }
    let mut resources: BTreeMap<(Option<&str>, Vec<&str>), Vec<String>> = BTreeMap::new();
    for ((namespace, what), verbs) in verbs {
        resources.entry((namespace, verbs)).or_default().push(what);
    }
    let lines = resources.into_iter();
    lines
        .map(|((namespace, verbs), resources)| {
            let place = namespace.map(|name| format!("in {name}: "));
            let place = place.unwrap_or_default();
            format!("{place}{} {}", verbs.join(", "), resources.join(", "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_permissions_are_grouped() {
        let access = |verb, group: &str, resource: &str, namespace: Option<&str>| Access {
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: "",
            namespace: namespace.map(str::to_owned),
        };
        let refused = [
            access("create", "apps", "deployments", Some("a")),
            access("patch", "apps", "deployments", Some("a")),
            access("create", "", "services", Some("a")),
            access("patch", "", "services", Some("a")),
            access("create", "", "namespaces", None),
        ];
        assert_eq!(
            lines(&refused),
            [
                "create namespaces",
                "in a: create, patch deployments.apps, services"
            ]
        );
    }
}
