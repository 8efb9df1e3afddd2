//! What proxies tell each other in a header.
#![no_main]
#![allow(dead_code, reason = "each target drives one property of a file")]

#[path = "../../proxy/tests/properties/peers.rs"]
mod peers;
#[path = "../../proxy/tests/properties/pieces.rs"]
mod pieces;

libfuzzer_sys::fuzz_target!(|input: &[u8]| peers::header(input));
