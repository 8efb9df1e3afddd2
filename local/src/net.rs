//! The pod network of one machine.
//!
//! The inner process's own network namespace is the *node*: bridge `mesh0` with 10.244.0.1/16, the service
//! addresses' DNAT rules, DNS (10.96.0.10) and API (10.96.0.1) addresses. Each pod has a namespace with
//! `eth0` 10.244.x.y/32 and a default route via the node, so that every packet, even between two pods of
//! the bridge, passes the node's IP layer and conntrack undoes the DNAT on the way back.
//!
//! TCP to any other address is redirected to a listener of ours, which has the outer process dial it from
//! the host's network (`egress`); no rule is ever made on the host. All of it is in memory of the
//! namespace and dies with the process.

mod address;
mod carry;
mod egress;
mod node;
mod pod;
mod publish;
mod services;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::Ipv4Net;
use mesh_sys::link::{Index, Links};
use mesh_sys::nft;
use tokio::task::JoinHandle;

use self::address::AddressPool;
pub use self::pod::PodNetwork;
pub use self::publish::Published;
use crate::up::{Host, UpError};

/// The node's address on the pod network and the pods' gateway.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// Address of cluster DNS, on the node.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// Address of `kubernetes.default`, on the node.
pub const API: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// All pods' addresses and the node's.
pub const POD_NET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
/// All services' addresses.
pub const SERVICE_NET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);

/// The bridge that all pods hang on.
const BRIDGE: &str = "mesh0";

/// Why the pod network could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A netlink, namespace or socket call failed.
    #[error("{what}")]
    Io {
        /// What was attempted and with what.
        what: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel refused the service rules; the previous ones stay in force.
    #[error("install the service rules")]
    Rules(#[source] nft::ApplyError),
    /// All 65,000 pod addresses are in use.
    #[error("no free pod address in 10.244.0.0/16")]
    AddressesExhausted,
    /// The outer process refused (published port taken, for instance).
    #[error(transparent)]
    Host(#[from] UpError),
}

impl NetError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> NetError {
        let what = what.into();
        move |source| NetError::Io { what, source }
    }
}

/// Transport protocol of a service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// One port of one ClusterIP service with the endpoints that are ready.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServicePort {
    /// ClusterIP, inside 10.96.0.0/16.
    pub address: Ipv4Addr,
    /// Service port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Ready endpoints (pod address and target port); none: connections are refused.
    pub endpoints: BTreeSet<SocketAddrV4>,
}

/// The node side of the pod network; one per inner process.
#[derive(Debug)]
pub struct Network {
    host: Host,
    links: Links,
    bridge: Index,
    addresses: Arc<Mutex<AddressPool>>,
    egress_port: u16,
    egress: JoinHandle<()>,
    /// One replacement of the rules at a time, in the order they were asked for.
    replacing: tokio::sync::Mutex<()>,
}

impl Network {
    /// Sets up the node in the calling process's network namespace: bridge, addresses, forwarding, rules and
    /// the listener for traffic that leaves the cluster.
    ///
    /// # Errors
    /// [`NetError`] with the step that failed.
    pub async fn create(host: Host) -> Result<Network, NetError> {
        let links = Links::open().map_err(NetError::io("open rtnetlink"))?;
        let bridge = node::configure(&links)
            .await
            .map_err(NetError::io("set up the node's network"))?;
        let (egress_port, egress) = egress::start(host.clone())
            .await
            .map_err(NetError::io("listen for traffic that leaves the cluster"))?;
        let network = Network {
            host,
            links,
            bridge,
            addresses: Arc::new(Mutex::new(AddressPool::new())),
            egress_port,
            egress,
            replacing: tokio::sync::Mutex::new(()),
        };
        network.set_services(&[]).await?;
        Ok(network)
    }

    /// Makes a pod's namespace, connected and with an address; its interfaces are up when this returns.
    ///
    /// # Errors
    /// [`NetError::AddressesExhausted`], else [`NetError::Io`]; nothing stays behind on failure.
    pub async fn add_pod(&self) -> Result<PodNetwork, NetError> {
        let taken = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let ip = taken.ok_or(NetError::AddressesExhausted)?;
        let failed = || NetError::io(format!("set up the network of pod {ip}"));
        let pool = Arc::clone(&self.addresses);
        let pod = blocking(move || PodNetwork::new(ip, pool))
            .await
            .map_err(failed())?;
        let (name, netns) = (pod.node_interface(), pod.netns().clone());
        self.links
            .add_veth(&name, self.bridge, "eth0", netns.as_fd())
            .await
            .map_err(failed())?;
        // On failure the namespace goes with its last handle, and the interface with it.
        blocking(move || pod.configure().map(|()| pod))
            .await
            .map_err(failed())
    }

    /// Removes a pod's interface and gives its address back (it is reused as late as possible). The namespace
    /// itself goes when the pod's last process has ended.
    ///
    /// Dropping the [`PodNetwork`] instead frees the address and, with the namespace, the interface.
    ///
    /// # Errors
    /// [`NetError::Io`] when the kernel refuses.
    pub async fn remove_pod(&self, pod: PodNetwork) -> Result<(), NetError> {
        let removed = self.links.delete(&pod.node_interface()).await;
        removed.map_err(NetError::io(format!(
            "remove the network of pod {}",
            pod.ip()
        )))
    }

    /// Replaces all service rules by those of `services`, in one transaction; running connections go on.
    ///
    /// # Errors
    /// [`NetError::Rules`]; the previous rules stay in force.
    pub async fn set_services(&self, services: &[ServicePort]) -> Result<(), NetError> {
        let table = services::table(services, self.egress_port);
        let _turn = self.replacing.lock().await;
        let applied = tokio::task::spawn_blocking(move || nft::apply(&table)).await;
        applied
            .map_err(io::Error::other)
            .map_err(NetError::io("install the service rules"))?
            .map_err(NetError::Rules)
    }

    /// Listens on an address of the host and carries each connection to `target` (a pod's or a service's
    /// address) until the returned handle is dropped. Running connections go on after that.
    ///
    /// # Errors
    /// [`NetError::Host`] when the port is taken.
    pub async fn publish(
        &self,
        host_addr: SocketAddr,
        target: SocketAddr,
    ) -> Result<Published, NetError> {
        let listener = self.host.listen(host_addr).await?;
        Published::new(listener, target).map_err(NetError::io(format!("publish {host_addr}")))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.egress.abort();
    }
}

/// Whether an address belongs to the cluster: traffic to any other leaves by the host.
fn in_cluster(ip: Ipv4Addr) -> bool {
    POD_NET.contains(&ip) || SERVICE_NET.contains(&ip)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
