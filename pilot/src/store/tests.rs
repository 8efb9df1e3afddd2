//! Batches in, changes out.

use super::*;
use crate::ingest::{MeshConfigMap, decode_all};

fn set(text: &str) -> Batch {
    let manifests = decode_all(text, "test.yaml", &MeshConfigMap::default());
    assert!(manifests.problems.is_empty(), "{:?}", manifests.problems);
    let events = manifests
        .items
        .into_iter()
        .map(|(key, item)| Event::Set(key, item));
    Batch {
        events: events.collect(),
        ..Batch::default()
    }
}

fn apply(store: &mut Store, text: &str) -> Option<Urgency> {
    store
        .apply("test", set(text))
        .map(|changed| changed.urgency)
}

fn rule(annotation: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: a\n  namespace: default\n  resourceVersion: '{annotation}'\n  annotations: {{note: '{annotation}'}}\nspec:\n  hosts: [{host}]\n  http: [{{route: [{{destination: {{host: {host}}}}}]}}]\n"
    )
}

fn slice(address: &str, version: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: a, namespace: default, resourceVersion: '{version}', generation: {version}}}\naddressType: IPv4\nendpoints: [{{addresses: [{address}]}}]\nports: []\n"
    )
}

#[test]
fn endpoints_alone_are_recognised() {
    let mut store = Store::new(Defaults::default());
    assert_eq!(
        apply(&mut store, &slice("10.0.0.1", "1")),
        Some(Urgency::Endpoints)
    );
    let both = format!("{}---\n{}", slice("10.0.0.2", "1"), rule("1", "a"));
    assert_eq!(apply(&mut store, &both), Some(Urgency::Config));
    assert_eq!(
        apply(&mut store, &slice("10.0.0.3", "1")),
        Some(Urgency::Endpoints)
    );
}

#[test]
fn bookkeeping_changes_nothing_and_keeps_the_object() {
    let mut store = Store::new(Defaults::default());
    apply(
        &mut store,
        &format!("{}---\n{}", slice("10.0.0.1", "1"), rule("1", "a")),
    );
    let before = store.inputs();
    assert_eq!(apply(&mut store, &slice("10.0.0.1", "2")), None);
    assert_eq!(apply(&mut store, &rule("2", "a")), None);
    let after = store.inputs();
    assert!(Arc::ptr_eq(
        &before.virtual_services[0],
        &after.virtual_services[0]
    ));
    assert_eq!(apply(&mut store, &rule("2", "b")), Some(Urgency::Config));
}

#[test]
fn deleting_what_is_not_there_is_no_change() {
    let mut store = Store::new(Defaults::default());
    let delete = || Batch {
        events: vec![Event::Delete(ObjectKey::new(
            "VirtualService",
            "default",
            "a",
        ))],
        ..Batch::default()
    };
    assert_eq!(store.apply("test", delete()), None);
    apply(&mut store, &rule("1", "a"));
    assert!(store.apply("test", delete()).is_some());
    assert!(store.inputs().virtual_services.is_empty());
}

#[test]
fn the_trust_domain_is_that_of_the_authority_whatever_settings_name() {
    let mut store = Store::new(Defaults {
        trust_domain: TrustDomain::new("example.org").unwrap(),
        root_namespace: "mesh".to_owned(),
    });
    let mesh = store.inputs().mesh.unwrap();
    assert_eq!(mesh.root_namespace, "mesh");
    assert_eq!(mesh.trust_domain, "example.org");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 'trustDomain: other.org'}\n";
    apply(&mut store, map);
    let inputs = store.inputs();
    assert_eq!(inputs.mesh.as_ref().unwrap().trust_domain, "example.org");
    let problems = crate::snapshot::Snapshot::build(inputs).problems().to_vec();
    let told = problems[0].to_string();
    assert!(
        told.contains("other.org has no effect") && told.contains("istio-system/istio"),
        "{told}"
    );
}

#[test]
fn problems_are_replaced_by_place() {
    let mut store = Store::new(Defaults::default());
    let reader = store.problems();
    let problem = Problem {
        file: "a.yaml:1".to_owned(),
        object: "VirtualService default/a".to_owned(),
        field: "spec.hosts".to_owned(),
        problem: "is missing".to_owned(),
        remedy: "name a host".to_owned(),
    };
    let with = |problems: Vec<Problem>| Batch {
        problems: vec![("a.yaml".to_owned(), problems)],
        ..Batch::default()
    };
    store.apply("test", with(vec![problem.clone()]));
    assert_eq!(reader.list(), [problem]);
    store.apply("test", with(Vec::new()));
    assert_eq!(reader.list(), []);
}
