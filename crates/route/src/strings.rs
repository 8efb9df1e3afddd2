//! String matchers: exact, prefix, suffix, contains, regular expression.
//!
//! Patterns that are really a prefix, a suffix or a substring (`.*/ns/foo/.*`) are
//! compiled as such: an order of magnitude cheaper than the regex engine, and the
//! authorization index can read them.

use regex::bytes::Regex;

use crate::error::Refused;

/// A compiled string matcher.
#[derive(Clone, Debug)]
pub struct StringMatcher {
    kind: Kind,
    ignore_case: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Any,
    NonEmpty,
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
    Regex(Regex),
}

impl StringMatcher {
    /// Matches exactly `text`.
    pub fn exact(text: &str) -> Self {
        Self::plain(Kind::Exact(text.into()))
    }

    /// Matches what begins with `text`.
    pub fn prefix(text: &str) -> Self {
        Self::plain(Kind::Prefix(text.into()))
    }

    /// Matches what ends with `text`.
    pub fn suffix(text: &str) -> Self {
        Self::plain(Kind::Suffix(text.into()))
    }

    /// Matches what contains `text`.
    pub fn contains(text: &str) -> Self {
        Self::plain(Kind::Contains(text.into()))
    }

    /// Matches the whole of a text against a pattern (RE2 syntax, implicitly anchored).
    ///
    /// # Errors
    /// [`Refused`] with the position in the pattern, or if it compiles to more than 10 MB.
    pub fn regex(pattern: &str) -> Result<Self, Refused> {
        if let Some(kind) = simplified(pattern) {
            return Ok(Self::plain(kind));
        }
        let regex = Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|error| bad_pattern(pattern, &error))?;
        Ok(Self::plain(Kind::Regex(regex)))
    }

    fn plain(kind: Kind) -> Self {
        Self {
            kind,
            ignore_case: false,
        }
    }

    /// The same, ASCII case ignored (regular expressions keep theirs, as in Envoy).
    pub fn ignoring_case(mut self, ignore: IgnoreCase) -> Self {
        self.ignore_case = ignore == IgnoreCase::Yes;
        self
    }

    /// Whether `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.matches_bytes(text.as_bytes())
    }

    /// Whether `text` matches; header values need not be UTF-8.
    pub fn matches_bytes(&self, text: &[u8]) -> bool {
        match &self.kind {
            Kind::Any => true,
            Kind::NonEmpty => !text.is_empty(),
            Kind::Exact(want) => self.same(text, want.as_bytes()),
            Kind::Prefix(want) => text
                .get(..want.len())
                .is_some_and(|head| self.same(head, want.as_bytes())),
            Kind::Suffix(want) => {
                text.len() >= want.len()
                    && self.same(&text[text.len() - want.len()..], want.as_bytes())
            }
            Kind::Contains(want) => {
                want.is_empty()
                    || text
                        .windows(want.len())
                        .any(|window| self.same(window, want.as_bytes()))
            }
            Kind::Regex(regex) => regex.is_match(text),
        }
    }

    fn same(&self, left: &[u8], right: &[u8]) -> bool {
        if self.ignore_case {
            left.eq_ignore_ascii_case(right)
        } else {
            left == right
        }
    }

    /// The text, if this is a case-sensitive exact match.
    pub fn as_exact(&self) -> Option<&str> {
        match &self.kind {
            Kind::Exact(text) if !self.ignore_case => Some(text),
            _ => None,
        }
    }

    /// The text, if this is a case-sensitive substring match.
    pub(crate) fn as_contains(&self) -> Option<&str> {
        match &self.kind {
            Kind::Contains(text) if !self.ignore_case => Some(text),
            _ => None,
        }
    }
}

/// Whether letters' case counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreCase {
    /// ASCII case is ignored.
    Yes,
    /// Case counts.
    No,
}

impl From<bool> for IgnoreCase {
    fn from(ignore: bool) -> Self {
        if ignore { Self::Yes } else { Self::No }
    }
}

/// The refusal of a pattern; the engine's multi-line message is put on one line.
pub(crate) fn bad_pattern(pattern: &str, error: &regex::Error) -> Refused {
    let reason = error.to_string();
    let last = reason.lines().last().unwrap_or_default().trim();
    Refused::field(
        "regex",
        format!("{pattern:?} is not a valid pattern: {last}"),
    )
}

/// The plain matcher that a pattern amounts to. `.` doesn't match a newline, but neither a
/// path, a header value nor an identity can hold one.
fn simplified(pattern: &str) -> Option<Kind> {
    match pattern {
        ".*" => return Some(Kind::Any),
        ".+" => return Some(Kind::NonEmpty),
        _ => {}
    }
    let (rest, open_start) = strip(pattern.strip_prefix(".*"), pattern);
    let (rest, open_end) = strip(rest.strip_suffix(".*"), rest);
    let text = literal(rest)?;
    Some(match (open_start, open_end) {
        (false, false) => Kind::Exact(text),
        (false, true) => Kind::Prefix(text),
        (true, false) => Kind::Suffix(text),
        (true, true) => Kind::Contains(text),
    })
}

fn strip<'a>(stripped: Option<&'a str>, whole: &'a str) -> (&'a str, bool) {
    stripped.map_or((whole, false), |rest| (rest, true))
}

/// The text a pattern without any operator stands for (`\.` and `\-` unescaped).
fn literal(pattern: &str) -> Option<Box<str>> {
    let mut text = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                escaped @ ('.' | '-' | '/' | '*' | '+' | '?' | '(' | ')' | '[' | ']') => {
                    text.push(escaped)
                }
                _ => return None,
            },
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => {
                return None;
            }
            plain => text.push(plain),
        }
    }
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(pattern: &str) -> StringMatcher {
        StringMatcher::regex(pattern).unwrap()
    }

    #[test]
    fn regex_matches_the_whole_text() {
        assert!(regex("/a/[0-9]+").matches("/a/12"));
        assert!(!regex("/a/[0-9]+").matches("/a/12/b"));
        assert!(!regex("a|b").matches("ab"));
    }

    #[test]
    fn simple_patterns_become_plain_matchers() {
        assert_eq!(regex(".*/ns/foo/.*").as_contains(), Some("/ns/foo/"));
        assert_eq!(regex(r"a\.b").as_exact(), Some("a.b"));
        assert!(regex("/v1/.*").matches("/v1/x") && !regex("/v1/.*").matches("/v2/x"));
        assert!(regex(".+").matches("x") && !regex(".+").matches(""));
    }

    #[test]
    fn case_is_ignored_on_request() {
        let matcher = StringMatcher::contains("Ab").ignoring_case(IgnoreCase::Yes);
        assert!(matcher.matches("xaBx") && !matcher.matches("xa"));
        assert!(!StringMatcher::exact("a").matches("A"));
    }

    #[test]
    fn bad_pattern_is_refused_with_its_text() {
        let refused = StringMatcher::regex("a(").unwrap_err();
        assert!(
            refused
                .to_string()
                .starts_with("regex: \"a(\" is not a valid pattern"),
            "{refused}"
        );
    }
}
