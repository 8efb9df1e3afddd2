//! Decides what a client speaks from its first bytes, which are replayed afterwards.
//!
//! Called by `inbound`, `outbound` and `gateway` only for listeners that ask for it. A protocol
//! in which the server speaks first shows no bytes at all: then the listener's timeout decides,
//! and the connection goes on as opaque TCP.

mod client_hello;
mod prefixed;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use tokio::io::AsyncRead;

pub use client_hello::ClientHello;
pub use prefixed::Prefixed;

use client_hello::Parsed;

/// What the first bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected {
    /// A TLS ClientHello.
    Tls(ClientHello),
    /// An HTTP/1.0 or HTTP/1.1 request line.
    Http1,
    /// The HTTP/2 connection preface in plaintext (prior knowledge).
    Http2,
    /// Something else.
    Other,
    /// The client sent nothing, or too little to decide, before the timeout.
    Silent,
    /// The client closed its side before it sent a byte.
    Closed,
}

/// Which of the decisions a listener needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspect {
    /// Look for a ClientHello.
    pub tls: bool,
    /// Look for HTTP.
    pub http: bool,
}

/// The HTTP/2 client connection preface, RFC 9113 section 3.4.
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One read covers every usual first packet; 1 KiB keeps idle connections small.
const READ_BYTES: usize = 1024;

/// A request line longer than this that looked like HTTP so far is taken for HTTP; the server
/// then answers 414 or 431 itself.
const REQUEST_LINE_LIMIT_BYTES: usize = 8 * 1024;

/// Longest method token believed, as Envoy's http_inspector: registered methods have at most 17.
const METHOD_LIMIT_BYTES: usize = 32;

/// Reads from `stream` until the protocol is clear, and leaves all bytes in its prefix.
///
/// `timeout`: none waits for ever (Envoy's `listener_filters_timeout: 0s`).
///
/// # Errors
/// The read's own error.
pub async fn detect<S: AsyncRead + Unpin>(
    stream: &mut Prefixed<S>,
    inspect: Inspect,
    timeout: Option<Duration>,
) -> io::Result<Detected> {
    let Some(timeout) = timeout else {
        return read_until_clear(stream, inspect).await;
    };
    // The timer is armed only if the bytes are not there yet, which is rare behind a redirect.
    match tokio::time::timeout(timeout, read_until_clear(stream, inspect)).await {
        Ok(detected) => detected,
        Err(_elapsed) => Ok(Detected::Silent),
    }
}

async fn read_until_clear<S: AsyncRead + Unpin>(
    stream: &mut Prefixed<S>,
    inspect: Inspect,
) -> io::Result<Detected> {
    loop {
        if let Some(detected) = classify(stream.prefix(), inspect) {
            return Ok(detected);
        }
        if stream.read_more(READ_BYTES).await? == 0 {
            return Ok(if stream.prefix().is_empty() {
                Detected::Closed
            } else {
                Detected::Other
            });
        }
    }
}

/// The verdict on `bytes`, or `None` if more are needed. More never change it.
pub fn classify(bytes: &[u8], inspect: Inspect) -> Option<Detected> {
    if bytes.is_empty() {
        return None;
    }
    if inspect.tls {
        let limit = client_hello::LIMIT_BYTES;
        match client_hello::parse(&bytes[..bytes.len().min(limit)]) {
            Parsed::Hello(hello) => return Some(Detected::Tls(hello)),
            Parsed::Incomplete if bytes.len() < limit => return None,
            Parsed::Incomplete | Parsed::NotTls => {}
        }
    }
    if !inspect.http {
        return Some(Detected::Other);
    }
    classify_http(bytes)
}

fn classify_http(bytes: &[u8]) -> Option<Detected> {
    let common = bytes.len().min(HTTP2_PREFACE.len());
    if bytes[..common] == HTTP2_PREFACE[..common] {
        return (common == HTTP2_PREFACE.len()).then_some(Detected::Http2);
    }
    let Some(method_end) = bytes.iter().position(|&byte| byte == b' ') else {
        let plausible = bytes.len() <= METHOD_LIMIT_BYTES && bytes.iter().all(is_token);
        return (!plausible).then_some(Detected::Other);
    };
    if method_end == 0
        || method_end > METHOD_LIMIT_BYTES
        || !bytes[..method_end].iter().all(is_token)
    {
        return Some(Detected::Other);
    }
    let rest = &bytes[method_end + 1..bytes.len().min(REQUEST_LINE_LIMIT_BYTES)];
    let end = rest.iter().position(|&byte| byte == b'\n');
    let line = &rest[..end.unwrap_or(rest.len())];
    if line.iter().any(|&byte| byte < 0x20 && byte != b'\r') {
        return Some(Detected::Other);
    }
    match end {
        Some(_) if is_http1_line_end(line) => Some(Detected::Http1),
        Some(_) => Some(Detected::Other),
        None if bytes.len() >= REQUEST_LINE_LIMIT_BYTES => Some(Detected::Http1),
        None => None,
    }
}

/// `target HTTP/1.x`, a CR allowed at the end.
fn is_http1_line_end(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some((target, version)) = line.split_at_checked(line.len().saturating_sub(9)) else {
        return false;
    };
    !target.is_empty() && (version == b" HTTP/1.1" || version == b" HTTP/1.0")
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}
