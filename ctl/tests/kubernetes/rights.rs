//! Users who may do something, but not everything.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Cluster, meshctl};

const USER: &str = "installer";

/// Who may make roles may not give rights that he hasn't, unless he may escalate. Returns the
/// kubeconfig of a user who may.
pub(crate) async fn are_asked_for(cluster: &Cluster) -> PathBuf {
    let installer = cluster.server.kubeconfig_as(USER);
    let object = |kind: &str, fields: Value| {
        let mut object = fields;
        object["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = USER.into();
        object
    };
    let role = |rules: Value| object("ClusterRole", json!({"rules": rules}));
    let all = |verbs: &[&str]| json!({"apiGroups": ["*"], "resources": ["*"], "verbs": verbs});
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}]});
    cluster.apply(object("ClusterRoleBinding", binding)).await;

    let within = json!([all(&["get", "create", "patch", "delete"])]);
    cluster.apply(role(within)).await;
    let said = meshctl(&installer, "precheck").await;
    said.fails().has("    list clusterrolebindings.rbac");

    let usual = all(&["get", "list", "create", "patch", "delete"]);
    cluster.apply(role(json!([usual]))).await;
    let said = meshctl(&installer, "precheck").await;
    said.fails()
        .has("escalate and bind clusterroles and roles.rbac.authorization.k8s.io, or else")
        .has("configmaps (istio-ca-root-cert)")
        .has("in istio-system: update leases.coordination.k8s.io, secrets (citadel-trust)");
    assert!(!said.text.contains("list"), "{}", said.text);

    let every = all(&[
        "get", "list", "create", "patch", "delete", "watch", "update",
    ]);
    cluster.apply(role(json!([every]))).await;
    meshctl(&installer, "precheck").await.ok();

    let freely = json!({"apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles", "roles"], "verbs": ["escalate", "bind"]});
    cluster.apply(role(json!([usual, freely]))).await;
    meshctl(&installer, "precheck").await.ok();
    installer
}
