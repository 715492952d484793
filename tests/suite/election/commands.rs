//! `lockbroker elect` and `lockbroker observe`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::*;

/// A command that writes lines, until it is dropped.
struct Talks {
    child: Child,
    lines: Receiver<String>,
}

impl Talks {
    fn start(mut command: Command) -> Talks {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (line, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        Talks { child, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(SOON).expect("a line soon")
    }

    /// Returns the next line that has this in it.
    fn with(&self, part: &str) -> String {
        loop {
            let line = self.next();
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Talks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn at(broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = lockbroker(&[arguments[0], "--server", &broker.url()]);
    command.args(&arguments[1..]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_runs_its_command_and_others_see_what_it_says() {
    let broker = Broker::memory().await;
    let (plain, json) = (
        Talks::start(at(&broker, &["observe", "leader"])),
        Talks::start(at(&broker, &["observe", "--json", "leader"])),
    );
    assert_eq!(plain.next(), "free");
    let free: serde_json::Value = serde_json::from_str(&json.next()).unwrap();
    assert_eq!((&free["name"], &free["state"], &free["value"]), (&"leader".into(), &"free".into(), &().into()));

    let tell = ["sh", "-c", "echo $LOCKBROKER_FENCING_TOKEN; sleep 60"];
    let elect = |value| [&["elect", "--owner", "me", "leader", "--value", value, "--"], &tell[..]].concat();
    let first = Talks::start(at(&broker, &elect("10.0.0.1:80")));
    let token = first.next();
    assert_eq!(plain.with("value"), format!("held {token} owner=\"me\" value=\"10.0.0.1:80\""));
    let held: serde_json::Value = serde_json::from_str(&json.with("10.0.0.1:80")).unwrap();
    assert_eq!((&held["state"], &held["owner"]), (&"held".into(), &"me".into()));
    assert_eq!(held["fencing_token"].to_string(), token);

    // The next one waits for as long as it takes, and leads when the first one has gone.
    let second = Talks::start(at(&broker, &elect("10.0.0.2:80")));
    drop(first);
    let next = second.next();
    assert!(next.parse::<i64>().unwrap() > token.parse().unwrap(), "{next} after {token}");
    assert_eq!(plain.with("10.0.0.2"), format!("held {next} owner=\"me\" value=\"10.0.0.2:80\""));
    drop(second);
    assert_eq!(plain.with("free"), "free");
}

#[tokio::test]
async fn the_commands_exit_code_and_wrong_values_are_told() {
    let broker = Broker::memory().await;
    let mut command = at(&broker, &["elect", "leader", "--value", "x", "--", "sh", "-c", "exit 7"]);
    assert_eq!(output(&mut command).status.code(), Some(7));
    let long = "x".repeat(1_025);
    let refused = output(&mut at(&broker, &["elect", "leader", "--value", &long, "--", "true"]));
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let refused = output(&mut at(&broker, &["elect", "leader", "--", "true"]));
    assert_eq!(refused.status.code(), Some(2), "it needs a value: {refused:?}");
}
