//! Finds out whether an HTTP/2 client has said goodbye: a GOAWAY frame among the bytes that it sends.

/// What a client sends before its first frame.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const HEADER: usize = 9;
const GOAWAY: u8 = 7;

/// Looks at the headers of the frames that go by, in whatever pieces they come, and skips the rest.
#[derive(Debug)]
pub(super) struct Goodbye {
    /// How many bytes come before the next header.
    skip: usize,
    header: [u8; HEADER],
    /// How much of the header has come.
    filled: usize,
    said: bool,
}

impl Goodbye {
    pub(super) fn new() -> Goodbye {
        Goodbye { skip: PREFACE, header: [0; HEADER], filled: 0, said: false }
    }

    /// Whether the header of a GOAWAY has come.
    pub(super) fn is_said(&self) -> bool {
        self.said
    }

    /// Takes the bytes that came next.
    pub(super) fn look(&mut self, mut bytes: &[u8]) {
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
                self.said |= kind == GOAWAY;
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
        // A payload that would pass for a GOAWAY where it taken for a header.
        frame.extend(std::iter::repeat_n(GOAWAY, length.into()));
        frame
    }

    #[test]
    fn a_goaway_is_found_however_the_bytes_are_cut() {
        let preface = vec![GOAWAY; PREFACE];
        let harmless = [preface, frame(4, 0), frame(0, 40), frame(1, 9)].concat();
        let goodbye = [harmless.clone(), frame(GOAWAY, 8)].concat();
        for piece in 1..goodbye.len() {
            let (mut without, mut with) = (Goodbye::new(), Goodbye::new());
            harmless.chunks(piece).for_each(|bytes| without.look(bytes));
            assert!(!without.is_said(), "in pieces of {piece}");
            goodbye.chunks(piece).for_each(|bytes| with.look(bytes));
            assert!(with.is_said(), "in pieces of {piece}");
        }
    }
}
