//! A program in another language, and what it has said so far.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::Semaphore;

use crate::support::{Brokers, Process, eventually, tool};

/// For a start of a virtual machine while others start beside it.
const START: Duration = Duration::from_secs(40);
/// For a program that counts its validity down, and then waits 3 s for an answer to its Release.
const END: Duration = Duration::from_secs(40);
/// A proxy that nobody listens at. A program that heeded it would reach no broker.
const PROXY: &str = "http://127.0.0.1:9";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Python,
    Go,
    Node,
    Java,
}

impl Language {
    pub(crate) const ALL: [Self; 4] = [Self::Python, Self::Go, Self::Node, Self::Java];

    /// The built program.
    pub(crate) fn program(self) -> &'static Path {
        static PROGRAMS: [OnceLock<PathBuf>; 4] = [const { OnceLock::new() }; 4];
        PROGRAMS[self as usize].get_or_init(|| {
            let name = format!("{self:?}");
            let variable = format!("LOCKBROKER_TEST_CLIENT_{}", name.to_uppercase());
            tool(&variable, &["scripts/client", &name.to_lowercase()])
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Tcp,
    Unix,
}

/// A language and a transport. Shown as the name of the lock that its test is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case(pub(crate) Language, pub(crate) Transport);

impl Case {
    /// Every language over every transport.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Language::ALL
            .into_iter()
            .flat_map(|language| [Transport::Tcp, Transport::Unix].map(|transport| Self(language, transport)))
    }

    /// Every language over TCP.
    pub(crate) fn tcp() -> impl Iterator<Item = Self> {
        Self::all().filter(|case| matches!(case.1, Transport::Tcp))
    }

    /// Returns the first of these brokers, as an argument for the program.
    pub(crate) fn server(self, brokers: &Brokers) -> String {
        match self.1 {
            Transport::Tcp => brokers.first.url(),
            Transport::Unix => brokers.socket(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.0, self.1)
    }
}

#[derive(Debug)]
pub(crate) struct Testee {
    case: Case,
    process: Process,
    /// When each line arrived here.
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
    /// Ends with the program's output.
    reading: Option<JoinHandle<()>>,
}

impl Testee {
    /// Starts the program: it waits for the lock for so many seconds, and works for longer than any test takes.
    pub(crate) async fn start(case: Case, server: &str, wait: u32) -> Self {
        Self::working(case, server, wait, 600.0).await
    }

    /// As `start`, with work of so many seconds. Returns when the program has said something.
    pub(crate) async fn working(case: Case, server: &str, wait: u32, work: f64) -> Self {
        // Many that start beside each other are all late: the broker's first answer is over when they read it.
        static STARTS: Semaphore = Semaphore::const_new(2);
        let _start = STARTS.acquire().await.unwrap();
        let mut command = Command::new(case.0.program());
        command.args([server, &case.to_string(), &wait.to_string(), &work.to_string()]);
        for name in ["http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            command.env(name, PROXY);
        }
        command.env_remove("no_proxy").env_remove("NO_PROXY");
        // Half the cost of a start, of which there are many here: no compiler for what runs long, no collector threads.
        let java = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9";
        command.env("JAVA_TOOL_OPTIONS", java);
        let (process, stdout) = Process::spawn_piped(&case.to_string(), &mut command);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reading = thread::spawn({
            let lines = Arc::clone(&lines);
            let read = BufReader::new(stdout).lines().map_while(Result::ok);
            move || read.for_each(|line| lines.lock().unwrap().push((Instant::now(), line)))
        });
        let testee = Self { case, process, lines, reading: Some(reading) };
        testee.says("").await;
        testee
    }

    pub(crate) fn case(&self) -> Case {
        self.case
    }

    /// Waits for a line that begins so, and returns the rest of it.
    pub(crate) async fn says(&self, start: &str) -> String {
        let mut rest = None;
        eventually(START, &format!("{} says {start:?}", self.case), async || {
            rest = self.lines().iter().find_map(|(_, line)| line.strip_prefix(start).map(str::to_owned));
            rest.is_some()
        })
        .await;
        rest.unwrap()
    }

    /// Waits until it holds the lock and works, and returns the fencing token.
    pub(crate) async fn acts(&self) -> i64 {
        let token = self.says("acquired: token ").await.parse().unwrap();
        self.says("acting").await;
        token
    }

    pub(crate) fn has_acted(&self) -> bool {
        self.acts_arrived() > 0
    }

    /// How often it has acted.
    pub(crate) fn acts_arrived(&self) -> usize {
        self.lines().iter().filter(|(_, line)| line == "acting").count()
    }

    /// When it acted last; it must have.
    pub(crate) fn acted_last(&self) -> Instant {
        let lines = self.lines();
        lines.iter().rfind(|(_, line)| line == "acting").unwrap_or_else(|| panic!("{} never acted", self.case)).0
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGSTOP.
    pub(crate) async fn stop(&mut self) {
        self.process.stop().await;
    }

    /// SIGCONT.
    pub(crate) fn cont(&mut self) {
        self.process.cont();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Its exit status, by itself and soon. From then on all that it said has arrived.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let status = self.process.wait(END).await;
        self.reading.take().map(JoinHandle::join);
        status
    }

    fn lines(&self) -> Vec<(Instant, String)> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Testee {
    fn drop(&mut self) {
        if thread::panicking() {
            let said: Vec<_> = self.lines().into_iter().map(|(_, line)| line).filter(|line| line != "acting").collect();
            eprintln!("--- {} said: {said:?}, and acted {} times", self.case, self.acts_arrived());
        }
    }
}
