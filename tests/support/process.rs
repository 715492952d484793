//! A child process that a test stops, resumes and kills, and that does not outlive the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// The lines that it wrote to stderr.
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a program; its log is printed if the test fails.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        Self::start(name, command, Stdio::null(), Stdio::null()).0
    }

    /// Starts it as `spawn` does, with its stdout for the test to read.
    pub fn spawn_piped(name: &str, command: &mut Command) -> (Self, ChildStdout) {
        let (process, _, stdout) = Self::start(name, command, Stdio::null(), Stdio::piped());
        (process, stdout.unwrap())
    }

    /// Starts it as `spawn_piped` does, with its stdin for the test to write.
    pub fn spawn_talking(name: &str, command: &mut Command) -> (Self, ChildStdin, ChildStdout) {
        let (process, stdin, stdout) = Self::start(name, command, Stdio::piped(), Stdio::piped());
        (process, stdin.unwrap(), stdout.unwrap())
    }

    /// Starts one that writes a line once it is at work, and waits for that line. A `lockbroker run` has read all that its
    /// broker said by then: killed with bytes unread, its kernel would reset the connection, which is no word of its own.
    pub fn spawn_running(name: &str, command: &mut Command) -> Self {
        let (process, stdout) = Self::spawn_piped(name, command);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{name} ended without a line: {:?}", process.log());
        process
    }

    fn start(
        name: &str,
        command: &mut Command,
        stdin: Stdio,
        stdout: Stdio,
    ) -> (Self, Option<ChildStdin>, Option<ChildStdout>) {
        let mut child = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Ends with the child, whose end of the pipe closes then.
        thread::spawn({
            let log = Arc::clone(&log);
            move || lines.map_while(Result::ok).for_each(|line| log.lock().unwrap().push(line))
        });
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        (Self { name: name.to_owned(), child, log }, stdin, stdout)
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns all that it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Returns how it ended, if it has.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn signal(&mut self, signal: Signal) {
        // Once it has been waited for, its id may be somebody else's.
        let exit = self.exit();
        assert!(exit.is_none(), "{} has ended: {exit:?}", self.name);
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGSTOP: it stays connected and does nothing. Returns when it has really stopped.
    pub async fn stop(&mut self) {
        self.signal(Signal::STOP);
        let pid = self.pid();
        super::eventually(super::SOON, "the process stops", async || Self::is_stopped(pid)).await;
    }

    /// Returns true if the process has stopped.
    pub fn is_stopped(pid: u32) -> bool {
        // The state is the first field behind the name, which stands in brackets.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    }

    /// Sends SIGCONT: it goes on, and believes that no time has passed.
    pub fn cont(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Sends SIGKILL, and waits until the kernel has closed its sockets.
    pub fn kill(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Waits for its end by itself.
    pub async fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit() {
                return status;
            }
            assert!(start.elapsed() < deadline, "{} runs on after {deadline:?}", self.name);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends SIGTERM and returns the exit status.
    pub async fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(deadline).await
    }
}

/// Says whether the logs of processes are shown when a test fails: not where it should fail.
static SHOW_LOGS: AtomicBool = AtomicBool::new(true);

/// Sets whether they are shown, as they are at first.
pub fn show_logs(show: bool) {
    SHOW_LOGS.store(show, Ordering::Relaxed);
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() && SHOW_LOGS.load(Ordering::Relaxed) {
            eprintln!("--- log of {} (pid {}):\n{}\n---", self.name, self.pid(), self.log().join("\n"));
        }
    }
}
