//! HTTP/1.1, as cheap as a correct client can be: it must not be what saturates.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Spec;
use crate::place::HOST;

const HEADERS: usize = 64;

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    request: String,
    input: BytesMut,
}

struct Head {
    length: usize,
    status: u16,
    body: usize,
}

impl Client {
    /// A client on a connection.
    pub(super) fn new(stream: TcpStream, spec: &Spec) -> Self {
        let close = if spec.fresh {
            "connection: close\r\n"
        } else {
            ""
        };
        Self {
            stream,
            request: format!(
                "GET /{} HTTP/1.1\r\nhost: {HOST}:{}\r\nuser-agent: mesh-bench\r\naccept: */*\r\n{close}\r\n",
                spec.body,
                spec.target.port()
            ),
            input: BytesMut::with_capacity(64 << 10),
        }
    }

    /// A request and its answer, which must be `body` bytes.
    pub(super) async fn exchange(&mut self, body: usize) -> io::Result<()> {
        self.stream.write_all(self.request.as_bytes()).await?;
        let head = loop {
            self.read().await?;
            if let Some(head) = parse(&self.input)? {
                break head;
            }
        };
        if head.status != 200 || head.body != body {
            let message = format!(
                "status {} with {} bytes instead of 200 with {body}",
                head.status, head.body
            );
            return Err(io::Error::other(message));
        }
        self.input.advance(head.length);
        let mut left = head.body;
        loop {
            let part = left.min(self.input.len());
            self.input.advance(part);
            left -= part;
            if left == 0 {
                return Ok(());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        self.input.reserve(1);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn parse(input: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let status = response
        .parse(input)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let body = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no content-length"))?;
    Ok(Some(Head {
        length,
        status: response.code.unwrap_or_default(),
        body,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_head() {
        let head = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabc")
            .unwrap()
            .unwrap();
        assert_eq!((head.status, head.body, head.length), (200, 7, 38));
        assert!(parse(b"HTTP/1.1 200 OK\r\nContent").unwrap().is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
