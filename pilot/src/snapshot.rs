//! Immutable indexes over everything that translation reads.
//!
//! A snapshot is built by [`Snapshot::build`] from the store's objects ([`Inputs`]) and never
//! changes; readers share it behind an `Arc`. What is wrong with the configuration as a whole is
//! collected as [`Problem`]s: the good part of it is served.
//!
//! - [`registry`](Registry): services, workloads and endpoints.
//! - [`rules`](Rules): VirtualServices, DestinationRules, Gateways, Sidecars and policies.
//! - [`Scope`]: what the proxies of one namespace (and Sidecar) see of both; shared by them.

mod aliases;
mod change;
mod destination_rules;
mod gateways;
mod inputs;
mod problem;
mod problems;
mod registry;
mod rules;
mod scope;
mod secrets;
mod virtual_services;

pub use change::Change;
pub(crate) use destination_rules::covers;
pub use destination_rules::{DestinationRules, MergedRule};
pub use gateways::{GatewayServer, MergedGateway, ServerGroup};
pub use inputs::{Inputs, Item};
pub use problem::Problem;
pub use registry::{Registry, ServiceTarget};
pub use rules::Rules;
pub(crate) use scope::rule_for;
pub use scope::{Egress, Scope, ScopeKey};
pub use secrets::Secrets;
pub use virtual_services::RouteRule;

use std::sync::Arc;

use hashbrown::HashMap;
use mesh_config::MeshConfig;
use parking_lot::Mutex;

use crate::translate::{Audience, Shared};

/// DNS suffix of the cluster's services.
pub const DOMAIN: &str = "cluster.local";

/// The configuration and endpoints at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Mesh-wide settings, Istio's defaults where nothing is set.
    pub mesh: Arc<MeshConfig>,
    /// Services, workloads and endpoints.
    pub registry: Registry,
    /// Routing rules and policies.
    pub rules: Rules,
    /// TLS secrets by namespace and name. One that was good and is broken now is here as it was.
    pub secrets: Secrets,
    /// Those that are here as they were, as they are.
    broken_secrets: Secrets,
    inputs: Inputs,
    problems: Vec<Problem>,
    /// Scopes computed so far. A cache: equal keys give equal scopes.
    scopes: Mutex<HashMap<ScopeKey, Arc<Scope>>>,
    /// Resources made so far. A cache, too: the key and the snapshot are all that they are made from.
    shared: Mutex<HashMap<Audience, Arc<Shared>>>,
}

impl Snapshot {
    /// Builds every index. Never fails: objects that cannot be used become [`Problem`]s.
    pub fn build(inputs: Inputs) -> Self {
        Self::assemble(inputs, &Secrets::new())
    }

    /// `good`: the secrets of the snapshot before.
    fn assemble(inputs: Inputs, good: &Secrets) -> Self {
        let mesh = inputs.mesh.clone().unwrap_or_default();
        let mut problems = Vec::new();
        let registry = Registry::build(&inputs, &mesh, &mut problems);
        let rules = Rules::build(&inputs, &mesh, &mut problems);
        let (secrets, broken_secrets) = secrets::index(&inputs, good);
        let mut snapshot = Self {
            mesh,
            registry,
            rules,
            secrets,
            broken_secrets,
            inputs,
            problems: Vec::new(),
            scopes: Mutex::default(),
            shared: Mutex::default(),
        };
        problems::find(&snapshot, &mut problems);
        problems.sort();
        problems.dedup();
        snapshot.problems = problems;
        snapshot
    }

    /// What is wrong with the configuration, sorted by object.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems that `before` did not have; all of them if there was none. A problem that
    /// stands is not told again with every change of something else.
    pub(crate) fn new_problems<'a>(
        &'a self,
        before: Option<&'a Self>,
    ) -> impl Iterator<Item = &'a Problem> {
        let known = before.map_or(&[][..], Self::problems);
        // They are sorted.
        self.problems
            .iter()
            .filter(move |problem| known.binary_search(problem).is_err())
    }

    /// What this snapshot was built from.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// What all proxies with the same namespace, kind and Sidecar see of the mesh.
    pub fn scope(&self, key: &ScopeKey) -> Arc<Scope> {
        if let Some(scope) = self.scopes.lock().get(key) {
            return scope.clone();
        }
        // Built outside the lock: two threads may build the same scope once; they are equal.
        let scope = Arc::new(Scope::build(self, key));
        let mut scopes = self.scopes.lock();
        scopes.entry(key.clone()).or_insert(scope).clone()
    }

    /// The resources that an audience shares.
    pub(crate) fn shared(&self, audience: Audience) -> Arc<Shared> {
        if let Some(shared) = self.shared.lock().get(&audience) {
            return shared.clone();
        }
        let scope = self.scope(audience.scope());
        let mut all = self.shared.lock();
        let shared = all
            .entry(audience)
            .or_insert_with_key(|audience| Arc::new(Shared::new(audience.clone(), scope)));
        shared.clone()
    }

    /// As [`Snapshot::build`], and what differs from `before`. What does not is taken over from it:
    /// scopes, and resources made from them.
    pub fn build_after(inputs: Inputs, before: &Self) -> (Self, Change) {
        let mut snapshot = Self::assemble(inputs, &before.secrets);
        let change = snapshot.change_since(before);
        snapshot.inherit(before, &change);
        (snapshot, change)
    }

    fn inherit(&mut self, before: &Self, change: &Change) {
        let known = before.shared.lock();
        for shared in known.values().filter_map(|shared| shared.after(change)) {
            let (audience, scope) = (shared.audience().clone(), shared.scope());
            let scopes = self.scopes.get_mut();
            scopes.insert(audience.scope().clone(), scope);
            self.shared.get_mut().insert(audience, Arc::new(shared));
        }
    }

    /// What differs from `before`, the snapshot that proxies have last been served from.
    pub fn change_since(&self, before: &Self) -> Change {
        Change::between(before, self)
    }
}

#[cfg(test)]
mod tests;
