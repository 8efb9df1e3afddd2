//! A connection to an upstream: many requests at a time, each polled by its own task.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::body::Upload;
use super::core::{Core, Link, Role};
use super::driver::{Driver, Step};
use super::duplex::Duplex;
use super::stream::Receiver;
use super::{Error, Reason, Settings};
use crate::detect::Prefixed;

/// A connection; dropped, it ends once its streams have.
#[derive(Debug)]
pub struct Client {
    link: Link,
}

/// Pings on a connection with requests in progress.
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    /// After so long without a frame.
    pub interval: Duration,
    /// It is broken if the answer takes longer.
    pub timeout: Duration,
}

/// A connection at its start, and what must be run for it.
pub fn connect<S>(stream: S, settings: Settings) -> (Client, Connection<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let link = Rc::new(RefCell::new(Core::new(Role::Client, settings)));
    let driver = Driver::new(Prefixed::with_prefix(Bytes::new(), stream), &link);
    let connection = Connection {
        driver,
        link: Rc::clone(&link),
    };
    (Client { link }, connection)
}

impl Client {
    /// No request can be sent any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.borrow().is_closing()
    }

    /// Requests that the peer takes at a time.
    #[must_use]
    pub fn concurrent_streams(&self) -> u32 {
        self.link.borrow().concurrent_streams()
    }

    /// Starts a request. Its body and its response are polled by what is returned.
    ///
    /// # Errors
    /// The request, if the connection takes no more: nothing was sent.
    pub fn send<B>(&self, request: Request<B>) -> Result<Exchange<B>, Box<Request<B>>>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        let bodiless = *request.method() == Method::HEAD;
        let connect = *request.method() == Method::CONNECT;
        let extended = request
            .extensions()
            .get::<super::head::Protocol>()
            .is_some();
        let stream = {
            let mut core = self.link.borrow_mut();
            let possible = !extended || core.takes_connect_protocol();
            if possible { core.open(bodiless) } else { None }
        };
        let Some(stream) = stream else {
            return Err(Box::new(request.map(|()| body)));
        };
        let (mut sender, receiver) = stream.split(&self.link);
        let end = !connect && body.is_end_stream();
        if sender.request(&request, end).is_err() {
            return Err(Box::new(request.map(|()| body)));
        }
        // What goes on the stream of a CONNECT is the tunnel's.
        let done = connect || end;
        Ok(Exchange {
            receiver,
            upload: Upload::new(sender, body, Reason::CANCEL, done),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.link.borrow_mut().say_goodbye();
    }
}

/// A request in progress. Dropped, it is cancelled.
#[derive(Debug)]
pub struct Exchange<B> {
    receiver: Receiver,
    upload: Upload<B>,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> Exchange<B> {
    /// Sends the request's body until the response's head comes; after that the response's body
    /// goes on with it.
    ///
    /// # Errors
    /// How the stream broke.
    pub async fn response(mut self) -> Result<Response<Body<B>>, Error> {
        let head = poll_fn(|cx| self.poll_head(cx)).await?;
        Ok(head.map(|()| Body { exchange: self }))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Error>> {
        // An answer tells more than that the rest of the body was not wanted.
        let uploaded = self.upload.poll(cx);
        match (self.receiver.poll_head(cx), uploaded) {
            (Poll::Ready(head), _) => Poll::Ready(head),
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Pending, _) => Poll::Pending,
        }
    }
}

/// A response's body, which carries the rest of the request's.
#[derive(Debug)]
pub struct Body<B> {
    exchange: Exchange<B>,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> Body<B> {
    /// The stream as a pipe, after a CONNECT that was agreed to.
    #[must_use]
    pub fn into_duplex(self) -> Duplex {
        let Exchange { receiver, upload } = self.exchange;
        Duplex::new(upload.into_sender(), receiver)
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Body<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let exchange = &mut self.get_mut().exchange;
        // If it fails, what comes tells how.
        let _ = exchange.upload.poll(cx);
        exchange.receiver.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.receiver.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        let remaining = self.exchange.receiver.remaining();
        remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A connection's own part: run it, or nothing happens.
#[derive(Debug)]
pub struct Connection<S> {
    driver: Driver<S>,
    link: Link,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Runs the connection to its end.
    ///
    /// # Errors
    /// How it broke.
    pub async fn run(mut self, keep_alive: Option<KeepAlive>) -> Result<(), Error> {
        let ended = match keep_alive {
            None => self.ended().await,
            Some(keep_alive) => self.kept_alive(keep_alive).await,
        };
        self.driver.close().await;
        ended
    }

    async fn ended(&mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            loop {
                match self.driver.poll(cx) {
                    Poll::Ready(Step::Ended(result)) => return Poll::Ready(result),
                    // Servers open no streams.
                    Poll::Ready(Step::Accepted) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    async fn kept_alive(&mut self, keep_alive: KeepAlive) -> Result<(), Error> {
        let link = Rc::clone(&self.link);
        let mut at = Instant::now() + keep_alive.interval;
        let mut heard = 0;
        let mut asked = false;
        loop {
            if let Ok(ended) = tokio::time::timeout_at(at, self.ended()).await {
                return ended;
            }
            let mut core = link.borrow_mut();
            let silent = std::mem::replace(&mut heard, core.heard) == core.heard;
            let now = Instant::now();
            if silent && asked {
                core.fail(Error::Silent);
                return Err(Error::Silent);
            }
            asked = silent && !core.is_quiet();
            at = now
                + if asked {
                    keep_alive.timeout
                } else {
                    keep_alive.interval
                };
            if asked {
                core.ping();
            }
        }
    }
}

#[cfg(test)]
mod tests;
