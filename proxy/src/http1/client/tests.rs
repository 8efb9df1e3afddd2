use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

const SETTINGS: Settings = Settings {
    limits: Limits {
        head_bytes: 1024,
        preserve_case: false,
    },
    trailers: false,
};

fn pair(capacity: usize) -> (Client<DuplexStream, Full<Bytes>>, DuplexStream) {
    let (near, far) = tokio::io::duplex(capacity);
    (Client::new(near, SETTINGS), far)
}

fn request(method: Method, body: &'static [u8]) -> Request<Full<Bytes>> {
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "a");
    request.body(Full::from(body)).unwrap()
}

/// Reads a head and answers with `answer`.
async fn answer(far: &mut DuplexStream, answer: &[u8]) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(far.read_u8().await.unwrap());
    }
    far.write_all(answer).await.unwrap();
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_connection_serves_again_after_a_whole_response() {
    let (client, mut far) = pair(1024);
    for answered in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"[..],
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        assert!(client.is_ready());
        let (response, _) = tokio::join!(
            client.send(request(Method::GET, b"")),
            answer(&mut far, answered)
        );
        let response = response.unwrap();
        assert!(!client.is_ready(), "the body is still to be read");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "hi");
    }
    assert!(client.is_ready());
    drop(far);
    assert!(!client.is_ready(), "the upstream has closed");
}

#[tokio::test]
async fn a_connection_is_used_up_by_close_by_http_1_0_and_by_words_nobody_asked_for() {
    for answered in [
        &b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
    ] {
        let (client, mut far) = pair(1024);
        let (response, _) = tokio::join!(
            client.send(request(Method::GET, b"")),
            answer(&mut far, answered)
        );
        response.unwrap();
        assert!(!client.is_ready());
    }
}

#[tokio::test]
async fn a_body_until_close_is_whole_and_a_shorter_one_is_not() {
    for (answered, whole) in [
        (&b"HTTP/1.1 200 OK\r\n\r\nhi"[..], true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi", false),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
            false,
        ),
    ] {
        let (client, mut far) = pair(1024);
        let (response, _) = tokio::join!(client.send(request(Method::GET, b"")), async {
            answer(&mut far, answered).await;
            drop(far);
        });
        let body = response.unwrap().into_body().collect().await;
        assert_eq!(body.is_ok(), whole);
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_is_passed_on() {
    let (client, mut far) = pair(16);
    let large: &'static [u8] = Box::leak(vec![b'x'; 100_000].into_boxed_slice());
    let (response, _) = tokio::join!(
        client.send(request(Method::POST, large)),
        answer(
            &mut far,
            b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n"
        )
    );
    assert_eq!(response.unwrap().status(), 413);
    assert!(!client.is_ready(), "the upload is not over");
}

#[tokio::test]
async fn garbage_is_a_violation_and_silence_is_not() {
    for (answered, violation) in [(&b"SSH-2.0-OpenSSH\r\n"[..], true), (b"", false)] {
        let (client, mut far) = pair(1024);
        let (response, ()) = tokio::join!(client.send(request(Method::GET, b"")), async {
            answer(&mut far, answered).await;
            drop(far);
        });
        assert_eq!(response.unwrap_err().is_violation(), violation);
    }
}

#[tokio::test]
async fn an_upgrade_hands_over_the_stream_with_what_was_read() {
    let (client, mut far) = pair(1024);
    let (response, _) = tokio::join!(
        client.send(request(Method::GET, b"")),
        answer(
            &mut far,
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nfirst"
        )
    );
    drop(response.unwrap());
    assert!(!client.is_ready());
    let mut stream = client.into_stream().unwrap();
    let mut text = [0; 5];
    stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"first");
}
