//! A connection to one memcached, and whether that memcached can keep locks.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::SystemTime;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use lockbroker_core::failure::Cause;
use lockbroker_core::shard::{Dialled, LinkId, Process, Unreached};

use super::ShardAddress;
use super::connection::{BOUND, Connection};

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

/// What a server says of itself.
#[derive(Debug, Default)]
pub(super) struct ServerFacts {
    version: Option<Version>,
    pid: Option<u64>,
    /// Its wall clock, in seconds since 1970, as it counts it from its start on.
    time: Option<u64>,
    /// For how many seconds it has run, by the same count.
    uptime: Option<u64>,
    /// Whether it moves items to a file (`-o ext_path`). No setting says so.
    extstore: bool,
    /// `stats settings`.
    settings: HashMap<String, String>,
}

/// A setting that can lose locks.
struct Danger {
    setting: &'static str,
    /// Whether a value loses no lock; it is given none where the server does not name the setting.
    harmless: fn(Option<&str>) -> bool,
    /// Names the flag, and the line for /etc/memcached.conf, that mends it.
    why: &'static str,
}

const DANGERS: [Danger; 4] = [
    Danger {
        setting: "evictions",
        harmless: |value| value == Some("off"),
        why: "it evicts items, and so locks, when its memory is full: start it with -M (line: -M)",
    },
    Danger {
        setting: "flush_enabled",
        harmless: |value| value == Some("no"),
        why: "anybody may flush_all: start it with -F (line: -F)",
    },
    Danger {
        // Since 1.6.10 every memcached names it.
        setting: "memory_file",
        harmless: |value| value == Some("(null)"),
        why: "it can come back with an old memory, in which locks stand that others have had since: start it without \
              -e (remove the line -e)",
    },
    Danger {
        setting: "tail_repair_time",
        harmless: |value| value.is_none_or(|seconds| seconds == "0"),
        why: "it drops items that somebody is reading when its memory is full: start it without -o tail_repair_time \
              (remove it from the line -o)",
    },
];

impl ServerFacts {
    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// Says why this server is refused, with what mends it; none if it may keep locks.
    pub(super) fn refusal(&self, allow_unsafe: bool) -> Option<String> {
        self.hopeless().or_else(|| {
            let dangers = self.dangers();
            (!allow_unsafe && !dangers.is_empty())
                .then(|| format!("{} (--allow-unsafe-store takes it all the same)", dangers.join("; ")))
        })
    }

    /// Says why this server cannot keep locks, with what mends it; none if it can. `--allow-unsafe-store` does not
    /// help: without CAS every item has the same number, and nothing says whose a lock is.
    fn hopeless(&self) -> Option<String> {
        match self.version {
            Some(version) if version >= OLDEST => {}
            Some(version) => {
                return Some(format!("it is memcached {version}, and locks need {OLDEST} or later: upgrade it"));
            }
            None => return Some(format!("it does not say which memcached it is, and locks need {OLDEST} or later")),
        }
        if self.setting("cas_enabled") == Some("no") {
            return Some("CAS is off: start it without -C (remove the line -C)".to_owned());
        }
        (self.setting("proxy_enabled") == Some("yes")).then(|| {
            "it is a proxy for other memcached servers (-o proxy_config), which cannot be checked through it: name those \
             servers in --store instead"
                .to_owned()
        })
    }

    /// Which process it is: its id, and when it began. The id alone does not say, for in a container it is 1 every
    /// time.
    pub(super) fn process(&self) -> Option<Process> {
        // Both are counted from the same tick, so the difference never changes.
        Some(Process { pid: self.pid?, began: self.time?.checked_sub(self.uptime?)? })
    }

    /// Says why this server may lose locks: each reason with the flag, and the line for /etc/memcached.conf, that mends
    /// it.
    pub(super) fn dangers(&self) -> Vec<&'static str> {
        let old_mover =
            self.setting("slab_automove") != Some("0") && self.version.is_none_or(|version| version < SAFE_AUTOMOVE);
        let by_setting = DANGERS.iter().filter(|danger| !(danger.harmless)(self.setting(danger.setting)));
        let others = [
            (
                old_mover,
                "its slab mover can drop live items: start it with -o slab_automove=0 (line: -o slab_automove=0)",
            ),
            (
                self.extstore,
                "it moves items to a file, and drops them there: start it without -o ext_path (remove it from the line \
                 -o)",
            ),
        ];
        let others = others.into_iter().filter_map(|(danger, why)| danger.then_some(why));
        by_setting.map(|danger| danger.why).chain(others).collect()
    }

    /// Names settings that lose no lock and cost something: each with the flag that mends it.
    pub(super) fn nuisances(&self) -> Option<String> {
        let seconds = self.setting("idle_timeout").filter(|seconds| *seconds != "0")?;
        Some(format!(
            "it closes connections that rest for {seconds} s, and the next request on one fails: start it without -o \
             idle_timeout (remove it from the line -o)"
        ))
    }

    /// Takes note of one line of `stats`, or, after its end, of `stats settings`.
    fn note(&mut self, ends: u32, name: &str, value: &str) {
        match (ends, name) {
            (0, "pid") => self.pid = value.parse().ok(),
            (0, "time") => self.time = value.parse().ok(),
            (0, "uptime") => self.uptime = value.parse().ok(),
            (0, name) => self.extstore |= name.starts_with("extstore_"),
            _ => {
                self.settings.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Returns by how many seconds its wall clock and ours differ.
    pub(super) fn clock_difference(&self) -> Option<u64> {
        self.ahead().map(i64::unsigned_abs)
    }

    /// Returns by how many seconds its wall clock is ahead of ours.
    pub(super) fn ahead(&self) -> Option<i64> {
        let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        self.time?.cast_signed().checked_sub(ours.cast_signed())
    }
}

/// Connects as the shards ask for it: to `address`, or to what the shard's name resolves to.
pub(super) async fn connect(
    shard: &ShardAddress,
    address: Option<SocketAddr>,
    link: LinkId,
    allow_unsafe: bool,
) -> Result<(Connection, Dialled, ServerFacts), Unreached> {
    let (connection, address, facts) = dial(shard, address).await?;
    let refusal = facts.refusal(allow_unsafe).map(Into::into);
    let dialled = Dialled { link, address, process: facts.process(), refusal };
    Ok((connection, dialled, facts))
}

/// Resolves the shard's name unless `address` says where the other connections lead, connects, and asks the
/// server what it is. The error is for the person who reads it.
///
/// A name with several addresses stands for the lowest of them, for all brokers have to meet at one server.
pub(super) async fn dial(
    shard: &ShardAddress,
    address: Option<SocketAddr>,
) -> Result<(Connection, SocketAddr, ServerFacts), Unreached> {
    let address = match address {
        Some(address) => address,
        None => resolve(shard).await?,
    };
    let mut stream = within("connecting", TcpStream::connect(address)).await?;
    stream.set_nodelay(true).map_err(|error| unreached(error.to_string()))?;
    let facts = within("asking for version and settings", ask(&mut stream)).await?;
    let connection = Connection::new(stream).map_err(|error| unreached(error.to_string()))?;
    Ok((connection, address, facts))
}

fn unreached(why: String) -> Unreached {
    Unreached { why: why.into(), reason: Cause::StoreUnavailable }
}

async fn resolve(shard: &ShardAddress) -> Result<SocketAddr, Unreached> {
    let addresses = within("resolving the name", tokio::net::lookup_host((shard.host.as_str(), shard.port))).await?;
    addresses.min().ok_or_else(|| unreached("the name has no address".to_owned()))
}

async fn within<T>(what: &str, step: impl Future<Output = std::io::Result<T>>) -> Result<T, Unreached> {
    match timeout(BOUND, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.kind() == ErrorKind::Unsupported => {
            Err(Unreached { why: format!("{what}: {error}").into(), reason: Cause::StoreRefused })
        }
        Ok(Err(error)) => Err(unreached(format!("{what}: {error}"))),
        Err(_) => Err(unreached(format!("{what}: no answer within {BOUND:?}"))),
    }
}

/// Tells an answer that is no text.
const NOT_TEXT: &str = "it does not answer in plain text: start it without TLS (-Z), without SASL (-S) and without -B \
                        binary, and keep all but the brokers away from its port";
/// Tells a connection that ended without an answer, as those of a memcached do that takes the question for no TLS, or for
/// no binary protocol.
const NO_ANSWER: &str = "it ended the connection without an answer: if it has been started with TLS (-Z), with SASL (-S) \
                         or with -B binary, start it without, and keep all but the brokers away from its port";

/// Asks a server what it is, on a connection that is still unused. The error is of the kind `Unsupported` if it would
/// be the same again.
pub(super) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<ServerFacts> {
    stream.write_all(b"version\r\nstats\r\nstats settings\r\n").await?;
    // More than all three answers take; what says more is no memcached.
    let mut lines = BufReader::new(stream.take(1 << 20)).lines();
    let mut facts = ServerFacts::default();
    let mut ends = 0;
    let mut heard = false;
    while ends < 2 {
        use ErrorKind::{ConnectionReset, InvalidData, UnexpectedEof, Unsupported};
        let line = match lines.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) if heard => return Err(UnexpectedEof.into()),
            Err(error) if error.kind() == InvalidData => return Err(std::io::Error::new(Unsupported, NOT_TEXT)),
            Err(error) if heard || error.kind() != ConnectionReset => return Err(error),
            Ok(None) | Err(_) => return Err(std::io::Error::other(NO_ANSWER)),
        };
        heard = true;
        if line == "END" {
            ends += 1;
        } else if let Some(version) = line.strip_prefix("VERSION ") {
            facts.version = parse_version(version);
        } else if let Some((name, value)) = line.strip_prefix("STAT ").and_then(|stat| stat.split_once(' ')) {
            facts.note(ends, name, value);
        } else {
            return Err(refusal(&line));
        }
    }
    Ok(facts)
}

/// Says what a line means with which no memcached that is of use answers.
fn refusal(line: &str) -> std::io::Error {
    if line.contains("Too many open connections") {
        return std::io::Error::other("it has as many connections as it may: start it with a higher -c");
    }
    let why = if line.contains("unauthenticated") {
        "it asks for a user and a password (-Y), and brokers have none: start it without -Y (remove the line -Y), and \
         keep all but the brokers away from its port"
            .to_owned()
    } else if line.starts_with(|first: char| first.is_control()) {
        NOT_TEXT.to_owned()
    } else {
        let heard: String = line.chars().take(80).collect();
        format!("it does not speak memcached's protocol, so --store may name another server's port: {heard:?}")
    };
    std::io::Error::new(ErrorKind::Unsupported, why)
}

/// Reads `1.6.38` and what distributions make of it, such as `1.6.38-1`.
fn parse_version(text: &str) -> Option<Version> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some(Version(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a server of this version with these `settings` in place of harmless ones.
    fn facts(version: Version, settings: &[(&str, &str)]) -> ServerFacts {
        let harmless = [("evictions", "off"), ("flush_enabled", "no"), ("cas_enabled", "yes"), ("slab_automove", "1")];
        let others = [("memory_file", "(null)"), ("tail_repair_time", "0"), ("idle_timeout", "0")];
        let all = harmless.iter().chain(&others).chain(settings);
        ServerFacts {
            version: Some(version),
            pid: Some(1),
            time: Some(1_700_000_100),
            uptime: Some(100),
            extstore: false,
            settings: all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
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
        assert!(facts(Version(1, 6, 18), &[]).hopeless().unwrap().contains("1.6.18"));
        assert_eq!(facts(Version(1, 6, 27), &[]).hopeless(), None);
        assert!(facts(Version(1, 6, 33), &[]).dangers()[0].contains("slab_automove=0"));
        assert!(facts(Version(1, 6, 34), &[]).dangers().is_empty());
        for (setting, flag) in [
            (("evictions", "on"), "with -M"),
            (("flush_enabled", "yes"), "with -F"),
            (("memory_file", "/dev/shm/memcached"), "without -e"),
            (("tail_repair_time", "10"), "without -o tail_repair_time"),
        ] {
            let dangers = facts(Version(1, 6, 38), &[setting]).dangers();
            assert!(dangers.len() == 1 && dangers[0].contains(flag), "{setting:?}: {dangers:?}");
        }
        let extstore = ServerFacts { extstore: true, ..facts(Version(1, 6, 38), &[]) };
        assert!(extstore.dangers()[0].contains("without -o ext_path"));
        for (setting, flag) in [(("cas_enabled", "no"), "-C"), (("proxy_enabled", "yes"), "-o proxy_config")] {
            let hopeless = facts(Version(1, 6, 38), &[setting]).hopeless();
            assert!(hopeless.as_ref().is_some_and(|why| why.contains(flag)), "{setting:?}: {hopeless:?}");
        }
        assert_eq!(facts(OLDEST, &[]).nuisances(), None);
        assert!(facts(OLDEST, &[("idle_timeout", "60")]).nuisances().unwrap().contains("rest for 60 s"));
    }

    #[test]
    fn a_server_that_names_no_settings_is_taken_for_one_that_loses_locks() {
        let silent = ServerFacts { version: Some(OLDEST), ..ServerFacts::default() };
        let dangers = silent.dangers().join("\n");
        for flag in ["-M", "-F", "-e", "slab_automove=0"] {
            assert!(dangers.contains(flag), "{dangers}");
        }
    }

    #[test]
    fn a_container_that_starts_again_is_another_process() {
        let at = |time, uptime| ServerFacts { time, uptime, ..facts(OLDEST, &[]) }.process();
        assert_eq!(at(Some(1_700_000_100), Some(100)), at(Some(1_700_000_160), Some(160)));
        assert_ne!(at(Some(1_700_000_100), Some(100)), at(Some(1_700_000_160), Some(3)));
        assert_eq!(at(Some(1_700_000_100), None), None);
    }

    #[tokio::test]
    async fn a_refusal_says_which_flag_mends_it() {
        for (answer, flag) in [
            (&b"CLIENT_ERROR unauthenticated\r\n"[..], "-Y"),
            (b"", "-S"),
            (b"\x15\x03\x03\x00\x02\x02\x46", "-Z"),
            (b"\x81\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00\x0d", "-B binary"),
            (b"ERROR Too many open connections\r\n", "-c"),
            (b"-ERR unknown command\r\n", "--store"),
        ] {
            let error = ask(&mut tokio::io::join(answer, tokio::io::sink())).await.unwrap_err();
            assert!(error.to_string().contains(flag), "{answer:?}: {error}");
        }
        let half = b"VERSION 1.6.38\r\nSTAT pid 1\r\n";
        let error = ask(&mut tokio::io::join(&half[..], tokio::io::sink())).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "the network's doing");
    }
}
