//! The HTTP door: JSON over HTTP, mostly by curl itself.

mod access;
mod calls;
mod holds;
mod perl;
mod php;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::*;

/// Arguments for a broker with a door.
const DOOR: [&str; 2] = ["--http-listen", "127.0.0.1:0"];

const SERVICE: &str = "lockbroker.v1.LockService";
const ADMIN: &str = "lockbroker.v1.LockAdmin";

/// Where a broker has its door.
async fn door(broker: &Broker) -> SocketAddr {
    let line = broker.logged("listening for JSON over HTTP").await;
    line.split('"').find_map(|text| text.parse().ok()).unwrap_or_else(|| panic!("no address in {line}"))
}

/// The answer that curl has got.
#[derive(Debug)]
struct Got {
    status: u16,
    http: String,
    headers: String,
    body: String,
    bytes: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The reason of an error, for programs.
    fn reason(&self) -> String {
        reason_of(&self.json())
    }
}

fn reason_of(error: &Value) -> String {
    let details = error["details"].as_array().unwrap_or_else(|| panic!("no details: {error}"));
    let info = details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo").unwrap();
    info["debug"]["reason"].as_str().unwrap().to_owned()
}

/// Runs curl to its end.
fn curl(arguments: &[&str]) -> Got {
    let format = "\n%{http_version} %{http_code}";
    let output = output(Command::new("curl").args(["-sS", "-i", "--max-time", "30", "-w", format]).args(arguments));
    assert!(output.status.success(), "curl {arguments:?}: {output:?}");
    let all = output.stdout;
    let last = all.iter().rposition(|&byte| byte == b'\n').unwrap();
    let end = String::from_utf8_lossy(&all[last + 1..]).into_owned();
    let (http, status) = end.split_once(' ').unwrap();
    let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let bytes = all[head + 4..last].to_vec();
    Got {
        status: status.parse().unwrap(),
        http: http.to_owned(),
        headers: String::from_utf8_lossy(&all[..head]).to_ascii_lowercase(),
        body: String::from_utf8_lossy(&bytes).into_owned(),
        bytes,
    }
}

/// Calls a method with this JSON.
fn call(door: SocketAddr, method: &str, message: &Value) -> Got {
    curl(&["--json", &message.to_string(), &url(door, method)])
}

/// The URL of `GetLock`, or of `LockAdmin/ListLocks`.
fn url(door: impl std::fmt::Display, method: &str) -> String {
    let service = if method.contains('/') { String::new() } else { format!("{SERVICE}/") };
    let method = method.replace("LockAdmin/", &format!("{ADMIN}/"));
    format!("http://{door}/{service}{method}")
}

/// A curl that holds or waits for a lock.
struct Holding {
    process: Process,
    lines: mpsc::UnboundedReceiver<Value>,
}

impl Holding {
    fn start(door: SocketAddr, method: &str, message: &Value) -> Holding {
        Holding::with(&["--json", &message.to_string(), &url(door, method)])
    }

    fn with(arguments: &[&str]) -> Holding {
        // Where the tests run in the background, a shell may have told them to ignore the interrupt.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", "curl", "-N", "-sS"]).args(arguments);
        let (process, stdout) = Process::spawn_piped("curl", &mut command);
        let (to, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = to.send(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
            }
        });
        Holding { process, lines }
    }

    /// The next line, which must come soon; none at the end.
    async fn line(&mut self) -> Option<Value> {
        timeout(SOON, self.lines.recv()).await.expect("a line soon")
    }

    /// The next event of this kind. Skips renewals.
    async fn event(&mut self, kind: &str) -> Value {
        loop {
            let line = self.line().await.unwrap_or_else(|| panic!("the end where {kind} was expected"));
            if kind == "renewed" || line["event"]["renewed"].is_null() {
                let event = &line["event"][kind];
                assert!(event.is_object(), "{line} where {kind} was expected");
                return event.clone();
            }
        }
    }
}

/// A request for a lock.
fn lock_json(name: &str) -> Value {
    json!({ "lock": { "name": name } })
}
