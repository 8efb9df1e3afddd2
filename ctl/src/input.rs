//! Files that a command line names.

use std::io::Read;
use std::path::Path;

use anyhow::Context;

/// The text of a file, or of standard input for `-`.
///
/// # Errors
/// When it can't be read or is no UTF-8; names it.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
