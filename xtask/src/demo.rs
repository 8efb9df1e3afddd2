//! `cargo demo`: builds the release binaries and starts the mesh with Bookinfo in it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The packages whose binaries the local platform runs.
pub(crate) const PACKAGES: [&str; 4] = ["mesh-ctl", "meshd", "mesh-proxy", "bookinfo"];

/// Builds, then becomes `meshctl local up samples/bookinfo ARGS`.
///
/// # Errors
/// When the build fails or meshctl can't be started; otherwise this does not return.
pub(crate) fn run(root: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    build(root, &PACKAGES)?;
    let meshctl = release(root).join("meshctl");
    let failed = Command::new(&meshctl)
        .args(["local", "up"])
        .arg(root.join("samples/bookinfo"))
        .args(arguments)
        .exec();
    Err(failed).with_context(|| format!("start {}", meshctl.display()))
}

/// Builds the release binaries of `packages`.
///
/// # Errors
/// When that fails.
pub(crate) fn build(root: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .args(["build", "--release", "--locked"])
        .current_dir(root);
    for package in packages {
        build.args(["--package", package]);
    }
    let status = build.status().context("run cargo build")?;
    ensure!(status.success(), "the build failed: see above");
    Ok(())
}

/// The directory of release binaries.
pub(crate) fn release(root: &Path) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    target.join("release")
}
