//! Discovery over a real API server: what is read, what survives outages, and what is written back.

#![allow(clippy::unwrap_used)]

#[path = "kubernetes/edge.rs"]
mod edge;
#[path = "kubernetes/link.rs"]
mod link;
#[path = "kubernetes/world.rs"]
mod world;

use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, ListParams};
use link::Link;
use mesh_config::Kind;
use mesh_kubernetes::testing::ApiServer;
use mesh_pilot::model::Locality;
use mesh_pilot::snapshot::Snapshot;
use mesh_pilot::translate::{EncodedResource, Names, ProxyKind, resources};
use mesh_xds::NamedResource;
use mesh_xds::type_url::{ENDPOINT, SECRET};
use rcgen::{CertifiedKey, KeyPair};
use serde_json::{Value, json};
use world::{
    Mesh, apply, definition, delete, endpoints, get, has_service, rule, service, slice, soon,
};

/// The published rules' names.
fn rules(snapshot: &Snapshot) -> Vec<&str> {
    let rules = snapshot.rules.virtual_services.iter();
    rules.map(|rule| rule.object.meta.name.as_str()).collect()
}

/// One server for all checks that don't stop it: starting it is what takes the time.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_is_read_and_written_to() {
    let Some(server) = Box::pin(ApiServer::start()).await else {
        return;
    };
    let client = server.client().await;
    let mesh = Mesh::start(client.clone());
    Box::pin(definitions_are_picked_up(&mesh, &client)).await;
    Box::pin(services_and_endpoints_are_right_at_once(&mesh, &client)).await;
    Box::pin(pods_are_where_their_nodes_are(&mesh, &client)).await;
    Box::pin(settings_take_effect(&mesh, &client)).await;
    Box::pin(secrets_are_served_while_they_are_good(&mesh, &client)).await;
    Box::pin(a_bad_object_is_told_to_its_user(&mesh, &client)).await;
    Box::pin(a_definition_that_goes_takes_its_objects_along(
        &mesh, &client,
    ))
    .await;
    Box::pin(without_rights_nothing_is_served(&server)).await;
    mesh.pilot.shutdown().await;
}

async fn definitions_are_picked_up(mesh: &Mesh, client: &Client) {
    mesh.shows("a mesh without definitions", |_| true).await;
    assert!(mesh.has_problem("CustomResourceDefinition virtualservices.networking.istio.io"));
    // As an old installation has it; then it is upgraded.
    apply(client, &definition(Kind::VirtualService, &["v1alpha3"])).await;
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| *kind != Kind::VirtualService)
    {
        apply(client, &definition(kind, &["v1beta1", "v1"])).await;
    }
    soon("no problem left", async || {
        !mesh.has_problem("CustomResourceDefinition")
    })
    .await;
    let mut old = rule("old", json!(1));
    old["apiVersion"] = "networking.istio.io/v1alpha3".into();
    apply(client, &old).await;
    mesh.shows("a rule of the old version", |snapshot| {
        rules(snapshot) == ["old"]
    })
    .await;
    apply(
        client,
        &definition(Kind::VirtualService, &["v1alpha3", "v1"]),
    )
    .await;
    let read = async || mesh.metric("pilot_k8s_lists_total{type=\"VirtualService\"}") >= 2.0;
    soon("the new version to be listed", read).await;
    apply(client, &rule("new", json!(1))).await;
    mesh.shows("both rules", |snapshot| rules(snapshot).len() == 2)
        .await;
}

async fn services_and_endpoints_are_right_at_once(mesh: &Mesh, client: &Client) {
    apply(client, &service("reviews")).await;
    apply(client, &slice("reviews", 3)).await;
    mesh.shows("3 endpoints", |snapshot| {
        endpoints(snapshot, "reviews") == 3
    })
    .await;
    for count in [5, 1] {
        apply(client, &slice("reviews", count)).await;
        let what = format!("{count} endpoints");
        let right = |snapshot: &Snapshot| endpoints(snapshot, "reviews") == count;
        let took = mesh.shows(&what, right).await;
        assert!(
            took.as_secs() < 1,
            "endpoints must be right within a second"
        );
    }
    let snapshot = &mesh.pilot.published().unwrap().snapshot;
    let assignments = resources(
        snapshot,
        &edge::proxy(ProxyKind::Sidecar),
        ENDPOINT,
        &Names::All,
    );
    let names: Vec<&str> = assignments.iter().map(|one| &**one.name()).collect();
    assert!(names.contains(&"outbound|9080||reviews.default.svc.cluster.local"));
    delete(client, &service("reviews")).await;
    mesh.shows("no service", |snapshot| !has_service("reviews")(snapshot))
        .await;
}

async fn pods_are_where_their_nodes_are(mesh: &Mesh, client: &Client) {
    let node = |zone: &str| {
        let labels = json!({
            "topology.kubernetes.io/region": "north", "topology.kubernetes.io/zone": zone,
            "topology.istio.io/subzone": "rack-1",
        });
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one", "labels": labels}})
    };
    let pod = |phase: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"app": "web"}},
            "spec": {"nodeName": "one", "containers": [{"name": "app", "image": "none"}]},
            "status": {"phase": phase, "podIP": "10.244.7.1", "podIPs": [{"ip": "10.244.7.1"}]},
        })
    };
    let place = |snapshot: &Snapshot| -> Option<Locality> {
        let workload = snapshot.registry.workload([10, 244, 7, 1].into())?;
        Some(workload.locality.clone())
    };
    apply(client, &node("a")).await;
    apply(client, &pod("Running")).await;
    let expected = Some(Locality::parse("north/a/rack-1"));
    mesh.shows("a pod's place", |snapshot| place(snapshot) == expected)
        .await;
    apply(client, &node("b")).await;
    let expected = Some(Locality::parse("north/b/rack-1"));
    mesh.shows("its new place", |snapshot| place(snapshot) == expected)
        .await;
    apply(client, &pod("Failed")).await;
    mesh.shows("the pod's end", |snapshot| place(snapshot).is_none())
        .await;
}

async fn settings_take_effect(mesh: &Mesh, client: &Client) {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}});
    apply(client, &namespace).await;
    let settings = |text: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"mesh": text},
               "metadata": {"name": "istio", "namespace": "istio-system"}})
    };
    apply(client, &settings("rootNamespace: shop")).await;
    mesh.shows("the settings", |snapshot| {
        snapshot.mesh.root_namespace == "shop"
    })
    .await;
    apply(client, &settings("trustDomain: [wrong")).await;
    soon("its problem", async || {
        mesh.has_problem("MeshConfig istio-system/istio")
    })
    .await;
    assert_eq!(
        mesh.pilot.published().unwrap().snapshot.mesh.root_namespace,
        "shop"
    );
}

async fn secrets_are_served_while_they_are_good(mesh: &Mesh, client: &Client) {
    apply(client, &edge::gateway()).await;
    apply(client, &edge::pod()).await;
    let (first, second) = (edge::certificate(), edge::certificate());
    let shows = |made: &CertifiedKey<KeyPair>| {
        let pem = made.cert.pem();
        move |snapshot: &Snapshot| {
            let secrets = resources(
                snapshot,
                &edge::proxy(ProxyKind::Router),
                SECRET,
                &Names::All,
            );
            let bytes = |one: &EncodedResource| NamedResource::from(one).body.value.to_vec();
            let mut texts = secrets.iter().map(bytes);
            texts.any(|text| String::from_utf8_lossy(&text).contains(&pem))
        }
    };
    apply(client, &edge::secret(&first)).await;
    mesh.shows("a certificate", shows(&first)).await;
    apply(client, &edge::secret(&second)).await;
    let took = mesh.shows("a new certificate", shows(&second)).await;
    assert!(
        took.as_secs() < 5,
        "a new certificate must be served within 5 s"
    );
    let mut broken = edge::secret(&first);
    broken["stringData"]["tls.key"] = second.signing_key.serialize_pem().into();
    apply(client, &broken).await;
    let served = async || {
        let snapshot = &mesh.pilot.published().unwrap().snapshot;
        assert!(shows(&second)(snapshot), "the last good certificate stays");
        let mut problems = snapshot.problems().iter();
        problems.any(|problem| problem.kind == "Secret")
    };
    soon("the problem of a broken key", served).await;
    apply(client, &edge::secret(&first)).await;
    mesh.shows("a good certificate again", shows(&first)).await;
    let token = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": "token", "namespace": "default"}, "stringData": {"key": "secret"},
    });
    apply(client, &token).await;
    apply(client, &service("later")).await;
    mesh.shows("what came later", has_service("later")).await;
    let secrets = &mesh.pilot.published().unwrap().snapshot.secrets;
    assert!(
        !secrets.keys().any(|(_, name)| name == "token"),
        "it is not for gateways"
    );
}

/// Our condition on an object.
async fn condition(client: &Client, object: &Value) -> Value {
    let object = get(client, object).await;
    let conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut conditions = conditions.into_iter();
    conditions
        .find(|condition| condition["type"] == "Reconciled")
        .unwrap_or_default()
}

async fn a_bad_object_is_told_to_its_user(mesh: &Mesh, client: &Client) {
    let good = rule("good", json!(1));
    apply(client, &good).await;
    apply(client, &rule("bad", json!(1))).await;
    mesh.shows("both", |snapshot| rules(snapshot).len() == 4)
        .await;
    let bad = rule("bad", json!("many"));
    apply(client, &bad).await;
    soon("the condition", async || {
        condition(client, &bad).await["status"] == "False"
    })
    .await;
    let told = condition(client, &bad).await;
    assert_eq!(told["reason"], "Invalid");
    assert_eq!(told["observedGeneration"], 2);
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains("spec.http[0].route[0].weight"),
        "{message}"
    );
    // The last good version stays, and the others have nothing to do with it.
    assert_eq!(rules(&mesh.pilot.published().unwrap().snapshot).len(), 4);
    soon("the other's condition", async || {
        condition(client, &good).await["status"] == "True"
    })
    .await;
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let noted = async || {
        let list = events.list(&ListParams::default()).await.unwrap();
        let mut regarding = list
            .items
            .iter()
            .filter_map(|event| event.regarding.as_ref());
        regarding.any(|object| object.name.as_deref() == Some("bad"))
    };
    soon("the event", noted).await;

    // What we wrote came back through the watch, and that was the end of it.
    let version = get(client, &good).await["metadata"]["resourceVersion"].clone();
    apply(client, &rule("bad", json!(1))).await;
    soon("the mended one", async || {
        condition(client, &bad).await["status"] == "True"
    })
    .await;
    assert_eq!(
        get(client, &good).await["metadata"]["resourceVersion"],
        version
    );
    assert!(!mesh.has_problem("VirtualService default/bad: spec"));
}

async fn a_definition_that_goes_takes_its_objects_along(mesh: &Mesh, client: &Client) {
    delete(client, &definition(Kind::VirtualService, &["v1"])).await;
    mesh.shows("no rules", |snapshot| rules(snapshot).is_empty())
        .await;
    let name = "CustomResourceDefinition virtualservices.networking.istio.io";
    soon("the problem", async || mesh.has_problem(name)).await;
}

async fn without_rights_nothing_is_served(server: &ApiServer) {
    let mesh = Mesh::start(server.client_as("nobody").await);
    for name in ["services", "secrets", "endpointslices.discovery.k8s.io"] {
        soon(name, async || mesh.has_problem(name)).await;
    }
    let problems = mesh.pilot.problems();
    let one = problems
        .iter()
        .find(|problem| problem.object == "secrets")
        .unwrap();
    assert!(one.problem.contains("no permission"), "{one}");
    assert!(
        mesh.pilot.published().is_none(),
        "half of the configuration is worse than none"
    );
    mesh.pilot.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_cost_nothing_that_is_known() {
    let Some(mut server) = Box::pin(ApiServer::start()).await else {
        return;
    };
    let client = server.client().await;
    for kind in Kind::ALL {
        apply(&client, &definition(kind, &["v1"])).await;
    }
    for name in ["kept", "doomed"] {
        apply(&client, &service(name)).await;
    }
    let link = Link::to(&server).await;
    let mesh = Mesh::start(link.client(&server).await);
    mesh.shows("the services", has_service("doomed")).await;
    Box::pin(a_broken_connection_is_gone_on_from(&mesh, &link, &client)).await;
    Box::pin(a_server_that_forgot_is_listed_anew(
        &mesh,
        &link,
        &mut server,
    ))
    .await;
    Box::pin(a_server_that_was_set_back_is_believed(&mesh, &mut server)).await;
    mesh.pilot.shutdown().await;
}

async fn a_broken_connection_is_gone_on_from(mesh: &Mesh, link: &Link, client: &Client) {
    let lists = mesh.metric("pilot_k8s_lists_total");
    link.cut();
    soon("the outage", async || {
        mesh.metric("pilot_k8s_watches_interrupted") > 0.0
    })
    .await;
    delete(client, &service("doomed")).await;
    apply(client, &service("born")).await;
    assert!(has_service("doomed")(
        &mesh.pilot.published().unwrap().snapshot
    ));
    link.mend();
    mesh.shows("what happened meanwhile", |snapshot| {
        has_service("born")(snapshot)
            && has_service("kept")(snapshot)
            && !has_service("doomed")(snapshot)
    })
    .await;
    let answered = async || mesh.metric("pilot_k8s_watches_interrupted") == 0.0;
    soon("the end of the outage", answered).await;
    assert_eq!(
        mesh.metric("pilot_k8s_lists_total"),
        lists,
        "nothing is listed anew"
    );
}

async fn a_server_that_forgot_is_listed_anew(mesh: &Mesh, link: &Link, server: &mut ApiServer) {
    link.cut();
    soon("the outage", async || {
        mesh.metric("pilot_k8s_watches_interrupted") > 0.0
    })
    .await;
    let client = server.client().await;
    delete(&client, &service("born")).await;
    apply(&client, &service("late")).await;
    // Its cache of what happened begins anew, with the state of now.
    server.restart().await;
    let deleted = mesh.metric("pilot_k8s_reg_events{type=\"Service\",event=\"delete\"}");
    link.mend();
    mesh.shows("what happened meanwhile", |snapshot| {
        has_service("late")(snapshot) && !has_service("born")(snapshot)
    })
    .await;
    let now = mesh.metric("pilot_k8s_reg_events{type=\"Service\",event=\"delete\"}");
    assert_eq!(now - deleted, 1.0, "only what is gone is deleted");
    assert!(has_service("kept")(
        &mesh.pilot.published().unwrap().snapshot
    ));
}

async fn a_server_that_was_set_back_is_believed(mesh: &Mesh, server: &mut ApiServer) {
    server.save().await;
    let client = server.client().await;
    // More happens than a server does by itself when it starts.
    for number in 0..200 {
        apply(&client, &slice("kept", 1 + number % 2)).await;
    }
    apply(&client, &service("lost")).await;
    mesh.shows("a service that will be lost", has_service("lost"))
        .await;
    server.set_back().await;
    mesh.shows("the state of the copy", |snapshot| {
        has_service("kept")(snapshot)
            && !has_service("lost")(snapshot)
            && endpoints(snapshot, "kept") == 0
    })
    .await;
    let client = server.client().await;
    apply(&client, &slice("kept", 3)).await;
    mesh.shows("what happens from then on", |snapshot| {
        endpoints(snapshot, "kept") == 3
    })
    .await;
}
