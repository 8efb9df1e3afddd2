//! Notifications of changed paths, merged until someone takes them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::FileSourceError;

/// Above this many paths it is cheaper, and bounded, to compare the whole tree.
const PATHS_LIMIT: usize = 4096;

/// What may have changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dirty {
    /// These paths, files or directories, which may be gone.
    Paths(BTreeSet<PathBuf>),
    /// Anything: notifications were lost.
    Everything,
}

#[derive(Debug)]
struct Shared {
    dirty: Mutex<Dirty>,
    changed: Notify,
}

/// Watches directories until dropped.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// # Errors
    /// [`FileSourceError::Watch`].
    pub(super) fn new(roots: &[PathBuf]) -> Result<Self, FileSourceError> {
        let shared = Arc::new(Shared {
            dirty: Mutex::new(Dirty::Paths(BTreeSet::new())),
            changed: Notify::new(),
        });
        let sink = Arc::clone(&shared);
        let first = roots.first().cloned().unwrap_or_default();
        let mut watcher =
            notify::recommended_watcher(move |event| sink.note(event)).map_err(|source| {
                FileSourceError::Watch {
                    path: first,
                    source,
                }
            })?;
        for path in roots {
            watcher
                .watch(path, RecursiveMode::Recursive)
                .map_err(|source| FileSourceError::Watch {
                    path: path.clone(),
                    source,
                })?;
        }
        Ok(Self {
            shared,
            _watcher: watcher,
        })
    }

    /// Completes when something changed since the last [`take`](Self::take).
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// What changed, merged.
    pub(super) fn take(&self) -> Dirty {
        std::mem::replace(
            &mut *self.shared.dirty.lock(),
            Dirty::Paths(BTreeSet::new()),
        )
    }
}

impl Shared {
    fn note(&self, event: Result<notify::Event, notify::Error>) {
        let mut dirty = self.dirty.lock();
        match event {
            // Our own reading is no news.
            Ok(event) if matches!(event.kind, EventKind::Access(access) if !closes_write(access)) =>
            {
                return;
            }
            Ok(event) if event.need_rescan() => *dirty = Dirty::Everything,
            Ok(event) => {
                if let Dirty::Paths(paths) = &mut *dirty {
                    paths.extend(event.paths);
                    if paths.len() > PATHS_LIMIT {
                        *dirty = Dirty::Everything;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "file notifications failed, comparing the whole tree");
                *dirty = Dirty::Everything;
            }
        }
        drop(dirty);
        self.changed.notify_one();
    }
}

fn closes_write(access: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    access == AccessKind::Close(AccessMode::Write)
}
