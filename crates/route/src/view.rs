//! What the engine is asked about: a connection, a request. Borrowed views, built by
//! the proxy on its stack.

use std::net::SocketAddr;

use http::HeaderMap;

/// A request as routing and authorization see it.
///
/// `headers` holds the ordinary fields (with or without `host`); the four
/// pseudo-headers are the named fields, for HTTP/1.1 too.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// `GET`, `POST`, ... as sent.
    pub method: &'a str,
    /// Path with query, after the manager's normalisation; empty for a CONNECT.
    pub path: &'a str,
    /// `host[:port]` as sent by the client.
    pub authority: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// All other header fields.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestView<'a> {
    /// The path without `?query` and `#fragment`: what every path matcher sees.
    pub fn path_only(&self) -> &'a str {
        let ends = |byte: u8| matches!(byte, b'?' | b'#');
        let end = self.path.bytes().position(ends).unwrap_or(self.path.len());
        &self.path[..end]
    }

    /// The query string without `?`, empty if there is none.
    pub fn query(&self) -> &'a str {
        let path = self.path.split('#').next().unwrap_or("");
        path.split_once('?').map_or("", |(_, query)| query)
    }

    /// First value of a field or pseudo-header (`:path`, `:method`, `:authority`, `:scheme`,
    /// `host`) as bytes.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        match name {
            ":path" => Some(self.path.as_bytes()),
            ":method" => Some(self.method.as_bytes()),
            ":authority" | "host" => Some(self.authority.as_bytes()),
            ":scheme" => Some(self.scheme.as_bytes()),
            _ => self.headers.get(name).map(http::HeaderValue::as_bytes),
        }
    }
}

/// A connection as filter-chain matching sees it.
#[derive(Clone, Copy, Debug)]
pub struct ConnInfo<'a> {
    /// Original destination before the redirect; the local address where nothing was redirected.
    pub destination: SocketAddr,
    /// The peer.
    pub source: SocketAddr,
    /// SNI of the ClientHello, as sent.
    pub server_name: Option<&'a str>,
    /// A ClientHello was seen: transport protocol `tls`, else `raw_buffer`.
    pub tls: bool,
    /// ALPN list of the ClientHello, or the detected plaintext protocol (`http/1.0`,
    /// `http/1.1`, `h2c`); empty if nothing is known.
    pub application_protocols: &'a [&'a [u8]],
}
