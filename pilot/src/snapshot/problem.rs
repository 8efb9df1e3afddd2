//! What is wrong with the configuration as a whole, object by object.

use std::fmt;

/// A contradiction that one object alone does not show, or an object that cannot be used.
///
/// The rest of the configuration goes on; what was ignored stands in `message`, what to do about it
/// in `remedy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Problem {
    /// Kind of the object, as in its manifest.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Path of the field, such as `spec.http[0].route[1].destination.subset`.
    pub field: String,
    /// What is wrong and what was done instead.
    pub message: String,
    /// What the user can change.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}/{}: {}: {} ({})",
            self.kind, self.namespace, self.name, self.field, self.message, self.remedy
        )
    }
}
