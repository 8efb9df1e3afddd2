//! The two kinds of stream the data path handles, as closed enums: no boxed trait objects on
//! the copy path, and TLS state boxed so that a plain connection stays small.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::detect::Prefixed;

/// Where a large buffer of what will be written to a TLS stream should begin: so many bytes behind
/// the start of its page.
///
/// rustls copies what it encrypts to 5 bytes behind the start of an allocation, and allocations as
/// large as a record start with a page. If the source does, too, AMD's `rep movsb` (Zen 3 and 4 with
/// a glibc before 2.39) takes 28 times as long: 4.5 us for a record.
pub const PAGE_OFFSET_BYTES: usize = 64;

/// A connection that a client opened to us.
pub type ServerStream = Prefixed<ServerIo>;

/// Transport of a [`ServerStream`].
#[derive(Debug)]
pub enum ServerIo {
    /// As accepted.
    Plain(TcpStream),
    /// TLS terminated by us; the bytes read during detection come first.
    Tls(Box<tokio_rustls::server::TlsStream<Prefixed<TcpStream>>>),
}

/// A connection that we opened to an upstream.
#[derive(Debug)]
pub enum ClientStream {
    /// Plaintext.
    Plain(TcpStream),
    /// TLS originated by us.
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

macro_rules! delegate_io {
    ($kind:ident) => {
        impl AsyncRead for $kind {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
                    Self::Tls(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
                }
            }
        }

        impl AsyncWrite for $kind {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_write(cx, data),
                    Self::Tls(io) => Pin::new(io.as_mut()).poll_write(cx, data),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, slices),
                    Self::Tls(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, slices),
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    Self::Plain(io) => io.is_write_vectored(),
                    Self::Tls(io) => io.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_flush(cx),
                    Self::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
                    Self::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
                }
            }
        }
    };
}

delegate_io!(ServerIo);
delegate_io!(ClientStream);
