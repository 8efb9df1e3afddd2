//! The first bytes of a connection: TLS, HTTP or something else.
#![no_main]
#![allow(dead_code, reason = "each target drives one property of a file")]

#[path = "../../proxy/tests/properties/detect.rs"]
mod detect;
#[path = "../../proxy/tests/properties/pieces.rs"]
mod pieces;

libfuzzer_sys::fuzz_target!(|input: &[u8]| detect::first_bytes(input));
