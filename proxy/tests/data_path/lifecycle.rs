use std::time::Duration;

use mesh_telemetry::drain::Phase;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http1::{echo, proxy};
use crate::rig::{Rig, get, raw, read_head, run, server};
use crate::xds::{cluster, manager, outbound_listener, route_to, routes, with};

#[test]
fn a_drain_finishes_requests_and_closes_connections() {
    run(async {
        let gate = std::rc::Rc::new(tokio::sync::Notify::new());
        let opened = std::rc::Rc::clone(&gate);
        let upstream = server(move |mut stream| {
            let opened = std::rc::Rc::clone(&opened);
            async move {
                read_head(&mut stream).await;
                opened.notified().await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
                    .await;
            }
        })
        .await;
        let (rig, at) = proxy(upstream).await;
        let mut busy = TcpStream::connect(at).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut idle = TcpStream::connect(at).await.unwrap();
        rig.until("the request is upstream", || {
            rig.cluster("a").rq_active == 1
        })
        .await;
        rig.signal.advance(Phase::Draining);
        let mut nothing = Vec::new();
        idle.write_all(b"").await.unwrap();
        gate.notify_one();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap(); // ends: the connection was closed after it
        assert!(
            answer.to_lowercase().contains("connection: close") && answer.ends_with("late"),
            "{answer}"
        );
        rig.signal.advance(Phase::Closing);
        let _ = idle.read_to_end(&mut nothing).await;
        rig.finish().await;
    });
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    run(async {
        let silent = server(|mut stream| async move {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
        })
        .await;
        let (rig, at) = proxy(silent).await;
        let mut client = TcpStream::connect(at).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        rig.until("the request is upstream", || {
            rig.cluster("a").rq_active == 1
        })
        .await;
        drop(client);
        rig.until("it is cancelled", || rig.cluster("a").rq_active == 0)
            .await;
        let gone = ["response_flags=\"DC\"", "response_code=\"0\""];
        assert_eq!(
            rig.lines("istio_requests_total", &gone).len(),
            1,
            "{}",
            rig.metrics()
        );
        rig.finish().await;
    });
}

#[test]
fn an_endpoint_is_not_blamed_for_what_a_client_broke_off() {
    run(async {
        let reading = server(|mut stream| async move {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
        })
        .await;
        let rig = Rig::new("client");
        let ejecting = json!({"outlier_detection": {
            "consecutive_5xx": 1, "consecutive_local_origin_failure": 1, "max_ejection_percent": 100,
        }});
        rig.apply(&[
            with(cluster("a", &[reading]), ejecting),
            outbound_listener(manager(routes(&[route_to("a")]), json!({}))),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        for _ in 0..2 {
            let chunked =
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n";
            let answer = raw(at, chunked).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
            let mut client = TcpStream::connect(at).await.unwrap();
            client
                .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
                .await
                .unwrap();
            let sent = || rig.cluster("a").rq_active == 1;
            rig.until("the request is upstream", sent).await;
            drop(client);
            rig.until("it is over", || rig.cluster("a").rq_active == 0)
                .await;
        }
        let series = |flag: &str, code: &str| {
            let labels = [
                format!("response_flags=\"{flag}\""),
                format!("response_code=\"{code}\""),
            ];
            rig.lines("istio_requests_total", &[&labels[0], &labels[1]])
        };
        for (flag, code) in [("DPE", "400"), ("DC", "0")] {
            let lines = series(flag, code);
            assert!(
                matches!(lines.as_slice(), [line] if line.ends_with(" 2")),
                "{flag}: {}",
                rig.metrics()
            );
        }
        assert_eq!(rig.cluster("a").rx_reset, 0);
        let figures = rig.families.stats().listener("0.0.0.0_80");
        assert_eq!(figures.protocol_error, 2, "{figures:?}");
        rig.finish().await;
    });
}

#[test]
fn connections_to_a_removed_endpoint_are_dropped_when_idle() {
    run(async {
        let (rig, at) = proxy(echo().await).await;
        assert!(get(at, "/", "").await.starts_with("HTTP/1.1 200"));
        rig.until("the connection is idle", || {
            rig.worker.pools.open_connections() == 1
        })
        .await;
        rig.apply(&[cluster("a", &[])]);
        rig.worker.sweep();
        rig.until("it is closed", || rig.worker.pools.open_connections() == 0)
            .await;
        rig.finish().await;
    });
}

#[test]
fn workers_open_and_close_listeners_with_the_configuration() {
    use mesh_proxy::worker::Workers;
    run(async {
        let upstream = echo().await;
        let rig = Rig::new("client");
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let workers = Workers::start(&rig.worker.shared).unwrap();
        let mut listener = outbound_listener(manager(routes(&[route_to("a")]), json!({})));
        listener["name"] = json!("gateway");
        listener["bind_to_port"] = json!(true);
        listener["address"] =
            json!({"socket_address": {"address": "127.0.0.1", "port_value": free.port()}});
        rig.apply(&[cluster("a", &[upstream]), listener]);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(free).await.is_err() {
            assert!(std::time::Instant::now() < deadline, "the gateway listens");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(get(free, "/gw", "").await.contains("GET /gw\n"));
        rig.remove(mesh_xds::type_url::LISTENER, &["gateway"]);
        while TcpStream::connect(free).await.is_ok() {
            assert!(
                std::time::Instant::now() < deadline,
                "the gateway stops listening"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        rig.signal.advance(Phase::Closing);
        tokio::task::spawn_blocking(move || workers.join())
            .await
            .unwrap();
        assert_eq!(rig.signal.in_flight(), 0);
    });
}

#[test]
fn a_connection_costs_little_memory() {
    use mesh_proxy::listen::Accepted;
    run(async {
        let (rig, _) = proxy(echo().await).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let _client = TcpStream::connect(at).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let accepted = Accepted {
            stream,
            peer,
            local: at,
            destination: at,
        };
        let future = mesh_proxy::outbound::serve(std::rc::Rc::clone(&rig.worker), accepted);
        // What it awaits is boxed step by step, and freed before the connection is served.
        assert!(size_of_val(&future) <= 2048, "{}", size_of_val(&future));
        drop(future);
        rig.finish().await;
    });
}

#[test]
fn a_connection_ends_after_the_configured_number_of_requests() {
    run(async {
        let rig = Rig::new("client");
        let limit = json!({"common_http_protocol_options": {"max_requests_per_connection": 2}});
        rig.apply(&[
            cluster("a", &[echo().await]),
            outbound_listener(manager(routes(&[route_to("a")]), limit)),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        let mut client = TcpStream::connect(at).await.unwrap();
        for _ in 0..2 {
            client
                .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
        }
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        rig.finish().await;
    });
}
