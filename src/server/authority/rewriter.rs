//! Removes `:authority` from what a client sends, frame by frame.

use super::Malformed;
use super::hpack::{self, Decoder};
use crate::server::{MAX_FRAME_BYTES, MAX_HEADER_BYTES};

/// The bytes that a client sends before its first frame.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADER: usize = 9;
const MAX_FRAME: usize = MAX_FRAME_BYTES as usize;

/// The most that a header block may take, with its frames, and the most that its fields may count. h2 refuses a call
/// with a quarter of it and goes on. A connection on which more comes is ended, as h2 would.
const MAX_BLOCK: usize = 4 * MAX_HEADER_BYTES as usize;

const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Rewrites the header blocks of one connection and passes on everything else as it is.
#[derive(Debug)]
pub(super) struct Rewriter {
    state: State,
    /// The header block whose frames have not all come.
    block: Option<Block>,
    decoder: Decoder,
}

/// The part of the input that comes next.
#[derive(Debug)]
enum State {
    /// A frame's header, and the number of its bytes that have come.
    Header([u8; HEADER], usize),
    /// The number of bytes that still pass unchanged; at least one.
    Passing(usize),
    /// The payload of a frame of a header block, as far as it has come; at least one byte is missing.
    Fragment(Head, Vec<u8>),
    /// No more input: the client has broken a rule.
    Broken(Malformed),
}

impl State {
    const NEXT_FRAME: State = State::Header([0; HEADER], 0);
}

/// The header of a frame.
#[derive(Debug, Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Head {
    fn read([a, b, c, kind, flags, stream @ ..]: [u8; HEADER]) -> Head {
        Head { length: u32::from_be_bytes([0, a, b, c]) as usize, kind, flags, stream }
    }

    fn write(self, output: &mut Vec<u8>) {
        output.extend_from_slice(&(self.length as u32).to_be_bytes()[1..]);
        output.extend_from_slice(&[self.kind, self.flags]);
        output.extend_from_slice(&self.stream);
    }
}

/// A header block that has begun.
#[derive(Debug)]
struct Block {
    stream: [u8; 4],
    /// `END_STREAM`, if its first frame had that.
    end_stream: u8,
    fragments: Vec<u8>,
    /// The size of its frames so far, in bytes.
    taken: usize,
}

impl Rewriter {
    pub(super) fn new() -> Rewriter {
        Rewriter { state: passing(PREFACE.len()), block: None, decoder: Decoder::new() }
    }

    /// Takes some of `input`, which must not be empty, and appends the result to `output`: the same bytes, or a whole
    /// header block.
    ///
    /// # Errors
    /// If the client has broken the rules of header blocks. Nothing is taken any more then.
    pub(super) fn step(&mut self, input: &mut &[u8], output: &mut Vec<u8>) -> Result<(), Malformed> {
        let state = std::mem::replace(&mut self.state, State::NEXT_FRAME);
        let next = self.next(state, input, output);
        self.state = next.unwrap_or_else(State::Broken);
        self.check()
    }

    /// Returns the rule that the client has broken, as an error.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        match self.state {
            State::Broken(malformed) => Err(malformed),
            _ => Ok(()),
        }
    }

    fn next(&mut self, state: State, input: &mut &[u8], output: &mut Vec<u8>) -> Result<State, Malformed> {
        match state {
            State::Header(mut header, filled) => {
                let taken = take(input, HEADER - filled);
                let now = filled + taken.len();
                header[filled..now].copy_from_slice(taken);
                if now < HEADER { Ok(State::Header(header, now)) } else { self.begin(header, output) }
            }
            State::Passing(left) => {
                let taken = take(input, left);
                output.extend_from_slice(taken);
                Ok(passing(left - taken.len()))
            }
            State::Fragment(head, mut payload) => {
                payload.extend_from_slice(take(input, head.length - payload.len()));
                self.fragment(head, payload, output)
            }
            State::Broken(malformed) => Err(malformed),
        }
    }

    /// Decides what to do with a frame, by its header.
    fn begin(&mut self, header: [u8; HEADER], output: &mut Vec<u8>) -> Result<State, Malformed> {
        let head = Head::read(header);
        match (head.kind, &self.block) {
            (HEADERS, None) => {}
            (CONTINUATION, Some(block)) if head.stream == block.stream => {}
            (_, Some(_)) => return Err(Malformed("a frame in the middle of a header block")),
            // No client may send a promise, and what it carries would be a header block as well.
            (CONTINUATION | PUSH_PROMISE, None) => return Err(Malformed("a header block without a beginning")),
            _ => {
                output.extend_from_slice(&header);
                return Ok(passing(head.length));
            }
        }
        if head.length > MAX_FRAME {
            return Err(Malformed("a frame of headers that is too long"));
        }
        self.fragment(head, Vec::new(), output)
    }

    /// Continues a frame of a header block with the part of its payload that has come.
    fn fragment(&mut self, head: Head, payload: Vec<u8>, output: &mut Vec<u8>) -> Result<State, Malformed> {
        if payload.len() < head.length {
            return Ok(State::Fragment(head, payload));
        }
        self.join(head, &payload, output)?;
        Ok(State::NEXT_FRAME)
    }

    /// Adds a frame to its header block, and rewrites that if it is whole.
    fn join(&mut self, head: Head, payload: &[u8], output: &mut Vec<u8>) -> Result<(), Malformed> {
        let fragment = if head.kind == HEADERS { strip(head, payload)? } else { payload };
        let mut block = self.block.take().unwrap_or_else(|| Block {
            stream: head.stream,
            end_stream: head.flags & END_STREAM,
            fragments: Vec::new(),
            taken: 0,
        });
        block.taken += HEADER + payload.len();
        if block.taken > MAX_BLOCK {
            return Err(Malformed("a header block that is too long"));
        }
        block.fragments.extend_from_slice(fragment);
        if head.flags & END_HEADERS == 0 {
            self.block = Some(block);
            return Ok(());
        }
        self.rewrite(&block, output)
    }

    /// Appends a header block without its `:authority`.
    fn rewrite(&mut self, block: &Block, output: &mut Vec<u8>) -> Result<(), Malformed> {
        let (mut fields, mut size) = (Vec::new(), 0);
        self.decoder.decode(&block.fragments, |name, value| {
            size += hpack::size_of(name, value);
            if size > MAX_BLOCK {
                return Err(Malformed("a list of headers that is too long"));
            }
            if name != b":authority" {
                hpack::write(&mut fields, name, value);
            }
            Ok(())
        })?;

        let (mut kind, mut flags) = (HEADERS, block.end_stream);
        let mut rest = &*fields;
        loop {
            let fragment = take(&mut rest, MAX_FRAME);
            flags |= if rest.is_empty() { END_HEADERS } else { 0 };
            Head { length: fragment.len(), kind, flags, stream: block.stream }.write(output);
            output.extend_from_slice(fragment);
            if rest.is_empty() {
                return Ok(());
            }
            (kind, flags) = (CONTINUATION, 0);
        }
    }
}

/// Returns the state in which so many bytes pass.
fn passing(left: usize) -> State {
    if left == 0 { State::NEXT_FRAME } else { State::Passing(left) }
}

/// Takes up to `most` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    taken
}

/// Returns what is left of the payload of a HEADERS frame without padding and priority.
fn strip(head: Head, mut payload: &[u8]) -> Result<&[u8], Malformed> {
    const WRONG: Malformed = Malformed("a frame of headers with more padding than there is room for");
    let mut padding = 0;
    if head.flags & PADDED != 0 {
        padding = usize::from(*payload.split_off_first().ok_or(WRONG)?);
    }
    if head.flags & PRIORITY != 0 {
        payload.split_off(..5).ok_or(WRONG)?;
    }
    let length = payload.len().checked_sub(padding).ok_or(WRONG)?;
    Ok(&payload[..length])
}
