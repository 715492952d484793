//! A real `lockbroker serve` process.

use std::cell::Cell;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lockbroker::proto::lock_service_client::LockServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{Memcached, Process, SOON, Scrape, eventually};

/// Longer than any command that a test waits for may take.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    arguments: Vec<String>,
    process: Process,
}

impl Broker {
    /// Arguments for a broker that is scraped.
    pub const WATCHED: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

    /// Starts one on the embedded store.
    pub async fn memory() -> Self {
        Self::start(&["--store", "memory"]).await
    }

    /// Starts one on a memcached, and ends the quarantine by hand.
    pub async fn on(memcached: &Memcached) -> Self {
        Self::on_store(&memcached.store(), &[]).await
    }

    /// Starts one on a store of any number of shards, after opening them by hand as the broker's `arguments` want
    /// them.
    pub async fn on_store(store: &str, arguments: &[&str]) -> Self {
        open(store, arguments);
        Self::start(&[&["--store", store], arguments].concat()).await
    }

    /// Starts `lockbroker serve` with these arguments, on a port of its own. Returns when it is ready.
    pub async fn start(arguments: &[&str]) -> Self {
        let broker = Self::start_unready(arguments).await;
        broker.ready().await;
        broker
    }

    /// Starts one as `start` does, but returns as soon as it listens.
    pub async fn start_unready(arguments: &[&str]) -> Self {
        Self::listening("127.0.0.1:0", arguments.iter().map(|&argument| argument.to_owned()).collect()).await
    }

    async fn listening(on: &str, arguments: Vec<String>) -> Self {
        let threads = threads();
        let mut serve = lockbroker(&["serve", "--listen", on, "--log-format", "json", "--threads", &threads]);
        let mut process = Process::spawn(&format!("lockbroker serve --threads {threads}"), serve.args(&arguments));
        let mut address = None;
        eventually(SOON, "the broker listens", async || {
            address = process.log().iter().find_map(|line| listening(line));
            assert!(address.is_some() || process.exit().is_none(), "the broker ended: {:?}", process.exit());
            address.is_some()
        })
        .await;
        Self { address: address.unwrap(), arguments, process }
    }

    /// Waits until it can grant locks.
    pub async fn ready(&self) {
        eventually(SOON, "the broker is ready", async || {
            self.health("readiness").await == Some(ServingStatus::Serving)
        })
        .await;
    }

    /// Returns what `grpc.health.v1` says of a service; none if there is no answer.
    pub async fn health(&self, service: &str) -> Option<ServingStatus> {
        let channel = self.endpoint().connect().await.ok()?;
        let request = HealthCheckRequest { service: service.to_owned() };
        Some(HealthClient::new(channel).check(request).await.ok()?.into_inner().status())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of health checks and metrics, if it was started with [`Broker::WATCHED`].
    pub async fn admin(&self) -> SocketAddr {
        let line = self.logged("listening for health checks and scrapes").await;
        line.split('"').find_map(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address in {line}"))
    }

    /// Returns all its metrics, if it was started with [`Broker::WATCHED`].
    pub async fn scrape(&self) -> Scrape {
        Scrape::of(self.admin().await).await
    }

    /// Waits until its metrics are as `wanted`, and returns them.
    pub async fn scraped(&self, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
        let mut last = None;
        eventually(SOON, what, async || {
            let scrape = self.scrape().await;
            let done = wanted(&scrape);
            last = Some(scrape);
            done
        })
        .await;
        last.unwrap()
    }

    /// Returns its address as a value for `--server` and for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a bare stub, on a connection of its own.
    pub async fn stub(&self) -> LockServiceClient<Channel> {
        stub(self.address).await
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(self.address)
    }

    /// Returns all log lines so far, as JSON.
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    /// Waits for a log line that contains `text`, and returns it.
    pub async fn logged(&self, text: &str) -> String {
        let mut found = None;
        eventually(SOON, &format!("the broker logs {text:?}"), async || {
            found = self.log().into_iter().find(|line| line.contains(text));
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns how it ended, if it has.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.process.exit()
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends SIGSTOP.
    pub async fn stop(&mut self) {
        self.process.stop().await;
    }

    /// Sends SIGCONT.
    pub fn cont(&mut self) {
        self.process.cont();
    }

    /// Sends SIGTERM and returns the exit status.
    pub async fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.process.terminate(deadline).await
    }

    /// Starts another process on the same port with the same arguments, after `kill` or `terminate`.
    pub async fn start_again(&mut self) {
        *self = Self::listening(&self.address.to_string(), std::mem::take(&mut self.arguments)).await;
        self.ready().await;
    }
}

/// Makes a bare stub on a connection of its own to any address, a proxy's for instance.
pub async fn stub(address: SocketAddr) -> LockServiceClient<Channel> {
    LockServiceClient::new(endpoint(address).connect().await.unwrap())
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_timeout(SOON)
}

/// Returns the number of threads of the next broker, from `LOCKBROKER_TEST_THREADS`. Where that is not set, the
/// brokers of each test in `tests/suite` get 1 and 2 in turn. A hash of the test's name says which comes first, so it
/// is the same every time. Those of other programs, which measure, get 1 as users do.
fn threads() -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    thread_local!(static STARTED: Cell<u64> = const { Cell::new(0) });
    if let Ok(threads) = std::env::var("LOCKBROKER_TEST_THREADS") {
        return threads;
    }
    if !module_path!().starts_with("suite") {
        return "1".into();
    }
    // A test has a thread of its own, which has its name.
    let mut hash = DefaultHasher::new();
    thread::current().name().hash(&mut hash);
    let number = hash.finish().wrapping_add(STARTED.replace(STARTED.get() + 1));
    (1 + number % 2).to_string()
}

/// Returns the binary under test. Tests that measure take the one that `LOCKBROKER_TEST_BROKER` names: an optimised one.
fn binary() -> OsString {
    let named = std::env::var_os("LOCKBROKER_TEST_BROKER").filter(|_| module_path!().starts_with("quiet"));
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_lockbroker").into())
}

/// Makes a command of the binary under test, without the settings of the person who runs the tests, except for the
/// rule that it is to break.
pub fn lockbroker(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    let ours = |name: &str| ["LOCKBROKER_", "OTEL_"].iter().any(|prefix| name.starts_with(prefix));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| ours(&name.to_string_lossy()) && name != "LOCKBROKER_MUTATION")
    {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    output(&mut lockbroker(arguments))
}

/// Runs a command to its end, which has to come: one that should have been refused may serve for ever.
pub fn output(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (ended, end) = mpsc::channel();
    thread::spawn(move || ended.send(child.wait_with_output()));
    end.recv_timeout(ENDS_WITHIN).map(Result::unwrap).unwrap_or_else(|_| {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("{command:?} runs on after {ENDS_WITHIN:?}: {:?}", end.recv());
    })
}

/// Ends the quarantine of a store's shards by hand. Of a broker's `arguments` it heeds those that say
/// which shards, and of which topology, are meant.
pub fn open(store: &str, arguments: &[&str]) {
    let mut open = vec!["shard", "open", "--store", store];
    for pair in arguments.windows(2).filter(|pair| ["--max-ttl", "--key-prefix"].contains(&pair[0])) {
        open.extend(pair);
    }
    open.extend(arguments.iter().filter(|&&argument| argument == "--allow-unsafe-store"));
    let output = run(&open);
    assert!(output.status.success(), "lockbroker {open:?}: {output:?}");
}

/// Returns the address in the log line by which a broker says that it listens there.
fn listening(line: &str) -> Option<SocketAddr> {
    line.contains(r#""listening""#).then(|| line.split('"').find_map(|text| text.parse().ok()))?
}
