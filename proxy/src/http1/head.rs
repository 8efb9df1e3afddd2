//! Message heads: parsed once whole, into `http`'s types that share memory with the read buffer.
//!
//! Source: RFC 9112; framing by its section 6.3, refusing what section 6.1 lets us refuse.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, StatusCode, Uri, Version};

use mesh_telemetry::trace::{B3_PARENT_SPAN_ID, B3_SAMPLED, B3_SPAN_ID, B3_TRACE_ID, TRACEPARENT};

use super::encode::OriginalCase;
use crate::http::headers::name as names;

mod scanner;

pub use scanner::Scanner;

/// Most fields in a head: Envoy's default `max_headers_count`.
const MAX_FIELDS: usize = 100;

/// What a head may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes of a head.
    pub head_bytes: usize,
    /// Keep how names were written.
    pub preserve_case: bool,
}

/// How a message's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// By its last chunk.
    Chunked,
    /// With the connection; responses only.
    UntilClose,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not the syntax of HTTP/1.
    #[error("malformed head: {0}")]
    Syntax(&'static str),
    /// Longer than the limit, or more than 100 fields.
    #[error("head larger than the limit")]
    TooLarge,
    /// Another major version.
    #[error("not HTTP/1.0 or HTTP/1.1")]
    Version,
    /// `Content-Length` that is no number, or two that differ, or beside `Transfer-Encoding`.
    #[error("ambiguous or invalid body length")]
    Length,
    /// A transfer coding other than `chunked`.
    #[error("only the chunked transfer coding is supported")]
    Coding,
}

impl HeadError {
    /// The status that a client is told.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Syntax(_) | Self::Length => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooLarge,
            httparse::Error::Version => Self::Version,
            httparse::Error::HeaderName => Self::Syntax("field name"),
            httparse::Error::HeaderValue => Self::Syntax("field value"),
            httparse::Error::NewLine => Self::Syntax("line end"),
            httparse::Error::Status => Self::Syntax("status"),
            httparse::Error::Token => Self::Syntax("request line"),
        }
    }
}

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version, fields.
    pub request: http::Request<()>,
    /// Its body.
    pub framing: Framing,
    /// The client wants to go on after it.
    pub keep_alive: bool,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
}

/// A response's head.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status, version, fields.
    pub response: http::Response<()>,
    /// Its body.
    pub framing: Framing,
    /// The connection may serve again.
    pub keep_alive: bool,
}

/// A first look at an incomplete request.
///
/// # Errors
/// If nothing that follows can make it a request.
pub fn check_request(bytes: &[u8]) -> Result<(), HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    httparse::Request::new(&mut []).parse_with_uninit_headers(bytes, &mut fields)?;
    Ok(())
}

/// A first look at an incomplete response.
///
/// # Errors
/// If nothing that follows can make it a response.
pub fn check_response(bytes: &[u8]) -> Result<(), HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    )?;
    Ok(())
}

/// A whole request head.
///
/// # Errors
/// [`HeadError`]: it never reaches an application.
pub fn request(bytes: &Bytes, limits: &Limits) -> Result<RequestHead, HeadError> {
    if has_lone_line_feed(bytes) {
        return Err(HeadError::Syntax("line end"));
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(bytes, &mut fields)?;
    let (httparse::Status::Complete(_), Some(method), Some(target), Some(minor)) =
        (status, parsed.method, parsed.path, parsed.version)
    else {
        return Err(HeadError::Syntax("request line"));
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Syntax("method"))?;
    let uri = Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes()))
        .map_err(|_| HeadError::Syntax("request target"))?;
    let version = version(minor);
    let fields = Fields::read(bytes, parsed.headers, limits)?;
    let framing = fields.request_framing(&method, version)?;
    let keep_alive = fields.keep_alive(version);
    let expects_continue = version == Version::HTTP_11 && fields.expects_continue;
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = fields.map;
    *request.extensions_mut() = case(fields.case);
    Ok(RequestHead {
        request,
        framing,
        keep_alive,
        expects_continue,
    })
}

/// RFC 9112 section 2.2 lets us take a line feed alone for a line's end. Who does not sees another
/// message than we do, so requests and trailers must not hold one.
fn has_lone_line_feed(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes[at - 1] != b'\r')
}

/// A whole response head; `method`: the request's.
///
/// # Errors
/// [`HeadError`].
pub fn response(
    bytes: &Bytes,
    limits: &Limits,
    method: &Method,
) -> Result<ResponseHead, HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        bytes,
        &mut fields,
    )?;
    let (httparse::Status::Complete(_), Some(code), Some(minor)) =
        (status, parsed.code, parsed.version)
    else {
        return Err(HeadError::Syntax("status line"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| HeadError::Syntax("status"))?;
    let version = version(minor);
    let fields = Fields::read(bytes, parsed.headers, limits)?;
    let framing = fields.response_framing(method, status)?;
    // RFC 9112 section 6.1: HTTP/1.0 knows no transfer codings, so what follows can't be trusted.
    let bounded = framing != Framing::UntilClose
        && (framing != Framing::Chunked || version == Version::HTTP_11);
    let keep_alive = fields.keep_alive(version) && bounded;
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = fields.map;
    *response.extensions_mut() = case(fields.case);
    Ok(ResponseHead {
        response,
        framing,
        keep_alive,
    })
}

fn version(minor: u8) -> Version {
    if minor == 0 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    }
}

fn case(case: Option<OriginalCase>) -> Extensions {
    let mut extensions = Extensions::new();
    if let Some(case) = case {
        extensions.insert(case);
    }
    extensions
}

/// Trailer fields: `bytes` up to and with the empty line.
///
/// # Errors
/// [`HeadError::Syntax`], [`HeadError::TooLarge`].
pub fn trailers(bytes: &Bytes) -> Result<HeaderMap, HeadError> {
    if has_lone_line_feed(bytes) {
        return Err(HeadError::Syntax("line end"));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let parsed = match httparse::parse_headers(bytes, &mut fields)? {
        httparse::Status::Complete((_, parsed)) => parsed,
        httparse::Status::Partial => return Err(HeadError::Syntax("trailers")),
    };
    let mut map = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let (name, value) = read_field(bytes, field)?;
        // RFC 9110 section 6.5.1: what frames or routes is no trailer.
        let forbidden = name == header::CONTENT_LENGTH
            || name == header::TRANSFER_ENCODING
            || name == header::HOST;
        if !forbidden {
            map.append(name, value);
        }
    }
    Ok(map)
}

/// Names that `http` does not know and nearly every request in a mesh has: found here they cost no
/// allocation. As they are written between proxies.
static USUAL: [HeaderName; 11] = [
    names::X_FORWARDED_PROTO,
    names::X_REQUEST_ID,
    TRACEPARENT,
    B3_TRACE_ID,
    B3_SPAN_ID,
    B3_PARENT_SPAN_ID,
    B3_SAMPLED,
    names::X_ENVOY_ATTEMPT_COUNT,
    names::X_ENVOY_UPSTREAM_SERVICE_TIME,
    names::X_FORWARDED_CLIENT_CERT,
    names::X_FORWARDED_FOR,
];

fn name(written: &str) -> Result<HeaderName, HeadError> {
    // What is not there is not looked for: most other names begin otherwise.
    if written.starts_with("x-") || written.starts_with("tr") {
        let usual = USUAL.iter().find(|name| name.as_str() == written);
        if let Some(usual) = usual {
            return Ok(usual.clone());
        }
    }
    HeaderName::from_bytes(written.as_bytes()).map_err(|_| HeadError::Syntax("field name"))
}

fn read_field(
    bytes: &Bytes,
    field: &httparse::Header<'_>,
) -> Result<(HeaderName, HeaderValue), HeadError> {
    let name = name(field.name)?;
    let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
        .map_err(|_| HeadError::Syntax("field value"))?;
    Ok((name, value))
}

/// A head's fields, with what framing needs noted on the way.
struct Fields {
    map: HeaderMap,
    case: Option<OriginalCase>,
    length: Option<u64>,
    coding: Coding,
    close: bool,
    kept_alive: bool,
    expects_continue: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    None,
    Chunked,
    Other,
}

/// Room for what a proxy adds.
const SPARE_FIELDS: usize = 12;

impl Fields {
    fn read(
        bytes: &Bytes,
        parsed: &[httparse::Header<'_>],
        limits: &Limits,
    ) -> Result<Self, HeadError> {
        let mut fields = Self {
            map: HeaderMap::with_capacity(parsed.len() + SPARE_FIELDS),
            case: limits.preserve_case.then(OriginalCase::default),
            length: None,
            coding: Coding::None,
            close: false,
            kept_alive: false,
            expects_continue: false,
        };
        for field in parsed {
            let (name, value) = read_field(bytes, field)?;
            if let Some(case) = &mut fields.case {
                case.push(name.clone(), bytes.slice_ref(field.name.as_bytes()));
            }
            fields.note(&name, &value)?;
            // Of equal lengths one is enough.
            if name != header::CONTENT_LENGTH || !fields.map.contains_key(&name) {
                fields.map.append(name, value);
            }
        }
        Ok(fields)
    }

    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), HeadError> {
        if name == header::CONTENT_LENGTH {
            let length = content_length(value.as_bytes()).ok_or(HeadError::Length)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(HeadError::Length);
            }
            self.length = Some(length);
        } else if name == header::TRANSFER_ENCODING {
            let chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            self.coding = match self.coding {
                Coding::None if chunked => Coding::Chunked,
                _ => Coding::Other,
            };
        } else if name == header::CONNECTION {
            for item in value.as_bytes().split(|&byte| byte == b',') {
                let item = item.trim_ascii();
                self.close |= item.eq_ignore_ascii_case(b"close");
                self.kept_alive |= item.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name == header::EXPECT {
            self.expects_continue |= value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        }
        Ok(())
    }

    fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.kept_alive)
    }

    fn request_framing(&self, method: &Method, version: Version) -> Result<Framing, HeadError> {
        match (self.coding, self.length) {
            (Coding::None, None | Some(0)) => Ok(Framing::Empty),
            // A CONNECT has no content (RFC 9110 section 9.3.6).
            (Coding::None, Some(_)) | (Coding::Chunked, None) if method == Method::CONNECT => {
                Err(HeadError::Length)
            }
            (Coding::None, Some(length)) => Ok(Framing::Length(length)),
            // HTTP/1.0 knows no transfer codings: whoever passed this on may have seen another end.
            (_, None) if version == Version::HTTP_10 => Err(HeadError::Length),
            (Coding::Chunked, None) => Ok(Framing::Chunked),
            (Coding::Other, None) => Err(HeadError::Coding),
            // RFC 9112 section 6.1: "ought to be handled as an error".
            (_, Some(_)) => Err(HeadError::Length),
        }
    }

    fn response_framing(&self, method: &Method, status: StatusCode) -> Result<Framing, HeadError> {
        let bodiless = method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
            || (method == Method::CONNECT && status.is_success());
        if bodiless {
            return Ok(Framing::Empty);
        }
        match (self.coding, self.length) {
            (Coding::None, Some(0)) => Ok(Framing::Empty),
            (Coding::None, Some(length)) => Ok(Framing::Length(length)),
            (Coding::None, None) => Ok(Framing::UntilClose),
            (Coding::Chunked, None) => Ok(Framing::Chunked),
            (Coding::Other, None) => Err(HeadError::Coding),
            (_, Some(_)) => Err(HeadError::Length),
        }
    }
}

/// Digits only: no sign, no list, no blank.
fn content_length(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests;
