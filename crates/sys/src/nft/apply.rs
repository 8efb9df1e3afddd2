//! Sends a table to the kernel in one transaction, and reads it back.

use std::io;

use super::{Base, Family, Table};

/// Why the kernel did not take a table.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// One statement was refused; nothing was changed.
    #[error("nftables refused {what}: {source}")]
    Refused {
        /// The table, chain or rule, as `nft` would write it.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The netlink socket failed.
    #[error("nftables: {what}")]
    Socket {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// A chain as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSummary {
    /// Its name.
    pub name: String,
    /// Where it hangs, if anywhere.
    pub base: Option<Base>,
    /// Number of rules.
    pub rules: usize,
}

/// Replaces the table of the same family and name by `table`, in the calling thread's network namespace.
///
/// One transaction: either all of it is in force afterwards or nothing has changed.
///
/// # Errors
/// [`ApplyError::Refused`] names the failing statement.
pub fn apply(table: &Table) -> Result<(), ApplyError> {
    let _ = table;
    todo!()
}

/// Removes a table if it is there.
///
/// # Errors
/// As [`apply`].
pub fn delete(family: Family, name: &str) -> Result<(), ApplyError> {
    let _ = (family, name);
    todo!()
}

/// The chains of a table as the kernel has them, in its order; empty when there is no such table.
///
/// # Errors
/// [`ApplyError::Socket`].
pub fn read_back(family: Family, name: &str) -> Result<Vec<ChainSummary>, ApplyError> {
    let _ = (family, name);
    todo!()
}
