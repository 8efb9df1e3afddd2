//! Domains of virtual hosts, indexed.

use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::error::Refused;
use crate::names::intern;

/// Finds the virtual host of a host name. All texts lowercase.
#[derive(Debug, Default)]
pub(crate) struct HostIndex {
    exact: HashMap<Arc<str>, usize>,
    /// `*suffix`
    suffixes: Wildcards,
    /// `prefix*`
    prefixes: Wildcards,
    any: Option<usize>,
}

/// Wildcards by their fixed part; the longest is looked for first, one hash per length.
#[derive(Debug, Default)]
struct Wildcards {
    by_text: HashMap<Box<str>, usize>,
    /// Descending, distinct.
    lengths: Vec<usize>,
}

impl HostIndex {
    /// Adds a domain of virtual host number `host`.
    ///
    /// # Errors
    /// [`Refused`] for an empty domain, one that another host has, or a wildcard in the middle.
    pub(crate) fn add(&mut self, domain: &str, host: usize) -> Result<(), Refused> {
        let domain = domain.to_ascii_lowercase();
        let before = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            _ if domain.is_empty() => return Err(Refused::new("a domain must not be empty")),
            _ if domain == "*" => self.any.replace(host),
            (Some(suffix), _) if !suffix.contains('*') => self.suffixes.add(suffix, host),
            (_, Some(prefix)) if !prefix.contains('*') => self.prefixes.add(prefix, host),
            (None, None) if !domain.contains('*') => self.exact.insert(intern(&domain), host),
            _ => {
                return Err(Refused::new(format!(
                    "domain {domain:?}: `*` may stand only first or last"
                )));
            }
        };
        match before {
            Some(_) => Err(Refused::new(format!("domain {domain:?} is there twice"))),
            None => Ok(()),
        }
    }

    pub(crate) fn find(&self, host: &str) -> Option<usize> {
        if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.find_lowercase(host);
        }
        let lower: SmallVec<[u8; 256]> =
            host.bytes().map(|byte| byte.to_ascii_lowercase()).collect();
        std::str::from_utf8(&lower)
            .ok()
            .and_then(|host| self.find_lowercase(host))
    }

    fn find_lowercase(&self, host: &str) -> Option<usize> {
        let suffix = |length: usize| host.get(host.len() - length..);
        let prefix = |length: usize| host.get(..length);
        self.exact
            .get(host)
            .copied()
            .or_else(|| self.suffixes.find(host.len(), suffix))
            .or_else(|| self.prefixes.find(host.len(), prefix))
            .or(self.any)
    }
}

impl Wildcards {
    fn add(&mut self, text: &str, host: usize) -> Option<usize> {
        if let Err(at) = self
            .lengths
            .binary_search_by(|length| text.len().cmp(length))
        {
            self.lengths.insert(at, text.len());
        }
        self.by_text.insert(text.into(), host)
    }

    /// The wildcard itself stands for at least one character.
    fn find<'h>(
        &self,
        host_length: usize,
        part: impl Fn(usize) -> Option<&'h str>,
    ) -> Option<usize> {
        self.lengths
            .iter()
            .filter(|length| **length < host_length)
            .find_map(|length| self.by_text.get(part(*length)?).copied())
    }
}
