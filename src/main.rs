//! The `lockbroker` command: reads its flags, sets logging up, runs what was asked for.
//!
//! Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage.

use std::io;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use lockbroker::broker::{Broker, Settings};
use lockbroker::cli::bench::{self, BenchArgs};
use lockbroker::cli::bound::{self, BoundArgs};
use lockbroker::cli::elect::{self, ElectArgs};
use lockbroker::cli::environment::{self, origin};
use lockbroker::cli::get::{self, GetArgs};
use lockbroker::cli::health::{self, HealthArgs};
use lockbroker::cli::list::{self, ListArgs};
use lockbroker::cli::observe::{self, ObserveArgs};
use lockbroker::cli::revoke::{self, RevokeArgs};
use lockbroker::cli::run::{self, RunArgs};
use lockbroker::cli::shard::{self, ShardCommand};
use lockbroker::cli::signals;
use lockbroker::cli::waiters::{self, WaitersArgs};
use lockbroker::cli::watch::{self, WatchArgs};
use lockbroker::config::{Advertised, BrokerOptions, Config, ListenAddress, ServeArgs, TransportOptions};
use lockbroker::metrics::Metrics;
use lockbroker::output;
use lockbroker::policy::Policy;
use lockbroker::reloaded::Reloaded;
use lockbroker::server::{self, Admin, Listener, Listeners};
use lockbroker::service::Service;
use lockbroker::signal_mask::leave_signals_to_the_main_thread;
use lockbroker::store::memcached::{BrokerNote, MemcachedSettings, MemcachedStore};
use lockbroker::store::{LockStore, MemoryStore, Store};
use lockbroker::telemetry::{self, Telemetry};
use lockbroker::wake::WakeSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio_rustls::rustls::ServerConfig;

// Tools that count what is allocated replace the system's allocator, and see no other.
#[cfg(not(lockbroker_system_allocator))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Distributed locks over gRPC, kept in memcached and tied to the client's stream
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker
    Serve(Box<ServeArgs>),
    /// Hold a lock while a command runs
    Run(RunArgs),
    /// Campaign for a lock, and run a command as the leader
    Elect(ElectArgs),
    /// Show who holds a lock
    Get(GetArgs),
    /// Show who holds a lock and with which value, and whenever that changes
    Observe(ObserveArgs),
    /// Show who holds which locks
    List(ListArgs),
    /// Show who waits for a lock
    Waiters(WaitersArgs),
    /// Take a lock from its holder
    Revoke(RevokeArgs),
    /// Say whether a broker is of use
    Health(HealthArgs),
    /// Measure a broker
    Bench(BenchArgs),
    /// Watches over the command of `run`
    #[command(hide = true, name = WatchArgs::COMMAND)]
    ExecWatch(WatchArgs),
    /// Becomes the command of `run`
    #[command(hide = true, name = BoundArgs::COMMAND)]
    ExecBound(BoundArgs),
    /// Look after the memcached servers that keep the locks
    #[command(subcommand)]
    Shard(ShardCommand),
}

fn main() -> ExitCode {
    let code = start(environment::parse::<Cli>().command);
    output::stderr().flush();
    code
}

fn start(command: Command) -> ExitCode {
    let threads = match &command {
        Command::Serve(args) => args.threads,
        Command::Bench(args) => args.threads,
        Command::ExecBound(args) => return bound::run(args),
        _ => NonZeroUsize::MIN,
    };
    let runtime = match runtime(threads) {
        Ok(runtime) => runtime,
        Err(error) => return failure(&anyhow::Error::new(error).context("cannot start")),
    };
    let code = runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(args).await,
            Command::Elect(args) => elect::run(args).await,
            Command::ExecWatch(args) => watch::run(&args).await,
            Command::Serve(args) => serve(*args).await.map_or_else(|error| failure(&error), |()| ExitCode::SUCCESS),
            command => signals::or_ended(client(command)).await,
        }
    });
    // Do not wait for a name that is still being resolved.
    runtime.shutdown_background();
    code
}

/// Runs a command that a signal may end at any time.
async fn client(command: Command) -> ExitCode {
    match command {
        Command::Get(args) => get::run(args).await,
        Command::Observe(args) => observe::run(args).await,
        Command::List(args) => list::run(args).await,
        Command::Waiters(args) => waiters::run(args).await,
        Command::Revoke(args) => revoke::run(args).await,
        Command::Health(args) => health::run(args).await,
        Command::Bench(args) => bench::run(args).await,
        Command::Shard(command) => shard::run::<Cli>(command).await.unwrap_or_else(|error| failure(&error)),
        Command::Run(_) | Command::Elect(_) | Command::ExecBound(_) | Command::ExecWatch(_) | Command::Serve(_) => {
            unreachable!("`start` runs them itself")
        }
    }
}

/// Makes the runtime. A single thread takes tasks in the order in which they become ready, so all answers to a burst
/// are ready when the first is written. It also wakes no other thread, which costs more than answering a call.
fn runtime(threads: NonZeroUsize) -> io::Result<Runtime> {
    let mut builder = match threads.get() {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let builder = builder.worker_threads(threads.get()).enable_all();
    builder.on_thread_start(leave_signals_to_the_main_thread).build()
}

fn failure(error: &anyhow::Error) -> ExitCode {
    output::say(format_args!("{error:#}"));
    ExitCode::FAILURE
}

/// Runs `lockbroker serve`: until a signal, and from there until the broker is drained or a second signal comes.
async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let (log, traces, audit) = (args.log.clone(), args.traces.clone(), args.audit.clone());
    let config = args.resolve().unwrap_or_else(|error| environment::exit::<Cli>(&error));
    let telemetry = telemetry::init(&log, &traces, audit.as_deref())?;
    let outcome = serve_by(&config, &telemetry).await;
    telemetry.end().await;
    outcome
}

/// Warns where everybody may do everything, and where nobody may do anything.
fn warn_of_access(config: &Config) {
    let listen = || config.listen.iter().chain(&config.http.http_listen);
    let reachable = listen().find(|address| !address.is_local());
    if config.policy.is_none()
        && let Some(address) = reachable
    {
        tracing::warn!(%address, "there is no --policy: whoever can connect may acquire and release every lock");
    }
    if config.policy.is_some()
        && !config.page.is_off
        && let Some(address) = config.admin_listen.filter(|address| !address.ip().is_loopback())
    {
        tracing::warn!(
            %address,
            "whoever can connect here sees the names and owners of all locks, whatever --policy says; --no-admin-page leaves \
             that page out"
        );
    }
    let knows_clients = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let tcp = listen().find(|address| matches!(address, ListenAddress::Tcp(_)));
    if config.policy.is_some()
        && !knows_clients
        && let Some(address) = tcp
    {
        tracing::warn!(
            %address,
            "every call here will be refused: --policy knows clients on TCP by their certificates, and without \
             --tls-client-ca none is asked for"
        );
    }
}

/// Opens what `config` names, and runs a broker on it until it is told to stop.
async fn serve_by(config: &Config, telemetry: &Telemetry) -> anyhow::Result<()> {
    let tls = config.tls.clone().map(Reloaded::start).transpose().with_context(|| {
        let cert = origin("--tls-cert", "LOCKBROKER_TLS_CERT");
        let key = origin("--tls-key", "LOCKBROKER_TLS_KEY");
        let client_ca = origin("--tls-client-ca", "LOCKBROKER_TLS_CLIENT_CA");
        format!("cannot use the certificates ({cert}, {key}, {client_ca})")
    })?;
    let policy = config
        .policy
        .clone()
        .map(Reloaded::start)
        .transpose()
        .with_context(|| format!("cannot use the policy ({})", origin("--policy", "LOCKBROKER_POLICY")))?;
    let shards = if let Store::Memcached(shards) = &config.store { shards.len() } else { 0 };
    let max_connections = server::open_files::connections(config.transport.max_connections, shards)?;
    let transport = TransportOptions { max_connections: Some(max_connections), ..config.transport.clone() };
    let config = &Config { transport, ..config.clone() };
    let Sockets { listeners, wake_ups } = Sockets::bind(config, tls).await?;
    warn_of_access(config);

    let metrics = Metrics::default();
    telemetry.count(&metrics);
    tracing::info!(store = %config.store, "{}", match &config.store {
        Store::Memory => "keeps locks in this process alone: no other broker shares them, and a restart forgets them",
        Store::Memcached(_) => "keeps locks in memcached",
    });
    match &config.store {
        Store::Memory => serve_on(listeners, policy, MemoryStore::new(), config, &metrics).await,
        Store::Memcached(shards) => {
            let settings = MemcachedSettings {
                shards: shards.clone(),
                max_ttl: config.broker.max_ttl,
                key_prefix: config.broker.key_prefix.as_str().to_owned(),
                allow_unsafe: config.broker.allow_unsafe_store,
                note: Some(BrokerNote::new(&place(&listeners.grpc)?)),
            };
            let store = MemcachedStore::new(&settings, wake_ups, &metrics);
            serve_on(listeners, policy, store, config, &metrics).await
        }
    }
}

/// The sockets that a broker listens on.
struct Sockets {
    listeners: Listeners,
    /// The socket for wake-ups; none without `--advertise`, and on the embedded store.
    wake_ups: Option<WakeSocket>,
}

impl Sockets {
    /// Binds every address that `config` names, and only then logs that the broker listens. If one address is taken,
    /// the log names none.
    async fn bind(config: &Config, tls: Option<Reloaded<ServerConfig>>) -> anyhow::Result<Sockets> {
        let mut listeners = Listeners { http_options: config.http.clone(), ..Listeners::default() };
        for address in &config.listen {
            let from = || origin("--listen", "LOCKBROKER_LISTEN");
            listeners.grpc.push(listen(address, from, config, tls.as_ref()).await?);
        }
        for address in &config.http.http_listen {
            let from = || origin("--http-listen", "LOCKBROKER_HTTP_LISTEN");
            listeners.http.push(listen(address, from, config, tls.as_ref()).await?.with_http1());
        }
        if let Some(address) = config.admin_listen {
            let listener = Listener::tcp(address);
            let from = origin("--admin-listen", "LOCKBROKER_ADMIN_LISTEN");
            let listener = listener.with_context(|| format!("cannot listen on {address} ({from})"))?;
            listeners.admin = Some(Admin { listener, page: config.page.clone() });
        }
        let mut wake_ups = None;
        if let (Some(Advertised(address)), Store::Memcached(_)) = (config.broker.advertise, &config.store) {
            let socket = WakeSocket::bind(address).await;
            let why = || {
                let from = origin("--advertise", "LOCKBROKER_ADVERTISE");
                format!("cannot listen for wake-ups by UDP at {address} ({from})")
            };
            wake_ups = Some(socket.with_context(why)?);
        }
        for listener in &listeners.grpc {
            tracing::info!(address = %listener.address()?, "listening");
        }
        for listener in &listeners.http {
            tracing::info!(address = %listener.address()?, "listening for JSON over HTTP");
        }
        if let Some(admin) = &listeners.admin {
            tracing::info!(address = %admin.listener.address()?, "listening for health checks and scrapes");
        }
        if let Some(socket) = &wake_ups {
            tracing::info!(address = %socket.address(), "to be woken by other brokers");
        }
        Ok(Sockets { listeners, wake_ups })
    }
}

/// Listens for clients on `address`. `from` says where the address comes from.
async fn listen(
    address: &ListenAddress,
    from: impl Fn() -> &'static str,
    config: &Config,
    tls: Option<&Reloaded<ServerConfig>>,
) -> anyhow::Result<Listener> {
    let listener = match address {
        ListenAddress::Tcp(address) => Listener::tcp(*address).map(|listener| match tls {
            Some(tls) => listener.with_tls(tls.clone()),
            None => listener,
        }),
        ListenAddress::Unix(path) => Listener::unix(path, &config.sockets).await,
    };
    listener.with_context(|| format!("cannot listen on {address} ({})", from()))
}

/// Returns where operators find this broker: its machine and its address.
fn place(listeners: &[Listener]) -> io::Result<String> {
    let mut place = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for listener in listeners {
        place.push(' ');
        place.push_str(&listener.address()?.to_string());
    }
    Ok(place)
}

/// Runs a broker on `store` until it is told to stop.
async fn serve_on(
    listeners: Listeners,
    policy: Option<Reloaded<Policy>>,
    store: impl LockStore,
    config: &Config,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let BrokerOptions { default_ttl, max_ttl, poll_interval, max_locks, max_waiters, .. } = config.broker;
    let settings = Settings { default_ttl, max_ttl, poll_interval, max_locks, max_waiters };
    let broker = Broker::new(store, settings, metrics);
    let service = Service::new(broker.clone(), policy, config.broker.max_observers, metrics);
    let (stop, stopped) = oneshot::channel::<()>();
    let served = server::run(listeners, service, broker.clone(), &config.transport, metrics, async {
        // An error means that the sender was dropped, and this future with it.
        let _ = stopped.await;
    });
    let two_signals = async {
        signals.next().await;
        let _ = stop.send(());
        signals.next().await;
    };
    tokio::select! {
        served = served => Ok(served?),
        () = two_signals => {
            broker.abandon();
            anyhow::bail!("stopped by a second signal before the last lock had gone")
        }
    }
}

/// The signals that ask this process to stop: Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
