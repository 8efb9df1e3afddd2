use std::convert::Infallible;

use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

const SETTINGS: Settings = Settings {
    limits: Limits {
        head_bytes: 256,
        preserve_case: false,
    },
    head_timeout: Duration::from_millis(500),
};

type Answer = (Response<Full<Bytes>>, Option<Successor<DuplexStream>>);

/// Answers with method, target and content of the request.
async fn echo(request: Request<Body<DuplexStream>>) -> Answer {
    let (parts, body) = request.into_parts();
    let content = body.collect().await.map(|body| body.to_bytes());
    let content = content.map_or_else(|error| format!("{error}"), |bytes| format!("{bytes:?}"));
    let text = format!("{} {} {content};", parts.method, parts.uri);
    (Response::new(Full::from(text)), None)
}

/// Runs `input` through a server; what it says until it closes, dates removed, and how it ended.
async fn talk(input: &'static [u8]) -> (String, Result<(), Error>) {
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let server = Server::new(Prefixed::new(far), SETTINGS, Rc::default());
    let client = async {
        near.write_all(input).await.unwrap();
        let mut output = Vec::new();
        let mut part = [0; 1024];
        // Half-closing early would count as leaving: close once all is answered.
        loop {
            let read = near.read(&mut part);
            match tokio::time::timeout(Duration::from_secs(1), read).await {
                Ok(Ok(bytes @ 1..)) => output.extend_from_slice(&part[..bytes]),
                _ => break,
            }
        }
        drop(near);
        String::from_utf8(output).unwrap()
    };
    let (output, ended) = tokio::join!(client, serve(server, echo));
    let lines = output
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("date: "));
    (lines.collect(), ended)
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    let (text, ended) = Box::pin(talk(
        b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi\
          POST /3 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ))
    .await;
    assert!(ended.is_ok());
    let bodies: Vec<_> = text
        .split("\r\n\r\n")
        .skip(1)
        .map(|s| s.split(';').next().unwrap())
        .collect();
    assert_eq!(
        bodies,
        ["GET /1 b\"\"", "POST /2 b\"hi\"", "POST /3 b\"x\""]
    );
}

#[tokio::test(start_paused = true)]
async fn http_1_0_is_closed_unless_it_asks_to_be_kept() {
    let (text, _) = Box::pin(talk(b"GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n")).await;
    assert!(
        text.contains("connection: close") && !text.contains("/2"),
        "{text}"
    );
    let (text, _) = Box::pin(talk(
        b"GET /1 HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
    ))
    .await;
    assert!(
        text.contains("connection: keep-alive") && text.contains("/2"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn violations_are_answered_and_end_the_connection() {
    for (input, status) in [
        (&b"\x16\x03\x01garbage"[..], "400"),
        (
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
            "400",
        ),
        (
            b"GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
            "501",
        ),
        (b"PRI * HTTP/2.0\r\n\r\n", "505"),
        (&[b'a'; 300], "431"),
        (b"GET / HTTP/1.1\r\nhost:", "408"),
    ] {
        let (text, ended) = Box::pin(talk(input)).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}: {text:?} {ended:?}"
        );
        assert!(text.contains("connection: close") && !text.contains("smuggled"));
        assert!(ended.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn continue_is_said_when_the_body_is_wanted() {
    let (mut near, far) = tokio::io::duplex(1024);
    let server = Server::new(Prefixed::new(far), SETTINGS, Rc::default());
    let client = async {
        let head =
            b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
        near.write_all(head).await.unwrap();
        let mut told = [0; 25];
        near.read_exact(&mut told).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
        near.write_all(b"hi").await.unwrap();
        let mut status = [0; 15];
        near.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 OK");
        drop(near);
    };
    let ((), ended) = tokio::join!(client, serve(server, echo));
    assert!(ended.is_ok());
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_exchange() {
    let (mut near, far) = tokio::io::duplex(1024);
    let server = Server::new(Prefixed::new(far), SETTINGS, Rc::default());
    let served = serve(server, |_request| std::future::pending::<Answer>());
    near.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    drop(near);
    assert!(served.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_unread_body_closes_the_connection_after_the_answer() {
    let (mut near, far) = tokio::io::duplex(64);
    let server = Server::new(Prefixed::new(far), SETTINGS, Rc::default());
    let served = serve(server, |_request| async {
        (Response::new(Full::from("no")), None)
    });
    let client = async {
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n";
        near.write_all(head).await.unwrap();
        let mut text = String::new();
        near.read_to_string(&mut text).await.unwrap();
        drop(near);
        text
    };
    let (text, ended) = tokio::join!(client, served);
    assert!(text.ends_with("\r\n\r\nno"), "{text}");
    assert!(ended.is_ok());
}

#[tokio::test(start_paused = true)]
async fn closing_ends_an_idle_connection_and_one_in_use_after_its_answer() {
    let (mut near, far) = tokio::io::duplex(1024);
    let closing = Rc::new(Cell::new(false));
    let server = Server::new(Prefixed::new(far), SETTINGS, Rc::clone(&closing));
    let served = serve(server, |request| {
        closing.set(true);
        echo(request)
    });
    let client = async {
        near.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        near.read_to_string(&mut text).await.unwrap();
        drop(near);
        text
    };
    let (text, ended) = tokio::join!(client, served);
    assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
    assert!(ended.is_ok());
}

#[tokio::test]
async fn bodies_of_unknown_length_are_chunked_with_trailers_for_who_takes_them() {
    for (te, trailers) in [("te: trailers\r\n", "0\r\nx: 1\r\n\r\n"), ("", "0\r\n\r\n")] {
        let (mut near, far) = tokio::io::duplex(1024);
        let server = Server::new(Prefixed::new(far), SETTINGS, Rc::default());
        let served = serve(server, |_request| async {
            let large = Bytes::from(vec![b'x'; 70_000]);
            let mut map = HeaderMap::new();
            map.insert("x", http::HeaderValue::from_static("1"));
            let frames = [Frame::data(large), Frame::trailers(map)];
            let frames = frames.map(Ok::<_, Infallible>);
            let body = StreamBody::new(futures::stream::iter(frames));
            (Response::new(body), None)
        });
        let client = async {
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{te}connection: close\r\n\r\n");
            near.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            near.read_to_string(&mut text).await.unwrap();
            drop(near);
            text
        };
        let (text, ended) = tokio::join!(client, served);
        assert!(ended.is_ok());
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(body.starts_with("11170\r\nx"));
        assert!(body.ends_with(&format!("x\r\n{trailers}")));
    }
}
