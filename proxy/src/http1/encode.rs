//! Messages out: heads, chunks, trailers, appended to a write buffer.

use bytes::{BufMut, Bytes};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};
use smallvec::SmallVec;

use super::head::Framing;

/// How the sender wrote its field names, in order. An extension of requests and responses.
#[derive(Debug, Clone, Default)]
pub struct OriginalCase(Vec<(HeaderName, Bytes)>);

impl OriginalCase {
    /// Notes one field.
    pub(super) fn push(&mut self, name: HeaderName, written: Bytes) {
        self.0.push((name, written));
    }

    /// How the `nth` field called `name` was written.
    fn nth(&self, name: &HeaderName, nth: usize) -> Option<&Bytes> {
        let mut written = self.0.iter().filter(|(known, _)| known == name);
        written.nth(nth).map(|(_, written)| written)
    }
}

/// What goes into a request's head beside its fields.
#[derive(Debug)]
pub struct RequestLine<'a> {
    /// Method.
    pub method: &'a Method,
    /// Target: origin form, or authority form for a CONNECT.
    pub target: &'a Uri,
}

/// A request's head.
pub fn request_head(
    out: &mut Vec<u8>,
    line: &RequestLine<'_>,
    headers: &HeaderMap,
    framing: Framing,
    case: Option<&OriginalCase>,
) {
    out.reserve(LINES_BYTES + size(headers));
    out.put_slice(line.method.as_str().as_bytes());
    out.put_u8(b' ');
    match (line.target.authority(), line.target.path_and_query()) {
        (Some(authority), _) if line.method == Method::CONNECT => {
            out.put_slice(authority.as_str().as_bytes());
        }
        (_, Some(path)) => out.put_slice(path.as_str().as_bytes()),
        (_, None) => out.put_u8(b'/'),
    }
    out.put_slice(b" HTTP/1.1\r\n");
    fields(out, headers, case);
    // RFC 9110 section 8.6: methods with content say so even if it is empty.
    let telling = matches!(*line.method, Method::POST | Method::PUT | Method::PATCH);
    if framing != Framing::Empty || telling {
        frame(out, headers, framing);
    }
    out.put_slice(b"\r\n");
}

/// What a response says of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: as the version has it.
    Implied,
    /// `connection: close`.
    Close,
    /// `connection: keep-alive`, for HTTP/1.0.
    KeepAlive,
}

/// A response's head. `date`: written if the fields have none.
pub fn response_head(
    out: &mut Vec<u8>,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Option<Framing>,
    persistence: Persistence,
    case: Option<&OriginalCase>,
) {
    out.reserve(LINES_BYTES + size(headers));
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    fields(out, headers, case);
    if let Some(framing) = framing {
        frame(out, headers, framing);
    }
    let told = headers.contains_key(header::CONNECTION);
    match persistence {
        Persistence::Close if !told => out.put_slice(b"connection: close\r\n"),
        Persistence::KeepAlive if !told => out.put_slice(b"connection: keep-alive\r\n"),
        _ => {}
    }
    if !headers.contains_key(header::DATE) {
        date::write(out);
    }
    out.put_slice(b"\r\n");
}

/// A short answer to what is no request, before closing.
pub fn refusal(out: &mut Vec<u8>, status: StatusCode) {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain"),
    );
    let framing = Some(Framing::Length(reason.len() as u64));
    response_head(out, status, &headers, framing, Persistence::Close, None);
    out.put_slice(reason.as_bytes());
}

/// Room for what surrounds the fields, and a short body.
const LINES_BYTES: usize = 512;

/// Bytes of all fields.
fn size(headers: &HeaderMap) -> usize {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    headers.iter().map(bytes).sum()
}

fn frame(out: &mut Vec<u8>, headers: &HeaderMap, framing: Framing) {
    match framing {
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(_) | Framing::Empty if headers.contains_key(header::CONTENT_LENGTH) => {}
        Framing::Length(bytes) => length(out, bytes),
        Framing::Empty => length(out, 0),
        Framing::UntilClose => {}
    }
}

fn length(out: &mut Vec<u8>, bytes: u64) {
    out.put_slice(b"content-length: ");
    out.put_slice(itoa::Buffer::new().format(bytes).as_bytes());
    out.put_slice(b"\r\n");
}

fn fields(out: &mut Vec<u8>, headers: &HeaderMap, case: Option<&OriginalCase>) {
    match case {
        None => {
            for (name, value) in headers {
                field(out, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        Some(case) => fields_as_written(out, headers, case),
    }
}

fn fields_as_written(out: &mut Vec<u8>, headers: &HeaderMap, case: &OriginalCase) {
    let mut counts: SmallVec<[(&HeaderName, usize); 16]> = SmallVec::new();
    for (name, value) in headers {
        let nth = match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                counts.push((name, 0));
                0
            }
        };
        let written = case.nth(name, nth);
        let name = written.map_or(name.as_str().as_bytes(), AsRef::as_ref);
        field(out, name, value.as_bytes());
    }
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// What precedes a chunk's data; [`CHUNK_END`] follows it. `bytes`: not 0.
pub fn chunk_start(out: &mut Vec<u8>, bytes: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0_u8; 18];
    let mut at = 16;
    let mut rest = bytes;
    digits[16] = b'\r';
    digits[17] = b'\n';
    while rest > 0 {
        at -= 1;
        digits[at] = HEX[rest & 15];
        rest >>= 4;
    }
    out.put_slice(&digits[at..]);
}

/// What follows a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk, with trailers.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.put_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        fields(out, trailers, None);
    }
    out.put_slice(b"\r\n");
}

/// True if `version` knows chunks.
#[must_use]
pub fn knows_chunks(version: Version) -> bool {
    version >= Version::HTTP_11
}

/// The `date` field, formatted once a second per thread.
pub(crate) mod date {
    use std::cell::RefCell;
    use std::time::{Duration, SystemTime};

    use bytes::BufMut;
    use http::HeaderValue;

    struct Cached {
        until: SystemTime,
        value: HeaderValue,
    }

    thread_local! {
        static CACHED: RefCell<Cached> = const {
            RefCell::new(Cached {
                until: SystemTime::UNIX_EPOCH,
                value: HeaderValue::from_static(""),
            })
        };
    }

    /// The field's value now.
    pub(crate) fn value() -> HeaderValue {
        with(HeaderValue::clone)
    }

    pub(super) fn write(out: &mut Vec<u8>) {
        with(|value| {
            out.put_slice(b"date: ");
            out.put_slice(value.as_bytes());
            out.put_slice(b"\r\n");
        });
    }

    fn with<T>(take: impl FnOnce(&HeaderValue) -> T) -> T {
        let now = SystemTime::now();
        CACHED.with_borrow_mut(|cached| {
            if now >= cached.until {
                let date = httpdate::fmt_http_date(now);
                cached.value = HeaderValue::try_from(date).expect("a date is printable");
                let since = now
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default();
                let fraction = Duration::from_nanos(u64::from(since.subsec_nanos()));
                cached.until = now + Duration::from_secs(1) - fraction;
            }
            take(&cached.value)
        })
    }
}

#[cfg(test)]
mod tests;
