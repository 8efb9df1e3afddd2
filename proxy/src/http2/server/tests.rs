mod hostile;

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::LocalSet;

use super::*;

const SETTINGS: Settings = Settings {
    stream_window: 32 * 1024,
    connection_window: 128 * 1024,
    frame_bytes: 16 * 1024,
    header_list_bytes: 8 * 1024,
    concurrent_streams: 10,
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

fn server() -> (Server<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(1024 * 1024);
    (
        Server::new(Prefixed::with_prefix(Bytes::new(), near), SETTINGS),
        far,
    )
}

/// Answers every request with its own body and trailers, until the connection ends.
async fn echo(mut server: Server<DuplexStream>) -> Result<(), Error> {
    while let Some((request, respond)) = server.accept().await? {
        tokio::task::spawn_local(async move {
            let response = Response::builder().header("x-path", request.uri().path());
            // A client may break its request off.
            let _ = respond
                .send(response.body(request.into_body()).unwrap())
                .await;
        });
    }
    Ok(())
}

async fn client(stream: DuplexStream) -> h2::client::SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    sender.ready().await.unwrap()
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a.test{path}"))
        .body(())
        .unwrap()
}

#[test]
fn bodies_and_trailers_go_both_ways_beyond_every_window() {
    run(async {
        let (server, far) = server();
        let echo = tokio::task::spawn_local(echo(server));
        let mut sender = client(far).await;
        let calls = (0..8).map(|index| {
            let (answer, mut upload) = sender.send_request(get("/echo"), false).unwrap();
            async move {
                let content = vec![index; 300_000];
                let sent = async {
                    let mut rest = Bytes::from(content.clone());
                    while !rest.is_empty() {
                        upload.reserve_capacity(rest.len());
                        let room = std::future::poll_fn(|cx| upload.poll_capacity(cx)).await;
                        let room = room.unwrap().unwrap().min(rest.len());
                        upload.send_data(rest.split_to(room), false).unwrap();
                    }
                    let trailers =
                        HeaderMap::from_iter([("x-end".parse().unwrap(), "1".parse().unwrap())]);
                    upload.send_trailers(trailers).unwrap();
                };
                let received = async {
                    let answer = answer.await.unwrap();
                    assert_eq!(answer.headers()["x-path"], "/echo");
                    assert!(answer.headers().contains_key("date"));
                    let mut body = answer.into_body();
                    let mut all = Vec::new();
                    while let Some(data) = body.data().await {
                        let data = data.unwrap();
                        body.flow_control().release_capacity(data.len()).unwrap();
                        all.extend_from_slice(&data);
                    }
                    let trailers = body.trailers().await.unwrap().unwrap();
                    assert_eq!(trailers["x-end"], "1");
                    all
                };
                let ((), all) = tokio::join!(sent, received);
                assert!(all == content);
            }
        });
        futures::future::join_all(calls).await;
        drop(sender);
        echo.await.unwrap().unwrap();
    });
}

#[test]
fn what_nobody_reads_is_not_sent_and_others_are_served() {
    run(async {
        let (mut server, far) = server();
        let mut sender = client(far).await;
        let (answer, mut upload) = sender.send_request(get("/slow"), false).unwrap();
        upload
            .send_data(Bytes::from(vec![0; 100_000]), true)
            .unwrap();
        let (request, respond) = server.accept().await.unwrap().unwrap();
        tokio::task::spawn_local(echo(server));
        // The second stream is answered while the first is stuck in its window.
        let (second, _) = sender.send_request(get("/quick"), true).unwrap();
        assert_eq!(second.await.unwrap().status(), 200);
        assert_eq!(http_body::Body::size_hint(request.body()).exact(), None);
        assert!(!http_body::Body::is_end_stream(request.body()));
        // Reading lets the rest come.
        let all = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(all.len(), 100_000);
        respond
            .send(Response::new(Full::from("done")))
            .await
            .unwrap();
        assert_eq!(answer.await.unwrap().headers()["content-length"], "4");
    });
}

#[test]
fn a_request_taken_back_cancels_and_an_answer_dropped_resets() {
    run(async {
        let (mut server, far) = server();
        let mut sender = client(far).await;
        let (answer, mut upload) = sender.send_request(get("/"), false).unwrap();
        let (_request, mut respond) = server.accept().await.unwrap().unwrap();
        upload.send_reset(h2::Reason::CANCEL);
        drop(answer);
        let (dropped, _) = sender.send_request(get("/"), true).unwrap();
        let (second, dropping) = server.accept().await.unwrap().unwrap();
        let broken = poll_fn(|cx| respond.poll_broken(cx)).await;
        assert_eq!(broken, Error::Reset(Reason::CANCEL));
        drop((second, dropping));
        tokio::task::spawn_local(echo(server));
        let error = dropped.await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    });
}

#[test]
fn a_body_that_breaks_off_resets_and_an_early_answer_stops_the_upload() {
    run(async {
        let (mut server, far) = server();
        let mut sender = client(far).await;
        let (cut, _) = sender.send_request(get("/cut"), true).unwrap();
        let (early, mut upload) = sender.send_request(get("/early"), false).unwrap();
        let (_, respond) = server.accept().await.unwrap().unwrap();
        let (_, refuse) = server.accept().await.unwrap().unwrap();
        let frames = [Ok(http_body::Frame::data(Bytes::from("half"))), Err("gone")];
        let body = StreamBody::new(futures::stream::iter(frames));
        assert_eq!(respond.send(Response::new(body)).await, Err(Error::Cut));
        let refusal = Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE);
        refuse
            .send(refusal.body(Full::default()).unwrap())
            .await
            .unwrap();
        tokio::task::spawn_local(echo(server));
        let mut body = cut.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "half");
        let error = body.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
        assert_eq!(early.await.unwrap().status(), 413);
        let reason = std::future::poll_fn(|cx| upload.poll_reset(cx))
            .await
            .unwrap();
        assert_eq!(reason, h2::Reason::NO_ERROR);
    });
}

#[test]
fn a_farewell_loses_nothing() {
    run(async {
        let (mut server, far) = server();
        let closer = server.closer();
        let mut sender = client(far).await;
        let (first, _) = sender.send_request(get("/first"), true).unwrap();
        let (request, respond) = server.accept().await.unwrap().unwrap();
        closer.close();
        let rest = tokio::task::spawn_local(echo(server));
        // The client learns of it, and its request in progress is answered.
        while std::future::poll_fn(|cx| sender.poll_ready(cx))
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
        drop(request);
        respond
            .send(Response::new(Full::<Bytes>::default()))
            .await
            .unwrap();
        assert_eq!(first.await.unwrap().status(), 200);
        rest.await.unwrap().unwrap();
    });
}

#[test]
fn a_tunnel_carries_bytes_until_both_sides_end() {
    run(async {
        let (mut server, far) = server();
        let mut sender = client(far).await;
        let request = Request::connect("a.test:443").body(()).unwrap();
        let (answer, mut up) = sender.send_request(request, false).unwrap();
        let (request, respond) = server.accept().await.unwrap().unwrap();
        assert!(http_body::Body::is_end_stream(request.body()));
        let mut tunnel = respond.tunnel(&Response::new(())).unwrap();
        tokio::task::spawn_local(echo(server));
        let mut down = answer.await.unwrap().into_body();
        up.send_data(Bytes::from("ping"), true).unwrap();
        let mut heard = String::new();
        tunnel.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "ping");
        tunnel.write_all(b"pong").await.unwrap();
        tunnel.shutdown().await.unwrap();
        assert_eq!(down.data().await.unwrap().unwrap(), "pong");
        while let Some(rest) = down.data().await {
            assert!(rest.unwrap().is_empty());
        }
    });
}

#[test]
fn heads_beyond_the_limit_get_431_and_long_ones_are_cut_into_frames() {
    run(async {
        let (server, far) = server();
        tokio::task::spawn_local(echo(server));
        let mut sender = client(far).await;
        for (bytes, status) in [(6_000, 200), (20_000, 431), (100, 200)] {
            let mut request = get("/");
            let value = "x".repeat(bytes).parse().unwrap();
            request.headers_mut().insert("x-long", value);
            sender = sender.ready().await.unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), status, "{bytes} bytes");
        }
    });
}

#[test]
fn a_client_that_waits_for_continue_gets_it_once_the_body_is_wanted() {
    run(async {
        let (mut server, far) = server();
        let mut sender = client(far).await;
        let mut request = get("/");
        request
            .headers_mut()
            .insert("expect", "100-continue".parse().unwrap());
        let (mut answer, mut upload) = sender.send_request(request, false).unwrap();
        let (request, respond) = server.accept().await.unwrap().unwrap();
        tokio::task::spawn_local(echo(server));
        let reading = tokio::task::spawn_local(request.into_body().collect());
        let interim = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
        assert_eq!(interim.unwrap().unwrap().status(), 100);
        upload.send_data(Bytes::from("body"), true).unwrap();
        assert_eq!(reading.await.unwrap().unwrap().to_bytes(), "body");
        respond
            .send(Response::new(Full::<Bytes>::default()))
            .await
            .unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
    });
}
