//! Who is at the other end of opaque bytes: proxies of a mesh tell each other before the first
//! byte of the application, if both named `istio-peer-exchange` in the TLS handshake.
//!
//! Each side sends one frame: a magic number, a length, and a protobuf `Any` with a `Struct` of the
//! metadata that HTTP carries in `x-envoy-peer-metadata`. What does not begin with the magic number
//! is the application's. Source: Istio's "TCP metadata exchange", extension `metadata_exchange`.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mesh_xds::google::protobuf::{Any, Struct, Value, value::Kind};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::peer::Peer;

/// The ALPN name by which both sides agree to the exchange.
pub const ALPN: &[u8] = b"istio-peer-exchange";

const MAGIC: u32 = 0x3D23_0467;
const HEADER_BYTES: usize = 8;
/// A longer frame is taken for the application's bytes. Istio's metadata has about 1 KiB.
const LIMIT_BYTES: usize = 16 * 1024;
/// One read covers a usual frame, and what follows it is at most copied once.
const READ_BYTES: usize = 4096;
const TYPE_URL: &str = "type.googleapis.com/google.protobuf.Struct";
const METADATA: &str = "x-envoy-peer-metadata";
const METADATA_ID: &str = "x-envoy-peer-metadata-id";

/// The frame that tells `metadata` (Istio's node metadata) and the node's id.
pub fn frame(metadata: &Struct, node_id: &str) -> Bytes {
    let value = |kind| Value { kind: Some(kind) };
    let fields = BTreeMap::from([
        (
            METADATA.to_owned(),
            value(Kind::StructValue(metadata.clone())),
        ),
        (
            METADATA_ID.to_owned(),
            value(Kind::StringValue(node_id.to_owned())),
        ),
    ]);
    let any = Any {
        type_url: TYPE_URL.to_owned(),
        value: Struct { fields }.encode_to_vec().into(),
    };
    let body = any.encode_to_vec();
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + body.len());
    frame.put_u32(MAGIC);
    frame.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    frame.put_slice(&body);
    frame.freeze()
}

/// What the first bytes are.
enum Parsed {
    /// More are needed.
    Incomplete,
    /// Not a frame: all of them are the application's.
    Absent,
    /// A frame of so many bytes.
    Frame(usize),
}

fn parse(bytes: &[u8]) -> Parsed {
    let magic = MAGIC.to_be_bytes();
    let common = bytes.len().min(magic.len());
    if bytes[..common] != magic[..common] {
        return Parsed::Absent;
    }
    let Some((mut header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Parsed::Incomplete;
    };
    header.advance(magic.len());
    let length = header.get_u32() as usize;
    if length > LIMIT_BYTES {
        Parsed::Absent
    } else if body.len() < length {
        Parsed::Incomplete
    } else {
        Parsed::Frame(HEADER_BYTES + length)
    }
}

/// The peer that a frame's body tells; `None` for anything damaged.
fn peer(body: &[u8]) -> Option<Peer> {
    let any = Any::decode(body).ok()?;
    let told = Struct::decode(any.value.as_ref()).ok()?;
    match &told.fields.get(METADATA)?.kind {
        Some(Kind::StructValue(metadata)) => Some(Peer::from_metadata(metadata)),
        _ => None,
    }
}

/// A stream from whose beginning the peer's frame is taken, whenever it comes.
#[derive(Debug)]
pub struct Exchanged<S> {
    io: S,
    /// What was read while the frame is not complete; `None` once that is settled.
    head: Option<BytesMut>,
    /// The application's bytes that were read with the frame.
    replay: Bytes,
    wanted: Wanted,
    peer: Option<Box<Peer>>,
}

impl<S> Exchanged<S> {
    /// `agreed`: ALPN chose the exchange. Otherwise every byte is the application's.
    pub fn new(io: S, agreed: Agreed, wanted: Wanted) -> Self {
        Self {
            io,
            head: (agreed == Agreed::Yes).then(BytesMut::new),
            replay: Bytes::new(),
            wanted,
            peer: None,
        }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// Whether all that was read for the frame's sake has been read from here: from now on every
    /// byte is the stream's own.
    pub fn is_passed(&self) -> bool {
        self.head.is_none() && self.replay.is_empty()
    }

    /// What the peer told, if it has and it was [`Wanted::Peer`].
    pub fn take_peer(&mut self) -> Option<Peer> {
        self.peer.take().map(|peer| *peer)
    }
}

/// What of a stream somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Who the peer is, and the application's bytes.
    Peer,
    /// The application's bytes alone; what the peer tells is read and forgotten.
    Bytes,
}

/// Whether the handshake chose the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agreed {
    /// A frame may come, and ours is expected.
    Yes,
    /// Bytes only.
    No,
}

impl Agreed {
    /// By the protocol that ALPN chose.
    pub fn by(alpn: Option<&[u8]>) -> Self {
        if alpn == Some(ALPN) {
            Self::Yes
        } else {
            Self::No
        }
    }
}

impl<S: AsyncRead + Unpin> Exchanged<S> {
    /// Ready once the frame was read, or it is clear that none comes. Cancel safe.
    ///
    /// # Errors
    /// The read's own error.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(head) = &mut self.head {
            match parse(head) {
                Parsed::Incomplete => {}
                Parsed::Absent => return self.settle(),
                Parsed::Frame(length) => {
                    if self.wanted == Wanted::Peer {
                        self.peer = peer(&head[HEADER_BYTES..length]).map(Box::new);
                    }
                    head.advance(length);
                    return self.settle();
                }
            }
            let mut chunk = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return self.settle();
            }
            head.extend_from_slice(buffer.filled());
        }
        Poll::Ready(Ok(()))
    }

    fn settle(&mut self) -> Poll<io::Result<()>> {
        let rest = self.head.take().unwrap_or_default();
        // An empty rest would hold the frame's buffer as long as the connection lasts.
        if !rest.is_empty() {
            self.replay = rest.freeze();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Exchanged<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_frame(cx))?;
        if self.replay.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let length = self.replay.len().min(buf.remaining());
        buf.put_slice(&self.replay[..length]);
        self.replay.advance(length);
        if self.replay.is_empty() {
            self.replay = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Exchanged<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "exchange/tests.rs"]
mod tests;
