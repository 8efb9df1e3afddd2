//! Why a resource was refused: field path and reason, the text of a NACK.

use std::fmt;

/// A resource (or a part of it) that the engine can't run as written.
///
/// Built innermost first; each caller on the way out adds its path segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Path segments, innermost first.
    path: Vec<String>,
    reason: String,
}

impl Refused {
    /// A refusal of the whole value at hand.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            reason: reason.into(),
        }
    }

    /// A refusal of `field` of the value at hand.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: vec![field.into()],
            reason: reason.into(),
        }
    }

    /// `field` is part of the API but this engine doesn't run it.
    pub fn unsupported(field: impl Into<String>) -> Self {
        Self::field(field, "is not supported by this proxy")
    }

    /// A required field is absent.
    pub fn missing(field: impl Into<String>) -> Self {
        Self::field(field, "is required")
    }

    /// The dotted path from the resource's root, empty for the resource itself.
    pub fn path(&self) -> String {
        self.path
            .iter()
            .rev()
            .cloned()
            .collect::<Vec<_>>()
            .join(".")
    }

    /// Why, without the path.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.path(), self.reason)
    }
}

impl std::error::Error for Refused {}

/// Adds the path segment of the caller to a refusal.
pub(crate) trait At {
    /// `segment` as in `filter_chains[2]` or `route`.
    fn at(self, segment: impl FnOnce() -> String) -> Self;
}

impl<T> At for Result<T, Refused> {
    fn at(self, segment: impl FnOnce() -> String) -> Self {
        self.map_err(|mut refused| {
            refused.path.push(segment());
            refused
        })
    }
}
