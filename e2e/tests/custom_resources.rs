//! The CustomResourceDefinitions on a real API server: it takes them, takes Istio's YAML, and
//! refuses what their rules forbid.

#![allow(clippy::unwrap_used)] // A test may: an integration test's helpers count as none.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mesh_config::{Kind, PlannedKind, schema};
use mesh_helm::{Chart, Release};
use mesh_kubernetes::kube::api::{
    Api, DynamicObject, ListParams, Patch, PatchParams, ValidationDirective,
};
use mesh_kubernetes::kube::core::{ApiResource, GroupVersionKind};
use mesh_kubernetes::kube::runtime::wait::{await_condition, conditions};
use mesh_kubernetes::kube::{self, Client, ResourceExt};
use mesh_kubernetes::testing::ApiServer;
use serde_json::{Value, json};

#[test]
fn the_base_chart_installs_the_definitions() {
    let chart = Chart::builtin("base").unwrap();
    let release = Release::new("base", "istio-system");
    let mut rendered: Vec<Value> = chart
        .render(&release, &json!({}))
        .unwrap()
        .into_iter()
        .map(|object| object.manifest)
        .filter(|manifest| manifest["kind"] == "CustomResourceDefinition")
        .collect();
    rendered.sort_by_key(|definition| definition["metadata"]["name"].to_string());
    assert_eq!(rendered, schema::definitions());
}

/// One server for all: starting it is what takes the time.
#[tokio::test]
async fn definitions_serve_istios_yaml() {
    let Some(server) = Box::pin(ApiServer::start()).await else {
        return;
    };
    let client = server.client().await;
    Box::pin(definitions_are_established(&client)).await;
    Box::pin(samples_are_accepted(&client)).await;
    Box::pin(what_is_not_implemented_yet_is_kept(&client)).await;
    Box::pin(rules_refuse(&client)).await;
    Box::pin(a_status_is_kept_apart(&client)).await;
    Box::pin(kubectl_prints_the_columns(&client)).await;
}

async fn definitions_are_established(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let apply = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("test")
    };
    let definitions = schema::definitions();
    assert_eq!(definitions.len(), Kind::ALL.len() + PlannedKind::ALL.len());
    for definition in &definitions {
        let name = definition["metadata"]["name"].as_str().unwrap();
        api.patch(name, &apply, &Patch::Apply(definition))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for definition in &definitions {
        let name = definition["metadata"]["name"].as_str().unwrap();
        let established = conditions::is_crd_established();
        Box::pin(await_condition(api.clone(), name, established))
            .await
            .unwrap();
    }
    for found in api.list(&ListParams::default()).await.unwrap() {
        let conditions = found.status.clone().and_then(|status| status.conditions);
        let bad: Vec<_> = conditions
            .iter()
            .flatten()
            .filter(|condition| condition.type_ == "NonStructuralSchema")
            .collect();
        assert!(bad.is_empty(), "{}: {bad:?}", found.name_any());
    }
}

/// The API of the kind that an object is of.
fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let (group, version) = api_version.split_once('/').unwrap();
    let plural = Kind::find(group, kind).map(Kind::plural);
    let plural = plural.or(PlannedKind::find(group, kind).map(|kind| kind.plural));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural.unwrap());
    Api::default_namespaced_with(client.clone(), &resource)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Applies an object as `kubectl apply --server-side --validate=strict` does.
async fn apply(client: &Client, object: &Value) -> kube::Result<DynamicObject> {
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("test").force()
    };
    let name = text(&object["metadata"]["name"]);
    api(client, object)
        .patch(name, &params, &Patch::Apply(object))
        .await
}

async fn samples_are_accepted(client: &Client) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples/bookinfo/networking");
    let mut accepted = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object: Value = serde::Deserialize::deserialize(document).unwrap();
            if object.is_null() {
                continue;
            }
            if let Err(error) = apply(client, &object).await {
                panic!("{}: {error}", path.display());
            }
            accepted += 1;
        }
    }
    assert!(accepted > 20, "only {accepted} objects found");
}

fn object(kind: &str, spec: &str) -> Value {
    let group = Kind::ALL.map(|kind| (kind.as_str(), kind.group()));
    let (_, group) = group.into_iter().find(|(name, _)| *name == kind).unwrap();
    json!({
        "apiVersion": format!("{group}/v1"),
        "kind": kind,
        "metadata": {"name": "it"},
        "spec": serde_yaml::from_str::<Value>(spec).unwrap(),
    })
}

/// The control plane can only complain about what the API server kept.
async fn what_is_not_implemented_yet_is_kept(client: &Client) {
    let objects = [
        object(
            "VirtualService",
            "{hosts: [a], http: [{delegate: {name: b}}]}",
        ),
        object(
            "DestinationRule",
            "{host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}}}",
        ),
        json!({
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {"name": "it"},
            "spec": {"configPatches": [{"applyTo": "HTTP_FILTER", "any": [{"thing": 1}]}]},
        }),
    ];
    for object in objects {
        let kept = apply(client, &object).await.unwrap();
        assert_eq!(kept.data["spec"], object["spec"]);
    }
}

async fn rules_refuse(client: &Client) {
    let cases = [
        ("ServiceEntry", "{hosts: ['*']}", "bare wildcard"),
        (
            "ServiceEntry",
            "{hosts: [a.example], resolution: DNS, addresses: [10.0.0.0/8]}",
            "a range in addresses needs resolution NONE or STATIC",
        ),
        (
            "ServiceEntry",
            "{hosts: [a.example], ports: [{number: 80, name: a}, {number: 80, name: b}]}",
            "a port number is listed twice",
        ),
        (
            "WorkloadEntry",
            "{address: 'unix://relative'}",
            "a unix socket needs an absolute path",
        ),
        (
            "PeerAuthentication",
            "{portLevelMtls: {'80': {mode: STRICT}}}",
            "portLevelMtls needs a selector",
        ),
        (
            "VirtualService",
            "{hosts: [a], http: [{timeout: 0s, route: [{destination: {host: a}}]}]}",
            "spec.http[0].timeout: Invalid value: \"0s\": must be a duration of at least 1ms",
        ),
        (
            "VirtualService",
            "{hosts: [a], http: [{match: [{uri: {exact: /a, prefix: /b}}], route: []}]}",
            "spec.http[0].match[0].uri",
        ),
        (
            "VirtualService",
            "{hosts: [a], htpp: []}",
            "field not declared in schema",
        ),
        (
            "Gateway",
            "{servers: [{hosts: ['*'], port: {number: 443, name: a, protocol: HTTPS}, tls: {credentialName: a, credentialNames: [b]}}]}",
            "only one of credentialName, credentialNames can be set",
        ),
        ("DestinationRule", "{}", "spec.host: Required value"),
        (
            "AuthorizationPolicy",
            "{action: ALOW}",
            "Unsupported value: \"ALOW\"",
        ),
    ];
    let mut wrong = Vec::new();
    for (kind, spec, expected) in cases {
        match apply(client, &object(kind, spec)).await {
            Err(kube::Error::Api(status)) if status.message.contains(expected) => {}
            other => wrong.push(format!("{kind} {spec}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Writing a status is no change of the object, and what others report there stays.
async fn a_status_is_kept_apart(client: &Client) {
    let before = apply(client, &object("VirtualService", "{hosts: [a]}"))
        .await
        .unwrap();
    let status = json!({
        "conditions": [{
            "type": "Reconciled",
            "status": "False",
            "reason": "Invalid",
            "message": "spec: no routes; add http, tls or tcp",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
            "observedGeneration": 1,
        }],
        "observedGeneration": "1",
        "validationMessages": [{"type": {"code": "IST0101"}, "level": "ERROR"}],
        "another": {"controller": "wrote this"},
    });
    let strict = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let after = api(client, &object("VirtualService", "{}"))
        .patch_status("it", &strict, &Patch::Merge(json!({"status": status})))
        .await
        .unwrap();
    assert_eq!(after.data["status"], status);
    assert_eq!(after.metadata.generation, before.metadata.generation);
}

async fn kubectl_prints_the_columns(client: &Client) {
    let path = "/apis/networking.istio.io/v1/namespaces/default/virtualservices";
    let request = http::Request::get(path)
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = client.request(request).await.unwrap();
    let columns = table["columnDefinitions"].as_array().unwrap();
    let names: Vec<&str> = columns
        .iter()
        .filter(|column| column["priority"] == 0)
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(names, ["Name", "Gateways", "Hosts", "Age"]);
    let rows = table["rows"].as_array().unwrap();
    let cells: Vec<&Value> = rows.iter().map(|row| &row["cells"]).collect();
    let bookinfo = cells.iter().find(|cells| cells[0] == "bookinfo").unwrap();
    assert_eq!(bookinfo[1], r#"["bookinfo-gateway"]"#);
    assert_eq!(bookinfo[2], r#"["*"]"#);
}
