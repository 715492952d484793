//! Finds frames in the bytes of an HTTP/2 connection: with GOAWAY a client announces its end, and with PING each side
//! asks if the other is there.

/// What a client sends before its first frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER: usize = 9;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// The flag of a PING that answers one.
const ACK: u8 = 1;

/// A frame that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// The sender ends the connection.
    GoAway,
    /// A question.
    Ping,
    /// The answer to it.
    Pong,
}

/// Reads the headers of frames, in whatever pieces they come, and skips the rest.
#[derive(Debug)]
pub(super) struct Frames {
    /// The bytes of the preface that have not come.
    preface: &'static [u8],
    /// The sender does not speak HTTP/2: there are no frames.
    is_other: bool,
    /// The number of bytes before the next header.
    skip: usize,
    header: [u8; HEADER],
    /// The number of the header's bytes that have come.
    filled: usize,
}

impl Frames {
    /// Reads what a client sends.
    pub(super) fn of_client() -> Frames {
        Frames { preface: PREFACE, ..Frames::of_server() }
    }

    /// Reads what a server sends.
    pub(super) fn of_server() -> Frames {
        Frames { preface: &[], is_other: false, skip: 0, header: [0; HEADER], filled: 0 }
    }

    /// Returns true if what has come is not HTTP/2.
    pub(super) fn is_other(&self) -> bool {
        self.is_other
    }

    /// Takes the bytes that came next, and passes on what they show.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        let of_preface = self.preface.len().min(bytes.len());
        self.is_other |= self.preface[..of_preface] != bytes[..of_preface];
        if self.is_other {
            return;
        }
        (self.preface, bytes) = (&self.preface[of_preface..], &bytes[of_preface..]);
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];

            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];

            if self.filled == HEADER {
                let [a, b, c, kind, flags, ..] = self.header;
                match kind {
                    GOAWAY => found(Frame::GoAway),
                    PING if flags & ACK == 0 => found(Frame::Ping),
                    PING => found(Frame::Pong),
                    _ => {}
                }
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.filled = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        // A payload that would pass for a GOAWAY if it were taken for a header.
        frame.extend(std::iter::repeat_n(GOAWAY, length.into()));
        frame
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let harmless = [frame(4, 0, 0), frame(0, 1, 40), frame(1, 5, 9)].concat();
        let of_server =
            [&harmless[..], &frame(PING, 0, 8), &frame(0, 0, 3), &frame(PING, ACK, 8), &frame(GOAWAY, 0, 8)].concat();
        let of_client = [PREFACE, &of_server].concat();
        for piece in 1..of_client.len() {
            for (bytes, mut frames) in [(&of_server, Frames::of_server()), (&of_client, Frames::of_client())] {
                let mut found = Vec::new();
                bytes.chunks(piece).for_each(|bytes| frames.read(bytes, |frame| found.push(frame)));
                assert_eq!(found, [Frame::Ping, Frame::Pong, Frame::GoAway], "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_http2_has_no_frames() {
        let other =
            [b"POST /a HTTP/1.1\r\n\r\n\0\0", &frame(GOAWAY, 0, 8)[..], &[0, 0, 0, GOAWAY, 0, 0, 0, 0, 0].repeat(9)];
        let other = other.concat();
        for piece in 1..other.len() {
            let mut frames = Frames::of_client();
            other.chunks(piece).for_each(|bytes| frames.read(bytes, |frame| panic!("{frame:?}")));
            assert!(frames.is_other());
        }
    }
}
