use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::io::DuplexStream;
use tokio::task::LocalSet;

use super::*;

const SETTINGS: Settings = Settings {
    stream_window: 32 * 1024,
    connection_window: 128 * 1024,
    frame_bytes: 16 * 1024,
    header_list_bytes: 64 * 1024,
    concurrent_streams: 0,
};

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(20), test)
            .await
            .expect("test took too long");
    });
}

type Connecting = h2::server::Connection<DuplexStream, Bytes>;

/// A client, how its connection ends, and its server.
async fn pair(
    keep_alive: Option<KeepAlive>,
) -> (
    Client,
    tokio::task::JoinHandle<Result<(), Error>>,
    Connecting,
) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (client, connection) = connect(near, SETTINGS);
    let running = tokio::task::spawn_local(connection.run(keep_alive));
    let server = h2::server::Builder::new()
        .max_concurrent_streams(3)
        .max_header_list_size(64 * 1024)
        .handshake(far)
        .await
        .unwrap();
    (client, running, server)
}

/// Lets a connection go on.
fn drive(mut server: Connecting) {
    tokio::task::spawn_local(async move { while server.accept().await.is_some() {} });
}

fn request(body: &'static [u8]) -> Request<Full<Bytes>> {
    Request::post("http://a.test/x")
        .body(Full::from(body))
        .unwrap()
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())])
}

#[test]
fn bodies_go_both_ways_beyond_every_window_and_trailers_follow() {
    run(async {
        let (client, running, mut server) = pair(None).await;
        let content: &'static [u8] = Box::leak(vec![7; 400_000].into_boxed_slice());
        tokio::task::spawn_local(async move {
            while let Some(Ok((request, mut respond))) = server.accept().await {
                assert_eq!(request.uri(), "http://a.test/x");
                tokio::task::spawn_local(async move {
                    let mut body = request.into_body();
                    let mut upload = respond.send_response(Response::new(()), false).unwrap();
                    while let Some(Ok(data)) = body.data().await {
                        body.flow_control().release_capacity(data.len()).unwrap();
                        upload.send_data(data, false).unwrap();
                    }
                    upload.send_trailers(trailers()).unwrap();
                });
            }
        });
        for _ in 0..3 {
            let response = client
                .send(request(content))
                .unwrap()
                .response()
                .await
                .unwrap();
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
            assert!(body.to_bytes() == content);
        }
        drop(client);
        running.await.unwrap().unwrap();
    });
}

#[test]
fn no_more_streams_than_the_server_takes() {
    run(async {
        let (client, _running, mut server) = pair(None).await;
        let first = client.send(request(b"")).unwrap();
        let (_, mut respond) = server.accept().await.unwrap().unwrap();
        respond.send_response(Response::new(()), true).unwrap();
        drive(server);
        drop(first.response().await.unwrap());
        assert_eq!(client.concurrent_streams(), 3);
        let open: Vec<_> = (0..3).map(|_| client.send(request(b"")).unwrap()).collect();
        assert!(client.send(request(b"")).is_err());
        drop(open);
        assert!(client.send(request(b"")).is_ok());
        assert!(!client.is_closed());
    });
}

#[test]
fn a_dropped_exchange_resets_its_stream() {
    run(async {
        let (client, _running, mut server) = pair(None).await;
        let exchange = client.send(request(b"")).unwrap();
        let (_, mut respond) = server.accept().await.unwrap().unwrap();
        drive(server);
        drop(exchange);
        let reason = poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, h2::Reason::CANCEL);
    });
}

#[test]
fn an_answer_before_the_end_of_the_upload_is_passed_on() {
    run(async {
        let (client, _running, mut server) = pair(None).await;
        let large: &'static [u8] = Box::leak(vec![b'x'; 200_000].into_boxed_slice());
        let exchange = client.send(request(large)).unwrap();
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        drive(server);
        let refusal = Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE);
        respond
            .send_response(refusal.body(()).unwrap(), true)
            .unwrap();
        drop((request, respond));
        let response = exchange.response().await.unwrap();
        assert_eq!(response.status(), 413);
        assert!(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .is_empty()
        );
    });
}

#[test]
fn a_farewell_refuses_what_it_does_not_serve() {
    run(async {
        let (client, running, mut server) = pair(None).await;
        let served = client.send(request(b"")).unwrap();
        let (_, mut respond) = server.accept().await.unwrap().unwrap();
        server.graceful_shutdown();
        drive(server);
        while !client.is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(client.send(request(b"")).is_err());
        respond.send_response(Response::new(()), true).unwrap();
        assert_eq!(served.response().await.unwrap().status(), 200);
        running.await.unwrap().unwrap();
    });
}

#[test]
fn streams_say_how_they_broke() {
    run(async {
        let (client, running, mut server) = pair(None).await;
        let reasons = [h2::Reason::REFUSED_STREAM, h2::Reason::INTERNAL_ERROR];
        let wanted = [Error::Refused, Error::Reset(Reason::INTERNAL_ERROR)];
        let exchanges = [
            client.send(request(b"")).unwrap(),
            client.send(request(b"")).unwrap(),
        ];
        for reason in reasons {
            let (_, mut respond) = server.accept().await.unwrap().unwrap();
            respond.send_reset(reason);
        }
        let last = client.send(request(b"")).unwrap();
        let (_, _respond) = server.accept().await.unwrap().unwrap();
        for (exchange, wanted) in exchanges.into_iter().zip(wanted) {
            assert_eq!(exchange.response().await.unwrap_err(), wanted);
        }
        drop(server);
        assert_eq!(last.response().await.unwrap_err(), Error::Closed);
        assert!(client.is_closed());
        assert_eq!(running.await.unwrap(), Err(Error::Closed));
    });
}

#[test]
fn heads_longer_than_a_frame_pass_in_several() {
    run(async {
        let (client, _running, mut server) = pair(None).await;
        let long = "x".repeat(40_000);
        let mut head = request(b"");
        head.headers_mut().insert("x-long", long.parse().unwrap());
        let exchange = client.send(head).unwrap();
        let (request, mut respond) = server.accept().await.unwrap().unwrap();
        assert_eq!(request.headers()["x-long"], *long);
        let response = Response::builder()
            .header("x-long", &long)
            .body(())
            .unwrap();
        respond.send_response(response, true).unwrap();
        drive(server);
        assert_eq!(
            exchange.response().await.unwrap().headers()["x-long"],
            *long
        );
    });
}

#[test]
fn a_peer_that_falls_silent_is_given_up() {
    run(async {
        let keep_alive = KeepAlive {
            interval: Duration::from_millis(20),
            timeout: Duration::from_millis(20),
        };
        let (client, running, mut server) = pair(Some(keep_alive)).await;
        let exchange = client.send(request(b"")).unwrap();
        let _held = server.accept().await.unwrap().unwrap();
        // Nobody polls the server from here on: it answers no ping.
        assert_eq!(exchange.response().await.unwrap_err(), Error::Silent);
        assert_eq!(running.await.unwrap(), Err(Error::Silent));
    });
}

#[test]
fn a_malformed_answer_breaks_its_stream() {
    use crate::http2::frame::{self, flag, kind};
    use tokio::io::AsyncWriteExt as _;
    run(async {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let (client, connection) = connect(near, SETTINGS);
        tokio::task::spawn_local(connection.run(None));
        // No status; a length that the body does not keep; data before the head.
        let answers: [&[(u8, u8, &[u8])]; 3] = [
            &[(kind::HEADERS, flag::END_HEADERS, b"\x00\x01x\x011")],
            &[
                (kind::HEADERS, flag::END_HEADERS, b"\x88\x0f\x0d\x015"),
                (kind::DATA, flag::END_STREAM, b"four"),
            ],
            &[(kind::DATA, flag::END_STREAM, b"four")],
        ];
        let mut out = Vec::new();
        frame::settings(&mut out, &[]);
        let exchanges: Vec<_> = (0..3).map(|_| client.send(request(b"")).unwrap()).collect();
        for (index, frames) in answers.into_iter().enumerate() {
            for (kind, flags, payload) in frames {
                let header = frame::Header {
                    length: payload.len(),
                    kind: *kind,
                    flags: *flags,
                    stream: index as u32 * 2 + 1,
                };
                header.write(&mut out);
                out.extend_from_slice(payload);
            }
        }
        far.write_all(&out).await.unwrap();
        for exchange in exchanges {
            let broken = match exchange.response().await {
                Ok(response) => response.into_body().collect().await.map(|_| ()),
                Err(error) => Err(error),
            };
            assert!(matches!(broken, Err(Error::Violation(_))), "{broken:?}");
        }
    });
}
