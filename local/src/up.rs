//! The two processes of `meshctl local up` and what passes between them.
//!
//! The *outer* process stays in the host's namespaces. It starts the *inner* process (ourselves again, with
//! the caller's hidden arguments) in user (unless root), pid, mount, network, ipc and uts namespaces of its
//! own. Everything the platform makes lives in there, held by processes and descriptors only: when either
//! dies, by whatever signal, the kernel removes the rest. Root and ordinary users take the same way.
//!
//! The inner process has no way out but the [`Host`] channel: it asks the outer one for sockets of the
//! host's network (published ports, connections that leave the cluster, the host's DNS resolver).

mod forbidden;
mod host;
mod outer;
mod wire;

use std::io;
use std::net::SocketAddr;

pub use host::{Host, attach};
pub use outer::{InnerExit, Outer};

/// Why the platform's processes could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// The kernel or its configuration forbids unprivileged namespaces.
    #[error("{step} is forbidden here; {remedy}")]
    Forbidden {
        /// What was attempted.
        step: &'static str,
        /// Which setting forbids it and how to change it.
        remedy: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A published port is held by another program.
    #[error("port {} of {} is in use: stop the program that holds it (`ss -ltnp 'sport = :{}'` shows it)", .addr.port(), .addr.ip(), .addr.port())]
    PortTaken {
        /// The host address asked for.
        addr: SocketAddr,
    },
    /// A port below `net.ipv4.ip_unprivileged_port_start`.
    #[error("port {} needs root (ports below {first_free} are privileged, see net.ipv4.ip_unprivileged_port_start): publish another port", .addr.port())]
    PortPrivileged {
        /// The host address asked for.
        addr: SocketAddr,
        /// Lowest port that an ordinary user may bind.
        first_free: u16,
    },
    /// This process was not started by [`Outer::start`].
    #[error("not started by the outer process of `local up`: no host channel")]
    NotInner,
    /// The outer process is gone.
    #[error("the outer process of `local up` is gone")]
    OuterGone,
    /// Any other failure.
    #[error("{what}")]
    Io {
        /// What was attempted and with what.
        what: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl UpError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> UpError {
        let what = what.into();
        move |source| UpError::Io { what, source }
    }
}
