//! The Huffman code of RFC 7541 appendix B. Only decoding: what we send is not compressed by it,
//! for it saves a quarter of the few bytes that the tables leave and costs more than they do.

/// Bits of each symbol's code; the last is the end of the string. The code is canonical, so
/// lengths say all.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const END: u16 = 256;
const LONGEST: usize = 30;
/// Codes up to this many bits, which are all of ordinary text, take one look-up.
const FAST_BITS: u32 = 9;

struct Table {
    /// Symbol and length by the next [`FAST_BITS`] bits; length 0 for longer codes.
    fast: [(u8, u8); 1 << FAST_BITS],
    /// Of each length: its first code, and where its symbols start in `symbols`.
    first: [(u32, u16); LONGEST + 2],
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
}

static TABLE: Table = Table::new();

impl Table {
    const fn new() -> Self {
        let mut table = Self {
            fast: [(0, 0); 1 << FAST_BITS],
            first: [(0, 0); LONGEST + 2],
            symbols: [0; 257],
        };
        let (mut code, mut next, mut length) = (0_u32, 0, 1);
        while length <= LONGEST {
            code <<= 1;
            table.first[length] = (code, next);
            let mut symbol = 0;
            while symbol <= END {
                if LENGTHS[symbol as usize] as usize == length {
                    table.symbols[next as usize] = symbol;
                    if length <= FAST_BITS as usize {
                        table.fill(symbol as u8, code, length as u32);
                    }
                    next += 1;
                    code += 1;
                }
                symbol += 1;
            }
            length += 1;
        }
        table.first[LONGEST + 1] = (code << 1, next);
        table
    }

    const fn fill(&mut self, symbol: u8, code: u32, length: u32) {
        let free = FAST_BITS - length;
        let mut rest = 0;
        while rest < 1 << free {
            self.fast[((code << free) | rest) as usize] = (symbol, length as u8);
            rest += 1;
        }
    }

    /// A symbol of more than [`FAST_BITS`] bits at the top of `bits`, with its length.
    fn slow(&self, bits: u64) -> Option<(u16, u32)> {
        let mut length = FAST_BITS + 1;
        while length as usize <= LONGEST {
            let code = (bits >> (64 - length)) as u32;
            let (first, start) = self.first[length as usize];
            let (_, end) = self.first[length as usize + 1];
            let index = code.checked_sub(first)?;
            if index < u32::from(end - start) {
                return Some((self.symbols[start as usize + index as usize], length));
            }
            length += 1;
        }
        None
    }
}

/// Appends the text of `coded` to `out`. `None`: it is no valid code.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // Bits not yet decoded stand at the top of `bits`.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut input = coded.iter();
    loop {
        while count <= 56
            && let Some(byte) = input.next()
        {
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        let (symbol, length) = TABLE.fast[(bits >> (64 - FAST_BITS)) as usize];
        let (symbol, length) = match (u16::from(symbol), u32::from(length)) {
            // What is left may be padding, which looks like the start of a long code.
            (_, 0) if count < 8 => break,
            (_, 0) => TABLE.slow(bits)?,
            found => found,
        };
        if length > count {
            break;
        }
        out.push(u8::try_from(symbol).ok()?);
        bits <<= length;
        count -= length;
    }
    let padding = u64::MAX.checked_shl(64 - count).unwrap_or(0);
    (count < 8 && bits == padding).then_some(())
}
