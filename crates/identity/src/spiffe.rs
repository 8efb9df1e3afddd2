//! SPIFFE ids and trust domains, parsed as strictly as the SPIFFE ID specification asks.
//!
//! Source: SPIFFE-ID.md sections 2.1 to 2.4 (scheme and trust domain are compared without
//! regard to case, paths exactly; no query, fragment, port, user information, empty or
//! relative segment; at most 2048 bytes).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest accepted id in bytes. Source: SPIFFE-ID.md section 2.3.
pub const MAX_ID_BYTES: usize = 2048;
/// Longest accepted trust domain name in bytes. Source: SPIFFE-ID.md section 2.1.
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

const SCHEME: &str = "spiffe://";

/// Why a text is no SPIFFE id or trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// The text does not start with `spiffe://`.
    #[error("{id:?} is no SPIFFE id: it must start with spiffe://")]
    Scheme {
        /// The text as given.
        id: String,
    },
    /// The trust domain is empty, too long or has a character outside `a-z 0-9 . - _`.
    #[error("{name:?} is no trust domain: use 1 to 255 of a-z, 0-9, '.', '-', '_'")]
    TrustDomain {
        /// The name as given.
        name: String,
    },
    /// A path segment is empty, `.`, `..` or has a character outside `a-z A-Z 0-9 . - _`.
    #[error("path segment {segment:?} of {id:?} is not allowed in a SPIFFE id")]
    Segment {
        /// The text as given.
        id: String,
        /// The segment at fault.
        segment: String,
    },
    /// The id has more than [`MAX_ID_BYTES`] bytes.
    #[error("SPIFFE id of {length} bytes is longer than 2048")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// Name of a trust domain, such as `cluster.local`: lower case, no scheme.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Parses a trust domain name; upper-case letters are lowered.
    ///
    /// # Errors
    /// [`SpiffeIdError::TrustDomain`] for an empty or too long name or a foreign character.
    pub fn new(name: &str) -> Result<Self, SpiffeIdError> {
        let lowered = name.to_ascii_lowercase();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if lowered.is_empty()
            || lowered.len() > MAX_TRUST_DOMAIN_BYTES
            || !lowered.bytes().all(allowed)
        {
            return Err(SpiffeIdError::TrustDomain {
                name: name.to_owned(),
            });
        }
        Ok(Self(lowered.into()))
    }

    /// The name, for example `cluster.local`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    /// `cluster.local`, as in Istio.
    fn default() -> Self {
        Self("cluster.local".into())
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        Self::new(text)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A SPIFFE id: `spiffe://<trust domain>/<path>`, normally
/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Arc<str>,
    path_start: usize,
}

impl SpiffeId {
    /// The id of a Kubernetes service account.
    ///
    /// # Errors
    /// [`SpiffeIdError::Segment`] if a name is empty or has a character that a SPIFFE path forbids.
    pub fn service_account(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, SpiffeIdError> {
        for name in [namespace, service_account] {
            check_segment(name, name)?;
        }
        Self::from_str(&format!(
            "{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}"
        ))
    }

    /// The whole id as text, `spiffe://` included.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The id without its scheme, `cluster.local/ns/default/sa/reviews`: the form in which
    /// Istio's policies write principals.
    pub fn principal(&self) -> &str {
        &self.text[SCHEME.len()..]
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.trust_domain_str().into())
    }

    /// The trust domain's name, without an allocation.
    pub fn trust_domain_str(&self) -> &str {
        &self.text[SCHEME.len()..self.path_start]
    }

    /// The path with its leading slash; empty for the id of a trust domain itself.
    pub fn path(&self) -> &str {
        &self.text[self.path_start..]
    }

    /// The namespace, if the path has the form `/ns/NS/sa/SA`.
    pub fn namespace(&self) -> Option<&str> {
        self.kubernetes().map(|(namespace, _)| namespace)
    }

    /// The service account, if the path has the form `/ns/NS/sa/SA`.
    pub fn service_account_name(&self) -> Option<&str> {
        self.kubernetes().map(|(_, account)| account)
    }

    fn kubernetes(&self) -> Option<(&str, &str)> {
        let (namespace, account) = self.path().strip_prefix("/ns/")?.split_once("/sa/")?;
        let single = |name: &str| !name.contains('/');
        (single(namespace) && single(account)).then_some((namespace, account))
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > MAX_ID_BYTES {
            return Err(SpiffeIdError::TooLong { length: text.len() });
        }
        let has_scheme = text
            .get(..SCHEME.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(SCHEME));
        if !has_scheme {
            return Err(SpiffeIdError::Scheme {
                id: text.to_owned(),
            });
        }
        let rest = &text[SCHEME.len()..];
        let (domain, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let domain = TrustDomain::new(domain)?;
        if let Some(segments) = path.strip_prefix('/') {
            for segment in segments.split('/') {
                check_segment(text, segment)?;
            }
        }
        Ok(Self {
            text: format!("{SCHEME}{domain}{path}").into(),
            path_start: SCHEME.len() + domain.as_str().len(),
        })
    }
}

fn check_segment(id: &str, segment: &str) -> Result<(), SpiffeIdError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if segment.is_empty() || segment == "." || segment == ".." || !segment.bytes().all(allowed) {
        return Err(SpiffeIdError::Segment {
            id: id.to_owned(),
            segment: segment.to_owned(),
        });
    }
    Ok(())
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A set of SPIFFE ids: sorted, without duplicates, cheap to clone, compare and hash, so
/// that it can be part of a cache key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeIdSet(Arc<[SpiffeId]>);

impl SpiffeIdSet {
    /// The set without an id.
    pub fn empty() -> Self {
        Self(Arc::from([]))
    }

    /// Whether `id` is one of the set. O(log n).
    pub fn contains(&self, id: &SpiffeId) -> bool {
        self.0.binary_search(id).is_ok()
    }

    /// Whether the set has no id.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The ids in order.
    pub fn iter(&self) -> impl Iterator<Item = &SpiffeId> {
        self.0.iter()
    }
}

impl Default for SpiffeIdSet {
    fn default() -> Self {
        Self::empty()
    }
}

impl FromIterator<SpiffeId> for SpiffeIdSet {
    fn from_iter<I: IntoIterator<Item = SpiffeId>>(ids: I) -> Self {
        let mut ids: Vec<SpiffeId> = ids.into_iter().collect();
        ids.sort();
        ids.dedup();
        Self(ids.into())
    }
}

impl fmt::Display for SpiffeIdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (position, id) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            f.write_str(id.as_str())?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for SpiffeIdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
