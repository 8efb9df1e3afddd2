//! Orderly end of a process: first discourage connections, then close them.
//!
//! One [`Signal`] moves through [`Phase`]s; any number of [`Watch`]es see it, and hold an
//! [`InFlight`] guard for each connection, so that the end can come early when none is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing to do.
    Running,
    /// As [`Phase::Draining`], for connections that come from elsewhere: what the process sends on
    /// behalf of its own side goes on undisturbed.
    DrainingInbound,
    /// Still accept, but answer with GOAWAY or `Connection: close`, and do not keep idle
    /// connections.
    Draining,
    /// Listeners are closed; what is still open is closed as soon as it can be.
    Closing,
}

#[derive(Debug, Default)]
struct InFlightCount {
    open: AtomicUsize,
    idle: Notify,
}

/// Makes a signal in phase [`Phase::Running`] and a watch of it.
pub fn channel() -> (Signal, Watch) {
    let (sender, receiver) = watch::channel(Phase::Running);
    let count = Arc::new(InFlightCount::default());
    (
        Signal {
            sender,
            count: Arc::clone(&count),
        },
        Watch { receiver, count },
    )
}

/// The side that ends things.
#[derive(Debug)]
pub struct Signal {
    sender: watch::Sender<Phase>,
    count: Arc<InFlightCount>,
}

impl Signal {
    /// Moves to `phase`; a phase never goes back.
    pub fn advance(&self, phase: Phase) {
        self.sender.send_if_modified(|current| {
            let forward = *current < phase;
            *current = phase.max(*current);
            forward
        });
    }

    /// Number of [`InFlight`] guards that are held now.
    pub fn in_flight(&self) -> usize {
        self.count.open.load(Ordering::Acquire)
    }

    /// Waits until no [`InFlight`] guard is held.
    pub async fn idle(&self) {
        loop {
            let notified = self.count.idle.notified();
            tokio::pin!(notified);
            // Registered before the check, so that a guard dropped in between is not missed.
            notified.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Another watch.
    pub fn watch(&self) -> Watch {
        Watch {
            receiver: self.sender.subscribe(),
            count: Arc::clone(&self.count),
        }
    }
}

/// The side that is told. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watch {
    receiver: watch::Receiver<Phase>,
    count: Arc<InFlightCount>,
}

impl Watch {
    /// The phase now. Takes an uncontended read lock.
    pub fn phase(&self) -> Phase {
        *self.receiver.borrow()
    }

    /// Whether the end has begun.
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Waits for `phase` or a later one. A dropped signal counts as [`Phase::Closing`].
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.receiver.clone();
        // An error means that the signal is gone: nobody will ever tell us to wait longer.
        let _ = receiver.wait_for(|current| *current >= phase).await;
    }

    /// Counts a connection in until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlight {
        self.count.open.fetch_add(1, Ordering::AcqRel);
        InFlight {
            count: Arc::clone(&self.count),
        }
    }

    /// Number of guards that are held now.
    pub fn in_flight(&self) -> usize {
        self.count.open.load(Ordering::Acquire)
    }
}

/// One connection in flight. Made by [`Watch::enter`].
#[derive(Debug)]
pub struct InFlight {
    count: Arc<InFlightCount>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.count.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.count.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tells_phases_in_order_and_waits_for_the_last_connection() {
        let (signal, watch) = channel();
        assert!(!watch.is_draining());
        let first = watch.enter();
        let second = watch.clone().enter();
        signal.advance(Phase::Closing);
        signal.advance(Phase::Draining);
        assert_eq!(watch.phase(), Phase::Closing);
        watch.reached(Phase::Draining).await;
        let waiter = tokio::spawn(async move {
            signal.idle().await;
            signal.in_flight()
        });
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(second);
        assert_eq!(waiter.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_dropped_signal_ends_the_wait() {
        let (signal, watch) = channel();
        drop(signal);
        watch.reached(Phase::Closing).await;
    }
}
