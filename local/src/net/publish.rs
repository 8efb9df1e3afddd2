//! Ports of the host that lead into the pod network.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::carry::{carry, reset};
use super::egress::accept_each;

/// A published port; dropping it closes the listener.
#[derive(Debug)]
pub struct Published {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Published {
    /// Accepts from `listener` (a socket of the host's network) and connects to `target` from the node.
    pub(super) fn new(listener: TcpListener, target: SocketAddr) -> std::io::Result<Published> {
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept_each(
            listener,
            "published port",
            move |stream| async move {
                match TcpStream::connect(target).await {
                    Ok(upstream) => carry(stream, upstream).await,
                    Err(error) => {
                        tracing::debug!(%target, %error, "cannot reach the target of a published port");
                        reset(&stream);
                    }
                }
            },
        ));
        Ok(Published { address, accepting })
    }

    /// The host address that is listened on (with the port chosen by the host when 0 was asked for).
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
