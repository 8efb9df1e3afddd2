//! A client of any protocol.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Spec, http1, http2};
use crate::place::Protocol;
use crate::server::REQUEST;

/// What is read at once of long answers.
const CHUNK: usize = 64 << 10;

/// A connection, or for HTTP/2 a share of one.
pub(crate) enum Client {
    /// HTTP/1.1.
    Http1(http1::Client),
    /// HTTP/2 and gRPC.
    Http2(http2::Client),
    /// TCP.
    Tcp {
        /// The connection.
        stream: TcpStream,
        /// Where answers are read to.
        buffer: Vec<u8>,
    },
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The system's, or the handshake's.
    pub(crate) async fn connect(spec: &Spec) -> io::Result<Self> {
        let stream = TcpStream::connect(spec.target).await?;
        stream.set_nodelay(true)?;
        Ok(match spec.protocol {
            Protocol::Http1 => Self::Http1(http1::Client::new(stream, spec)),
            Protocol::Http2 | Protocol::Grpc => {
                Self::Http2(http2::Client::handshake(stream).await?)
            }
            Protocol::Tcp => Self::Tcp {
                stream,
                buffer: vec![0; spec.body.clamp(1, CHUNK)],
            },
        })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection fails, or the answer is not the one asked for.
    pub(crate) async fn exchange(&mut self, spec: &Spec) -> io::Result<()> {
        match self {
            Self::Http1(client) => client.exchange(spec.body).await,
            Self::Http2(client) => client.exchange(spec).await,
            Self::Tcp { stream, buffer } => tcp(stream, buffer, spec.body).await,
        }
    }
}

async fn tcp(stream: &mut TcpStream, buffer: &mut [u8], body: usize) -> io::Result<()> {
    let mut request = [0; REQUEST];
    let length = u32::try_from(body).map_err(io::Error::other)?;
    request[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&request).await?;
    let mut left = body;
    while left > 0 {
        let part = left.min(buffer.len());
        let read = stream.read(&mut buffer[..part]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= read;
    }
    Ok(())
}
