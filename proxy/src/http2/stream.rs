//! One exchange's state, and the two handles on it: what comes and what goes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;

use super::core::{Core, Link};
use super::{Error, Reason, head};

/// A stream.
#[derive(Debug)]
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// Its state.
    pub(super) state: RefCell<State>,
    /// Handles on it.
    handles: Cell<u8>,
}

/// Where a stream stands.
#[derive(Debug, Default)]
pub(super) struct State {
    /// A response's head that nobody has taken yet.
    pub(super) head: Option<Response<()>>,
    /// There was one.
    pub(super) begun: bool,
    pub(super) data: VecDeque<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    /// The peer has sent all.
    pub(super) received: bool,
    /// We have.
    pub(super) sent: bool,
    /// It broke.
    pub(super) broken: Option<Error>,
    /// Bytes that the peer takes now.
    pub(super) send_window: i64,
    /// Bytes that the peer may send now.
    pub(super) recv_window: i64,
    /// Bytes that were read and not yet given back to the peer's window.
    pub(super) unreleased: u32,
    /// Bytes of the body that `content-length` still promises.
    pub(super) promised: Option<u64>,
    /// The request was HEAD: a length promises nothing.
    pub(super) bodiless: bool,
    /// The client waits for `100 Continue`.
    pub(super) owes_continue: bool,
    /// Nobody will read what comes.
    pub(super) unread: bool,
    /// It stands in the connection's queue of those that wait to send.
    pub(super) queued: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl State {
    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(super) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// The stream is over before its time.
    pub(super) fn fail(&mut self, error: Error) {
        self.broken.get_or_insert(error);
        self.wake_reader();
        self.wake_writer();
    }
}

fn wait(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}

impl Stream {
    pub(super) fn new(id: u32, state: State) -> Rc<Self> {
        Rc::new(Self {
            id,
            state: RefCell::new(state),
            handles: Cell::new(0),
        })
    }

    /// The handles on a new stream.
    pub(super) fn split(self: Rc<Self>, link: &Link) -> (Sender, Receiver) {
        self.handles.set(2);
        let sender = Sender {
            link: Rc::clone(link),
            stream: Rc::clone(&self),
        };
        let receiver = Receiver {
            link: Rc::clone(link),
            stream: self,
        };
        (sender, receiver)
    }

    /// The last handle gives up a stream that isn't over.
    fn release(self: &Rc<Self>, link: &Link) {
        self.handles.set(self.handles.get() - 1);
        if self.handles.get() > 0 {
            return;
        }
        let reason = {
            let state = self.state.borrow();
            match (state.sent, state.received) {
                _ if state.broken.is_some() => return,
                (true, true) => return,
                // The answer is complete, the rest of the request is of no use.
                (true, false) if link.borrow().is_server() => Reason::NO_ERROR,
                _ => Reason::CANCEL,
            }
        };
        link.borrow_mut().reset(self, reason, Error::Cancelled);
    }
}

/// What comes on a stream.
#[derive(Debug)]
pub struct Receiver {
    link: Link,
    stream: Rc<Stream>,
}

impl Receiver {
    /// The response's head.
    ///
    /// # Errors
    /// [`Error`] if the stream broke before it.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Error>> {
        let mut state = self.stream.state.borrow_mut();
        if let Some(head) = state.head.take() {
            return Poll::Ready(Ok(head));
        }
        if let Some(error) = state.broken {
            return Poll::Ready(Err(error));
        }
        wait(&mut state.reader, cx);
        Poll::Pending
    }

    /// The next piece of the body; `None` at its end. What is taken counts as read: the peer may
    /// send as much again.
    ///
    /// # Errors
    /// [`Error`] if the stream broke before the body's end.
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = self.stream.state.borrow_mut();
        if let Some(data) = state.data.pop_front() {
            let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
            self.link
                .borrow_mut()
                .give_back(self.stream.id, &mut state, bytes);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = state.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if state.received {
            return Poll::Ready(None);
        }
        match state.broken {
            // RFC 9113 section 8.1: an answer that needed no more of the request.
            Some(Error::Reset(Reason::NO_ERROR)) => return Poll::Ready(None),
            Some(error) => return Poll::Ready(Some(Err(error))),
            None => {}
        }
        if std::mem::take(&mut state.owes_continue) && !state.sent {
            drop(state);
            self.link.borrow_mut().proceed(&self.stream);
            state = self.stream.state.borrow_mut();
        }
        wait(&mut state.reader, cx);
        Poll::Pending
    }

    /// Nothing will come any more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        let state = self.stream.state.borrow();
        state.received && state.data.is_empty() && state.trailers.is_none()
    }

    /// Bytes that are still to be taken, where that is known.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        let state = self.stream.state.borrow();
        let waiting: usize = state.data.iter().map(Bytes::len).sum();
        match state.promised {
            Some(promised) if !state.bodiless => Some(promised + waiting as u64),
            _ if state.received => Some(waiting as u64),
            _ => None,
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.stream.state.borrow_mut();
            state.unread = true;
            state.reader = None;
            state.trailers = None;
            std::mem::take(&mut state.data)
        };
        if !waiting.is_empty() {
            let bytes: usize = waiting.iter().map(Bytes::len).sum();
            self.link.borrow_mut().discard(bytes);
        }
        self.stream.release(&self.link);
    }
}

/// What goes on a stream.
#[derive(Debug)]
pub struct Sender {
    link: Link,
    stream: Rc<Stream>,
}

impl Sender {
    /// Sends a response's head. `end`: there is no body.
    ///
    /// # Errors
    /// [`Error`] if the stream has broken.
    pub fn response(
        &mut self,
        status: StatusCode,
        fields: &HeaderMap,
        end: bool,
    ) -> Result<(), Error> {
        self.stream.state.borrow_mut().owes_continue = false;
        self.block(end, |core| {
            head::write_response(&mut core.encoder, &mut core.out, status, fields);
        })
    }

    /// Sends a request's head.
    pub(super) fn request(&mut self, request: &Request<()>, end: bool) -> Result<(), Error> {
        self.block(end, |core| {
            head::write_request(&mut core.encoder, &mut core.out, request);
        })
    }

    /// Sends trailers, which end the stream.
    ///
    /// # Errors
    /// [`Error`] if the stream has broken.
    pub fn trailers(&mut self, fields: &HeaderMap) -> Result<(), Error> {
        self.block(true, |core| {
            head::write_trailers(&mut core.encoder, &mut core.out, fields);
        })
    }

    fn block(&mut self, end: bool, write: impl FnOnce(&mut Core)) -> Result<(), Error> {
        if let Some(error) = self.stream.state.borrow().broken {
            return Err(error);
        }
        self.link.borrow_mut().send_block(&self.stream, end, write);
        Ok(())
    }

    /// Sends `data` as far as windows and buffer allow, and ends the stream with it if `end`.
    /// Ready when all of it is on its way.
    ///
    /// # Errors
    /// [`Error`] if the stream has broken.
    pub fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        end: bool,
    ) -> Poll<Result<(), Error>> {
        let mut core = self.link.borrow_mut();
        loop {
            let mut state = self.stream.state.borrow_mut();
            if let Some(error) = state.broken {
                return Poll::Ready(Err(error));
            }
            let room = core.room(&state).min(data.len());
            if room == 0 && !data.is_empty() {
                wait(&mut state.writer, cx);
                if state.send_window > 0 && !std::mem::replace(&mut state.queued, true) {
                    core.waiting.push(Rc::clone(&self.stream));
                }
                return Poll::Pending;
            }
            state.send_window -= i64::try_from(room).unwrap_or(i64::MAX);
            drop(state);
            let last = room == data.len();
            core.send_data(&self.stream, &data[..room], end && last);
            data.advance(room);
            if last {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Waits until the peer resets the stream, or the connection ends.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut state = self.stream.state.borrow_mut();
        match state.broken {
            Some(error) => Poll::Ready(error),
            None => {
                wait(&mut state.writer, cx);
                Poll::Pending
            }
        }
    }

    /// Breaks the stream off.
    pub fn reset(&mut self, reason: Reason) {
        let over = {
            let state = self.stream.state.borrow();
            state.broken.is_some() || (state.sent && state.received)
        };
        if !over {
            let mut core = self.link.borrow_mut();
            core.reset(&self.stream, reason, Error::Cancelled);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stream.state.borrow_mut().writer = None;
        self.stream.release(&self.link);
    }
}
