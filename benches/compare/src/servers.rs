//! The servers under comparison: real processes on loopback, their data in memory, gone when this is.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

/// The longest time that a server may take to listen.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
/// The pause after the start of all servers: until then a broker bears little with a new memcached's clock.
const SETTLE: Duration = Duration::from_secs(4);

/// The servers of a run.
#[derive(Debug)]
pub struct Servers {
    /// A broker on its embedded store.
    pub memory: Server,
    /// Two brokers on one memcached.
    pub memcached: [Server; 2],
    pub redis: Server,
    pub etcd: Server,
    _store: Server,
    /// Dropped last: logs and etcd's data.
    _folder: TempDir,
}

/// One of them. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// Returns the address as clients take it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts a program that listens on `port`, and waits until it does.
    fn start(folder: &Path, name: &str, port: u16, command: &mut Command) -> anyhow::Result<Server> {
        let log = folder.join(format!("{name}-{port}.log"));
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Server { child, port };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{command:?} ended, {status}: {}", std::fs::read_to_string(&log)?);
            }
            ensure!(began.elapsed() < STARTS_WITHIN, "{command:?} does not listen on port {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The programs of the servers.
#[derive(Debug)]
pub struct Programs {
    pub lockbroker: PathBuf,
    etcd: PathBuf,
    memcached: PathBuf,
    redis: PathBuf,
}

impl Programs {
    /// Fetches and builds what is missing: the broker too, as it is released, unless one is given.
    pub fn find(lockbroker: Option<PathBuf>) -> anyhow::Result<Programs> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Ok(Programs {
            lockbroker: lockbroker.map_or_else(|| built(root), Ok)?,
            etcd: etcd(root)?,
            memcached: printed(&root.join("../../scripts/memcached"), &["current"])?,
            redis: printed(&root.join("../../scripts/redis"), &[])?,
        })
    }
}

impl Servers {
    /// Starts all.
    pub fn start(programs: &Programs) -> anyhow::Result<Servers> {
        let Programs { lockbroker, etcd, memcached, redis } = programs;
        // On tmpfs where there is one, so that nobody's disk is measured.
        let shm = Path::new("/dev/shm");
        let folder = if shm.is_dir() { TempDir::with_prefix_in("lockbroker-compare.", shm) } else { TempDir::new() }?;
        let path = folder.path();

        let port = free_port()?;
        let mut run = Command::new(memcached);
        run.args(["-M", "-F", "-m", "256", "-l", "127.0.0.1", "-p", &port.to_string(), "-u", "nobody"]);
        let store = Server::start(path, "memcached", port, &mut run)?;
        let store_url = format!("memcached://127.0.0.1:{port}");
        let opened = Command::new(lockbroker)
            .args(["shard", "open", "--store", &store_url, "--max-ttl", "30s"])
            .output()
            .with_context(|| format!("cannot run {}", lockbroker.display()))?;
        ensure!(opened.status.success(), "lockbroker shard open: {opened:?}");

        let broker = |store: &str| {
            let port = free_port()?;
            let mut run = Command::new(lockbroker);
            // To be woken at the same port, by UDP.
            let listen = format!("127.0.0.1:{port}");
            run.args(["serve", "--listen", &listen, "--advertise", &listen, "--store", store]);
            run.args(["--max-ttl", "30s", "--log", "warn"]);
            Server::start(path, "lockbroker", port, &mut run)
        };
        let memory = broker("memory")?;
        let on_memcached = [broker(&store_url)?, broker(&store_url)?];

        let port = free_port()?;
        let mut run = Command::new(redis);
        run.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        run.arg("--dir").arg(path);
        let redis = Server::start(path, "redis", port, &mut run)?;

        let (port, peers) = (free_port()?, free_port()?);
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
        let mut run = Command::new(etcd);
        run.args(["--log-level", "error", "--listen-client-urls", &client, "--advertise-client-urls", &client]);
        run.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        run.arg(format!("--initial-cluster=default={peer}")).arg("--data-dir").arg(path.join("etcd"));
        let etcd = Server::start(path, "etcd", port, &mut run)?;
        std::thread::sleep(SETTLE);
        Ok(Servers { memory, memcached: on_memcached, redis, etcd, _store: store, _folder: folder })
    }
}

/// Builds the broker as it is released, and returns its path.
fn built(root: &Path) -> anyhow::Result<PathBuf> {
    let root = root.join("../..");
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--bin", "lockbroker", "--target-dir", "target"]).current_dir(&root);
    let status = build.status().context("cannot run cargo")?;
    ensure!(status.success(), "{build:?}: {status}");
    Ok(root.join("target/release/lockbroker"))
}

/// Builds etcd from its module, whose version is pinned, and returns its path.
fn etcd(root: &Path) -> anyhow::Result<PathBuf> {
    let program = root.join("target/etcd");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(root.join("etcd"));
    let status = build.status().context("cannot run go, which builds etcd; get it from https://go.dev")?;
    ensure!(status.success(), "{build:?}: {status}");
    Ok(program)
}

/// Runs a script and returns the path that it prints.
fn printed(script: &Path, arguments: &[&str]) -> anyhow::Result<PathBuf> {
    let mut run = Command::new(script);
    let output = run.args(arguments).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{run:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().into())
}

/// Returns a port that nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
