//! HTTP/1.1, both sides.
//!
//! Without IO: [`head`] (message heads and framing), [`decode`] (bodies in), [`encode`] (out).
//! With IO: `io` (one stream with its buffers), [`server`] (a client's connection), [`client`]
//! (a connection to an upstream).
//!
//! Why not hyper's: its machinery costs 4 to 5 us a request (two tasks, a channel and several
//! wake-ups between the two sides of one exchange; docs/performance.md). Here both connections
//! are polled by the request's own task, a small message is one read and one write per side,
//! and heads share memory with the read buffer.
//!
//! Strict where leniency has let requests be smuggled past proxies: what RFC 9112 calls invalid
//! framing is refused, never repaired.

pub mod client;
pub mod decode;
pub mod encode;
pub mod head;
pub(crate) mod io;
pub mod server;

use http::StatusCode;

/// Why a connection can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The head breaks HTTP.
    #[error(transparent)]
    Head(#[from] head::HeadError),
    /// The body breaks HTTP.
    #[error(transparent)]
    Body(#[from] decode::BodyError),
    /// The stream failed.
    #[error("stream failed")]
    Io(#[from] std::io::Error),
    /// The peer closed in the middle of a message.
    #[error("connection closed in the middle of a message")]
    Closed,
    /// The head did not come in time.
    #[error("no complete head in time")]
    HeadTimeout,
    /// The body that we had to send broke off.
    #[error("the body to send broke off")]
    Cut,
}

impl Error {
    /// The peer broke HTTP (and did not just leave).
    #[must_use]
    pub fn is_violation(&self) -> bool {
        matches!(self, Self::Head(_) | Self::Body(_))
    }

    /// What to answer before closing, if anything.
    #[must_use]
    pub fn answer(&self) -> Option<StatusCode> {
        match self {
            Self::Head(error) => Some(error.status()),
            Self::HeadTimeout => Some(StatusCode::REQUEST_TIMEOUT),
            _ => None,
        }
    }
}
