//! Responses of HTTP/1.1 on an upstream's connection.
#![no_main]
#![allow(dead_code, reason = "each target drives one property of a file")]

#[path = "../../proxy/tests/properties/http1.rs"]
mod http1;
#[path = "../../proxy/tests/properties/pieces.rs"]
mod pieces;

libfuzzer_sys::fuzz_target!(|input: &[u8]| http1::responses(input));
