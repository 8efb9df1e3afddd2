//! What is installed: found by labels, and as remembered in a ConfigMap.

use std::collections::BTreeSet;

use anyhow::Context;
use kube::api::ListParams;
use kube::discovery::ApiResource;
use serde_json::Value;

use super::manifest::{COMPONENT, MESH_NAMESPACE, Place, REVISION};
use super::values::Values;
use crate::cluster::{Cluster, ObjectId};
use crate::envoy::text;

/// API groups that the charts may have objects of. Within them every kind is looked at, so that no
/// list of kinds can be out of date; groups of others are not, as their servers may be down.
const GROUPS: [&str; 10] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "coordination.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
];

/// Kinds that controllers make in the image of others, labels included.
const DERIVED: [&str; 2] = ["Endpoints", "Event"];

/// An object that carries this program's labels.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) id: ObjectId,
    /// `None` for what all revisions share.
    pub(crate) revision: Option<String>,
    /// Namespace of the mesh that it is part of; `None` for what all share, and for objects of the
    /// whole cluster that a program before the label made.
    pub(crate) mesh: Option<String>,
    pub(crate) component: String,
}

impl Owned {
    /// `object`: has the label of a component.
    fn of(object: &Value) -> anyhow::Result<Self> {
        let labels = &object["metadata"]["labels"];
        let label = |name: &str| labels[name].as_str().map(str::to_owned);
        let id = ObjectId::of(object)?;
        let revision = label(REVISION);
        let own = revision.as_ref().and(id.namespace.clone());
        Ok(Self {
            mesh: label(MESH_NAMESPACE).or(own),
            component: text(labels, COMPONENT).to_owned(),
            revision,
            id,
        })
    }
}

/// What an installation remembers of itself.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Version of the program that installed it.
    pub(crate) version: String,
    /// What the user gave.
    pub(crate) values: Values,
    /// Every object, the record itself excluded.
    pub(crate) objects: Vec<ObjectId>,
}

/// The kinds that [`owned`] lists in all namespaces.
pub(crate) fn kinds(cluster: &Cluster) -> Vec<ApiResource> {
    let groups = |group: &str| GROUPS.contains(&group) || group.ends_with("istio.io");
    let kinds = cluster.deletable_kinds().map(|(resource, _)| resource);
    let kinds = kinds.filter(|one| groups(&one.group) && !DERIVED.contains(&one.kind.as_str()));
    kinds.collect()
}

/// Every object in the cluster that this program installed.
pub(crate) async fn owned(cluster: &Cluster) -> anyhow::Result<Vec<Owned>> {
    let labelled = ListParams::default().labels(COMPONENT);
    let objects = cluster.list_kinds(kinds(cluster), None, &labelled).await?;
    let mine = objects
        .iter()
        .filter(|object| object["metadata"]["ownerReferences"].is_null());
    mine.map(Owned::of).collect()
}

/// The revisions that `owned` are of.
pub(crate) fn revisions(owned: &[Owned]) -> BTreeSet<String> {
    owned
        .iter()
        .filter_map(|one| one.revision.clone())
        .collect()
}

/// The namespaces that `revision` is installed in: one, or two after an older program left the first
/// behind.
pub(crate) fn homes(owned: &[Owned], revision: &str) -> BTreeSet<String> {
    let of_revision = owned
        .iter()
        .filter(|one| one.revision.as_deref() == Some(revision));
    of_revision.filter_map(|one| one.mesh.clone()).collect()
}

/// Whether an object is of `revision` in `namespace`. One that doesn't tell its namespace is, unless
/// the revision is in others as well.
pub(crate) fn is_of<'a>(
    owned: &[Owned],
    revision: &'a str,
    namespace: &'a str,
) -> impl Fn(&Owned) -> bool + use<'a> {
    let elsewhere = homes(owned, revision).iter().any(|one| one != namespace);
    move |one| {
        let here = match &one.mesh {
            Some(mesh) => mesh == namespace,
            None => !elsewhere,
        };
        one.revision.as_deref() == Some(revision) && here
    }
}

/// Sorts objects so that deleting them one by one disturbs nobody: webhooks first, as they would block
/// others once nobody serves them; then what makes pods; roles after those who use them; the record
/// last, so that an interrupted removal is still known.
pub(crate) fn sort_for_removal(ids: &mut [ObjectId]) {
    let rank = |id: &ObjectId| match id.kind.as_str() {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => 0,
        "HorizontalPodAutoscaler" | "PodDisruptionBudget" => 1,
        "Deployment" => 2,
        "ConfigMap" if id.name.starts_with("mesh-install") => 9,
        _ => 3,
    };
    ids.sort_by_cached_key(|id| (rank(id), id.clone()));
}

/// The record of an installation; `None` if nothing is installed there.
///
/// # Errors
/// If it was edited into something unreadable.
pub(crate) async fn read(cluster: &Cluster, place: &Place) -> anyhow::Result<Option<Record>> {
    let id = place.record_id();
    match cluster.get(&id).await? {
        Some(object) => parse(&object).map(Some).with_context(|| {
            format!("read {id}, where the installation is recorded (install again with the values that you want, and it is made anew)")
        }),
        None => Ok(None),
    }
}

fn parse(object: &Value) -> anyhow::Result<Record> {
    let data = &object["data"];
    let objects = text(data, "objects").lines().map(str::parse);
    Ok(Record {
        version: text(data, "version").to_owned(),
        values: Values::from_yaml(text(data, "values")).context("data.values")?,
        objects: objects
            .collect::<anyhow::Result<_>>()
            .context("data.objects")?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, namespace: Option<&str>, labels: Value) -> Owned {
        let mut object = json!({"apiVersion": "v1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "labels": labels}});
        object["metadata"]["labels"][COMPONENT] = "control-plane".into();
        Owned::of(&object).unwrap()
    }

    fn names(owned: &[Owned], namespace: &str) -> Vec<String> {
        let ours = is_of(owned, "default", namespace);
        let ours = owned.iter().filter(|one| ours(one));
        ours.map(|one| one.id.name.clone()).collect()
    }

    #[test]
    fn webhooks_go_first_and_the_record_last() {
        let lines = [
            "v1 ConfigMap a/mesh-install-canary",
            "v1 ConfigMap a/istio",
            "apps/v1 Deployment a/istiod",
            "admissionregistration.k8s.io/v1 MutatingWebhookConfiguration istio-sidecar-injector",
        ];
        let mut ids: Vec<ObjectId> = lines.iter().map(|line| line.parse().unwrap()).collect();
        sort_for_removal(&mut ids);
        let kinds: Vec<&str> = ids.iter().map(|id| id.kind.as_str()).collect();
        assert_eq!(
            kinds,
            [
                "MutatingWebhookConfiguration",
                "Deployment",
                "ConfigMap",
                "ConfigMap"
            ]
        );
        assert_eq!(ids[3].name, "mesh-install-canary");
    }

    #[test]
    fn objects_are_of_the_mesh_that_their_label_names() {
        let labels = |mesh: &str| json!({REVISION: "default", MESH_NAMESPACE: mesh});
        let owned = [
            object("ClusterRole", "first", None, labels("istio-system")),
            object("ClusterRole", "second", None, labels("mesh2")),
            object("Service", "other", Some("mesh2"), json!({REVISION: "b"})),
            object("CustomResourceDefinition", "shared", None, json!({})),
        ];
        assert_eq!(names(&owned, "istio-system"), ["first"]);
        assert_eq!(names(&owned, "mesh2"), ["second"]);
    }

    #[test]
    fn objects_of_before_the_label_are_of_the_namespace_with_their_revision() {
        let labels = json!({REVISION: "default"});
        let role = object("ClusterRole", "role", None, labels.clone());
        let service = |namespace| object("Service", "service", Some(namespace), labels.clone());
        let one = [role.clone(), service("istio-system")];
        assert_eq!(names(&one, "istio-system"), ["role", "service"]);
        assert!(names(&one, "mesh2").is_empty());
        let two = [role, service("istio-system"), service("mesh2")];
        assert_eq!(names(&two, "mesh2"), ["service"]);
    }
}
