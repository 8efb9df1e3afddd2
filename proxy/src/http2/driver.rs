//! A connection's IO.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Error;
use super::core::Link;
use crate::detect::Prefixed;
use crate::http1::io::Io;

/// So many reads in a row; then others of the thread have their turn.
const READS: usize = 8;
/// How long a peer may take to see why its connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// Moves bytes between a stream and a connection's state. Must be polled for anything to happen
/// on the connection.
#[derive(Debug)]
pub struct Driver<S> {
    io: Io<S>,
    link: Link,
    /// What was read hasn't been looked at.
    fresh: bool,
}

/// Why a driver returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There are new streams.
    Accepted,
    /// The connection has ended.
    Ended(Result<(), Error>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(stream: Prefixed<S>, link: &Link) -> Self {
        let (prefix, stream) = stream.into_parts();
        Self {
            fresh: !prefix.is_empty(),
            io: Io::new(prefix, stream),
            link: Rc::clone(link),
        }
    }

    /// Reads what is there, and writes what is to be written.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.link.borrow_mut().driver = None; // we are running
        for turn in 0.. {
            if std::mem::take(&mut self.fresh) {
                let mut core = self.link.borrow_mut();
                if let Err(violation) = core.receive(&mut self.io.read) {
                    core.fail(violation.into());
                }
                if !core.accepted.is_empty() {
                    return Poll::Ready(Step::Accepted);
                }
            }
            if self.link.borrow().ended.is_some() {
                break;
            }
            if turn == READS {
                cx.waker().wake_by_ref();
                break;
            }
            match self.io.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.link.borrow_mut().fail(Error::Closed),
                Poll::Ready(Ok(_)) => self.fresh = true,
                Poll::Ready(Err(error)) => self.link.borrow_mut().fail(error.into()),
            }
        }
        self.poll_out(cx)
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let flushed = self.poll_flush(cx);
        let mut core = self.link.borrow_mut();
        match (core.ended, flushed) {
            // What was still to be told to the streams has been; the rest is `close`.
            (Some(Err(error)), _) => return Poll::Ready(Step::Ended(Err(error))),
            (Some(Ok(())), Poll::Ready(_)) => return Poll::Ready(Step::Ended(Ok(()))),
            (None, Poll::Ready(Err(error))) => {
                core.fail(error);
                return Poll::Ready(Step::Ended(Err(error)));
            }
            (_, Poll::Ready(Ok(())) | Poll::Pending) => {}
        }
        core.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            if !self.io.has_output() {
                let mut core = self.link.borrow_mut();
                core.unwritten = 0;
                core.wake_waiting();
                if core.out.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                std::mem::swap(&mut self.io.write, &mut core.out);
            }
            let flushed = self.io.poll_flush(cx);
            self.link.borrow_mut().unwritten = self.io.write.len();
            ready!(flushed)?;
        }
    }

    /// Closes: the peer gets what it was told last, if it reads soon.
    pub async fn close(&mut self) {
        let closed = async {
            if std::future::poll_fn(|cx| self.poll_flush(cx)).await.is_ok() {
                // It is closed either way.
                let _ = std::future::poll_fn(|cx| self.io.poll_shutdown(cx)).await;
            }
        };
        let _ = tokio::time::timeout(LINGER, closed).await; // it is closed either way
    }
}

impl<S> Drop for Driver<S> {
    /// Nobody moves bytes any more: no stream may wait for some.
    fn drop(&mut self) {
        self.link.borrow_mut().fail(Error::Closed);
    }
}
