//! Decodes header blocks (HPACK, RFC 7541), and writes fields so that their reader needs no table.

use std::collections::VecDeque;

use super::{Malformed, huffman};

/// The largest size of the dynamic table, in bytes. It is HTTP/2's default, which holds unless the server announces
/// another, and h2 announces none.
const MAX_TABLE_BYTES: usize = 4_096;

/// The bytes that a field counts beside its name and value, in a table as in a list of headers.
const OVERHEAD: usize = 32;

/// Returns the size of a field, in bytes, as the limits of tables and lists count it.
pub(super) fn size_of(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + OVERHEAD
}

/// Decodes the header blocks of one connection.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The dynamic table: the names and values that later blocks may refer to, the newest first.
    table: VecDeque<Field>,
    /// The size of the table, in bytes.
    size: usize,
    /// The largest size that the client allows.
    max_size: usize,
}

#[derive(Debug)]
struct Field {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    pub(super) fn new() -> Decoder {
        Decoder { table: VecDeque::new(), size: 0, max_size: MAX_TABLE_BYTES }
    }

    /// Decodes a whole header block and calls `each` with the name and the value of every field.
    ///
    /// # Errors
    /// If the block is malformed, and the first error of `each`. No later block can be decoded then.
    pub(super) fn decode(
        &mut self,
        mut block: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut has_fields = false;
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let (name, value) = self.entry(integer(&mut block, 7)?)?;
                    each(name, value)?;
                }
                0x40..0x80 => {
                    let field = self.literal(&mut block, 6)?;
                    each(&field.name, &field.value)?;
                    self.insert(field);
                }
                0x20..0x40 if has_fields => return Err(Malformed("a table size behind a header field")),
                0x20..0x40 => {
                    self.resize(integer(&mut block, 5)?)?;
                    continue;
                }
                ..0x20 => {
                    let field = self.literal(&mut block, 4)?;
                    each(&field.name, &field.value)?;
                }
            }
            has_fields = true;
        }
        Ok(())
    }

    /// Returns the name and the value with this index.
    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let unknown = Malformed("a header field with an index that nothing has");
        let index = index.checked_sub(1).ok_or(unknown)?;
        if let Some((name, value)) = STATIC_TABLE.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let field = self.table.get(index - STATIC_TABLE.len()).ok_or(unknown)?;
        Ok((&field.name, &field.value))
    }

    /// Takes a field whose value, if not its name, is spelled out; `bits` is the size of the name's index.
    fn literal(&self, block: &mut &[u8], bits: u32) -> Result<Field, Malformed> {
        let name = match integer(block, bits)? {
            0 => string(block)?,
            index => self.entry(index)?.0.to_vec(),
        };
        Ok(Field { name, value: string(block)? })
    }

    /// Adds a field to the table. A field that is larger than the table empties it.
    fn insert(&mut self, field: Field) {
        self.size += size_of(&field.name, &field.value);
        self.table.push_front(field);
        self.evict();
    }

    fn resize(&mut self, max_size: usize) -> Result<(), Malformed> {
        if max_size > MAX_TABLE_BYTES {
            return Err(Malformed("a table size above 4,096"));
        }
        self.max_size = max_size;
        self.evict();
        Ok(())
    }

    fn evict(&mut self) {
        while self.size > self.max_size
            && let Some(oldest) = self.table.pop_back()
        {
            self.size -= size_of(&oldest.name, &oldest.value);
        }
    }
}

/// Takes an integer that begins in the low `bits` of the next octet.
fn integer(block: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let mask = (1 << bits) - 1;
    let mut value = usize::from(octet(block)?) & mask;
    if value < mask {
        return Ok(value);
    }
    // As many octets as h2 takes: up to 2^28, which is more than anything here may count.
    for shift in [0, 7, 14, 21] {
        let octet = octet(block)?;
        value += usize::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed("a number that is too long in a header block"))
}

/// Takes a string, Huffman-coded or not.
fn string(block: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let is_coded = block.first().is_some_and(|first| *first >= 0x80);
    let length = integer(block, 7)?;
    let string = block.split_off(..length).ok_or(TRUNCATED)?;
    if is_coded { huffman::decode(string) } else { Ok(string.to_vec()) }
}

fn octet(block: &mut &[u8]) -> Result<u8, Malformed> {
    block.split_off_first().copied().ok_or(TRUNCATED)
}

const TRUNCATED: Malformed = Malformed("a header block that stops in the middle");

/// Appends a field to a header block: spelled out, and nothing that a table would have to keep.
pub(super) fn write(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for string in [name, value] {
        write_length(block, string.len());
        block.extend_from_slice(string);
    }
}

fn write_length(block: &mut Vec<u8>, length: usize) {
    const IN_ONE: usize = 0x7f;
    if length < IN_ONE {
        return block.push(length as u8);
    }
    block.push(IN_ONE as u8);
    let mut rest = length - IN_ONE;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// The fields that need not be sent (RFC 7541, appendix A). The first has the index 1.
#[rustfmt::skip]
static STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];
