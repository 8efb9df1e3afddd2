//! Network namespaces held by descriptors: no name in `/run/netns`, nothing left after a crash.
//!
//! A socket belongs for life to the namespace that its creating thread was in, and a thread can be moved
//! without touching its neighbours. So work in a namespace is done on a thread of its own, and what it
//! returns (sockets, listeners) is used from anywhere, tokio included.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace; lives as long as a handle, a socket or a process in it.
#[derive(Debug, Clone)]
pub struct NetNs {
    file: Arc<OwnedFd>,
}

impl NetNs {
    /// Creates a namespace with nothing but a loopback interface that is down.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_ADMIN`; `ENOSPC` at `user.max_net_namespaces`.
    pub fn create() -> io::Result<NetNs> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            NetNs::current()
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// As `open(2)` of `/proc/thread-self/ns/net`.
    pub fn current() -> io::Result<NetNs> {
        Ok(NetNs::from(OwnedFd::from(File::open(
            "/proc/thread-self/ns/net",
        )?)))
    }

    /// The namespace of process `pid`.
    ///
    /// # Errors
    /// `NotFound` when there is no such process, `PermissionDenied` when it is not ours.
    pub fn of_process(pid: u32) -> io::Result<NetNs> {
        Ok(NetNs::from(OwnedFd::from(File::open(format!(
            "/proc/{pid}/ns/net"
        ))?)))
    }

    /// Runs `work` on a new thread inside this namespace and waits for it.
    ///
    /// Costs a thread; not for the request path. A panic of `work` goes on in the caller.
    ///
    /// # Errors
    /// `PermissionDenied` when this process may not enter the namespace; else what `work` returns.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_own_thread(|| {
            setns(self, CloneFlags::CLONE_NEWNET)?;
            work()
        })
    }

    /// Connects to `addr` from inside this namespace, blocking; the stream is usable from any thread.
    ///
    /// # Errors
    /// As [`NetNs::run`] and `connect(2)`.
    pub fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        self.run(|| TcpStream::connect(addr))
    }

    /// Listens on `addr` inside this namespace (`SO_REUSEADDR`, non-blocking).
    ///
    /// # Errors
    /// As [`NetNs::run`] and `bind(2)`.
    pub fn listen(&self, addr: SocketAddr) -> io::Result<TcpListener> {
        self.run(|| {
            let listener = TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
    }

    /// Binds a UDP socket inside this namespace (non-blocking).
    ///
    /// # Errors
    /// As [`NetNs::run`] and `bind(2)`.
    pub fn bind_udp(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        self.run(|| {
            let socket = UdpSocket::bind(addr)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
    }

    /// Makes an unconnected non-blocking TCP socket inside this namespace, for an asynchronous connect
    /// to an address of `to`'s family.
    ///
    /// # Errors
    /// As [`NetNs::run`] and [`new_outbound`](crate::socket::new_outbound).
    pub fn outbound(&self, to: SocketAddr) -> io::Result<tokio::net::TcpSocket> {
        self.run(|| crate::socket::new_outbound(to, None, None))
    }

    /// Moves the calling thread (a single-threaded process, or a thread of its own) into this namespace
    /// for good.
    ///
    /// # Errors
    /// `PermissionDenied` when this process may not enter the namespace.
    pub fn enter(&self) -> io::Result<()> {
        setns(self, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl From<OwnedFd> for NetNs {
    /// Takes a descriptor of a namespace file (`/proc/PID/ns/net`).
    fn from(file: OwnedFd) -> Self {
        NetNs {
            file: Arc::new(file),
        }
    }
}

/// Runs `work` inside `netns`; see [`NetNs::run`].
///
/// # Errors
/// As [`NetNs::run`].
pub fn run_in<T: Send>(
    netns: &NetNs,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    netns.run(work)
}

/// A new thread, because leaving a namespace again could fail and would leave a poisoned thread behind.
fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests;
