//! Interned names of one worker: equal values are the same `Rc`, so that metric look-ups compare
//! pointers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use mesh_route::Cluster;
use mesh_route::cluster::Workload;

use crate::metrics::Service;
use crate::peer::{Peer, UNKNOWN};

/// Entries kept per table; strangers' identities must not fill the memory.
const TABLE_ENTRIES: usize = 4096;

/// Clients' certificates kept, of some hundred bytes each.
const CERTIFICATE_ENTRIES: usize = 256;

/// Hosts without a service that get a name of their own in metrics.
const HOST_ENTRIES: usize = 512;

/// The tables.
#[derive(Debug, Default)]
pub struct Names {
    texts: RefCell<HashSet<Rc<str>>>,
    certificates: RefCell<HashSet<Rc<[u8]>>>,
    services: RefCell<HashMap<Arc<str>, Rc<Service>>>,
    hosts: RefCell<HashMap<Arc<str>, Rc<Service>>>,
    workloads: RefCell<HashMap<usize, Known>>,
    peers: RefCell<HashMap<Peer, Rc<Peer>>>,
    unknown: Rc<Peer>,
}

/// A workload, kept alive so that its address stays its own, and the peer made of it.
type Known = (Arc<Workload>, Rc<Peer>);

impl Names {
    /// The same `Rc` for equal texts.
    pub fn text(&self, text: &str) -> Rc<str> {
        let mut texts = self.texts.borrow_mut();
        if let Some(known) = texts.get(text) {
            return Rc::clone(known);
        }
        if texts.len() >= TABLE_ENTRIES {
            texts.clear();
        }
        let new: Rc<str> = Rc::from(text);
        texts.insert(Rc::clone(&new));
        new
    }

    /// The same `Rc` for equal certificates (DER): a peer's connections all have one.
    pub fn certificate(&self, der: &[u8]) -> Rc<[u8]> {
        let mut certificates = self.certificates.borrow_mut();
        if let Some(known) = certificates.get(der) {
            return Rc::clone(known);
        }
        if certificates.len() >= CERTIFICATE_ENTRIES {
            certificates.clear();
        }
        let new: Rc<[u8]> = Rc::from(der);
        certificates.insert(Rc::clone(&new));
        new
    }

    /// The destination service of a cluster.
    pub fn service(&self, cluster: &Cluster) -> Rc<Service> {
        let labels = &cluster.service;
        let mut services = self.services.borrow_mut();
        if let Some(known) = services.get(&cluster.name)
            && known.host == labels.host
            && known.name == labels.name
        {
            return Rc::clone(known);
        }
        if services.len() >= TABLE_ENTRIES {
            services.clear();
        }
        let new = Rc::new(Service {
            host: Arc::clone(&labels.host),
            name: Arc::clone(&labels.name),
            namespace: Arc::clone(&labels.namespace),
        });
        services.insert(Arc::clone(&cluster.name), Rc::clone(&new));
        new
    }

    /// A service that no cluster describes, such as a host that nobody routes.
    ///
    /// Clients choose hosts, and every one becomes a series of each metric: beyond a number of
    /// them the host is not told any more.
    pub fn service_named(&self, host: &str, name: &str, namespace: &str) -> Rc<Service> {
        let mut hosts = self.hosts.borrow_mut();
        if let Some(known) = hosts.get(host)
            && *known.name == *name
        {
            return Rc::clone(known);
        }
        let full = hosts.len() >= HOST_ENTRIES && !hosts.contains_key(host);
        let host = if full { UNKNOWN } else { host };
        let new = Rc::new(Service {
            host: Arc::from(host),
            name: Arc::from(name),
            namespace: Arc::from(namespace),
        });
        hosts.insert(Arc::from(host), Rc::clone(&new));
        new
    }

    /// The peer behind an endpoint.
    pub fn workload(&self, workload: &Arc<Workload>) -> Rc<Peer> {
        let pointer = Arc::as_ptr(workload).addr();
        if let Some((_, peer)) = self.workloads.borrow().get(&pointer) {
            return Rc::clone(peer);
        }
        let peer = self.peer(Peer::from_workload(workload));
        let mut workloads = self.workloads.borrow_mut();
        if workloads.len() >= TABLE_ENTRIES {
            workloads.clear();
        }
        workloads.insert(pointer, (Arc::clone(workload), Rc::clone(&peer)));
        peer
    }

    /// A peer of whom nothing is known.
    pub fn unknown(&self) -> Rc<Peer> {
        Rc::clone(&self.unknown)
    }

    /// The same `Rc` for equal peers.
    pub fn peer(&self, peer: Peer) -> Rc<Peer> {
        let mut peers = self.peers.borrow_mut();
        if let Some(known) = peers.get(&peer) {
            return Rc::clone(known);
        }
        if peers.len() >= TABLE_ENTRIES {
            peers.clear();
        }
        let new = Rc::new(peer.clone());
        peers.insert(peer, Rc::clone(&new));
        new
    }
}
