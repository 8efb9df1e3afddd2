//! Envoy xDS v3 wire types; delta and state-of-the-world client and server.
//!
//! - [`envoy`], [`google`], [`istio`], ...: generated at build time from the descriptor set in
//!   `proto/`. Maps are ordered and `bytes` fields are [`bytes::Bytes`], so encoding is
//!   deterministic and payloads are shared.

mod generated;

pub use generated::*;
