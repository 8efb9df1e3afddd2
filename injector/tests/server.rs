//! The webhooks over TLS, as the API server calls them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "support/tls.rs"]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mesh_config::MeshConfig;
use mesh_injector::{Inputs, Server, Settings};
use mesh_telemetry::metrics::Registry;
use serde_json::{Value, json};
use tls::Running;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

fn inputs() -> Inputs {
    Inputs {
        mesh: Arc::new(MeshConfig::default()),
        settings: Arc::new(Settings::default()),
    }
}

fn review(kind: (&str, &str), operation: &str, object: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": kind.0, "version": "v1", "kind": kind.1},
            "resource": {"group": kind.0, "version": "v1", "resource": kind.1.to_lowercase() + "s"},
            "namespace": "shop",
            "operation": operation,
            "object": object,
        },
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-"},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    })
}

async fn ask(running: &Running, path: &str, review: &Value) -> Value {
    let (status, body) = running
        .post(path, "application/json", review.to_string())
        .await;
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    answer["response"].clone()
}

#[tokio::test]
async fn a_pod_gets_its_proxy_by_a_patch() {
    let registry = Registry::new();
    let (_keep, inputs) = watch::channel(Some(inputs()));
    let running = Running::start(Server::new(inputs, &registry)).await;
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"sidecar.istio.io/proxyCpu": "1"});
    let answer = ask(
        &running,
        "/inject",
        &review(("", "Pod"), "CREATE", pod.clone()),
    )
    .await;
    assert_eq!(answer["allowed"], true);
    let patch = BASE64_STANDARD
        .decode(answer["patch"].as_str().unwrap())
        .unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    assert_eq!(pod["spec"]["initContainers"][1]["name"], "istio-proxy");
    let warning = "annotation sidecar.istio.io/proxyCpu has no effect: it is not known; \
                   did you mean sidecar.istio.io/proxyCPU?";
    assert_eq!(answer["warnings"], json!([warning]));
    let again = ask(&running, "/inject", &review(("", "Pod"), "CREATE", pod)).await;
    assert_eq!(
        (&again["allowed"], &again["patch"]),
        (&json!(true), &Value::Null)
    );
    let metrics = registry.render();
    for line in [
        "sidecar_injection_requests_total 2",
        "sidecar_injection_success_total 1",
        "sidecar_injection_skip_total 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_pod_that_cannot_be_injected_is_refused_with_the_reason() {
    let registry = Registry::new();
    let (_keep, inputs) = watch::channel(Some(inputs()));
    let running = Running::start(Server::new(inputs, &registry)).await;
    let mut pod = pod();
    pod["metadata"]["annotations"] = json!({"sidecar.istio.io/logLevel": "loud"});
    let answer = ask(&running, "/inject", &review(("", "Pod"), "CREATE", pod)).await;
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["status"]["code"], 400);
    assert_eq!(
        answer["status"]["message"],
        "cannot inject the mesh's proxy: annotation sidecar.istio.io/logLevel=\"loud\" is not valid: \
         use one of trace, debug, info, warning, error, critical, off"
    );
    assert!(
        registry
            .render()
            .contains("sidecar_injection_failure_total 1")
    );
    running.stop().await;
}

#[tokio::test]
async fn new_inputs_count_at_once_and_without_any_pods_are_refused() {
    let (change, inputs_now) = watch::channel(None);
    let running = Running::start(Server::new(inputs_now, &Registry::new())).await;
    let review = review(("", "Pod"), "CREATE", pod());
    let answer = ask(&running, "/inject", &review).await;
    assert_eq!(
        (&answer["allowed"], &answer["status"]["code"]),
        (&json!(false), &json!(503))
    );
    change.send_replace(Some(inputs()));
    assert_eq!(ask(&running, "/inject", &review).await["allowed"], true);
    let settings = Settings::from_values(
        "global: {proxy: {autoInject: disabled}}",
        &Settings::default(),
    );
    let mut changed = inputs();
    changed.settings = Arc::new(settings.unwrap());
    change.send_replace(Some(changed));
    assert_eq!(
        ask(&running, "/inject", &review).await["patch"],
        Value::Null
    );
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_review_is_refused_in_words() {
    let registry = Registry::new();
    let (_keep, inputs) = watch::channel(Some(inputs()));
    let running = Running::start(Server::new(inputs, &registry)).await;
    let json = "application/json";
    let old =
        json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {}});
    let cases = [
        (
            "/inject",
            "text/plain",
            String::new(),
            415,
            "content type \"text/plain\"",
        ),
        (
            "/inject",
            json,
            "{".to_owned(),
            400,
            "not an AdmissionReview in JSON",
        ),
        (
            "/validate",
            json,
            old.to_string(),
            400,
            "admissionReviewVersions: [v1]",
        ),
        (
            "/inject",
            json,
            " ".repeat((6 << 20) + 1),
            413,
            "larger than 6 MiB",
        ),
        (
            "/elsewhere",
            json,
            String::new(),
            404,
            "/inject, /validate and /ready",
        ),
    ];
    for (path, content_type, body, status, words) in cases {
        let (found, text) = running.post(path, content_type, body).await;
        assert_eq!(found, status, "{path}: {text}");
        assert!(text.contains(words), "{path}: {text}");
    }
    let (status, text) = running.get("/inject").await;
    assert_eq!((status, text.contains("POST")), (405, true));
    assert_eq!(running.get("/ready").await, (200, "ready\n".to_owned()));
    assert!(
        registry
            .render()
            .contains("galley_validation_http_error{status=\"400\"} 1")
    );
    running.stop().await;
}

fn virtual_service(weight: i32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"hosts": ["reviews"], "http": [{"route": [
            {"destination": {"host": "reviews"}, "weight": weight},
        ]}]},
    })
}

#[tokio::test]
async fn an_invalid_object_is_refused_in_the_words_of_meshctl_validate() {
    let registry = Registry::new();
    let (_keep, inputs) = watch::channel(None);
    let running = Running::start(Server::new(inputs, &registry)).await;
    let kind = ("networking.istio.io", "VirtualService");
    let wrong = virtual_service(-1);
    let answer = ask(
        &running,
        "/validate",
        &review(kind, "CREATE", wrong.clone()),
    )
    .await;
    assert_eq!(answer["allowed"], false);
    let words = answer["status"]["message"].as_str().unwrap();
    assert!(
        words.starts_with("VirtualService shop/reviews: spec.http[0].route[0].weight: "),
        "{words}"
    );
    let offline = mesh_config::decode::documents(&wrong.to_string(), "file");
    let offline = offline[0].as_ref().unwrap_err().to_string();
    assert_eq!(offline, format!("file:1: {words}"));
    let right = review(kind, "UPDATE", virtual_service(100));
    assert_eq!(ask(&running, "/validate", &right).await["allowed"], true);
    let metrics = registry.render();
    let labels = r#"group="networking.istio.io",version="v1",resource="virtualservices""#;
    for line in [
        format!("galley_validation_passed{{{labels}}} 1"),
        format!("galley_validation_failed{{{labels},reason=\"invalid_resource\"}} 1"),
    ] {
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    running.stop().await;
}

#[tokio::test]
async fn validation_lets_everything_else_pass() {
    let (_keep, inputs) = watch::channel(None);
    let running = Running::start(Server::new(inputs, &Registry::new())).await;
    let kind = ("networking.istio.io", "VirtualService");
    let mut status = review(kind, "UPDATE", virtual_service(-1));
    status["request"]["subResource"] = "status".into();
    let mut generated = virtual_service(1);
    generated["metadata"] = json!({"generateName": "reviews-"});
    let allowed = [
        status,
        review(kind, "DELETE", Value::Null),
        review(kind, "CREATE", generated),
        review(("", "Pod"), "CREATE", pod()),
        review(
            ("gateway.networking.k8s.io", "Gateway"),
            "CREATE",
            json!({}),
        ),
    ];
    for review in allowed {
        let answer = ask(&running, "/validate", &review).await;
        assert_eq!(answer["allowed"], true, "{review}");
    }
    let filter = json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "f", "namespace": "shop"},
        "spec": {},
    });
    let kind = ("networking.istio.io", "EnvoyFilter");
    let answer = ask(&running, "/validate", &review(kind, "CREATE", filter)).await;
    let words = answer["status"]["message"].as_str().unwrap();
    assert!(
        words.contains("EnvoyFilter is not implemented yet"),
        "{words}"
    );
    running.stop().await;
}

/// Reads until `words` came or the peer closed.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), words: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(words)
        && stream.read_buf(&mut text).await.unwrap() > 0
    {}
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_review_is_answered_after_the_stop_though_a_handshake_is_stalled() {
    let (_keep, inputs) = watch::channel(Some(inputs()));
    let running = Running::start(Server::new(inputs, &Registry::new())).await;
    let mut stalled = TcpStream::connect(running.address).await.unwrap();
    let body = review(("", "Pod"), "CREATE", pod()).to_string();
    let head = format!(
        "POST /inject HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = Box::pin(running.connect()).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut stream, "100 Continue\r\n\r\n").await;

    let server = running.begin_stop();
    let cut = tokio::time::timeout(Duration::from_secs(4), stalled.read(&mut [0])).await;
    assert_eq!(cut.expect("cut at the stop").unwrap_or_default(), 0);
    assert!(!server.is_finished());

    stream.write_all(body.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\"patch\"").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    server.await.unwrap();
}
