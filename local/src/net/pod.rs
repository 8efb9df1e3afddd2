//! One pod's network namespace.

use std::net::Ipv4Addr;

use mesh_sys::netns::NetNs;

/// A pod's network; dropping it gives the address back.
#[derive(Debug)]
pub struct PodNetwork {
    ip: Ipv4Addr,
    netns: NetNs,
}

impl PodNetwork {
    /// The pod's address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// The pod's namespace: for [`sandbox`](crate::sandbox) and for probes that must come from inside the pod.
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }
}
