//! Whose status this control plane is to write.

use tokio::sync::watch;

use super::Existing;

/// Of which objects this control plane is the leader. A control plane knows no objects of other
/// revisions, so one leader of all could not do.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Those without a revision: of all control planes one.
    pub shared: watch::Receiver<bool>,
    /// Those of its own revision: of its replicas one.
    pub own: watch::Receiver<bool>,
}

impl Leadership {
    /// Whether the status of an object is ours to write now.
    pub(super) fn covers(&self, object: &Existing) -> bool {
        let leads = if object.of_revision {
            &self.own
        } else {
            &self.shared
        };
        *leads.borrow()
    }

    /// Whether anything is ours now.
    pub(super) fn any(&self) -> bool {
        *self.shared.borrow() || *self.own.borrow()
    }

    /// Completes when something has changed; `false` once nothing will any more.
    pub(super) async fn changed(&mut self) -> bool {
        tokio::select! {
            Ok(()) = self.shared.changed() => true,
            Ok(()) = self.own.changed() => true,
            else => false,
        }
    }
}
