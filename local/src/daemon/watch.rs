//! Notices changes of manifest files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{DaemonError, start};
use crate::load::Places;

/// Editors write a file in several steps; this long without another one means it is done.
const QUIET: Duration = Duration::from_millis(50);

/// Watches the given places; the receiver wakes once per burst of changes.
///
/// # Errors
/// If the system has no more watches to give.
pub(super) fn watch(
    places: &Places,
) -> Result<(mpsc::Receiver<()>, RecommendedWatcher), DaemonError> {
    let failed = |error: notify::Error| start("watch the manifests")(std::io::Error::other(error));
    let (raw, mut events) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let relevant = match event {
            Ok(event) => !event.kind.is_access(),
            // Events were lost: look again.
            Err(_) => true,
        };
        if relevant {
            // A full channel already says that there is something to read.
            let _ = raw.try_send(());
        }
    })
    .map_err(failed)?;
    for dir in dirs(places) {
        watcher
            .watch(&dir, RecursiveMode::NonRecursive)
            .map_err(failed)?;
    }
    let (bursts, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while events.recv().await.is_some() {
            while tokio::time::timeout(QUIET, events.recv())
                .await
                .is_ok_and(|more| more.is_some())
            {}
            // As above.
            let _ = bursts.try_send(());
        }
    });
    Ok((receiver, watcher))
}

/// A file is watched through its directory: editors replace it rather than write it.
fn dirs(places: &Places) -> BTreeSet<PathBuf> {
    let given = places.given.iter().map(|place| match place.is_dir() {
        true => place.clone(),
        false => place.parent().unwrap_or(Path::new("/")).to_owned(),
    });
    given.chain([places.applied.clone()]).collect()
}
