//! What passes between the two processes: JSON, one message per packet, sockets beside it.

use std::io;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::UpError;

/// Names the descriptor of the inner process's end.
pub(super) const CHANNEL_VARIABLE: &str = "MESH_LOCAL_HOST_CHANNEL";

/// From the inner to the outer process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Chosen by the asker, returned with the answer.
    pub(super) id: u64,
    pub(super) ask: Ask,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Ask {
    /// A listening TCP socket.
    Listen(SocketAddr),
    /// A connected TCP socket.
    Connect { host: String, port: u16 },
    /// A UDP socket connected to the host's name server.
    Resolver,
}

/// From the outer to the inner process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The socket comes with the message.
    Done { id: u64 },
    /// There is none.
    Failed { id: u64, failure: Failure },
    /// End in good order.
    Terminate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failure {
    PortTaken {
        addr: SocketAddr,
    },
    PortPrivileged {
        addr: SocketAddr,
        first_free: u16,
    },
    Io {
        what: String,
        errno: Option<i32>,
        message: String,
    },
}

impl Failure {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        let what = what.into();
        move |error| Failure::Io {
            what,
            errno: error.raw_os_error(),
            message: error.to_string(),
        }
    }
}

impl From<Failure> for UpError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::PortTaken { addr } => UpError::PortTaken { addr },
            Failure::PortPrivileged { addr, first_free } => {
                UpError::PortPrivileged { addr, first_free }
            }
            Failure::Io {
                what,
                errno,
                message,
            } => {
                // Keeps the kind (refused, timed out) across the processes.
                let source =
                    errno.map_or_else(|| io::Error::other(message), io::Error::from_raw_os_error);
                UpError::Io { what, source }
            }
        }
    }
}
