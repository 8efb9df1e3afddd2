//! The state directory: what lies where, and writes that are either whole or absent.
//!
//! | path | what |
//! |---|---|
//! | `api.sock` | the daemon's socket |
//! | `applied/` | objects of `meshctl local apply`, one per file |
//! | `objects/` | every object with its status, for the control plane |
//! | `istiod/` | the control plane's own state (its root certificate) |
//! | `pods/UID/` | volumes of a pod; removed with it |
//! | `logs/NS/POD/CONTAINER.log` | what containers wrote |
//! | `assigned.json` | uids and service addresses, stable across restarts |
//! | `lock` | held by the running platform; its process number |
//! | `platform.log`, `up.log` | what the platform itself wrote |
//! | `tokens.key`, `jwks.json` | key that signs service-account tokens, and its public half |

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A failure to keep state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No room is left on the file system of the state directory.
    #[error("the disk is full: cannot write {} (free some space, or choose another place with --state-dir)", .path.display())]
    DiskFull {
        /// The file that could not be written.
        path: PathBuf,
    },
    /// Anything else the file system said.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl StateError {
    pub(crate) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}

/// The platform's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the directory, creating it (mode 0700) and its parts where missing.
    ///
    /// # Errors
    /// If a directory cannot be created.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        let state = Self {
            root: root.to_owned(),
        };
        for dir in [
            state.root.clone(),
            state.applied(),
            state.objects(),
            state.pods(),
            state.logs(),
        ] {
            create_dir(&dir)?;
        }
        create_dir(&state.istiod())?;
        Ok(state)
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The daemon's socket.
    #[must_use]
    pub fn api_socket(&self) -> PathBuf {
        self.root.join("api.sock")
    }

    /// Objects of `meshctl local apply`.
    #[must_use]
    pub fn applied(&self) -> PathBuf {
        self.root.join("applied")
    }

    /// Every object with its status, for the control plane.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// The control plane's own state.
    #[must_use]
    pub fn istiod(&self) -> PathBuf {
        self.root.join("istiod")
    }

    /// The root certificate as the control plane publishes it. Not `root-cert.pem`: a file of that
    /// name in the control plane's directory is part of an authority that an operator brings.
    #[must_use]
    pub fn root_certificate(&self) -> PathBuf {
        self.istiod().join("published-root.pem")
    }

    /// Volumes of pods, by uid.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// Logs of all containers.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log directory of one pod.
    #[must_use]
    pub fn pod_logs(&self, namespace: &str, pod: &str) -> PathBuf {
        self.logs().join(namespace).join(pod)
    }

    /// Public keys of the service-account tokens.
    #[must_use]
    pub fn jwks(&self) -> PathBuf {
        self.root.join("jwks.json")
    }

    /// Uids and addresses handed out.
    #[must_use]
    pub fn assigned(&self) -> PathBuf {
        self.root.join("assigned.json")
    }

    /// Locked by the process that runs the platform, whose number it holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The process that runs (or ran last) on this directory.
    #[must_use]
    pub fn holder(&self) -> Option<u32> {
        fs::read_to_string(self.lock()).ok()?.trim().parse().ok()
    }

    /// The private key that signs tokens.
    #[must_use]
    pub fn token_key(&self) -> PathBuf {
        self.root.join("tokens.key")
    }
}

/// Creates a directory and its parents with mode 0700; an existing one is fine.
///
/// # Errors
/// If it cannot be created.
pub fn create_dir(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StateError::new("create directory", path, source))
}

/// Writes a file whole or not at all: into a dot file beside it, then renamed over it.
///
/// # Errors
/// [`StateError::DiskFull`] or whatever the file system said; the old content then stays.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<(), StateError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.tmp"));
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // The half-written file is of no use; if it cannot be removed the next write replaces it.
        drop(fs::remove_file(&temporary));
        StateError::new("write", path, source)
    })
}

/// Removes a file; one that is not there is fine.
///
/// # Errors
/// If it exists and cannot be removed.
pub fn remove_file(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StateError::new("remove", path, source))
        }
        _ => Ok(()),
    }
}

/// Empties a directory, keeping it.
///
/// # Errors
/// If something in it cannot be removed.
pub fn empty_dir(path: &Path) -> Result<(), StateError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StateError::new("empty directory", path, source))
        }
        _ => create_dir(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_file_and_leaves_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_full_disk_is_named() {
        let error = StateError::new("write", Path::new("/x"), io::ErrorKind::StorageFull.into());
        assert!(error.to_string().starts_with("the disk is full"), "{error}");
    }
}
