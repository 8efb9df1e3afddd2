//! Responses of HTTP/2 on an upstream's connection.
#![no_main]
#![allow(dead_code, reason = "each target drives one property of a file")]

#[path = "../../proxy/tests/properties/http2.rs"]
mod http2;
#[path = "../../proxy/tests/properties/pieces.rs"]
mod pieces;

libfuzzer_sys::fuzz_target!(|input: &[u8]| http2::responses(input));
