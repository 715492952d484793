//! Finds a GOAWAY frame among the bytes that an HTTP/2 client sends: with it the client announces its end.

/// The length of what a client sends before its first frame.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const HEADER: usize = 9;
const GOAWAY: u8 = 7;

/// Reads the headers of frames, in whatever pieces they come, and skips the rest.
#[derive(Debug)]
pub(super) struct GoawayFinder {
    /// The number of bytes before the next header.
    skip: usize,
    header: [u8; HEADER],
    /// The number of the header's bytes that have come.
    filled: usize,
    found: bool,
}

impl GoawayFinder {
    pub(super) fn new() -> GoawayFinder {
        GoawayFinder { skip: PREFACE, header: [0; HEADER], filled: 0, found: false }
    }

    /// Returns true if the header of a GOAWAY has come.
    pub(super) fn is_found(&self) -> bool {
        self.found
    }

    /// Takes the bytes that came next.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];

            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];

            if self.filled == HEADER {
                let [a, b, c, kind, ..] = self.header;
                self.found |= kind == GOAWAY;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.filled = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, 1];
        // A payload that would pass for a GOAWAY if it were taken for a header.
        frame.extend(std::iter::repeat_n(GOAWAY, length.into()));
        frame
    }

    #[test]
    fn a_goaway_is_found_however_the_bytes_are_cut() {
        let preface = vec![GOAWAY; PREFACE];
        let harmless = [preface, frame(4, 0), frame(0, 40), frame(1, 9)].concat();
        let goaway = [harmless.clone(), frame(GOAWAY, 8)].concat();
        for piece in 1..goaway.len() {
            let (mut without, mut with) = (GoawayFinder::new(), GoawayFinder::new());
            harmless.chunks(piece).for_each(|bytes| without.read(bytes));
            assert!(!without.is_found(), "in pieces of {piece}");
            goaway.chunks(piece).for_each(|bytes| with.read(bytes));
            assert!(with.is_found(), "in pieces of {piece}");
        }
    }
}
