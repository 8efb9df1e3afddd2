//! What a control plane makes while it runs. None does here, so the test makes it.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Cluster, NAMESPACE};

/// Five objects of the control plane, and the user's own authority.
pub(crate) async fn are_made(cluster: &Cluster) {
    for (api_version, kind, name, namespace) in [
        ("v1", "Secret", "istio-ca-secret", NAMESPACE),
        ("v1", "Secret", "citadel-trust", NAMESPACE),
        ("v1", "ConfigMap", "istio-ca-root-cert", NAMESPACE),
        ("v1", "ConfigMap", "istio-ca-root-cert", "default"),
        (
            "coordination.k8s.io/v1",
            "Lease",
            "istio-status-leader",
            NAMESPACE,
        ),
        ("v1", "Secret", "cacerts", NAMESPACE),
    ] {
        let metadata = json!({"name": name, "namespace": namespace});
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        cluster.apply(object).await;
    }
}

/// Nothing but the user's own authority is there that was not there `before`.
pub(crate) async fn are_gone(cluster: &Cluster, before: &BTreeSet<String>) {
    let mut left = cluster.names().await;
    assert!(
        left.remove("Secret istio-system/cacerts"),
        "the user's own authority is gone"
    );
    Cluster::same(&left, before);
}
