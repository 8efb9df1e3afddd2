//! Which workloads an object applies to.

use std::collections::BTreeMap;

/// Labels of a workload, or the labels a selector asks for.
pub type Labels = BTreeMap<String, String>;

/// Equality labels that a workload must all have. Empty selects every workload (of the
/// namespaces the object applies to).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector(Labels);

impl LabelSelector {
    /// A selector that asks for `labels`.
    pub fn new(labels: Labels) -> Self {
        LabelSelector(labels)
    }

    /// Whether a workload with `labels` is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels asked for.
    pub fn labels(&self) -> &Labels {
        &self.0
    }
}
