//! ratings: stars by reviewer, kept in memory; a POST replaces a product's ratings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::json;

use crate::http::{Reply, id_in, json, serve as serve_http};

type Stars = BTreeMap<String, u8>;

/// Serves `/ratings/N` (GET, POST) and `/health`.
pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let posted: Arc<Mutex<BTreeMap<u64, Stars>>> = Arc::default();
    serve_http("ratings", listen, move |request| {
        let reply = answer(&request, &posted);
        async move { reply }
    })
    .await
}

fn answer(request: &Request<Bytes>, posted: &Mutex<BTreeMap<u64, Stars>>) -> Reply {
    if request.uri().path() == "/health" {
        return json(StatusCode::OK, &json!({"status": "Ratings is healthy"}));
    }
    let Some(id) = id_in(request.uri().path(), "/ratings/").and_then(|id| id.parse::<u64>().ok())
    else {
        return json(
            StatusCode::BAD_REQUEST,
            &json!({"error": "please provide a numeric product ID"}),
        );
    };
    let mut posted = posted
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if *request.method() == Method::POST {
        match serde_json::from_slice::<Stars>(request.body()) {
            Ok(stars) => drop(posted.insert(id, stars)),
            Err(error) => {
                let error = format!("please provide ratings as JSON, reviewer to stars: {error}");
                return json(StatusCode::BAD_REQUEST, &json!({"error": error}));
            }
        }
    }
    let stars = posted.get(&id).cloned().unwrap_or_else(default_stars);
    json(StatusCode::OK, &json!({"id": id, "ratings": stars}))
}

fn default_stars() -> Stars {
    BTreeMap::from([("Reviewer1".to_owned(), 5), ("Reviewer2".to_owned(), 4)])
}
