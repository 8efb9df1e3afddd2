//! Bodies in: bytes of the read buffer become data and trailers.
//!
//! Source: RFC 9112 sections 6 and 7.1. Chunk sizes must be plain hexadecimal and lines must end
//! in CRLF: lenient readings of either have let requests be smuggled.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::head::{self, Framing, HeadError};

/// Longest line with a chunk's size and extensions.
const SIZE_LINE_BYTES: usize = 1024;
/// Longest trailer section.
const TRAILER_BYTES: usize = 16 * 1024;

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// No chunk size where one must be, or one too large.
    #[error("invalid chunk size")]
    Size,
    /// A chunk doesn't end where its size says.
    #[error("chunk not terminated by CRLF")]
    End,
    /// Trailers that can't be read.
    #[error("invalid trailers: {0}")]
    Trailers(HeadError),
}

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Content.
    Data(Bytes),
    /// What follows it; the end.
    Trailers(HeaderMap),
    /// The end.
    End,
}

/// Where in a body the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Done,
}

/// Takes one message's body out of a buffer.
#[derive(Debug)]
pub struct Decoder {
    state: State,
}

impl Decoder {
    /// For a body framed so.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(bytes) => State::Length(bytes),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Everything was taken.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes still to come, where the framing tells.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(bytes) => Some(bytes),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// The stream has ended: true if so has the body.
    pub fn end_of_stream(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// The next part in `buffer`; `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`BodyError`]; the connection is of no more use.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Piece>, BodyError> {
        loop {
            match self.state {
                State::Done => return Ok(Some(Piece::End)),
                _ if buffer.is_empty() => return Ok(None),
                State::UntilClose => return Ok(Some(Piece::Data(buffer.split().freeze()))),
                State::Length(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Length(left)
                    };
                    return Ok(Some(Piece::Data(data)));
                }
                State::Chunk(left) => {
                    let (data, left) = take(buffer, left);
                    self.state = if left == 0 {
                        State::ChunkEnd
                    } else {
                        State::Chunk(left)
                    };
                    return Ok(Some(Piece::Data(data)));
                }
                State::ChunkSize => match size_line(buffer)? {
                    None => return Ok(None),
                    Some(0) => self.state = State::Trailers,
                    Some(size) => self.state = State::Chunk(size),
                },
                State::ChunkEnd => match buffer.as_ref() {
                    [b'\r', b'\n', ..] => {
                        let _ = buffer.split_to(2);
                        self.state = State::ChunkSize;
                    }
                    [b'\r'] => return Ok(None),
                    _ => return Err(BodyError::End),
                },
                State::Trailers => {
                    let end = trailers(buffer)?;
                    if end.is_some() {
                        self.state = State::Done;
                    }
                    return Ok(end);
                }
            }
        }
    }
}

fn take(buffer: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
    (buffer.split_to(length).freeze(), left - length as u64)
}

/// `1a;extension=value CRLF`; `None` while the line isn't whole.
fn size_line(buffer: &mut BytesMut) -> Result<Option<u64>, BodyError> {
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        // A CR may be the last byte so far.
        return if buffer.len() > SIZE_LINE_BYTES + 1 {
            Err(BodyError::Size)
        } else {
            Ok(None)
        };
    };
    let line = buffer.split_to(end + 1);
    let line = line.strip_suffix(b"\r\n").ok_or(BodyError::Size)?;
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    // Blanks before an extension are allowed, nothing else.
    let blanks = digits.iter().rev().take_while(|byte| b" \t".contains(byte));
    let digits = &digits[..digits.len() - blanks.count()];
    if digits.is_empty() || digits.len() > 15 || line.len() > SIZE_LINE_BYTES {
        return Err(BodyError::Size);
    }
    if memchr::memchr(b'\r', line).is_some() {
        return Err(BodyError::Size);
    }
    let size = digits.iter().try_fold(0_u64, |sum, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        Some(sum * 16 + u64::from(digit))
    });
    size.map(Some).ok_or(BodyError::Size)
}

fn trailers(buffer: &mut BytesMut) -> Result<Option<Piece>, BodyError> {
    if buffer.starts_with(b"\r\n") {
        let _ = buffer.split_to(2);
        return Ok(Some(Piece::End));
    }
    match memchr::memmem::find(buffer, b"\r\n\r\n") {
        Some(end) if end + 4 <= TRAILER_BYTES => {
            let bytes = buffer.split_to(end + 4).freeze();
            let map = head::trailers(&bytes).map_err(BodyError::Trailers)?;
            Ok(Some(Piece::Trailers(map)))
        }
        None if buffer.len() <= TRAILER_BYTES => Ok(None),
        _ => Err(BodyError::Trailers(HeadError::TooLarge)),
    }
}

#[cfg(test)]
mod tests;
