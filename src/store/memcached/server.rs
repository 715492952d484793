//! A connection to one memcached, and whether that memcached can keep locks.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ShardAddress;
use super::connection::Connection;

/// How long one exchange with a memcached, or one step of connecting, may take.
pub(super) const BOUND: Duration = Duration::from_secs(1);

/// The oldest memcached with the `E` flag on `ma` and `md`.
const OLDEST: Version = Version(1, 6, 27);
/// Before this the slab mover drops live items when it cannot allocate.
const SAFE_AUTOMOVE: Version = Version(1, 6, 34);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What a server says of itself that matters for locks.
#[derive(Debug)]
pub(super) struct ServerFacts {
    version: Option<Version>,
    pid: Option<u64>,
    /// Its wall clock, in seconds since 1970, as it counts it from its start on.
    time: Option<u64>,
    /// For how many seconds it has run, by the same count.
    uptime: Option<u64>,
    evictions: bool,
    cas: bool,
    flush: bool,
    automove: bool,
}

impl ServerFacts {
    /// Why this server cannot keep locks whatever the operator says; none if it can. Without CAS every item has the
    /// same number, and nothing says whose a lock is.
    pub(super) fn hopeless(&self) -> Option<String> {
        match self.version {
            Some(version) if version >= OLDEST => {}
            Some(version) => {
                return Some(format!("it is memcached {version}, and locks need {OLDEST} or later: upgrade it"));
            }
            None => return Some(format!("it does not say which memcached it is, and locks need {OLDEST} or later")),
        }
        (!self.cas).then(|| "CAS is off: start it without -C (remove the line -C)".to_owned())
    }

    /// Which process it is: its id, and when it began. The id alone does not say, for in a container it is 1 every
    /// time.
    pub(super) fn process(&self) -> Option<Process> {
        // Both are counted from the same tick, so the difference never changes.
        Some(Process { pid: self.pid?, began: self.time?.checked_sub(self.uptime?)? })
    }

    /// Why this server may lose locks: each with the flag, and the line for /etc/memcached.conf, that mends it.
    pub(super) fn dangers(&self) -> Vec<&'static str> {
        let old_mover = self.automove && self.version.is_none_or(|version| version < SAFE_AUTOMOVE);
        [
            (self.evictions, "it evicts items, and so locks, when its memory is full: start it with -M (line: -M)"),
            (self.flush, "anybody may flush_all: start it with -F (line: -F)"),
            (
                old_mover,
                "its slab mover can drop live items: start it with -o slab_automove=0 (line: -o slab_automove=0)",
            ),
        ]
        .into_iter()
        .filter_map(|(danger, why)| danger.then_some(why))
        .collect()
    }

    /// By how many seconds its wall clock and ours differ.
    pub(super) fn clock_difference(&self) -> Option<u64> {
        let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        self.time.map(|theirs| theirs.abs_diff(ours))
    }
}

/// One memcached process. Another one has another memory, and a clock of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pid: u64,
    /// In seconds since 1970, by its own wall clock.
    began: u64,
}

/// A connection on which the server has said what it is.
pub(super) struct Dialled {
    pub(super) connection: Connection,
    pub(super) address: SocketAddr,
    pub(super) facts: ServerFacts,
}

/// Resolves the shard's name unless `address` says where the other connections lead, connects, and asks the
/// server what it is. The error is for the person who reads it.
///
/// A name with several addresses stands for the lowest of them, for all brokers have to meet at one server.
pub(super) async fn dial(shard: &ShardAddress, address: Option<SocketAddr>) -> Result<Dialled, String> {
    let address = match address {
        Some(address) => address,
        None => resolve(shard).await?,
    };
    let mut stream = within("connecting", TcpStream::connect(address)).await?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let facts = within("asking for version and settings", ask(&mut stream)).await?;
    let connection = Connection::new(stream).map_err(|error| error.to_string())?;
    Ok(Dialled { connection, address, facts })
}

async fn resolve(shard: &ShardAddress) -> Result<SocketAddr, String> {
    let addresses = within("resolving the name", tokio::net::lookup_host((shard.host.as_str(), shard.port))).await?;
    addresses.min().ok_or_else(|| "the name has no address".to_owned())
}

async fn within<T>(what: &str, step: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match timeout(BOUND, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer within {BOUND:?}")),
    }
}

/// Asks a server what it is, on a connection that is still unused.
pub(super) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<ServerFacts> {
    stream.write_all(b"version\r\nstats\r\nstats settings\r\n").await?;
    // More than all three answers take; what says more is no memcached.
    let mut lines = BufReader::new(stream.take(1 << 20)).lines();
    let mut facts = ServerFacts {
        version: None,
        pid: None,
        time: None,
        uptime: None,
        evictions: true,
        cas: true,
        flush: true,
        automove: true,
    };
    let mut ends = 0;
    while ends < 2 {
        let Some(line) = lines.next_line().await? else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        if line == "END" {
            ends += 1;
        } else if let Some(version) = line.strip_prefix("VERSION ") {
            facts.version = parse_version(version);
        } else if let Some((name, value)) = line.strip_prefix("STAT ").and_then(|stat| stat.split_once(' ')) {
            match name {
                "pid" => facts.pid = value.parse().ok(),
                "time" => facts.time = value.parse().ok(),
                "uptime" => facts.uptime = value.parse().ok(),
                "evictions" if ends == 1 => facts.evictions = value != "off",
                "cas_enabled" => facts.cas = value != "no",
                "flush_enabled" => facts.flush = value != "no",
                "slab_automove" => facts.automove = value != "0",
                _ => {}
            }
        } else if line.contains("Too many open connections") {
            return Err(std::io::Error::other("it has as many connections as it may: start it with a higher -c"));
        } else {
            let heard: String = line.chars().take(80).collect();
            return Err(std::io::Error::other(format!("it does not speak memcached's protocol: {heard:?}")));
        }
    }
    Ok(facts)
}

/// Reads `1.6.38` and what distributions make of it, such as `1.6.38-1`.
fn parse_version(text: &str) -> Option<Version> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some(Version(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: Version) -> ServerFacts {
        ServerFacts {
            version: Some(version),
            pid: Some(1),
            time: Some(1_700_000_100),
            uptime: Some(100),
            evictions: false,
            cas: true,
            flush: false,
            automove: true,
        }
    }

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        assert_eq!(parse_version("1.6.38"), Some(Version(1, 6, 38)));
        assert_eq!(parse_version("1.6.38-1ubuntu2"), Some(Version(1, 6, 38)));
        assert_eq!(parse_version("1.7"), Some(Version(1, 7, 0)));
        assert_eq!(parse_version("unknown"), None);
    }

    #[test]
    fn what_cannot_keep_locks_is_told_with_what_mends_it() {
        assert!(facts(Version(1, 6, 18)).hopeless().unwrap().contains("1.6.18"));
        assert_eq!(facts(Version(1, 6, 27)).hopeless(), None);
        assert!(facts(Version(1, 6, 33)).dangers()[0].contains("slab_automove=0"));
        assert!(facts(Version(1, 6, 34)).dangers().is_empty());
        let unsafe_server = ServerFacts { evictions: true, flush: true, ..facts(Version(1, 6, 38)) };
        let dangers = unsafe_server.dangers().join("\n");
        for flag in ["-M", "-F"] {
            assert!(dangers.contains(flag), "{dangers}");
        }
        let without_cas = ServerFacts { cas: false, ..facts(Version(1, 6, 38)) };
        assert!(without_cas.hopeless().unwrap().contains("-C"));
    }

    #[test]
    fn a_container_that_starts_again_is_another_process() {
        let later = ServerFacts { time: Some(1_700_000_160), uptime: Some(160), ..facts(OLDEST) };
        assert_eq!(facts(OLDEST).process(), later.process());
        let restarted = ServerFacts { time: Some(1_700_000_160), uptime: Some(3), ..facts(OLDEST) };
        assert_ne!(facts(OLDEST).process(), restarted.process());
        assert_eq!(ServerFacts { uptime: None, ..facts(OLDEST) }.process(), None);
    }
}
