//! Discovery: configuration and endpoints in, xDS out.

pub mod model;
pub mod snapshot;
pub mod translate;
