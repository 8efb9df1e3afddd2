//! A connection to an upstream: one request at a time, polled by the request's own task.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Error;
use super::decode::{Decoder, Piece};
use super::encode::{self, OriginalCase, RequestLine};
use super::head::{self, Framing, Limits, ResponseHead, Scanner};
use super::io::Io;
use crate::detect::Prefixed;

/// A connection; clones share it. `B`: bodies of requests.
#[derive(Debug)]
pub struct Client<S, B>(Rc<RefCell<Inner<S, B>>>);

#[derive(Debug)]
struct Inner<S, B> {
    io: Io<S>,
    limits: Limits,
    scanner: Scanner,
    decoder: Decoder,
    method: Method,
    upload: Option<Upload<B>>,
    /// The peer will take another request.
    keep_alive: bool,
    /// It did not take all of the last one.
    broken: bool,
    trailers: bool,
}

/// A request's body on its way.
#[derive(Debug)]
struct Upload<B> {
    body: B,
    framing: Framing,
    /// Bytes that a `Content-Length` still promises.
    left: u64,
}

/// What a peer's connection is for.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Limits of heads.
    pub limits: Limits,
    /// Trailers of requests are sent.
    pub trailers: bool,
}

impl<S, B> Clone for Client<S, B> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S, B> Client<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: http_body::Body<Data = Bytes> + Unpin,
{
    /// A connection at its start.
    pub fn new(stream: S, settings: Settings) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            io: Io::new(Bytes::new(), stream),
            limits: settings.limits,
            scanner: Scanner::default(),
            decoder: Decoder::new(Framing::Empty),
            method: Method::GET,
            upload: None,
            keep_alive: true,
            broken: false,
            trailers: settings.trailers,
        })))
    }

    /// True if another request can be sent: the last one is over, and the peer neither closed nor
    /// said a word since.
    pub fn is_ready(&self) -> bool {
        let mut inner = self.0.borrow_mut();
        let clean = inner.keep_alive && !inner.broken;
        let clean = clean && inner.decoder.is_done() && inner.upload.is_none();
        if !clean || !inner.io.read.is_empty() || inner.io.has_output() {
            return false;
        }
        // Without a system call unless the peer has sent something: readiness is cached.
        let mut nobody = Context::from_waker(Waker::noop());
        inner.io.poll_fill(&mut nobody).is_pending()
    }

    /// Sends a request and waits for the response's head; the body of either may go on after it.
    ///
    /// # Errors
    /// [`Error`]; the connection is of no more use. Dropping the future leaves it so too.
    pub async fn send(&self, request: Request<B>) -> Result<Response<Body<S, B>>, Error> {
        self.0.borrow_mut().start(request);
        let head = poll_fn(|cx| self.0.borrow_mut().poll_response(cx)).await?;
        let empty = self.0.borrow().decoder.is_done();
        let body = Body {
            client: (!empty).then(|| self.clone()),
        };
        Ok(head.response.map(|()| body))
    }

    /// The stream after an upgrade. `None`: the response's body still holds it.
    pub fn into_stream(self) -> Option<Prefixed<S>> {
        let inner = Rc::into_inner(self.0)?.into_inner();
        let (prefix, stream) = inner.io.into_parts();
        Some(Prefixed::with_prefix(prefix, stream))
    }
}

impl<S, B> Inner<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: http_body::Body<Data = Bytes> + Unpin,
{
    fn start(&mut self, request: Request<B>) {
        let (parts, body) = request.into_parts();
        let told = parts.headers.get(http::header::CONTENT_LENGTH);
        let told = told.and_then(|value| value.to_str().ok()?.parse().ok());
        let framing = match (body.is_end_stream(), told.or(body.size_hint().exact())) {
            (true, _) | (_, Some(0)) => Framing::Empty,
            (_, Some(bytes)) => Framing::Length(bytes),
            (_, None) => Framing::Chunked,
        };
        let line = RequestLine {
            method: &parts.method,
            target: &parts.uri,
        };
        let case = parts.extensions.get::<OriginalCase>();
        encode::request_head(&mut self.io.write, &line, &parts.headers, framing, case);
        self.upload = (framing != Framing::Empty).then_some(Upload {
            body,
            framing,
            left: match framing {
                Framing::Length(bytes) => bytes,
                _ => u64::MAX,
            },
        });
        self.method = parts.method;
        // Until its response says otherwise the connection must not be used again.
        self.keep_alive = false;
        self.decoder = Decoder::new(Framing::UntilClose);
    }

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, Error>> {
        self.poll_output(cx)?;
        loop {
            let limit = self.limits.head_bytes;
            let head = self
                .scanner
                .take(&mut self.io.read, limit, head::check_response)?;
            if let Some(head) = head {
                let head = head::response(&head, &self.limits, &self.method)?;
                let status = head.response.status();
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                    continue;
                }
                self.decoder = Decoder::new(head.framing);
                self.keep_alive = head.keep_alive && status != StatusCode::SWITCHING_PROTOCOLS;
                return Poll::Ready(Ok(head));
            }
            if ready!(self.io.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(Error::Closed));
            }
        }
    }

    /// Moves the request's body and writes. A peer that stops reading may still answer: only
    /// reading tells whether it does.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        loop {
            let moved = self.poll_upload(cx)?;
            if !self.io.has_output() {
                return Ok(());
            }
            match self.io.poll_flush(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "upstream reads no more of the request");
                    self.broken = true;
                    self.upload = None;
                    self.io.discard_output();
                    return Ok(());
                }
                Poll::Ready(Ok(())) if moved.is_pending() || self.upload.is_none() => {
                    return Ok(());
                }
                Poll::Ready(Ok(())) => {}
            }
        }
    }

    /// Fills the write buffer from the body; ready when the body has ended or the buffer is full.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Error> {
        while let Some(upload) = &mut self.upload {
            if !self.io.has_room() {
                return Ok(Poll::Ready(()));
            }
            let chunked = upload.framing == Framing::Chunked;
            match Pin::new(&mut upload.body).poll_frame(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Some(Err(_told_by_the_client_side))) => return Err(Error::Cut),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        // More than was promised would be read as another request.
                        let left = upload.left.checked_sub(data.len() as u64);
                        upload.left = left.ok_or(Error::Cut)?;
                        self.io.push(data, chunked);
                        if upload.left == 0 {
                            self.upload = None;
                        }
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok().filter(|_| self.trailers);
                        self.end_upload(trailers.as_ref())?;
                    }
                },
                Poll::Ready(None) => self.end_upload(None)?,
            }
        }
        Ok(Poll::Ready(()))
    }

    fn end_upload(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), Error> {
        match self.upload.take() {
            Some(upload) if upload.framing == Framing::Chunked => {
                self.io.last_chunk(trailers);
                Ok(())
            }
            Some(upload) if upload.left > 0 => Err(Error::Cut),
            _ => Ok(()),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_output(cx)?;
        loop {
            match self.decoder.next(&mut self.io.read)? {
                Some(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Piece::Trailers(map)) => return Poll::Ready(Some(Ok(Frame::trailers(map)))),
                Some(Piece::End) => return Poll::Ready(None),
                None => {}
            }
            if ready!(self.io.poll_fill(cx))? == 0 {
                return Poll::Ready(if self.decoder.end_of_stream() {
                    None
                } else {
                    Some(Err(Error::Closed))
                });
            }
        }
    }
}

/// A response's body. Reads from the connection while it is polled.
#[derive(Debug)]
pub struct Body<S, B> {
    /// `None`: it has ended.
    client: Option<Client<S, B>>,
}

impl<S, B> http_body::Body for Body<S, B>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: http_body::Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let Some(client) = &this.client else {
            return Poll::Ready(None);
        };
        let mut inner = client.0.borrow_mut();
        let frame = ready!(pin!(&mut *inner).poll_frame(cx));
        let done = inner.decoder.is_done();
        drop(inner);
        if done {
            this.client = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.client.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let remaining = match &self.client {
            Some(client) => client.0.borrow().decoder.remaining(),
            None => Some(0),
        };
        remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests;
