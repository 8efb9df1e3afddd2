//! The static table, and the dynamic one of a decoder.

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use super::{ENTRY_OVERHEAD, Pseudo};

/// A field as tables hold it.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Pseudo(Pseudo, Bytes),
    Field(HeaderName, HeaderValue),
}

/// RFC 7541 appendix A; the first has index 1.
#[rustfmt::skip]
pub(super) const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let entry = |(name, value): (&'static str, &'static str)| match Pseudo::of(name.as_bytes()) {
        Some(pseudo) => Entry::Pseudo(pseudo, Bytes::from_static(value.as_bytes())),
        None => Entry::Field(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        ),
    };
    STATIC.into_iter().map(entry).collect()
});

/// The index of a name in the static table; 0 if it isn't there.
pub(super) fn static_index(name: &str) -> usize {
    let position = STATIC.iter().position(|(known, _)| *known == name);
    position.map_or(0, |position| position + 1)
}

/// What a decoder remembers.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first, each with its size.
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    limit: usize,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Entry> {
        match index.checked_sub(1)? {
            known if known < STATIC.len() => ENTRIES.get(known),
            own => self.entries.get(own - STATIC.len()).map(|(entry, _)| entry),
        }
    }

    /// Adds an entry whose name and value have `bytes`.
    pub(super) fn insert(&mut self, entry: Entry, bytes: usize) {
        let bytes = bytes + ENTRY_OVERHEAD;
        self.shrink_to(self.limit.saturating_sub(bytes));
        if bytes <= self.limit {
            self.entries.push_front((entry, bytes));
            self.bytes += bytes;
        }
    }

    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink_to(limit);
    }

    fn shrink_to(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some((_, bytes)) = self.entries.pop_back()
        {
            self.bytes -= bytes;
        }
    }
}
