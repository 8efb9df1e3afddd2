//! Finding the end of a head in what has arrived.

use bytes::{Bytes, BytesMut};

use super::HeadError;

/// Looks for a whole head at the start of a buffer that grows.
#[derive(Debug, Default)]
pub struct Scanner {
    seen: usize,
}

impl Scanner {
    /// The head's bytes, taken from `buffer`; `None` while it isn't whole.
    ///
    /// `check`: a first look at an incomplete head, so that garbage is refused at once.
    ///
    /// # Errors
    /// [`HeadError::TooLarge`], or what `check` says.
    pub fn take(
        &mut self,
        buffer: &mut BytesMut,
        limit_bytes: usize,
        check: impl FnOnce(&[u8]) -> Result<(), HeadError>,
    ) -> Result<Option<Bytes>, HeadError> {
        if let Some(end) = self.end(buffer) {
            self.seen = 0;
            if end > limit_bytes {
                return Err(HeadError::TooLarge);
            }
            return Ok(Some(buffer.split_to(end).freeze()));
        }
        if buffer.len() > limit_bytes {
            return Err(HeadError::TooLarge);
        }
        if self.seen == 0 && !buffer.is_empty() {
            check(buffer)?;
        }
        self.seen = buffer.len();
        Ok(None)
    }

    /// Index after the empty line. Looks at each byte once: a slow client costs no more.
    fn end(&self, buffer: &[u8]) -> Option<usize> {
        // Empty lines before a request are ignored (RFC 9112 section 2.2), also as its end.
        let start = buffer
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'))?;
        let from = self.seen.saturating_sub(3).max(start);
        memchr::memchr_iter(b'\n', &buffer[from..]).find_map(|index| {
            let rest = &buffer[from + index + 1..];
            match rest {
                [b'\n', ..] => Some(from + index + 2),
                [b'\r', b'\n', ..] => Some(from + index + 3),
                _ => None,
            }
        })
    }
}
