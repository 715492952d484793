//! `examples/php`: a lease for a cron job or a web page.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lockbroker::proto::get_lock_response::State;
use serde_json::json;
use tokio::time::timeout;

use super::{DOOR, call, door};
use crate::support::*;

/// Runs the example as a program, with these arguments.
fn php(arguments: &[&str]) -> Command {
    let mut command = Command::new(tool("LOCKBROKER_TEST_PHP", &["scripts/php"]));
    // Without what a machine has set.
    command.args(["-n", "-d", "display_errors=stderr"]).args(arguments);
    command
}

fn example() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/php/lease.php").display().to_string()
}

/// Runs other code with the example's class; `$broker` is the door's address.
fn code(door: std::net::SocketAddr, code: &str) -> Command {
    php(&["-r", &format!("require '{}'; $broker = 'http://{door}'; {code}", example())])
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

#[tokio::test]
async fn a_job_holds_its_lease_for_longer_than_the_ttl_and_gives_it_back() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &DOOR).await;
    let door = door(&broker).await;
    let mut stub = broker.stub().await;
    let work = "$l = Lease::acquire($broker, 'job', ttl: 5); echo 'held ', $l->token, PHP_EOL;
        for ($end = microtime(true) + 6; microtime(true) < $end; usleep(20000)) { $l->held() || die('lost'); } echo 'done';";
    let (mut job, stdout) = Process::spawn_piped("php", &mut code(door, work));
    let mut lines = BufReader::new(stdout).lines();
    let token = lines.next().unwrap().unwrap();
    assert_eq!(token, format!("held {}", look(&mut stub, "job").await.fencing_token));
    let refused = output(php(&["-f", &example(), "--"]).args([&format!("http://{door}"), "job", "1"]));
    assert_eq!((refused.status.code(), said(&refused)), (Some(75), "busy"));
    tokio::task::spawn_blocking(move || assert_eq!(lines.next().unwrap().unwrap(), "done")).await.unwrap();
    assert!(job.wait(SOON).await.success());
    assert_eq!(job.log(), [""; 0]);
    assert_eq!(look(&mut stub, "job").await.state(), State::Free);
    let program = output(php(&["-f", &example(), "--"]).args([&format!("http://{door}"), "job", "0.1"]));
    assert!(program.status.success() && said(&program).ends_with("done"), "{program:?}");
    assert_eq!(look(&mut stub, "job").await.state(), State::Free);
}

#[tokio::test]
async fn a_lease_is_given_back_after_a_fatal_error_too_and_a_killed_process_keeps_it_for_its_ttl() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut stub = broker.stub().await;
    for end in ["exit(0);", "throw new Exception('no');", "undefined();", "set_time_limit(1); while (true) {}"] {
        let output = output(&mut code(door, &format!("$l = Lease::acquire($broker, 'job', 1) ?? die('busy'); {end}")));
        assert_eq!(look(&mut stub, "job").await.state(), State::Free, "{end} {output:?}");
        assert_eq!(output.stderr.is_empty(), end == "exit(0);", "{output:?}");
    }
    let asked = Instant::now();
    let mut command = code(door, "$l = Lease::acquire($broker, 'job', ttl: 5); echo 'held', PHP_EOL; sleep(60);");
    let mut killed = Process::spawn_running("php", &mut command);
    killed.kill();
    let next =
        "echo Lease::acquire($broker, 'job', 2) ? 'got' : 'busy', Lease::acquire($broker, 'job', 20) ? 'got' : 'busy';";
    let next = output(&mut code(door, next));
    assert_eq!(said(&next), "busygot");
    assert!(asked.elapsed() > Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_forked_child_has_no_lease_and_does_not_end_that_of_its_parent() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut stub = broker.stub().await;
    let say = "echo $l->held() ? 'held' : 'not held', PHP_EOL;";
    for (number, end) in ["exit(0);", "$l->release(); exit(0);", "undefined();"].iter().enumerate() {
        let name = format!("job-{number}");
        // The child ends before the parent says anything.
        let work = format!(
            "$l = Lease::acquire($broker, '{name}') ?? die('busy');
            if (pcntl_fork() === 0) {{ {say} {end} }} pcntl_wait($status); {say} fgets(STDIN);"
        );
        let (mut parent, mut stdin, stdout) = Process::spawn_talking("php", &mut code(door, &work));
        let mut lines = BufReader::new(stdout).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "not held", "{end}");
        assert_eq!(lines.next().unwrap().unwrap(), "held", "{end}");
        assert_eq!(look(&mut stub, &name).await.state(), State::Held, "{end}");
        writeln!(stdin).unwrap();
        assert!(parent.wait(SOON).await.success());
        assert_eq!(look(&mut stub, &name).await.state(), State::Free, "{end}");
    }
}

#[tokio::test]
async fn a_lease_that_is_revoked_or_that_no_broker_renews_ends_the_work() {
    let mut broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let work = "$l = Lease::acquire($broker, 'NAME', ttl: 5); echo 'held', PHP_EOL; while ($l->held()) { usleep(20000); } echo 'lost', PHP_EOL;";
    let start = |name: &str| {
        let (process, stdout) = Process::spawn_piped("php", &mut code(door, &work.replace("NAME", name)));
        let mut lines = BufReader::new(stdout).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "held");
        (process, lines)
    };
    let (mut revoked, mut lines) = start("revoked");
    call(door, "LockAdmin/RevokeLock", &json!({ "name": "revoked" }));
    assert_eq!(lines.next().unwrap().unwrap(), "lost");
    assert!(revoked.wait(SOON).await.success());

    let (mut silent, mut lines) = start("silent");
    let since = Instant::now();
    broker.stop().await;
    let told = tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap());
    let told = timeout(SOON, told).await.expect("it says so soon").unwrap();
    assert_eq!(told, "lost");
    // The last renewal was at most a moment ago.
    assert!(since.elapsed() < Duration::from_millis(4_800), "{:?}", since.elapsed());
    broker.cont();
    silent.wait(SOON).await;
}

#[tokio::test]
async fn what_is_wrong_is_an_error() {
    let broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let tell = |call: &str| {
        let call = format!("try {{ {call} }} catch (LeaseError $e) {{ echo $e->getMessage(); }}");
        said(&output(&mut code(door, &call))).to_owned()
    };
    assert_eq!(tell("Lease::acquire($broker, '');"), "lock.name: must not be empty");
    let none = format!("http://127.0.0.1:{}", free_port());
    assert_eq!(tell(&format!("Lease::acquire('{none}', 'job');")), format!("no answer from {none}"));
}

/// The connection breaks when the broker has answered, and before the answer has arrived.
#[tokio::test]
async fn a_lease_whose_answer_is_lost_is_asked_for_again() {
    let broker = Broker::start(&DOOR).await;
    let proxy = Proxy::start(door(&broker).await).await;
    let mut stub = broker.stub().await;
    proxy.delay(Duration::from_secs(1));
    let work = "$l = Lease::acquire($broker, 'job') ?? die('busy'); echo $l->token, PHP_EOL; $l->release();";
    let (mut job, stdout) = Process::spawn_piped("php", &mut code(proxy.address(), work));
    eventually(SOON, "it is granted", async || look(&mut stub, "job").await.state() == State::Held).await;
    let token = look(&mut stub, "job").await.fencing_token;
    proxy.cut();
    proxy.delay(Duration::ZERO);
    let mut lines = BufReader::new(stdout).lines();
    let told = tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap());
    let told = timeout(SOON, told).await.expect("the lease soon").unwrap();
    assert_eq!(told, token.to_string());
    assert!(job.wait(SOON).await.success());
    assert_eq!(look(&mut stub, "job").await.state(), State::Free);
}
