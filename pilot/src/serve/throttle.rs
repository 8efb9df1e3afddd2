//! How many clients are sent something large at a time.
//!
//! A response lies in the buffers of its connection until the client reads it. After a change of
//! configuration every client is due megabytes at once; sent to all together, they would need
//! gigabytes. So a client takes a [`Place`] before something large is made for it, and leaves it with
//! its answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mesh_xds::Scope;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Clients that are sent something large at a time. Few enough for memory (each may have all
/// clusters of a mesh and a part of its endpoints under way), and enough to wait for the answers of
/// far ones.
const PLACES: usize = 32;
/// A scope of so few names is small. Clusters and listeners of a new client are not.
const FEW_NAMES: usize = 32;
/// A response up to this size is small.
const SMALL_BYTES: usize = 32 << 10;
/// A client that has not answered by then makes room; what it does not read stays in its own
/// buffers, and it is sent no more before it answers.
const PATIENCE: Duration = Duration::from_secs(1);

/// The places of all clients. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Throttle(Arc<Semaphore>);

impl Default for Throttle {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES)))
    }
}

/// A client's place, if it has one.
#[derive(Debug, Default)]
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    leave_at: Option<Instant>,
    /// Types with a large response that is unanswered.
    unanswered: BTreeSet<String>,
}

impl Place {
    /// Waits for a place if `scope` may be large. A client never waits for a second one: it would
    /// not read the answers that free its first.
    pub(super) async fn take(&mut self, throttle: &Throttle, scope: &Scope) {
        let small = matches!(scope, Scope::Only(names) if names.len() <= FEW_NAMES);
        if !small && self.permit.is_none() {
            self.permit = Arc::clone(&throttle.0).acquire_owned().await.ok();
        }
    }

    /// Keeps the place until the answer, if a response of so many bytes deserves it.
    pub(super) fn sent(&mut self, type_url: &str, bytes: usize) {
        if bytes > SMALL_BYTES && self.permit.is_some() {
            self.unanswered.insert(type_url.to_owned());
            self.leave_at = Some(Instant::now() + PATIENCE);
        }
        self.leave_if_idle();
    }

    /// Notes that the last response of a type was answered.
    pub(super) fn answered(&mut self, type_url: &str) {
        self.unanswered.remove(type_url);
        self.leave_if_idle();
    }

    /// Waits until the client has had its place for too long; for ever if it has none.
    pub(super) async fn overstayed(&self) {
        at(self.leave_at).await;
    }

    /// Gives the place to others.
    pub(super) fn leave(&mut self) {
        *self = Self::default();
    }

    fn leave_if_idle(&mut self) {
        if self.unanswered.is_empty() {
            self.leave();
        }
    }
}

/// Waits until then; for ever if there is no such time.
pub(super) async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(throttle: &Throttle) -> usize {
        throttle.0.available_permits()
    }

    #[tokio::test]
    async fn a_place_is_left_with_the_last_answer_or_after_some_time() {
        let throttle = Throttle::default();
        let mut place = Place::default();
        place.take(&throttle, &Scope::only(["a"])).await;
        assert_eq!(free(&throttle), PLACES, "few names are small");

        place.take(&throttle, &Scope::All).await;
        place.sent("clusters", SMALL_BYTES + 1);
        place.take(&throttle, &Scope::All).await;
        place.sent("listeners", SMALL_BYTES + 1);
        assert_eq!(free(&throttle), PLACES - 1);
        place.answered("clusters");
        assert_eq!(free(&throttle), PLACES - 1);
        place.answered("listeners");
        assert_eq!(free(&throttle), PLACES);

        place.take(&throttle, &Scope::All).await;
        place.sent("clusters", 1);
        assert_eq!(free(&throttle), PLACES, "it was small after all");

        place.take(&throttle, &Scope::All).await;
        place.sent("clusters", SMALL_BYTES + 1);
        assert!(place.leave_at > Some(Instant::now()));
        place.leave_at = Some(Instant::now());
        place.overstayed().await;
        place.leave();
        assert_eq!(free(&throttle), PLACES);
    }
}
