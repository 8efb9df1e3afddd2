//! The names of `cluster.local` at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// All records, by lower-case names without the final dot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Zone {
    addresses: BTreeMap<String, Vec<Ipv4Addr>>,
    services: BTreeMap<String, Vec<Target>>,
    aliases: BTreeMap<String, String>,
    /// Every name and every ancestor of one: these exist, even without records of their own.
    existing: BTreeSet<String>,
}

/// What an SRV record points to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// Host name.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
}

impl Zone {
    /// Adds a name with addresses (none: the name exists, but has no address now).
    pub(crate) fn add_addresses(&mut self, name: &str, addresses: &[Ipv4Addr]) {
        self.exists(name);
        let all = self.addresses.entry(name.to_ascii_lowercase()).or_default();
        all.extend(addresses);
        all.sort();
        all.dedup();
    }

    /// Adds an SRV name.
    pub(crate) fn add_service(&mut self, name: &str, targets: Vec<Target>) {
        self.exists(name);
        self.services
            .entry(name.to_ascii_lowercase())
            .or_default()
            .extend(targets);
    }

    /// Adds another name for an external host (a Service of type ExternalName).
    pub(crate) fn add_alias(&mut self, name: &str, target: &str) {
        self.exists(name);
        self.aliases
            .insert(name.to_ascii_lowercase(), target.to_owned());
    }

    fn exists(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        let mut rest = name.as_str();
        self.existing.insert(rest.to_owned());
        while let Some((_, parent)) = rest.split_once('.') {
            self.existing.insert(parent.to_owned());
            rest = parent;
        }
    }

    /// The addresses of a name.
    pub(crate) fn addresses(&self, name: &str) -> &[Ipv4Addr] {
        self.addresses.get(name).map_or(&[], Vec::as_slice)
    }

    /// The targets of an SRV name.
    pub(crate) fn services(&self, name: &str) -> &[Target] {
        self.services.get(name).map_or(&[], Vec::as_slice)
    }

    /// The host that a name is another name of.
    pub(crate) fn alias(&self, name: &str) -> Option<&str> {
        self.aliases.get(name).map(String::as_str)
    }

    /// Whether the name exists, with or without records.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.existing.contains(name)
    }
}
