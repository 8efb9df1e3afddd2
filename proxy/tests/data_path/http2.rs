use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::http1::echo;
use crate::rig::{Rig, run, server};
use crate::xds::{
    cluster, downstream_cluster, http2_cluster, manager, outbound_listener, route_to, routes,
};

#[derive(Clone)]
pub(crate) struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A gRPC server: echoes the message, says OK in trailers.
pub(crate) async fn grpc() -> SocketAddr {
    server(|stream| async move {
        let answer = |request: Request<Incoming>| async move {
            assert_eq!(request.headers()["te"], "trailers");
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let trailers =
                HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            let frames = [
                Ok::<_, Infallible>(Frame::data(body)),
                Ok(Frame::trailers(trailers)),
            ];
            let response = Response::builder().header("content-type", "application/grpc");
            Ok::<_, Infallible>(
                response
                    .body(StreamBody::new(futures::stream::iter(frames)))
                    .unwrap(),
            )
        };
        let http = hyper::server::conn::http2::Builder::new(Local);
        let _ = http
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .await;
    })
    .await
}

/// An HTTP/2 client by prior knowledge.
pub(crate) async fn connect(at: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(at).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(Local, TokioIo::new(stream))
        .await
        .unwrap();
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    sender
}

pub(crate) fn call(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("http://a.test/echo.Echo/Say")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .unwrap()
}

async fn proxy(cluster: serde_json::Value) -> (Rig, SocketAddr) {
    let rig = Rig::new("client");
    rig.apply(&[
        cluster,
        outbound_listener(manager(routes(&[route_to("a")]), json!({}))),
    ]);
    let at = rig.outbound("10.96.0.1:80").await;
    (rig, at)
}

#[test]
fn carries_grpc_with_trailers_and_counts_its_status() {
    run(async {
        let (rig, at) = proxy(http2_cluster("a", &[grpc().await])).await;
        let mut client = connect(at).await;
        let response = client.send_request(call("hello")).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), "hello");
        drop(client);
        let labels = [
            "request_protocol=\"grpc\"",
            "grpc_response_status=\"0\"",
            "response_code=\"200\"",
        ];
        assert_eq!(
            rig.lines("istio_requests_total", &labels).len(),
            1,
            "{}",
            rig.metrics()
        );
        rig.finish().await;
    });
}

#[test]
fn streams_share_one_upstream_connection() {
    run(async {
        let (rig, at) = proxy(downstream_cluster("a", &[grpc().await])).await;
        let client = connect(at).await;
        let calls = (0..50).map(|_| {
            let mut client = client.clone();
            async move {
                let response = client.send_request(call("x")).await.unwrap();
                response.into_body().collect().await.unwrap().to_bytes()
            }
        });
        let answers = futures::future::join_all(calls).await;
        assert!(answers.iter().all(|answer| *answer == "x"));
        drop(client);
        assert_eq!(
            (rig.cluster("a").rq_total, rig.cluster("a").cx_total),
            (50, 1)
        );
        rig.finish().await;
    });
}

#[test]
fn translates_http2_to_http1() {
    run(async {
        let (rig, at) = proxy(cluster("a", &[echo().await])).await;
        let mut client = connect(at).await;
        let request = Request::get("http://a.test/two?q=1")
            .body(Full::default())
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&text);
        assert!(
            text.contains("GET /two?q=1\n") && text.contains("\nhost: a.test\n"),
            "{text}"
        );
        drop(client);
        rig.finish().await;
    });
}

#[test]
fn grpc_callers_get_our_errors_in_their_own_form() {
    run(async {
        let (rig, at) = proxy(http2_cluster("a", &[])).await;
        let mut client = connect(at).await;
        let response = client.send_request(call("x")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "no healthy upstream");
        drop((client, response));
        rig.finish().await;
    });
}

#[test]
fn a_stream_refused_by_goaway_goes_to_a_new_connection() {
    run(async {
        // The first connection says goodbye after its first request.
        let upstream = server(|stream| async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let Some(Ok((_, mut respond))) = connection.accept().await else {
                return;
            };
            respond.send_response(Response::new(()), true).unwrap();
            connection.graceful_shutdown();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let _ = respond.send_response(Response::new(()), true);
            }
        })
        .await;
        let (rig, at) = proxy(http2_cluster("a", &[upstream])).await;
        let mut client = connect(at).await;
        for _ in 0..10 {
            let request = Request::get("http://a.test/")
                .body(Full::default())
                .unwrap();
            assert_eq!(client.send_request(request).await.unwrap().status(), 200);
        }
        drop(client);
        rig.finish().await;
    });
}
