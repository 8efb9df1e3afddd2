//! Whether the user may do what an installation does.

mod escalation;

use std::collections::BTreeMap;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use serde_json::{Value, json};

use super::{Finding, Level};
use crate::cluster::{Cluster, ObjectId, because};
use crate::install::manifest::{Component, Place};
use crate::install::record;

/// What installing, checking and removing an object takes.
const VERBS: [&str; 4] = ["get", "create", "patch", "delete"];
/// What waiting for pods and talking to them takes.
const PODS: [(&str, &str, &str); 4] = [
    ("list", "pods", ""),
    ("list", "events", ""),
    ("get", "pods", "log"),
    ("create", "pods", "portforward"),
];
const CONCURRENCY: usize = 16;

/// One question to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Access {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    namespace: Option<String>,
    /// `None` for objects of any name.
    name: Option<String>,
}

/// Asks for every kind that is installed or listed, and for what roles give; tells all that is
/// missing.
pub(super) async fn check(
    cluster: &Cluster,
    components: &[Component],
    place: &Place,
) -> anyhow::Result<Finding> {
    let questions = questions(cluster, components, place)?;
    let mut missing = lines(&refused(cluster.client(), questions).await?);
    let rights = lines(&escalation::missing(cluster.client(), components).await?);
    if !rights.is_empty() {
        missing.push(
            "escalate and bind clusterroles and roles.rbac.authorization.k8s.io, or else what the mesh's roles give:"
                .to_owned(),
        );
        missing.extend(rights.iter().map(|line| format!("  {line}")));
    }
    Ok(match missing.is_empty() {
        true => Finding::new(Level::Fine, "all permissions that an installation needs"),
        false => Finding::new(
            Level::Error,
            format!(
                "permissions are missing (ask for the ClusterRole cluster-admin, or for these):\n    {}",
                missing.join("\n    ")
            ),
        ),
    })
}

/// Those of `questions` to which the API server says no.
async fn refused(client: &Client, questions: Vec<Access>) -> anyhow::Result<Vec<Access>> {
    let asked = questions.iter().map(|access| allowed(client, access));
    let asked: Vec<_> = asked.collect();
    let answers: Vec<bool> = stream::iter(asked)
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let refused = questions
        .into_iter()
        .zip(answers)
        .filter(|(_, allowed)| !allowed);
    Ok(refused.map(|(access, _)| access).collect())
}

fn questions(
    cluster: &Cluster,
    components: &[Component],
    place: &Place,
) -> anyhow::Result<Vec<Access>> {
    let mut questions: Vec<Access> = Vec::new();
    let mut add = |verb: &str, (group, resource, subresource): (&str, &str, &str), namespace| {
        let access = Access {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace,
            name: None,
        };
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
            let resource = (resource.group.as_str(), resource.plural.as_str(), "");
            add(verb, resource, id.namespace.clone());
        }
    }
    // What is installed is looked for everywhere, to know what else has to go or is in the way.
    for kind in record::kinds(cluster) {
        add("list", (&kind.group, &kind.plural, ""), None);
    }
    for verb in ["get", "create", "patch"] {
        add(verb, ("", "namespaces", ""), None);
    }
    for (verb, resource, subresource) in PODS {
        let namespace = Some(place.namespace.clone());
        add(verb, ("", resource, subresource), namespace);
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
            "name": access.name,
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
        if let Some(name) = &access.name {
            what = format!("{what} ({name})");
        }
        let namespace = access.namespace.as_deref();
        verbs
            .entry((namespace, what))
            .or_default()
            .push(&access.verb);
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
        let access = |verb: &str, group: &str, resource: &str, namespace: Option<&str>| Access {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: String::new(),
            namespace: namespace.map(str::to_owned),
            name: None,
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
