//! A client's connection: one request at a time, all in the connection's own task.

mod plan;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Error;
use super::decode::{Decoder, Piece};
use super::encode::{self, OriginalCase};
use super::head::{self, Framing, Limits, Scanner};
use super::io::Io;
use crate::detect::Prefixed;
use plan::Plan;

/// What the connection needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Limits of heads.
    pub limits: Limits,
    /// From a head's first byte to its last.
    pub head_timeout: Duration,
}

/// A connection.
#[derive(Debug)]
pub struct Server<S> {
    io: RefCell<Io<S>>,
    decoder: RefCell<Decoder>,
    scanner: RefCell<Scanner>,
    settings: Settings,
    /// The client waits for `100 Continue`.
    owes_continue: Cell<bool>,
    /// No request after this one; set from outside.
    closing: Rc<Cell<bool>>,
}

/// What answering a request takes from it.
#[derive(Debug, Clone)]
pub struct Asked {
    method: Method,
    version: Version,
    keep_alive: bool,
    takes_trailers: bool,
}

/// How long a client may take to see our last response before the connection is cut.
const LINGER: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// A connection at its start. `closing`: set it to end the connection after the request in
    /// progress, or at the next poll if there is none.
    pub fn new(stream: Prefixed<S>, settings: Settings, closing: Rc<Cell<bool>>) -> Rc<Self> {
        let (prefix, stream) = stream.into_parts();
        Rc::new(Self {
            io: RefCell::new(Io::new(prefix, stream)),
            decoder: RefCell::new(Decoder::new(Framing::Empty)),
            scanner: RefCell::default(),
            settings,
            owes_continue: Cell::new(false),
            closing,
        })
    }

    /// The next request; `None` at the end of the connection.
    ///
    /// # Errors
    /// [`Error`]; see [`Server::refuse`].
    pub async fn next(self: &Rc<Self>) -> Result<Option<(Request<Body<S>>, Asked)>, Error> {
        // The clock runs from the head's first byte; before it only idleness counts.
        if !poll_fn(|cx| self.poll_first_byte(cx)).await? {
            return Ok(None);
        }
        let bytes = match self.whole_head()? {
            Some(bytes) => bytes,
            None => Box::pin(self.rest_of_head()).await?,
        };
        let head = head::request(&bytes, &self.settings.limits)?;
        self.decoder.replace(Decoder::new(head.framing));
        self.owes_continue.set(head.expects_continue);
        let asked = Asked {
            method: head.request.method().clone(),
            version: head.request.version(),
            keep_alive: head.keep_alive,
            takes_trailers: takes_trailers(head.request.headers()),
        };
        let body = Body {
            server: (head.framing != Framing::Empty).then(|| Rc::clone(self)),
        };
        Ok(Some((head.request.map(|()| body), asked)))
    }

    /// False at the end of the connection.
    fn poll_first_byte(&self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        let mut io = self.io.borrow_mut();
        if !io.read.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if self.closing.get() {
            return Poll::Ready(Ok(false));
        }
        Poll::Ready(Ok(ready!(io.poll_fill(cx))? > 0))
    }

    fn whole_head(&self) -> Result<Option<Bytes>, Error> {
        let limit = self.settings.limits.head_bytes;
        let read = &mut self.io.borrow_mut().read;
        let mut scanner = self.scanner.borrow_mut();
        Ok(scanner.take(read, limit, head::check_request)?)
    }

    async fn rest_of_head(&self) -> Result<Bytes, Error> {
        let whole = poll_fn(|cx| {
            loop {
                if ready!(self.io.borrow_mut().poll_fill(cx))? == 0 {
                    return Poll::Ready(Err(Error::Closed));
                }
                if let Some(head) = self.whole_head()? {
                    return Poll::Ready(Ok(head));
                }
            }
        });
        let timely = tokio::time::timeout(self.settings.head_timeout, whole).await;
        timely.map_err(|_elapsed| Error::HeadTimeout)?
    }

    /// Waits until the client has left, or has sent so much of its next request that it may wait.
    /// While the request's body is being read, that tells instead.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.decoder.borrow().is_done() {
            return Poll::Pending;
        }
        let mut io = self.io.borrow_mut();
        while io.read.len() < self.settings.limits.head_bytes {
            match ready!(io.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut io = self.io.borrow_mut();
        loop {
            match self.decoder.borrow_mut().next(&mut io.read) {
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
                Ok(Some(Piece::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Some(Piece::Trailers(map))) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(map))));
                }
                Ok(Some(Piece::End)) => return Poll::Ready(None),
                Ok(None) => {}
            }
            if self.owes_continue.replace(false) {
                io.write.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if io.has_output()
                && let Poll::Ready(Err(error)) = io.poll_flush(cx)
            {
                return Poll::Ready(Some(Err(error.into())));
            }
            match ready!(io.poll_fill(cx)) {
                Ok(0) => return Poll::Ready(Some(Err(Error::Closed))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    /// Sends a response. True if the connection can serve another request.
    ///
    /// # Errors
    /// [`Error::Cut`] if the body broke off, [`Error::Io`] or [`Error::Closed`] if the client left.
    pub async fn respond<B>(&self, asked: &Asked, response: Response<B>) -> Result<bool, Error>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (parts, mut body) = response.into_parts();
        let plan = Plan::new(asked, &parts, &body, self.closing.get());
        {
            let case = parts.extensions.get::<OriginalCase>();
            let mut io = self.io.borrow_mut();
            encode::response_head(
                &mut io.write,
                parts.status,
                &parts.headers,
                plan.framing,
                plan.persistence,
                case,
            );
        }
        drop(parts);
        if plan.has_body {
            let sent = poll_fn(|cx| self.poll_send(cx, &mut body, &plan)).await;
            if let Err(Error::Cut) = sent {
                // What came before the break is the client's.
                let flush = poll_fn(|cx| self.io.borrow_mut().poll_flush(cx));
                let _ = tokio::time::timeout(LINGER, flush).await; // it is cut either way
            }
            sent?;
        }
        poll_fn(|cx| self.io.borrow_mut().poll_flush(cx)).await?;
        Ok(plan.keep && self.decoder.borrow().is_done() && !self.io.borrow().has_ended())
    }

    /// Moves the body into the write buffer. What is ready goes out with the head in one write.
    fn poll_send<B>(
        &self,
        cx: &mut Context<'_>,
        body: &mut B,
        plan: &Plan,
    ) -> Poll<Result<(), Error>>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let chunked = plan.framing == Some(Framing::Chunked);
        loop {
            if !self.io.borrow().has_room() {
                ready!(self.io.borrow_mut().poll_flush(cx))?;
            }
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.io.borrow_mut().push(data, chunked),
                    Err(frame) => {
                        let trailers = frame.into_trailers().ok();
                        if chunked {
                            let trailers = trailers.filter(|_| plan.trailers);
                            self.io.borrow_mut().last_chunk(trailers.as_ref());
                        }
                        return Poll::Ready(Ok(()));
                    }
                },
                Poll::Ready(Some(Err(_told_by_the_report))) => {
                    return Poll::Ready(Err(Error::Cut));
                }
                Poll::Ready(None) => {
                    if chunked {
                        self.io.borrow_mut().last_chunk(None);
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    if self.io.borrow().has_output()
                        && let Poll::Ready(Err(error)) = self.io.borrow_mut().poll_flush(cx)
                    {
                        return Poll::Ready(Err(error.into()));
                    }
                    return match self.poll_gone(cx) {
                        Poll::Ready(()) => Poll::Ready(Err(Error::Closed)),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Tells the client why its connection is closed, if `error` has an answer, and closes it.
    pub async fn refuse(&self, error: &Error) {
        let Some(status) = error.answer() else {
            return;
        };
        encode::refusal(&mut self.io.borrow_mut().write, status);
        self.close().await;
    }

    /// Closes in good order: our last bytes must not be lost to a reset that unread input causes.
    pub async fn close(&self) {
        let close = async {
            let flushed = poll_fn(|cx| self.io.borrow_mut().poll_flush(cx)).await;
            let ended = poll_fn(|cx| self.io.borrow_mut().poll_shutdown(cx)).await;
            if flushed.is_err() || ended.is_err() {
                return;
            }
            loop {
                self.io.borrow_mut().read.clear();
                let read = poll_fn(|cx| self.io.borrow_mut().poll_fill(cx)).await;
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
        };
        let deadline = Instant::now() + LINGER;
        let _ = tokio::time::timeout_at(deadline, pin!(close)).await; // it is closed either way
    }

    /// The stream after an upgrade. `None`: somebody still reads a request's body.
    pub fn into_stream(self: Rc<Self>) -> Option<Prefixed<S>> {
        let server = Rc::into_inner(self)?;
        let (prefix, stream) = server.io.into_inner().into_parts();
        Some(Prefixed::with_prefix(prefix, stream))
    }
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|item| item.trim() == "trailers"))
}

/// A request's body. Reads from the connection while it is polled.
#[derive(Debug)]
pub struct Body<S> {
    /// `None`: there is none.
    server: Option<Rc<Server<S>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> http_body::Body for Body<S> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let Some(server) = &this.server else {
            return Poll::Ready(None);
        };
        let frame = ready!(server.poll_frame(cx));
        if server.decoder.borrow().is_done() {
            // The connection's next request is another's.
            this.server = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.server.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let remaining = match &self.server {
            Some(server) => server.decoder.borrow().remaining(),
            None => Some(0),
        };
        remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Who gets the stream after an upgrade.
pub type Successor<S> = oneshot::Sender<Prefixed<S>>;

/// Serves a connection's requests one after the other.
///
/// `exchange`: makes the response, and names a successor if HTTP ends with it.
///
/// # Errors
/// [`Error`] of the client's side.
pub async fn serve<S, B, F>(
    server: Rc<Server<S>>,
    mut exchange: impl FnMut(Request<Body<S>>) -> F,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: http_body::Body<Data = Bytes> + Unpin,
    F: Future<Output = (Response<B>, Option<Successor<S>>)>,
{
    loop {
        let (request, asked) = match server.next().await {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) => {
                server.refuse(&error).await;
                return Err(error);
            }
        };
        let (response, successor) = {
            let mut exchanged = pin!(exchange(request));
            let exchanged = poll_fn(|cx| {
                if let Poll::Ready(answer) = exchanged.as_mut().poll(cx) {
                    return Poll::Ready(Some(answer));
                }
                // The client has left: dropping the exchange cancels what it waits for.
                server.poll_gone(cx).map(|()| None)
            });
            match exchanged.await {
                Some(answer) => answer,
                None => return Ok(()),
            }
        };
        let again = server.respond(&asked, response).await?;
        if let Some(successor) = successor {
            if let Some(stream) = server.into_stream() {
                let _ = successor.send(stream); // it may have been cancelled
            }
            return Ok(());
        }
        if !again {
            server.close().await;
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
