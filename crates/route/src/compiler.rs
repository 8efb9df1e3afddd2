//! Keeps the last good resources and publishes snapshots.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_xds::google::protobuf::Any;

use crate::error::Refused;
use crate::snapshot::Snapshot;

/// The state of one xDS connection's resources; lives on the control thread.
#[derive(Debug, Default)]
pub struct Compiler {}

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
#[derive(Clone, Debug)]
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

/// A resource as it is kept, for `/config_dump`.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Resource name.
    pub name: &'a str,
    /// Version the server gave.
    pub version: &'a str,
    /// The last good resource.
    pub resource: &'a Any,
    /// It waits for others (EDS, RDS, SDS) before it becomes active.
    pub warming: bool,
}

impl Compiler {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the changed and removed resources of one type and says what came of it.
    ///
    /// `changed`: (name, version, resource). A name of a state-of-the-world response may be empty:
    /// the resource's own name is used then.
    pub fn apply(
        &mut self,
        type_url: &str,
        changed: &[(String, String, Any)],
        removed: &[String],
    ) -> Applied {
        let _ = (type_url, changed, removed);
        todo!()
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        todo!()
    }

    /// EDS, RDS and SDS names that the resources refer to: the subscriptions to have.
    pub fn wanted(&self) -> Wanted {
        todo!()
    }

    /// The part of [`Compiler::wanted`] that hasn't come yet.
    pub fn missing(&self) -> Wanted {
        todo!()
    }

    /// Activates what still warms, as Envoy does when the initial fetch times out (15 s).
    pub fn activate_warming(&mut self) -> Arc<Snapshot> {
        todo!()
    }

    /// The kept resources of a type, by name.
    pub fn resources(&self, type_url: &str) -> Vec<Stored<'_>> {
        let _ = type_url;
        todo!()
    }

    /// The last refusals of a type that were not made good yet, by name.
    pub fn refusals(&self, type_url: &str) -> Vec<Rejected> {
        let _ = type_url;
        todo!()
    }
}

impl Applied {
    /// The NACK text, `None` if all was accepted.
    pub fn error(&self) -> Option<String> {
        todo!()
    }
}
