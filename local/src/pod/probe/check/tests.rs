use super::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn never(_: Vec<String>) -> Pin<Box<dyn Future<Output = Result<i32, String>> + Send>> {
    Box::pin(async { Err("no exec here".to_owned()) })
}

fn target(probe: serde_json::Value) -> Result<Target, String> {
    let probe: Probe = serde_json::from_value(probe).unwrap();
    Target::of(&probe, POD, &[("http".to_owned(), 8080)].into())
}

async fn serve_once(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((POD, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    });
    address
}

#[test]
fn named_ports_and_paths_are_resolved() {
    let found = target(json!({"httpGet": {"path": "ready", "port": "http"}})).unwrap();
    let expected = Target::Http {
        address: SocketAddr::new(POD, 8080),
        path: "/ready".to_owned(),
        headers: Vec::new(),
    };
    assert_eq!(found, expected);
    assert!(
        target(json!({"tcpSocket": {"port": "grpc"}}))
            .unwrap_err()
            .contains("port grpc")
    );
    assert!(target(json!({})).unwrap_err().contains("needs httpGet"));
}

#[tokio::test]
async fn http_200_to_399_is_a_success() {
    for (answer, good) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", true),
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
    ] {
        let address = serve_once(answer).await;
        let probe = json!({"httpGet": {"port": address.port()}});
        let result = target(probe)
            .unwrap()
            .check(Duration::from_secs(5), &never)
            .await;
        assert_eq!(result.is_ok(), good, "{answer} {result:?}");
    }
}

#[tokio::test]
async fn a_closed_port_fails_tcp() {
    let address = serve_once("").await;
    let tcp = |port: u16| target(json!({"tcpSocket": {"port": port}})).unwrap();
    assert!(
        tcp(address.port())
            .check(Duration::from_secs(5), &never)
            .await
            .is_ok()
    );
    assert!(tcp(1).check(Duration::from_secs(5), &never).await.is_err());
}

#[test]
fn health_requests_are_framed() {
    assert_eq!(&health_request("")[..], [0, 0, 0, 0, 0]);
    assert_eq!(
        &health_request("ab")[..],
        [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']
    );
}

/// A health server that answers one call with this message and gRPC status.
async fn health_server(message: &'static [u8], status: &'static str) -> u16 {
    let listener = TcpListener::bind((POD, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let response = http::Response::builder()
                .header("content-type", "application/grpc")
                .body(())
                .unwrap();
            let mut body = respond.send_response(response, false).unwrap();
            body.send_data(Bytes::from_static(message), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static(status));
            body.send_trailers(trailers).unwrap();
        }
    });
    port
}

#[tokio::test]
async fn grpc_health_must_be_serving() {
    for (message, status, good) in [
        (&b"\0\0\0\0\x02\x08\x01"[..], "0", true),
        (&b"\0\0\0\0\x02\x08\x02"[..], "0", false),
        (&b""[..], "12", false),
        (&b"garbage that is no gRPC frame at all"[..], "0", false),
    ] {
        let port = health_server(message, status).await;
        let target = target(json!({"grpc": {"port": port, "service": "shop"}})).unwrap();
        let result = target.check(Duration::from_secs(5), &never).await;
        assert_eq!(result.is_ok(), good, "{message:?} {status} {result:?}");
    }
}
