//! A stream whose first bytes were already read: they are replayed, then the stream goes on.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// `io` preceded by `prefix`; writes go straight to `io`.
#[derive(Debug)]
pub struct Prefixed<S> {
    prefix: Bytes,
    io: S,
}

impl<S> Prefixed<S> {
    /// Wraps `io` with nothing to replay.
    pub fn new(io: S) -> Self {
        Self {
            prefix: Bytes::new(),
            io,
        }
    }

    /// Wraps `io`; `prefix` is read first.
    pub fn with_prefix(prefix: Bytes, io: S) -> Self {
        Self { prefix, io }
    }

    /// The bytes that still wait to be replayed.
    pub fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// Both parts: the bytes not yet replayed and the stream.
    pub fn into_parts(self) -> (Bytes, S) {
        (self.prefix, self.io)
    }

    /// The same prefix before another stream.
    pub fn map<T>(self, make: impl FnOnce(S) -> T) -> Prefixed<T> {
        Prefixed {
            prefix: self.prefix,
            io: make(self.io),
        }
    }
}

impl<S: AsyncRead + Unpin> Prefixed<S> {
    /// Reads once more from the stream and appends to the prefix.
    ///
    /// Returns the number of new bytes; 0 is the end of the stream.
    ///
    /// # Errors
    /// The read's own error.
    pub async fn read_more(&mut self, at_most: usize) -> io::Result<usize> {
        let mut buffer = BytesMut::with_capacity(self.prefix.len() + at_most);
        buffer.extend_from_slice(&self.prefix);
        let read = self.io.read_buf(&mut buffer).await?;
        self.prefix = buffer.freeze();
        Ok(read)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let length = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..length]);
        self.prefix.advance(length);
        if self.prefix.is_empty() {
            // Frees the buffer now: an idle connection must not keep it.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}
