pub(crate) mod fake;

use std::sync::OnceLock;
use std::time::Duration;

use mesh_telemetry::drain;
use mesh_telemetry::log::{self, Format};
use mesh_xds::google::protobuf::Any;
use serde_json::json;
use tokio::task::LocalSet;

use super::*;
use crate::bootstrap::tests::sidecar_bootstrap;
use crate::certs::renew;
use fake::ControlPlane;

/// Longest wait for anything in these tests.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

fn log_handle() -> LogHandle {
    static HANDLE: OnceLock<LogHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| log::init(Format::Text, "off").unwrap())
        .clone()
}

/// The control side of a sidecar that talks to `plane`.
pub(crate) fn control_of(plane: &ControlPlane) -> Rc<Control> {
    let mut bootstrap = sidecar_bootstrap();
    bootstrap.discovery = plane.address.clone();
    bootstrap.authority = plane.address.clone();
    let (signal, watch) = drain::channel();
    let shared = Shared::new(bootstrap, watch);
    let families = Families::register(&shared.registry);
    Control::new(shared, families, Arc::new(signal), log_handle())
}

fn cluster(name: &str) -> Any {
    any(json!({
        "@type": type_url::CLUSTER, "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}},
        ]}]},
    }))
}

fn any(value: serde_json::Value) -> Any {
    mesh_xds::json::from_json(&value).unwrap()
}

/// Runs a test where tasks of the control thread can be spawned.
async fn on_one_thread(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(Box::pin(test)).await;
}

async fn until(mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("the condition in time");
}

#[tokio::test]
async fn first_configuration_makes_ready_and_what_is_wrong_is_refused_by_name() {
    on_one_thread(async {
            let mut plane = ControlPlane::start(Duration::from_secs(3600)).await;
            let control = control_of(&plane);
            tokio::task::spawn_local(ads::run(control.clone()));
            let mut stream = plane.stream().await;
            let clusters = stream.next().await;
            assert_eq!(clusters.type_url, type_url::CLUSTER);
            assert_eq!(clusters.node.unwrap().id, control.shared.bootstrap.node.id);
            assert_eq!(stream.next().await.type_url, type_url::LISTENER);

            let bad = any(json!({"@type": type_url::CLUSTER, "name": "bad", "type": "STATIC",
                "load_assignment": {"cluster_name": "bad", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": "nowhere", "port_value": 80}}}},
                ]}]}}));
            stream.send(type_url::CLUSTER, "1", vec![("good", cluster("good")), ("bad", bad)]).await;
            let answer = stream.next().await;
            assert_eq!(answer.response_nonce, "1");
            let detail = answer.error_detail.expect("a refusal").message;
            assert!(detail.contains("bad") && !detail.contains("good"), "{detail}");
            assert!(control.shared.snapshot.load().cluster("good").is_some());
            assert!(control.missing().unwrap().contains("no workload certificate"));

            stream.send(type_url::LISTENER, "2", vec![]).await;
            assert_eq!(stream.next().await.error_detail, None);
            tokio::task::spawn_local(renew::run(control.shared.clone(), control.certified.clone()));
            tokio::task::spawn_local(watch_certificates(control.clone()));
            until(|| control.shared.readiness.missing().is_some_and(|why| why.contains("workers listen"))).await;
            (0..control.shared.bootstrap.concurrency).for_each(|_| control.shared.readiness.worker_listening());
            assert_eq!(control.shared.readiness.missing(), None);
    })
    .await;
}

#[tokio::test]
async fn tells_a_new_stream_what_is_known_and_keeps_serving_meanwhile() {
    on_one_thread(async {
        let mut plane = ControlPlane::start(Duration::from_secs(3600)).await;
        let control = control_of(&plane);
        tokio::task::spawn_local(ads::run(control.clone()));
        let mut stream = plane.stream().await;
        stream
            .send(type_url::CLUSTER, "1", vec![("good", cluster("good"))])
            .await;
        until(|| control.shared.snapshot.load().cluster("good").is_some()).await;
        // Two subscriptions and the ACK, so that the client has finished with the response.
        for _ in 0..3 {
            stream.next().await;
        }
        drop(stream);
        let mut again = plane.stream().await;
        let known = again.next().await.initial_resource_versions;
        assert_eq!(known.get("good").map(String::as_str), Some("1-good"));
        assert!(control.shared.snapshot.load().cluster("good").is_some());
    })
    .await;
}

#[tokio::test]
async fn subscribes_to_what_the_configuration_refers_to() {
    on_one_thread(async {
        let mut plane = ControlPlane::start(Duration::from_secs(3600)).await;
        let control = control_of(&plane);
        tokio::task::spawn_local(ads::run(control.clone()));
        let mut stream = plane.stream().await;
        stream.next().await;
        stream.next().await;
        let eds = any(
            json!({"@type": type_url::CLUSTER, "name": "reviews", "type": "EDS",
                "eds_cluster_config": {"eds_config": {"ads": {}}}, "connect_timeout": "1s"}),
        );
        stream
            .send(type_url::CLUSTER, "1", vec![("reviews", eds)])
            .await;
        let answer = stream.next().await;
        assert_eq!(answer.error_detail, None);
        let wanted = stream.next().await;
        assert_eq!(wanted.type_url, type_url::ENDPOINT);
        assert_eq!(wanted.resource_names_subscribe, ["reviews"]);
    })
    .await;
}

#[tokio::test]
async fn renews_short_lived_certificates_by_themselves() {
    on_one_thread(async {
        let plane = ControlPlane::start(Duration::from_secs(3)).await;
        let control = control_of(&plane);
        tokio::task::spawn_local(renew::run(
            control.shared.clone(),
            control.certified.clone(),
        ));
        until(|| control.shared.certs.generation() >= 1).await;
        let first = control.shared.certs.current().unwrap();
        until(|| control.shared.certs.generation() > first.generation).await;
        let current = control.shared.certs.current().unwrap();
        assert_ne!(current.certificate.serial(), first.certificate.serial());
        assert_eq!(current.certificate.id(), &control.shared.bootstrap.id);
    })
    .await;
}

#[tokio::test]
async fn readiness_fails_while_draining() {
    let plane = ControlPlane::start(Duration::from_secs(3600)).await;
    let control = control_of(&plane);
    control.shared.readiness.set_configuration(None);
    (0..control.shared.bootstrap.concurrency)
        .for_each(|_| control.shared.readiness.worker_listening());
    assert_eq!(crate::status::not_ready(&control.shared), None);
    control
        .drain
        .advance(mesh_telemetry::drain::Phase::Draining);
    assert_eq!(
        crate::status::not_ready(&control.shared).as_deref(),
        Some("draining")
    );
}
