//! A real memcached on a port of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Process, SOON, eventually, free_port, tool};

#[derive(Debug)]
pub struct Memcached {
    port: u16,
    program: PathBuf,
    flags: Vec<String>,
    process: Process,
}

impl Memcached {
    /// Starts one that a broker accepts: no evictions, no flush; `flags` come on top.
    pub async fn start(flags: &[&str]) -> Self {
        Self::bare(&[&["-M", "-F"], flags].concat()).await
    }

    /// Starts one with nothing but `flags`, for servers that a broker must refuse.
    pub async fn bare(flags: &[&str]) -> Self {
        Self::of(current(), flags).await
    }

    /// Starts Debian 12's, too old to keep locks.
    pub async fn old(flags: &[&str]) -> Self {
        Self::of(old(), flags).await
    }

    /// Starts one whose flags keep it from answering a bare command: with a password, or with TLS.
    pub async fn mute(flags: &[&str]) -> Self {
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        for _ in 0..10 {
            let port = free_port();
            let mut process = spawn(current(), port, &flags);
            let mut ended = false;
            eventually(SOON, "memcached listens", async || {
                ended = process.exit().is_some();
                ended || TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            })
            .await;
            if !ended {
                return Self { port, program: current().to_owned(), flags, process };
            }
        }
        panic!("memcached {flags:?} does not start");
    }

    async fn of(program: &Path, flags: &[&str]) -> Self {
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        // Somebody else may take the port before memcached does.
        for _ in 0..10 {
            let port = free_port();
            if let Some(process) = run(program, port, &flags).await {
                return Self { port, program: program.to_owned(), flags, process };
            }
        }
        panic!("{} does not start", program.display());
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Returns its address as a value for `--store`.
    pub fn store(&self) -> String {
        format!("memcached://{}", self.address())
    }

    /// Kills it and starts it again on the same port: all memory is lost.
    pub async fn restart(&mut self) {
        self.kill();
        self.start_again().await;
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends SIGUSR1. A memcached that was started with `-e FILE` then saves its memory there and ends.
    pub async fn save_and_end(&mut self) {
        self.process.signal(Signal::USR1);
        eventually(SOON, "memcached saves its memory", async || self.process.exit().is_some()).await;
        // It takes its memory back only in a later second than that in which it ended.
        let second = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let ended = second();
        eventually(SOON, "the next second", async || second() > ended).await;
    }

    /// Starts it again on the same port, after `kill`.
    pub async fn start_again(&mut self) {
        self.process = run(&self.program, self.port, &self.flags).await.expect("memcached starts again");
    }

    /// Starts it again on the same port, after `kill`, as an operator does who has changed its flags.
    pub async fn start_again_with(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        self.start_again().await;
    }

    /// Sends SIGSTOP.
    pub async fn stop(&mut self) {
        self.process.stop().await;
    }

    /// Sends SIGCONT.
    pub fn cont(&mut self) {
        self.process.cont();
    }

    /// Sends a command of its text protocol on a connection of its own, and returns the answer with lines ended by
    /// `\r\n`: `command("mg key t")` gives `"HD t-1\r\n"`, or `"EN\r\n"`.
    pub async fn command(&self, text: &str) -> String {
        timeout(SOON, command(self.address(), text))
            .await
            .unwrap_or_else(|_| panic!("memcached does not answer {text:?}"))
            .unwrap_or_else(|error| panic!("memcached, asked {text:?}: {error}"))
    }

    /// Returns the CAS and the value of the shard's state.
    pub async fn state(&self) -> (u64, String) {
        let answer = self.command("mg lockbroker:S c v").await;
        let mut lines = answer.lines();
        let cas = lines.next().and_then(|line| line.split(' ').find_map(|flag| flag.strip_prefix('c')?.parse().ok()));
        let value = lines.next().map(str::to_owned);
        cas.zip(value).unwrap_or_else(|| panic!("no state: {answer:?}"))
    }

    /// Returns the shard's epoch.
    pub async fn epoch(&self) -> u64 {
        self.state().await.0 / 100_000
    }

    /// Takes all memory for items whose key and value together are no larger than a value of `longest` bytes with a key
    /// of 16: 160 for all there is about a lock, 40 for locks with short names. Give it little to fill: `-m 2`.
    pub async fn fill(&self, longest: usize) {
        for length in (0..=longest).step_by(20) {
            let value = "x".repeat(length);
            // A few rounds fill memcached's smallest memory.
            for round in 0..100 {
                let commands: Vec<_> = (0..1_000)
                    .map(|index| format!("ms junk-{length:03}-{round:03}-{index:03} {length}\r\n{value}"))
                    .collect();
                let answers = self.command(&commands.join("\r\n")).await;
                if answers.lines().all(|answer| answer.starts_with("SERVER_ERROR out of memory")) {
                    break;
                }
            }
        }
    }

    /// Returns one number of `stats`.
    pub async fn stat(&self, name: &str) -> u64 {
        let stats = self.command("stats").await;
        stats
            .lines()
            .find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("no {name} in {stats}"))
            .parse()
            .unwrap()
    }
}

/// Starts it and waits until it answers; none if it ended at once.
async fn run(program: &Path, port: u16, flags: &[String]) -> Option<Process> {
    let mut process = spawn(program, port, flags);
    // Not any server's answer: that of another, which was faster, would do harm.
    let own = format!("STAT pid {}\r\n", process.pid());
    let mut ended = false;
    eventually(SOON, "memcached answers", async || {
        ended = process.exit().is_some();
        ended || command(([127, 0, 0, 1], port).into(), "stats").await.is_ok_and(|stats| stats.starts_with(&own))
    })
    .await;
    (!ended).then_some(process)
}

fn spawn(program: &Path, port: u16, flags: &[String]) -> Process {
    let mut run = Command::new(program);
    run.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-m", "64"]);
    if rustix::process::geteuid().is_root() {
        run.args(["-u", "nobody"]);
    }
    Process::spawn(&format!("memcached:{port}"), run.args(flags))
}

async fn command(address: SocketAddr, text: &str) -> std::io::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    // `mn` is answered by `MN`, which so marks the end of what came before, however long that is.
    stream.write_all(format!("{text}\r\nmn\r\n").as_bytes()).await?;
    let mut answer = String::new();
    while !answer.ends_with("MN\r\n") {
        if stream.read_line(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    answer.truncate(answer.len() - "MN\r\n".len());
    Ok(answer)
}

fn current() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| tool("LOCKBROKER_TEST_MEMCACHED", &["scripts/memcached", "current"]))
}

fn old() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| tool("LOCKBROKER_TEST_MEMCACHED_OLD", &["scripts/memcached", "old"]))
}
