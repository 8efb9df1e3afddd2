//! From fields to bytes.
//!
//! What repeats is put into the table and costs a byte from then on; what is new in every message
//! (request ids, trace positions, lengths) is written as it is, because an entry that is never
//! used again only pushes out others. Which is which shows: of each name the last value is kept.

use std::collections::VecDeque;

use bytes::BufMut as _;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use http::header::{self, HeaderName, HeaderValue};

use super::table::{STATIC, static_index};
use super::{ENTRY_OVERHEAD, TABLE_BYTES};

/// Names that are followed. A message with more is nothing usual.
const NAMES: usize = 64;
/// So often a name's value may change in a row until its values are no longer put into the table…
const CHANGES: u8 = 2;
/// …except each so manieth time: it may have become steady.
const TRY_AGAIN: u8 = 64;

/// The state of one direction.
#[derive(Debug, Default)]
pub struct Encoder {
    names: HashMap<HeaderName, Known>,
    authority: Known,
    path: Known,
    sizes: Sizes,
    /// The peer has lowered or raised its limit since the last block.
    resized: Option<usize>,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    /// Its index in the static table; 0 if it has none.
    fixed: usize,
    /// The last value in the dynamic table.
    value: Box<[u8]>,
    /// The entry's number; the first is 1.
    entry: u64,
    changes: u8,
    /// No field of HTTP/2: RFC 9113 section 8.2.2.
    forbidden: bool,
    /// `te`, of which one value is allowed.
    trailers_only: bool,
    /// Not to be kept: a table that is shared by all requests tells by its compression what it
    /// has seen.
    secret: bool,
}

/// What the peer's table holds, as far as it matters: sizes.
#[derive(Debug)]
struct Sizes {
    limit: usize,
    bytes: usize,
    /// The oldest first.
    entries: VecDeque<usize>,
    inserted: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            limit: TABLE_BYTES,
            bytes: 0,
            entries: VecDeque::new(),
            inserted: 0,
        }
    }
}

impl Sizes {
    fn insert(&mut self, bytes: usize) -> u64 {
        self.shrink_to(self.limit - bytes);
        self.entries.push_back(bytes);
        self.bytes += bytes;
        self.inserted += 1;
        self.inserted
    }

    fn shrink_to(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some(bytes) = self.entries.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    /// The index of an entry; 0 if it is gone.
    fn index(&self, entry: u64) -> usize {
        let age = usize::try_from(self.inserted - entry).unwrap_or(usize::MAX);
        if entry > 0 && age < self.entries.len() {
            STATIC.len() + 1 + age
        } else {
            0
        }
    }
}

impl Encoder {
    /// The peer allows its table so many bytes. Ours is never larger than the default.
    pub fn resize(&mut self, allowed: usize) {
        let limit = allowed.min(TABLE_BYTES);
        if limit != self.sizes.limit {
            // Empty it: then no smaller size in between needs to be told.
            self.sizes.shrink_to(0);
            self.sizes.limit = limit;
            self.resized = Some(limit);
        }
    }

    /// Call before the fields of each block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(limit) = self.resized.take() {
            number(out, 0x20, 5, 0);
            number(out, 0x20, 5, limit);
        }
    }

    /// `:method`
    pub fn method(&mut self, out: &mut Vec<u8>, method: &str) {
        match method {
            "GET" => out.put_u8(0x82),
            "POST" => out.put_u8(0x83),
            other => literal(out, 2, other.as_bytes()),
        }
    }

    /// `:scheme`
    pub fn scheme(&mut self, out: &mut Vec<u8>, scheme: &str) {
        match scheme {
            "http" => out.put_u8(0x86),
            "https" => out.put_u8(0x87),
            other => literal(out, 6, other.as_bytes()),
        }
    }

    /// `:authority`
    pub fn authority(&mut self, out: &mut Vec<u8>, authority: &str) {
        self.authority.fixed = 1;
        self.authority.write(
            out,
            &mut self.sizes,
            ":authority",
            authority.as_bytes(),
            false,
        );
    }

    /// `:path`
    pub fn path(&mut self, out: &mut Vec<u8>, path: &str) {
        if path == "/" {
            return out.put_u8(0x84);
        }
        self.path.fixed = 4;
        self.path
            .write(out, &mut self.sizes, ":path", path.as_bytes(), false);
    }

    /// `:protocol`
    pub fn protocol(&mut self, out: &mut Vec<u8>, protocol: &str) {
        out.put_u8(0);
        string(out, b":protocol");
        string(out, protocol.as_bytes());
    }

    /// `:status`
    pub fn status(&mut self, out: &mut Vec<u8>, status: http::StatusCode) {
        match status.as_u16() {
            200 => out.put_u8(0x88),
            204 => out.put_u8(0x89),
            206 => out.put_u8(0x8a),
            304 => out.put_u8(0x8b),
            400 => out.put_u8(0x8c),
            404 => out.put_u8(0x8d),
            500 => out.put_u8(0x8e),
            _ => literal(out, 8, status.as_str().as_bytes()),
        }
    }

    /// A field. Left out if HTTP/2 does not allow it.
    pub fn field(&mut self, out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
        let room = self.names.len() < NAMES;
        let known = match self.names.entry_ref(name) {
            EntryRef::Occupied(entry) => entry.into_mut(),
            EntryRef::Vacant(entry) if room => entry.insert(Known::of(name)),
            EntryRef::Vacant(_) => {
                let known = Known::of(name);
                if known.allows(value) {
                    let by = known.fixed;
                    known.literal(out, by, name.as_str(), value.as_bytes(), known.secret);
                }
                return;
            }
        };
        if known.allows(value) {
            let secret = known.secret || value.is_sensitive();
            known.write(
                out,
                &mut self.sizes,
                name.as_str(),
                value.as_bytes(),
                secret,
            );
        }
    }
}

impl Known {
    fn of(name: &HeaderName) -> Self {
        let hop_by_hop = [
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
        ];
        let secrets = [
            header::AUTHORIZATION,
            header::COOKIE,
            header::PROXY_AUTHORIZATION,
            header::SET_COOKIE,
        ];
        Self {
            fixed: static_index(name.as_str()),
            forbidden: hop_by_hop.contains(name)
                || matches!(name.as_str(), "keep-alive" | "proxy-connection"),
            trailers_only: *name == header::TE,
            secret: secrets.contains(name),
            ..Self::default()
        }
    }

    fn allows(&self, value: &HeaderValue) -> bool {
        !self.forbidden && (!self.trailers_only || value == "trailers")
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        sizes: &mut Sizes,
        name: &str,
        value: &[u8],
        secret: bool,
    ) {
        let index = sizes.index(self.entry);
        if index > 0 && *self.value == *value && !secret {
            self.changes = 0;
            return number(out, 0x80, 7, index);
        }
        let by = if self.fixed > 0 { self.fixed } else { index };
        let bytes = name.len() + value.len() + ENTRY_OVERHEAD;
        let steady = self.changes < CHANGES || self.changes.is_multiple_of(TRY_AGAIN);
        self.changes = self.changes.wrapping_add(1).max(1);
        if secret || !steady || bytes > sizes.limit / 4 {
            return self.literal(out, by, name, value, secret);
        }
        number(out, 0x40, 6, by);
        if by == 0 {
            string(out, name.as_bytes());
        }
        string(out, value);
        self.entry = sizes.insert(bytes);
        self.value = value.into();
    }

    fn literal(&self, out: &mut Vec<u8>, by: usize, name: &str, value: &[u8], secret: bool) {
        number(out, if secret { 0x10 } else { 0 }, 4, by);
        if by == 0 {
            string(out, name.as_bytes());
        }
        string(out, value);
    }
}

fn literal(out: &mut Vec<u8>, name: usize, value: &[u8]) {
    number(out, 0, 4, name);
    string(out, value);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    number(out, 0, 7, text.len());
    out.put_slice(text);
}

fn number(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return out.put_u8(pattern | value as u8);
    }
    out.put_u8(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}
