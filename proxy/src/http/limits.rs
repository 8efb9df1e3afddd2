//! Numbers of the HTTP protocols, with their origins.

use std::time::Duration;

/// HTTP/2 stream window. ztunnel's: bulk streams fill 4 MiB at 30 ms and 1 Gb/s.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// HTTP/2 connection window. Four streams' worth: equal values let one stream that nobody
/// reads starve all others.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Largest HTTP/2 frame accepted. A frame is passed on when all of it is there, so larger ones
/// only cost memory.
pub const FRAME_BYTES: u32 = 64 * 1024;

/// Largest HTTP/2 header list accepted; h2's own default of 16 MiB is an invitation.
pub const HEADER_LIST_BYTES: u32 = 64 * 1024;

/// Concurrent streams offered to a client. Envoy's default since 1.36.
pub const CONCURRENT_STREAMS: u32 = 1024;

/// A ping without answer for so long ends an HTTP/2 connection.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// HTTP/1.1 header fields accepted. Envoy's default limit.
pub const HEADER_COUNT: usize = 100;
