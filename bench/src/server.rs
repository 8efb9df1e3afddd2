//! The application behind the mesh, `mesh-bench server`: answers over HTTP/1.1, HTTP/2, gRPC and TCP with
//! as many bytes as it is asked for, and does as little as it can otherwise.

mod http1;
mod http2;
mod tcp;

pub(crate) use http2::message;
pub(crate) use tcp::REQUEST;

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

/// The longest answer, in bytes.
pub(crate) const LONGEST: usize = 4 << 20;

static BODY: [u8; LONGEST] = [b'x'; LONGEST];

/// The body of an answer.
fn body(length: usize) -> &'static [u8] {
    &BODY[..length.min(LONGEST)]
}

/// Serves for ever on one thread.
///
/// # Errors
/// When a port cannot be had.
pub(crate) fn run(http1: SocketAddr, http2: SocketAddr, tcp: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let http1 = bind(http1).await?;
        let http2 = bind(http2).await?;
        let tcp = bind(tcp).await?;
        spawn_local(accept(http1, http1::serve));
        spawn_local(accept(http2, http2::serve));
        accept(tcp, tcp::serve).await;
        Ok(())
    })
}

/// Like `TcpListener::bind`, with a backlog for a thousand clients that come at once.
async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(4096)
    };
    bound
        .await
        .with_context(|| format!("listen on {address} (`ss -ltnp` tells who has the port)"))
}

async fn accept<F, S>(listener: TcpListener, serve: S)
where
    F: Future<Output = std::io::Result<()>> + 'static,
    S: Fn(tokio::net::TcpStream) -> F,
{
    loop {
        // A connection that failed is the load generator's to report.
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            spawn_local(serve(stream));
        }
    }
}
