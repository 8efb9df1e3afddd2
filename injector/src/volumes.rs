//! What the proxy's container mounts.

use serde_json::{Value, json};

use crate::pod::name_of;

/// The volumes: the token for the certificate authority, the mesh's root certificates, the pod's
/// labels and annotations, and room for the proxy's files.
pub(crate) fn volumes() -> Vec<Value> {
    vec![
        json!({"name": "istio-envoy", "emptyDir": {"medium": "Memory"}}),
        json!({"name": "istio-podinfo", "downwardAPI": {"items": [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
        ]}}),
        json!({"name": "istio-token", "projected": {"sources": [{"serviceAccountToken": {
            "path": "istio-token",
            // 12 hours, Istio's value; the kubelet renews it in time.
            "expirationSeconds": 43200,
            "audience": "istio-ca",
        }}]}}),
        json!({"name": "istiod-ca-cert", "configMap": {"name": "istio-ca-root-cert"}}),
    ]
}

/// Where the proxy's container mounts them.
pub(crate) fn mounts() -> Value {
    json!([
        {"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio"},
        {"name": "istio-envoy", "mountPath": "/etc/istio/proxy"},
        {"name": "istio-token", "mountPath": "/var/run/secrets/tokens"},
        {"name": "istio-podinfo", "mountPath": "/etc/istio/pod"},
    ])
}

/// Adds the volumes to a pod's; one of the user's with the same name stays.
pub(crate) fn add(list: &mut Vec<Value>) {
    for volume in volumes() {
        if !list.iter().any(|other| name_of(other) == name_of(&volume)) {
            list.push(volume);
        }
    }
}
