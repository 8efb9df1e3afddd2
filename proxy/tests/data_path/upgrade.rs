use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Rig, raw, read_head, run, server};
use crate::xds::{cluster, manager, outbound_listener, route_to, routes};

/// Agrees to any upgrade or CONNECT, then echoes bytes.
async fn echo() -> std::net::SocketAddr {
    server(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let answer = if head.starts_with("CONNECT") {
            "HTTP/1.1 200 OK\r\n\r\n"
        } else {
            assert!(head.to_lowercase().contains("upgrade: websocket"), "{head}");
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn talk(mut client: TcpStream) {
    for text in ["ping", "a longer message"] {
        client.write_all(text.as_bytes()).await.unwrap();
        let mut answer = vec![0; text.len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, text.as_bytes());
    }
}

#[test]
fn carries_a_websocket() {
    run(async {
        let rig = Rig::new("client");
        rig.apply(&[
            cluster("a", &[echo().await]),
            outbound_listener(manager(routes(&[route_to("a")]), json!({}))),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        let mut client = TcpStream::connect(at).await.unwrap();
        let request = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await.to_lowercase();
        assert!(
            head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"),
            "{head}"
        );
        talk(client).await;
        let counted = || {
            rig.lines("istio_requests_total", &["response_code=\"101\""])
                .len()
                == 1
        };
        rig.until("the tunnel is counted", counted).await;
        rig.finish().await;
    });
}

#[test]
fn carries_connect_where_a_route_takes_it() {
    run(async {
        let rig = Rig::new("client");
        let route = json!({
            "match": {"connect_matcher": {}},
            "route": {"cluster": "outbound|80||a.test", "timeout": "0s"},
        });
        rig.apply(&[
            cluster("a", &[echo().await]),
            outbound_listener(manager(routes(&[route]), json!({}))),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        let mut client = TcpStream::connect(at).await.unwrap();
        client
            .write_all(b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n")
            .await
            .unwrap();
        assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
        talk(client).await;
        rig.finish().await;
    });
}

#[test]
fn refuses_an_upgrade_that_is_not_allowed() {
    run(async {
        let rig = Rig::new("client");
        rig.apply(&[
            cluster("a", &[echo().await]),
            outbound_listener(manager(routes(&[route_to("a")]), json!({}))),
        ]);
        let at = rig.outbound("10.96.0.1:80").await;
        let request =
            "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, close\r\nUpgrade: spdy\r\n\r\n";
        let answer = raw(at, request).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        rig.finish().await;
    });
}
