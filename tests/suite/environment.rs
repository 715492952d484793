//! Settings from the environment: an empty one is none, unless that would be dangerous, and a wrong one is named.

use std::process::Output;

use crate::support::*;

/// The variables of `lockbroker serve` and of the client commands, as the help has them.
fn variables(arguments: &[&str]) -> Vec<String> {
    let help = run(&[arguments, &["--help"]].concat());
    // The help breaks its lines anywhere, also between `[env:` and the name.
    let text = String::from_utf8(help.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let all = text.split("[env: ").skip(1).map(|rest| rest.split(['=', ']']).next().unwrap().trim().to_owned());
    all.collect()
}

const STRICT: [&str; 11] = [
    "LOCKBROKER_SERVER",
    "LOCKBROKER_STORE",
    "LOCKBROKER_KEY_PREFIX",
    "LOCKBROKER_AUDIT",
    "LOCKBROKER_POLICY",
    "LOCKBROKER_TLS_CERT",
    "LOCKBROKER_TLS_KEY",
    "LOCKBROKER_TLS_CLIENT_CA",
    "LOCKBROKER_CLIENT_TLS_CA",
    "LOCKBROKER_CLIENT_TLS_CERT",
    "LOCKBROKER_CLIENT_TLS_KEY",
];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn an_empty_variable_is_none_and_some_must_not_be_empty() {
    let broker = Broker::memory().await;
    // What each of them does at its end when all is well: one cannot listen there, the others have an answer.
    let serve = ["serve", "--listen", "192.0.2.1:1", "--store", "memory"];
    let memcached = Memcached::start(&[]).await;
    let store = memcached.store();
    let commands: [(&[&str], &[&str], i32); 7] = [
        (&["serve"], &serve, 1),
        (&["get"], &["get", "--server", &broker.url(), "a"], 0),
        (&["run"], &["run", "--server", &broker.url(), "a", "--", "true"], 0),
        (&["health"], &["health", "--server", &broker.url()], 0),
        (
            &["bench", "cycle"],
            &["bench", "cycle", "--server", &broker.url(), "--warm-up", "0s", "--duration", "50ms"],
            0,
        ),
        (&["shard", "open"], &["shard", "open", "--store", &store], 0),
        (&["shard", "adopt", "--stopped"], &["shard", "adopt", "--stopped", "--store", &store], 0),
    ];
    for (name, arguments, well) in commands {
        let variables = variables(name);
        assert!(variables.len() >= 4, "{variables:?}");
        for variable in &variables {
            let given = variable == "LOCKBROKER_STORE" || variable == "LOCKBROKER_SERVER";
            let strict = STRICT.contains(&&**variable) && !given;
            let output = output(lockbroker(arguments).env(variable, ""));
            assert_eq!(output.status.code(), Some(if strict { 2 } else { well }), "{variable}: {output:?}");
            assert_eq!(said(&output).contains(&**variable), strict, "{variable}: {output:?}");
        }
    }
    let output = output(lockbroker(&["serve", "--listen", "192.0.2.1:1"]).env("LOCKBROKER_STORE", ""));
    assert!(
        output.status.code() == Some(2) && said(&output).contains("LOCKBROKER_STORE, which is empty"),
        "{output:?}"
    );
    let output = crate::support::output(lockbroker(&["get", "a"]).env("LOCKBROKER_SERVER", ""));
    assert!(output.status.code() == Some(2) && said(&output).contains("LOCKBROKER_SERVER"), "{output:?}");
}

#[test]
fn a_wrong_variable_is_named_and_only_that() {
    let wrong = |command: &[&str], variable: &str, value: &str| {
        let output = output(lockbroker(command).env(variable, value).env("LOCKBROKER_DRAIN", "1s"));
        assert_eq!(output.status.code(), Some(2), "{variable}: {output:?}");
        let said = said(&output);
        assert!(said.contains(variable) && !said.contains("DRAIN"), "{variable}: {said}");
    };
    wrong(&["serve"], "LOCKBROKER_MAX_TTL", "1s");
    wrong(&["serve", "--default-ttl", "20s"], "LOCKBROKER_MAX_TTL", "7s");
    wrong(&["serve"], "LOCKBROKER_LISTEN", "0.0.0.0:1");
    wrong(&["serve"], "LOCKBROKER_LOG_FORMAT", "xml");
    wrong(&["get", "a"], "LOCKBROKER_SERVER", "ftp://a");
    let files = |variable: &str| {
        let output = output(lockbroker(&["serve", "--listen", "127.0.0.1:0"]).env(variable, "/nowhere"));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said(&output).contains(variable), "{output:?}");
    };
    files("LOCKBROKER_POLICY");
    // One without the other.
    let output = output(lockbroker(&["serve"]).env("LOCKBROKER_TLS_CERT", "/nowhere"));
    assert!(output.status.code() == Some(2) && said(&output).contains("LOCKBROKER_TLS_CERT"), "{output:?}");
    // The flag wins, and then the variable is of no interest.
    let mut flag = lockbroker(&["serve", "--max-ttl", "1s"]);
    assert!(!said(&crate::support::output(flag.env("LOCKBROKER_MAX_TTL", "7s"))).contains("LOCKBROKER_MAX_TTL"));
}
