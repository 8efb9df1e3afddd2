//! Upgrades and CONNECT: once both sides have agreed, bytes are copied both ways and HTTP is over.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use http::header::{self, HeaderMap};
use http::{Method, Response, StatusCode, Version};
use mesh_telemetry::access_log::ResponseFlag;
use mesh_telemetry::drain::Phase;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::head::Head;
use super::incoming::Incoming;
use super::report::Report;
use super::response::Held;
use crate::detect::Prefixed;
use crate::http2;
use crate::tcp::copy::{Observer, both_ways};
use crate::tcp::splice::Bare;
use crate::tls::ServerIo;
use crate::upstream::Lease;
use crate::worker::Worker;

/// Whether the upstream has agreed to the upgrade that `head` asked for.
pub(crate) fn agreed(head: &Head, status: StatusCode) -> bool {
    match head.upgrade.as_deref() {
        None => false,
        Some("connect") => status.is_success(),
        Some(_) => status == StatusCode::SWITCHING_PROTOCOLS,
    }
}

/// The response's head as the client's own protocol says "agreed".
pub(crate) fn translate(head: &Head, status: &mut StatusCode, headers: &mut HeaderMap) {
    let extended = head.version == Version::HTTP_2 && head.method == Method::CONNECT;
    if extended && *status == StatusCode::SWITCHING_PROTOCOLS {
        *status = StatusCode::OK;
        headers.remove(header::UPGRADE);
        headers.remove(header::CONNECTION);
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    }
}

/// Who takes over what a client's request leaves HTTP with.
pub(crate) enum Successor {
    /// Its whole connection.
    Http1(oneshot::Sender<Prefixed<ServerIo>>),
    /// Its stream.
    Http2(oneshot::Sender<http2::duplex::Duplex>),
}

impl Successor {
    pub(crate) fn http1(self) -> Option<oneshot::Sender<Prefixed<ServerIo>>> {
        match self {
            Self::Http1(successor) => Some(successor),
            Self::Http2(_) => None,
        }
    }

    pub(crate) fn http2(self) -> Option<oneshot::Sender<http2::duplex::Duplex>> {
        match self {
            Self::Http2(successor) => Some(successor),
            Self::Http1(_) => None,
        }
    }
}

/// How a client's request leaves HTTP.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WayOut {
    /// With its whole connection.
    Http1,
    /// With its stream.
    Http2,
}

/// The client's side of a tunnel, once the response has gone out.
pub(crate) enum Client {
    /// A connection.
    Http1(oneshot::Receiver<Prefixed<ServerIo>>),
    /// A stream.
    Http2(oneshot::Receiver<http2::duplex::Duplex>),
}

impl WayOut {
    /// The client's side, and to whom it must be handed.
    pub(crate) fn open(self) -> (Client, Successor) {
        match self {
            Self::Http1 => {
                let (successor, connection) = oneshot::channel();
                (Client::Http1(connection), Successor::Http1(successor))
            }
            Self::Http2 => {
                let (successor, stream) = oneshot::channel();
                (Client::Http2(stream), Successor::Http2(successor))
            }
        }
    }
}

impl Client {
    async fn stream(self) -> io::Result<Box<dyn Duplex>> {
        let handed: Option<Box<dyn Duplex>> = match self {
            Self::Http1(connection) => connection.await.ok().map(|stream| Box::new(stream) as _),
            Self::Http2(stream) => stream.await.ok().map(|stream| Box::new(stream) as _),
        };
        handed.ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }
}

/// Bytes both ways. Cold: once per tunnel.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Bare + Unpin {}
impl<S: AsyncRead + AsyncWrite + Bare + Unpin> Duplex for S {}

impl Bare for Box<dyn Duplex> {
    fn bare(&self) -> Option<&TcpStream> {
        (**self).bare()
    }
}

/// A stream of HTTP/2 shares its connection.
impl Bare for http2::duplex::Duplex {}

/// The upstream's side, and what must be held as long as it is used.
fn upstream(
    lease: Lease,
    response: Response<Incoming>,
) -> io::Result<(Box<dyn Duplex>, Option<Lease>)> {
    match lease {
        Lease::Http1(lease) => {
            drop(response);
            let stream = lease.into_stream();
            let stream = stream.ok_or(io::ErrorKind::ConnectionAborted)?;
            Ok((Box::new(stream), None))
        }
        Lease::Http2(_) => match response.into_body() {
            Incoming::Http2Response(body) => Ok((Box::new(body.into_duplex()), Some(lease))),
            _ => Err(io::ErrorKind::ConnectionAborted.into()),
        },
    }
}

/// Copies between client and upstream in a task of its own until one side ends.
///
/// `report` is finished at the end of the tunnel, which may be hours away.
pub(crate) fn start(
    worker: &Rc<Worker>,
    client: Client,
    response: Response<Incoming>,
    held: Held,
    report: Box<Report>,
) {
    let closing = Rc::clone(worker);
    worker.spawn(async move {
        let Held {
            lease,
            _picked: picked,
            _permit: permit,
            _active: active,
        } = held;
        let _held = (picked, permit, active);
        let mut report = report;
        let sides = match client.stream().await {
            Ok(client) => upstream(lease, response).map(|upstream| (client, upstream)),
            Err(error) => Err(error),
        };
        let (mut client, (mut upstream, _lease)) = match sides {
            Ok(sides) => sides,
            Err(error) => {
                tracing::debug!(%error, "upgrade did not come about");
                return;
            }
        };
        let counted = Counted::default();
        let copying = both_ways(&mut client, &mut upstream, None, &counted);
        tokio::select! {
            biased;
            () = closing.shared.drain.reached(Phase::Closing) => {
                report.cut(ResponseFlag::LocalReset);
            }
            result = copying => match result {
                Ok(_end) => report.complete(),
                Err(_broken) => report.cut(ResponseFlag::UpstreamConnectionTermination),
            },
        }
        report.bytes_sent += counted.backward.get();
        report.tunnelled += counted.forward.get();
    });
}

#[derive(Default)]
struct Counted {
    forward: Cell<u64>,
    backward: Cell<u64>,
}

impl Observer for Counted {
    fn forward(&self, bytes: u64) {
        self.forward.set(self.forward.get() + bytes);
    }

    fn backward(&self, bytes: u64) {
        self.backward.set(self.backward.get() + bytes);
    }
}
