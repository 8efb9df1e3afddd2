//! Message bodies on streams.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::stream::{Receiver, Sender};
use super::{Error, Reason};

/// A body that comes.
#[derive(Debug)]
pub struct Body {
    /// `None`: there is none.
    receiver: Option<Receiver>,
}

impl Body {
    pub(super) fn new(receiver: Option<Receiver>) -> Self {
        Self { receiver }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.get_mut().receiver {
            Some(receiver) => receiver.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.receiver.as_ref().is_none_or(Receiver::is_end)
    }

    fn size_hint(&self) -> SizeHint {
        let remaining = match &self.receiver {
            Some(receiver) => receiver.remaining(),
            None => Some(0),
        };
        remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A body on its way out.
#[derive(Debug)]
pub struct Upload<B> {
    sender: Sender,
    body: B,
    /// Data that did not go out at once, and whether it is the last.
    data: Option<(Bytes, bool)>,
    /// What the peer is told if the body breaks off.
    cut: Reason,
    done: bool,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> Upload<B> {
    /// Sends `body`, unless the stream has ended with its head (`done`).
    pub(super) fn new(sender: Sender, body: B, cut: Reason, done: bool) -> Self {
        Self {
            sender,
            body,
            data: None,
            cut,
            done,
        }
    }

    /// Moves the body as far as it and the peer allow. Ready when all of it is on its way.
    ///
    /// # Errors
    /// [`Error::Cut`] if the body broke off, else how the stream broke.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.done {
            if let Some((data, last)) = &mut self.data {
                ready!(self.sender.poll_data(cx, data, *last))?;
                self.done = *last;
                self.data = None;
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => {
                    return match self.sender.poll_broken(cx) {
                        Poll::Ready(error) => Poll::Ready(Err(error)),
                        Poll::Pending => Poll::Pending,
                    };
                }
                Poll::Ready(None) => self.data = Some((Bytes::new(), true)),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.data = Some((data, self.body.is_end_stream())),
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            self.sender.trailers(&trailers)?;
                        }
                        self.done = true;
                    }
                },
                Poll::Ready(Some(Err(_told_by_the_report))) => {
                    self.sender.reset(self.cut);
                    return Poll::Ready(Err(Error::Cut));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// As [`Upload::poll`].
    pub async fn finish(mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The way out, for other bytes.
    pub(super) fn into_sender(self) -> Sender {
        self.sender
    }
}
