//! String matchers.

/// A compiled string matcher.
#[derive(Clone, Debug)]
pub struct StringMatcher {}

impl StringMatcher {
    /// Whether `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let _ = text;
        todo!()
    }

    /// The text, if this is a case-sensitive exact match.
    pub fn as_exact(&self) -> Option<&str> {
        todo!()
    }
}
