//! Snapshot in, Envoy resources out.
//!
//! [`resources`] is a pure function: the same snapshot, proxy and names give the same bytes. The
//! names of clusters, listeners and routes and their semantics are Istio's, so that a stock Envoy
//! and existing dashboards work with them. One module per resource type; `names` holds every
//! name that two of them must agree on.

use mesh_xds::type_url;

use crate::snapshot::{Change, Snapshot};
use context::Context;

mod access_log;
mod audience;
mod authz;
mod cluster;
mod context;
mod endpoint;
mod listener;
mod names;
mod proxy;
mod route;
mod secret;
mod shared;
mod tls;
mod wire;

pub(crate) use audience::Audience;
pub use mesh_xds::{EncodedResource, Scope as Names};
pub use proxy::{OWN_CONFIG, Proxy, ProxyError, ProxyKind};

/// The types that a change makes it necessary to translate again for a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Types {
    /// Clusters.
    pub clusters: bool,
    /// Endpoints, of the hosts in [`Change::endpoints`] only unless `clusters` is set too.
    pub endpoints: bool,
    /// Listeners.
    pub listeners: bool,
    /// Routes.
    pub routes: bool,
    /// Secrets.
    pub secrets: bool,
}

impl Types {
    /// Every type.
    pub const ALL: Self = Self {
        clusters: true,
        endpoints: true,
        listeners: true,
        routes: true,
        secrets: true,
    };

    /// Whether nothing needs to be pushed.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether the type with this URL is among them.
    pub fn contains(self, type_url: &str) -> bool {
        match type_url {
            type_url::CLUSTER => self.clusters,
            type_url::ENDPOINT => self.endpoints,
            type_url::LISTENER => self.listeners,
            type_url::ROUTE => self.routes,
            type_url::SECRET => self.secrets,
            _ => false,
        }
    }
}

/// The resources of one type for one proxy.
///
/// `names`: which of them; for types that are asked for by name ([`type_url::ENDPOINT`],
/// [`type_url::ROUTE`], [`type_url::SECRET`]) [`Names::All`] gives those that the proxy's own
/// clusters and listeners refer to. A name that does not exist for this proxy is left out. An
/// unknown type gives nothing. The result is by name.
pub fn resources(
    snapshot: &Snapshot,
    proxy: &Proxy,
    type_url: &str,
    names: &Names,
) -> Vec<EncodedResource> {
    let cx = Context::new(snapshot, proxy);
    match type_url {
        type_url::CLUSTER => cluster::build(&cx, names),
        type_url::ENDPOINT => endpoint::build(&cx, names),
        type_url::LISTENER => listener::build(&cx, names),
        type_url::ROUTE => route::build(&cx, names),
        type_url::SECRET => secret::build(&cx, names),
        _ => Vec::new(),
    }
}

pub(crate) use shared::Shared;

pub(crate) use secret::{
    InPlace, KEYS as SECRET_KEYS, is_broken as is_broken_secret, lacks_client_authority,
    problem as secret_problem,
};

/// Which types must be translated again for `proxy` after `change`.
pub fn affected(change: &Change, proxy: &Proxy) -> Types {
    let router = proxy.kind == ProxyKind::Router;
    if change.config || change.workloads.contains(&proxy.ip) {
        return Types::ALL;
    }
    let shared = shared_types(change);
    Types {
        listeners: shared.listeners && !router,
        secrets: router
            && change
                .secrets
                .iter()
                .any(|(namespace, _)| *namespace == proxy.namespace),
        ..shared
    }
}

/// Which types of shared resources must be translated again after a change of endpoints.
fn shared_types(change: &Change) -> Types {
    Types {
        clusters: !change.identities.is_empty() || !change.inlined.is_empty(),
        endpoints: !change.endpoints.is_empty(),
        listeners: !change.inlined.is_empty(),
        routes: false,
        secrets: false,
    }
}
