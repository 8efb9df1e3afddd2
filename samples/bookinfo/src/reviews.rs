//! reviews: what two readers say. v1 shows no stars, v2 black ones, v3 red ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::forward;
use crate::http::{Reply, get_json, id_in, json, serve as serve_http};

/// Longer than productpage waits: the known flaw that the fault-injection walk-through finds.
const RATINGS_BUDGET: Duration = Duration::from_secs(10);
/// The newest version has the flaw mended.
const RATINGS_BUDGET_RED: Duration = Duration::from_millis(2500);

/// How this version of reviews behaves.
#[derive(Args)]
pub(crate) struct Options {
    /// Ask the ratings service for stars.
    #[arg(long, env = "ENABLE_RATINGS", default_value_t = false, action = clap::ArgAction::Set)]
    enable_ratings: bool,
    /// Colour of the stars.
    #[arg(long, env = "STAR_COLOR", default_value = "black")]
    star_color: String,
    /// Domain that is appended to the ratings host.
    #[arg(long, env = "SERVICES_DOMAIN", default_value = "")]
    services_domain: String,
    /// Host of the ratings service.
    #[arg(long, env = "RATINGS_HOSTNAME", default_value = "ratings")]
    ratings_hostname: String,
    /// Port of the ratings service.
    #[arg(long, env = "RATINGS_SERVICE_PORT", default_value_t = 9080)]
    ratings_port: u16,
}

/// Serves `/reviews/N` and `/health`.
pub(crate) async fn serve(listen: SocketAddr, options: Options) -> anyhow::Result<()> {
    let options = Arc::new(options);
    serve_http("reviews", listen, move |request| {
        let options = options.clone();
        async move { answer(request.uri().path(), request.headers(), &options).await }
    })
    .await
}

async fn answer(path: &str, headers: &HeaderMap, options: &Options) -> Reply {
    if path == "/health" {
        return json(StatusCode::OK, &json!({"status": "Reviews is healthy"}));
    }
    let Some(id) = id_in(path, "/reviews/") else {
        return json(
            StatusCode::BAD_REQUEST,
            &json!({"error": "please provide a numeric product ID"}),
        );
    };
    let stars = if options.enable_ratings {
        Some(stars(id, headers, options).await)
    } else {
        None
    };
    json(StatusCode::OK, &reviews(id, options, stars.as_ref()))
}

/// The ratings service's answer, or null when it has none for us.
async fn stars(id: &str, headers: &HeaderMap, options: &Options) -> Value {
    let domain = &options.services_domain;
    let dot = if domain.is_empty() { "" } else { "." };
    let authority = format!(
        "{}{dot}{domain}:{}",
        options.ratings_hostname, options.ratings_port
    );
    let budget = if options.star_color == "red" {
        RATINGS_BUDGET_RED
    } else {
        RATINGS_BUDGET
    };
    get_json(
        &authority,
        &format!("/ratings/{id}"),
        &forward::headers(headers),
        budget,
    )
    .await
    .map_or(Value::Null, |mut answer| answer["ratings"].take())
}

fn reviews(id: &str, options: &Options, stars: Option<&Value>) -> Value {
    let review = |reviewer: &str, text: &str| {
        let mut review = json!({"reviewer": reviewer, "text": text});
        if let Some(stars) = stars {
            review["rating"] = match stars[reviewer].as_u64() {
                Some(count) => json!({"stars": count, "color": options.star_color}),
                None => json!({"error": "Ratings service is currently unavailable"}),
            };
        }
        review
    };
    json!({
        "id": id,
        "podname": std::env::var("HOSTNAME").unwrap_or_default(),
        "clustername": std::env::var("CLUSTER_NAME").ok(),
        "reviews": [
            review("Reviewer1", "Two pairs of twins, one long day of mistaken doors, and not a dull page among them."),
            review("Reviewer2", "Great fun on the stage, a little thin at the desk; read it aloud with friends."),
        ],
    })
}
