//! Decodes strings in HPACK's Huffman code (RFC 7541, appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and each length begins
//! where the shorter ones have stopped. So the lengths define the whole code.

use super::Malformed;

/// The number of symbols: the 256 octets, and the end of the string.
const SYMBOLS: usize = 257;
const END: usize = SYMBOLS - 1;

/// The most bits that a code has.
const LONGEST: usize = 30;

/// The length of each symbol's code, in bits.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The codes of one length.
#[derive(Clone, Copy)]
struct Row {
    /// The first of them.
    code: u32,
    /// The number of codes.
    count: u32,
    /// The index in `SORTED` at which their symbols begin.
    begin: usize,
}

/// The codes of each length.
static ROWS: [Row; LONGEST + 1] = rows();

/// The symbols in the order of their codes.
static SORTED: [u16; SYMBOLS] = sorted();

const fn rows() -> [Row; LONGEST + 1] {
    let mut rows = [Row { code: 0, count: 0, begin: 0 }; LONGEST + 1];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        rows[LENGTHS[symbol] as usize].count += 1;
        symbol += 1;
    }
    let mut length = 1;
    while length <= LONGEST {
        let shorter = rows[length - 1];
        rows[length].code = (shorter.code + shorter.count) << 1;
        rows[length].begin = shorter.begin + shorter.count as usize;
        length += 1;
    }
    rows
}

const fn sorted() -> [u16; SYMBOLS] {
    let mut sorted = [0; SYMBOLS];
    let mut next = rows();
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let row = &mut next[LENGTHS[symbol] as usize];
        sorted[row.begin] = symbol as u16;
        row.begin += 1;
        symbol += 1;
    }
    sorted
}

/// Decodes a string.
///
/// # Errors
/// If it holds the symbol that says "end", or does not stop with up to seven bits of that.
pub(super) fn decode(coded: &[u8]) -> Result<Vec<u8>, Malformed> {
    // The shortest codes have five bits.
    let mut decoded = Vec::with_capacity(coded.len() * 8 / 5);
    let (mut code, mut length) = (0, 0);
    for octet in coded {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(octet >> bit & 1);
            length += 1;
            if let Some(symbol) = symbol(code, length)? {
                decoded.push(symbol);
                (code, length) = (0, 0);
            }
        }
    }
    let is_padding = length < 8 && code == (1 << length) - 1;
    if is_padding { Ok(decoded) } else { Err(Malformed("a Huffman-coded string with wrong padding")) }
}

/// Returns the octet with this code, or nothing if the code goes on.
fn symbol(code: u32, length: usize) -> Result<Option<u8>, Malformed> {
    let not_one = Malformed("a Huffman-coded string with its end in the middle");
    let row = ROWS.get(length).ok_or(not_one)?;
    let nth = code.wrapping_sub(row.code);
    if nth >= row.count {
        return Ok(None);
    }
    match SORTED.get(row.begin + nth as usize) {
        Some(&symbol) if usize::from(symbol) != END => Ok(Some(symbol as u8)),
        _ => Err(not_one),
    }
}
