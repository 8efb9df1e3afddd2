//! What is installed: found by labels, and as remembered in a ConfigMap.

use std::collections::BTreeSet;

use anyhow::Context;
use kube::api::ListParams;
use serde_json::Value;

use super::manifest::{COMPONENT, Place, REVISION};
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
    pub(crate) component: String,
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

/// Every object in the cluster that this program installed.
pub(crate) async fn owned(cluster: &Cluster) -> anyhow::Result<Vec<Owned>> {
    let groups = |group: &str| GROUPS.contains(&group) || group.ends_with("istio.io");
    let kinds = cluster.deletable_kinds().map(|(resource, _)| resource);
    let kinds = kinds.filter(|one| groups(&one.group) && !DERIVED.contains(&one.kind.as_str()));
    let labelled = ListParams::default().labels(COMPONENT);
    let objects = cluster.list_kinds(kinds.collect(), None, &labelled).await?;
    let mine = objects
        .iter()
        .filter(|object| object["metadata"]["ownerReferences"].is_null());
    mine.map(|object| {
        let labels = &object["metadata"]["labels"];
        Ok(Owned {
            id: ObjectId::of(object)?,
            revision: labels[REVISION].as_str().map(str::to_owned),
            component: text(labels, COMPONENT).to_owned(),
        })
    })
    .collect()
}

/// The revisions that `owned` are of.
pub(crate) fn revisions(owned: &[Owned]) -> BTreeSet<String> {
    owned
        .iter()
        .filter_map(|one| one.revision.clone())
        .collect()
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
