//! Ports of the host that lead into the pod network.

use std::net::SocketAddr;

/// A published port; dropping it closes the listener.
#[derive(Debug)]
pub struct Published {
    address: SocketAddr,
}

impl Published {
    /// The host address that is listened on (with the port chosen by the host when 0 was asked for).
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
