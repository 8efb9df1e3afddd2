//! Objects from directories of YAML files.
//!
//! Any tree will do: several documents per file, any names; names that start with a dot are
//! left alone (temporary files, and the inner links of a mounted ConfigMap). A change is seen
//! through inotify within `BATCH_TIME`; when notifications were lost, and every
//! `RESCAN_TIME` in any case, the tree is compared with what is known of it.

mod tree;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use self::tree::Tree;
use self::watch::{Dirty, Watch};
use super::{Batch, MeshConfigMap, Sink, Source};

/// How long events are collected before the files are read: long enough for an editor's
/// several writes, short beside what a person notices.
const BATCH_TIME: Duration = Duration::from_millis(50);

/// How often the tree is compared without being told: some file systems (network, overlay
/// seen from another mount) send no notifications at all.
const RESCAN_TIME: Duration = Duration::from_secs(30);

/// When to compare after directories appeared: what was put into one before the system watched
/// it was not told, and may have come after we looked.
const FOLLOW_UP_TIME: Duration = Duration::from_millis(500);

/// Why a directory can't be a source.
#[derive(Debug, thiserror::Error)]
pub enum FileSourceError {
    /// It is not there, or not readable.
    #[error("read configuration from {path} (does the directory exist?)")]
    Unreadable {
        /// The directory or file asked for.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It can't be watched.
    #[error("watch {path} for changes (is fs.inotify.max_user_watches too low?)")]
    Watch {
        /// The directory or file asked for.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: notify::Error,
    },
}

/// Directories (or single files) of manifests. Earlier ones win where two define one object.
#[derive(Debug)]
pub struct FileSource {
    tree: Tree,
    watch: Watch,
}

impl FileSource {
    /// Starts to watch `roots`. `settings`: where the mesh-wide settings are.
    ///
    /// # Errors
    /// [`FileSourceError`] if one can't be read or watched.
    pub fn new(roots: &[PathBuf], settings: MeshConfigMap) -> Result<Self, FileSourceError> {
        let mut canonical = Vec::with_capacity(roots.len());
        for path in roots {
            // Notifications bear the path that was watched; canonical paths are unambiguous.
            canonical.push(
                path.canonicalize()
                    .map_err(|source| FileSourceError::Unreadable {
                        path: path.clone(),
                        source,
                    })?,
            );
        }
        // Watched before the first scan, so that nothing falls between the two.
        let watch = Watch::new(&canonical)?;
        Ok(Self {
            tree: Tree::new(canonical, settings),
            watch,
        })
    }
}

impl Source for FileSource {
    fn name(&self) -> &'static str {
        "files"
    }

    fn run(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        let Self { mut tree, watch } = *self;
        async move {
            let mut dirty = Dirty::Everything;
            let mut synced = false;
            let mut rescan = Instant::now();
            loop {
                let now = Instant::now();
                rescan = match &dirty {
                    Dirty::Everything => now + RESCAN_TIME,
                    Dirty::Paths(paths) if paths.iter().any(|path| path.is_dir()) => {
                        rescan.min(now + FOLLOW_UP_TIME)
                    }
                    Dirty::Paths(_) => rescan,
                };
                let Ok((returned, mut batch)) = read(tree, dirty).await else {
                    return;
                };
                tree = returned;
                batch.synced = !std::mem::replace(&mut synced, true);
                let news = !batch.events.is_empty() || !batch.problems.is_empty();
                if (news || batch.synced) && sink.send(batch).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = sink.closed() => return,
                    () = tokio::time::sleep_until(rescan) => dirty = Dirty::Everything,
                    () = watch.changed() => {
                        tokio::time::sleep(BATCH_TIME).await;
                        dirty = watch.take();
                    }
                }
            }
        }
        .boxed()
    }
}

/// Reads files off the async threads. An error means that the runtime is shutting down.
async fn read(mut tree: Tree, dirty: Dirty) -> Result<(Tree, Batch), tokio::task::JoinError> {
    let task = tokio::task::spawn_blocking(move || {
        let batch = match dirty {
            Dirty::Everything => tree.rescan(),
            Dirty::Paths(paths) => tree.update(paths),
        };
        (tree, batch)
    });
    task.await
}

#[cfg(test)]
mod tests;
