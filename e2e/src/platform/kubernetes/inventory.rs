//! Every object of the cluster by name, to see that nothing is left behind.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};

use super::kubectl::{checked, get};

/// Kinds that come and go by themselves.
const PASSING: [&str; 4] = [
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "componentstatuses",
];

/// The names of all objects but pods and what the cluster itself makes in passing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inventory(BTreeSet<String>);

impl Inventory {
    pub(super) fn now() -> anyhow::Result<Self> {
        let kinds = checked(&["api-resources", "--verbs=list", "-o", "name"])?;
        let kinds: Vec<&str> = kinds
            .lines()
            .filter(|kind| !PASSING.contains(kind) && !kind.ends_with(".metrics.k8s.io"))
            .collect();
        let list = get(&["--all-namespaces", "--ignore-not-found", &kinds.join(",")])?;
        let items = list["items"].as_array().context("no list of objects")?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self(
            items
                .iter()
                .map(|object| {
                    let metadata = &object["metadata"];
                    format!(
                        "{} {}/{}",
                        text(&object["kind"]),
                        text(&metadata["namespace"]),
                        text(&metadata["name"])
                    )
                })
                .collect(),
        ))
    }

    /// # Errors
    /// With what is new in `after`, and what is missing.
    pub(super) fn assert_same(&self, after: &Self) -> anyhow::Result<()> {
        let new: Vec<&String> = after.0.difference(&self.0).collect();
        let gone: Vec<&String> = self.0.difference(&after.0).collect();
        ensure!(
            new.is_empty() && gone.is_empty(),
            "left behind: {new:?}; gone: {gone:?}"
        );
        Ok(())
    }
}
