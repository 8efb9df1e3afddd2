use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = fields.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    pairs.collect()
}

fn request(method: &Method, target: &str, framing: Framing) -> String {
    let mut out = Vec::new();
    let target = target.parse().unwrap();
    let line = RequestLine {
        method,
        target: &target,
    };
    request_head(&mut out, &line, &headers(&[("host", "a")]), framing, None);
    String::from_utf8(out).unwrap()
}

#[test]
fn requests_name_their_target_as_the_method_asks() {
    assert_eq!(
        request(&Method::GET, "http://a/x?y", Framing::Empty),
        "GET /x?y HTTP/1.1\r\nhost: a\r\n\r\n"
    );
    assert_eq!(
        request(&Method::CONNECT, "a:1", Framing::Empty),
        "CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n"
    );
}

#[test]
fn requests_with_content_say_how_long_it_is() {
    assert!(request(&Method::POST, "/", Framing::Empty).contains("\r\ncontent-length: 0\r\n"));
    assert!(request(&Method::PUT, "/", Framing::Length(1234)).contains("content-length: 1234\r\n"));
    assert!(
        request(&Method::POST, "/", Framing::Chunked).contains("transfer-encoding: chunked\r\n")
    );
}

#[test]
fn a_response_has_a_date_and_one_length() {
    let mut out = Vec::new();
    let fields = headers(&[("content-length", "5")]);
    let framing = Some(Framing::Length(5));
    response_head(
        &mut out,
        StatusCode::OK,
        &fields,
        framing,
        Persistence::Close,
        None,
    );
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert_eq!(text.matches("content-length").count(), 1, "{text}");
    assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
    assert!(
        text.contains("\r\ndate: ") && text.contains(" GMT\r\n"),
        "{text}"
    );
}

#[test]
fn chunk_sizes_are_hexadecimal() {
    let mut out = Vec::new();
    chunk_start(&mut out, 0x00ab_cdef);
    assert_eq!(&out[..], b"abcdef\r\n");
}
