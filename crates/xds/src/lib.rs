//! Envoy xDS v3 wire types; delta and state-of-the-world client and server.
//!
//! - [`envoy`], [`google`], [`istio`], ...: generated at build time from the descriptor set in
//!   `proto/`. Maps are ordered and `bytes` fields are [`bytes::Bytes`], so encoding is
//!   deterministic and payloads are shared.
//! - [`type_url`], [`any`], [`json`]: names, packing and printing of resources.
//! - [`client`] and [`server`]: the protocol's state machines. They do no IO: requests and
//!   responses go in and come out as values, so every interleaving can be tested. The caller
//!   owns the stream.

pub mod any;
pub mod client;
mod generated;
pub mod json;
mod resource;
pub mod server;
pub mod type_url;

pub use generated::*;
pub use resource::{
    ContentVersion, EncodedResource, NameSet, NamedResource, Scope, content_version,
};
