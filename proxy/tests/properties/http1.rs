//! What must hold of HTTP/1.1, whatever bytes come: how they are cut makes no difference, what
//! RFC 9112 calls invalid is refused, and what we pass on means what we were told.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Uri};
use mesh_proxy::http1::Error;
use mesh_proxy::http1::decode::{Decoder, Piece};
use mesh_proxy::http1::encode::{self, Persistence, RequestLine};
use mesh_proxy::http1::head::{self, Framing, HeadError, Limits, Scanner};

use super::pieces::pieces;

const LIMIT_BYTES: usize = 4096;

/// A request's line.
type Asked = (Method, Uri);

/// A message as far as it came. `L`: what its first line says.
#[derive(Debug, PartialEq)]
struct Message<L> {
    line: L,
    headers: HeaderMap,
    framing: Framing,
    keep_alive: bool,
    body: Vec<u8>,
    trailers: HeaderMap,
    ended: bool,
}

/// Reads a head from its bytes.
type ReadHead<L> = fn(&bytes::Bytes, &Limits) -> Result<Message<L>, HeadError>;
/// Looks at the beginning of one.
type CheckHead = fn(&[u8]) -> Result<(), HeadError>;

/// What one side of a connection heard.
struct Heard<L> {
    messages: Vec<Message<L>>,
    refused: bool,
}

/// Everything that `delivery` brings, read as both sides of a connection read.
fn hear<'a, L>(
    delivery: impl Iterator<Item = &'a [u8]>,
    limit_bytes: usize,
    check: CheckHead,
    read: ReadHead<L>,
) -> Heard<L> {
    let limits = Limits {
        head_bytes: limit_bytes,
        preserve_case: false,
    };
    let (mut buffer, mut scanner) = (BytesMut::new(), Scanner::default());
    let mut decoder = Decoder::new(Framing::Empty);
    let mut messages = Vec::new();
    let mut step = |buffer: &mut BytesMut, messages: &mut Vec<Message<L>>| {
        if let Some(message) = messages.last_mut().filter(|_| !decoder.is_done()) {
            match decoder.next(buffer)? {
                Some(Piece::Data(data)) => message.body.extend_from_slice(&data),
                Some(Piece::Trailers(map)) => message.trailers = map,
                Some(Piece::End) => {}
                None => return Ok(false),
            }
            message.ended = decoder.is_done();
            return Ok(true);
        }
        let Some(bytes) = scanner.take(buffer, limit_bytes, check)? else {
            return Ok(false);
        };
        let message = read(&bytes, &limits)?;
        is_strict(&bytes, &message);
        decoder = Decoder::new(message.framing);
        messages.push(Message {
            ended: decoder.is_done(),
            ..message
        });
        Ok::<bool, Error>(true)
    };
    for piece in delivery {
        buffer.extend_from_slice(piece);
        loop {
            match step(&mut buffer, &mut messages) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    return Heard {
                        messages,
                        refused: true,
                    };
                }
            }
        }
    }
    Heard {
        messages,
        refused: false,
    }
}

/// Fails unless `bytes`, which were accepted as a head, follow the letter of RFC 9112.
fn is_strict<L>(bytes: &[u8], message: &Message<L>) {
    let headers = &message.headers;
    let lines = bytes.trim_ascii().split(|&byte| byte == b'\n');
    let mut fields = 0;
    let mut lengths = 0;
    for line in lines.skip(1) {
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = line.split_at(colon.expect("a field has a colon"));
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        assert!(
            !name.is_empty() && name.iter().all(token),
            "{:?}",
            name.escape_ascii()
        );
        assert!(!value.contains(&0));
        fields += 1;
        lengths += usize::from(name.eq_ignore_ascii_case(b"content-length"));
    }
    // Equal lengths are kept once.
    assert_eq!(
        fields - lengths.saturating_sub(1),
        headers.len(),
        "a field was lost"
    );
    // Some responses have no body whatever their fields say (section 6.3, rule 1).
    assert!(!framed_twice(headers) || message.framing == Framing::Empty);
}

fn framed_twice(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING)
}

fn read_request(bytes: &bytes::Bytes, limits: &Limits) -> Result<Message<Asked>, HeadError> {
    let head = head::request(bytes, limits)?;
    // Beyond the letter of RFC 9112: a lone line feed may be taken for a line's end by one and
    // for a part of it by another.
    let lone = |at: usize| bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r');
    assert!(!(0..bytes.len()).any(lone), "a lone line feed");
    let (parts, ()) = head.request.into_parts();
    assert!(!framed_twice(&parts.headers));
    Ok(Message {
        line: (parts.method, parts.uri),
        headers: parts.headers,
        framing: head.framing,
        keep_alive: head.keep_alive,
        body: Vec::new(),
        trailers: HeaderMap::new(),
        ended: false,
    })
}

fn read_response(
    bytes: &bytes::Bytes,
    limits: &Limits,
    method: &Method,
) -> Result<Message<StatusCode>, HeadError> {
    let head = head::response(bytes, limits, method)?;
    let (parts, ()) = head.response.into_parts();
    Ok(Message {
        line: parts.status,
        headers: parts.headers,
        framing: head.framing,
        keep_alive: head.keep_alive,
        body: Vec::new(),
        trailers: HeaderMap::new(),
        ended: false,
    })
}

/// The same was understood of both; in pieces garbage may be refused before its head is whole.
fn assert_same<L: PartialEq + std::fmt::Debug>(whole: &Heard<L>, cut: &Heard<L>) {
    assert_eq!(whole.messages, cut.messages);
    assert!(whole.refused || !cut.refused, "refused for how it was cut");
}

/// Requests on a client's connection. The first byte decides how the others are cut.
pub(crate) fn requests(input: &[u8]) {
    let Some((&seed, bytes)) = input.split_first() else {
        return;
    };
    let check = head::check_request;
    let whole = hear(std::iter::once(bytes), LIMIT_BYTES, check, read_request);
    let cut = hear(pieces(bytes, seed), LIMIT_BYTES, check, read_request);
    assert_same(&whole, &cut);
    for message in whole.messages.iter().filter(|message| message.ended) {
        let (method, target) = &message.line;
        let target = match (target.authority(), target.path_and_query()) {
            (Some(authority), _) if method == Method::CONNECT => authority.as_str(),
            (_, path) => path.map_or("/", |path| path.as_str()),
        };
        // The proxy answers 400 to other paths.
        if method != Method::CONNECT && !target.starts_with('/') && target != "*" {
            continue;
        }
        let mut out = Vec::new();
        let mut headers = message.headers.clone();
        headers.remove(TRANSFER_ENCODING);
        let line = RequestLine {
            method,
            target: &message.line.1,
        };
        encode::request_head(&mut out, &line, &headers, message.framing, None);
        write_body(&mut out, message);
        let heard = hear(
            std::iter::once(&out[..]),
            2 * LIMIT_BYTES,
            check,
            read_request,
        );
        let told = only(heard, &out);
        assert_eq!(
            (&told.line.0, told.line.1.to_string().as_str()),
            (method, target)
        );
        assert_passed_on(message, told);
    }
}

/// Responses on an upstream's connection. The first byte decides how the others are cut and what
/// was asked.
pub(crate) fn responses(input: &[u8]) {
    let Some((&seed, bytes)) = input.split_first() else {
        return;
    };
    let read: ReadHead<StatusCode> = match seed >> 6 {
        0 => |bytes, limits| read_response(bytes, limits, &Method::HEAD),
        1 => |bytes, limits| read_response(bytes, limits, &Method::CONNECT),
        _ => |bytes, limits| read_response(bytes, limits, &Method::GET),
    };
    let check = head::check_response;
    let whole = hear(std::iter::once(bytes), LIMIT_BYTES, check, read);
    let cut = hear(pieces(bytes, seed), LIMIT_BYTES, check, read);
    assert_same(&whole, &cut);
    for message in whole.messages.iter().filter(|message| message.ended) {
        let mut out = Vec::new();
        let mut headers = message.headers.clone();
        headers.remove(TRANSFER_ENCODING);
        // As for a message that may have no body.
        let framing = (message.framing != Framing::Empty).then_some(message.framing);
        encode::response_head(
            &mut out,
            message.line,
            &headers,
            framing,
            Persistence::Implied,
            None,
        );
        write_body(&mut out, message);
        let heard = hear(std::iter::once(&out[..]), 2 * LIMIT_BYTES, check, read);
        let mut told = only(heard, &out);
        assert_eq!(told.line, message.line);
        if !headers.contains_key(DATE) {
            assert!(told.headers.remove(DATE).is_some());
        }
        assert_passed_on(message, told);
    }
}

fn write_body<L>(out: &mut Vec<u8>, message: &Message<L>) {
    if message.framing != Framing::Chunked {
        out.extend_from_slice(&message.body);
        return;
    }
    if !message.body.is_empty() {
        encode::chunk_start(out, message.body.len());
        out.extend_from_slice(&message.body);
        out.extend_from_slice(encode::CHUNK_END);
    }
    encode::last_chunk(out, Some(&message.trailers));
}

fn only<L>(heard: Heard<L>, sent: &[u8]) -> Message<L> {
    assert!(
        !heard.refused && heard.messages.len() == 1,
        "{}",
        sent.escape_ascii()
    );
    let mut messages = heard.messages;
    messages.pop().expect("one message")
}

/// `told`, which is how we passed `message` on, says the same.
fn assert_passed_on<L>(message: &Message<L>, mut told: Message<L>) {
    assert!(told.ended);
    assert_eq!(told.body, message.body);
    assert_eq!(told.trailers, message.trailers);
    told.headers.remove(TRANSFER_ENCODING);
    if !message.headers.contains_key(CONTENT_LENGTH) {
        told.headers.remove(CONTENT_LENGTH);
    }
    let mut headers = message.headers.clone();
    headers.remove(TRANSFER_ENCODING);
    assert_eq!(told.headers, headers);
}

/// A body alone. The first byte decides how the others are cut and how the body is framed.
pub(crate) fn body(input: &[u8]) {
    let Some((&seed, bytes)) = input.split_first() else {
        return;
    };
    let framing = match seed >> 6 {
        0 => Framing::Length(bytes.len() as u64 / 2),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let whole = decode(framing, std::iter::once(bytes));
    let cut = decode(framing, pieces(bytes, seed));
    assert_eq!(whole, cut);
}

/// Content, trailers, what follows the body (empty unless it ended) and the error.
type Decoded = (Vec<u8>, HeaderMap, Vec<u8>, bool);

fn decode<'a>(framing: Framing, delivery: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let (mut decoder, mut buffer) = (Decoder::new(framing), BytesMut::new());
    let (mut content, mut trailers, mut refused) = (Vec::new(), HeaderMap::new(), false);
    for piece in delivery {
        buffer.extend_from_slice(piece);
        while !decoder.is_done() && !refused {
            match decoder.next(&mut buffer) {
                Ok(Some(Piece::Data(data))) => content.extend_from_slice(&data),
                Ok(Some(Piece::Trailers(map))) => trailers = map,
                Ok(Some(Piece::End)) => {}
                Ok(None) => break,
                Err(_) => refused = true,
            }
        }
    }
    let rest = if decoder.is_done() {
        buffer.to_vec()
    } else {
        Vec::new()
    };
    (content, trailers, rest, refused)
}
