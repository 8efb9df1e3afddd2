//! HTTP/1.1: `GET /N` is answered with N bytes.

use std::io::{self, IoSlice};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADERS: usize = 64;

struct Head {
    length: usize,
    wanted: usize,
    last: bool,
}

/// Serves one connection.
pub(super) async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut input = BytesMut::with_capacity(8 << 10);
    loop {
        let Some(head) = parse(&input)? else {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        };
        input.advance(head.length);
        answer(&mut stream, &head).await?;
        if head.last {
            return Ok(());
        }
    }
}

fn parse(input: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let status = request
        .parse(input)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    let httparse::Status::Complete(length) = status else {
        return Ok(None);
    };
    let path = request.path.unwrap_or_default();
    let last = request.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("connection")
            && header.value.eq_ignore_ascii_case(b"close")
    });
    Ok(Some(Head {
        length,
        wanted: path.trim_start_matches('/').parse().unwrap_or_default(),
        last,
    }))
}

async fn answer(stream: &mut TcpStream, head: &Head) -> io::Result<()> {
    let body = super::body(head.wanted);
    let connection = if head.last {
        "connection: close\r\n"
    } else {
        ""
    };
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{connection}content-length: {}\r\n\r\n",
        body.len()
    );
    let sent = stream
        .write_vectored(&[IoSlice::new(text.as_bytes()), IoSlice::new(body)])
        .await?;
    let (text, body) = match sent.checked_sub(text.len()) {
        Some(of_body) => (&[][..], &body[of_body..]),
        None => (&text.as_bytes()[sent..], body),
    };
    stream.write_all(text).await?;
    stream.write_all(body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_asked_for() {
        let head = parse(b"GET /100 HTTP/1.1\r\nhost: a\r\n\r\nGET")
            .unwrap()
            .unwrap();
        assert_eq!((head.wanted, head.last, head.length), (100, false, 30));
        let head = parse(b"GET /1 HTTP/1.1\r\nConnection: close\r\n\r\n")
            .unwrap()
            .unwrap();
        assert!(head.last);
        assert!(parse(b"GET /100 HTTP/1.1\r\nhost").unwrap().is_none());
        assert!(parse(b"\x16\x03\x01").is_err());
    }
}
