//! Keeps the last good resources and publishes snapshots.
//!
//! Warming, as in Envoy: a new version of a cluster becomes active when its endpoints (EDS)
//! and secrets (SDS) are there, a listener when its routes (RDS) and secrets are; until then
//! the version before stays. Routes, endpoints and secrets are active at once. Nothing waits for a
//! secret that the server says it doesn't have: one missing certificate must not hold up the other
//! servers of a gateway.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use mesh_xds::google::protobuf::Any;
use mesh_xds::type_url;

use crate::cluster::Cluster;
use crate::cluster::assignment::Assignment;
use crate::compile;
use crate::error::Refused;
use crate::http_manager::RouteSource;
use crate::listener::{Listener, Terminal};
use crate::snapshot::{Listeners, Snapshot};
use crate::table::RouteTable;
use crate::tls::{Secret, TRUST_BUNDLE, WORKLOAD_CERTIFICATE};

mod outcome;
mod store;

#[cfg(test)]
mod tests;

pub use outcome::{Applied, Rejected, Stored, Wanted};
use store::Store;

/// The state of one xDS connection's resources; lives on the control thread.
#[derive(Debug)]
pub struct Compiler {
    listeners: Store<Listener>,
    clusters: Store<Cluster>,
    endpoints: Store<Assignment>,
    routes: Store<RouteTable>,
    secrets: Store<Secret>,
    /// Secrets that are referred to and that the server says it has not: nothing waits for them.
    absent_secrets: BTreeSet<Arc<str>>,
    snapshot: Arc<Snapshot>,
}

impl Default for Compiler {
    fn default() -> Self {
        Self {
            listeners: Store::new(type_url::LISTENER),
            clusters: Store::new(type_url::CLUSTER),
            endpoints: Store::new(type_url::ENDPOINT),
            routes: Store::new(type_url::ROUTE),
            secrets: Store::new(type_url::SECRET),
            absent_secrets: BTreeSet::new(),
            snapshot: Arc::default(),
        }
    }
}

impl Compiler {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the changed and removed resources of one type and says what came of it.
    ///
    /// `changed`: (name, version, resource). A name of a state-of-the-world response may be empty:
    /// the resource's own name is used then. Removed names of EDS, RDS and SDS that are still
    /// referred to are kept, as Envoy keeps them.
    pub fn apply(
        &mut self,
        type_url: &str,
        changed: &[(String, String, Any)],
        removed: &[String],
    ) -> Applied {
        // What is not removed needs no proof that nothing refers to it, which costs a walk over all.
        let wanted = if removed.is_empty() {
            Wanted::default()
        } else {
            self.wanted()
        };
        let rejected = match type_url {
            type_url::LISTENER => self.apply_listeners(changed, removed),
            type_url::CLUSTER => self.apply_clusters(changed, removed),
            type_url::ENDPOINT => self.apply_endpoints(changed, removed, &wanted),
            type_url::ROUTE => {
                self.routes.remove_unless(removed, &wanted.routes);
                self.routes.put_all(changed, |config, _| {
                    let config: mesh_xds::envoy::config::route::v3::RouteConfiguration = config;
                    let name = config.name.clone();
                    Ok((name, compile::route::table(config)?))
                })
            }
            type_url::SECRET => {
                let wanted = &wanted.secrets;
                self.secrets.remove_unless(removed, wanted);
                let absent = removed.iter().filter_map(|name| wanted.get(name.as_str()));
                self.absent_secrets.extend(absent.cloned());
                for (name, ..) in changed {
                    self.absent_secrets.remove(name.as_str());
                }
                self.secrets.put_all(changed, |config, _| {
                    let config: mesh_xds::envoy::extensions::transport_sockets::tls::v3::Secret =
                        config;
                    Ok((config.name.clone(), compile::tls::secret(config)?))
                })
            }
            unknown => refuse_type(unknown, changed),
        };
        self.settle(Patience::Wait);
        Applied {
            snapshot: Arc::clone(&self.snapshot),
            rejected,
        }
    }

    fn apply_listeners(
        &mut self,
        changed: &[(String, String, Any)],
        removed: &[String],
    ) -> Vec<Rejected> {
        let before = self.wanted();
        self.listeners.remove(removed);
        let mut taken = HashMap::new();
        for listener in self.listeners.latest() {
            taken.insert(
                (listener.bind, listener.address),
                Arc::clone(&listener.name),
            );
        }
        let rejected = self.listeners.put_all(changed, |config, _| {
            let listener = compile::listener::listener(config)?;
            let name = Arc::clone(&listener.name);
            match taken.insert((listener.bind, listener.address), Arc::clone(&name)) {
                Some(other) if other != name => {
                    let reason =
                        format!("{} is the address of listener {other:?}", listener.address);
                    taken.insert((listener.bind, listener.address), other);
                    Err(Refused::field("address", reason))
                }
                _ => Ok((name.to_string(), listener)),
            }
        });
        self.forget_unwanted(&before);
        rejected
    }

    fn apply_clusters(
        &mut self,
        changed: &[(String, String, Any)],
        removed: &[String],
    ) -> Vec<Rejected> {
        let wanted_before = self.wanted();
        self.clusters.remove(removed);
        let endpoints = &self.endpoints;
        let rejected = self
            .clusters
            .put_all(changed, |config, before: Option<&Arc<Cluster>>| {
                let name = config_name(&config);
                let cluster = compile::cluster::cluster(
                    config,
                    before.map(|before| Arc::clone(&before.shared)),
                )?;
                let assignment = cluster
                    .eds_name
                    .as_ref()
                    .and_then(|name| endpoints.get(name));
                cluster.start(before.map(|before| &**before), assignment);
                Ok((name, cluster))
            });
        self.forget_unwanted(&wanted_before);
        rejected
    }

    fn apply_endpoints(
        &mut self,
        changed: &[(String, String, Any)],
        removed: &[String],
        wanted: &Wanted,
    ) -> Vec<Rejected> {
        self.endpoints.remove_unless(removed, &wanted.endpoints);
        let rejected = self.endpoints.put_all(changed, |config, _| {
            let config: mesh_xds::envoy::config::endpoint::v3::ClusterLoadAssignment = config;
            let name = config.cluster_name.clone();
            let assignment =
                compile::endpoints::assignment(config, compile::endpoints::Names::Refused)?;
            Ok((name, assignment))
        });
        let fresh = self.endpoints.take_fresh();
        for cluster in self.clusters.all_versions() {
            let name = cluster
                .eds_name
                .as_ref()
                .filter(|name| fresh.contains(&**name));
            if let Some(assignment) = name.and_then(|name| self.endpoints.get(name)) {
                cluster.set_assignment(assignment);
            }
        }
        rejected
    }

    /// Drops EDS, RDS and SDS resources that nothing refers to any more: their subscriptions end.
    fn forget_unwanted(&mut self, before: &Wanted) {
        let now = self.wanted();
        self.endpoints.forget(&before.endpoints, &now.endpoints);
        self.routes.forget(&before.routes, &now.routes);
        self.secrets.forget(&before.secrets, &now.secrets);
        self.absent_secrets
            .retain(|name| now.secrets.contains(name));
    }

    /// Activates what is ready and publishes what changed.
    fn settle(&mut self, patience: Patience) {
        let (endpoints, routes, secrets) = (&self.endpoints, &self.routes, &self.secrets);
        let absent = &self.absent_secrets;
        let settled = |name: &Arc<str>| secrets.get(name).is_some() || absent.contains(name);
        let given_up = patience == Patience::GiveUp;
        self.clusters.activate(|cluster| {
            given_up
                || (cluster
                    .eds_name
                    .as_ref()
                    .is_none_or(|name| endpoints.get(name).is_some())
                    && foreign(cluster.secret_names()).all(settled))
        });
        self.listeners.activate(|listener| {
            given_up
                || (route_names(listener).all(|name| routes.get(name).is_some())
                    && foreign(listener_secrets(listener)).all(settled))
        });
        self.routes.activate(|_| true);
        self.secrets.activate(|_| true);
        self.endpoints.activate(|_| true);
        self.publish();
    }

    fn publish(&mut self) {
        // Endpoints live inside their clusters: a change of them is no new snapshot.
        self.endpoints.take_dirty();
        let (listeners, clusters) = (self.listeners.take_dirty(), self.clusters.take_dirty());
        let (routes, secrets) = (self.routes.take_dirty(), self.secrets.take_dirty());
        if !(listeners || clusters || routes || secrets) {
            return;
        }
        let before = &self.snapshot;
        self.snapshot = Arc::new(Snapshot {
            version: before.version + 1,
            listeners: if listeners {
                Arc::new(Listeners::index(self.listeners.active_map()))
            } else {
                Arc::clone(&before.listeners)
            },
            clusters: if clusters {
                Arc::new(self.clusters.active_map())
            } else {
                Arc::clone(&before.clusters)
            },
            routes: if routes {
                Arc::new(self.routes.active_map())
            } else {
                Arc::clone(&before.routes)
            },
            secrets: if secrets {
                Arc::new(self.secrets.active_map())
            } else {
                Arc::clone(&before.secrets)
            },
        });
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// EDS, RDS and SDS names that the resources refer to: the subscriptions to have.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for cluster in self.clusters.all_versions() {
            wanted.endpoints.extend(cluster.eds_name.clone());
            wanted
                .secrets
                .extend(foreign(cluster.secret_names()).cloned());
        }
        for listener in self.listeners.all_versions() {
            wanted.routes.extend(route_names(listener).cloned());
            wanted
                .secrets
                .extend(foreign(listener_secrets(listener)).cloned());
        }
        wanted
    }

    /// The part of [`Compiler::wanted`] that hasn't come yet.
    pub fn missing(&self) -> Wanted {
        let mut wanted = self.wanted();
        wanted
            .endpoints
            .retain(|name| self.endpoints.get(name).is_none());
        wanted.routes.retain(|name| self.routes.get(name).is_none());
        wanted
            .secrets
            .retain(|name| self.secrets.get(name).is_none() && !self.absent_secrets.contains(name));
        wanted
    }

    /// Activates what still warms, as Envoy does when the initial fetch times out (15 s).
    pub fn activate_warming(&mut self) -> Arc<Snapshot> {
        self.settle(Patience::GiveUp);
        self.snapshot()
    }

    /// The kept resources of a type, by name.
    pub fn resources(&self, type_url: &str) -> Vec<Stored<'_>> {
        match type_url {
            type_url::LISTENER => self.listeners.stored(),
            type_url::CLUSTER => self.clusters.stored(),
            type_url::ENDPOINT => self.endpoints.stored(),
            type_url::ROUTE => self.routes.stored(),
            type_url::SECRET => self.secrets.stored(),
            _ => Vec::new(),
        }
    }

    /// The last refusals of a type that were not made good yet, by name.
    pub fn refusals(&self, type_url: &str) -> Vec<Rejected> {
        match type_url {
            type_url::LISTENER => self.listeners.refusals(),
            type_url::CLUSTER => self.clusters.refusals(),
            type_url::ENDPOINT => self.endpoints.refusals(),
            type_url::ROUTE => self.routes.refusals(),
            type_url::SECRET => self.secrets.refusals(),
            _ => Vec::new(),
        }
    }
}

/// Whether to wait for what is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Wait,
    GiveUp,
}

fn config_name(config: &mesh_xds::envoy::config::cluster::v3::Cluster) -> String {
    config.name.clone()
}

fn refuse_type(unknown: &str, changed: &[(String, String, Any)]) -> Vec<Rejected> {
    changed
        .iter()
        .map(|(name, _, _)| Rejected {
            name: name.clone(),
            reason: Refused::new(format!(
                "resources of type {unknown} are not supported by this proxy"
            )),
        })
        .collect()
}

/// Secret names that come over ADS: all but the proxy's own two.
fn foreign<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> impl Iterator<Item = &'a Arc<str>> {
    names.filter(|name| !matches!(&***name, WORKLOAD_CERTIFICATE | TRUST_BUNDLE))
}

fn route_names(listener: &Listener) -> impl Iterator<Item = &Arc<str>> {
    listener.chains().filter_map(|chain| match &chain.terminal {
        Terminal::Http(manager) => match &manager.routes {
            RouteSource::Rds(name) => Some(name),
            RouteSource::Inline(_) => None,
        },
        Terminal::Tcp(_) => None,
    })
}

fn listener_secrets(listener: &Listener) -> impl Iterator<Item = &Arc<str>> {
    listener
        .chains()
        .filter_map(|chain| chain.tls.as_ref())
        .flat_map(|tls| tls.common.secret_names())
}
