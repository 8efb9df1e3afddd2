//! What one client has yet to be told.

use std::sync::Arc;
use std::time::Instant;

use mesh_xds::NameSet;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::snapshot::Change;

/// Something to tell a client: what changed since it was last told, however often.
#[derive(Clone, Debug)]
pub struct Push {
    /// The union of the changes.
    pub change: Arc<Change>,
    /// When the oldest of them was seen.
    pub since: Instant,
    /// Sets of clusters, and those among them whose endpoints may differ.
    touched: Arc<Mutex<Vec<(NameSet, NameSet)>>>,
}

impl Push {
    /// A change that was first seen at `since`.
    pub fn new(change: Arc<Change>, since: Instant) -> Self {
        Self {
            change,
            since,
            touched: Arc::default(),
        }
    }

    /// Those among `clusters` whose endpoints may differ. Found once for all clients that subscribed
    /// to the same.
    pub fn touched(&self, clusters: &NameSet) -> NameSet {
        let mut known = self.touched.lock();
        if let Some((_, touched)) = known.iter().find(|(of, _)| Arc::ptr_eq(of, clusters)) {
            return Arc::clone(touched);
        }
        let touched = clusters.iter();
        let touched = touched.filter(|name| self.change.touches_endpoints_of(name));
        let touched = NameSet::new(touched.cloned().collect());
        known.push((Arc::clone(clusters), Arc::clone(&touched)));
        touched
    }
}

/// At most one pending [`Push`]: a slow client gets fewer and larger ones, and holds nobody up.
#[derive(Debug, Default)]
pub struct Mailbox {
    pending: Mutex<Option<Push>>,
    filled: Notify,
}

impl Mailbox {
    /// Adds a push to what is pending.
    pub fn put(&self, push: Push) {
        let mut pending = self.pending.lock();
        match &mut *pending {
            Some(earlier) => {
                // Shared by all mailboxes until one of them has to merge.
                let mut change = Change::clone(&earlier.change);
                change.merge(Arc::unwrap_or_clone(push.change));
                *earlier = Push::new(Arc::new(change), earlier.since.min(push.since));
            }
            None => *pending = Some(push),
        }
        drop(pending);
        self.filled.notify_one();
    }

    /// Waits for a push. Dropping the future loses nothing.
    pub async fn next(&self) -> Push {
        loop {
            if let Some(push) = self.pending.lock().take() {
                return push;
            }
            self.filled.notified().await;
        }
    }
}
