//! What docs/security.md tells people to type does what it says.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::support::*;
use lockbroker::policy::PolicyFile;
use lockbroker::reloaded::Files;
use rustix::process::{getegid, geteuid};

const PAGE: &str = include_str!("../../docs/security.md");

/// The blocks of one language, in order.
fn blocks(language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    let rest = PAGE.split(&begin[..]).skip(1);
    rest.map(|rest| rest.split_once("```").unwrap().0.replace("\\\n", " ")).collect()
}

/// A command's arguments, after the program.
fn words(command: &str) -> Vec<&str> {
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("lockbroker"), "{command}");
    words.collect()
}

/// Runs a script in a folder; all of it has to succeed.
fn shell(folder: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// What openssl makes without an extension, which is what most pages on the web have.
#[tokio::test]
async fn a_certificate_of_version_1_is_refused_on_both_sides_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let make = blocks("sh").pop().unwrap();
    shell(folder.path(), &make.replace("-extfile tls.ext", ""));
    let files = ["--tls-cert", &at("tls.crt"), "--tls-key", &at("tls.key")];
    let output = run(&[&["serve", "--listen", "127.0.0.1:0"], &files[..]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("X.509 version 1"), "{stderr}");

    // A server that does not look at its own certificate.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-www", "-alpn", "h2", "-accept", &format!("127.0.0.1:{port}"), "-cert", &at("tls.crt")]);
    let _server = Process::spawn("openssl s_server", server.args(["-key", &at("tls.key")]));
    eventually(SOON, "it listens", async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let output = run(&["get", "--server", &format!("https://127.0.0.1:{port}"), "--tls-ca", &at("ca.crt"), "a"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(77) && stderr.contains("X.509 version 1"), "{stderr}");
    assert!(stderr.contains("docs/security.md"), "{stderr}");
}

/// As root has it on a machine where nobody knows of lockbroker: users, groups and `/run` are a copy.
#[test]
fn the_lines_for_a_socket_let_its_group_in_and_nobody_else() {
    assert!(geteuid().is_root(), "this test makes users: run it as root");
    let folder = tempfile::tempdir().unwrap();
    let [make, serve, run, ..] = &blocks("sh")[..] else { panic!("three blocks") };
    let make = make.replace("target/release/lockbroker", env!("CARGO_BIN_EXE_lockbroker"));
    let (serve, run) = (serve.trim_end(), run.trim_end().replace("./bill", "true"));
    let script = format!(
        "cp -a /etc etc
         mount --bind etc /etc
         mount -t tmpfs tmpfs /run
         mount -t tmpfs tmpfs /usr/local/bin
         useradd alice
         {make}
         {serve} &
         until [ -S /run/lockbroker/lb.sock ]; do kill -0 $!; sleep 0.05; done
         runuser -u alice -- {run}
         code=0
         runuser -u nobody -- {run} || code=$?
         [ $code = 69 ]"
    );
    let mut unshare = Command::new("unshare");
    // With the first process ends the broker.
    unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    unshare.args(["sh", "-exc", &script]).current_dir(folder.path());
    let output = output(&mut unshare);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_page_works_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let [_, serve_socket, run_socket, serve_tls, run_tls, make] = &blocks("sh")[..] else { panic!("six blocks") };
    let serve_socket = serve_socket.replace("runuser -u lockbroker -- ", "");
    shell(folder.path(), &make.replace("broker.example.org", "localhost"));
    let [rules, quotas] = &blocks("toml")[..] else { panic!("rules and quotas") };
    let policy = format!("{rules}{quotas}");
    fs::write(at("policy.toml"), &policy).unwrap();
    PolicyFile(at("policy.toml").into()).make(&policy.into_bytes()).unwrap();

    // This machine's places for the page's.
    let memcached = Memcached::start(&[]).await;
    open(&memcached.store(), &[]);
    let here = |command: &str, broker: &str| {
        let replacements = [
            ("/etc/lockbroker/", format!("{}/", folder.path().display())),
            ("/run/lockbroker/", format!("{}/", folder.path().display())),
            ("--socket-group lockbroker", format!("--socket-group {}", getegid().as_raw())),
            ("0.0.0.0:28551", "127.0.0.1:0".to_owned()),
            ("broker.example.org:28551", broker.to_owned()),
            ("memcached://10.0.0.5:11211", memcached.store()),
            ("./bill", "true".to_owned()),
        ];
        replacements.iter().fold(command.to_owned(), |command, (there, here)| command.replace(there, here))
    };
    let run_here = |command: &str, broker: &str| run(&words(&here(command, broker)));

    let serve = here(&serve_socket, "");
    let _on_socket = Broker::start(&words(&serve)[1..]).await;
    assert!(run_here(run_socket, "").status.success());

    let serve = here(serve_tls, "");
    // `--listen` is given by the support code as well; the broker logs that one first.
    let on_tls = Broker::start_unready(&words(&serve)[1..]).await;
    let address = format!("localhost:{}", on_tls.address().port());
    // The store may not be connected yet.
    eventually(SOON, "a lock is granted", async || run_here(run_tls, &address).status.success()).await;
    let denied = run_here(&run_tls.replace("billing/nightly", "payroll/nightly"), &address);
    assert!(String::from_utf8_lossy(&denied.stderr).contains("not allowed"), "{denied:?}");
    let nameless = run_here(&run_tls.replace("client.", "tls."), &address);
    assert_eq!(nameless.status.code(), Some(77), "{nameless:?}");
}
