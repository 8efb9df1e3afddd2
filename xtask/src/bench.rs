//! `cargo bench-mesh`: builds the release binaries and measures the sidecar pair beside its peers.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::demo;

/// Builds, then becomes `mesh-bench ARGS`.
///
/// # Errors
/// When the build fails or mesh-bench can't be started; otherwise this does not return.
pub(crate) fn run(root: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    // Together with what the demo builds: alone, features of shared crates would differ, and each
    // of the two commands would build again what the other has built.
    let packages = [&demo::PACKAGES[..], &["mesh-bench"]].concat();
    demo::build(root, &packages)?;
    let program = demo::release(root).join("mesh-bench");
    let failed = Command::new(&program).args(arguments).exec();
    Err(failed).with_context(|| format!("start {}", program.display()))
}
