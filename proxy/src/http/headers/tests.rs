use super::*;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect()
}

#[test]
fn strips_hop_by_hop_and_what_connection_names() {
    let mut map = headers(&[
        ("connection", "keep-alive, X-Secret, host"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("x-secret", "1"),
        ("te", "gzip, trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAM"),
        ("host", "a"),
        ("trailer", "grpc-status"),
    ]);
    strip_hop_by_hop(&mut map, Upgrade::Strip);
    let mut left: Vec<_> = map
        .iter()
        .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
        .collect();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            ("host", "a"),
            ("te", "trailers"),
            ("trailer", "grpc-status")
        ]
    );
}

#[test]
fn keeps_an_upgrade_that_goes_on() {
    let mut map = headers(&[("connection", "Upgrade, X-Other"), ("upgrade", "websocket")]);
    assert_eq!(upgrade_protocol(&map), Some("websocket"));
    strip_hop_by_hop(&mut map, Upgrade::Keep);
    assert_eq!(map[header::CONNECTION], "Upgrade");
    assert_eq!(map[header::UPGRADE], "websocket");
}

#[test]
fn upgrade_without_connection_token_is_none() {
    assert_eq!(
        upgrade_protocol(&headers(&[("upgrade", "websocket")])),
        None
    );
}

#[test]
fn refuses_ambiguous_framing() {
    let request = |lines: &[(&str, &str)], version| {
        let request = http::Request::builder()
            .uri("/")
            .version(version)
            .body(())
            .unwrap();
        let mut parts = request.into_parts().0;
        parts.headers = headers(lines);
        check_framing(&parts)
    };
    assert_eq!(request(&[("host", "a")], Version::HTTP_11), Ok(()));
    assert_eq!(request(&[], Version::HTTP_10), Ok(()));
    assert_eq!(request(&[], Version::HTTP_11), Err(Malformed::Host));
    let two = [("host", "a"), ("host", "b")];
    assert_eq!(request(&two, Version::HTTP_11), Err(Malformed::Host));
    for host in ["a b", "a/b", "a\"", "a?b#c"] {
        let lines = [("host", host)];
        assert_eq!(request(&lines, Version::HTTP_11), Err(Malformed::Host));
    }
    let coding = [("host", "a"), ("transfer-encoding", "gzip, chunked")];
    assert_eq!(
        request(&coding, Version::HTTP_11),
        Err(Malformed::TransferCoding)
    );
}

#[test]
fn counts_trusted_hops_from_the_right() {
    let mut map = headers(&[("x-forwarded-for", "9.9.9.9, 10.0.0.1")]);
    append_forwarded_for(&mut map, "10.0.0.2".parse().unwrap());
    assert_eq!(map[name::X_FORWARDED_FOR], "9.9.9.9, 10.0.0.1,10.0.0.2");
    assert_eq!(forwarded_address(&map, 0), None);
    assert_eq!(forwarded_address(&map, 1), "10.0.0.2".parse().ok());
    assert_eq!(forwarded_address(&map, 3), "9.9.9.9".parse().ok());
    assert_eq!(forwarded_address(&map, 4), None);
}

#[test]
fn keeps_a_request_id_only_from_those_we_trust() {
    let mut map = HeaderMap::new();
    ensure_request_id(&mut map, true, || HeaderValue::from_static("a"));
    ensure_request_id(&mut map, true, || HeaderValue::from_static("b"));
    assert_eq!(map[name::X_REQUEST_ID], "a");
    ensure_request_id(&mut map, false, || HeaderValue::from_static("c"));
    assert_eq!(map[name::X_REQUEST_ID], "c");
}

#[test]
fn tells_grpc_from_grpc_web() {
    assert!(is_grpc(&headers(&[("content-type", "application/grpc")])));
    assert!(is_grpc(&headers(&[(
        "content-type",
        "application/grpc+proto"
    )])));
    assert!(!is_grpc(&headers(&[(
        "content-type",
        "application/grpc-web"
    )])));
}
