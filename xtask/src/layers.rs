//! The layer check: which of our crates may depend on which (docs/architecture.md).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// Each crate and the crates of ours that it may use. Those that may use anything are absent.
const ALLOWED: &[(&str, &[&str])] = &[
    ("mesh-config", &[]),
    ("mesh-identity", &[]),
    ("mesh-sys", &[]),
    ("mesh-xds", &[]),
    ("mesh-route", &["mesh-identity", "mesh-xds"]),
    ("mesh-telemetry", &[]),
    ("mesh-helm", &[]),
    ("mesh-kubernetes", &[]),
    (
        "mesh-citadel",
        &[
            "mesh-identity",
            "mesh-kubernetes",
            "mesh-xds",
            "mesh-telemetry",
        ],
    ),
    (
        "mesh-injector",
        &["mesh-config", "mesh-kubernetes", "mesh-telemetry"],
    ),
    (
        "mesh-pilot",
        &[
            "mesh-config",
            "mesh-identity",
            "mesh-kubernetes",
            "mesh-xds",
            "mesh-telemetry",
        ],
    ),
    (
        "mesh-proxy",
        &[
            "mesh-identity",
            "mesh-sys",
            "mesh-xds",
            "mesh-route",
            "mesh-telemetry",
        ],
    ),
    (
        "meshd",
        &[
            "mesh-citadel",
            "mesh-injector",
            "mesh-kubernetes",
            "mesh-pilot",
            "mesh-sys",
            "mesh-telemetry",
        ],
    ),
    (
        "mesh-local",
        &[
            "mesh-config",
            "mesh-identity",
            "mesh-injector",
            "mesh-sys",
            "mesh-telemetry",
        ],
    ),
    (
        "mesh-ctl",
        &[
            "mesh-config",
            "mesh-helm",
            "mesh-identity",
            "mesh-injector",
            "mesh-kubernetes",
            "mesh-local",
            "mesh-pilot",
            "mesh-route",
            "mesh-xds",
        ],
    ),
    ("bookinfo", &[]),
];

/// Arrows that only tests may have.
const ALLOWED_IN_TESTS: &[(&str, &str)] = &[
    ("mesh-helm", "mesh-kubernetes"),
    ("mesh-pilot", "mesh-route"),
];

/// Crates at the top, which may use anything.
const UNRESTRICTED: &[&str] = &["mesh-bench", "mesh-e2e", "xtask"];

/// Checks the workspace at `root`.
///
/// # Errors
/// Names every arrow that the table does not allow, and every crate it does not know.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let forbidden = violations(&metadata);
    if !forbidden.is_empty() {
        bail!(
            "{}\nthe layers stand in docs/architecture.md and xtask/src/layers.rs",
            forbidden.join("\n")
        );
    }
    Ok(())
}

fn violations(metadata: &Value) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut found = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
    {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(may_use) = allowed.get(name) else {
            if !UNRESTRICTED.contains(&name) {
                found.push(format!("{name} stands in no layer: add it to the table"));
            }
            continue;
        };
        for dependency in package["dependencies"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            let target = dependency["name"].as_str().unwrap_or_default();
            let ours = dependency["path"].is_string();
            let in_tests =
                dependency["kind"] == "dev" && ALLOWED_IN_TESTS.contains(&(name, target));
            if ours && !in_tests && !may_use.contains(&target) {
                found.push(format!("{name} may not depend on {target}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, target: &str, kind: Value) -> Value {
        json!({"packages": [{"name": name, "dependencies": [{"name": target, "path": "/x", "kind": kind}]}]})
    }

    #[test]
    fn workspace_keeps_its_layers() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        check(root).unwrap();
    }

    #[test]
    fn an_upward_arrow_is_found() {
        let found = violations(&package("mesh-route", "mesh-pilot", Value::Null));
        assert_eq!(found, ["mesh-route may not depend on mesh-pilot"]);
    }

    #[test]
    fn tests_of_pilot_may_ask_the_engine_but_pilot_may_not() {
        assert!(violations(&package("mesh-pilot", "mesh-route", json!("dev"))).is_empty());
        assert_eq!(
            violations(&package("mesh-pilot", "mesh-route", Value::Null)).len(),
            1
        );
    }

    #[test]
    fn an_unknown_crate_is_found() {
        assert_eq!(
            violations(&package("mesh-new", "mesh-xds", Value::Null)).len(),
            1
        );
    }
}
