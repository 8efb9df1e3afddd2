//! What happens to a pod between its template and its start: what the API server's own admission
//! does, and the injector, as its webhook would.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::objects::names;

/// Where pods expect their service account.
const ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What a pod is made from.
#[derive(Debug, Clone)]
pub(crate) struct Template<'a> {
    /// The pod's namespace.
    pub(crate) namespace: &'a str,
    /// `metadata` and `spec`, as in a Deployment's `spec.template`.
    pub(crate) template: &'a Value,
    /// The ReplicaSet: name, uid, template hash; `None` for a bare pod.
    pub(crate) owner: Option<(&'a str, &'a str, &'a str)>,
}

/// The pod as a webhook would see it: labels, owner and account filled in, no name yet.
pub(crate) fn draft(template: &Template<'_>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template.template["metadata"].clone(),
        "spec": template.template["spec"].clone(),
    });
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    pod["metadata"]["namespace"] = template.namespace.into();
    if let Some((owner, uid, hash)) = template.owner {
        pod["metadata"]["generateName"] = format!("{owner}-").into();
        pod["metadata"]["labels"]["pod-template-hash"] = hash.into();
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": uid,
            "controller": true, "blockOwnerDeletion": true,
        }]);
    }
    let spec = &mut pod["spec"];
    if spec["serviceAccountName"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        spec["serviceAccountName"] = match spec["serviceAccount"].as_str() {
            Some(old_name) => old_name.into(),
            None => "default".into(),
        };
    }
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    pod
}

/// The injected pod with name, uid and account mounts, ready to run.
///
/// # Errors
/// What the injector produced that is no pod.
pub(crate) fn finish(mut pod: Value, uid: &str, created: &str) -> Result<Pod, String> {
    let metadata = &mut pod["metadata"];
    if metadata["name"].as_str().unwrap_or_default().is_empty() {
        let prefix = metadata["generateName"].as_str().unwrap_or("pod-");
        metadata["name"] = format!("{prefix}{}", names::random_suffix()).into();
    }
    metadata["uid"] = uid.into();
    metadata["creationTimestamp"] = created.into();
    pod["spec"]["nodeName"] = "local".into();
    if pod["spec"]["automountServiceAccountToken"] != json!(false) {
        mount_account(&mut pod);
    }
    serde_json::from_value(pod).map_err(|error| format!("the pod cannot be read: {error}"))
}

/// As the ServiceAccount admission plugin: one projected volume, mounted into every container that
/// has nothing there.
fn mount_account(pod: &mut Value) {
    let volume = "kube-api-access";
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let mounts = &mut container["volumeMounts"];
            if !mounts.is_array() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else {
                continue;
            };
            if mounts.iter().all(|mount| mount["mountPath"] != ACCOUNT_DIR) {
                mounts.push(json!({"name": volume, "mountPath": ACCOUNT_DIR, "readOnly": true}));
                used = true;
            }
        }
    }
    if !used {
        return;
    }
    let volumes = &mut pod["spec"]["volumes"];
    if !volumes.is_array() {
        *volumes = json!([]);
    }
    let namespace = json!({"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}});
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(json!({"name": volume, "projected": {"sources": [
            // One hour and seven seconds: how the API server marks tokens of this kind.
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "optional": true,
                "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ]}}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": "web"}]}})
    }

    #[test]
    fn a_draft_is_what_a_webhook_sees() {
        let template = template();
        let owner = Some(("web-5d8", "rs-uid", "5d8"));
        let pod = draft(&Template {
            namespace: "shop",
            template: &template,
            owner,
        });
        assert_eq!(pod["metadata"]["generateName"], "web-5d8-");
        assert_eq!(pod["metadata"]["labels"]["pod-template-hash"], "5d8");
        assert_eq!(pod["metadata"]["name"], Value::Null);
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
    }

    #[test]
    fn a_finished_pod_has_a_name_and_its_account() {
        let template = template();
        let owner = Some(("web-5d8", "rs-uid", "5d8"));
        let pod = draft(&Template {
            namespace: "shop",
            template: &template,
            owner,
        });
        let pod = finish(pod, "uid", "2026-01-01T00:00:00Z").unwrap();
        let name = pod.metadata.name.unwrap();
        assert!(name.starts_with("web-5d8-") && name.len() == 13, "{name}");
        let spec = pod.spec.unwrap();
        let mounts = spec.containers[0].volume_mounts.as_ref().unwrap();
        assert_eq!(mounts[0].mount_path, ACCOUNT_DIR);
        assert_eq!(spec.volumes.unwrap()[0].name, mounts[0].name);
    }

    #[test]
    fn a_pod_may_do_without_a_token() {
        let mut template = template();
        template["spec"]["automountServiceAccountToken"] = json!(false);
        let pod = draft(&Template {
            namespace: "shop",
            template: &template,
            owner: None,
        });
        let pod = finish(pod, "uid", "2026-01-01T00:00:00Z").unwrap();
        assert!(pod.spec.unwrap().volumes.is_none());
    }
}
