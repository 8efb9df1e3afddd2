//! The task between sources and clients: store, debounce, snapshot, publish.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::debounce::{Debouncer, Timing};
use super::mailbox::Push;
use crate::ingest::Batch;
use crate::serve::{Connections, Metrics};
use crate::snapshot::{Inputs, Snapshot};
use crate::store::{Changed, Store};

/// A snapshot that clients are served from.
#[derive(Debug)]
pub struct Published {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Its version, for people: the start of this process in Unix seconds, and a number that grows.
    pub version: String,
}

/// The latest snapshot; `None` until every source has reported everything once.
pub type Latest = watch::Receiver<Option<Arc<Published>>>;

/// What the pipeline works with.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) store: Store,
    /// Sources that must report everything once before anything is published.
    pub(crate) awaited: BTreeSet<&'static str>,
    pub(crate) timing: Timing,
    pub(crate) batches: mpsc::Receiver<(&'static str, Batch)>,
    pub(crate) latest: watch::Sender<Option<Arc<Published>>>,
    pub(crate) connections: Connections,
    pub(crate) metrics: Metrics,
    /// First part of every version.
    pub(crate) started: i64,
}

impl Pipeline {
    /// Runs until every source is gone.
    pub(crate) async fn run(mut self) {
        let mut debouncer = Debouncer::new(self.timing);
        let mut number: u64 = 0;
        if self.awaited.is_empty() {
            self.publish(number, Instant::now()).await;
        }
        loop {
            let due = debouncer.due().filter(|_| self.awaited.is_empty());
            tokio::select! {
                received = self.batches.recv() => {
                    let Some((source, batch)) = received else { return };
                    let first = self.awaited.contains(source) && batch.synced;
                    if let Some(changed) = self.apply(source, batch) {
                        debouncer.note(changed.urgency, Instant::now());
                    }
                    if first {
                        self.awaited.remove(source);
                        if self.awaited.is_empty() {
                            debouncer.take();
                            number += 1;
                            self.publish(number, Instant::now()).await;
                        }
                    }
                }
                () = until(due) => {
                    let since = debouncer.take().unwrap_or_else(Instant::now);
                    number += 1;
                    self.publish(number, since).await;
                }
            }
        }
    }

    fn apply(&mut self, source: &'static str, batch: Batch) -> Option<Changed> {
        let changed = self.store.apply(source, batch)?;
        self.metrics.config_changes(changed.urgency);
        tracing::debug!(
            source,
            urgency = ?changed.urgency,
            objects = changed.objects.len(),
            first = changed.objects.first().map(ToString::to_string),
            "objects changed"
        );
        Some(changed)
    }

    async fn publish(&self, number: u64, since: Instant) {
        let before = self.latest.borrow().clone();
        let inputs = self.store.inputs();
        // Indexes of a large mesh take a while to build; clients must be answered meanwhile.
        let last = before.clone();
        let task = tokio::task::spawn_blocking(move || build(inputs, last.as_deref()));
        let (snapshot, change) = match task.await {
            Ok(built) => built,
            Err(error) => {
                // A bug in an index: the mesh goes on with what it has.
                tracing::error!(%error, "building a snapshot failed, the last one stays");
                return;
            }
        };
        if change
            .as_ref()
            .is_some_and(crate::snapshot::Change::is_empty)
        {
            tracing::debug!("nothing that proxies see has changed");
        }
        let known = before.as_ref().map(|before| &before.snapshot);
        for problem in snapshot.new_problems(known.map(Arc::as_ref)) {
            tracing::warn!(%problem, "configuration problem");
        }
        let version = format!("{}/{number}", self.started);
        self.metrics.snapshot_built(since.elapsed());
        tracing::info!(
            version,
            proxies = self.connections.len(),
            "configuration published"
        );
        self.latest.send_replace(Some(Arc::new(Published {
            snapshot: Arc::new(snapshot),
            version,
        })));
        // After the snapshot, so that whoever reads the mail finds what it is about.
        if let Some(change) = change.filter(|change| !change.is_empty()) {
            let change = Arc::new(change);
            self.connections.broadcast(&Push::new(change, since));
        }
    }
}

fn build(
    inputs: Inputs,
    before: Option<&Published>,
) -> (Snapshot, Option<crate::snapshot::Change>) {
    match before {
        Some(before) => {
            let (snapshot, change) = Snapshot::build_after(inputs, &before.snapshot);
            (snapshot, Some(change))
        }
        None => (Snapshot::build(inputs), None),
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
