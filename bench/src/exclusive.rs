//! One run at a time on a machine: two would measure each other.

use std::fs::{File, OpenOptions};

use nix::fcntl::{Flock, FlockArg};

use crate::run::say;

const NAME: &str = "mesh-bench.lock";

/// Waits until no other run measures; the result keeps others waiting. `None` if the lock cannot be had,
/// such as when the file is another user's: then we run anyway.
pub(crate) fn wait() -> Option<Flock<File>> {
    let path = std::env::temp_dir().join(NAME);
    let open = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = open.ok()?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Some(lock),
        Err((file, _)) => {
            say(
                "another run measures on this machine: waiting for its end (--together does not wait)",
            );
            Flock::lock(file, FlockArg::LockExclusive).ok()
        }
    }
}
