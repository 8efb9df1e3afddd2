//! What differs between two snapshots, in the terms in which pushes are decided.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The difference between the snapshot last pushed and the current one; made by
/// [`super::Snapshot::change_since`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Mesh-wide settings, services, routing or policies changed: every type of every proxy is
    /// translated again (equal bytes are still not sent).
    pub config: bool,
    /// Hosts whose endpoints changed, and nothing else about them.
    pub endpoints: BTreeSet<Arc<str>>,
    /// Hosts whose set of server identities changed: their clusters name these identities.
    pub identities: BTreeSet<Arc<str>>,
    /// Hosts whose endpoints stand in clusters or listeners rather than in EDS (looked up by name,
    /// headless).
    pub inlined: BTreeSet<Arc<str>>,
    /// Addresses of pods whose labels, account or ports changed: policies and inbound listeners of
    /// the proxies at these addresses may differ.
    pub workloads: BTreeSet<IpAddr>,
    /// Namespace and name of TLS secrets that changed.
    pub secrets: BTreeSet<(String, String)>,
}

impl Change {
    /// Whether there is nothing to push.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an EDS resource (`outbound|9080|v1|HOST`) may differ.
    pub fn touches_endpoints_of(&self, cluster: &str) -> bool {
        let host = cluster.rsplit('|').next().unwrap_or_default();
        self.config || self.endpoints.contains(host)
    }

    /// Adds what `later` changed on top.
    pub fn merge(&mut self, later: Self) {
        self.config |= later.config;
        self.endpoints.extend(later.endpoints);
        self.identities.extend(later.identities);
        self.inlined.extend(later.inlined);
        self.workloads.extend(later.workloads);
        self.secrets.extend(later.secrets);
    }
}
