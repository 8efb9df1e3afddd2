use super::*;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BOTH: Inspect = Inspect {
    tls: true,
    http: true,
};

/// A ClientHello with the given name and protocols, as one record.
pub(crate) fn hello_bytes(name: &str, alpn: &[&str]) -> Vec<u8> {
    let mut names = vec![0];
    names.extend((name.len() as u16).to_be_bytes());
    names.extend(name.as_bytes());
    let mut sni = (names.len() as u16).to_be_bytes().to_vec();
    sni.extend(names);
    let mut list = Vec::new();
    for protocol in alpn {
        list.push(protocol.len() as u8);
        list.extend(protocol.as_bytes());
    }
    let mut protocols = (list.len() as u16).to_be_bytes().to_vec();
    protocols.extend(list);
    let mut extensions = Vec::new();
    for (kind, content) in [(0u16, sni), (16, protocols)] {
        extensions.extend(kind.to_be_bytes());
        extensions.extend((content.len() as u16).to_be_bytes());
        extensions.extend(content);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x13, 1, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1];
    message.extend(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend((message.len() as u16).to_be_bytes());
    record.extend(message);
    record
}

#[test]
fn reads_server_name_and_alpn() {
    let bytes = hello_bytes("Reviews.Default", &["istio-h2", "istio"]);
    let Some(Detected::Tls(hello)) = classify(&bytes, BOTH) else {
        panic!("not tls")
    };
    assert_eq!(hello.server_name.as_deref(), Some("reviews.default"));
    assert_eq!(
        hello.alpn.as_slice(),
        [b"istio-h2".to_vec(), b"istio".to_vec()]
    );
}

#[test]
fn every_prefix_of_a_hello_asks_for_more() {
    let bytes = hello_bytes("a.example.com", &["h2"]);
    for end in 1..bytes.len() {
        assert_eq!(classify(&bytes[..end], BOTH), None, "at {end}");
    }
}

#[test]
fn reads_a_hello_over_two_records() {
    let whole = hello_bytes("a.example.com", &["h2"]);
    let message = &whole[5..];
    let (first, second) = message.split_at(20);
    let mut bytes = Vec::new();
    for part in [first, second] {
        bytes.extend([22, 3, 1]);
        bytes.extend((part.len() as u16).to_be_bytes());
        bytes.extend(part);
    }
    assert!(
        matches!(classify(&bytes, BOTH), Some(Detected::Tls(hello)) if hello.server_name.is_some())
    );
}

#[test]
fn mutilated_hellos_never_panic() {
    let whole = hello_bytes("a.example.com", &["h2", "http/1.1"]);
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = classify(&bytes, BOTH);
        }
    }
}

#[test]
fn tells_http_from_other() {
    let cases: [(&[u8], Option<Detected>); 11] = [
        (b"GET / HTTP/1.1\r\n", Some(Detected::Http1)),
        (b"GET / HTTP/1.0\n", Some(Detected::Http1)),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a", Some(Detected::Http1)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0", Some(Detected::Http2)),
        (b"PRI * HT", None),
        (b"GE", None),
        (b"GET /a", None),
        (b"GET / HTTP/2.0\r\n", Some(Detected::Other)),
        (b"\0\0\0\x10", Some(Detected::Other)),
        (b"HELO mail example\r\n", Some(Detected::Other)),
        (
            b"thisisamuchtoolongwordtobeamethodtoken",
            Some(Detected::Other),
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(classify(bytes, BOTH), expected, "{}", bytes.escape_ascii());
    }
}

/// What a slow client's first bytes decide, all of them at once decide too.
#[test]
fn a_verdict_stands_whatever_follows() {
    let long = [b"GET /", &[b'a'; REQUEST_LINE_LIMIT_BYTES][..], b"\r\n"].concat();
    for bytes in [
        &b"GET /\x01 HTTP/1.1\r\n"[..],
        b"GET / HTTP/1.1\r\n\0",
        &long,
    ] {
        let whole = classify(bytes, BOTH);
        assert!(whole.is_some());
        let first = (1..=bytes.len()).find_map(|end| classify(&bytes[..end], BOTH));
        assert_eq!(first, whole, "{}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn replays_what_it_read_across_packets() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut stream = Prefixed::new(server);
    let writer = tokio::spawn(async move {
        for part in [&b"GE"[..], b"T /x HTT", b"P/1.1\r\n\r\n"] {
            client.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(
        detect(&mut stream, BOTH, None).await.unwrap(),
        Detected::Http1
    );
    writer.await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "GET /x HTTP/1.1\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_reported_after_the_timeout() {
    let (client, server) = tokio::io::duplex(64);
    let mut stream = Prefixed::new(server);
    let detected = detect(&mut stream, BOTH, Some(Duration::from_millis(100)))
        .await
        .unwrap();
    assert_eq!(detected, Detected::Silent);
    drop(client);
    assert_eq!(
        detect(&mut stream, BOTH, None).await.unwrap(),
        Detected::Closed
    );
}

#[tokio::test]
async fn prefix_is_freed_once_read() {
    let mut stream = Prefixed::with_prefix(Bytes::from_static(b"abc"), tokio::io::empty());
    let mut out = Vec::new();
    stream.read_to_end(&mut out).await.unwrap();
    assert_eq!(out, b"abc");
    assert!(stream.prefix().is_empty());
}
