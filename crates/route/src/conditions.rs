//! Conditions on headers and query parameters, shared by routes, faults and authorization.

use http::HeaderName;
use smallvec::SmallVec;

use crate::strings::StringMatcher;
use crate::view::RequestView;

/// A compiled header condition.
#[derive(Clone, Debug)]
pub(crate) struct HeaderCondition {
    pub(crate) name: HeaderKey,
    pub(crate) test: HeaderTest,
    pub(crate) invert: bool,
    pub(crate) missing_is_empty: bool,
}

/// A header by name, resolved at compile time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderKey {
    Path,
    Method,
    Authority,
    Scheme,
    Field(HeaderName),
}

/// What is asked of a header's value.
#[derive(Clone, Debug)]
pub(crate) enum HeaderTest {
    Present(bool),
    Text(StringMatcher),
    /// From (included) and to (not included).
    Range(i64, i64),
}

impl HeaderCondition {
    /// Whether a request meets the condition. A missing header fails every test but the one for
    /// presence, inverted or not, unless it is to be treated as empty.
    pub(crate) fn holds(&self, request: &RequestView<'_>) -> bool {
        if let HeaderTest::Present(wanted) = self.test {
            let present = self.missing_is_empty || self.name.is_present(request);
            return (present == wanted) != self.invert;
        }
        match self
            .name
            .with_value(request, |value| self.test.passes(value))
        {
            Some(passed) => passed != self.invert,
            None if self.missing_is_empty => self.test.passes(b"") != self.invert,
            None => false,
        }
    }
}

impl HeaderTest {
    fn passes(&self, value: &[u8]) -> bool {
        match self {
            Self::Present(wanted) => *wanted,
            Self::Text(matcher) => matcher.matches_bytes(value),
            Self::Range(from, to) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*from..*to).contains(&number)),
        }
    }
}

impl HeaderKey {
    fn is_present(&self, request: &RequestView<'_>) -> bool {
        match self {
            Self::Field(name) => request.headers.contains_key(name),
            pseudo => !pseudo.pseudo_value(request).is_empty(),
        }
    }

    /// Calls `test` with the value; several values are joined by commas, as Envoy does.
    pub(crate) fn with_value<T>(
        &self,
        request: &RequestView<'_>,
        test: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let Self::Field(name) = self else {
            let value = self.pseudo_value(request);
            return (!value.is_empty()).then(|| test(value.as_bytes()));
        };
        let mut values = request.headers.get_all(name).iter();
        let first = values.next()?;
        let Some(second) = values.next() else {
            return Some(test(first.as_bytes()));
        };
        let mut joined: SmallVec<[u8; 256]> = SmallVec::from_slice(first.as_bytes());
        for value in std::iter::once(second).chain(values) {
            joined.push(b',');
            joined.extend_from_slice(value.as_bytes());
        }
        Some(test(&joined))
    }

    fn pseudo_value<'a>(&self, request: &RequestView<'a>) -> &'a str {
        match self {
            Self::Path => request.path,
            Self::Method => request.method,
            Self::Authority => request.authority,
            Self::Scheme => request.scheme,
            Self::Field(_) => "",
        }
    }
}

/// A compiled condition on a query parameter.
#[derive(Clone, Debug)]
pub(crate) struct QueryCondition {
    pub(crate) name: Box<str>,
    /// `None`: present is enough.
    pub(crate) value: Option<StringMatcher>,
    /// For presence: wanted present or absent.
    pub(crate) present: bool,
}

impl QueryCondition {
    pub(crate) fn holds(&self, request: &RequestView<'_>) -> bool {
        let found = query_value(request.query(), &self.name);
        match (&self.value, found) {
            (Some(matcher), Some(value)) => matcher.matches(value),
            (Some(_), None) => false,
            (None, found) => found.is_some() == self.present,
        }
    }
}

/// First value of a parameter, undecoded, as Envoy compares it.
pub(crate) fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// A uniform draw against a share in millionths.
pub(crate) fn drawn(random: u64, millionths: u32) -> bool {
    random % 1_000_000 < u64::from(millionths)
}

/// An independent number from one random number (splitmix64's finalizer over a numbered step).
pub(crate) fn derive(random: u64, step: u64) -> u64 {
    let mut mixed = random.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
