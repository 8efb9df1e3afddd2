//! Objects of an API server, and discovery that reads them.

use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams,
};
use mesh_config::Kind;
use mesh_pilot::ingest::kubernetes::{KubernetesSource, Settings};
use mesh_pilot::snapshot::Snapshot;
use mesh_pilot::status::{Leadership, StatusWriter};
use mesh_pilot::{Options, Pilot};
use mesh_telemetry::metrics::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Longer than anything here should take on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a condition, and says how long it took.
pub(crate) async fn soon<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) -> Duration {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < DEADLINE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("{what}: {:?}", start.elapsed());
    start.elapsed()
}

/// Whose names are plural in lower case.
fn resource(object: &Value) -> ApiResource {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        group,
        version,
        object["kind"].as_str().unwrap(),
    ))
}

fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource(object)),
        None => Api::all_with(client.clone(), &resource(object)),
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// Creates or changes an object, and its status if it brings one.
pub(crate) async fn apply(client: &Client, object: &Value) {
    let api = api(client, object);
    let params = PatchParams::apply("test").force();
    let patch = Patch::Apply(object);
    Box::pin(api.patch(name(object), &params, &patch))
        .await
        .unwrap();
    if object.get("status").is_some() {
        let patch = Patch::Merge(json!({"status": object["status"]}));
        let params = PatchParams::default();
        Box::pin(api.patch_status(name(object), &params, &patch))
            .await
            .unwrap();
    }
}

/// Deletes an object at once.
pub(crate) async fn delete(client: &Client, object: &Value) {
    let params = DeleteParams::default().grace_period(0);
    api(client, object)
        .delete(name(object), &params)
        .await
        .unwrap();
}

/// The object as the server has it.
pub(crate) async fn get(client: &Client, object: &Value) -> Value {
    serde_json::to_value(api(client, object).get(name(object)).await.unwrap()).unwrap()
}

/// The definition of a mesh kind, without a schema; `versions`: the oldest first.
pub(crate) fn definition(kind: Kind, versions: &[&str]) -> Value {
    let plural =
        ApiResource::from_gvk(&GroupVersionKind::gvk(kind.group(), "v1", kind.as_str())).plural;
    let last = versions.last().unwrap();
    let version = |version: &&str| {
        json!({
            "name": version, "served": true, "storage": version == last,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            "subresources": {"status": {}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{}", kind.group())},
        "spec": {
            "group": kind.group(), "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind.as_str(), "listKind": format!("{kind}List"),
                      "singular": kind.as_str().to_lowercase()},
            "versions": versions.iter().map(version).collect::<Vec<_>>(),
        },
    })
}

/// A Service with the HTTP port 9080.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 9080}]},
    })
}

/// So many endpoints of a service.
pub(crate) fn slice(service: &str, endpoints: usize) -> Value {
    let endpoint = |number: usize| json!({"addresses": [format!("10.244.7.{}", number + 1)], "conditions": {"ready": true}});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": service, "namespace": "default",
                     "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 9080, "protocol": "TCP"}],
        "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>(),
    })
}

/// A VirtualService for the host of its name.
pub(crate) fn rule(name: &str, weight: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"hosts": [name], "http": [{"route": [{"destination": {"host": name}, "weight": weight}]}]},
    })
}

/// Discovery over an API server.
pub(crate) struct Mesh {
    pub(crate) pilot: Pilot,
    registry: Registry,
    /// Keeps it leading.
    _leads: watch::Sender<bool>,
}

impl Mesh {
    /// Starts it, as the leader.
    pub(crate) fn start(client: Client) -> Self {
        let registry = Registry::new();
        let settings = Settings {
            revision: "default".to_owned(),
            ..Settings::default()
        };
        let source = KubernetesSource::new(client.clone(), settings, &registry);
        let (leads, leading) = watch::channel(true);
        let leadership = Leadership {
            shared: leading.clone(),
            own: leading,
        };
        let pilot = Pilot::start(Options {
            status: Some(StatusWriter::new(client, source.observed(), leadership)),
            sources: vec![Box::new(source)],
            metrics: registry.clone(),
            ..Options::default()
        })
        .unwrap();
        Self {
            pilot,
            registry,
            _leads: leads,
        }
    }

    /// Waits until what proxies are served from is as it should be.
    pub(crate) async fn shows(&self, what: &str, check: impl Fn(&Snapshot) -> bool) -> Duration {
        let good = async || {
            let published = self.pilot.published();
            published.is_some_and(|published| check(&published.snapshot))
        };
        soon(what, good).await
    }

    /// Whether a problem of an object is known.
    pub(crate) fn has_problem(&self, object: &str) -> bool {
        self.pilot
            .problems()
            .iter()
            .any(|problem| problem.object.contains(object))
    }

    /// The sum of a metric's samples.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.registry.render();
        let samples = text.lines().filter(|line| line.starts_with(name));
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

/// Whether a snapshot has the service.
pub(crate) fn has_service(name: &'static str) -> impl Fn(&Snapshot) -> bool {
    move |snapshot| {
        snapshot
            .registry
            .services()
            .iter()
            .any(|service| service.name == name)
    }
}

/// How many endpoints a service has in a snapshot.
pub(crate) fn endpoints(snapshot: &Snapshot, name: &str) -> usize {
    let mut services = snapshot.registry.services().iter();
    let service = services.find(|service| service.name == name);
    service.map_or(0, |service| snapshot.registry.endpoints(service).len())
}
