//! Text matching: exact, prefix, regular expression.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A regular expression in RE2 syntax that is known to compile. Matching is on the whole text
/// (Envoy's `safe_regex` full match).
#[derive(Clone)]
pub struct Pattern {
    text: String,
    compiled: regex::Regex,
}

impl Pattern {
    /// Checks and keeps a pattern.
    ///
    /// # Errors
    /// The syntax error, with its position, in the words of the `regex` crate (as RE2: no look
    /// around, no back references, linear time).
    pub fn new(text: impl Into<String>) -> Result<Self, regex::Error> {
        let text = text.into();
        // Compiled once by itself, so that `a)(b` is not made valid by the anchoring group.
        regex::Regex::new(&text)?;
        let compiled = regex::Regex::new(&format!("^(?:{text})$"))?;
        Ok(Pattern { text, compiled })
    }

    /// The pattern as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// How a text is compared. Case matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// The whole text is this.
    Exact(String),
    /// The text starts with this.
    Prefix(String),
    /// The whole text matches this.
    Regex(Pattern),
}

impl StringMatch {
    /// Whether `text` satisfies the match.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            StringMatch::Exact(exact) => text == exact,
            StringMatch::Prefix(prefix) => text.starts_with(prefix.as_str()),
            StringMatch::Regex(pattern) => pattern.matches(text),
        }
    }
}

/// What is asked of a header or query parameter that may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ValueMatch {
    /// It is there, with any value (written `{}` in Istio's API).
    Present,
    /// It is there and its value matches.
    Value(StringMatch),
}
