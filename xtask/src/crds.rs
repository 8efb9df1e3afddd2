//! The CustomResourceDefinitions of the base chart, generated from crates/config.

use std::path::Path;

use anyhow::{Context, ensure};

/// The generated file. The base chart includes it from a template, as Istio's does: what stands
/// in a chart's directory `crds` Helm installs once and never upgrades.
const FILE: &str = "manifests/charts/base/files/crd-all.gen.yaml";

/// Writes the file.
///
/// # Errors
/// If it can't be written.
pub(crate) fn write(root: &Path) -> anyhow::Result<()> {
    let path = root.join(FILE);
    std::fs::write(&path, mesh_config::schema::definitions_yaml())
        .with_context(|| format!("write {}", path.display()))
}

/// Compares the file with what would be written.
///
/// # Errors
/// If it is missing or differs.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let found = std::fs::read_to_string(root.join(FILE)).with_context(|| format!("read {FILE}"))?;
    ensure!(
        found == mesh_config::schema::definitions_yaml(),
        "{FILE} is stale: run `cargo xtask crds` and commit the result"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_of_the_base_chart_are_current() {
        check(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
    }
}
