//! Handing the root certificate out to the platform.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

/// Writes `pem` to `path` in one step, so that no reader sees half of it.
pub(crate) fn publish(path: &Path, pem: &str) -> anyhow::Result<()> {
    let temporary = path.with_extension("pem.new");
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| {
        format!(
            "write the root certificate to {} (is the disk full?)",
            path.display()
        )
    })
}
