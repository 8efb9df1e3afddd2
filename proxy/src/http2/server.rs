//! A client's connection: requests as they come, each answered by whoever takes it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{Body, Upload};
use super::core::{Core, Link, Role};
use super::driver::{Driver, Step};
use super::duplex::Duplex;
use super::stream::{Receiver, Sender};
use super::{Error, Reason, Settings};
use crate::detect::Prefixed;
use crate::http1::encode::date;

/// A connection.
#[derive(Debug)]
pub struct Server<S> {
    driver: Driver<S>,
    link: Link,
}

/// Ends a connection from outside.
#[derive(Debug, Clone)]
pub struct Closer(Link);

impl Closer {
    /// Serves what is on its way, and no more.
    pub fn close(&self) {
        self.0.borrow_mut().say_goodbye();
    }
}

/// A request, and how to answer it.
pub type Accepted = (Request<Body>, Respond);

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    /// A connection at its start.
    pub fn new(stream: Prefixed<S>, settings: Settings) -> Self {
        let link = Rc::new(RefCell::new(Core::new(Role::Server, settings)));
        Self {
            driver: Driver::new(stream, &link),
            link,
        }
    }

    /// What ends the connection.
    #[must_use]
    pub fn closer(&self) -> Closer {
        Closer(Rc::clone(&self.link))
    }

    /// The next request; `None` at the end of the connection. Requests in progress go on only
    /// while this is polled.
    ///
    /// # Errors
    /// How the connection broke.
    pub async fn accept(&mut self) -> Result<Option<Accepted>, Error> {
        let next = poll_fn(|cx| self.poll_accept(cx)).await;
        if !matches!(next, Ok(Some(_))) {
            self.driver.close().await;
        }
        next
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Accepted>, Error>> {
        loop {
            let accepted = self.link.borrow_mut().accepted.pop_front();
            if let Some((request, stream)) = accepted {
                let (sender, receiver) = stream.split(&self.link);
                return Poll::Ready(Ok(Some(accept(request, sender, receiver))));
            }
            match ready!(self.driver.poll(cx)) {
                Step::Accepted => {}
                Step::Ended(result) => return Poll::Ready(result.map(|()| None)),
            }
        }
    }
}

/// A CONNECT has no body: what comes on its stream is the tunnel's.
fn accept(request: Request<()>, sender: Sender, receiver: Receiver) -> Accepted {
    let (tunnel, body) = match *request.method() {
        Method::CONNECT => (Some(receiver), None),
        _ => (None, Some(receiver)),
    };
    let bodiless = *request.method() == Method::HEAD;
    let respond = Respond {
        sender,
        tunnel,
        bodiless,
    };
    (request.map(|()| Body::new(body)), respond)
}

/// Answers one request. Dropped, it resets the stream.
#[derive(Debug)]
pub struct Respond {
    sender: Sender,
    /// What comes on the stream of a CONNECT.
    tunnel: Option<Receiver>,
    bodiless: bool,
}

impl Respond {
    /// Waits until the client takes its request back, or leaves.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        self.sender.poll_broken(cx)
    }

    /// Sends a response with its body.
    ///
    /// # Errors
    /// [`Error::Cut`] if the body broke off, else how the stream broke.
    pub async fn send<B>(self, response: Response<B>) -> Result<(), Error>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let Self {
            mut sender,
            tunnel,
            bodiless,
        } = self;
        drop(tunnel); // refused
        let (mut parts, mut body) = response.into_parts();
        let end = bodiless || body.is_end_stream();
        let length = body.size_hint().exact().filter(|_| !end);
        if let Some(length) = length
            && !parts.headers.contains_key(header::CONTENT_LENGTH)
        {
            parts
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if !parts.headers.contains_key(header::DATE) {
            parts.headers.insert(header::DATE, date::value());
        }
        sender.response(parts.status, &parts.headers, end)?;
        drop(parts);
        if bodiless {
            // Whoever counts what is answered sees the end of it.
            while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {}
        }
        Upload::new(sender, body, Reason::INTERNAL_ERROR, end)
            .finish()
            .await
    }

    /// Agrees to a CONNECT. `None`: it was none, or has broken.
    pub fn tunnel<B>(mut self, response: &Response<B>) -> Option<Duplex> {
        let receiver = self.tunnel.take()?;
        let (status, fields) = (response.status(), response.headers());
        self.sender.response(status, fields, false).ok()?;
        Some(Duplex::new(self.sender, receiver))
    }
}

#[cfg(test)]
mod tests;
