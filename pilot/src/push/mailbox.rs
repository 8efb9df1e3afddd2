//! What one client has yet to be told.

use std::sync::Arc;
use std::time::Instant;

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
                Arc::make_mut(&mut earlier.change).merge(Arc::unwrap_or_clone(push.change));
                earlier.since = earlier.since.min(push.since);
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
