//! Temporary directories of a run. A run that was killed leaves them; the next one removes them.

use std::path::Path;

use anyhow::Context;
use tempfile::TempDir;

const PREFIX: &str = "mesh-bench-";

/// Makes a directory that is removed when the result is dropped.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir()
        .context("make a temporary directory")
}

/// Removes what runs left that have ended.
pub(crate) fn sweep() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(owner);
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // It may be another user's; then it is theirs to remove.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made a directory of that name.
fn owner(name: &str) -> Option<&str> {
    let (owner, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    owner.parse::<u32>().ok().map(|_| owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_have_an_owner() {
        assert_eq!(owner("mesh-bench-123-abc"), Some("123"));
        assert_eq!(owner("mesh-bench-abc"), None);
        assert_eq!(owner("mesh-bench-x-abc"), None);
        assert_eq!(owner("other-123-abc"), None);
    }

    #[test]
    fn a_living_run_keeps_its_directory() {
        let directory = make().unwrap();
        sweep();
        assert!(directory.path().exists());
    }
}
