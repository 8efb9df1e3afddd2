//! Header compression, RFC 7541. A connection has one [`Decoder`] for what it receives and one
//! [`Encoder`] for what it sends.

pub mod decode;
pub mod encode;
mod huffman;
mod table;

pub use decode::Decoder;
pub use encode::Encoder;

/// Bytes of a table that neither side has changed. RFC 7540 section 6.5.2.
pub const TABLE_BYTES: usize = 4096;

/// A pseudo-header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pseudo {
    /// `:authority`
    Authority,
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:scheme`
    Scheme,
    /// `:status`
    Status,
    /// `:protocol`, of RFC 8441.
    Protocol,
}

impl Pseudo {
    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":scheme" => Self::Scheme,
            b":status" => Self::Status,
            b":protocol" => Self::Protocol,
            _ => return None,
        })
    }
}

/// What a table counts for a field on top of name and value. RFC 7541 section 4.1.
const ENTRY_OVERHEAD: usize = 32;

#[cfg(test)]
mod tests;
