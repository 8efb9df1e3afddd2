//! Against an API server that knows who may do what, and is away at times.

use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// Accounts of the namespace `edge` with the resource on which they have a right; `None`: it is away.
type Rights = Arc<Mutex<Option<Vec<(&'static str, &'static str)>>>>;

fn readers(rights: &Rights) -> SecretReaders {
    let rights = rights.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let rights = rights.lock().clone();
        async move {
            let bytes = request.into_body().collect_bytes().await.unwrap();
            let mut review: Value = serde_json::from_slice(&bytes).unwrap();
            let Some(rights) = rights else {
                let away = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE);
                return Ok::<_, Infallible>(away.body(Body::empty()).unwrap());
            };
            let (spec, asked) = (&review["spec"], &review["spec"]["resourceAttributes"]);
            assert_eq!(asked["namespace"], "edge");
            let allowed = rights.iter().any(|(account, resource)| {
                spec["user"] == format!("system:serviceaccount:edge:{account}")
                    && asked["resource"] == *resource
            });
            review["status"] = json!({"allowed": allowed});
            Ok(Response::new(Body::from(review.to_string().into_bytes())))
        }
    });
    SecretReaders::new(Client::new(service, "default"))
}

#[tokio::test(start_paused = true)]
async fn either_right_will_do_and_an_answer_lasts_while_there_is_no_other() {
    let rights: Rights = Arc::new(Mutex::new(None));
    let readers = readers(&rights);
    assert_eq!(readers.contain("edge", "ours").await, None);
    *rights.lock() = Some(vec![("ours", "gateways"), ("theirs", "secrets")]);
    assert_eq!(
        readers.contain("edge", "ours").await,
        None,
        "asked too often"
    );
    tokio::time::advance(ASKED_AGAIN_AFTER).await;
    assert_eq!(readers.contain("edge", "ours").await, Some(true));
    assert_eq!(readers.contain("edge", "theirs").await, Some(true));
    assert_eq!(readers.contain("edge", "other").await, Some(false));

    *rights.lock() = None;
    tokio::time::advance(GRANTED_FOR).await;
    assert_eq!(readers.contain("edge", "ours").await, Some(true));
    assert_eq!(readers.contain("edge", "other").await, Some(false));

    *rights.lock() = Some(vec![("other", "gateways")]);
    tokio::time::advance(ASKED_AGAIN_AFTER).await;
    assert_eq!(readers.contain("edge", "ours").await, Some(false));
    assert_eq!(readers.contain("edge", "other").await, Some(true));
}
