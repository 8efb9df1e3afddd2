//! Log files of containers.
//!
//! A container writes into its file directly (opened for appending), so nothing is lost or delayed
//! by the platform, and nothing stops when it is busy. A file that has grown is copied to `.1` and
//! emptied in place; what is written in between is lost, as with logrotate's `copytruncate`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::state::{self, StateDir, StateError};

/// The kubelet's `containerLogMaxSize`.
const MAX_BYTES: u64 = 10 << 20;
/// How often sizes are looked at.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The log of a container's present run.
pub(crate) fn log_path(state: &StateDir, namespace: &str, pod: &str, container: &str) -> PathBuf {
    state
        .pod_logs(namespace, pod)
        .join(format!("{container}.log"))
}

/// The log of the run before.
pub(crate) fn previous_log_path(
    state: &StateDir,
    namespace: &str,
    pod: &str,
    container: &str,
) -> PathBuf {
    state
        .pod_logs(namespace, pod)
        .join(format!("{container}.previous.log"))
}

/// Opens the log of a new run; the one of the run before is kept beside it.
///
/// # Errors
/// If it cannot be created.
pub(super) fn open(
    state: &StateDir,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<File, StateError> {
    state::create_dir(&state.pod_logs(namespace, pod))?;
    let path = log_path(state, namespace, pod, container);
    if path.exists() {
        let previous = previous_log_path(state, namespace, pod, container);
        fs::rename(&path, &previous).map_err(|source| StateError::new("rename", &path, source))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(|source| StateError::new("create", &path, source))
}

/// Empties a log that has grown too large, keeping a copy in `.1`.
pub(super) fn rotate(path: &Path) {
    let large = fs::metadata(path).is_ok_and(|meta| meta.len() > MAX_BYTES);
    if large && let Err(error) = copy_and_truncate(path) {
        tracing::warn!(path = %path.display(), %error, "cannot rotate a log");
    }
}

fn copy_and_truncate(path: &Path) -> io::Result<()> {
    let mut copy = path.as_os_str().to_owned();
    copy.push(".1");
    fs::copy(path, PathBuf::from(copy))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_restart_keeps_the_previous_log() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        open(&state, "default", "web", "app")
            .unwrap()
            .write_all(b"first")
            .unwrap();
        open(&state, "default", "web", "app")
            .unwrap()
            .write_all(b"second")
            .unwrap();
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(log_path(&state, "default", "web", "app")), "second");
        assert_eq!(
            read(previous_log_path(&state, "default", "web", "app")),
            "first"
        );
    }

    #[test]
    fn a_large_log_is_emptied_under_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        rotate(&path);
        file.write_all(b"after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(
            fs::metadata(dir.path().join("app.log.1")).unwrap().len(),
            MAX_BYTES + 1
        );
    }
}
