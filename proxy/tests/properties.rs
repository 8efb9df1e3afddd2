//! Properties of everything that reads a stranger's bytes, on the fuzz targets' seeds and on
//! mutilations of them. `fuzz/` drives the same functions for longer (docs/testing.md).

#[path = "../../fuzz/mutations.rs"]
mod mutations;
mod properties {
    pub(crate) mod detect;
    pub(crate) mod http1;
    pub(crate) mod http2;
    pub(crate) mod peers;
    pub(crate) mod pieces;
}

use mutations::{mutilated, seeds};
use properties::{detect, http1, http2, peers};
use proptest::prelude::*;

const HTTP: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"\r\n ",
    b"\r\n\r\n",
    b"0\r\n",
    b";",
    b",",
    b"content-length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"connection: close\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0",
    b"CONNECT",
    b"5\r\nhello\r\n",
];
const FRAMES: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\x82\x86\x84",
    b"\0\0\x03\x01\x05\0\0\0\x03\x82\x86\x84", // a request
    b"\0\0\x01\x01\x04\0\0\0\x01\x88",         // an answer's head
    b"\0\0\x01\x01\x00\0\0\0\x01\x82",         // the start of a block
    b"\0\0\x03\0\0\0\0\0\x01abc",              // data
    b"\0\0\0\0\x01\0\0\0\x01",                 // the end of data
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",     // a reset
    b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff",
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0", // windows of nothing
    b"\0\0\x08\x06\x01\0\0\0\0good bye",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
];
const BINARY: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\0\0",
    b"\xff\xff",
    b"\x16\x03\x01",
    b"\x01\0\0",
    b"\r\n",
    b"GET / HTTP/1.1\r\n",
];

macro_rules! properties {
    ($($name:ident: $property:path, $target:literal, $tokens:expr;)*) => {
        #[test]
        fn seeds_hold() {
            $(for seed in seeds($target) { $property(&seed); })*
        }
        proptest! {
            #![proptest_config(ProptestConfig {
                cases: 2000,
                failure_persistence: None,
                ..ProptestConfig::default()
            })]
            $(#[test]
            fn $name(input in mutilated($target, $tokens)) { $property(&input); })*
        }
    };
}

properties! {
    requests: http1::requests, "http1_requests", HTTP;
    responses: http1::responses, "http1_responses", HTTP;
    bodies: http1::body, "http1_body", HTTP;
    streams_of_requests: http2::requests, "http2_requests", FRAMES;
    streams_of_responses: http2::responses, "http2_responses", FRAMES;
    first_bytes: detect::first_bytes, "detect", BINARY;
    peers_on_streams: peers::stream, "peer_stream", BINARY;
    peers_in_headers: peers::header, "peer_header", BINARY;
}
