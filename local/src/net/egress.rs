//! Traffic that leaves the cluster: accepted on the node, dialled by the outer process.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mesh_sys::socket::original_destination;
use tokio::net::{TcpListener, TcpStream};

use super::carry::{carry, reset};
use super::in_cluster;
use crate::up::Host;

/// Listens on the node and carries redirected connections to where they were going; the port.
pub(super) async fn start(host: Host) -> io::Result<(u16, tokio::task::JoinHandle<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    let port = listener.local_addr()?.port();
    let accepting = tokio::spawn(accept_each(listener, "egress", move |stream| {
        let host = host.clone();
        async move { leave(stream, &host).await }
    }));
    Ok((port, accepting))
}

async fn leave(stream: TcpStream, host: &Host) {
    let destination = match original_destination(&stream) {
        Ok(SocketAddr::V4(destination)) if !in_cluster(*destination.ip()) => destination,
        // Somebody connected to this listener itself.
        Ok(_) | Err(_) => return reset(&stream),
    };
    // The client's connect has succeeded before ours: a failure of ours can only be a reset.
    match host
        .connect(
            &IpAddr::V4(*destination.ip()).to_string(),
            destination.port(),
        )
        .await
    {
        Ok(upstream) => carry(stream, upstream).await,
        Err(error) => {
            tracing::debug!(%destination, %error, "cannot reach an address outside the cluster");
            reset(&stream);
        }
    }
}

/// Serves each accepted connection on a task of its own, forever.
pub(super) async fn accept_each<Serving>(
    listener: TcpListener,
    what: &'static str,
    serve: impl Fn(TcpStream) -> Serving,
) where
    Serving: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream))),
            Err(error) => {
                // Out of descriptors or memory: others may give some back soon.
                tracing::warn!(what, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
