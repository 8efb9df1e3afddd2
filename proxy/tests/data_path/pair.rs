//! What HTTP carries, through a client's and a server's proxy with mutual TLS between them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::http2::{Local, connect};
use crate::mtls::Mesh;
use crate::rig::{Rig, get, raw, read_head, run, server};

const MEGABYTES: usize = 10 << 20;

async fn mesh(app: SocketAddr) -> Mesh {
    Mesh::new(app, true, "reviews", json!({})).await
}

/// Answers by the bytes it gets, after each head, from a script.
async fn scripted(script: &'static [(&'static str, &'static str)]) -> SocketAddr {
    server(move |mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            let Some(path) = head.split(' ').nth(1) else {
                return;
            };
            let answer = script.iter().find(|(known, _)| *known == path);
            let answer = answer.unwrap_or_else(|| panic!("no answer to {head}")).1;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

/// A server of both versions that sends back as much as it got; `/COUNT` sends so many bytes.
async fn sizes(http2: bool) -> SocketAddr {
    server(move |stream| async move {
        let answer = |request: Request<Incoming>| async move {
            let wanted = request.uri().path()[1..].parse().unwrap_or(0);
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let response = Response::builder().header("x-got", body.len());
            let body = Full::new(Bytes::from(vec![b'x'; wanted]));
            Ok::<_, Infallible>(response.body(body).unwrap())
        };
        let io = TokioIo::new(stream);
        if http2 {
            let http = hyper::server::conn::http2::Builder::new(Local);
            let _ = http.serve_connection(io, service_fn(answer)).await;
        } else {
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(io, service_fn(answer)).await;
        }
    })
    .await
}

/// Values of a metric's series with all of `labels`, summed.
fn counted(rig: &Rig, metric: &str, labels: &[&str]) -> u64 {
    let lines = rig.lines(metric, labels);
    let value = |line: &String| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    lines.iter().map(value).sum()
}

#[test]
fn carries_ten_megabytes_both_ways_over_http1() {
    run(async {
        let mesh = mesh(sizes(false).await).await;
        let mut client = TcpStream::connect(mesh.at).await.unwrap();
        let head = format!(
            "POST /{MEGABYTES} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: {MEGABYTES}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b'y'; MEGABYTES]).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.contains(&format!("x-got: {MEGABYTES}")), "{head}");
        let mut body = Vec::new();
        client.read_to_end(&mut body).await.unwrap();
        assert_eq!(body.len(), MEGABYTES);
        for rig in [&mesh.client, &mesh.server] {
            for metric in ["istio_request_bytes_sum", "istio_response_bytes_sum"] {
                let bytes = counted(rig, metric, &[]);
                let least = MEGABYTES as u64;
                assert!((least..least + 4096).contains(&bytes), "{metric} {bytes}");
            }
        }
        mesh.finish().await;
    });
}

#[test]
fn carries_ten_megabytes_both_ways_over_http2() {
    run(async {
        let mesh = mesh(sizes(true).await).await;
        let mut client = connect(mesh.at).await;
        let request = Request::post(format!("http://a.test/{MEGABYTES}"))
            .body(Full::new(Bytes::from(vec![b'y'; MEGABYTES])))
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.headers()["x-got"], MEGABYTES.to_string());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), MEGABYTES);
        drop(client);
        mesh.finish().await;
    });
}

#[test]
fn a_thousand_requests_use_one_connection_all_the_way() {
    run(async {
        let app = scripted(&[("/", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]).await;
        let mesh = mesh(app).await;
        let mut client = TcpStream::connect(mesh.at).await.unwrap();
        for _ in 0..1000 {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                .await
                .unwrap();
            let head = read_head(&mut client).await;
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            client.read_exact(&mut [0; 2]).await.unwrap();
        }
        drop(client);
        assert_eq!(mesh.client.cluster("a").cx_total, 1);
        let good = ["response_code=\"200\"", "response_flags=\"-\""];
        for rig in [&mesh.client, &mesh.server] {
            assert_eq!(counted(rig, "istio_requests_total", &good), 1000);
        }
        mesh.finish().await;
    });
}

#[test]
fn heads_and_empty_answers_stay_without_body() {
    run(async {
        let app = scripted(&[
            ("/head", "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"),
            ("/204", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("/304", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
        ])
        .await;
        let mesh = mesh(app).await;
        let mut client = TcpStream::connect(mesh.at).await.unwrap();
        for (method, path, status) in [
            ("HEAD", "/head", "200"),
            ("GET", "/204", "204"),
            ("GET", "/304", "304"),
            ("HEAD", "/head", "200"),
        ] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            // The next head would not be where it is, had a body come.
            let head = read_head(&mut client).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
            assert_eq!(head.contains("content-length: 12345"), path == "/head");
            assert!(!head.contains("transfer-encoding"), "{head}");
        }
        drop(client);
        mesh.finish().await;
    });
}

#[test]
fn keeps_http_1_0_connections_that_ask_for_it() {
    run(async {
        let app = scripted(&[("/", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")]).await;
        let mesh = mesh(app).await;
        let mut client = TcpStream::connect(mesh.at).await.unwrap();
        for _ in 0..2 {
            client
                .write_all(b"GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n")
                .await
                .unwrap();
            let head = read_head(&mut client).await.to_lowercase();
            assert!(head.contains("connection: keep-alive"), "{head}");
            client.read_exact(&mut [0; 2]).await.unwrap();
        }
        let answer = raw(mesh.at, "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
        assert!(answer.ends_with("ok"), "{answer}");
        drop(client);
        mesh.finish().await;
    });
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_to() {
    run(async {
        let mesh = mesh(sizes(false).await).await;
        let mut client = TcpStream::connect(mesh.at).await.unwrap();
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            .await
            .unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 100 Continue"), "{head}");
        client.write_all(b"hello").await.unwrap();
        let head = read_head(&mut client).await;
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("x-got: 5"),
            "{head}"
        );
        let _ = client.read_to_end(&mut Vec::new()).await;
        mesh.finish().await;
    });
}

#[test]
fn an_answer_that_comes_before_the_body_ended_reaches_the_client() {
    run(async {
        // It answers at once and goes on reading, as servers do that linger.
        let app = server(|mut stream| async move {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig";
            stream.write_all(answer).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let mesh = mesh(app).await;
        let mut client = TcpStream::connect(mesh.at).await.unwrap();
        let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&[b'y'; 1000]).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 413"), "{head}");
        drop(client);
        mesh.finish().await;
    });
}

#[test]
fn a_response_that_is_reset_is_cut_off_for_the_client_and_flagged() {
    run(async {
        let app = server(|mut stream| async move {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial";
            stream.write_all(answer).await.unwrap();
        })
        .await;
        let mesh = mesh(app).await;
        let answer = get(mesh.at, "/", "").await;
        assert!(answer.ends_with("partial"), "{answer}");
        let flagged = ["response_flags=\"UC\"", "response_code=\"200\""];
        for rig in [&mesh.client, &mesh.server] {
            assert_eq!(counted(rig, "istio_requests_total", &flagged), 1);
        }
        mesh.finish().await;
    });
}

#[test]
fn a_client_that_leaves_is_flagged_on_both_sides() {
    run(async {
        let app = server(|mut stream| async move {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let mesh = mesh(app).await;
        let mut client = TcpStream::connect(mesh.at).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .await
            .unwrap();
        let arrived = || {
            let figures = mesh.server.families.stats().listener("virtualInbound");
            figures.rq_active == 1
        };
        mesh.server.until("the request has arrived", arrived).await;
        drop(client);
        let gone = ["response_flags=\"DC\"", "response_code=\"0\""];
        for rig in [&mesh.client, &mesh.server] {
            rig.until("it is flagged", || {
                counted(rig, "istio_requests_total", &gone) == 1
            })
            .await;
        }
        mesh.finish().await;
    });
}

#[test]
fn carries_a_websocket_with_data_right_behind_the_handshake() {
    run(async {
        let app = server(|mut stream| async move {
            let head = read_head(&mut stream).await.to_lowercase();
            assert!(head.contains("upgrade: websocket"), "{head}");
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nwelcome ";
            stream.write_all(answer).await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await;
        let mesh = mesh(app).await;
        let mut client = TcpStream::connect(mesh.at).await.unwrap();
        client
            .write_all(b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nearly")
            .await
            .unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let mut answer = [0; 13];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"welcome early");
        client.shutdown().await.unwrap();
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        drop(client);
        for rig in [&mesh.client, &mesh.server] {
            rig.until("the tunnel is counted", || {
                counted(rig, "istio_requests_total", &["response_code=\"101\""]) == 1
            })
            .await;
        }
        mesh.finish().await;
    });
}

/// A gRPC server that sends each message back at once, and status 5 at the end.
async fn streaming() -> SocketAddr {
    server(|stream| async move {
        let answer = |request: Request<Incoming>| async move {
            let trailers =
                HeaderMap::from_iter([("grpc-status".parse().unwrap(), "5".parse().unwrap())]);
            let echoed = request
                .into_body()
                .into_data_stream()
                .map(|data| Ok::<_, Infallible>(Frame::data(data.unwrap())));
            let end = futures::stream::iter([Ok(Frame::trailers(trailers))]);
            let response = Response::builder().header("content-type", "application/grpc");
            let body = StreamBody::new(echoed.chain(end));
            Ok::<_, Infallible>(response.body(body).unwrap())
        };
        let http = hyper::server::conn::http2::Builder::new(Local);
        let _ = http
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .await;
    })
    .await
}

#[test]
fn carries_a_grpc_stream_both_ways_and_counts_its_status() {
    run(async {
        let mesh = mesh(streaming().await).await;
        let stream = TcpStream::connect(mesh.at).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(Local, TokioIo::new(stream))
                .await
                .unwrap();
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        let (say, said) = tokio::sync::mpsc::channel(1);
        let request = Request::post("http://a.test/echo.Echo/Chat")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(StreamBody::new(ReceiverStream::new(said)))
            .unwrap();
        let mut response = client.send_request(request).await.unwrap().into_body();
        for word in ["one", "two", "three"] {
            // The answer comes before the next message is sent: nothing is held back.
            let frame = Ok::<_, Infallible>(Frame::data(Bytes::from_static(word.as_bytes())));
            say.send(frame).await.unwrap();
            let heard = tokio::time::timeout(Duration::from_secs(5), response.frame()).await;
            let heard = heard.unwrap().unwrap().unwrap().into_data().unwrap();
            assert_eq!(heard, word.as_bytes());
        }
        drop(say);
        let last = response.frame().await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap()["grpc-status"], "5");
        drop((client, response));
        let labels = [
            "request_protocol=\"grpc\"",
            "response_code=\"200\"",
            "grpc_response_status=\"5\"",
            "response_flags=\"-\"",
        ];
        for rig in [&mesh.client, &mesh.server] {
            rig.until("the call is counted", || {
                counted(rig, "istio_requests_total", &labels) == 1
            })
            .await;
        }
        mesh.finish().await;
    });
}
