//! Resources that come by xDS.
#![no_main]
#![allow(dead_code, reason = "each target drives one property of a file")]

#[path = "../../crates/route/tests/properties/resources.rs"]
mod resources;

libfuzzer_sys::fuzz_target!(|input: &[u8]| resources::resource(input));
