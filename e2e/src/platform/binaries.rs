//! The programs under test: built once, and copied to where every user may read them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, ensure};

const PACKAGES: [&str; 5] = ["mesh-ctl", "meshd", "mesh-proxy", "bookinfo", "mesh-e2e"];
const PROGRAMS: [&str; 5] = ["meshctl", "meshd", "meshproxy", "bookinfo", "meshecho"];

/// The workspace's root: where cargo runs the test from, else where it was built.
pub(crate) fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    package.parent().map(Path::to_owned).unwrap_or_default()
}

/// Builds the programs, in the profile that this test was built in, and copies them into
/// `directory/bin`, where every user may read them and no later build replaces them. Returns
/// that directory.
pub(crate) fn prepare(directory: &Path) -> anyhow::Result<PathBuf> {
    let built = build()?;
    let bin = directory.join("bin");
    std::fs::create_dir(&bin)?;
    for program in PROGRAMS {
        std::fs::copy(built.join(program), bin.join(program))
            .with_context(|| format!("copy {program}"))?;
    }
    Ok(bin)
}

fn build() -> anyhow::Result<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built);
    }
    // target/PROFILE/deps/mesh-HASH
    let this = std::env::current_exe()?;
    let directory = this
        .parent()
        .and_then(Path::parent)
        .context("not in a target directory")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--bins"])
        .current_dir(workspace());
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    if directory.ends_with("release") {
        cargo.arg("--release");
    }
    ensure!(
        cargo.status().context("run cargo")?.success(),
        "the programs under test don't build"
    );
    Ok(BUILT.get_or_init(|| directory.to_owned()))
}

/// Lets every user read what is in `directory`.
pub(crate) fn open_to_all(directory: &Path) -> anyhow::Result<()> {
    let mut permissions = std::fs::metadata(directory)?.permissions();
    permissions.set_mode(0o755);
    Ok(std::fs::set_permissions(directory, permissions)?)
}

/// The manifests to start with, copied out of the checkout (which the user may not be able to
/// read): Bookinfo as `samples/bookinfo` has it, and the test application's image.
pub(crate) fn inputs(directory: &Path, workspace: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let copies = [("samples/bookinfo", "bookinfo"), ("e2e/manifests", "echo")].map(|(from, to)| {
        let to = directory.join(to);
        copy_yaml(&workspace.join(from), &to).map(|()| to)
    });
    let [bookinfo, echo] = copies;
    Ok([bookinfo?, echo?])
}

fn copy_yaml(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let path = entry?.path();
        if let (Some(name), true) = (
            path.file_name(),
            path.extension().is_some_and(|ext| ext == "yaml"),
        ) {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
