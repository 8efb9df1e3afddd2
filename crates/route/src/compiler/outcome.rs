//! What applying resources came to, and what is kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use mesh_xds::google::protobuf::Any;

use crate::error::Refused;
use crate::snapshot::Snapshot;

/// What a change came to.
#[derive(Debug)]
pub struct Applied {
    /// The snapshot after the change; the same `Arc` as before if only endpoints changed (they
    /// are swapped inside their clusters).
    pub snapshot: Arc<Snapshot>,
    /// Resources refused; their last good version stays in force. Non-empty: NACK with
    /// [`Applied::error`].
    pub rejected: Vec<Rejected>,
}

/// A refused resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Resource name.
    pub name: String,
    /// Field path and reason.
    pub reason: Refused,
}

/// Names per type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// EDS names.
    pub endpoints: BTreeSet<Arc<str>>,
    /// RDS names.
    pub routes: BTreeSet<Arc<str>>,
    /// SDS names, without `default` and `ROOTCA`.
    pub secrets: BTreeSet<Arc<str>>,
}

impl Wanted {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.routes.is_empty() && self.secrets.is_empty()
    }
}

/// A resource as it is kept, for `/config_dump`.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Resource name.
    pub name: &'a str,
    /// Version the server gave.
    pub version: &'a str,
    pub(super) type_url: &'static str,
    pub(super) bytes: &'a [u8],
    /// It waits for others (EDS, RDS, SDS) before it becomes active.
    pub warming: bool,
}

impl Stored<'_> {
    /// A copy of the last good resource as it came.
    pub fn resource(&self) -> Any {
        Any {
            type_url: self.type_url.to_owned(),
            value: Bytes::copy_from_slice(self.bytes),
        }
    }
}

impl Applied {
    /// The NACK text, `None` if all was accepted.
    pub fn error(&self) -> Option<String> {
        // Enough to find the culprits; a control plane logs it per proxy.
        const MOST: usize = 10;
        if self.rejected.is_empty() {
            return None;
        }
        let shown = self.rejected.iter().take(MOST);
        let mut text = shown
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        if self.rejected.len() > MOST {
            text.push_str(&format!("; and {} more", self.rejected.len() - MOST));
        }
        Some(text)
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}
