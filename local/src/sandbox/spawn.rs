//! Starting and watching containers.

use std::io;

use super::{Exec, Exit, SpawnError, Spec};

/// A running container; clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Child {}

/// Starts a container; returns when its program is running (executed).
///
/// # Errors
/// [`SpawnError`]; nothing stays behind.
pub async fn spawn(spec: Spec) -> Result<Child, SpawnError> {
    let _ = spec;
    todo!()
}

/// Starts another program in a running container's namespaces.
///
/// # Errors
/// [`SpawnError`], also when the container has ended.
pub async fn exec_in(container: &Child, exec: Exec) -> Result<Child, SpawnError> {
    let _ = (container, exec);
    todo!()
}

impl Child {
    /// Process id of the container's first process, as the inner process sees it.
    pub fn pid(&self) -> u32 {
        todo!()
    }

    /// Waits until the program has ended (and with it everything it started); any number of callers, any
    /// number of times.
    pub async fn wait(&self) -> Exit {
        todo!()
    }

    /// How it ended, if it has.
    pub fn try_wait(&self) -> Option<Exit> {
        todo!()
    }

    /// Sends `signal` (a number as in `libc`) to the program; SIGKILL ends every process of the container.
    ///
    /// # Errors
    /// `NotFound` when it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let _ = signal;
        todo!()
    }
}
