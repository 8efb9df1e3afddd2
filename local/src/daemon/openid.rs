//! The token issuer's keys over HTTP, where a cluster's API server has them.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::pod::token::ISSUER;

/// Serves the JWKS on port 80 of `address` until dropped.
///
/// # Errors
/// If the port cannot be bound.
pub(super) async fn serve(
    address: Ipv4Addr,
    jwks: String,
) -> std::io::Result<impl Future<Output = ()>> {
    let listener = TcpListener::bind((address, 80)).await?;
    let jwks = Bytes::from(jwks);
    Ok(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            let jwks = jwks.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(request.uri().path(), &jwks);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off is no event.
            tokio::spawn(async move { drop(connection.await) });
        }
    })
}

fn answer(path: &str, jwks: &Bytes) -> Response<Full<Bytes>> {
    let (status, body) = match path {
        "/openid/v1/jwks" => (StatusCode::OK, jwks.clone()),
        "/.well-known/openid-configuration" => {
            let document = serde_json::json!({
                "issuer": ISSUER,
                "jwks_uri": format!("http://{}/openid/v1/jwks", crate::net::API),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            (StatusCode::OK, document.to_string().into())
        }
        "/livez" | "/readyz" | "/healthz" => (StatusCode::OK, Bytes::from_static(b"ok")),
        _ => (
            StatusCode::NOT_FOUND,
            Bytes::from_static(b"{\"message\":\"not found\"}"),
        ),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_where_a_cluster_has_them() {
        let jwks = Bytes::from_static(b"{}");
        assert_eq!(answer("/openid/v1/jwks", &jwks).status(), StatusCode::OK);
        assert_eq!(
            answer("/.well-known/openid-configuration", &jwks).status(),
            StatusCode::OK
        );
        assert_eq!(
            answer("/api/v1/pods", &jwks).status(),
            StatusCode::NOT_FOUND
        );
    }
}
