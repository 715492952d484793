//! Asks a memcached for all its keys, and reads the locks among them: `lru_crawler metadump hash`.
//!
//! `hash` goes through the table of all items. `all` goes through the lists by which memcached frees memory, and misses what
//! moves between them.

use std::io::{Error, ErrorKind, Result};

use lockbroker_core::store::ItemState;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::yield_now;

use crate::clock::Moment;
use crate::lock::{LockItem, LockName, Permit};

/// The characters that memcached shows as they are. It shows every other byte of a key as `%` and two digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A colon as memcached shows it.
const COLON: &str = "%3A";

/// The bytes that are read at once: some 600 lines.
const AT_ONCE: usize = 64 * 1024;

/// A lock, or a permit, as a dump shows it, in little room: there may be a million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) item: LockItem,
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
    /// It will soon: its table grows, or it shows its keys to somebody else. It has shown none here.
    #[error("it shows its keys to nobody now: {0}")]
    Busy(String),
    /// It never will.
    #[error("it does not show its keys: {mend}")]
    Forbidden {
        /// The flag of its that forbids it.
        flag: &'static str,
        /// Says what mends it.
        mend: &'static str,
    },
    /// The connection broke, or what answers is no memcached.
    #[error(transparent)]
    Broken(#[from] Error),
}

/// The beginning of the keys of the locks and permits that are looked for, as a dump shows it.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// What comes before the name of a lock.
    locks: String,
    /// What comes before the number of a permit, which a colon and the name follow.
    permits: String,
    /// The beginning of the names.
    prefix: String,
}

impl Pattern {
    /// Makes the pattern of the locks whose names begin with `prefix`. The keys of locks begin with `locks`, those of permits
    /// with `permits`.
    pub(super) fn new(locks: &str, permits: &str, prefix: &str) -> Pattern {
        let keys = |keys: &str| format!("key={}", utf8_percent_encode(keys, ENCODED));
        let prefix = utf8_percent_encode(prefix, ENCODED).to_string();
        Pattern { locks: keys(locks), permits: keys(permits), prefix }
    }

    /// Reads which permit a line is of, and returns the rest, which begins with the name. None if it is not of a lock.
    fn kind<'a>(&self, line: &'a [u8]) -> Option<(Option<Permit>, &'a [u8])> {
        if let Some(name) = line.strip_prefix(self.locks.as_bytes()) {
            return Some((None, name));
        }
        let rest = line.strip_prefix(self.permits.as_bytes())?;
        let (number, name) = rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
        let permit = str::from_utf8(number).ok()?.parse().ok().and_then(Permit::new)?;
        Some((Some(permit), name.strip_prefix(COLON.as_bytes())?))
    }

    /// Reads a line. None if it shows no such lock.
    fn read(&self, line: &[u8]) -> Option<Found> {
        let (permit, rest) = self.kind(line)?;
        if !rest.starts_with(self.prefix.as_bytes()) {
            return None;
        }
        let mut words = str::from_utf8(rest).ok()?.split_ascii_whitespace();
        let name = LockName::new(&percent_decode_str(words.next()?).decode_utf8().ok()?).ok()?;
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
        Some(Found { item: LockItem { name, permit }, number, expires: expires? })
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
            // Others have their turn, where this thread has others.
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

    /// Asks what time it is, and makes sure that the server goes through its table for nobody else.
    ///
    /// If it does, it must not be asked for its keys: the thread of its that is asked waits until that is over, and with
    /// it all connections that it serves, also those by which locks are renewed. (Found with memcached 1.6.38.)
    async fn time(&mut self) -> std::result::Result<ServerTime, DumpError> {
        self.stream.write_all(b"stats\r\n").await?;
        let (mut seconds, mut busy) = (None, false);
        loop {
            match self.next().await? {
                b"END" => break,
                b"STAT lru_crawler_running 1" => busy = true,
                line => match line.strip_prefix(b"STAT time ").map(str::from_utf8) {
                    Some(Ok(number)) => seconds = number.parse().ok(),
                    _ if line.starts_with(b"STAT ") => {}
                    _ => return Err(odd(line).into()),
                },
            }
        }
        if busy {
            return Err(DumpError::Busy("it shows them to somebody else".to_owned()));
        }
        let seconds = seconds.ok_or_else(|| Error::new(ErrorKind::InvalidData, "it does not say what time it is"))?;
        Ok(ServerTime { seconds, read: Moment::now() })
    }

    /// Asks for all locks that `pattern` means, and gives each to `take`. As fast as the server can:
    /// while it writes to somebody who does not read, it goes through its table for nobody else.
    ///
    /// # Cancel safety
    /// The connection is of no use any more.
    pub(super) async fn dump(
        &mut self,
        pattern: &Pattern,
        mut take: impl FnMut(Found),
    ) -> std::result::Result<ServerTime, DumpError> {
        let time = self.time().await?;
        // By itself: memcached refuses it where it comes together with another command.
        self.stream.write_all(b"lru_crawler metadump hash\r\n").await?;
        loop {
            match self.next().await? {
                b"END" => return Ok(time),
                line if line.starts_with(b"key=") => pattern.read(line).into_iter().for_each(&mut take),
                line => return Err(refusal(line)),
            }
        }
    }
}

/// Reads the line by which a server says that it shows no keys.
fn refusal(line: &[u8]) -> DumpError {
    match line {
        b"ERROR metadump not allowed" => {
            DumpError::Forbidden { flag: "-X", mend: "start it without -X (remove the line -X)" }
        }
        b"CLIENT_ERROR lru crawler disabled" => DumpError::Forbidden {
            flag: "-o no_lru_crawler",
            mend: "start it without -o no_lru_crawler (remove it from the line -o)",
        },
        b"ERROR locked try again later" => DumpError::Busy("its table grows".to_owned()),
        busy if busy.starts_with(b"BUSY") => DumpError::Busy(String::from_utf8_lossy(busy).into_owned()),
        _ => DumpError::Broken(odd(line)),
    }
}

fn odd(line: &[u8]) -> Error {
    let heard: String = String::from_utf8_lossy(line).chars().take(80).collect();
    Error::new(ErrorKind::InvalidData, format!("it answered {heard:?}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    const STATS: &str = "STAT pid 1\r\nSTAT time 1000\r\nSTAT lru_crawler_running 0\r\nEND\r\n";
    /// What memcached 1.6.38 shows of a lock that is held, of one that lingers, of a permit, and of other items.
    const DUMP: &str = "\
        key=lb%3AL%3Aa%20b%25%C3%A4 exp=1015 la=900 cas=12345678901234567890 fetch=no cls=2 size=104 flags=0\r\n\
        key=lb%3AO%3Aa%20b exp=1015 la=900 cas=7 fetch=no cls=2 size=104 flags=0\r\n\
        key=lb%3AL%3Alingers exp=1060 la=900 cas=1234567890123456789 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AL%3Anever exp=-1 la=900 cas=12345678901234567890 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AL%3Anot-ours exp=1015 la=900 cas=17 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AL%3A exp=1015 la=900 cas=12345678901234567890 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AL%3A%0A exp=1015 la=900 cas=12345678901234567890 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AL%3A%FF exp=1015 la=900 cas=12345678901234567890 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AP%3A12%3Ap%3Aq exp=1015 la=900 cas=12345678901234567890 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AP%3A4096%3Ap exp=1015 la=900 cas=12345678901234567890 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AP%3Ap exp=1015 la=900 cas=12345678901234567890 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AQ%3A12%3Ap%3Aq exp=1015 la=900 cas=7 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AR%3Ap%3Aq exp=1015 la=900 cas=13 fetch=yes cls=2 size=104 flags=0\r\n\
        key=lb%3AS exp=2147480000 la=900 cas=1234567890123400007 fetch=yes cls=2 size=104 flags=0\r\nEND\r\n";

    /// Asks a server that answers so to `stats` and to the question for its keys, in pieces of `piece` bytes.
    async fn ask(
        prefix: &str,
        stats: &str,
        dump: &str,
        piece: usize,
    ) -> std::result::Result<(u64, Vec<Found>), DumpError> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let answers = [stats.to_owned(), dump.to_owned()];
        tokio::spawn(async move {
            let mut theirs = BufReader::new(theirs);
            for (question, answer) in ["stats\r\n", "lru_crawler metadump hash\r\n"].into_iter().zip(answers) {
                let mut line = String::new();
                theirs.read_line(&mut line).await.unwrap();
                assert_eq!(line, question, "one at a time");
                assert!(theirs.buffer().is_empty());
                for bytes in answer.as_bytes().chunks(piece) {
                    theirs.write_all(bytes).await.unwrap();
                    yield_now().await;
                }
            }
        });
        let mut found = Vec::new();
        let time = Lines::new(ours).dump(&Pattern::new("lb:L:", "lb:P:", prefix), |lock| found.push(lock)).await?;
        Ok((time.seconds, found))
    }

    fn found(name: &str, permit: Option<u16>, number: u64, expires: u64) -> Found {
        let item = LockItem { name: LockName::new(name).unwrap(), permit: permit.and_then(Permit::new) };
        Found { item, number, expires }
    }

    #[tokio::test]
    async fn locks_are_read_and_nothing_else_however_the_bytes_come() {
        let held = vec![found("a b%\u{e4}", None, 12_345_678_901_234_567_890, 1_015)];
        let lingers = vec![found("lingers", None, 1_234_567_890_123_456_789, 1_060)];
        let permits = vec![found("p:q", Some(12), 12_345_678_901_234_567_890, 1_015)];
        for piece in [1, 7, 100, 1 << 16] {
            let all = [held.clone(), lingers.clone(), permits.clone()].concat();
            assert_eq!(ask("", STATS, DUMP, piece).await.unwrap(), (1_000, all));
            assert_eq!(ask("a b%", STATS, DUMP, piece).await.unwrap().1, held);
            assert_eq!(ask("l", STATS, DUMP, piece).await.unwrap().1, lingers);
            assert_eq!(ask("p:", STATS, DUMP, piece).await.unwrap().1, permits);
            assert!(ask("a%20", STATS, DUMP, piece).await.unwrap().1.is_empty());
        }
        assert_eq!(ask("", STATS, "END\r\n", 9).await.unwrap().1, []);
    }

    #[tokio::test]
    async fn one_that_shows_its_keys_to_somebody_else_is_not_asked() {
        let busy = STATS.replace("running 0", "running 1");
        // The script would be asked.
        let error = ask("", &busy, DUMP, 99).await.unwrap_err();
        assert!(matches!(error, DumpError::Busy(_)), "{error}");
        for line in ["BUSY currently processing crawler request\r\n", "ERROR locked try again later\r\n"] {
            let error = ask("", STATS, line, 99).await.unwrap_err();
            assert!(matches!(error, DumpError::Busy(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_list_of_keys_is_an_error() {
        for (line, flag) in
            [("ERROR metadump not allowed", "-X"), ("CLIENT_ERROR lru crawler disabled", "-o no_lru_crawler")]
        {
            match ask("", STATS, &format!("{line}\r\n"), 99).await.unwrap_err() {
                DumpError::Forbidden { flag: named, mend } => assert!(named == flag && mend.contains(flag), "{mend}"),
                other => panic!("{other}"),
            }
        }
        let cut = &DUMP[..DUMP.len() - 5];
        let endless = "x".repeat(AT_ONCE + 1);
        for (stats, dump) in [
            (STATS, "SERVER_ERROR out of memory\r\n"),
            (STATS, cut),
            (STATS, &*endless),
            ("HTTP/1.1 400 Bad Request\r\n", ""),
            ("STAT pid 1\r\nEND\r\n", ""),
        ] {
            let error = ask("", stats, dump, 1 << 16).await.unwrap_err();
            assert!(matches!(error, DumpError::Broken(_)), "{error}");
        }
    }
}
