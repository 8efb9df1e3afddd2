//! details: facts about the book, by its number.

use std::net::SocketAddr;

use http::StatusCode;
use serde_json::json;

use crate::http::{Reply, id_in, json, serve as serve_http};

/// Serves `/details/N` and `/health`.
pub(crate) async fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    serve_http("details", listen, |request| async move {
        answer(request.uri().path())
    })
    .await
}

fn answer(path: &str) -> Reply {
    if path == "/health" {
        return json(StatusCode::OK, &json!({"status": "Details is healthy"}));
    }
    match id_in(path, "/details/").and_then(|id| id.parse::<u64>().ok()) {
        Some(id) => json(StatusCode::OK, &book(id)),
        None => json(
            StatusCode::BAD_REQUEST,
            &json!({"error": "please provide a numeric product ID"}),
        ),
    }
}

fn book(id: u64) -> serde_json::Value {
    json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
}
