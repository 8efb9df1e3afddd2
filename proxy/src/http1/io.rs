//! One stream with its read and write buffer.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use super::encode::CHUNK_END;
use crate::tls::PAGE_OFFSET_BYTES;

/// A first read, to the stack: holds nearly every head with a small body.
const READ_BYTES: usize = 8 * 1024;
/// A read in the middle of a body: 4 TLS records.
const BULK_READ_BYTES: usize = 64 * 1024;
/// Data shorter than this is copied behind the head; longer is written from where it lies.
const COPY_BYTES: usize = 4 * 1024;
/// With so much waiting to be written nothing more is taken.
const WRITE_HIGH_BYTES: usize = 64 * 1024;

/// A stream with buffers. An idle one owns neither.
#[derive(Debug)]
pub(crate) struct Io<S> {
    stream: S,
    pub(crate) read: BytesMut,
    pub(crate) write: Vec<u8>,
    /// Bytes of `write` that are written.
    written: usize,
    /// Data that follows `write`, not copied.
    large: Bytes,
    /// What follows `large`.
    end: Bytes,
    /// The stream may hold back what was written to it (a TLS session does).
    unflushed: bool,
    /// The last read filled the buffer: the peer is sending in bulk.
    bulk: bool,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    /// `prefix`: what was read from `stream` before.
    pub(crate) fn new(prefix: Bytes, stream: S) -> Self {
        Self {
            stream,
            read: prefix.into(),
            write: Vec::new(),
            written: 0,
            large: Bytes::new(),
            end: Bytes::new(),
            unflushed: false,
            bulk: false,
            ended: false,
        }
    }

    /// The peer has closed its side.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// One read, appended to `read`; 0 is the end. Frees an empty buffer when it must wait.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let polled = if self.bulk {
            self.poll_read_bulk(cx)
        } else {
            self.poll_read(cx)
        };
        match polled {
            Poll::Pending if self.read.is_empty() => self.read = BytesMut::new(),
            Poll::Pending => {}
            Poll::Ready(Ok(bytes)) => {
                self.ended = bytes == 0;
                self.bulk = bytes >= READ_BYTES;
            }
            Poll::Ready(Err(_)) => self.ended = true,
        }
        polled
    }

    /// Most polls find nothing, and most messages are small: the buffer is made once it is known
    /// how long it must be.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut stack = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut stack);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.read.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_read_bulk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < BULK_READ_BYTES / 2 {
            let length = PAGE_OFFSET_BYTES + self.read.len();
            let mut larger = BytesMut::with_capacity(length + BULK_READ_BYTES);
            larger.resize(PAGE_OFFSET_BYTES, 0);
            larger.extend_from_slice(&self.read);
            larger.advance(PAGE_OFFSET_BYTES);
            self.read = larger;
        }
        pin!(self.stream.read_buf(&mut self.read)).poll(cx)
    }

    /// Appends data, in a chunk of its own if `chunked`. Only when [`Io::has_room`].
    pub(crate) fn push(&mut self, data: Bytes, chunked: bool) {
        if data.is_empty() {
            return;
        }
        if chunked {
            super::encode::chunk_start(&mut self.write, data.len());
        }
        let end: &'static [u8] = if chunked { CHUNK_END } else { b"" };
        if data.len() < COPY_BYTES {
            self.write.extend_from_slice(&data);
            self.write.extend_from_slice(end);
        } else {
            self.large = data;
            self.end = Bytes::from_static(end);
        }
    }

    /// Another [`Io::push`] is possible.
    pub(crate) fn has_room(&self) -> bool {
        self.large.is_empty() && self.end.is_empty() && self.write.len() < WRITE_HIGH_BYTES
    }

    /// Ends a chunked body. Behind data that isn't written yet it waits with it.
    pub(crate) fn last_chunk(&mut self, trailers: Option<&HeaderMap>) {
        if self.large.is_empty() && self.end.is_empty() {
            super::encode::last_chunk(&mut self.write, trailers);
            return;
        }
        let mut end = self.end.to_vec();
        super::encode::last_chunk(&mut end, trailers);
        self.end = end.into();
    }

    /// The peer reads no more.
    pub(crate) fn discard_output(&mut self) {
        self.write = Vec::new();
        self.written = 0;
        self.large.clear();
        self.end.clear();
        self.unflushed = false;
    }

    /// Something waits to be written.
    pub(crate) fn has_output(&self) -> bool {
        self.unflushed || self.has_unwritten()
    }

    fn has_unwritten(&self) -> bool {
        !self.write.is_empty() || !self.large.is_empty() || !self.end.is_empty()
    }

    /// Writes all that waits, and flushes.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_unwritten() {
            self.unflushed = true;
            let head = &self.write[self.written..];
            let written = if self.large.is_empty() && self.end.is_empty() {
                ready!(Pin::new(&mut self.stream).poll_write(cx, head))?
            } else {
                let slices = [
                    IoSlice::new(head),
                    IoSlice::new(&self.large),
                    IoSlice::new(&self.end),
                ];
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let head = written.min(self.write.len() - self.written);
        self.written += head;
        let large = (written - head).min(self.large.len());
        self.large.advance(large);
        self.end.advance(written - head - large);
        if self.large.is_empty() {
            self.large = Bytes::new();
        }
        if self.written == self.write.len() {
            // Frees the buffer: between messages a connection should cost nothing.
            self.write = Vec::new();
            self.written = 0;
        }
    }

    /// Closes our side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// What was read ahead, and the stream.
    pub(crate) fn into_parts(self) -> (Bytes, S) {
        (self.read.freeze(), self.stream)
    }
}
