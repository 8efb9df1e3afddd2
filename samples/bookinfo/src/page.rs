//! The HTML of the product page.

use std::fmt::Write;

use serde_json::Value;

use crate::productpage::Part;

pub(crate) const TITLE: &str = "The Comedy of Errors";
pub(crate) const SUMMARY: &str = "One of Shakespeare's first plays and his shortest: twin brothers, parted as \
     babies by a shipwreck, come to the same town on the same day, and nobody can tell who is who.";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1c2430;background:#f6f7f9}\
header{background:#1f3a5f;color:#fff;padding:.8rem 2rem;display:flex;justify-content:space-between;align-items:center}\
header a,header button{color:#fff}header form{display:flex;gap:.4rem}\
main{max-width:64rem;margin:2rem auto;padding:0 1rem}\
section{background:#fff;border:1px solid #dde2e8;border-radius:8px;padding:1rem 1.5rem;margin:1rem 0}\
.columns{display:grid;grid-template-columns:1fr 2fr;gap:1rem}dt{font-weight:600}dd{margin:0 0 .4rem}\
blockquote{margin:0 0 1rem;border-left:4px solid #dde2e8;padding-left:1rem}small{color:#5b6675}\
.error{color:#a4262c}.glyphicon-star::before{content:'\\2605'}.glyphicon-star-empty::before{content:'\\2606'}";

/// The front page.
pub(crate) fn index() -> String {
    document(
        "<h1>Bookinfo</h1><p>A sample application of four services in the mesh.</p>\
        <p><a href=\"/productpage\">The product page</a> &middot; \
        <a href=\"/api/v1/products\">the products as JSON</a></p>",
        "",
    )
}

/// The product page; `user` is who is logged in.
pub(crate) fn product(user: Option<&str>, details: &Part, reviews: &Part) -> String {
    let body = format!(
        "<h1>{TITLE}</h1><section><p>{SUMMARY}</p></section><div class=\"columns\">\
         <section><h2>Book Details</h2>{}</section><section><h2>Book Reviews</h2>{}</section></div>",
        details_html(details),
        reviews_html(reviews),
    );
    document(&body, &session_html(user))
}

fn document(body: &str, session: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Simple Bookstore App</title>\
         <style>{STYLE}</style></head><body><header><strong>Bookinfo Sample</strong>{session}</header>\
         <main>{body}</main></body></html>\n"
    )
}

fn session_html(user: Option<&str>) -> String {
    match user {
        Some(user) => format!("<span>{} (<a href=\"/logout\">sign out</a>)</span>", escape(user)),
        None => "<form method=\"post\" action=\"/login\"><input name=\"username\" placeholder=\"User name\" required>\
                 <input type=\"password\" name=\"passwd\" placeholder=\"Password\"><button style=\"color:inherit;background:none;border:1px solid\">Sign in</button></form>"
            .to_owned(),
    }
}

fn details_html(part: &Part) -> String {
    if let Some(error) = error_html(part, "product details") {
        return error;
    }
    let mut html = String::from("<dl>");
    for (label, field) in [
        ("Type", "type"),
        ("Pages", "pages"),
        ("Publisher", "publisher"),
        ("Language", "language"),
        ("ISBN-10", "ISBN-10"),
        ("ISBN-13", "ISBN-13"),
    ] {
        let value = &part.body[field];
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let _ = write!(html, "<dt>{label}:</dt><dd>{}</dd>", escape(&value));
    }
    html + "</dl>"
}

fn reviews_html(part: &Part) -> String {
    if let Some(error) = error_html(part, "product reviews") {
        return error;
    }
    let reviews = part.body["reviews"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut html: String = reviews.iter().map(review_html).collect();
    if let Some(pod) = part.body["podname"].as_str() {
        let _ = write!(html, "<small>Reviews served by: {}</small>", escape(pod));
    }
    html
}

fn review_html(review: &Value) -> String {
    let text = escape(review["text"].as_str().unwrap_or_default());
    let reviewer = escape(review["reviewer"].as_str().unwrap_or_default());
    format!(
        "<blockquote><p>{text}</p><small>{reviewer}</small>{}</blockquote>",
        rating_html(&review["rating"])
    )
}

fn rating_html(rating: &Value) -> String {
    if let Some(error) = rating["error"].as_str() {
        return format!("<p class=\"error\"><i>{}</i></p>", escape(error));
    }
    let Some(stars) = rating["stars"].as_u64() else {
        return String::new();
    };
    let color = escape(rating["color"].as_str().unwrap_or("black"));
    let full = stars.min(5);
    let mut html = format!("<p><font color=\"{color}\" aria-label=\"{full} of 5 stars\">");
    for position in 0..5 {
        let kind = if position < full {
            "glyphicon-star"
        } else {
            "glyphicon-star-empty"
        };
        let _ = write!(html, "<span class=\"glyphicon {kind}\"></span>");
    }
    html + "</font></p>"
}

fn error_html(part: &Part, what: &str) -> Option<String> {
    let message = part.body["error"]
        .as_str()
        .filter(|_| !part.status.is_success())?;
    Some(format!(
        "<h3 class=\"error\">Error fetching {what}!</h3><p>{}</p>",
        escape(message)
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn page(reviews: Value, status: StatusCode) -> String {
        let details = Part {
            status: StatusCode::OK,
            body: json!({"type": "paperback"}),
        };
        product(
            Some("<jason>"),
            &details,
            &Part {
                status,
                body: reviews,
            },
        )
    }

    #[test]
    fn stars_carry_their_colour() {
        let rating = json!({"stars": 4, "color": "red"});
        let html = page(
            json!({"reviews": [{"reviewer": "a", "text": "b", "rating": rating}]}),
            StatusCode::OK,
        );
        assert!(
            html.contains("<font color=\"red\"") && html.matches("glyphicon-star\"").count() == 4
        );
    }

    #[test]
    fn failed_reviews_say_so_and_names_are_escaped() {
        let html = page(json!({"error": "Sorry"}), StatusCode::SERVICE_UNAVAILABLE);
        assert!(html.contains("Error fetching product reviews!") && html.contains("&lt;jason&gt;"));
    }
}
