//! A stream as a pipe for bytes both ways: what CONNECT makes of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::{Receiver, Sender};
use super::{Error, Reason};

/// Bytes of one write: what is written must be copied, since the stream may have to wait.
const WRITE_BYTES: usize = 16 * 1024;

/// The two halves of a stream.
#[derive(Debug)]
pub struct Duplex {
    sender: Sender,
    receiver: Receiver,
    read: Bytes,
    written: Bytes,
    ended: bool,
}

impl Duplex {
    pub(super) fn new(sender: Sender, receiver: Receiver) -> Self {
        Self {
            sender,
            receiver,
            read: Bytes::new(),
            written: Bytes::new(),
            ended: false,
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.written.is_empty() {
            let sent = self.sender.poll_data(cx, &mut self.written, false);
            ready!(sent).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn broken(error: Error) -> io::Error {
    let kind = match error {
        Error::Io(kind) => kind,
        _ => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, error)
}

impl AsyncRead for Duplex {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.read.is_empty() {
            match ready!(this.receiver.poll_frame(cx)) {
                // Whoever cancels a tunnel has no more to say.
                None | Some(Err(Error::Reset(Reason::CANCEL))) => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                Some(Ok(frame)) => this.read = frame.into_data().unwrap_or_default(),
            }
        }
        let bytes = this.read.len().min(buf.remaining());
        buf.put_slice(&this.read[..bytes]);
        this.read.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let bytes = data.len().min(WRITE_BYTES);
        this.written = Bytes::copy_from_slice(&data[..bytes]);
        // It is ours now, whether it goes out at once or not.
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        if !std::mem::replace(&mut this.ended, true) {
            let ended = this.sender.poll_data(cx, &mut Bytes::new(), true);
            ready!(ended).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}
