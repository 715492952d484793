//! The operator's settings: the flags of `lockbroker serve` and `lockbroker shard`, their environment variables and
//! defaults.
//!
//! Reads and checks them; opens nothing.

mod door;
mod listen;
mod page;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};

use crate::lock::{MAX_TTL, MIN_TTL};
use crate::policy::PolicyFile;
use crate::store::memcached::MAX_KEY_PREFIX_BYTES;
use crate::store::{ShardAddress, Store};
use crate::tls::ServerFiles;
use crate::wake::DEFAULT_PORT;
pub use door::{HttpOptions, HttpOrigin};
use listen::TlsArgs;
pub use listen::{ListenAddress, SocketGroup, SocketMode, SocketOptions};
pub use page::{HostName, PageOptions};

/// The flags of `lockbroker serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address to listen on: ADDRESS:PORT or unix:/PATH; may be given several times
    #[arg(
        long,
        env = "LOCKBROKER_LISTEN",
        value_name = "WHERE",
        value_delimiter = ',',
        default_value = "127.0.0.1:28551"
    )]
    listen: Vec<ListenAddress>,

    /// Address and port to serve health checks, Prometheus' /metrics and a page for operators on, in plain text and
    /// without the lock service
    #[arg(long, env = "LOCKBROKER_ADMIN_LISTEN", value_name = "ADDRESS:PORT", value_parser = listen::tcp_address)]
    admin_listen: Option<SocketAddr>,

    #[command(flatten)]
    page: PageOptions,

    #[command(flatten)]
    http: HttpOptions,

    #[command(flatten)]
    sockets: SocketOptions,

    #[command(flatten)]
    tls: TlsArgs,

    /// TOML file that says who may do what with which locks [default: everybody everything]
    #[arg(long, env = "LOCKBROKER_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Place of the locks: `memory` or `memcached://host:port[=weight],…` [default: memory if every --listen
    /// and --http-listen is on loopback or a Unix socket]
    #[arg(long, env = "LOCKBROKER_STORE", value_name = "STORE")]
    store: Option<Store>,

    #[command(flatten)]
    ttls: TtlOptions,

    #[command(flatten)]
    broker: BrokerOptions,

    #[command(flatten)]
    transport: TransportOptions,

    /// Number of threads that serve clients: 1 to 1024. One does tens of thousands of locks a second, and answers sooner
    /// than several, which wake each other. Take more if one is kept busy
    #[arg(long, env = "LOCKBROKER_THREADS", value_name = "COUNT", default_value = "1", value_parser = threads)]
    pub threads: NonZeroUsize,

    /// The settings of logs
    #[command(flatten)]
    pub log: LogOptions,

    /// Append a line of JSON for each grant, release, loss and refusal to this file; `-` is stdout [default: no audit]
    #[arg(long, env = "LOCKBROKER_AUDIT", value_name = "FILE")]
    pub audit: Option<PathBuf>,

    /// The settings of traces
    #[command(flatten)]
    pub traces: TraceOptions,
}

/// The settings of `lockbroker serve`, all checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The addresses to listen on; at least one.
    pub listen: Vec<ListenAddress>,
    /// The HTTP door, if it has addresses.
    pub http: HttpOptions,
    /// The permissions of the Unix sockets among all addresses.
    pub sockets: SocketOptions,
    /// The files for TLS on the TCP addresses among them, which are not those of the admin listener; none for plain text.
    pub tls: Option<ServerFiles>,
    /// The file of the policy; none: everybody may do everything.
    pub policy: Option<PolicyFile>,
    /// The address for health checks, metrics and the page, if there is one.
    pub admin_listen: Option<SocketAddr>,
    /// The page there.
    pub page: PageOptions,
    /// The place of the locks.
    pub store: Store,
    /// The broker's promises and limits.
    pub broker: BrokerOptions,
    /// The limits and times of connections, from the first byte to the shutdown.
    pub transport: TransportOptions,
}

/// The defaults of --default-ttl and --max-ttl.
const DEFAULT_TTL: Duration = Duration::from_secs(15);

/// The ttls as they are set. One that is not set follows the other.
#[derive(Debug, Clone, Copy, Args)]
struct TtlOptions {
    /// Time to live of a grant whose client asks for none: it stands for so long without renewal [default: 15s, or
    /// --max-ttl if that is less]
    #[arg(long, env = "LOCKBROKER_DEFAULT_TTL", value_name = "DURATION", value_parser = between(MIN_TTL, MAX_TTL))]
    default_ttl: Option<Duration>,

    /// The longest time to live that a client may ask for: 5s to 1h. The same on every broker of a store [default: 15s,
    /// or --default-ttl if that is more]
    #[arg(long, env = "LOCKBROKER_MAX_TTL", value_name = "DURATION", value_parser = between(MIN_TTL, MAX_TTL))]
    max_ttl: Option<Duration>,
}

impl TtlOptions {
    /// Returns the default and the longest.
    fn resolve(self) -> Result<(Duration, Duration), clap::Error> {
        let default_ttl = self.default_ttl.unwrap_or_else(|| DEFAULT_TTL.min(self.max_ttl.unwrap_or(DEFAULT_TTL)));
        let max_ttl = self.max_ttl.unwrap_or_else(|| DEFAULT_TTL.max(default_ttl));
        if max_ttl < default_ttl {
            return Err(usage(format!(
                "--max-ttl {} is below --default-ttl {}",
                humantime::format_duration(max_ttl),
                humantime::format_duration(default_ttl),
            )));
        }
        Ok((default_ttl, max_ttl))
    }
}

/// The broker's promises and limits.
#[derive(Debug, Clone, Args)]
pub struct BrokerOptions {
    /// Time to live of a grant whose client asks for none.
    #[arg(skip)]
    pub default_ttl: Duration,

    /// The longest time to live that a client may ask for. The same on every broker of a store.
    #[arg(skip)]
    pub max_ttl: Duration,

    /// Address at which other brokers reach this one by UDP, to wake it when they release a lock that is waited for
    /// here, or change one that is observed here: in Kubernetes the pod's IP. The port is 28553 unless named, and is bound
    /// on all addresses of the machine. Set it on every broker of a store or on none; without it they only poll. Not used
    /// with --store memory
    #[arg(long, env = "LOCKBROKER_ADVERTISE", value_name = "IP[:PORT]")]
    pub advertise: Option<Advertised>,

    /// Interval of polls for a lock that another broker holds, for waiters that do not set one: 1ms to 1h. Up to 1s
    /// where that broker will wake this one
    #[arg(long, env = "LOCKBROKER_POLL_INTERVAL", value_name = "DURATION", default_value = "100ms",
          value_parser = between(Duration::from_millis(1), HOUR))]
    pub poll_interval: Duration,

    /// Number of locks that this broker has at once before it refuses more: held, lingering, or being acquired or
    /// released
    #[arg(long, env = "LOCKBROKER_MAX_LOCKS", value_name = "COUNT", default_value = "1000000")]
    pub max_locks: NonZeroUsize,

    /// Number of requests that wait for a lock at once before this broker refuses more
    #[arg(long, env = "LOCKBROKER_MAX_WAITERS", value_name = "COUNT", default_value = "1000000")]
    pub max_waiters: NonZeroUsize,

    /// Number of streams on which locks are observed at once before this broker refuses more. Each name that is observed costs a look
    /// at the store a second
    #[arg(long, env = "LOCKBROKER_MAX_OBSERVERS", value_name = "COUNT", default_value = "10000")]
    pub max_observers: NonZeroUsize,

    /// Prefix of every key in memcached: 1 to 48 bytes of visible ASCII. The same on every broker of a store; where
    /// others have a store of their own there, none of the prefixes begins with another
    #[arg(long, env = "LOCKBROKER_KEY_PREFIX", value_name = "PREFIX", default_value = "lockbroker:")]
    pub key_prefix: KeyPrefix,

    /// Use a memcached that may lose locks (evictions on, flush_all allowed) and warn instead of refusing it.
    /// One that is older than 1.6.27 or has CAS off is refused all the same
    #[arg(long, env = "LOCKBROKER_ALLOW_UNSAFE_STORE")]
    pub allow_unsafe_store: bool,
}

/// The limits and times of connections, from the first byte to the shutdown.
#[derive(Debug, Clone, Args)]
pub struct TransportOptions {
    /// A connection that is silent for this long is sent an HTTP/2 ping: 100ms to 1h
    #[arg(long, env = "LOCKBROKER_KEEPALIVE_INTERVAL", value_name = "DURATION", default_value = "5s",
          value_parser = between(Duration::from_millis(100), HOUR))]
    pub keepalive_interval: Duration,

    /// A connection that leaves a ping unanswered for this long is closed, after six times as long if it sends other things:
    /// 100ms to 1h
    #[arg(long, env = "LOCKBROKER_KEEPALIVE_TIMEOUT", value_name = "DURATION", default_value = "5s",
          value_parser = between(Duration::from_millis(100), HOUR))]
    pub keepalive_timeout: Duration,

    /// Number of calls that may be unanswered at once before more are refused. Acquire, Release, Session and health
    /// checks are never refused for this
    #[arg(long, env = "LOCKBROKER_MAX_CONCURRENT_RPCS", value_name = "COUNT", default_value = "10000")]
    pub max_concurrent_rpcs: NonZeroUsize,

    /// Number of clients that may be connected at once before more are turned away. [default: 10000, or as many as the
    /// limit of open files leaves]
    #[arg(long, env = "LOCKBROKER_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<NonZeroUsize>,

    /// Number of calls that may be open at once before more are refused: each Session, each lock held or waited for on
    /// a stream of its own, each call that is not answered. Release, RenewLease and health checks are refused at twice
    /// as many
    #[arg(long, env = "LOCKBROKER_MAX_STREAMS", value_name = "COUNT", default_value = "1000000")]
    pub max_streams: NonZeroUsize,

    /// A connection without a call for this long is closed: 1s to 24h
    #[arg(long, env = "LOCKBROKER_IDLE_TIMEOUT", value_name = "DURATION", default_value = "10m",
          value_parser = between(Duration::from_secs(1), Duration::from_secs(24 * 3600)))]
    pub idle_timeout: Duration,

    /// Time after a signal to stop in which leases are kept alive while clients move to another broker
    #[arg(long, env = "LOCKBROKER_DRAIN", value_name = "DURATION", default_value = "25s",
          value_parser = between(Duration::ZERO, HOUR))]
    pub drain: Duration,
}

/// The settings of logs, which go to stderr.
#[derive(Debug, Clone, Args)]
pub struct LogOptions {
    /// Levels of the log: one for this program, and levels by module, such as `debug,h2=debug`
    #[arg(long, env = "LOCKBROKER_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub log: Targets,

    /// Format of the log; `auto` is text on a terminal and JSON elsewhere
    #[arg(long, env = "LOCKBROKER_LOG_FORMAT", value_name = "FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// Reads a filter. A level alone is this program's: the libraries that it is made of say no more than `info`, unless the
/// filter names them, since h2 alone logs every frame.
fn log_filter(text: &str) -> Result<Targets, String> {
    // Alone, a misspelt level would be the name of a module, and everything else would be silent.
    let wrong = text.split(',').map(str::trim).find(|part| !part.contains('=') && part.parse::<LevelFilter>().is_err());
    if let Some(wrong) = wrong {
        return Err(format!("{wrong:?} is no level: write off, error, warn, info, debug or trace, or MODULE=LEVEL"));
    }
    let named: Targets = text.parse().map_err(|error: ParseError| error.to_string())?;
    let level = named.default_level().unwrap_or(LevelFilter::OFF);
    Ok(match level > LevelFilter::INFO {
        // The last of two for one target counts.
        true => Targets::new().with_default(LevelFilter::INFO).with_target("lockbroker", level).with_targets(named),
        false => named,
    })
}

/// The settings of traces of the calls. Without the cargo feature `otlp` there are no traces, and nothing to set.
#[derive(Debug, Clone, Default, Args)]
pub struct TraceOptions {
    /// The collector to send traces of calls to, by OTLP over gRPC in plain text: http://HOST:PORT
    /// [default: no traces]
    #[cfg(feature = "otlp")]
    #[arg(long, env = "LOCKBROKER_OTLP_ENDPOINT", value_name = "URL", value_parser = collector)]
    pub otlp_endpoint: Option<http::Uri>,
}

#[cfg(feature = "otlp")]
fn collector(text: &str) -> Result<http::Uri, String> {
    let uri = text.parse::<http::Uri>().ok().filter(|uri| {
        uri.scheme_str() == Some("http") && uri.port().is_some() && uri.path() == "/" && uri.query().is_none()
    });
    uri.ok_or_else(|| "expected http://host:port, such as http://127.0.0.1:4317".into())
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text if stderr is a terminal, JSON if not.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The flags of `lockbroker shard open`, `adopt` and `status`. `--max-ttl` is part of the topology that they write or compare,
/// and `--key-prefix` says where: both as the brokers have them.
#[derive(Debug, Clone, Args)]
pub struct ShardArgs {
    /// The shards, all of them, as the brokers have them: `memcached://host:port[=weight],…`
    #[arg(long, env = "LOCKBROKER_STORE", value_name = "STORE")]
    pub store: Store,

    /// Same value as on the brokers: 5s to 1h
    #[arg(long, env = "LOCKBROKER_MAX_TTL", value_name = "DURATION", default_value = "15s",
          value_parser = between(MIN_TTL, MAX_TTL))]
    pub max_ttl: Duration,

    /// Same value as on the brokers
    #[arg(long, env = "LOCKBROKER_KEY_PREFIX", value_name = "PREFIX", default_value = "lockbroker:")]
    pub key_prefix: KeyPrefix,

    /// Same as on the brokers: use a memcached that may lose locks (evictions on, flush_all allowed)
    #[arg(long, env = "LOCKBROKER_ALLOW_UNSAFE_STORE")]
    pub allow_unsafe_store: bool,

    /// The settings of logs
    #[command(flatten)]
    pub log: LogOptions,
}

/// Flags of `shard adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The shards to adopt.
    #[command(flatten)]
    pub shards: ShardArgs,

    /// One of the servers that are in force now, HOST:PORT: needed if none of --store is
    #[arg(long, value_name = "SERVER", conflicts_with = "stopped")]
    pub from: Option<ShardAddress>,

    /// A server that is in force and gone for good, HOST:PORT: powered off, or its pod deleted. If it still answers a broker, its
    /// locks are granted a second time
    #[arg(long, value_name = "SERVER", conflicts_with = "stopped")]
    pub dead: Vec<ShardAddress>,

    /// All brokers are stopped, and the longest ttl and linger are over: adopt the shards at once. Locks that are held would be
    /// granted a second time
    #[arg(long)]
    pub stopped: bool,

    /// With --stopped: adopt them although brokers have been seen there: a broker that is killed is seen for 15 s more
    #[arg(long, requires = "stopped")]
    pub force: bool,

    /// Change nothing, and show what would be done: what each server is and would become, which brokers are in the way,
    /// and how many locks would belong on another server
    #[arg(long)]
    pub dry_run: bool,
}

/// Flags of `shard status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The shards to look at.
    #[command(flatten)]
    pub shards: ShardArgs,

    /// Write a line of JSON for each server, and one for the summary
    #[arg(long)]
    pub json: bool,
}

impl ServeArgs {
    /// Checks what concerns several flags at once, and fills in the store.
    ///
    /// # Errors
    /// One line for the operator; its [`exit`](clap::Error::exit) ends the process with code 2.
    pub fn resolve(self) -> Result<Config, clap::Error> {
        let ServeArgs {
            listen, admin_listen, page, http, sockets, tls, policy, store, ttls, broker, transport, ..
        } = self;
        let (default_ttl, max_ttl) = ttls.resolve()?;
        let broker = BrokerOptions { default_ttl, max_ttl, ..broker };
        let mut reachable = listen.iter().map(|address| ("--listen", address));
        let mut reachable_by_http = http.http_listen.iter().map(|address| ("--http-listen", address));
        let is_reachable = |(_, address): &(_, &ListenAddress)| !address.is_local();
        let reachable = reachable.find(is_reachable).or_else(|| reachable_by_http.find(is_reachable));
        let store = match (store, reachable) {
            (Some(store), _) => store,
            (None, None) => Store::Memory,
            (None, Some((flag, address))) => {
                return Err(usage(format!(
                    "two brokers with a memory each would grant the same lock twice: since {flag} {address} is \
                     reachable from elsewhere, either listen on loopback or a Unix socket, or name the store (--store memcached://…; \
                     --store memory if this will stay the only broker)"
                )));
            }
        };
        let (tls, policy) = (tls.files(), policy.map(PolicyFile));
        Ok(Config { listen, admin_listen, page, http, sockets, tls, policy, store, broker, transport })
    }
}

impl ShardArgs {
    /// Returns the shards.
    ///
    /// # Errors
    /// Fails as [`ServeArgs::resolve`] does: a broker's memory has no shards.
    pub fn shards(&self) -> Result<&[ShardAddress], clap::Error> {
        match &self.store {
            Store::Memcached(shards) => Ok(shards),
            Store::Memory => Err(usage("--store memory has no shards; name the memcached servers".into())),
        }
    }
}

fn usage(message: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, message + "\n")
}

/// The address at which other brokers reach this one by UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertised(pub SocketAddr);

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Advertised, String> {
        let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DEFAULT_PORT)));
        let address: SocketAddr = address
            .map_err(|_| "expected an IP address with or without a port, such as 10.0.0.7 or [fd00::7]:28553")?;
        if address.ip().is_unspecified() || address.ip().is_multicast() {
            return Err("expected the address of this one machine, by which others reach it".into());
        }
        Ok(Advertised(address))
    }
}

/// The prefix of every key in memcached: 1 to [`MAX_KEY_PREFIX_BYTES`] of visible ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyPrefix, String> {
        if text.is_empty() {
            return Err("must not be empty".into());
        }
        if text.len() > MAX_KEY_PREFIX_BYTES {
            return Err(format!("longer than {MAX_KEY_PREFIX_BYTES} bytes"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("expected visible ASCII without spaces".into());
        }
        Ok(KeyPrefix(text.into()))
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Reads a duration such as `15s` or `1m 30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let spelt = |error| format!("{error}; write a number and its unit, such as 30s or 5m");
    humantime::parse_duration(text).map_err(spelt)
}

/// Reads a duration such as `15s` or `1m 30s` and refuses one that is not between the two.
fn between(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        let span = duration(text)?;
        if span < least || span > most {
            let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
            return Err(format!("expected {least} to {most}"));
        }
        Ok(span)
    }
}

/// Parses a number of threads.
pub(crate) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    const MOST: usize = 1_024;
    let threads = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= MOST);
    threads.ok_or_else(|| format!("expected a whole number from 1 to {MOST}"))
}

#[cfg(test)]
mod tests {
    use std::iter;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Serve {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn serve(flags: &str) -> Result<Config, clap::Error> {
        let words = iter::once("serve").chain(flags.split_whitespace());
        Serve::try_parse_from(words).and_then(|serve| serve.args.resolve())
    }

    fn refused(flags: &str) -> String {
        let error = serve(flags).expect_err(flags);
        assert_eq!(error.exit_code(), 2, "{flags}");
        error.to_string()
    }

    #[test]
    fn nothing_said_is_a_broker_of_ones_own() {
        let config = serve("").unwrap();
        assert_eq!(config.listen, ["127.0.0.1:28551".parse().unwrap()]);
        assert_eq!(config.store, Store::Memory);
        assert_eq!(config.broker.default_ttl, Duration::from_secs(15));
        assert_eq!(config.broker.key_prefix.as_str(), "lockbroker:");
        assert_eq!(config.transport.keepalive_interval, Duration::from_secs(5));
    }

    #[test]
    fn threads_are_no_more_than_a_machine_can_start() {
        serve("--threads 1024").unwrap();
        for wrong in ["0", "1025", "18446744073709551615", "all"] {
            assert!(refused(&format!("--threads {wrong}")).contains("1 to 1024"), "{wrong}");
        }
    }

    #[test]
    fn a_level_alone_is_not_for_libraries() {
        use tracing::Level;
        let logs = |filter: &str, target: &str, level| log_filter(filter).unwrap().would_enable(target, &level);
        assert!(logs("debug", "lockbroker::broker", Level::DEBUG) && !logs("debug", "h2::codec", Level::DEBUG));
        assert!(logs("debug", "h2::codec", Level::INFO) && logs("debug,h2=debug", "h2::codec", Level::DEBUG));
        assert!(logs("debug,lockbroker=warn", "lockbroker", Level::WARN));
        assert!(!logs("debug,lockbroker=warn", "lockbroker", Level::INFO));
        assert!(!logs("warn", "h2", Level::INFO) && !logs("off", "lockbroker", Level::ERROR));
        assert!(log_filter("lockbroker=loud").is_err());
    }

    #[test]
    fn a_reachable_broker_names_its_store() {
        for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "127.0.0.1:1,0.0.0.0:2"] {
            let line = refused(&format!("--listen {listen}"));
            assert!(line.contains("loopback") && line.contains("--store"), "{line}");
            assert_eq!(line.trim_end().lines().count(), 1, "{line}");
            assert_eq!(serve(&format!("--listen {listen} --store memory")).unwrap().store, Store::Memory);
            assert!(refused(&format!("--http-listen {listen}")).contains("--http-listen"));
        }
        assert_eq!(serve("--listen 127.3.2.1:1 --listen [::1]:1").unwrap().store, Store::Memory);
    }

    #[test]
    fn addresses_are_repeated_or_separated_by_commas() {
        let listen = serve("--listen 127.0.0.1:1,127.0.0.1:2 --listen 127.0.0.1:3").unwrap().listen;
        assert_eq!(listen.len(), 3);
        for text in ["28551", "localhost:1", "127.0.0.1", "::1:1:", "", "unix:", "tcp:/a"] {
            refused(&format!("--listen={text}"));
        }
    }

    #[test]
    fn a_broker_on_sockets_alone_is_of_ones_own() {
        let config = serve("--listen unix:/run/a.sock --listen 127.0.0.1:1,unix:b").unwrap();
        let unix = |path: &str| ListenAddress::Unix(path.into());
        assert_eq!(config.listen, [unix("/run/a.sock"), "127.0.0.1:1".parse().unwrap(), unix("b")]);
        assert_eq!(config.store, Store::Memory);
        assert_eq!(config.sockets.socket_mode.bits(), 0o660);
        for flags in ["--socket-mode 0o660", "--socket-group=", "--listen unix:"] {
            refused(flags);
        }
    }

    #[test]
    fn ttls_are_in_range_and_in_order() {
        assert!(serve("--default-ttl 5s --max-ttl 1h").is_ok());
        let seconds = |flags: &str| {
            let broker = serve(flags).unwrap().broker;
            (broker.default_ttl.as_secs(), broker.max_ttl.as_secs())
        };
        assert_eq!(seconds("--max-ttl 7s"), (7, 7));
        assert_eq!(seconds("--max-ttl 20s"), (15, 20));
        assert_eq!(seconds("--default-ttl 20s"), (20, 20));
        assert_eq!(seconds("--default-ttl 7s"), (7, 15));
        for flags in ["--default-ttl 4s", "--max-ttl 61m", "--default-ttl 20s --max-ttl 15s", "--max-ttl 15"] {
            refused(flags);
        }
    }

    #[test]
    fn a_key_prefix_is_short_and_visible() {
        assert!(KeyPrefix::from_str(&"x".repeat(48)).is_ok());
        assert!(KeyPrefix::from_str(&"x".repeat(49)).is_err());
        assert!(KeyPrefix::from_str("a b").is_err());
        assert!(KeyPrefix::from_str("ä").is_err());
    }

    #[test]
    fn the_advertised_address_is_one_that_others_can_reach() {
        let advertised = |text: &str| text.parse::<Advertised>().map(|Advertised(address)| address.to_string());
        assert_eq!(advertised("10.0.0.7").unwrap(), "10.0.0.7:28553");
        assert_eq!(advertised("10.0.0.7:1").unwrap(), "10.0.0.7:1");
        assert_eq!(advertised("fd00::7").unwrap(), "[fd00::7]:28553");
        assert_eq!(advertised("[fd00::7]:0").unwrap(), "[fd00::7]:0");
        for text in ["", "localhost", "0.0.0.0", "[::]:28553", "224.0.0.1", "10.0.0.7:", ":28553"] {
            advertised(text).expect_err(text);
        }
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        let config = serve("--tls-cert a --tls-key b --tls-client-ca c --policy d").unwrap();
        assert!(config.tls.is_some_and(|tls| tls.client_ca.is_some()) && config.policy.is_some());
        for flags in ["--tls-cert a", "--tls-key b", "--tls-client-ca c", "--tls-key b --tls-client-ca c"] {
            refused(flags);
        }
    }

    #[test]
    fn traces_go_to_a_host_and_a_port_where_they_are_built_in() {
        for url in ["https://a:1", "http://a", "a:1", "http://a:1/v1/traces", "http://a:1/?b", "unix:/a"] {
            refused(&format!("--otlp-endpoint {url}"));
        }
        assert_eq!(serve("--otlp-endpoint http://127.0.0.1:4317").is_ok(), cfg!(feature = "otlp"));
    }

    #[test]
    fn memory_has_no_shards_to_open() {
        #[derive(Debug, Parser)]
        struct Open {
            #[command(flatten)]
            args: ShardArgs,
        }
        let open = |store| Open::parse_from(["open", "--store", store]).args;
        assert_eq!(open("memcached://a,b").shards().unwrap().len(), 2);
        assert_eq!(open("memory").shards().unwrap_err().exit_code(), 2);
    }

    #[test]
    fn counts_and_filters_are_checked() {
        for flags in [
            "--max-locks 0",
            "--max-waiters -1",
            "--log =x=y",
            "--log warning",
            "--log info,h2",
            "--log-format xml",
            "--drain 2h",
        ] {
            refused(flags);
        }
        assert!(serve("--log info,lockbroker=debug --log-format json --drain 0s").is_ok());
    }
}
