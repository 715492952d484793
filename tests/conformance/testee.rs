//! A client's testee: a process that takes commands and reports what happened.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::support::{Process, eventually};

/// For an answer where nothing is waited for. A virtual machine that starts beside others is slow.
const ANSWER: Duration = Duration::from_secs(40);
/// Begins what is said of a testee that does not start.
pub(crate) const NEVER_STARTED: &str = "does not begin with hello";
/// For the end of a process that has nothing left to do.
const END: Duration = Duration::from_secs(20);

/// The testee of a language: where it is, and what it must break.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) language: String,
    pub(crate) path: PathBuf,
    pub(crate) breaks: Option<&'static str>,
}

/// A running testee.
#[derive(Debug)]
pub(crate) struct Testee {
    process: Mutex<Process>,
    stdin: Mutex<Option<ChildStdin>>,
    said: Arc<Said>,
    pub(crate) hello: Value,
}

/// What it has said so far, and who waits for an answer.
#[derive(Debug, Default)]
struct Said {
    calls: Mutex<Calls>,
    /// By the lock that they are about, or the name of the observer.
    notices: Mutex<HashMap<String, Vec<Value>>>,
    /// Keeps what was said against the protocol.
    wrong: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Value>>,
    /// Set at the end of its output.
    ended: bool,
}

/// A virtual machine that starts takes a processor for a second or two. So many start at a time, and those that run are not disturbed.
static STARTS: Semaphore = Semaphore::const_new(2);

impl Testee {
    /// Starts it with these variables, and waits for its first line.
    pub(crate) async fn start(program: &Program, environment: &[(&str, String)]) -> Self {
        let mut command = Command::new(&program.path);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOCKBROKER_")) {
            command.env_remove(name);
        }
        // With these, proxies would not be asked for the loopback address, whatever the client does.
        command.env_remove("no_proxy").env_remove("NO_PROXY");
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.args(program.breaks.map(|rule| ["--break", rule]).into_iter().flatten());
        let name = format!("the {} testee", program.language);
        let _starts = STARTS.acquire().await.expect("nobody closes it");
        let (process, stdin, stdout) = Process::spawn_talking(&name, &mut command);
        let said = Arc::new(Said::default());
        let (hello, first) = oneshot::channel();
        thread::spawn({
            let said = Arc::clone(&said);
            move || {
                let mut hello = Some(hello);
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    said.hear(&line, &mut hello);
                }
                let mut calls = said.calls.lock().unwrap();
                calls.ended = true;
                calls.waiting.clear();
            }
        });
        let hello = timeout(ANSWER, first).await.ok().and_then(Result::ok);
        let hello = hello.unwrap_or_else(|| panic!("{name} {NEVER_STARTED}"));
        Self { process: Mutex::new(process), stdin: Mutex::new(Some(stdin)), said, hello }
    }

    /// Returns true if it has what not every language has.
    pub(crate) fn has(&self, feature: &str) -> bool {
        self.hello["features"].as_array().is_some_and(|features| features.iter().any(|known| known == feature))
    }

    /// Sends a command, whose answer can be awaited later.
    pub(crate) fn call(&self, mut command: Value) -> Call {
        let (answered, answer) = oneshot::channel();
        let id = {
            let mut calls = self.said.calls.lock().unwrap();
            calls.last += 1;
            let id = calls.last;
            if !calls.ended {
                calls.waiting.insert(id, answered);
            }
            id
        };
        command["id"] = json!(id);
        let line = format!("{command}\n");
        if let Some(stdin) = self.stdin.lock().unwrap().as_mut() {
            // If it has ended, the answer does not come, and tells so.
            let _ = stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush());
        }
        Call { id, command: line, answer }
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn ask(&self, command: Value) -> Answer {
        self.call(command).answer().await
    }

    /// Returns the notices of this kind about a lock, or of an observer, so far.
    pub(crate) fn notices(&self, kind: &str, of: &str) -> Vec<Value> {
        let notices = self.said.notices.lock().unwrap();
        let about = notices.get(of).into_iter().flatten();
        about.filter(|notice| notice["notice"] == kind).cloned().collect()
    }

    /// Returns what it wrote to stderr.
    pub(crate) fn log(&self) -> Vec<String> {
        self.process.lock().unwrap().log()
    }

    /// Returns what it said that it must not say.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.said.wrong.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.lock().unwrap().pid()
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&self) {
        self.process.lock().unwrap().kill();
    }

    /// Sends SIGSTOP. Returns when it has really stopped.
    pub(crate) async fn stop(&self) {
        let pid = self.pid();
        self.process.lock().unwrap().signal(rustix::process::Signal::STOP);
        eventually(ANSWER, "the testee stops", async || Process::is_stopped(pid)).await;
    }

    /// Sends SIGCONT.
    pub(crate) fn cont(&self) {
        self.process.lock().unwrap().cont();
    }

    /// Ends its input, and waits for its end.
    pub(crate) async fn end(&self) -> ExitStatus {
        self.stdin.lock().unwrap().take();
        let mut status = None;
        eventually(END, "the testee ends at the end of its input", async || {
            status = self.process.lock().unwrap().exit();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Said {
    fn hear(&self, line: &str, hello: &mut Option<oneshot::Sender<Value>>) {
        let Ok(mut value) = serde_json::from_str::<Value>(line) else {
            self.wrong.lock().unwrap().push(format!("not JSON: {line}"));
            return;
        };
        let waiting = value["id"].as_u64().and_then(|id| self.calls.lock().unwrap().waiting.remove(&id));
        let of = match value["notice"].as_str() {
            Some("lost" | "acting") => value["lock"].as_str(),
            Some("seen") => value["as"].as_str(),
            _ => None,
        };
        match (waiting, of.map(str::to_owned)) {
            (Some(call), _) => drop(call.send(value)),
            (None, Some(of)) => self.notices.lock().unwrap().entry(of).or_default().push(value),
            _ => match hello.take() {
                Some(hello) if value["hello"].is_object() => drop(hello.send(value["hello"].take())),
                _ => self.wrong.lock().unwrap().push(format!("nobody asked for this: {line}")),
            },
        }
    }
}

/// A command that has been sent.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: u64,
    command: String,
    answer: oneshot::Receiver<Value>,
}

impl Call {
    /// Waits for the answer.
    pub(crate) async fn answer(self) -> Answer {
        self.answer_within(ANSWER).await
    }

    /// Waits for the answer for so long.
    pub(crate) async fn answer_within(self, limit: Duration) -> Answer {
        let command = self.command.trim_end().to_owned();
        match timeout(limit, self.answer).await {
            Ok(Ok(value)) => Answer { command, value },
            Ok(Err(_)) => panic!("the testee ended before it answered {command}"),
            Err(_) => panic!("not within {limit:?}: an answer to {command}"),
        }
    }

    /// Returns true if the answer is there, or will never come.
    pub(crate) fn is_answered(&mut self) -> bool {
        !matches!(self.answer.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }
}

/// What it answered to which command.
#[derive(Debug)]
pub(crate) struct Answer {
    command: String,
    value: Value,
}

impl Answer {
    /// Returns the field with this name, which the answer must have.
    pub(crate) fn get(&self, field: &str) -> &Value {
        let value = &self.value[field];
        assert!(!value.is_null(), "no {field:?} in {} to {}", self.value, self.command);
        value
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        !self.value[field].is_null()
    }

    /// Returns the kind of the error that it must be.
    pub(crate) fn error(&self) -> &str {
        self.get("error")["kind"].as_str().expect("an error has a kind")
    }

    /// Returns the text of the error that it must be.
    pub(crate) fn message(&self) -> &str {
        self.get("error")["message"].as_str().expect("an error has a message")
    }

    /// Returns the reason for which the lock was not acquired.
    pub(crate) fn not_acquired(&self) -> &str {
        self.get("not_acquired")["reason"].as_str().expect("a reason")
    }
}
