//! From changed objects to clients that know of it.
//!
//! - [`Debouncer`]: when a run of changes has calmed down enough to act on. No clock of its own.
//! - [`Mailbox`]: what a client has yet to be told, merged into one item.
//! - [`pipeline`]: the task that applies batches, builds snapshots and fills the mailboxes.

mod debounce;
mod mailbox;
pub mod pipeline;

pub use debounce::{Debouncer, Timing};
pub use mailbox::{Mailbox, Push};
pub use pipeline::Published;

#[cfg(test)]
mod tests;
