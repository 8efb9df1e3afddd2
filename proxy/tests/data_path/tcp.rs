use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::http1::echo;
use crate::rig::{Rig, get, run, server};
use crate::xds::{
    cluster, manager, original_dst, outbound_listener, route_to, routes, tcp_proxy,
    virtual_outbound, with,
};

/// Reads to the end, then answers with how much came.
async fn counting() -> std::net::SocketAddr {
    server(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream
            .write_all(format!("got {}", all.len()).as_bytes())
            .await
            .unwrap();
    })
    .await
}

#[test]
fn carries_half_closed_tcp_and_counts_bytes() {
    run(async {
        let upstream = counting().await;
        let rig = Rig::new("client");
        rig.apply(&[
            original_dst("PassthroughCluster"),
            virtual_outbound("PassthroughCluster"),
        ]);
        let at = rig.outbound(&upstream.to_string()).await;
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(&vec![7; 300_000]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "got 300000");
        let closed = || {
            rig.lines(
                "istio_tcp_connections_closed_total",
                &["reporter=\"source\""],
            )
            .len()
                == 1
        };
        rig.until("the connection is counted as closed", closed)
            .await;
        let received = rig.lines(
            "istio_tcp_received_bytes_total",
            &["destination_service_name=\"PassthroughCluster\""],
        );
        assert!(received[0].ends_with(" 300000"), "{received:?}");
        let sent = rig.lines("istio_tcp_sent_bytes_total", &["request_protocol=\"tcp\""]);
        assert!(sent[0].ends_with(" 10"), "{sent:?}");
        rig.finish().await;
    });
}

#[test]
fn an_unreachable_upstream_closes_and_is_flagged() {
    run(async {
        let gone = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let rig = Rig::new("client");
        rig.apply(&[
            original_dst("PassthroughCluster"),
            virtual_outbound("PassthroughCluster"),
        ]);
        let at = rig.outbound(&gone.to_string()).await;
        let mut client = TcpStream::connect(at).await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
        let flagged = || {
            rig.lines(
                "istio_tcp_connections_opened_total",
                &["response_flags=\"UF\""],
            )
            .len()
                == 1
        };
        rig.until("the failure is counted", flagged).await;
        rig.finish().await;
    });
}

/// A port of undeclared protocol: HTTP if detected, else TCP. `silence`: how long clients may say
/// nothing.
fn undeclared(silence: &str) -> serde_json::Value {
    let http = manager(routes(&[route_to("a")]), json!({}));
    let tcp = tcp_proxy("outbound|80||a.test", json!({}));
    with(
        outbound_listener(json!({})),
        json!({
            "listener_filters": [{"name": "envoy.filters.listener.http_inspector", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}}],
            "listener_filters_timeout": silence,
            "continue_on_listener_filters_timeout": true,
            "filter_chains": [{
                "filter_chain_match": {"application_protocols": ["http/1.1", "h2c"]},
                "filters": [http],
            }],
            "default_filter_chain": {"filters": [tcp]},
        }),
    )
}

#[test]
fn a_server_that_speaks_first_is_not_kept_waiting() {
    run(async {
        let upstream = server(|mut stream| async move {
            stream.write_all(b"220 hello\r\n").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        })
        .await;
        let rig = Rig::new("client");
        rig.apply(&[cluster("a", &[upstream]), undeclared("0.1s")]);
        let at = rig.outbound("10.96.0.1:80").await;
        let started = Instant::now();
        let mut client = TcpStream::connect(at).await.unwrap();
        let mut greeting = [0; 11];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 hello\r\n");
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
        drop(client);
        rig.finish().await;
    });
}

#[test]
fn http_on_an_undeclared_port_is_detected() {
    run(async {
        let rig = Rig::new("client");
        rig.apply(&[cluster("a", &[echo().await]), undeclared("0.1s")]);
        let at = rig.outbound("10.96.0.1:80").await;
        assert!(get(at, "/detected", "").await.contains("GET /detected\n"));
        assert_eq!(
            rig.lines("istio_requests_total", &["response_code=\"200\""])
                .len(),
            1
        );
        rig.finish().await;
    });
}

#[test]
fn http_that_comes_late_is_still_detected_where_nobody_else_speaks() {
    run(async {
        let rig = Rig::new("client");
        rig.apply(&[cluster("a", &[echo().await]), undeclared("0s")]);
        let at = rig.outbound("10.96.0.1:80").await;
        let mut client = TcpStream::connect(at).await.unwrap();
        // A client that is ahead of its requests, or on a machine with much to do.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let request = b"GET /late HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("GET /late\n"), "{answer}");
        let counted = rig.lines("istio_requests_total", &["response_code=\"200\""]);
        assert_eq!(counted.len(), 1);
        rig.finish().await;
    });
}

#[test]
fn idle_tcp_connections_are_closed() {
    run(async {
        let upstream = counting().await;
        let rig = Rig::new("client");
        let listener = with(
            virtual_outbound("PassthroughCluster"),
            json!({"filter_chains": [{"filters": [tcp_proxy("PassthroughCluster", json!({"idle_timeout": "0.05s"}))]}]}),
        );
        rig.apply(&[original_dst("PassthroughCluster"), listener]);
        let at = rig.outbound(&upstream.to_string()).await;
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(b"x").await.unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        rig.finish().await;
    });
}

#[test]
fn connections_of_a_removed_listener_end_after_the_drain() {
    run(async {
        let upstream = counting().await;
        let rig = Rig::new("client");
        let filter = tcp_proxy("outbound|80||a.test", json!({}));
        rig.apply(&[cluster("a", &[upstream]), outbound_listener(filter)]);
        let at = rig.outbound("10.96.0.1:80").await;
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(b"half of it").await.unwrap();
        let open = || rig.cluster("a").cx_active == 1;
        rig.until("the connection is open", open).await;
        // A change that leaves the listener leaves the connection.
        rig.apply(&[cluster("b", &[upstream])]);
        let kept = tokio::time::timeout(Duration::from_millis(100), client.read_u8()).await;
        assert!(kept.is_err(), "{kept:?}");
        rig.remove(mesh_xds::type_url::LISTENER, &["0.0.0.0_80"]);
        assert!(client.read_u8().await.is_err());
        rig.until("it is over", || rig.cluster("a").cx_active == 0)
            .await;
        rig.finish().await;
    });
}
