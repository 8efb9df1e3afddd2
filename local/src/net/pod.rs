//! One pod's network namespace.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::{IpNet, Ipv4Net};
use mesh_sys::link::{Links, in_netns, write_sysctl};
use mesh_sys::netns::NetNs;

use super::NODE;
use super::address::AddressPool;

/// A pod's network; dropping it gives the address back.
#[derive(Debug)]
pub struct PodNetwork {
    ip: Ipv4Addr,
    netns: NetNs,
    pool: Arc<Mutex<AddressPool>>,
}

impl PodNetwork {
    /// Makes the namespace for an address just taken from `pool`.
    pub(super) fn new(ip: Ipv4Addr, pool: Arc<Mutex<AddressPool>>) -> io::Result<PodNetwork> {
        match NetNs::create() {
            Ok(netns) => Ok(PodNetwork { ip, netns, pool }),
            Err(error) => {
                give_back(&pool, ip);
                Err(error)
            }
        }
    }

    /// The pod's address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// The pod's namespace: for [`sandbox`](crate::sandbox) and for probes that must come from inside the pod.
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// Name of the interface's end on the node: 15 bytes at most, unique by the address.
    pub(super) fn node_interface(&self) -> String {
        format!("veth{:08x}", self.ip.to_bits())
    }

    /// Brings up loopback and `eth0`, which is there already. Blocks.
    pub(super) fn configure(&self) -> io::Result<()> {
        let ip = self.ip;
        in_netns(&self.netns, async move |links: Links| {
            links.set_loopback_up().await?;
            let eth0 = links.find("eth0").await?;
            // The cluster is IPv4; a kernel without IPv6 has no such setting.
            let _ = write_sysctl("net/ipv6/conf/eth0/disable_ipv6", "1");
            links
                .add_address(eth0, IpNet::from(std::net::IpAddr::V4(ip)))
                .await?;
            links.set_up(eth0).await?;
            links
                .add_route(Ipv4Net::default(), eth0, Some(NODE), None)
                .await
        })
    }
}

impl Drop for PodNetwork {
    fn drop(&mut self) {
        give_back(&self.pool, self.ip);
    }
}

fn give_back(pool: &Mutex<AddressPool>, ip: Ipv4Addr) {
    pool.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .give_back(ip);
}
