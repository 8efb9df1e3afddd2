//! An input as a network may deliver it: in pieces.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// `bytes` in pieces of 1 to 16 bytes, or of up to 512, whose lengths `seed` decides.
pub(crate) fn pieces(mut bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let most = if seed & 1 == 0 { 16 } else { 512 };
    let mut state = u64::from(seed);
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        // Knuth's generator (MMIX): any will do.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let length = 1 + (state >> 33) as usize % most;
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        bytes = rest;
        Some(piece)
    })
}

/// A stream that delivers one piece a read and is always ready.
pub(crate) struct Delivery<I>(pub(crate) I);

impl<'a, I: Iterator<Item = &'a [u8]> + Unpin> AsyncRead for Delivery<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        // A piece is shorter than any reader's buffer.
        buffer.put_slice(self.0.next().unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}
