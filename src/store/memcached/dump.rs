//! Asks a memcached for all its keys, and reads the locks among them: `lru_crawler metadump hash`.
//!
//! `hash` goes through the table of all items. `all` goes through the lists by which memcached frees memory, and misses what
//! moves between them.

use std::io::{Error, ErrorKind, Result};
use std::ops::ControlFlow;

use lockbroker_core::store::ItemState;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;

use crate::clock::Moment;
use crate::lock::LockName;

/// The characters that memcached shows as they are. It shows every other byte of a key as `%` and two digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The bytes that are read at once: some 600 lines, and less than a millisecond's work. Others have their turn after each.
const AT_ONCE: usize = 64 * 1024;

/// A lock as a dump shows it, in little room: there may be a million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: LockName,
    /// The number of its state.
    pub(super) number: u64,
    /// The second in which its item expires, by the server's wall clock.
    pub(super) expires: u64,
}

/// The server's wall clock in whole seconds, as it was at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerTime {
    pub(super) seconds: u64,
    /// When that was read: a moment after it was shown.
    pub(super) read: Moment,
}

/// The reason for which a server showed no keys, or not all.
#[derive(Debug, thiserror::Error)]
pub(super) enum DumpError {
    /// It will soon: its table grows, or it goes through it for somebody else. It has shown none.
    #[error("it shows its keys to nobody now: {0}")]
    Busy(String),
    /// It never will. Says which flag forbids it.
    #[error("it does not show its keys: {0}")]
    Forbidden(&'static str),
    /// The connection broke, or what answers is no memcached.
    #[error(transparent)]
    Broken(#[from] Error),
}

/// The beginning of the keys of the locks that are looked for, as a dump shows it.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// With the beginning of the names.
    begins: String,
    /// The part of it that comes before the names.
    before: usize,
}

impl Pattern {
    /// Makes the pattern of the locks whose names begin with `prefix`, where their keys begin with `keys`.
    pub(super) fn new(keys: &str, prefix: &str) -> Pattern {
        let mut begins = format!("key={}", utf8_percent_encode(keys, ENCODED));
        let before = begins.len();
        begins.extend(utf8_percent_encode(prefix, ENCODED));
        Pattern { begins, before }
    }

    /// Reads a line. None if it shows no such lock.
    fn read(&self, line: &[u8]) -> Option<Found> {
        if !line.starts_with(self.begins.as_bytes()) {
            return None;
        }
        let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
        let name = words.next()?.get(self.before..)?;
        let name = LockName::new(&percent_decode_str(name).decode_utf8().ok()?).ok()?;
        let (mut number, mut expires) = (None, None);
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "cas" => number = value.parse().ok(),
                // -1 never expires: no lock's.
                "exp" => expires = value.parse().ok(),
                _ => {}
            }
        }
        let number = ItemState::of_number(number?)?.number();
        Some(Found { name, number, expires: expires? })
    }
}

/// Lines of a server's, from a connection on which nothing else is under way.
#[derive(Debug)]
pub(super) struct Lines<S> {
    stream: S,
    buffer: Box<[u8]>,
    /// The part of the buffer that has been read from the stream, and not been taken yet.
    begin: usize,
    end: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lines<S> {
    pub(super) fn new(stream: S) -> Lines<S> {
        Lines { stream, buffer: vec![0; AT_ONCE].into_boxed_slice(), begin: 0, end: 0 }
    }

    /// Returns the next line without its end.
    async fn next(&mut self) -> Result<&[u8]> {
        let mut searched = self.begin;
        let end = loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                break searched + at;
            }
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            searched = self.end;
            if self.end == self.buffer.len() {
                return Err(Error::new(ErrorKind::InvalidData, "it answers with a line that does not end"));
            }
            yield_now().await;
            match self.stream.read(&mut self.buffer[self.end..]).await? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => self.end += read,
            }
        };
        let line = &self.buffer[self.begin..end];
        self.begin = end + 1;
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Asks what time it is.
    async fn time(&mut self) -> Result<ServerTime> {
        self.stream.write_all(b"stats\r\n").await?;
        let mut seconds = None;
        loop {
            match self.next().await? {
                b"END" => break,
                line => match line.strip_prefix(b"STAT time ").map(str::from_utf8) {
                    Some(Ok(number)) => seconds = number.parse().ok(),
                    _ if line.starts_with(b"STAT ") => {}
                    _ => return Err(odd(line)),
                },
            }
        }
        let seconds = seconds.ok_or_else(|| Error::new(ErrorKind::InvalidData, "it does not say what time it is"))?;
        Ok(ServerTime { seconds, read: Moment::now() })
    }

    /// Asks for all locks that `pattern` means, and gives each to `take` until that has enough. As fast as the server can:
    /// while it writes to somebody who does not read, it goes through its table for nobody else.
    ///
    /// # Cancel safety
    /// The connection is of no use any more. Nor is it if `take` had enough.
    pub(super) async fn dump(
        &mut self,
        pattern: &Pattern,
        mut take: impl FnMut(Found) -> ControlFlow<()>,
    ) -> std::result::Result<ServerTime, DumpError> {
        let time = self.time().await?;
        // By itself: memcached refuses it where it comes together with another command.
        self.stream.write_all(b"lru_crawler metadump hash\r\n").await?;
        loop {
            match self.next().await? {
                b"END" => return Ok(time),
                line if line.starts_with(b"key=") => {
                    if pattern.read(line).map(&mut take) == Some(ControlFlow::Break(())) {
                        return Ok(time);
                    }
                }
                line => return Err(refusal(line)),
            }
        }
    }
}

/// Reads the line by which a server says that it shows no keys.
fn refusal(line: &[u8]) -> DumpError {
    match line {
        b"ERROR metadump not allowed" => DumpError::Forbidden("start it without -X (remove the line -X)"),
        b"CLIENT_ERROR lru crawler disabled" => {
            DumpError::Forbidden("start it without -o no_lru_crawler (remove it from the line -o)")
        }
        b"ERROR locked try again later" => DumpError::Busy("its table grows".to_owned()),
        busy if busy.starts_with(b"BUSY") => DumpError::Busy(String::from_utf8_lossy(busy).into_owned()),
        _ => DumpError::Broken(odd(line)),
    }
}

fn odd(line: &[u8]) -> Error {
    let heard: String = String::from_utf8_lossy(line).chars().take(80).collect();
    Error::new(ErrorKind::InvalidData, format!("it answered {heard:?}"))
}
