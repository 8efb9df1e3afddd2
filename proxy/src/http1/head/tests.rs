use bytes::BytesMut;

use super::*;

const LIMITS: Limits = Limits {
    head_bytes: 1024,
    preserve_case: false,
};

fn parse(text: &str) -> Result<RequestHead, HeadError> {
    request(&Bytes::copy_from_slice(text.as_bytes()), &LIMITS)
}

fn framing(fields: &str) -> Result<Framing, HeadError> {
    parse(&format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).map(|head| head.framing)
}

fn answer(method: Method, status: &str, fields: &str) -> Result<ResponseHead, HeadError> {
    let text = format!("HTTP/1.1 {status}\r\n{fields}\r\n");
    response(&Bytes::from(text.into_bytes()), &LIMITS, &method)
}

#[test]
fn a_request_keeps_method_target_version_and_fields() {
    let head = parse("GET /a?b=1 HTTP/1.1\r\nHost: x\r\nA: 1\r\na: 2\r\n\r\n").unwrap();
    assert_eq!(head.request.method(), Method::GET);
    assert_eq!(head.request.uri(), "/a?b=1");
    assert_eq!(head.request.version(), Version::HTTP_11);
    let values: Vec<_> = head.request.headers().get_all("a").iter().collect();
    assert_eq!(values, ["1", "2"]);
    assert_eq!(head.framing, Framing::Empty);
    assert!(head.keep_alive);
}

#[test]
fn requests_are_framed_by_one_clear_length_or_by_chunks() {
    assert_eq!(framing(""), Ok(Framing::Empty));
    assert_eq!(framing("content-length: 0\r\n"), Ok(Framing::Empty));
    assert_eq!(framing("content-length: 7\r\n"), Ok(Framing::Length(7)));
    assert_eq!(
        framing("content-length: 7\r\ncontent-length: 7\r\n"),
        Ok(Framing::Length(7))
    );
    assert_eq!(
        framing("transfer-encoding: Chunked\r\n"),
        Ok(Framing::Chunked)
    );
}

/// The ways in which requests have been smuggled past proxies.
#[test]
fn ambiguous_framing_is_refused() {
    for fields in [
        "content-length: 7\r\ncontent-length: 8\r\n",
        "content-length: 7, 7\r\n",
        "content-length: +7\r\n",
        "content-length: -7\r\n",
        "content-length: 0x7\r\n",
        "content-length: 7 7\r\n",
        "content-length:\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length: 7\r\ntransfer-encoding: chunked\r\n",
        "content-length: 0\r\ntransfer-encoding: chunked\r\n",
    ] {
        assert_eq!(framing(fields), Err(HeadError::Length), "{fields:?}");
    }
    for fields in [
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \"chunked\"\r\n",
    ] {
        assert_eq!(framing(fields), Err(HeadError::Coding), "{fields:?}");
    }
    for text in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 7\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\t: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        "GET / HTTP/1.1 \r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\n",
        "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let refused = parse(text).expect_err(text);
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{text:?}");
    }
    assert_eq!(
        parse("PRI * HTTP/2.0\r\n\r\n").unwrap_err(),
        HeadError::Version
    );
    assert!(parse("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n").is_err());
    assert_eq!(
        parse("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n").unwrap_err(),
        HeadError::Length
    );
    assert_eq!(
        parse("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\ncontent-length: 3\r\n\r\n").unwrap_err(),
        HeadError::Length
    );
}

#[test]
fn persistence_follows_version_and_connection() {
    let keeps = |text: &str| parse(text).unwrap().keep_alive;
    assert!(keeps("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert!(!keeps(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x, Close\r\n\r\n"
    ));
    assert!(!keeps("GET / HTTP/1.0\r\n\r\n"));
    assert!(keeps("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n"));
}

#[test]
fn responses_are_framed_by_method_status_and_fields() {
    let framing = |method, status: &str, fields: &str| {
        answer(method, status, fields).map(|head| head.framing)
    };
    let get = || Method::GET;
    assert_eq!(
        framing(get(), "200 OK", "content-length: 3\r\n"),
        Ok(Framing::Length(3))
    );
    assert_eq!(framing(get(), "200 OK", ""), Ok(Framing::UntilClose));
    assert_eq!(
        framing(get(), "200", "transfer-encoding: chunked\r\n"),
        Ok(Framing::Chunked)
    );
    for (method, status) in [
        (Method::HEAD, "200 OK"),
        (get(), "204 No Content"),
        (get(), "304 Not Modified"),
        (get(), "101 Switching Protocols"),
        (Method::CONNECT, "200 OK"),
    ] {
        let fields = "content-length: 3\r\n";
        assert_eq!(framing(method, status, fields), Ok(Framing::Empty));
    }
    assert_eq!(
        framing(
            get(),
            "200 OK",
            "content-length: 3\r\ntransfer-encoding: chunked\r\n"
        ),
        Err(HeadError::Length)
    );
    assert!(!answer(get(), "200 OK", "").unwrap().keep_alive);
}

#[test]
fn chunks_from_http_1_0_end_the_connection() {
    let text = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n";
    let head = response(&Bytes::from_static(text), &LIMITS, &Method::GET).unwrap();
    assert_eq!((head.framing, head.keep_alive), (Framing::Chunked, false));
}

#[test]
fn a_head_is_taken_once_it_is_whole_however_it_arrives() {
    let text = b"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\nrest";
    for step in 1..text.len() {
        let (mut scanner, mut buffer) = (Scanner::default(), BytesMut::new());
        let mut found = None;
        for part in text.chunks(step) {
            buffer.extend_from_slice(part);
            if found.is_none() {
                found = scanner.take(&mut buffer, 1024, check_request).unwrap();
            }
        }
        let head = found.unwrap();
        assert!(head.ends_with(b"host: a\r\n\r\n"), "step {step}");
        assert_eq!(&buffer[..], b"rest", "step {step}");
    }
}

#[test]
fn garbage_is_refused_at_once_and_large_heads_at_the_limit() {
    let take =
        |bytes: &[u8]| Scanner::default().take(&mut BytesMut::from(bytes), 64, check_request);
    assert!(matches!(
        take(b"\x16\x03\x01\x02"),
        Err(HeadError::Syntax(_))
    ));
    assert_eq!(take(b"GET / HT"), Ok(None));
    assert_eq!(take(&[b'a'; 65]), Err(HeadError::TooLarge));
    let whole = [b"GET / HTTP/1.1\r\nx: ", &[b'a'; 64][..], b"\r\n\r\n"].concat();
    assert_eq!(take(&whole), Err(HeadError::TooLarge));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert_eq!(parse(&many).unwrap_err(), HeadError::TooLarge);
}

#[test]
fn written_case_is_kept_when_asked() {
    let limits = Limits {
        preserve_case: true,
        ..LIMITS
    };
    let bytes = Bytes::from_static(b"GET / HTTP/1.1\r\nHoSt: a\r\nX-A: 1\r\n\r\n");
    let head = request(&bytes, &limits).unwrap();
    let mut out = Vec::new();
    let line = super::super::encode::RequestLine {
        method: head.request.method(),
        target: head.request.uri(),
    };
    let case = head.request.extensions().get::<OriginalCase>();
    super::super::encode::request_head(&mut out, &line, head.request.headers(), head.framing, case);
    assert_eq!(&out[..], &bytes[..]);
}
