//! What is left after everything that was installed has gone.

use std::collections::BTreeSet;

use kube::api::ListParams;
use kube::discovery::Scope;
use serde_json::Value;

use crate::cluster::{Cluster, ObjectId};
use crate::envoy::text;
use crate::install::manifest::COMPONENT;

/// The ConfigMap with the mesh's root certificate, in every namespace.
const TRUST_BUNDLE: &str = "istio-ca-root-cert";
/// Secret with the roots that are trusted. No other mesh has it, so it tells where ours was.
const TRUST: &str = "citadel-trust";
/// Secrets of the certificate authority that the control plane made itself. The one that tells where
/// it was goes last, so that an interrupted removal is still known.
const OWN_AUTHORITY: [&str; 2] = ["istio-ca-secret", TRUST];
/// How the names of the control plane's leases begin.
const LEASES: &str = "istio-";

/// The namespaces in which a control plane ran, although nothing that was installed may be left there.
pub(super) async fn namespaces(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let records = cluster
        .list_kind(("v1", "Secret"), None, &named(TRUST))
        .await?;
    let namespaces = records
        .iter()
        .map(|one| text(&one["metadata"], "namespace").to_owned());
    Ok(namespaces.collect())
}

/// What the control plane made while it ran: certificates and leases in `namespaces`, its trust
/// bundle everywhere. All of that is shared with a control plane of another origin, if there is one;
/// then nothing of it is to go.
pub(super) async fn of_control_plane(
    cluster: &Cluster,
    namespaces: &BTreeSet<String>,
) -> anyhow::Result<Vec<ObjectId>> {
    let istiods = ListParams::default().labels("app=istiod");
    let istiods = cluster
        .list_kind(("apps/v1", "Deployment"), None, &istiods)
        .await?;
    let mut labels = istiods.iter().map(|one| &one["metadata"]["labels"]);
    if labels.any(|labels| labels[COMPONENT].is_null()) {
        return Ok(Vec::new());
    }
    let mut made = cluster
        .list_kind(("v1", "ConfigMap"), None, &named(TRUST_BUNDLE))
        .await?;
    for namespace in namespaces {
        let (leases, all) = (("coordination.k8s.io/v1", "Lease"), ListParams::default());
        let mut leases = cluster.list_kind(leases, Some(namespace), &all).await?;
        leases.retain(|one| text(&one["metadata"], "name").starts_with(LEASES));
        made.extend(leases);
        for name in OWN_AUTHORITY {
            let which = named(name);
            let secrets = cluster.list_kind(("v1", "Secret"), Some(namespace), &which);
            made.extend(secrets.await?);
        }
    }
    made.iter().map(ObjectId::of).collect()
}

fn named(name: &str) -> ListParams {
    ListParams::default().fields(&format!("metadata.name={name}"))
}

/// Objects in `namespace` that neither Kubernetes nor the mesh put there.
pub(super) async fn of_others(cluster: &Cluster, namespace: &str) -> anyhow::Result<Vec<ObjectId>> {
    let kinds = cluster
        .deletable_kinds()
        .filter(|(_, scope)| *scope == Scope::Namespaced);
    let kinds = kinds.map(|(resource, _)| resource).collect();
    let objects = cluster
        .list_kinds(kinds, Some(namespace), &ListParams::default())
        .await?;
    let others = objects.iter().filter(|object| is_of_somebody(object));
    let others: BTreeSet<ObjectId> = others.map(ObjectId::of).collect::<anyhow::Result<_>>()?;
    Ok(others.into_iter().collect())
}

/// Whether somebody made the object on purpose: no controller did it for another object, Kubernetes
/// does not put it into every namespace, and it isn't going.
fn is_of_somebody(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let by_itself = matches!(
        (text(object, "kind"), text(metadata, "name")),
        ("Event" | "Endpoints" | "EndpointSlice", _)
            | ("ServiceAccount", "default")
            | (
                "ConfigMap",
                "kube-root-ca.crt" | "openshift-service-ca.crt" | TRUST_BUNDLE
            )
    );
    !by_itself && metadata["ownerReferences"].is_null() && metadata["deletionTimestamp"].is_null()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_kubernetes_makes_by_itself_is_nobodys() {
        let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}});
        assert!(!is_of_somebody(&object("ServiceAccount", "default")));
        assert!(!is_of_somebody(&object("ConfigMap", "kube-root-ca.crt")));
        assert!(is_of_somebody(&object("Secret", "cacerts")));
        let owned = json!({"kind": "Pod", "metadata": {"name": "a", "ownerReferences": [{}]}});
        assert!(!is_of_somebody(&owned));
        let going = json!({"kind": "Pod", "metadata": {"name": "a", "deletionTimestamp": "now"}});
        assert!(!is_of_somebody(&going));
    }
}
