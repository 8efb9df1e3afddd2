//! Discovery as a proxy meets it: files change, a real gRPC client sees what it should and
//! nothing more.

#![allow(clippy::unwrap_used)] // A test may: an integration test's helpers count as none.
#![allow(clippy::large_futures)] // Nothing is moved here that it would cost to move.

#[path = "serve/client.rs"]
mod client;
#[path = "serve/mesh.rs"]
mod mesh;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::Proxy;
use futures::future::BoxFuture;
use mesh::{Files, gateway_with_secret, service, slice, text_of};
use mesh_pilot::ingest::{Batch, Event, MeshConfigMap, Sink, Source, decode_all};
use mesh_pilot::serve::{SecretReaders, Sync};
use mesh_pilot::{Access, Options};
use mesh_xds::client::Rejection;
use mesh_xds::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_xds::type_url::{CLUSTER, ENDPOINT, LISTENER, SECRET};
use serde_json::json;
use tonic::Code;

const A: &str = "outbound|9080||a.default.svc.cluster.local";
const B: &str = "outbound|9080||b.default.svc.cluster.local";

fn mesh() -> Files {
    let mesh = Files::new();
    mesh.write(
        "a.yaml",
        &format!("{}---\n{}", service("a"), slice("a", &["10.244.0.5"])),
    );
    mesh
}

#[tokio::test]
async fn a_new_service_arrives_as_one_more_cluster() {
    let mesh = mesh().start(Access::Anyone).await;
    let mut proxy = mesh.connect(&Proxy::sidecar("p", "default")).await;
    proxy.subscribe_all(CLUSTER).await;
    let first = proxy.next().await;
    assert!(first.names().contains(A), "{:?}", first.names());

    mesh.write("b.yaml", &service("b"));
    let second = proxy.next().await;
    assert_eq!(second.names(), BTreeSet::from([B]));

    mesh.remove("b.yaml");
    let third = proxy.next().await;
    assert_eq!(
        (third.names().len(), third.update.removed.as_slice()),
        (0, [B.to_owned()].as_slice())
    );
    mesh.stop(vec![proxy]).await;
}

#[tokio::test]
async fn a_changed_endpoint_is_one_small_push() {
    let mesh = mesh().start(Access::Anyone).await;
    let mut proxy = mesh.connect(&Proxy::sidecar("p", "default")).await;
    for kind in [CLUSTER, LISTENER] {
        proxy.subscribe_all(kind).await;
        proxy.next().await;
    }
    proxy.subscribe(ENDPOINT, &[A]).await;
    let first: ClusterLoadAssignment = proxy.next().await.only();
    assert!(text_of(&first).contains("10.244.0.5"));

    mesh.write(
        "a.yaml",
        &format!("{}---\n{}", service("a"), slice("a", &["10.244.0.6"])),
    );
    let second = proxy.next().await;
    assert_eq!(second.update.type_url, ENDPOINT);
    let second: ClusterLoadAssignment = second.only();
    assert!(text_of(&second).contains("10.244.0.6"));
    proxy.expect_nothing().await;
    mesh.stop(vec![proxy]).await;
}

#[tokio::test]
async fn bookkeeping_is_no_news() {
    let mesh = mesh().start(Access::Anyone).await;
    let mut proxy = mesh.connect(&Proxy::sidecar("p", "default")).await;
    proxy.subscribe_all(CLUSTER).await;
    proxy.next().await;
    let text = format!("{}---\n{}", service("a"), slice("a", &["10.244.0.5"]));
    mesh.write(
        "a.yaml",
        &text.replace("name: a,", "name: a, resourceVersion: '7',"),
    );
    mesh.write("b.yaml", &service("b"));
    assert_eq!(proxy.next().await.names(), BTreeSet::from([B]));
    mesh.stop(vec![proxy]).await;
}

#[tokio::test]
async fn a_refusal_is_recorded_with_its_reason_and_cleared_by_the_next_good_push() {
    let mesh = mesh().start(Access::Anyone).await;
    let mut proxy = mesh.connect(&Proxy::sidecar("p", "default")).await;
    proxy.subscribe_all(CLUSTER).await;
    let rejected = Rejection {
        name: A.to_owned(),
        reason: "unknown balancer".to_owned(),
    };
    proxy.next_refusing(&[rejected]).await;
    let status = mesh
        .status_when("p", |status| status.clusters.nack.is_some())
        .await;
    assert_eq!(status.clusters.status, Sync::Stale);
    assert!(
        status
            .clusters
            .nack
            .unwrap()
            .message
            .contains("unknown balancer")
    );
    assert!(
        mesh.metrics()
            .contains("pilot_total_xds_rejects{type=\"cds\"} 1")
    );

    mesh.write("b.yaml", &service("b"));
    proxy.next().await;
    let status = mesh
        .status_when("p", |status| status.clusters.status == Sync::Synced)
        .await;
    assert_eq!(status.clusters.nack, None);
    mesh.stop(vec![proxy]).await;
}

#[tokio::test]
async fn a_reconnect_with_known_versions_is_sent_nothing_again() {
    let mesh = mesh().start(Access::Anyone).await;
    let mut proxy = mesh.connect(&Proxy::sidecar("p", "default")).await;
    proxy.subscribe_all(CLUSTER).await;
    proxy.next().await;
    proxy.subscribe(ENDPOINT, &[A]).await;
    proxy.next().await;

    proxy.reconnect().await;
    proxy.expect_nothing().await;
    mesh.status_when("p", |status| {
        status.clusters.status == Sync::Synced && status.endpoints.status == Sync::Synced
    })
    .await;
    mesh.stop(vec![proxy]).await;
}

#[tokio::test]
async fn a_bad_document_is_listed_and_the_rest_goes_on() {
    let mesh = mesh().start(Access::Anyone).await;
    let mut proxy = mesh.connect(&Proxy::sidecar("p", "default")).await;
    proxy.subscribe_all(CLUSTER).await;
    proxy.next().await;
    mesh.write("bad.yaml", &service("c").replace("9080", "many"));
    mesh.write("b.yaml", &service("b"));
    assert_eq!(proxy.next().await.names(), BTreeSet::from([B]));
    let problems = mesh.page("/debug/problems");
    assert!(
        problems.contains("Service default/c") && problems.contains("spec.ports[0].port"),
        "{problems}"
    );
    mesh.stop(vec![proxy]).await;
}

#[tokio::test]
async fn callers_must_be_who_they_say_they_are() {
    let mesh = mesh().start(Access::Identified).await;
    let as_node = |account: &str| Proxy::sidecar("p", "default").account(account);
    let nobody = mesh.refusal(&as_node("a")).await;
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let other = mesh.refusal(&as_node("a").identity("default", "b")).await;
    assert_eq!(other.code(), Code::PermissionDenied);
    assert!(
        other
            .message()
            .contains("spiffe://cluster.local/ns/default/sa/b")
    );
    let mut proxy = mesh.connect(&as_node("a").identity("default", "a")).await;
    proxy.subscribe_all(CLUSTER).await;
    proxy.next().await;
    mesh.stop(vec![proxy]).await;
}

#[tokio::test]
async fn secrets_go_to_gateways_of_their_namespace_with_a_proven_identity() {
    let manifests = gateway_with_secret();
    let name = "kubernetes://shop";
    let router = |namespace: &str| {
        Proxy::router("g", namespace)
            .labelled("edge")
            .identity(namespace, "g")
    };
    let mesh = mesh();
    mesh.write("gateway.yaml", &manifests);
    let mesh = mesh.start(Access::Identified).await;
    let mut own = mesh.connect(&router("edge")).await;
    own.subscribe(SECRET, &[name]).await;
    assert_eq!(
        own.next().await.names(),
        BTreeSet::from([name]),
        "{}",
        mesh.page("/debug/problems")
    );
    let mut other = mesh.connect(&router("default")).await;
    other.subscribe(SECRET, &[name]).await;
    let none = other.next().await;
    assert_eq!((none.names().len(), none.update.removed.len()), (0, 1));
    let dump = mesh.page("/debug/config_dump?proxyID=g.edge");
    assert!(
        dump.contains(name) && !dump.contains("inline_bytes"),
        "keys are not shown"
    );
    mesh.stop(vec![own, other]).await;

    let mesh = Files::new();
    mesh.write("gateway.yaml", &manifests);
    let mesh = mesh.start(Access::Anyone).await;
    let mut anyone = mesh.connect(&router("edge")).await;
    anyone.subscribe(SECRET, &[name]).await;
    assert_eq!(anyone.next().await.names().len(), 0);
    mesh.stop(vec![anyone]).await;
}

/// An API server that is only asked who has a right.
fn api_server(granted: Arc<AtomicBool>) -> kube::Client {
    let answer = move |_| {
        let allowed = granted.load(Ordering::Relaxed);
        let review = json!({"metadata": {}, "spec": {}, "status": {"allowed": allowed}});
        let body = kube::client::Body::from(review.to_string().into_bytes());
        async { Ok::<_, Infallible>(http::Response::new(body)) }
    };
    kube::Client::new(tower::service_fn(answer), "default")
}

#[tokio::test]
async fn a_gateway_gets_secrets_as_soon_as_it_has_the_right() {
    let granted = Arc::new(AtomicBool::new(false));
    let readers = SecretReaders::new(api_server(granted.clone()));
    let mesh = mesh();
    mesh.write("gateway.yaml", &gateway_with_secret());
    let options = Options {
        secret_readers: Some(readers),
        ..Options::default()
    };
    let mesh = mesh.start_with(Access::Identified, options).await;
    let gateway = Proxy::router("g", "edge").labelled("edge");
    let mut gateway = mesh.connect(&gateway.identity("edge", "g")).await;
    let name = "kubernetes://shop";
    gateway.subscribe(SECRET, &[name]).await;
    let none = gateway.next().await;
    assert_eq!((none.names().len(), none.update.removed.len()), (0, 1));
    granted.store(true, Ordering::Relaxed);
    assert_eq!(gateway.next().await.names(), BTreeSet::from([name]));
    mesh.stop(vec![gateway]).await;
}

#[tokio::test]
async fn state_of_the_world_clients_get_whole_sets() {
    let mesh = mesh().start(Access::Anyone).await;
    let mut proxy = mesh.connect_sotw(&Proxy::sidecar("p", "default")).await;
    let first = proxy.subscribe_clusters().await;
    assert!(first.contains(A));
    mesh.write("b.yaml", &service("b"));
    let second = proxy.next_clusters().await;
    assert!(second.contains(A) && second.contains(B));
    assert_eq!(
        mesh.status()[0].variant,
        mesh_pilot::serve::Variant::StateOfTheWorld
    );
    drop(proxy);
    mesh.stop(Vec::new()).await;
}

/// Says what it has when it is let.
struct Late(tokio::sync::oneshot::Receiver<()>);

impl Source for Late {
    fn name(&self) -> &'static str {
        "late"
    }

    fn run(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.0.await.unwrap();
            let manifests = decode_all(&service("b"), "late", &MeshConfigMap::default());
            let events = manifests
                .items
                .into_iter()
                .map(|(key, item)| Event::Set(key, item));
            let batch = Batch {
                events: events.collect(),
                synced: true,
                ..Batch::default()
            };
            sink.send(batch).await.unwrap();
            sink.closed().await;
        })
    }
}

#[tokio::test]
async fn nobody_is_answered_before_every_source_was_read() {
    let (let_it, late) = tokio::sync::oneshot::channel();
    let mesh = mesh()
        .start_with(
            Access::Anyone,
            Options {
                sources: vec![Box::new(Late(late))],
                ..Options::default()
            },
        )
        .await;
    let mut proxy = mesh.connect(&Proxy::sidecar("p", "default")).await;
    proxy.subscribe_all(CLUSTER).await;
    // The files have been read (their problems are known), yet nothing is published.
    mesh.write("bad.yaml", "kind: [\n");
    mesh.until_page("/debug/problems", |page| page.contains("bad.yaml"))
        .await;
    assert!(mesh.status().is_empty());
    assert_eq!(mesh.page_status("/ready"), 503);

    let_it.send(()).unwrap();
    let first = proxy.next().await;
    assert!(first.names().contains(A) && first.names().contains(B));
    assert_eq!(mesh.page_status("/ready"), 200);
    mesh.stop(vec![proxy]).await;
}
