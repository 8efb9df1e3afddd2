//! Discovery: configuration and endpoints in, xDS out.
//!
//! [`ingest`] (files, an API server) -> [`store`] -> [`push`] (debounce) -> [`snapshot`] ->
//! [`translate`] (pure) -> [`serve`] (ADS). [`Pilot`] joins them. [`status`] tells the users of an API
//! server what became of their objects.

pub mod ingest;
pub mod model;
mod pilot;
pub mod push;
pub mod serve;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod translate;

pub use pilot::{Options, Pilot, StartError};
pub use serve::Access;
pub use serve::debug::Page;
