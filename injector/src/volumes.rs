//! What the proxy's container mounts.

use serde_json::{Map, Value, json};

use crate::InjectError;
use crate::annotations::Annotations;
use crate::pod::name_of;

/// The volumes and mounts that a pod's annotations add for its proxy.
#[derive(Debug, Default)]
pub(crate) struct UserVolumes {
    volumes: Vec<Value>,
    mounts: Vec<Value>,
}

impl UserVolumes {
    /// Reads `sidecar.istio.io/userVolume` and `sidecar.istio.io/userVolumeMount`: JSON objects
    /// from a volume's name to the volume, and from a volume's name to its mount.
    ///
    /// # Errors
    /// Names the annotation that is not of this form.
    pub(crate) fn read(annotations: &Annotations) -> Result<Self, InjectError> {
        let list = |name: &str| Ok(annotations.read(name, named_objects)?.unwrap_or_default());
        Ok(UserVolumes {
            volumes: list("sidecar.istio.io/userVolume")?,
            mounts: list("sidecar.istio.io/userVolumeMount")?,
        })
    }
}

fn named_objects(text: &str) -> Result<Vec<Value>, String> {
    let form = "write a JSON object from a volume's name to its fields, such as \
                {\"certs\":{\"secret\":{\"secretName\":\"certs\"}}}";
    let objects: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("{error}; {form}"))?;
    let named = |(name, mut value): (String, Value)| {
        let fields = value
            .as_object_mut()
            .ok_or_else(|| format!("{name} is not an object; {form}"))?;
        fields.insert("name".to_owned(), name.into());
        Ok(value)
    };
    objects.into_iter().map(named).collect()
}

/// The volumes: the token for the certificate authority, the mesh's root certificates, the pod's
/// labels and annotations, room for the proxy's files, and the user's.
pub(crate) fn volumes(user: &UserVolumes) -> Vec<Value> {
    let ours = [
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
    ];
    ours.iter().chain(&user.volumes).cloned().collect()
}

/// Where the proxy's container mounts them.
pub(crate) fn mounts(user: &UserVolumes) -> Vec<Value> {
    let ours = [
        json!({"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio"}),
        json!({"name": "istio-envoy", "mountPath": "/etc/istio/proxy"}),
        json!({"name": "istio-token", "mountPath": "/var/run/secrets/tokens"}),
        json!({"name": "istio-podinfo", "mountPath": "/etc/istio/pod"}),
    ];
    ours.iter().chain(&user.mounts).cloned().collect()
}

/// Adds the volumes to a pod's; one of the pod's with the same name stays.
pub(crate) fn add(list: &mut Vec<Value>, volumes: &[Value]) {
    for volume in volumes {
        if !list.iter().any(|other| name_of(other) == name_of(volume)) {
            list.push(volume.clone());
        }
    }
}
