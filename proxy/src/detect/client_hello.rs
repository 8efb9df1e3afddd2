//! Reads server name and ALPN out of a TLS ClientHello without terminating TLS.
//!
//! Works on a growing buffer: a ClientHello with post-quantum key shares spans two packets, and
//! may be spread over several records. Source: RFC 8446 sections 4.1.2 and 5.1, RFC 6066
//! section 3, RFC 7301 section 3.1.

use smallvec::SmallVec;

/// What the two extensions said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Server name in lower case, if the client sent one.
    pub server_name: Option<String>,
    /// Application protocols in the client's order of preference.
    pub alpn: SmallVec<[Vec<u8>; 2]>,
}

/// Verdict on the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A whole ClientHello.
    Hello(ClientHello),
    /// Looks like TLS so far: read more.
    Incomplete,
    /// Not a ClientHello.
    NotTls,
}

/// Longest ClientHello looked at, in bytes; Envoy's tls_inspector stops at the same size.
pub(super) const LIMIT_BYTES: usize = 64 * 1024;

const RECORD_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;

/// Parses `bytes`, which begin where the connection began.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut message: SmallVec<[u8; 1024]> = SmallVec::new();
    let mut rest = bytes;
    loop {
        let Some((&kind, after)) = rest.split_first() else {
            return Parsed::Incomplete;
        };
        if kind != RECORD_HANDSHAKE || after.first().is_some_and(|&major| major != 3) {
            return Parsed::NotTls;
        }
        if rest.len() < 5 {
            return Parsed::Incomplete;
        }
        let length = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        // A record is at most 2^14 bytes of plaintext (RFC 8446 section 5.1).
        if length == 0 || length > 1 << 14 {
            return Parsed::NotTls;
        }
        let fragment = &rest[5..];
        message.extend_from_slice(&fragment[..fragment.len().min(length)]);
        if message
            .first()
            .is_some_and(|&kind| kind != HANDSHAKE_CLIENT_HELLO)
        {
            return Parsed::NotTls;
        }
        if message.len() >= 4 {
            let wanted = u32::from_be_bytes([0, message[1], message[2], message[3]]) as usize;
            if wanted > LIMIT_BYTES {
                return Parsed::NotTls;
            }
            if message.len() - 4 >= wanted {
                return match hello(&message[4..4 + wanted]) {
                    Some(hello) => Parsed::Hello(hello),
                    None => Parsed::NotTls,
                };
            }
        }
        if fragment.len() < length {
            return Parsed::Incomplete;
        }
        rest = &fragment[length..];
    }
}

/// A cursor that yields `None` past the end instead of panicking.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn u8(&mut self) -> Option<usize> {
        self.take(1).map(|bytes| usize::from(bytes[0]))
    }

    fn u16(&mut self) -> Option<usize> {
        self.take(2)
            .map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length)
    }
}

fn hello(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?; // legacy version, random
    reader.vector8()?; // session id
    reader.vector16()?; // cipher suites
    reader.vector8()?; // compression methods
    let mut found = ClientHello::default();
    if reader.0.is_empty() {
        return Some(found); // TLS 1.2 allows no extensions at all
    }
    let mut extensions = Reader(reader.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.vector16()?;
        match u16::try_from(kind) {
            Ok(EXTENSION_SERVER_NAME) => found.server_name = server_name(content)?,
            Ok(EXTENSION_ALPN) => found.alpn = alpn(content)?,
            _ => {}
        }
    }
    Some(found)
}

fn server_name(content: &[u8]) -> Option<Option<String>> {
    let mut names = Reader(Reader(content).vector16()?);
    while !names.0.is_empty() {
        let kind = names.u8()?;
        let name = names.vector16()?;
        if kind == 0 {
            let name = std::str::from_utf8(name).ok()?;
            return Some(Some(name.to_ascii_lowercase()));
        }
    }
    Some(None)
}

fn alpn(content: &[u8]) -> Option<SmallVec<[Vec<u8>; 2]>> {
    let mut list = Reader(Reader(content).vector16()?);
    let mut protocols = SmallVec::new();
    while !list.0.is_empty() {
        protocols.push(list.vector8()?.to_vec());
    }
    Some(protocols)
}
