use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Rig, canned, get, raw, read_head, run, server};
use crate::xds::{cluster, manager, outbound_listener, route_to, routes, with};

/// Echoes method, path, chosen headers and body.
pub(crate) async fn echo() -> SocketAddr {
    server(|stream| async move {
        let answer = |request: Request<Incoming>| async move {
            let line = format!("{} {}", request.method(), request.uri());
            let mut text = format!("{line}\n");
            for (name, value) in request.headers() {
                text.push_str(&format!("{name}: {}\n", value.to_str().unwrap_or("?")));
            }
            let body = request
                .into_body()
                .collect()
                .await
                .map(|body| body.to_bytes());
            text.push_str(&String::from_utf8_lossy(&body.unwrap_or_default()));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        };
        let http = hyper::server::conn::http1::Builder::new();
        let _ = http
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .await;
    })
    .await
}

/// A proxy with one route to `upstream`.
pub(crate) async fn proxy(upstream: SocketAddr) -> (Rig, SocketAddr) {
    let rig = Rig::new("client");
    rig.apply(&[
        cluster("a", &[upstream]),
        outbound_listener(manager(routes(&[route_to("a")]), json!({}))),
    ]);
    let at = rig.outbound("10.96.0.1:80").await;
    (rig, at)
}

#[test]
fn forwards_a_request_and_counts_it() {
    run(async {
        let (rig, at) = proxy(echo().await).await;
        let answer = get(at, "/x?y=1", "X-A: b\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("GET /x?y=1\n"), "{answer}");
        assert!(
            answer.contains("\nhost: a.test\n") && answer.contains("\nx-a: b\n"),
            "{answer}"
        );
        assert!(
            answer.contains("\nx-request-id: ") && answer.contains("\nx-forwarded-proto: http\n"),
            "{answer}"
        );
        let labels = [
            "reporter=\"source\"",
            "source_workload=\"client-v1\"",
            "destination_service=\"a.test\"",
            "destination_service_name=\"a\"",
            "request_protocol=\"http\"",
            "response_code=\"200\"",
            "response_flags=\"-\"",
            "connection_security_policy=\"unknown\"",
        ];
        let lines = rig.lines("istio_requests_total", &labels);
        assert!(
            matches!(lines.as_slice(), [line] if line.ends_with(" 1")),
            "{}",
            rig.metrics()
        );
        assert_eq!(rig.cluster("a").rq_total, 1);
        rig.finish().await;
    });
}

#[test]
fn keeps_connections_alive_on_both_sides() {
    run(async {
        let (rig, at) = proxy(echo().await).await;
        let mut client = TcpStream::connect(at).await.unwrap();
        for turn in 0..5 {
            let body = format!("turn {turn}");
            let request = format!(
                "POST /{turn} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(request.as_bytes()).await.unwrap();
            let head = read_head(&mut client).await;
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            let mut answer = vec![0; length];
            client.read_exact(&mut answer).await.unwrap();
            assert!(String::from_utf8(answer).unwrap().ends_with(&body));
        }
        drop(client);
        assert_eq!(
            (rig.cluster("a").rq_total, rig.cluster("a").cx_total),
            (5, 1)
        );
        rig.finish().await;
    });
}

#[test]
fn serves_http_1_0_and_closes() {
    run(async {
        let (rig, at) = proxy(echo().await).await;
        let answer = raw(at, "GET /old HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"),
            "{answer}"
        );
        assert!(answer.contains("GET /old"), "{answer}");
        rig.finish().await;
    });
}

#[test]
fn carries_chunked_bodies_both_ways() {
    run(async {
        let answer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let upstream = server(move |mut stream| async move {
            let head = read_head(&mut stream).await;
            assert!(
                head.to_lowercase().contains("transfer-encoding: chunked"),
                "{head}"
            );
            let mut body = [0; 18];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let (rig, at) = proxy(upstream).await;
        let request = "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\n";
        let answer = raw(at, request).await;
        assert!(answer.contains("abc") && answer.contains("de"), "{answer}");
        rig.finish().await;
    });
}

#[test]
fn trailers_end_a_response_in_good_order() {
    run(async {
        let upstream = canned(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n",
        )
        .await;
        let (rig, at) = proxy(upstream).await;
        let answer = get(at, "/", "TE: trailers\r\n").await;
        assert!(answer.contains("x-sum: 7"), "{answer}");
        let lines = rig.lines("istio_requests_total", &["response_flags=\"-\""]);
        assert_eq!(lines.len(), 1, "{}", rig.metrics());
        rig.finish().await;
    });
}

#[test]
fn refuses_what_could_smuggle() {
    run(async {
        let (rig, at) = proxy(echo().await).await;
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                "501",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
                "400",
            ),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ] {
            let request =
                request.replacen("Host: a\r\n\r\n", "Host: a\r\nConnection: close\r\n\r\n", 1);
            let request = request.replacen(
                "HTTP/1.1\r\n\r\n",
                "HTTP/1.1\r\nConnection: close\r\n\r\n",
                1,
            );
            let request = request.replacen("Host: b\r\n", "Host: b\r\nConnection: close\r\n", 1);
            let answer = raw(at, &request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{request:?} -> {answer}"
            );
        }
        rig.finish().await;
    });
}

#[test]
fn garbage_from_a_client_ends_its_connection_only() {
    run(async {
        let (rig, at) = proxy(echo().await).await;
        for garbage in [
            "\x00\x01\x02\x03garbage\r\n\r\n",
            "GET\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxxxxxxx",
        ] {
            let _ = raw(at, garbage).await;
        }
        assert!(get(at, "/", "").await.contains("200 OK"));
        let figures = rig.families.stats().listener("0.0.0.0_80");
        assert!(figures.protocol_error >= 2, "{figures:?}");
        rig.finish().await;
    });
}

#[test]
fn garbage_from_an_upstream_is_a_502() {
    run(async {
        let (rig, at) = proxy(canned("\x00\x01 this is not HTTP\r\n\r\n").await).await;
        let answer = get(at, "/", "").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(answer.contains("reset reason: protocol error"), "{answer}");
        assert_eq!(
            rig.lines("istio_requests_total", &["response_flags=\"UPE\""])
                .len(),
            1
        );
        rig.finish().await;
    });
}

#[test]
fn strips_hop_by_hop_headers_both_ways() {
    run(async {
        let upstream = server(|mut stream| async move {
            let head = read_head(&mut stream).await.to_lowercase();
            let leaked = ["x-hop", "keep-alive", "proxy-connection"].iter().any(|name| head.contains(name));
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: x-back\r\nX-Back: 1\r\nKeep-Alive: timeout=9\r\nContent-Length: 5\r\n\r\n{leaked:5}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let (rig, at) = proxy(upstream).await;
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\n\r\n";
        let answer = raw(at, request).await.to_lowercase();
        assert!(answer.ends_with("false"), "{answer}");
        assert!(
            !answer.contains("x-back") && !answer.contains("timeout=9"),
            "{answer}"
        );
        rig.finish().await;
    });
}

#[test]
fn answers_404_without_a_route_and_503_without_an_upstream() {
    run(async {
        let rig = Rig::new("client");
        let only_a =
            json!({"match": {"prefix": "/a"}, "route": {"cluster": "outbound|80||a.test"}});
        rig.apply(&[
            cluster("a", &[]),
            outbound_listener(manager(routes(&[only_a]), json!({}))),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        assert!(get(at, "/b", "").await.starts_with("HTTP/1.1 404"));
        let answer = get(at, "/a", "").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("no healthy upstream"),
            "{answer}"
        );
        assert_eq!(
            rig.lines(
                "istio_requests_total",
                &["response_flags=\"NR\"", "code=\"404\""]
            )
            .len(),
            1
        );
        assert_eq!(
            rig.lines(
                "istio_requests_total",
                &["response_flags=\"UH\"", "code=\"503\""]
            )
            .len(),
            1
        );
        rig.finish().await;
    });
}

#[test]
fn redirects_and_direct_responses_are_ours() {
    run(async {
        let rig = Rig::new("client");
        let table = routes(&[
            json!({"match": {"prefix": "/old"}, "redirect": {"path_redirect": "/new", "response_code": "FOUND"}}),
            json!({"match": {"prefix": "/"}, "direct_response": {"status": 418, "body": {"inline_string": "teapot"}}}),
        ]);
        rig.apply(&[outbound_listener(manager(table, json!({})))]);
        let at = rig.outbound("10.96.0.1:80").await;
        let answer = get(at, "/old/x", "").await;
        assert!(
            answer.starts_with("HTTP/1.1 302") && answer.contains("location: http://a.test/new"),
            "{answer}"
        );
        let answer = get(at, "/", "").await;
        assert!(
            answer.starts_with("HTTP/1.1 418") && answer.ends_with("teapot"),
            "{answer}"
        );
        rig.finish().await;
    });
}

#[test]
fn rewrites_paths_hosts_and_headers() {
    run(async {
        let rig = Rig::new("client");
        let route = with(
            route_to("a"),
            json!({
                "match": {"prefix": "/api/"},
                "route": {"prefix_rewrite": "/v1/", "host_rewrite_literal": "b.test"},
                "request_headers_to_add": [{"header": {"key": "x-added", "value": "%REQ(x-in)%"}}],
                "response_headers_to_add": [{"header": {"key": "x-out", "value": "1"}}],
                "request_headers_to_remove": ["x-gone"],
            }),
        );
        rig.apply(&[
            cluster("a", &[echo().await]),
            outbound_listener(manager(routes(&[route]), json!({}))),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        let answer = get(at, "/api/./x/../y?q", "X-In: 7\r\nX-Gone: 1\r\n").await;
        assert!(answer.contains("GET /v1/y?q\n"), "{answer}");
        assert!(
            answer.contains("\nhost: b.test\n") && answer.contains("\nx-added: 7\n"),
            "{answer}"
        );
        assert!(
            answer.contains("x-out: 1") && !answer.contains("x-gone"),
            "{answer}"
        );
        assert!(
            answer.contains("\nx-envoy-original-path: /api/y?q\n"),
            "{answer}"
        );
        rig.finish().await;
    });
}

#[test]
fn passthrough_is_counted_under_its_own_name() {
    run(async {
        let upstream = echo().await;
        let rig = Rig::new("client");
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "PassthroughCluster", "timeout": "0s"}});
        let port = upstream.port();
        let place = json!({"name": format!("0.0.0.0_{port}"), "address": {"socket_address": {"port_value": port}}});
        rig.apply(&[
            crate::xds::original_dst("PassthroughCluster"),
            with(
                outbound_listener(manager(routes(&[route]), json!({}))),
                place,
            ),
        ]);
        let at = rig.outbound(&upstream.to_string()).await;
        assert!(get(at, "/p", "").await.contains("GET /p\n"));
        let labels = [
            "destination_service_name=\"PassthroughCluster\"",
            "destination_service=\"a.test\"",
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
