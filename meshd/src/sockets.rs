//! The sockets that the control plane listens on.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted: after a restart every proxy of a large mesh comes at once, and
/// what overflows is reset.
const BACKLOG: u32 = 4096;

/// Listens; `what` for is said if it fails.
pub(crate) fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| {
        format!("listen on {address} for {what} (is the port taken? `ss -ltnp` tells by whom)")
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As `TcpListener::bind` does it: a restart need not wait for old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
