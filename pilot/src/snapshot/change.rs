//! What differs between two snapshots, in the terms in which pushes are decided.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Inputs, Snapshot};
use crate::model::Resolution;

/// The difference between the snapshot last pushed and the current one; made by
/// [`Snapshot::change_since`].
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
    /// Namespace and name of secrets that changed.
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

    pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let mut change = Self {
            config: config_differs(before.inputs(), after.inputs()),
            secrets: secrets(before, after),
            workloads: workloads(before, after),
            ..Self::default()
        };
        if !change.config {
            change.add_endpoints(before, after);
        }
        change
    }

    fn add_endpoints(&mut self, before: &Snapshot, after: &Snapshot) {
        let trust_domain = &after.mesh.trust_domain;
        for service in after.registry.services() {
            let (old, new) = (
                before.registry.endpoints(service),
                after.registry.endpoints(service),
            );
            if old == new {
                continue;
            }
            let host = &service.hostname;
            self.endpoints.insert(host.clone());
            if service.resolution != Resolution::Static {
                self.inlined.insert(host.clone());
            }
            if before.registry.identities(service, trust_domain)
                != after.registry.identities(service, trust_domain)
            {
                self.identities.insert(host.clone());
            }
        }
    }
}

fn config_differs(a: &Inputs, b: &Inputs) -> bool {
    let same_mesh = match (&a.mesh, &b.mesh) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        _ => false,
    };
    !(same_mesh
        && same(&a.services, &b.services)
        && same(&a.virtual_services, &b.virtual_services)
        && same(&a.destination_rules, &b.destination_rules)
        && same(&a.gateways, &b.gateways)
        && same(&a.service_entries, &b.service_entries)
        && same(&a.workload_entries, &b.workload_entries)
        && same(&a.sidecars, &b.sidecars)
        && same(&a.peer_authentications, &b.peer_authentications)
        && same(&a.authorization_policies, &b.authorization_policies))
}

/// Equal lists; contents are only compared where the pointers differ.
fn same<T: PartialEq>(a: &[Arc<T>], b: &[Arc<T>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
}

fn secrets(before: &Snapshot, after: &Snapshot) -> BTreeSet<(String, String)> {
    let keys = before.secrets.keys().chain(after.secrets.keys());
    keys.filter(
        |key| match (before.secrets.get(*key), after.secrets.get(*key)) {
            (Some(a), Some(b)) => !Arc::ptr_eq(a, b) && a.data != b.data,
            _ => true,
        },
    )
    .cloned()
    .collect()
}

fn workloads(before: &Snapshot, after: &Snapshot) -> BTreeSet<IpAddr> {
    let addresses = before
        .registry
        .workload_addresses()
        .chain(after.registry.workload_addresses());
    addresses
        .filter(|ip| before.registry.workload(*ip) != after.registry.workload(*ip))
        .collect()
}
