//! Merged metrics: ours and the application's in one answer, as Istio's agent gives them.

use std::time::Duration;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::probe::Dialer;
use crate::admin::server::{Answer, typed};
use crate::bootstrap::AppMetrics;
use crate::state::chain;

/// Time limit of the application's answer where the scraper names none; Prometheus gives up
/// after 10 s by default.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Largest answer of an application that is passed on.
const MAX_BYTES: usize = 64 << 20;
const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// Our metrics, then the application's. If the application does not answer, ours alone: half
/// a scrape is better than none.
pub(super) async fn answer(
    own: String,
    app: &AppMetrics,
    dialer: &Dialer,
    came: &HeaderMap,
) -> Answer {
    let mut headers = HeaderMap::new();
    // OpenMetrics ends with a mark after which nothing may follow, so it is not asked for.
    headers.insert(ACCEPT, HeaderValue::from_static("text/plain;version=0.0.4"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let fetched = Box::pin(dialer.fetch(app.port, &app.path, headers, MAX_BYTES));
    let body = match tokio::time::timeout(timeout(came), fetched).await {
        Ok(Ok(response)) if response.status() == StatusCode::OK => {
            let openmetrics = response
                .headers()
                .get(CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"application/openmetrics-text"));
            join(own, response.body(), openmetrics)
        }
        Ok(Ok(response)) => {
            tracing::warn!(port = app.port, status = %response.status(), "application gives no metrics");
            own.into_bytes()
        }
        Ok(Err(error)) => {
            tracing::warn!(
                port = app.port,
                error = chain(&error),
                "application gives no metrics"
            );
            own.into_bytes()
        }
        Err(_) => {
            tracing::warn!(port = app.port, "application gives no metrics in time");
            own.into_bytes()
        }
    };
    typed(StatusCode::OK, mesh_telemetry::metrics::CONTENT_TYPE, body)
}

/// A little less than what the scraper grants.
fn timeout(came: &HeaderMap) -> Duration {
    let granted = came
        .get(SCRAPE_TIMEOUT)
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    match granted.map(|seconds| Duration::try_from_secs_f64(seconds * 0.8)) {
        Some(Ok(limit)) => limit.min(TIMEOUT),
        _ => TIMEOUT,
    }
}

fn join(own: String, app: &[u8], openmetrics: bool) -> Vec<u8> {
    let mut body = own.into_bytes();
    let app = if openmetrics {
        without_end_mark(app)
    } else {
        app
    };
    body.extend_from_slice(app);
    if body.last().is_some_and(|byte| *byte != b'\n') {
        body.push(b'\n');
    }
    body
}

/// OpenMetrics without `# EOF`, which is a comment in the older format only at the very end.
fn without_end_mark(app: &[u8]) -> &[u8] {
    let trimmed = app.trim_ascii_end();
    trimmed.strip_suffix(b"# EOF").unwrap_or(app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_both_texts_and_drops_the_end_mark() {
        let joined = |app: &str, open| {
            String::from_utf8(join("a 1\n".to_owned(), app.as_bytes(), open)).unwrap()
        };
        assert_eq!(joined("b 2", false), "a 1\nb 2\n");
        assert_eq!(joined("b 2\n# EOF\n", true), "a 1\nb 2\n");
    }

    #[test]
    fn follows_the_scrapers_time_limit() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(SCRAPE_TIMEOUT, HeaderValue::from_static(value));
            timeout(&headers)
        };
        assert_eq!(with("5"), Duration::from_secs(4));
        assert_eq!(with("60"), TIMEOUT);
        assert_eq!(with("-1"), TIMEOUT);
        assert_eq!(with("x"), TIMEOUT);
    }
}
