//! Bookinfo's page, as a visitor sees it.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use http::StatusCode;

use crate::http::{Answer, Call, send_blocking};

/// What the reviews part of the page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stars {
    /// Reviews without stars (v1).
    None,
    /// Black stars (v2).
    Black,
    /// Red stars (v3).
    Red,
    /// Reviews, but the ratings service failed.
    RatingsUnavailable,
    /// No reviews.
    ReviewsUnavailable,
}

/// Reads the page.
///
/// # Errors
/// When the answer is not the page.
pub fn stars(answer: &Answer) -> anyhow::Result<Stars> {
    ensure!(
        answer.status == StatusCode::OK,
        "status {}: {}",
        answer.status,
        first_line(&answer.body)
    );
    ensure!(
        answer.body.contains("Book Reviews") || answer.body.contains("product reviews"),
        "not the product page"
    );
    let has = |text: &str| answer.body.contains(text);
    Ok(if has("Error fetching product reviews") {
        Stars::ReviewsUnavailable
    } else if has("Ratings service is currently unavailable") {
        Stars::RatingsUnavailable
    } else if has("<font color=\"black\"") {
        Stars::Black
    } else if has("<font color=\"red\"") {
        Stars::Red
    } else {
        Stars::None
    })
}

/// A good page for a load: everything on it.
///
/// # Errors
/// When the page lacks its details or reviews.
pub fn whole_page(answer: &Answer) -> anyhow::Result<()> {
    let shown = stars(answer)?;
    ensure!(
        matches!(shown, Stars::None | Stars::Black | Stars::Red),
        "the page shows {shown:?}"
    );
    ensure!(
        !answer.body.contains("Error fetching product details"),
        "the page lacks the details"
    );
    Ok(())
}

/// The request for the page.
#[must_use]
pub fn page() -> Call {
    Call::get("/productpage")
}

/// The request for the page by a user who has logged in through the form.
///
/// # Errors
/// When the login doesn't answer with a session.
pub fn page_of(ingress: SocketAddr, user: &str) -> anyhow::Result<Call> {
    let login = Call::post("/login", &format!("username={user}&passwd=x"))
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = send_blocking(ingress, &login)?;
    let cookie = answer
        .headers
        .get("set-cookie")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .with_context(|| format!("the login answered {} without a session", answer.status))?;
    Ok(page().header("cookie", cookie))
}

/// Visits the page `times` times, and tells what each visit saw.
///
/// # Errors
/// When a visit gets no page.
pub fn visit(ingress: SocketAddr, call: &Call, times: usize) -> anyhow::Result<Vec<Stars>> {
    (0..times)
        .map(|_| stars(&send_blocking(ingress, call)?))
        .collect()
}

fn first_line(body: &str) -> &str {
    body.lines().next().unwrap_or_default()
}
