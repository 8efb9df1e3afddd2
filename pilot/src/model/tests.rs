use super::*;

#[test]
fn declared_protocol_beats_the_port_name() {
    assert_eq!(
        Protocol::of_port(80, Some("tcp-a"), None, Some("http2")),
        Protocol::Http2
    );
}
