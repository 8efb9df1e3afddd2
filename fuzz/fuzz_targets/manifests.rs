//! Manifests that users write.
#![no_main]
#![allow(dead_code, reason = "each target drives one property of a file")]

#[path = "../../crates/config/tests/properties/manifests.rs"]
mod manifests;

libfuzzer_sys::fuzz_target!(|input: &[u8]| manifests::text(input));
