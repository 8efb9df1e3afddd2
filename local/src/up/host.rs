//! The inner process's way to the host's network.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::UpError;

/// Asks the outer process for sockets of the host's network; cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {}

/// Takes up the channel that [`Outer::start`](super::Outer::start) left to this process. Call it once, early, within a tokio runtime.
///
/// # Errors
/// [`UpError::NotInner`] when this process was started otherwise.
pub fn attach() -> Result<Host, UpError> {
    todo!()
}

impl Host {
    /// Listens on an address of the host (a published port).
    ///
    /// # Errors
    /// [`UpError::PortTaken`], [`UpError::PortPrivileged`], [`UpError::OuterGone`], else [`UpError::Io`].
    pub async fn listen(&self, addr: SocketAddr) -> Result<TcpListener, UpError> {
        let _ = addr;
        todo!()
    }

    /// Connects to `host:port` from the host's network; `host` is a name or an address.
    ///
    /// # Errors
    /// [`UpError::Io`] with the cause (refused, timed out, unknown name), [`UpError::OuterGone`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, UpError> {
        let _ = (host, port);
        todo!()
    }

    /// A UDP socket connected to the host's first name server.
    ///
    /// # Errors
    /// [`UpError::Io`] when `/etc/resolv.conf` of the host names none, [`UpError::OuterGone`].
    pub async fn resolver(&self) -> Result<UdpSocket, UpError> {
        todo!()
    }

    /// Completes when the outer process asks us to end (Ctrl-C, SIGTERM) or is gone.
    pub async fn terminated(&self) {
        todo!()
    }
}
