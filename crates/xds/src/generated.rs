//! The generated types. Everything in here is documented by Envoy's API reference.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines,
    rustdoc::all
)]

include!(concat!(env!("OUT_DIR"), "/mod.rs"));
