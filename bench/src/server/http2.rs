//! HTTP/2: `/N` is answered with N bytes, as a gRPC message if the request is gRPC.

use std::convert::Infallible;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Window sizes of a server that holds nobody up.
const WINDOW: u32 = 4 << 20;

/// Serves one connection.
pub(super) async fn serve(stream: TcpStream) -> io::Result<()> {
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(None)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await
        .map_err(io::Error::other)
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error: Into<Failure>>>, Infallible> {
    let (head, body) = request.into_parts();
    let wanted = head.uri.path().trim_start_matches('/');
    let wanted = super::body(wanted.parse().unwrap_or_default());
    // A unary call's message comes before the answer. What fails is the load generator's to report.
    let _ = body.collect().await;
    let grpc = head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if !grpc {
        return Ok(Response::new(Either::Left(Full::new(Bytes::from_static(
            wanted,
        )))));
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message(wanted)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Either::Right(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    Ok(response)
}

/// A gRPC message: not compressed, length, content.
pub(crate) fn message(content: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(content.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(content.len()).unwrap_or(u32::MAX));
    framed.put_slice(content);
    framed.freeze()
}
