//! Message heads: fields to requests and responses, and back. RFC 9113 section 8.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version};

use super::hpack::{Encoder, Pseudo, decode};

/// The protocol that an extended CONNECT asks for (RFC 8441), as an extension of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol(pub String);

/// Room for this many fields from the start: nearly every message.
const FIELDS: usize = 16;

/// The fields of one block.
#[derive(Debug)]
pub struct Block {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    status: Option<Bytes>,
    protocol: Option<Bytes>,
    fields: HeaderMap,
    invalid: bool,
    too_long: bool,
}

/// A head that breaks HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Default for Block {
    fn default() -> Self {
        Self {
            method: None,
            scheme: None,
            authority: None,
            path: None,
            status: None,
            protocol: None,
            fields: HeaderMap::with_capacity(FIELDS),
            invalid: false,
            too_long: false,
        }
    }
}

impl decode::Fields for Block {
    fn pseudo(&mut self, name: Pseudo, value: Bytes) {
        let slot = match name {
            Pseudo::Authority => &mut self.authority,
            Pseudo::Method => &mut self.method,
            Pseudo::Path => &mut self.path,
            Pseudo::Scheme => &mut self.scheme,
            Pseudo::Status => &mut self.status,
            Pseudo::Protocol => &mut self.protocol,
        };
        // Once each, and before all others.
        self.invalid |= slot.replace(value).is_some() || !self.fields.is_empty();
    }

    fn field(&mut self, name: HeaderName, value: HeaderValue) {
        let allowed = match name {
            header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => false,
            header::TE => value == "trailers",
            _ => !matches!(name.as_str(), "keep-alive" | "proxy-connection"),
        };
        if allowed {
            self.fields.append(name, value);
        } else {
            self.invalid = true;
        }
    }

    fn invalid(&mut self) {
        self.invalid = true;
    }

    fn too_long(&mut self) {
        self.too_long = true;
    }
}

impl Block {
    /// The list of fields was longer than the limit.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// As a request.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn into_request(self, known: &mut Option<Authority>) -> Result<Request<()>, Malformed> {
        if self.invalid || self.status.is_some() {
            return Err(Malformed);
        }
        let method = method(&self.method.ok_or(Malformed)?)?;
        let connect = method == Method::CONNECT;
        let targeted = self.scheme.is_some() && self.path.as_ref().is_some_and(|p| !p.is_empty());
        let complete = match (connect, &self.protocol) {
            (true, None) => {
                self.authority.is_some() && self.scheme.is_none() && self.path.is_none()
            }
            (true, Some(_)) => self.authority.is_some() && targeted,
            (false, None) => targeted,
            (false, Some(_)) => false,
        };
        if !complete {
            return Err(Malformed);
        }
        let mut parts = http::uri::Parts::default();
        if let Some(authority) = self.authority.filter(|authority| !authority.is_empty()) {
            parts.authority = Some(parse_authority(&authority, known)?);
        }
        if let Some(path) = self.path {
            parts.path_and_query =
                Some(PathAndQuery::from_maybe_shared(path).map_err(|_| Malformed)?);
        }
        if let Some(scheme) = self.scheme {
            let scheme = match &*scheme {
                b"http" => Scheme::HTTP,
                b"https" => Scheme::HTTPS,
                other => Scheme::try_from(other).map_err(|_| Malformed)?,
            };
            // A URI has no scheme without an authority.
            parts.scheme = parts.authority.is_some().then_some(scheme);
        }
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Malformed)?;
        *request.headers_mut() = self.fields;
        if let Some(protocol) = self.protocol {
            let name = std::str::from_utf8(&protocol).map_err(|_| Malformed)?;
            request.extensions_mut().insert(Protocol(name.to_owned()));
        }
        Ok(request)
    }

    /// As a response.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn into_response(self) -> Result<Response<()>, Malformed> {
        let requests = [
            &self.method,
            &self.scheme,
            &self.authority,
            &self.path,
            &self.protocol,
        ];
        if self.invalid || requests.into_iter().any(Option::is_some) {
            return Err(Malformed);
        }
        let status = self.status.ok_or(Malformed)?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_bytes(&status).map_err(|_| Malformed)?;
        *response.version_mut() = Version::HTTP_2;
        *response.headers_mut() = self.fields;
        Ok(response)
    }

    /// As trailers.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn into_trailers(self) -> Result<HeaderMap, Malformed> {
        let pseudo = [
            &self.method,
            &self.scheme,
            &self.authority,
            &self.path,
            &self.status,
            &self.protocol,
        ];
        if self.invalid || self.too_long || pseudo.into_iter().any(Option::is_some) {
            return Err(Malformed);
        }
        Ok(self.fields)
    }
}

fn method(text: &[u8]) -> Result<Method, Malformed> {
    Method::from_bytes(text).map_err(|_| Malformed)
}

/// Most requests of a connection go to one host: it is parsed once.
fn parse_authority(text: &Bytes, known: &mut Option<Authority>) -> Result<Authority, Malformed> {
    if let Some(known) = known
        && known.as_str().as_bytes() == text
    {
        return Ok(known.clone());
    }
    let parsed = Authority::from_maybe_shared(text.clone()).map_err(|_| Malformed)?;
    *known = Some(parsed.clone());
    Ok(parsed)
}

/// The length that the fields tell of a body.
///
/// # Errors
/// [`Malformed`] if it is no number, or several.
pub fn content_length(fields: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut found = None;
    for value in fields.get_all(header::CONTENT_LENGTH) {
        let text = value.to_str().map_err(|_| Malformed)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Malformed);
        }
        let length: u64 = text.parse().map_err(|_| Malformed)?;
        if found.is_some_and(|other| other != length) {
            return Err(Malformed);
        }
        found = Some(length);
    }
    Ok(found)
}

/// Appends a request's block.
pub fn write_request(encoder: &mut Encoder, out: &mut Vec<u8>, request: &Request<()>) {
    encoder.begin(out);
    let uri = request.uri();
    encoder.method(out, request.method().as_str());
    let protocol = request.extensions().get::<Protocol>();
    if let Some(authority) = uri.authority() {
        encoder.authority(out, authority.as_str());
    }
    if request.method() != Method::CONNECT || protocol.is_some() {
        encoder.scheme(out, uri.scheme_str().unwrap_or("http"));
        encoder.path(out, uri.path_and_query().map_or("/", PathAndQuery::as_str));
    }
    if let Some(Protocol(name)) = protocol {
        encoder.protocol(out, name);
    }
    write_fields(encoder, out, request.headers());
}

/// Appends a response's block.
pub fn write_response(
    encoder: &mut Encoder,
    out: &mut Vec<u8>,
    status: StatusCode,
    fields: &HeaderMap,
) {
    encoder.begin(out);
    encoder.status(out, status);
    write_fields(encoder, out, fields);
}

/// Appends the block of trailers.
pub fn write_trailers(encoder: &mut Encoder, out: &mut Vec<u8>, fields: &HeaderMap) {
    encoder.begin(out);
    write_fields(encoder, out, fields);
}

fn write_fields(encoder: &mut Encoder, out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        encoder.field(out, name, value);
    }
}
