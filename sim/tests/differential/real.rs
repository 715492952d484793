//! A real memcached: started, stopped and asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command as Program, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lockbroker_core::command::{Command, Reply};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::text;

/// An uptime of 0 is this on the clock by which items expire.
const BEGINS_AT: u32 = 60;

/// What a process tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stats {
    /// What its clock shows.
    pub(crate) second: u32,
    /// The date at which that would have been 0.
    pub(crate) zero_date: u64,
    /// The connections that there are, and all that there have been.
    pub(crate) connections: u32,
    pub(crate) accepted: u32,
    pub(crate) pid: u32,
}

/// What one exchange brought.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) before: Stats,
    pub(crate) after: Stats,
    pub(crate) replies: Vec<Reply>,
}

/// A process, and a connection to it.
#[derive(Debug)]
pub(crate) struct Real {
    child: Child,
    address: SocketAddr,
    commands: TcpStream,
    answers: BufReader<TcpStream>,
}

impl Real {
    /// Starts one with a page of memory for each class of items, which throws nothing out.
    pub(crate) fn start() -> Real {
        Real::start_with(&[])
    }

    /// Starts one with other flags too.
    pub(crate) fn start_with(flags: &[&str]) -> Real {
        let address = free_address();
        let mut run = Program::new(path());
        let port = address.port().to_string();
        // It wants at least twice as much memory as its largest item takes.
        run.args(["-M", "-m", "1", "-I", "512k", "-U", "0", "-t", "2", "-l", "127.0.0.1", "-p", &port]);
        if Uid::effective().is_root() {
            run.args(["-u", "nobody"]);
        }
        let child = run.args(flags).stderr(Stdio::null()).spawn().expect("memcached starts");
        let commands = connect(address);
        let answers = BufReader::new(commands.try_clone().expect("a second handle of a socket"));
        let mut real = Real { child, address, commands, answers };
        assert_eq!(real.look().pid, real.child.id(), "another server has taken the port");
        real
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the process so that a warm restart may follow, and waits for that.
    pub(crate) fn end_gracefully(mut self) {
        self.signal(Signal::SIGUSR1);
        self.child.wait().expect("our own process");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("our own process");
    }

    /// Stops the process.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Sends commands, between two looks at the clock.
    pub(crate) fn send(&mut self, commands: &[Command]) {
        let bytes: Vec<u8> = commands.iter().flat_map(text::encode).collect();
        self.write(&[b"stats\r\n", bytes.as_slice(), b"stats\r\n"].concat());
    }

    /// As `send`, with a pause in the middle.
    pub(crate) fn send_slowly(&mut self, commands: &[Command], pause: Duration) {
        let (first, second) = commands.split_at(commands.len() / 2);
        let bytes = |commands: &[Command]| commands.iter().flat_map(text::encode).collect::<Vec<u8>>();
        self.write(&[b"stats\r\n", bytes(first).as_slice()].concat());
        sleep(pause);
        self.write(&[bytes(second).as_slice(), b"stats\r\n"].concat());
    }

    /// Reads the answers to what `send` sent.
    pub(crate) fn receive(&mut self, commands: &[Command]) -> Exchange {
        let before = self.stats();
        let replies = commands.iter().map(|command| self.reply(command)).collect();
        Exchange { before, after: self.stats(), replies }
    }

    /// Flushes, and says what the clock showed before and after that.
    pub(crate) fn flush_all(&mut self) -> (Stats, Stats) {
        self.write(b"stats\r\nflush_all\r\nstats\r\n");
        let before = self.stats();
        assert_eq!(self.line(), "OK");
        (before, self.stats())
    }

    /// Asks what the process tells of itself.
    pub(crate) fn look(&mut self) -> Stats {
        self.write(b"stats\r\n");
        self.stats()
    }

    /// Sends commands on a connection of their own, and closes that before any answer has been read.
    pub(crate) fn lose(&self, commands: &[Command]) {
        let mut stream = connect(self.address);
        let bytes: Vec<u8> = commands.iter().flat_map(text::encode).collect();
        stream.write_all(&bytes).expect("memcached reads");
    }

    /// Waits until a connection that was lost has been taken and closed on the other side too. Before, `before` was seen.
    pub(crate) fn settle(&mut self, before: Stats) -> Stats {
        loop {
            let stats = self.look();
            if stats.accepted > before.accepted && stats.connections <= before.connections {
                return stats;
            }
            sleep(Duration::from_millis(1));
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.commands.write_all(bytes).expect("memcached reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("memcached answers");
        assert!(line.ends_with("\r\n"), "the connection ended after {line:?}");
        line.truncate(line.len() - 2);
        line
    }

    fn reply(&mut self, command: &Command) -> Reply {
        let line = self.line();
        let length = line.strip_prefix("VA ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        let value = length.map(|length: usize| {
            let mut value = vec![0; length + 2];
            self.answers.read_exact(&mut value).expect("as many bytes as announced");
            String::from_utf8_lossy(&value[..length]).into_owned()
        });
        text::parse(command, &line, value.as_deref())
    }

    fn stats(&mut self) -> Stats {
        let mut lines = Vec::new();
        loop {
            match self.line() {
                line if line == "END" => break,
                line => lines.push(line),
            }
        }
        let stat = |name: &str| -> u64 {
            let after = |line: &String| line.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
            lines.iter().find_map(after).unwrap_or_else(|| panic!("no {name} in {lines:?}"))
        };
        let small = |name| u32::try_from(stat(name)).expect("a small number");
        let second = small("uptime") + BEGINS_AT;
        Stats {
            second,
            zero_date: stat("time") - u64::from(second),
            connections: small("curr_connections"),
            accepted: small("total_connections"),
            pid: small("pid"),
        }
    }

    /// Sends a line and returns the first line of the answer.
    pub(crate) fn line_to(&mut self, line: &str) -> String {
        self.write(format!("{line}\r\n").as_bytes());
        self.line()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects to a server that may not listen yet.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true).expect("a socket");
                stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
                return stream;
            }
            Err(error) if start.elapsed() > Duration::from_secs(20) => panic!("no memcached: {error}"),
            Err(_) => sleep(Duration::from_millis(5)),
        }
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound socket")
}

/// Returns the program that runs a memcached.
fn path() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Ok(path) = std::env::var("LOCKBROKER_TEST_MEMCACHED") {
            return path;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/memcached");
        let output = Program::new(script).arg("current").stderr(Stdio::inherit()).output().expect("scripts/memcached");
        assert!(output.status.success(), "scripts/memcached failed");
        String::from_utf8(output.stdout).expect("a path").trim().to_owned()
    })
}
