//! What the charts render, before a real API server: it takes every object without a field that it
//! does not know, and gives the control plane the rights that it needs, and no more.
//!
//! The server is private (`mesh_kubernetes::testing`); without its programs the test says so.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use mesh_helm::{Chart, Object, Release};
use mesh_kubernetes::testing::ApiServer;
use serde_json::json;

#[path = "support/cases.rs"]
mod cases;

/// One server for all checks: starting it is what takes the time.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_takes_the_charts() {
    let Some(server) = Box::pin(ApiServer::start()).await else {
        return;
    };
    let client = server.client().await;
    let namespace = Release::new("", "istio-system").namespace;
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    Box::pin(apply(&client, &of(namespace), true)).await;
    for case in cases::cases() {
        let chart = Chart::builtin(case.chart).expect("built in");
        let objects = chart.render(&case.release, &case.values).expect(&case.name);
        for object in &objects {
            // Dry runs: the cases contradict each other. Definitions are there for good.
            let keep = object.kind() == "CustomResourceDefinition";
            Box::pin(apply(&client, object, keep)).await;
        }
    }
    Box::pin(pods_are_harmless(&client)).await;
    for object in control_plane() {
        if object.api_version().starts_with("rbac.") {
            Box::pin(apply(&client, &object, true)).await;
        }
    }
    for (rights, expected) in [(NEEDED, true), (REFUSED, false)] {
        for right in rights {
            assert_eq!(
                Box::pin(is_allowed(&client, right)).await,
                expected,
                "{right:?}"
            );
        }
    }
}

/// The pods of the control plane and of a gateway run where only harmless pods may: under the Pod
/// Security Standard `restricted`.
async fn pods_are_harmless(client: &Client) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    }});
    Box::pin(apply(client, &of(namespace), true)).await;
    for chart in ["meshd", "gateway"] {
        let chart = Chart::builtin(chart).expect("built in");
        let release = Release::new("istiod", "strict");
        let objects = chart.render(&release, &json!({})).expect("renders");
        let deployment = objects.iter().find(|object| object.kind() == "Deployment");
        let deployment = deployment.expect("both have one");
        let mut pod = deployment.manifest["spec"]["template"].clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = "pod".into();
        pod["metadata"]["namespace"] = "strict".into();
        Box::pin(apply(client, &of(pod), false)).await;
    }
}

fn control_plane() -> Vec<Object> {
    let chart = Chart::builtin("meshd").expect("built in");
    chart
        .render(&Release::new("istiod", "istio-system"), &json!({}))
        .expect("renders")
}

fn of(manifest: serde_json::Value) -> Object {
    Object {
        manifest,
        source: "test".to_owned(),
    }
}

async fn apply(client: &Client, object: &Object, keep: bool) {
    let (group, version) = object
        .api_version()
        .split_once('/')
        .unwrap_or(("", object.api_version()));
    let kind = GroupVersionKind::gvk(group, version, object.kind());
    let (resource, capabilities) = pinned_kind(client, &kind).await.expect("a served kind");
    let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        (Scope::Cluster, None) => Api::all_with(client.clone(), &resource),
        (scope, namespace) => panic!("{}: {scope:?} in {namespace:?}", object.source),
    };
    let parameters = PatchParams {
        dry_run: !keep,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("charts").force()
    };
    let applied = api
        .patch(object.name(), &parameters, &Patch::Apply(&object.manifest))
        .await;
    if let Err(error) = applied {
        panic!("{}: {error}\n{}", object.source, object.manifest);
    }
}

/// Verb, group, resource (with its subresource), namespace (empty: all) and name (empty: any).
type Right = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const NEEDED: &[Right] = &[
    // pilot
    ("watch", "", "namespaces", "", ""),
    ("watch", "", "services", "", ""),
    ("watch", "", "pods", "", ""),
    ("watch", "", "nodes", "", ""),
    ("watch", "", "secrets", "", ""),
    ("watch", "", "configmaps", "istio-system", ""),
    ("list", "discovery.k8s.io", "endpointslices", "", ""),
    (
        "list",
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "",
        "",
    ),
    ("list", "networking.istio.io", "virtualservices", "", ""),
    (
        "get",
        "security.istio.io",
        "authorizationpolicies",
        "shop",
        "x",
    ),
    (
        "patch",
        "networking.istio.io",
        "virtualservices/status",
        "shop",
        "x",
    ),
    ("create", "events.k8s.io", "events", "shop", ""),
    ("patch", "events.k8s.io", "events", "shop", "x"),
    // citadel
    ("create", "authentication.k8s.io", "tokenreviews", "", ""),
    (
        "create",
        "authorization.k8s.io",
        "subjectaccessreviews",
        "",
        "",
    ),
    ("create", "", "configmaps", "shop", ""),
    ("patch", "", "configmaps", "shop", "istio-ca-root-cert"),
    ("watch", "", "configmaps", "", "istio-ca-root-cert"),
    ("create", "", "secrets", "istio-system", ""),
    ("update", "", "secrets", "istio-system", "istio-ca-secret"),
    (
        "create",
        "coordination.k8s.io",
        "leases",
        "istio-system",
        "",
    ),
    (
        "update",
        "coordination.k8s.io",
        "leases",
        "istio-system",
        "x",
    ),
    // injector and validation
    (
        "watch",
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "",
        "",
    ),
    (
        "patch",
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "",
        "istio-sidecar-injector",
    ),
    (
        "patch",
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        "",
        "istio-validator-istio-system",
    ),
    (
        "create",
        "networking.istio.io",
        "gateways",
        "istio-system",
        "",
    ),
];

const REFUSED: &[Right] = &[
    ("create", "", "pods", "shop", ""),
    ("patch", "", "pods", "shop", "x"),
    ("create", "", "secrets", "shop", ""),
    ("update", "", "secrets", "shop", "x"),
    ("update", "", "secrets", "istio-system", "cacerts"),
    ("delete", "", "secrets", "istio-system", "x"),
    ("list", "", "configmaps", "shop", ""),
    ("patch", "", "configmaps", "shop", "x"),
    ("patch", "", "configmaps", "istio-system", "istio"),
    (
        "patch",
        "networking.istio.io",
        "virtualservices",
        "shop",
        "x",
    ),
    ("create", "networking.istio.io", "gateways", "shop", ""),
    (
        "update",
        "coordination.k8s.io",
        "leases",
        "kube-system",
        "x",
    ),
    (
        "patch",
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "",
        "another",
    ),
    (
        "delete",
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "",
        "istio-sidecar-injector",
    ),
    (
        "patch",
        "rbac.authorization.k8s.io",
        "clusterroles",
        "",
        "istiod-clusterrole-istio-system",
    ),
];

async fn is_allowed(client: &Client, right: &Right) -> bool {
    let (verb, group, resource, namespace, name) = *right;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let text = |text: &str| Some(text.to_owned());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: text("system:serviceaccount:istio-system:istiod"),
            resource_attributes: Some(ResourceAttributes {
                verb: text(verb),
                group: text(group),
                resource: text(resource),
                subresource: text(subresource),
                namespace: text(namespace),
                name: text(name),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &review).await;
    review.expect("reviewed").status.expect("a verdict").allowed
}
