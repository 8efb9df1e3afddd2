//! Host names, host patterns, their matching and their order of specificity.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A concrete host: a fully qualified name, a short service name (`reviews`), or an IP address.
/// Lower case, never empty, never a wildcard.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(String);

/// Why a text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No text at all.
    #[error("a host must not be empty")]
    Empty,
    /// A `*` where a concrete host is needed.
    #[error("{0:?} has a wildcard, but a concrete host is needed here")]
    Wildcard(String),
    /// A `*` anywhere but alone or as the whole first label.
    #[error(
        "{0:?} has a wildcard that is not the whole first label (write \"*\" or \"*.example.com\")"
    )]
    PartialWildcard(String),
    /// Not a DNS name and not an IP address.
    #[error("{host:?} is not a DNS name: {reason}")]
    Syntax {
        /// The text.
        host: String,
        /// Which rule of RFC 1123 it breaks.
        reason: &'static str,
    },
}

impl Host {
    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a short name: one label and not an IP address.
    pub fn is_short(&self) -> bool {
        !self.0.contains('.') && self.0.parse::<IpAddr>().is_err()
    }

    /// The fully qualified form: a name without a dot gets `.<namespace>.svc.<domain>`.
    ///
    /// Source: Istio resolves short names relative to the namespace of the rule, not of the service.
    pub fn qualify(&self, namespace: &str, domain: &str) -> Host {
        if self.is_short() {
            Host(format!("{}.{namespace}.svc.{domain}", self.0))
        } else {
            self.clone()
        }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.contains('*') {
            return Err(HostError::Wildcard(text.to_owned()));
        }
        check_name(text)?;
        Ok(Host(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of hosts: everything, everything below a name, or one host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: every host.
    Any,
    /// `*.example.com`: every host that ends in `.example.com`; holds `.example.com`, lower case.
    Suffix(String),
    /// One host.
    Exact(Host),
}

impl HostPattern {
    /// Whether the concrete host `host` (any case, no port) is in the set.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Any => true,
            HostPattern::Suffix(suffix) => {
                host.len() > suffix.len()
                    && host.as_bytes()[host.len() - suffix.len()..]
                        .eq_ignore_ascii_case(suffix.as_bytes())
            }
            HostPattern::Exact(exact) => exact.as_str().eq_ignore_ascii_case(host),
        }
    }

    /// Whether every host of `other` is in this set.
    pub fn covers(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (HostPattern::Any, _) => true,
            (_, HostPattern::Any) => false,
            (HostPattern::Suffix(a), HostPattern::Suffix(b)) => b.ends_with(a.as_str()),
            (_, HostPattern::Exact(host)) => self.matches(host.as_str()),
            (HostPattern::Exact(_), HostPattern::Suffix(_)) => false,
        }
    }

    /// Whether some host is in both sets.
    pub fn overlaps(&self, other: &HostPattern) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The hosts in both sets, as a pattern; `None` if there are none. Two patterns either nest
    /// or are disjoint, so the answer is always one of the two.
    pub fn intersect<'a>(&'a self, other: &'a HostPattern) -> Option<&'a HostPattern> {
        if self.covers(other) {
            Some(other)
        } else if other.covers(self) {
            Some(self)
        } else {
            None
        }
    }

    /// A key that sorts the most specific pattern first: exact hosts, then suffixes from the
    /// longest to the shortest, then `*`; equals are broken by text.
    ///
    /// Source: Istio's and Envoy's virtual host order.
    pub fn specificity(&self) -> (u8, std::cmp::Reverse<usize>, &str) {
        use std::cmp::Reverse;
        match self {
            HostPattern::Exact(host) => (0, Reverse(host.as_str().len()), host.as_str()),
            HostPattern::Suffix(suffix) => (1, Reverse(suffix.len()), suffix),
            HostPattern::Any => (2, Reverse(0), ""),
        }
    }

    /// The concrete host, if the set has just one.
    pub fn exact(&self) -> Option<&Host> {
        match self {
            HostPattern::Exact(host) => Some(host),
            _ => None,
        }
    }

    /// As [`Host::qualify`]; wildcards stay as they are.
    pub fn qualify(&self, namespace: &str, domain: &str) -> HostPattern {
        match self {
            HostPattern::Exact(host) => HostPattern::Exact(host.qualify(namespace, domain)),
            other => other.clone(),
        }
    }
}

impl Ord for HostPattern {
    /// Most specific first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.specificity().cmp(&other.specificity())
    }
}

impl PartialOrd for HostPattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Host> for HostPattern {
    fn from(host: Host) -> Self {
        HostPattern::Exact(host)
    }
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        match text.strip_prefix('*') {
            Some(suffix) if suffix.starts_with('.') && !suffix.contains('*') => {
                check_name(&suffix[1..])?;
                Ok(HostPattern::Suffix(suffix.to_ascii_lowercase()))
            }
            None if !text.contains('*') => text.parse().map(HostPattern::Exact),
            _ => Err(HostError::PartialWildcard(text.to_owned())),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Suffix(suffix) => write!(f, "*{suffix}"),
            HostPattern::Exact(host) => host.fmt(f),
        }
    }
}

/// The pattern that decides for `host`: the most specific of those that match.
pub fn most_specific<'a, T>(
    host: &str,
    candidates: impl IntoIterator<Item = (&'a HostPattern, T)>,
) -> Option<T> {
    candidates
        .into_iter()
        .filter(|(pattern, _)| pattern.matches(host))
        .min_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, value)| value)
}

fn check_name(text: &str) -> Result<(), HostError> {
    let syntax = |reason| {
        Err(HostError::Syntax {
            host: text.to_owned(),
            reason,
        })
    };
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if text.len() > 255 {
        return syntax("longer than 255 characters");
    }
    if text.ends_with('.') {
        return syntax("ends in a dot");
    }
    for label in text.split('.') {
        if label.is_empty() {
            return syntax("a label between two dots is empty");
        }
        if label.len() > 63 {
            return syntax("a label is longer than 63 characters");
        }
        // Underscores occur in real host names; Istio lets them through too.
        if !label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return syntax(
                "only letters, digits, '-' and '.' are allowed (no scheme, port or path)",
            );
        }
        if label.starts_with('-') || label.ends_with('-') {
            return syntax("a label starts or ends with '-'");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
