use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::http1::echo;
use crate::rig::{Rig, get, raw, read_head, run, server};
use crate::xds::{cluster, manager, outbound_listener, route_to, routes, with};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";

/// Istio's default policy.
fn retrying(retries: u32) -> Value {
    with(
        route_to("a"),
        json!({"route": {"retry_policy": {
            "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
            "retriable_status_codes": [503],
            "num_retries": retries,
            "retry_back_off": {"base_interval": "0.001s"},
            "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
            "host_selection_retry_max_attempts": 5,
        }}}),
    )
}

async fn proxy(route: Value, cluster: Value) -> (Rig, SocketAddr) {
    let rig = Rig::new("client");
    rig.apply(&[
        cluster,
        outbound_listener(manager(routes(&[route]), json!({}))),
    ]);
    let at = rig.outbound("10.96.0.1:80").await;
    (rig, at)
}

/// Answers 503 to the first `failures` requests, echoes the body length after.
async fn failing_first(failures: u32) -> SocketAddr {
    let seen = Rc::new(Cell::new(0));
    server(move |mut stream| {
        let seen = Rc::clone(&seen);
        async move {
            loop {
                let head = read_head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                let length = head.to_lowercase();
                let length = length
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|rest| rest.split("\r\n").next());
                let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
                stream.read_exact(&mut body).await.unwrap();
                seen.set(seen.get() + 1);
                let answer = if seen.get() <= failures {
                    UNAVAILABLE
                } else {
                    OK
                };
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await
}

#[test]
fn retries_a_503_with_the_same_body() {
    run(async {
        let (rig, at) = proxy(retrying(2), cluster("a", &[failing_first(2).await])).await;
        let request =
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
        let answer = raw(at, request).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"),
            "{answer}"
        );
        assert_eq!(
            (rig.cluster("a").rq_total, rig.cluster("a").rq_retry),
            (3, 2)
        );
        rig.finish().await;
    });
}

#[test]
fn gives_up_and_says_so() {
    run(async {
        let (rig, at) = proxy(retrying(2), cluster("a", &[failing_first(9).await])).await;
        let answer = get(at, "/", "").await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("busy"),
            "{answer}"
        );
        assert_eq!(
            rig.lines("istio_requests_total", &["response_flags=\"URX\""])
                .len(),
            1
        );
        rig.finish().await;
    });
}

#[test]
fn a_dead_endpoint_is_retried_elsewhere() {
    run(async {
        let dead = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let (rig, at) = proxy(retrying(2), cluster("a", &[dead, echo().await])).await;
        for _ in 0..20 {
            assert!(get(at, "/", "").await.starts_with("HTTP/1.1 200"));
        }
        assert!(rig.cluster("a").connect_fail > 0);
        rig.finish().await;
    });
}

#[test]
fn a_request_that_died_with_its_server_is_retried_elsewhere_if_it_may_be_repeated() {
    run(async {
        let dying = server(|mut stream| async move {
            read_head(&mut stream).await;
        })
        .await;
        let (rig, at) = proxy(retrying(2), cluster("a", &[dying, echo().await])).await;
        for _ in 0..20 {
            assert!(get(at, "/", "").await.starts_with("HTTP/1.1 200"));
        }
        assert!(rig.cluster("a").rq_retry > 0);
        let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
        let mut lost = 0;
        for _ in 0..20 {
            lost += u32::from(raw(at, post).await.starts_with("HTTP/1.1 503"));
        }
        assert!(lost > 0, "the server may have acted on it");
        rig.finish().await;
    });
}

#[test]
fn a_refused_connection_is_a_503_in_envoys_words() {
    run(async {
        let dead = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let (rig, at) = proxy(route_to("a"), cluster("a", &[dead])).await;
        let answer = get(at, "/", "").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        let text = "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused";
        assert!(answer.ends_with(text), "{answer}");
        assert_eq!(
            rig.lines("istio_requests_total", &["response_flags=\"UF\""])
                .len(),
            1
        );
        rig.finish().await;
    });
}

#[test]
fn a_pooled_connection_that_was_closed_costs_no_request() {
    run(async {
        // Serves one request per connection, then closes without having said so.
        let upstream = server(|mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            // The close reaches the proxy only together with its next request.
            let _ = stream.read_u8().await;
        })
        .await;
        let (rig, at) = proxy(route_to("a"), cluster("a", &[upstream])).await;
        for _ in 0..10 {
            assert!(get(at, "/", "").await.starts_with("HTTP/1.1 200"));
        }
        let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert!(raw(at, post).await.starts_with("HTTP/1.1 200"));
        rig.finish().await;
    });
}

#[test]
fn a_cut_off_response_is_a_503_uc() {
    run(async {
        let upstream = server(|mut stream| async move {
            read_head(&mut stream).await;
        })
        .await;
        let (rig, at) = proxy(route_to("a"), cluster("a", &[upstream])).await;
        let answer = get(at, "/", "").await;
        assert!(
            answer.starts_with("HTTP/1.1 503")
                && answer.ends_with("reset reason: connection termination"),
            "{answer}"
        );
        assert_eq!(
            rig.lines("istio_requests_total", &["response_flags=\"UC\""])
                .len(),
            1
        );
        rig.finish().await;
    });
}

#[test]
fn attempts_have_their_own_timeout() {
    run(async {
        let turns = Rc::new(Cell::new(0));
        let upstream = server(move |mut stream| {
            let turns = Rc::clone(&turns);
            async move {
                read_head(&mut stream).await;
                turns.set(turns.get() + 1);
                if turns.get() == 1 {
                    std::future::pending::<()>().await;
                }
                stream.write_all(OK).await.unwrap();
            }
        })
        .await;
        let route = with(
            retrying(1),
            json!({"route": {"retry_policy": {"retry_on": "5xx", "per_try_timeout": "0.05s"}}}),
        );
        let (rig, at) = proxy(route, cluster("a", &[upstream])).await;
        assert!(get(at, "/", "").await.starts_with("HTTP/1.1 200"));
        assert_eq!(rig.cluster("a").rq_per_try_timeout, 1);
        rig.finish().await;
    });
}

#[test]
fn the_circuit_breaker_refuses_what_is_too_much() {
    run(async {
        let gate = Rc::new(tokio::sync::Notify::new());
        let opened = Rc::clone(&gate);
        let upstream = server(move |mut stream| {
            let opened = Rc::clone(&opened);
            async move {
                read_head(&mut stream).await;
                opened.notified().await;
                let _ = stream.write_all(OK).await;
            }
        })
        .await;
        let limited = with(
            cluster("a", &[upstream]),
            json!({"circuit_breakers": {"thresholds": [{"max_requests": 1}]}}),
        );
        let (rig, at) = proxy(route_to("a"), limited).await;
        let (first, ()) = tokio::join!(get(at, "/", ""), async {
            rig.until("the first is in flight", || rig.cluster("a").rq_active == 1)
                .await;
            let second = get(at, "/", "").await;
            assert!(
                second.starts_with("HTTP/1.1 503") && second.ends_with("reset reason: overflow"),
                "{second}"
            );
            assert!(second.contains("x-envoy-overloaded: true"), "{second}");
            gate.notify_one();
        });
        assert!(first.starts_with("HTTP/1.1 200"), "{first}");
        assert_eq!(
            rig.lines("istio_requests_total", &["response_flags=\"UO\""])
                .len(),
            1
        );
        rig.finish().await;
    });
}

#[test]
fn requests_wait_for_a_connection_at_the_limit() {
    run(async {
        let limited = with(
            cluster("a", &[echo().await]),
            json!({"circuit_breakers": {"thresholds": [{"max_connections": 1, "max_pending_requests": 100}]}}),
        );
        let (rig, at) = proxy(route_to("a"), limited).await;
        let answers = futures::future::join_all((0..10).map(|_| get(at, "/", ""))).await;
        assert!(
            answers
                .iter()
                .all(|answer| answer.starts_with("HTTP/1.1 200"))
        );
        assert_eq!(rig.cluster("a").cx_total, 1);
        rig.finish().await;
    });
}
