//! HTTP/2 (RFC 9113), both sides.
//!
//! [`hpack`] (header compression), [`frame`] (frames as bytes), [`head`] (message heads),
//! [`stream`] (one exchange's state), [`core`] (a connection's state without IO), [`driver`] (its
//! IO), [`server`] and [`client`] (the two roles), [`body`] (message bodies on streams).
//!
//! Why not h2 and hyper: the two took 70 % of the instructions of a request (docs/performance.md).
//! Here all of a connection lives on one thread: no lock, no queue of frames, no second task per
//! request. What a stream sends is encoded into the connection's buffer at once; when all tasks
//! that had something to say have run, the buffer is written in one piece, so that many streams
//! share a write and a TLS record.
//!
//! What protects from a peer that means harm: limits on streams, header lists, header blocks and
//! buffered answers, flow control with windows that only grow by what was read, and budgets for
//! streams that are reset and frames that carry nothing ([`budget`]).

pub mod body;
pub mod budget;
pub mod client;
pub mod core;
pub mod driver;
pub mod duplex;
pub mod frame;
pub mod head;
pub mod hpack;
pub mod server;
pub mod stream;

use std::fmt;
use std::io;

/// An error code. RFC 9113 section 7.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

macro_rules! reasons {
    ($($name:ident = $code:literal)*) => {
        impl Reason {
            $(#[doc = concat!("`", stringify!($name), "`")] pub const $name: Self = Self($code);)*

            fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the peer broke HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// What it is told.
    pub reason: Reason,
    /// What it did.
    pub what: &'static str,
}

impl Violation {
    /// A violation.
    #[must_use]
    pub const fn new(reason: Reason, what: &'static str) -> Self {
        Self { reason, what }
    }
}

/// Why a stream or connection ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer broke HTTP/2.
    #[error("the peer broke HTTP/2: {} ({})", .0.what, .0.reason)]
    Violation(Violation),
    /// The peer reset the stream.
    #[error("the peer reset the stream: {0}")]
    Reset(Reason),
    /// The peer surely did not act on the request.
    #[error("the peer refused the stream")]
    Refused,
    /// The peer ended the connection with an error.
    #[error("the peer ended the connection: {0}")]
    GoneAway(Reason),
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
    /// A ping was not answered in time.
    #[error("a ping was not answered in time")]
    Silent,
    /// We gave the stream up.
    #[error("the stream was given up")]
    Cancelled,
    /// The body that we had to send broke off.
    #[error("the body to send broke off")]
    Cut,
}

impl Error {
    /// The peer broke the protocol, or says that we did.
    #[must_use]
    pub fn is_violation(&self) -> bool {
        match self {
            Self::Violation(_) => true,
            Self::GoneAway(reason) => *reason != Reason::NO_ERROR,
            _ => false,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// What an end of a connection allows its peer.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes that a stream may send before they are read.
    pub stream_window: u32,
    /// Bytes that all streams together may.
    pub connection_window: u32,
    /// Largest payload of a frame.
    pub frame_bytes: u32,
    /// Largest list of header fields.
    pub header_list_bytes: u32,
    /// Streams at a time, for a server.
    pub concurrent_streams: u32,
}
