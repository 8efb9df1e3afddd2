//! The webhooks behind a real API server: what it accepts, what people are told, and what happens
//! while the control plane is down.
//!
//! One server for all steps, since a start takes long; skipped, with a word on standard error,
//! where there is none.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::large_futures, reason = "one at a time")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/tls.rs"]
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Check, eventually};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use mesh_config::MeshConfig;
use mesh_injector::{Cluster, Inputs, Server, Settings, watch_inputs, webhook_config};
use mesh_kubernetes::testing::ApiServer;
use mesh_telemetry::metrics::Registry;
use serde_json::{Value, json};
use tls::Running;
use tokio::sync::watch;

const MESH: &str = "mesh-system";

fn control_plane() -> Cluster {
    Cluster {
        namespace: MESH.to_owned(),
        revision: "default".to_owned(),
        cluster_id: "Kubernetes".to_owned(),
        trust_domain: "cluster.local".to_owned(),
    }
}

fn inputs() -> Inputs {
    Inputs {
        mesh: Arc::new(MeshConfig::default()),
        settings: Arc::new(Settings::default()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_behind_a_real_api_server() {
    let Some(server) = Box::pin(ApiServer::start()).await else {
        return;
    };
    let check = Check::new(server.client().await);
    check.namespace(MESH, json!({})).await;
    Box::pin(golden_pods_are_accepted(&check)).await;
    Box::pin(settings_are_followed(&check)).await;
    check.crds().await;
    let (_keep, inputs) = watch::channel(Some(inputs()));
    let running = Running::start(Server::new(inputs, &Registry::new())).await;
    Box::pin(pods_are_injected_by_label(&check, &running)).await;
    Box::pin(configurations_are_kept_current(&check, &running)).await;
    Box::pin(invalid_objects_are_refused_with_the_path(&check)).await;
    running.stop().await;
    Box::pin(without_a_control_plane_the_mesh_is_closed_and_the_rest_open(&check)).await;
}

/// What Kubernetes refuses of an injected pod, golden files of our own cannot tell.
async fn golden_pods_are_accepted(check: &Check) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut refused = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().ends_with(".out.yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut pod: Value = serde_yaml::from_str(&text).unwrap();
        pod["metadata"]["namespace"] = "default".into();
        // What the admission plugin ServiceAccount does.
        pod["spec"]["serviceAccountName"] = "default".into();
        // Owners are not checked for, but need an id.
        for owner in pod["metadata"]["ownerReferences"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            owner["uid"] = "1".into();
        }
        let pods: Api<Pod> = Api::namespaced(check.client.clone(), "default");
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let typed = serde_json::from_value(pod).unwrap();
        if let Err(error) = pods.create(&dry_run, &typed).await {
            refused.push(format!("{}: {error}", path.display()));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// ConfigMaps take effect within a second; a broken one is told, and changes nothing.
async fn settings_are_followed(check: &Check) {
    const NAME: &str = "istio-sidecar-injector";
    let registry = Registry::new();
    let (inputs, follow) = watch_inputs(check.client.clone(), control_plane(), &registry);
    let mut seen = Seen(inputs);
    let task = tokio::spawn(follow);
    let maps: Api<ConfigMap> = Api::namespaced(check.client.clone(), MESH);
    let post = PostParams::default();
    let values = config_map(NAME, "values", "global: {hub: example.com, tag: one}");
    maps.create(&post, &values).await.unwrap();
    seen.within(20, |inputs| {
        inputs.settings.proxy_image == "example.com/meshproxy:one"
    })
    .await;
    // The test's API server is newer than 1.29.
    assert_eq!(seen.now().settings.native_sidecar, Some(true));

    let patch = |values: &str| Patch::Merge(json!({"data": {"values": values}}));
    let how = PatchParams::default();
    let broken = patch("global: {hub: h, proxy: {logLevel: loud}}");
    maps.patch(NAME, &how, &broken).await.unwrap();
    eventually("the broken ConfigMap is told", async || {
        let line = format!("sidecar_injection_settings_valid{{configmap=\"{NAME}\"}} 0");
        registry.render().contains(&line)
    })
    .await;
    assert_eq!(seen.now().settings.proxy_image, "example.com/meshproxy:one");
    let changed = patch("global: {hub: example.com, tag: two}");
    maps.patch(NAME, &how, &changed).await.unwrap();
    seen.within(1, |inputs| {
        inputs.settings.proxy_image == "example.com/meshproxy:two"
    })
    .await;

    let mesh = "{rootNamespace: root, trustDomain: example.org}";
    let mesh = config_map("istio", "mesh", mesh);
    maps.create(&post, &mesh).await.unwrap();
    seen.within(1, |inputs| inputs.mesh.root_namespace == "root")
        .await;
    let domain = &seen.now().mesh.trust_domain;
    assert_eq!(
        domain, "cluster.local",
        "that in which certificates are signed"
    );
    drop(seen);
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, task).await.unwrap().unwrap();
}

/// The inputs as they come.
struct Seen(watch::Receiver<Option<Inputs>>);

impl Seen {
    fn now(&self) -> Inputs {
        self.0.borrow().clone().unwrap()
    }

    async fn within(&mut self, seconds: u64, condition: impl Fn(&Inputs) -> bool) {
        let holds = |inputs: &Option<Inputs>| inputs.as_ref().is_some_and(&condition);
        let limit = Duration::from_secs(seconds);
        tokio::time::timeout(limit, self.0.wait_for(holds))
            .await
            .unwrap()
            .unwrap();
    }
}

fn config_map(name: &str, key: &str, text: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {key: text}})).unwrap()
}

/// As the chart's, but called by URL; `bundle` is empty until it is filled in.
fn hook(running: &Running, name: &str, path: &str, bundle: &str) -> Value {
    let url = format!("https://localhost:{}{path}", running.address.port());
    let bundle = k8s_openapi::ByteString(bundle.as_bytes().to_vec());
    json!({
        "name": name,
        "clientConfig": {"url": url, "caBundle": bundle},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
    })
}

async fn pods_are_injected_by_label(check: &Check, running: &Running) {
    let mut injects = hook(
        running,
        "namespace.sidecar-injector.istio.io",
        "/inject",
        &running.root_pem,
    );
    injects["failurePolicy"] = "Fail".into();
    injects["rules"] = json!([{
        "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
    }]);
    injects["namespaceSelector"] = json!({"matchLabels": {"istio-injection": "enabled"}});
    let metadata = json!({"name": "istio-sidecar-injector", "labels": {"istio.io/rev": "default"}});
    let configuration = json!({"metadata": metadata, "webhooks": [injects]});
    let api: Api<MutatingWebhookConfiguration> = Api::all(check.client.clone());
    let configuration = serde_json::from_value(configuration).unwrap();
    api.create(&PostParams::default(), &configuration)
        .await
        .unwrap();
    check
        .namespace("meshed", json!({"istio-injection": "enabled"}))
        .await;
    check.namespace("plain", json!({})).await;
    eventually(
        "a pod of the labelled namespace gets its proxy",
        async || {
            let pod = check.pod("meshed", json!({}), true).await.unwrap();
            let spec = pod.spec.unwrap();
            let names = spec
                .init_containers
                .iter()
                .flatten()
                .map(|c| c.name.clone());
            names.collect::<Vec<_>>() == ["istio-init", "istio-proxy"]
        },
    )
    .await;
    let plain = check.pod("plain", json!({}), true).await.unwrap();
    assert_eq!(plain.spec.unwrap().init_containers, None);
    let annotations = json!({"sidecar.istio.io/logLevel": "loud"});
    let error = check.pod("meshed", annotations, true).await.unwrap_err();
    assert_eq!(
        error,
        "admission webhook \"namespace.sidecar-injector.istio.io\" denied the request: \
         cannot inject the mesh's proxy: annotation sidecar.istio.io/logLevel=\"loud\" is not valid: \
         use one of trace, debug, info, warning, error, critical, off"
    );
}

const VALIDATOR: &str = "istio-validator-mesh-system";

/// The validating webhook as the chart installs it: without a bundle, and open.
async fn install_validator(check: &Check, running: &Running) {
    let mut validates = hook(running, "validation.istio.io", "/validate", "");
    validates["clientConfig"]
        .as_object_mut()
        .unwrap()
        .remove("caBundle");
    validates["failurePolicy"] = "Ignore".into();
    validates["rules"] = json!([{
        "operations": ["CREATE", "UPDATE"],
        "apiGroups": ["networking.istio.io"],
        "apiVersions": ["*"],
        "resources": ["*"],
    }]);
    let metadata = json!({"name": VALIDATOR, "labels": {"istio.io/rev": "default"}});
    let configuration = json!({"metadata": metadata, "webhooks": [validates]});
    let configuration = serde_json::from_value(configuration).unwrap();
    let created = validators(check)
        .create(&PostParams::default(), &configuration)
        .await;
    created.unwrap();
}

fn validators(check: &Check) -> Api<ValidatingWebhookConfiguration> {
    Api::all(check.client.clone())
}

/// Bundle and failure policy of the validating webhook.
async fn validator(check: &Check) -> (String, String) {
    let found = validators(check).get(VALIDATOR).await.unwrap();
    let hook = found.webhooks.unwrap().remove(0);
    let bundle = hook.client_config.ca_bundle.unwrap_or_default().0;
    let bundle = String::from_utf8(bundle).unwrap();
    (bundle, hook.failure_policy.unwrap())
}

async fn change_validator(check: &Check, operations: Value) {
    let change: Patch<()> = Patch::Json(serde_json::from_value(operations).unwrap());
    let how = PatchParams::default();
    let changed = validators(check).patch(VALIDATOR, &how, &change).await;
    changed.unwrap();
}

async fn configurations_are_kept_current(check: &Check, running: &Running) {
    install_validator(check, running).await;
    // A root that signed another certificate: validation cannot answer, and stays open.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = other.cert.pem();
    let (roots, bundle) = watch::channel(other.clone());
    let registry = Registry::new();
    let keeping = webhook_config::keep(check.client.clone(), control_plane(), bundle, &registry);
    let keeping = tokio::spawn(keeping);
    eventually("the first root is written", async || {
        validator(check).await.0 == other
    })
    .await;
    assert_eq!(validator(check).await.1, "Ignore");
    let both = format!("{other}{}", running.root_pem);
    let armed = (both.clone(), "Fail".to_owned());
    roots.send_replace(both.clone());
    eventually(
        "the new roots are written, and validation fails closed",
        async || validator(check).await == armed,
    )
    .await;
    let overwrite = json!([
        {"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"},
        {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"},
    ]);
    change_validator(check, overwrite).await;
    eventually("what somebody overwrites is restored", async || {
        validator(check).await == armed
    })
    .await;
    let injector: Api<MutatingWebhookConfiguration> = Api::all(check.client.clone());
    let injector = injector.get("istio-sidecar-injector").await.unwrap();
    let hook = injector.webhooks.unwrap().remove(0);
    assert_eq!(hook.client_config.ca_bundle.unwrap().0, both.as_bytes());
    drop(roots);
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, keeping).await.unwrap().unwrap();
}

fn virtual_service(name: &str, weight: i32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "meshed"},
        "spec": {"hosts": ["reviews"], "http": [{"route": [
            {"destination": {"host": "reviews"}, "weight": weight},
        ]}]},
    })
}

async fn invalid_objects_are_refused_with_the_path(check: &Check) {
    let wrong = virtual_service("reviews", -1);
    let error = check.create(&wrong).await.unwrap_err();
    let words = error
        .strip_prefix("admission webhook \"validation.istio.io\" denied the request: ")
        .unwrap_or_else(|| panic!("{error}"));
    let offline = mesh_config::decode::documents(&wrong.to_string(), "file");
    assert_eq!(
        format!("file:1: {words}"),
        offline[0].as_ref().unwrap_err().to_string()
    );
    assert!(words.contains("spec.http[0].route[0].weight"), "{words}");
    check
        .create(&virtual_service("reviews", 100))
        .await
        .unwrap();
}

/// The failure policies: no pod without its proxy, no unchecked configuration; whatever is not
/// the mesh's goes on.
async fn without_a_control_plane_the_mesh_is_closed_and_the_rest_open(check: &Check) {
    let error = check.pod("meshed", json!({}), false).await.unwrap_err();
    assert!(
        error.starts_with(
            "Internal error occurred: failed calling webhook \"namespace.sidecar-injector.istio.io\""
        ),
        "{error}"
    );
    check.pod("plain", json!({}), false).await.unwrap();
    let error = check
        .create(&virtual_service("ratings", 100))
        .await
        .unwrap_err();
    assert!(
        error.contains("failed calling webhook \"validation.istio.io\""),
        "{error}"
    );
    let open = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    change_validator(check, open).await;
    eventually(
        "validation that fails open lets configuration pass",
        async || check.create(&virtual_service("details", -1)).await.is_ok(),
    )
    .await;
}
