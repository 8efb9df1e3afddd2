//! Frames as bytes: RFC 9113 sections 4 and 6.

use std::ops::Range;

use bytes::BufMut as _;

use super::{Reason, Violation};

/// What every client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 9;
/// The largest window there may be.
pub const WINDOW_MAX: i64 = (1 << 31) - 1;
/// A window at its start, unless settings say otherwise.
pub const WINDOW_DEFAULT: i64 = 65_535;
/// The largest payload that every peer takes.
pub const PAYLOAD_DEFAULT: usize = 16_384;

/// Kinds of frame.
pub mod kind {
    /// `DATA`
    pub const DATA: u8 = 0;
    /// `HEADERS`
    pub const HEADERS: u8 = 1;
    /// `PRIORITY`
    pub const PRIORITY: u8 = 2;
    /// `RST_STREAM`
    pub const RST_STREAM: u8 = 3;
    /// `SETTINGS`
    pub const SETTINGS: u8 = 4;
    /// `PUSH_PROMISE`
    pub const PUSH_PROMISE: u8 = 5;
    /// `PING`
    pub const PING: u8 = 6;
    /// `GOAWAY`
    pub const GOAWAY: u8 = 7;
    /// `WINDOW_UPDATE`
    pub const WINDOW_UPDATE: u8 = 8;
    /// `CONTINUATION`
    pub const CONTINUATION: u8 = 9;
}

/// Flags, by the kinds they belong to.
pub mod flag {
    /// Of DATA and HEADERS.
    pub const END_STREAM: u8 = 1;
    /// Of SETTINGS and PING.
    pub const ACK: u8 = 1;
    /// Of HEADERS and CONTINUATION.
    pub const END_HEADERS: u8 = 4;
    /// Of DATA and HEADERS.
    pub const PADDED: u8 = 8;
    /// Of HEADERS.
    pub const PRIORITY: u8 = 0x20;
}

/// Names of settings.
pub mod setting {
    /// `HEADER_TABLE_SIZE`
    pub const HEADER_TABLE_SIZE: u16 = 1;
    /// `ENABLE_PUSH`
    pub const ENABLE_PUSH: u16 = 2;
    /// `MAX_CONCURRENT_STREAMS`
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    /// `INITIAL_WINDOW_SIZE`
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    /// `MAX_FRAME_SIZE`
    pub const MAX_FRAME_SIZE: u16 = 5;
    /// `MAX_HEADER_LIST_SIZE`
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// RFC 8441.
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the payload.
    pub length: usize,
    /// One of [`kind`].
    pub kind: u8,
    /// Of [`flag`].
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
}

impl Header {
    /// The header at the start of `input`, if all of it is there.
    #[must_use]
    pub fn peek(input: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, rest @ ..] = *input.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes(rest) & 0x7fff_ffff,
        })
    }

    /// True if the frame has the flag.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Appends the header.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_slice(&self.bytes());
    }

    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

/// Writes the header of a frame whose payload has been appended since `start`, where room for it
/// was left.
pub fn finish(out: &mut [u8], start: usize, kind: u8, flags: u8, stream: u32) {
    let header = Header {
        length: out.len() - start - HEADER_BYTES,
        kind,
        flags,
        stream,
    };
    out[start..start + HEADER_BYTES].copy_from_slice(&header.bytes());
}

/// Where the content of a payload is, between its padding, and behind its priority where the flags
/// tell of one.
///
/// # Errors
/// [`Violation`] if there is more of these than payload.
pub fn content(header: &Header, payload: &[u8]) -> Result<Range<usize>, Violation> {
    let (mut start, mut padding) = (0, 0);
    if header.has(flag::PADDED) {
        padding = payload.first().copied().map_or(0, usize::from);
        start = 1;
    }
    if header.kind == kind::HEADERS && header.has(flag::PRIORITY) {
        start += 5;
    }
    if start + padding > payload.len() {
        let what = "more padding than payload";
        return Err(Violation::new(Reason::PROTOCOL_ERROR, what));
    }
    Ok(start..payload.len() - padding)
}

/// RST_STREAM.
pub fn reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    let header = Header {
        length: 4,
        kind: kind::RST_STREAM,
        flags: 0,
        stream,
    };
    header.write(out);
    out.put_u32(reason.0);
}

/// WINDOW_UPDATE.
pub fn window_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    let header = Header {
        length: 4,
        kind: kind::WINDOW_UPDATE,
        flags: 0,
        stream,
    };
    header.write(out);
    out.put_u32(bytes);
}

/// PING, or the answer to one.
pub fn ping(out: &mut Vec<u8>, ack: bool, payload: u64) {
    let header = Header {
        length: 8,
        kind: kind::PING,
        flags: if ack { flag::ACK } else { 0 },
        stream: 0,
    };
    header.write(out);
    out.put_u64(payload);
}

/// GOAWAY.
pub fn go_away(out: &mut Vec<u8>, last: u32, reason: Reason, why: &str) {
    let header = Header {
        length: 8 + why.len(),
        kind: kind::GOAWAY,
        flags: 0,
        stream: 0,
    };
    header.write(out);
    out.put_u32(last);
    out.put_u32(reason.0);
    out.put_slice(why.as_bytes());
}

/// SETTINGS.
pub fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let header = Header {
        length: settings.len() * 6,
        kind: kind::SETTINGS,
        flags: 0,
        stream: 0,
    };
    header.write(out);
    for (name, value) in settings {
        out.put_u16(*name);
        out.put_u32(*value);
    }
}

/// The answer to SETTINGS.
pub fn settings_ack(out: &mut Vec<u8>) {
    let header = Header {
        length: 0,
        kind: kind::SETTINGS,
        flags: flag::ACK,
        stream: 0,
    };
    header.write(out);
}
