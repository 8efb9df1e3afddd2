//! The immutable whole that the proxy swaps in.

use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::cluster::Cluster;
use crate::http_manager::{HttpManager, RouteSource};
use crate::listener::Listener;
use crate::table::RouteTable;
use crate::tls::Secret;

/// Name of the listener that catches all outbound traffic.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// Name of the listener that catches all inbound traffic.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";

pub(crate) type ByName<T> = Arc<HashMap<Arc<str>, Arc<T>>>;

/// All active configuration. Parts that didn't change are shared with the snapshot before.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with every change.
    pub version: u64,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) clusters: ByName<Cluster>,
    pub(crate) routes: ByName<RouteTable>,
    pub(crate) secrets: ByName<Secret>,
}

/// Listeners by the ways they are found.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) by_name: HashMap<Arc<str>, Arc<Listener>>,
    pub(crate) by_destination: HashMap<SocketAddr, Arc<Listener>>,
    pub(crate) by_port: HashMap<u16, Arc<Listener>>,
    pub(crate) virtual_outbound: Option<Arc<Listener>>,
    pub(crate) virtual_inbound: Option<Arc<Listener>>,
    pub(crate) bound: Vec<Arc<Listener>>,
}

impl Listeners {
    pub(crate) fn index(by_name: HashMap<Arc<str>, Arc<Listener>>) -> Self {
        let mut index = Self::default();
        for listener in by_name.values() {
            match &*listener.name {
                VIRTUAL_OUTBOUND => index.virtual_outbound = Some(Arc::clone(listener)),
                VIRTUAL_INBOUND => index.virtual_inbound = Some(Arc::clone(listener)),
                _ if listener.bind => index.bound.push(Arc::clone(listener)),
                _ => index.add_captured(listener),
            }
        }
        index
            .bound
            .sort_by(|left, right| left.name.cmp(&right.name));
        index.by_name = by_name;
        index
    }

    fn add_captured(&mut self, listener: &Arc<Listener>) {
        for address in std::iter::once(&listener.address).chain(&listener.additional_addresses) {
            if address.ip().is_unspecified() {
                self.by_port.insert(address.port(), Arc::clone(listener));
            } else {
                self.by_destination.insert(*address, Arc::clone(listener));
            }
        }
    }
}

impl Snapshot {
    /// The listener of a captured outbound connection: that of the exact address, else of any
    /// address with the port (not bound ones), else `virtualOutbound`.
    pub fn outbound(&self, destination: SocketAddr) -> Option<&Arc<Listener>> {
        let listeners = &*self.listeners;
        listeners
            .by_destination
            .get(&destination)
            .or_else(|| listeners.by_port.get(&destination.port()))
            .or(listeners.virtual_outbound.as_ref())
    }

    /// `virtualInbound`.
    pub fn inbound(&self) -> Option<&Arc<Listener>> {
        self.listeners.virtual_inbound.as_ref()
    }

    /// Listeners with a socket of their own, beside `virtualOutbound` and `virtualInbound`
    /// (gateways, proxyless ports).
    pub fn bound(&self) -> &[Arc<Listener>] {
        &self.listeners.bound
    }

    /// A listener by name.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.by_name.get(name)
    }

    /// All listeners, in no order.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.by_name.values()
    }

    /// A cluster by name.
    pub fn cluster(&self, name: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(name)
    }

    /// All clusters, in no order.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.values()
    }

    /// The route table of a manager; `None` while its RDS resource is unknown.
    pub fn route_table<'a>(&'a self, manager: &'a HttpManager) -> Option<&'a Arc<RouteTable>> {
        match &manager.routes {
            RouteSource::Inline(table) => Some(table),
            RouteSource::Rds(name) => self.routes.get(name),
        }
    }

    /// All route tables that came by RDS, in no order.
    pub fn route_tables(&self) -> impl Iterator<Item = &Arc<RouteTable>> {
        self.routes.values()
    }

    /// A secret that came by SDS.
    pub fn secret(&self, name: &str) -> Option<&Arc<Secret>> {
        self.secrets.get(name)
    }

    /// All secrets by name, in no order.
    pub fn secrets(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Secret>)> {
        self.secrets.iter()
    }
}
