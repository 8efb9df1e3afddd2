//! A server that follows a script: what real ones of other versions answer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::ingest::kubernetes::Settings;

/// What the path of a request must hold, and the answer.
type Step = (&'static str, u16, String);

fn watch(script: impl IntoIterator<Item = Step>) -> Watch {
    let script: Arc<Mutex<VecDeque<Step>>> = Arc::new(Mutex::new(script.into_iter().collect()));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (expected, status, body) = script.lock().pop_front().unwrap();
        let asked = request.uri().to_string();
        assert!(asked.contains(expected), "{asked} is not {expected}");
        let answer = Response::builder().status(status);
        let answer = answer.body(Body::from(body.into_bytes())).unwrap();
        async { Ok::<_, Infallible>(answer) }
    });
    let namespaces = Collection::of_kubernetes(&Settings::default()).swap_remove(0);
    Watch::new(Client::new(service, "default"), namespaces)
}

fn namespace(name: &str, version: u64) -> Value {
    let meta = json!({"name": name, "resourceVersion": version.to_string()});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
}

fn stream(events: &[(&str, Value)]) -> String {
    let line =
        |(kind, object): &(&str, Value)| format!("{}\n", json!({"type": kind, "object": object}));
    events.iter().map(line).collect()
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
           "message": "no", "reason": "Some", "code": code})
}

const STREAM: &str = "sendInitialEvents=true";

/// What is told until something fails.
async fn told(watch: &mut Watch) -> (Vec<Told>, Failure) {
    let mut all = Vec::new();
    loop {
        match watch.next().await {
            Ok(told) => all.extend(told),
            Err(failure) => return (all, failure),
        }
    }
}

#[tokio::test]
async fn a_list_is_streamed_where_the_server_can() {
    let mut end = namespace("", 7);
    end["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    let events = stream(&[
        ("ADDED", namespace("a", 5)),
        ("BOOKMARK", end),
        ("MODIFIED", namespace("a", 8)),
    ]);
    let mut watch = watch([
        (STREAM, 200, events),
        ("limit=1", 403, failure(403).to_string()),
    ]);
    let (told, _) = told(&mut watch).await;
    let (first, second) = (namespace("a", 5), namespace("a", 8));
    assert_eq!(
        told,
        [
            Told::Listing,
            Told::Set(first),
            Told::Listed,
            Told::Set(second)
        ]
    );
    assert_eq!(watch.cursor.ask(), Ask::Version);
}

#[tokio::test]
async fn a_list_comes_in_parts_where_the_server_cannot() {
    let list = json!({
        "kind": "NamespaceList", "apiVersion": "v1", "metadata": {"resourceVersion": "9"},
        "items": [{"metadata": {"name": "a", "resourceVersion": "5"}}],
    });
    let error = stream(&[("ERROR", failure(500))]);
    for refusal in [
        (STREAM, 422, failure(422).to_string()),
        (STREAM, 200, error),
    ] {
        let script = [
            refusal,
            ("limit=", 200, list.to_string()),
            ("watch=true", 500, failure(500).to_string()),
        ];
        let (told, failure) = told(&mut watch(script)).await;
        assert!(matches!(failure, Failure::Unreachable(_)), "{failure:?}");
        // The parts of a list bear no kind of their own.
        let listed = [Told::Listing, Told::Set(namespace("a", 5)), Told::Listed];
        assert_eq!(told[told.len() - 3..], listed);
    }
}

#[tokio::test]
async fn a_refusal_is_told_from_an_outage() {
    let script = [
        (STREAM, 403, failure(403).to_string()),
        (STREAM, 503, String::new()),
    ];
    let mut watch = watch(script);
    let (_, refused) = told(&mut watch).await;
    assert!(matches!(refused, Failure::Refused(_)), "{refused:?}");
    let (_, away) = told(&mut watch).await;
    assert!(matches!(away, Failure::Unreachable(_)), "{away:?}");
    // Neither says anything about streams.
    assert_eq!(watch.cursor.ask(), Ask::Stream);
}
