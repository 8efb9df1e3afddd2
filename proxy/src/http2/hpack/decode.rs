//! From bytes to fields.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use super::table::{Entry, Table};
use super::{ENTRY_OVERHEAD, Pseudo, TABLE_BYTES, huffman};

/// Takes the fields of a block, in their order.
pub trait Fields {
    /// A pseudo-header.
    fn pseudo(&mut self, name: Pseudo, value: Bytes);
    /// A field.
    fn field(&mut self, name: HeaderName, value: HeaderValue);
    /// A field that HTTP/2 does not allow.
    fn invalid(&mut self);
    /// The list is longer than the limit; no more fields will come.
    fn too_long(&mut self);
}

/// A block that can't be decoded. The table is of no more use, nor the connection: RFC 9113
/// section 4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled;

/// The state of one direction.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// Bytes that a list of fields may have by RFC 9113 section 6.5.2.
    limit: usize,
    text: Vec<u8>,
}

impl Decoder {
    /// `limit`: bytes of names and values of one block, each field with 32 on top.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            table: Table::new(TABLE_BYTES),
            limit,
            text: Vec::new(),
        }
    }

    /// Decodes a whole block into `fields`.
    ///
    /// # Errors
    /// [`Garbled`].
    pub fn decode(&mut self, block: &[u8], fields: &mut impl Fields) -> Result<(), Garbled> {
        let mut input = Input(block);
        let (mut begun, mut total) = (false, 0);
        while let Some(first) = input.0.first().copied() {
            if first & 0xe0 == 0x20 {
                let size = input.number(5)?;
                if begun || size > TABLE_BYTES {
                    return Err(Garbled);
                }
                self.table.resize(size);
                continue;
            }
            begun = true;
            let (entry, bytes) = if first & 0x80 != 0 {
                let entry = self.table.get(input.number(7)?).ok_or(Garbled)?.clone();
                let bytes = entry.bytes();
                (Some(entry), bytes)
            } else {
                self.literal(&mut input, first)?
            };
            let within = total <= self.limit;
            total += bytes + ENTRY_OVERHEAD;
            match entry {
                _ if total > self.limit => {
                    if within {
                        fields.too_long();
                    }
                }
                Some(Entry::Pseudo(name, value)) => fields.pseudo(name, value),
                Some(Entry::Field(name, value)) => fields.field(name, value),
                None => fields.invalid(),
            }
        }
        Ok(())
    }

    /// A field with its bytes. No entry: it is none that HTTP/2 allows.
    fn literal(
        &mut self,
        input: &mut Input<'_>,
        first: u8,
    ) -> Result<(Option<Entry>, usize), Garbled> {
        let keep = first & 0x40 != 0;
        let index = input.number(if keep { 6 } else { 4 })?;
        let name = match index {
            0 => {
                let text = input.string(&mut self.text)?;
                let name = match Pseudo::of(text) {
                    Some(pseudo) => Some(Entry::Pseudo(pseudo, Bytes::new())),
                    None => HeaderName::from_lowercase(text)
                        .ok()
                        .map(|name| Entry::Field(name, HeaderValue::from_static(""))),
                };
                (name, text.len())
            }
            _ => {
                let known = self.table.get(index).ok_or(Garbled)?;
                (Some(known.clone()), known.name_bytes())
            }
        };
        let text = input.string(&mut self.text)?;
        let value = Bytes::copy_from_slice(text);
        let bytes = name.1 + value.len();
        let entry = match name.0 {
            Some(Entry::Pseudo(name, _)) => Some(Entry::Pseudo(name, value)),
            Some(Entry::Field(name, _)) => match HeaderValue::from_maybe_shared(value) {
                Ok(mut value) => {
                    // Never to be indexed by anybody on the way: RFC 7541 section 7.1.3.
                    value.set_sensitive(first & 0xf0 == 0x10);
                    Some(Entry::Field(name, value))
                }
                Err(_invalid) => None,
            },
            None => None,
        };
        if keep {
            // An invalid field takes its place too: later indices count it.
            let kept = entry.clone().unwrap_or_else(Entry::placeholder);
            self.table.insert(kept, bytes);
        }
        Ok((entry, bytes))
    }
}

impl Entry {
    /// Stands for an invalid field; whoever refers to it gets a field that is invalid as well.
    fn placeholder() -> Self {
        Self::Pseudo(Pseudo::Status, Bytes::new())
    }

    fn name_bytes(&self) -> usize {
        match self {
            Self::Pseudo(name, _) => match name {
                Pseudo::Path => 5,
                Pseudo::Method | Pseudo::Scheme | Pseudo::Status => 7,
                Pseudo::Protocol => 9,
                Pseudo::Authority => 10,
            },
            Self::Field(name, _) => name.as_str().len(),
        }
    }

    fn bytes(&self) -> usize {
        self.name_bytes()
            + match self {
                Self::Pseudo(_, value) => value.len(),
                Self::Field(_, value) => value.len(),
            }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// An integer whose first `prefix` bits are the low ones of the next byte.
    fn number(&mut self, prefix: u32) -> Result<usize, Garbled> {
        let (first, mut rest) = self.0.split_first().ok_or(Garbled)?;
        let most = (1 << prefix) - 1;
        let mut value = usize::from(*first) & most;
        if value == most {
            let mut shift = 0;
            loop {
                let (byte, after) = rest.split_first().ok_or(Garbled)?;
                rest = after;
                value += usize::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
                shift += 7;
                // More than any header of ours can be long.
                if shift > 21 {
                    return Err(Garbled);
                }
            }
        }
        self.0 = rest;
        Ok(value)
    }

    /// A string; `scratch` holds it if it was compressed.
    fn string<'b>(&mut self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], Garbled>
    where
        'a: 'b,
    {
        let compressed = self.0.first().ok_or(Garbled)? & 0x80 != 0;
        let length = self.number(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Garbled)?;
        self.0 = rest;
        if !compressed {
            return Ok(text);
        }
        scratch.clear();
        huffman::decode(text, scratch).ok_or(Garbled)?;
        Ok(scratch)
    }
}
