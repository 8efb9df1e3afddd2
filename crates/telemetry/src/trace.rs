//! Trace headers: W3C `traceparent` and B3 (single and multiple), and `x-request-id`.
//!
//! A proxy reads the incoming [`Context`], makes a [`Context::child`] for its own span and
//! writes the headers of the formats that it found; `tracestate` and other headers stay as
//! they are.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;

/// `traceparent`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `b3`.
pub const B3: HeaderName = HeaderName::from_static("b3");
/// `x-b3-traceid`.
pub const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
/// `x-b3-spanid`.
pub const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
/// `x-b3-parentspanid`.
pub const B3_PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
/// `x-b3-sampled`.
pub const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
/// `x-b3-flags`.
pub const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
/// `x-request-id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whether the trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Recorded.
    Accept,
    /// Not recorded.
    Deny,
    /// Recorded whatever a sampler says (B3 `x-b3-flags: 1`).
    Debug,
    /// Nobody has decided yet.
    Defer,
}

impl Sampling {
    /// Whether spans are to be recorded.
    pub fn is_sampled(self) -> bool {
        matches!(self, Self::Accept | Self::Debug)
    }
}

/// Header formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats {
    /// W3C `traceparent`.
    pub w3c: bool,
    /// The single header `b3`.
    pub b3_single: bool,
    /// The headers `x-b3-*`.
    pub b3_multi: bool,
}

impl Formats {
    /// What a trace that starts here is written as: W3C and B3 multiple, so that both
    /// kinds of application find their parent.
    pub const NEW_TRACE: Self = Self {
        w3c: true,
        b3_single: false,
        b3_multi: true,
    };

    fn any(self) -> bool {
        self.w3c || self.b3_single || self.b3_multi
    }
}

/// A position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// 128 bits, never zero.
    pub trace_id: u128,
    /// 64 bits, never zero.
    pub span_id: u64,
    /// The span above, where known.
    pub parent_span_id: Option<u64>,
    /// Whether the trace is recorded.
    pub sampling: Sampling,
    /// Formats that carried it.
    pub formats: Formats,
}

impl Context {
    /// Reads the context of a request. Where several formats are present, W3C wins over B3 single
    /// over B3 multiple, and all that are there are remembered. `None` without a valid one.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let w3c = text(headers, &TRACEPARENT).and_then(parse_traceparent);
        let b3_single = || text(headers, &B3).and_then(parse_b3_single);
        let found = w3c.or_else(b3_single);
        let found = found.or_else(|| parse_b3_multi(headers))?;
        // What is beside the one that counts is replaced, whatever it says.
        let formats = Formats {
            w3c: w3c.is_some(),
            b3_single: headers.contains_key(B3),
            b3_multi: headers.contains_key(B3_TRACE_ID),
        };
        Some(Self { formats, ..found })
    }

    /// A new trace with its root span.
    pub fn root(rng: &mut impl Rng, sampling: Sampling) -> Self {
        let trace_id = u128::from(nonzero(rng)) << 64 | u128::from(rng.next_u64());
        Self {
            trace_id,
            span_id: nonzero(rng),
            parent_span_id: None,
            sampling,
            formats: Formats::NEW_TRACE,
        }
    }

    /// A new span below this one.
    #[must_use]
    pub fn child(&self, rng: &mut impl Rng) -> Self {
        Self {
            span_id: nonzero(rng),
            parent_span_id: Some(self.span_id),
            ..*self
        }
    }

    /// Writes the headers of [`Context::formats`], replacing older ones.
    pub fn write(&self, headers: &mut HeaderMap) {
        let formats = if self.formats.any() {
            self.formats
        } else {
            Formats::NEW_TRACE
        };
        let text = self.text();
        if formats.w3c {
            headers.insert(TRACEPARENT, shared(text.slice(..W3C_BYTES)));
        }
        if formats.b3_single {
            let flag = match self.sampling {
                Sampling::Accept => "-1",
                Sampling::Deny => "-0",
                Sampling::Debug => "-d",
                Sampling::Defer => "",
            };
            let parent = match self.parent_span_id {
                Some(parent) if !flag.is_empty() => format!("-{parent:016x}"),
                _ => String::new(),
            };
            let text = format!("{:032x}-{:016x}{flag}{parent}", self.trace_id, self.span_id);
            headers.insert(B3, shared(text.into()));
        }
        if formats.b3_multi {
            self.write_b3_multi(headers, &text);
        }
    }

    /// `traceparent`, whose parts are B3's too, and the parent: one allocation for all values.
    fn text(&self) -> Bytes {
        let mut text = [0; W3C_BYTES + 16];
        text[..W3C_BYTES]
            .copy_from_slice(b"00-00000000000000000000000000000000-0000000000000000-00");
        write_hex(&mut text[TRACE_ID], self.trace_id);
        write_hex(&mut text[SPAN_ID], self.span_id.into());
        text[W3C_BYTES - 1] += u8::from(self.sampling.is_sampled());
        write_hex(
            &mut text[W3C_BYTES..],
            self.parent_span_id.unwrap_or_default().into(),
        );
        Bytes::copy_from_slice(&text)
    }

    fn write_b3_multi(&self, headers: &mut HeaderMap, text: &Bytes) {
        headers.insert(B3_TRACE_ID, shared(text.slice(TRACE_ID)));
        headers.insert(B3_SPAN_ID, shared(text.slice(SPAN_ID)));
        if self.parent_span_id.is_some() {
            headers.insert(B3_PARENT_SPAN_ID, shared(text.slice(W3C_BYTES..)));
        } else {
            headers.remove(B3_PARENT_SPAN_ID);
        }
        let (name, flag) = match self.sampling {
            Sampling::Accept => (B3_SAMPLED, "1"),
            Sampling::Deny => (B3_SAMPLED, "0"),
            Sampling::Debug => (B3_FLAGS, "1"),
            Sampling::Defer => return,
        };
        headers.insert(name, HeaderValue::from_static(flag));
    }
}

/// Length of a `traceparent` of version 0, and where in it the trace and the span stand.
const W3C_BYTES: usize = 55;
const TRACE_ID: Range<usize> = 3..35;
const SPAN_ID: Range<usize> = 36..52;

/// Decides which new traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Out of 10,000: Istio's finest step is 0.01 %.
    ten_thousandths: u16,
}

impl Sampler {
    /// A sampler for `percent`, clamped to 0..=100, in steps of 0.01.
    pub fn percent(percent: f64) -> Self {
        let clamped = if percent.is_finite() {
            percent.clamp(0.0, 100.0)
        } else {
            0.0
        };
        // At most 10,000, which fits.
        Self {
            ten_thousandths: (clamped * 100.0).round() as u16,
        }
    }

    /// Decides one trace.
    pub fn sample(self, rng: &mut impl Rng) -> Sampling {
        // The bias of the remainder is below 2^-50.
        let draw = rng.next_u64() % 10_000;
        if draw < u64::from(self.ten_thousandths) {
            Sampling::Accept
        } else {
            Sampling::Deny
        }
    }
}

/// A new `x-request-id`: a random UUID (version 4).
pub fn new_request_id(rng: &mut impl Rng) -> HeaderValue {
    let bits = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    let bits = bits & !(0xf << 76) | 0x4 << 76;
    let bits = bits & !(0x3 << 62) | 0x2 << 62;
    let mut text = *b"00000000-0000-0000-0000-000000000000";
    let groups = [
        (0, 8, 96),
        (9, 13, 80),
        (14, 18, 64),
        (19, 23, 48),
        (24, 36, 0),
    ];
    for (start, end, shift) in groups {
        write_hex(&mut text[start..end], bits >> shift);
    }
    shared(Bytes::copy_from_slice(&text))
}

fn nonzero(rng: &mut impl Rng) -> u64 {
    rng.next_u64().max(1)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn shared(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).expect("hexadecimal digits and dashes are a header value")
}

/// The lowest digits of `number`, as many as fit. `format!` goes through dynamic dispatch per
/// digit group, and a request needs up to six of these.
fn write_hex(into: &mut [u8], mut number: u128) {
    for place in into.iter_mut().rev() {
        *place = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// `version-traceid-parentid-flags`, lower-case hexadecimal. Source: W3C Trace Context 3.2.
fn parse_traceparent(value: &str) -> Option<Context> {
    let (text, more) = value.trim().split_at_checked(W3C_BYTES)?;
    let dashes = [TRACE_ID.start - 1, TRACE_ID.end, SPAN_ID.end].map(|at| text.as_bytes()[at]);
    if dashes != *b"---" || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let part = |range| text.get(range);
    let version = hex(part(0..2)?, 2)?;
    let trace_id = hex(part(TRACE_ID)?, 32)?;
    let span_id = hex(part(SPAN_ID)?, 16)?;
    let flags = hex(part(W3C_BYTES - 2..W3C_BYTES)?, 2)?;
    // Version 255 is forbidden; version 0 has exactly four fields, later ones may have more.
    let ends = more.is_empty() || (version > 0 && more.starts_with('-'));
    if version == 0xff || !ends {
        return None;
    }
    let sampling = if flags & 1 == 1 {
        Sampling::Accept
    } else {
        Sampling::Deny
    };
    context(trace_id, u64::try_from(span_id).ok()?, None, sampling)
}

/// `traceid-spanid[-sampling[-parentspanid]]`. Source: openzipkin/b3-propagation.
fn parse_b3_single(value: &str) -> Option<Context> {
    let mut fields = value.trim().split('-');
    let trace_id = trace_id(fields.next()?)?;
    let span_id = hex(fields.next()?, 16)?;
    let sampling = match fields.next() {
        None => Sampling::Defer,
        Some("1") => Sampling::Accept,
        Some("0") => Sampling::Deny,
        Some("d") => Sampling::Debug,
        Some(_) => return None,
    };
    let parent = match fields.next() {
        None => None,
        Some(parent) => Some(u64::try_from(hex(parent, 16)?).ok()?),
    };
    context(trace_id, u64::try_from(span_id).ok()?, parent, sampling)
}

fn parse_b3_multi(headers: &HeaderMap) -> Option<Context> {
    let trace_id = trace_id(text(headers, &B3_TRACE_ID)?)?;
    let span_id = hex(text(headers, &B3_SPAN_ID)?, 16)?;
    let parent = text(headers, &B3_PARENT_SPAN_ID).and_then(|parent| hex(parent, 16));
    let sampling = match (text(headers, &B3_FLAGS), text(headers, &B3_SAMPLED)) {
        (Some("1"), _) => Sampling::Debug,
        (_, Some("1" | "true")) => Sampling::Accept,
        (_, Some("0" | "false")) => Sampling::Deny,
        _ => Sampling::Defer,
    };
    let parent = parent.and_then(|parent| u64::try_from(parent).ok());
    context(trace_id, u64::try_from(span_id).ok()?, parent, sampling)
}

fn context(
    trace_id: u128,
    span_id: u64,
    parent_span_id: Option<u64>,
    sampling: Sampling,
) -> Option<Context> {
    let valid = trace_id != 0 && span_id != 0;
    valid.then_some(Context {
        trace_id,
        span_id,
        parent_span_id,
        sampling,
        formats: Formats::default(),
    })
}

fn trace_id(text: &str) -> Option<u128> {
    if text.len() == 16 {
        hex(text, 16)
    } else {
        hex(text, 32)
    }
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    if text.len() != digits {
        return None;
    }
    // from_str_radix multiplies, and would accept a sign.
    text.bytes().try_fold(0, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests;
