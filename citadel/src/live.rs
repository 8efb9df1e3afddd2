//! The authority as it is now: it is exchanged while the control plane runs.

use std::sync::Arc;

use tokio::sync::watch;

use crate::authority::Authority;

/// Always the current authority. Clones see the same exchanges.
#[derive(Debug, Clone)]
pub struct Live(watch::Receiver<Arc<Authority>>);

impl Live {
    /// An authority that stays as it is.
    pub fn fixed(authority: Authority) -> Self {
        Self(watch::channel(Arc::new(authority)).1)
    }

    pub(crate) fn channel(authority: Authority) -> (watch::Sender<Arc<Authority>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(authority));
        (sender, Self(receiver))
    }

    /// The authority now.
    pub fn current(&self) -> Arc<Authority> {
        self.0.borrow().clone()
    }

    /// Returns once the authority has been exchanged, or what it trusts has changed, since the
    /// last call.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could exchange it.
            std::future::pending().await
        }
    }
}
