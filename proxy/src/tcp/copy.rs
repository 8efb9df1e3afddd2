//! Copies bytes both ways between two streams until both sides have closed.
//!
//! One future polls both directions, so no stream needs splitting and no lock is taken. Idle
//! connections own no buffer: reads go into one scratch buffer per worker thread, and only what
//! the other side would not take at once is kept. That is stronger than growing buffers
//! (performance.md lesson 3): idle costs nothing, bulk moves 64 KiB at a time. Bulk between two
//! bare sockets is not copied at all, but spliced.
//!
//! A reset or broken pipe ends a connection normally. Half-close is passed on.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::splice::{self, Bare, Loan};
use crate::tls::PAGE_OFFSET_BYTES;

/// One read from a socket: 4 TLS records, the size from which on larger reads no longer help.
const SCRATCH_BYTES: usize = 64 * 1024;

/// A read that brings so much says that more is coming: between sockets it is then spliced.
const BULK_BYTES: usize = 16 * 1024;

/// Reads in a row before the task lets others run.
const READS_PER_TURN: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> =
        RefCell::new(vec![0; PAGE_OFFSET_BYTES + SCRATCH_BYTES].into_boxed_slice());
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides closed, or one was reset.
    Closed,
    /// Nothing moved for the idle timeout.
    Idle,
}

/// Told about every chunk that was written.
pub trait Observer {
    /// `bytes` went from the first stream to the second.
    fn forward(&self, bytes: u64);
    /// `bytes` went from the second stream to the first.
    fn backward(&self, bytes: u64);
}

/// Copies between `a` and `b`; `idle`: none for no limit.
///
/// # Errors
/// An IO error other than a reset, a broken pipe or a TLS peer that left without a goodbye.
pub async fn both_ways<A, B>(
    a: &mut A,
    b: &mut B,
    idle: Option<Duration>,
    observer: &impl Observer,
) -> io::Result<End>
where
    A: AsyncRead + AsyncWrite + Bare + Unpin,
    B: AsyncRead + AsyncWrite + Bare + Unpin,
{
    let mut forward = Direction::default();
    let mut backward = Direction::default();
    let mut timer = idle.map(IdleTimer::new);
    poll_fn(|cx| {
        let there = forward.poll(cx, a, b, |bytes| observer.forward(bytes));
        let back = backward.poll(cx, b, a, |bytes| observer.backward(bytes));
        let moved = std::mem::take(&mut forward.moved) | std::mem::take(&mut backward.moved);
        match (there, back) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => {
                Poll::Ready(if is_normal_end(&error) {
                    Ok(End::Closed)
                } else {
                    Err(error)
                })
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(End::Closed)),
            _ => match &mut timer {
                Some(timer) => timer.poll(cx, moved).map(|()| Ok(End::Idle)),
                None => Poll::Pending,
            },
        }
    })
    .await
}

/// True for the ways in which peers end connections every day.
pub fn is_normal_end(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected
            | Kind::UnexpectedEof
    )
}

/// What was read but not yet taken by the writer.
#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Bytes(Bytes),
    Pipe(Loan),
}

#[derive(Default)]
struct Direction {
    held: Held,
    state: State,
    /// The last read brought much.
    bulk: bool,
    /// The writer has bytes that it may hold back until flushed (TLS).
    unflushed: bool,
    /// Bytes moved since the idle timer last asked.
    moved: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Copying,
    ShuttingDown,
    Done,
}

impl Direction {
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        count: impl Fn(u64),
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Bare + Unpin,
        W: AsyncWrite + Bare + Unpin,
    {
        if self.state == State::Copying {
            ready!(self.poll_copy(cx, reader, writer, &count))?;
            self.state = State::ShuttingDown;
        }
        if self.state == State::ShuttingDown {
            match ready!(Pin::new(writer).poll_shutdown(cx)) {
                Err(error) if !is_normal_end(&error) => return Poll::Ready(Err(error)),
                _ => self.state = State::Done,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready at the reader's end of stream, with everything written.
    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        count: &impl Fn(u64),
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Bare + Unpin,
        W: AsyncWrite + Bare + Unpin,
    {
        for _ in 0..READS_PER_TURN {
            if self.poll_drain(cx, writer, count)?.is_pending() {
                return self.poll_flush(cx, writer);
            }
            let read = match self.splice(reader, writer)? {
                Some(moved) => moved,
                None => match self.poll_read(cx, reader, writer, count)? {
                    Poll::Ready(read) => read,
                    Poll::Pending => return self.poll_flush(cx, writer),
                },
            };
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            self.bulk = read >= BULK_BYTES;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready once the writer has taken all that was read.
    fn poll_drain<W: AsyncWrite + Bare + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
        count: &impl Fn(u64),
    ) -> Poll<io::Result<()>> {
        loop {
            let (written, left) = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Bytes(bytes) => {
                    let written = ready!(Pin::new(&mut *writer).poll_write(cx, bytes))?;
                    bytes.advance(written);
                    (written, bytes.len())
                }
                Held::Pipe(pipe) => {
                    let socket = writer.bare().expect("it was bare when the pipe was filled");
                    (ready!(splice::poll_drain(cx, pipe, socket))?, pipe.held())
                }
            };
            if left == 0 {
                self.held = Held::Nothing;
            }
            self.wrote(written, count)?;
        }
    }

    /// Reads bulk from socket to socket into a pipe; how much, `None` if it must be read as ever.
    fn splice(&mut self, reader: &impl Bare, writer: &impl Bare) -> io::Result<Option<usize>> {
        let (true, Some(from), Some(_)) = (self.bulk, reader.bare(), writer.bare()) else {
            return Ok(None);
        };
        Ok(splice::fill(from)?.map(|pipe| {
            let moved = pipe.held();
            self.held = Held::Pipe(pipe);
            moved
        }))
    }

    /// Reads once and writes what the writer takes at once; how much was read.
    fn poll_read<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
        count: &impl Fn(u64),
    ) -> Poll<io::Result<usize>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch[PAGE_OFFSET_BYTES..]);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut buffer))?;
            let filled = buffer.filled();
            if filled.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let written = match Pin::new(&mut *writer).poll_write(cx, filled) {
                Poll::Ready(written) => {
                    let written = written?;
                    self.wrote(written, count)?;
                    written
                }
                Poll::Pending => 0,
            };
            if written < filled.len() {
                self.held = Held::Bytes(Bytes::copy_from_slice(&filled[written..]));
            }
            Poll::Ready(Ok(filled.len()))
        })
    }

    fn wrote(&mut self, bytes: usize, count: &impl Fn(u64)) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.unflushed = true;
        self.moved = true;
        count(bytes as u64);
        Ok(())
    }

    /// Always pending unless the flush fails.
    fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Pending
    }
}

/// Fires once nothing has moved for the timeout. Re-armed only when it fires, not per read.
struct IdleTimer {
    timeout: Duration,
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl IdleTimer {
    fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            last: Instant::now(),
            sleep: Box::pin(tokio::time::sleep(timeout)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        if moved {
            self.last = Instant::now();
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let deadline = self.last + self.timeout;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
#[path = "copy/tests.rs"]
mod tests;
