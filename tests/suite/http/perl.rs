//! `examples/perl`: the look-alike of Cache::Memcached::Semaphore, in Perl's own processes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant};

use lockbroker::proto::get_lock_response::State;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{DOOR, call, door};
use crate::support::*;

const MS: Duration = Duration::from_millis(1);
/// The shortest ttl.
const TTL: Duration = Duration::from_secs(5);

/// Stands before each script: `say` tells the test, `pause` waits for it.
const PRELUDE: &str = "use strict; use warnings FATAL => 'all'; use feature 'say'; use Cache::Memcached::Semaphore; \
                       $| = 1; my $memd = shift; sub pause { say @_; <STDIN> // exit }";

/// A Perl that runs a script with the module.
fn perl(memd: &str, script: &str) -> Command {
    let mut command = Command::new("perl");
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/perl/lib");
    command.arg("-I").arg(library).args(["-e", &format!("{PRELUDE}\n{script}"), memd]);
    command.env_remove("LOCKBROKER_HTTP");
    command
}

/// Runs a script to its end, and returns what it said.
fn says(memd: &str, script: &str) -> String {
    let output = output(&mut perl(memd, script));
    assert!(output.status.success() && output.stderr.is_empty(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A script that pauses.
struct Script {
    process: Process,
    stdin: ChildStdin,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Script {
    fn start(memd: &str, script: &str) -> Script {
        let (process, stdin, stdout) = Process::spawn_talking("perl", &mut perl(memd, script));
        let (to, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = to.send(line);
            }
        });
        Script { process, stdin, lines }
    }

    /// Waits until it says so.
    async fn said(&mut self, expected: &str) {
        let line = timeout(2 * SOON, self.lines.recv()).await.expect("a line soon");
        assert_eq!(line.as_deref(), Some(expected));
    }

    fn go_on(&mut self) {
        writeln!(self.stdin).unwrap();
    }
}

fn address(door: std::net::SocketAddr) -> String {
    format!("http://{door}")
}

/// Each way to take a lock on the ancestor's page, with its own arguments.
#[tokio::test]
async fn each_line_of_the_ancestors_page_works() {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", folder.path().join("door").display());
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &[&DOOR[..], &["--http-listen", &socket]].concat()).await;
    let mut stub = broker.stub().await;
    for (number, memd) in [address(door(&broker).await), socket.clone()].iter().enumerate() {
        let name = |lock: &str| format!("{lock}-{number}");
        let script = r#"
            my $n = shift @ARGV;
            my $lock = Cache::Memcached::Semaphore(memd => $memd, name => "one-$n"); pause 'one' if $lock;
            $lock = undef; pause 'released';
            my $lock2 = Cache::Memcached::Semaphore(memd => $memd, name => "two-$n", timeout => 10);
            my $lock3 = acquire(memd => $memd, name => "three-$n", timeout => 10);
            my $lock4 = wait_acquire(memd => $memd, name => "four-$n", max_wait => 10, poll_time => 0.1);
            my $lock5 = Cache::Memcached::Semaphore->new(memd => $memd, name => "five-$n");
            my $lock6 = new Cache::Memcached::Semaphore(memd => $memd, name => "six-$n");
            pause join ' ', map { $_->fencing_token > 0 && !defined $_->lost } $lock2, $lock3, $lock4, $lock5, $lock6;"#
            .replace("shift @ARGV", &number.to_string());
        let mut script = Script::start(memd, &script);
        script.said("one").await;
        assert_eq!(look(&mut stub, &name("one")).await.state(), State::Held);
        script.go_on();
        script.said("released").await;
        assert_eq!(look(&mut stub, &name("one")).await.state(), State::Free);
        script.go_on();
        script.said("1 1 1 1 1").await;
        let owner = look(&mut stub, &name("four")).await.owner;
        assert!(owner.ends_with(&format!("pid {}", script.process.pid())), "{owner}");
        script.go_on();
        assert!(script.process.wait(SOON).await.success());
        assert_eq!(script.process.log(), [""; 0]);
        for lingers in ["two", "three"] {
            let seen = look(&mut stub, &name(lingers)).await;
            assert_eq!(seen.state(), State::Lingering);
            assert!(duration(seen.free_within) > 5_000 * MS, "{seen:?}");
        }
        for free in ["four", "five", "six"] {
            assert_eq!(look(&mut stub, &name(free)).await.state(), State::Free, "{free}");
        }
    }
}

#[tokio::test]
async fn a_second_process_has_it_after_the_first_and_waits_as_long_as_it_says() {
    let broker = Broker::start(&DOOR).await;
    let memd = address(door(&broker).await);
    let hold = r#"{ my $lock = acquire(memd => $memd, name => "job") or die; pause 'held'; } pause 'over';"#;
    let mut first = Script::start(&memd, hold);
    first.said("held").await;
    let other = r#"say join ' ', map { defined $_ ? 'got' : 'undef' } acquire(memd => $memd, name => "job");"#;
    assert_eq!(says(&memd, other), "undef");
    let waits = r#"my $since = Time::HiRes::time(); my $lock = wait_acquire(memd => $memd, name => "job", max_wait => 0.7);
        my $took = Time::HiRes::time() - $since; say defined $lock ? 'got' : $took >= 0.65 && $took < 3 ? 'undef' : $took;"#;
    assert_eq!(says(&memd, waits), "undef");

    let mut next =
        Script::start(&memd, r#"my $lock = wait_acquire(memd => $memd, name => "job"); pause $lock->fencing_token;"#);
    let waiters = json!({ "name": "job" });
    eventually(SOON, "it waits", async || {
        call(door(&broker).await, "LockAdmin/ListWaiters", &waiters).body.contains("position")
    })
    .await;
    let token = look(&mut broker.stub().await, "job").await.fencing_token;
    first.go_on();
    first.said("over").await;
    let second: i64 = timeout(SOON, next.lines.recv()).await.expect("the lock soon").unwrap().parse().unwrap();
    assert!(second > token);
}

#[tokio::test]
async fn a_lock_ends_with_its_process_in_whatever_way_and_not_with_a_child() {
    let broker = Broker::start(&DOOR).await;
    let memd = address(door(&broker).await);
    let mut stub = broker.stub().await;
    for (number, end) in
        ["exit 0", "die", "exec 'true'", "kill 9, $$", "our $kept = $lock; exit 0", "sleep 60"].iter().enumerate()
    {
        let name = format!("job-{number}");
        // The child ends before the parent says anything.
        let script = format!(
            r#"my $lock = acquire(memd => $memd, name => '{name}') or die;
            if (!fork) {{ say $lock->lost; exit }}
            wait; pause $? ? 'child failed' : defined $lock->lost ? 'lost' : 'held'; {end};"#
        );
        let mut script = Script::start(&memd, &script);
        script.said("it belongs to the parent of this process").await;
        script.said("held").await;
        assert_eq!(look(&mut stub, &name).await.state(), State::Held);
        let (_, mut waiting) = queue(&mut stub, wait(&name)).await;
        let ended = Instant::now();
        script.go_on();
        if *end == "sleep 60" {
            script.process.signal(Signal::TERM);
        }
        granted(&mut waiting).await;
        assert!(ended.elapsed() < 2_000 * MS, "{end}: {:?}", ended.elapsed());
        script.process.wait(SOON).await;
        assert_eq!(script.process.log().len(), usize::from(*end == "die"), "{end}: {:?}", script.process.log());
    }
}

/// What `$lock->lost` says, asked every 10 ms, when that is not nothing any more.
const UNTIL_LOST: &str = r#"my $lock = acquire(memd => $memd, name => "job", ttl => 5) or die; say 'held';
    select undef, undef, undef, 0.01 while !defined $lock->lost; say $lock->lost;"#;

#[tokio::test]
async fn a_lock_that_is_revoked_is_lost_and_so_is_one_whose_broker_died() {
    let mut broker = Broker::start(&DOOR).await;
    let door = door(&broker).await;
    let mut script = Script::start(&address(door), UNTIL_LOST);
    script.said("held").await;
    call(door, "LockAdmin/RevokeLock", &json!({ "name": "job" }));
    script.said("REASON_REVOKED").await;
    assert!(script.process.wait(SOON).await.success());
    eventually(2 * SOON, "it can be acquired", async || {
        look(&mut broker.stub().await, "job").await.state() == State::Free
    })
    .await;
    let mut script = Script::start(&address(door), UNTIL_LOST);
    script.said("held").await;
    broker.kill();
    script.said("the broker has closed the connection").await;
}

/// The broker says nothing. Another one could grant the lock after the ttl, and not before.
#[tokio::test]
async fn a_lock_that_nobody_renews_is_lost_before_anybody_else_can_have_it() {
    let mut broker = Broker::start(&DOOR).await;
    let started = Instant::now();
    let mut script = Script::start(&address(door(&broker).await), UNTIL_LOST);
    script.said("held").await;
    let granted = Instant::now();
    broker.stop().await;
    script.said("no renewal came in time").await;
    assert!(started.elapsed() > TTL / 3, "{:?}", started.elapsed());
    assert!(granted.elapsed() < TTL, "{:?}", granted.elapsed());
    broker.cont();
}

#[tokio::test]
async fn renewals_are_heeded_however_seldom_it_asks() {
    let broker = Broker::start(&DOOR).await;
    let memd = address(door(&broker).await);
    let script = r#"my $lock = acquire(memd => $memd, name => "job", ttl => 5) or die; sleep 6; say $lock->lost // 'held';
        say $lock->release; say $lock->lost; say !!$lock->release;"#;
    assert_eq!(says(&memd, script), "held\n1\nit was released");
    assert_eq!(look(&mut broker.stub().await, "job").await.state(), State::Free);
}

#[tokio::test]
async fn force_revokes_and_has_the_lock_when_its_holder_cannot_believe_in_it() {
    let broker = Broker::start(&DOOR).await;
    let memd = address(door(&broker).await);
    for (force, waits) in [("acquire", "force => 1"), ("wait_acquire", "max_wait => 0.2, force_after_timeout => 1")] {
        let name = format!("job-{force}");
        let mut holder = Script::start(&memd, &UNTIL_LOST.replace("job", &name));
        holder.said("held").await;
        let mut forcing = Script::start(
            &memd,
            &format!(r#"my $lock = {force}(memd => $memd, name => '{name}', {waits}); pause $lock ? 'got' : 'undef';"#),
        );
        holder.said("REASON_REVOKED").await;
        assert!(forcing.lines.try_recv().is_err(), "two holders");
        forcing.said("got").await;
    }
}

/// It revokes the lock, and does not wait for its end.
#[tokio::test]
async fn force_waits_for_as_long_as_max_wait_says() {
    let broker = Broker::start(&DOOR).await;
    let memd = address(door(&broker).await);
    let mut holder = Script::start(&memd, UNTIL_LOST);
    holder.said("held").await;
    let script =
        r#"say defined $_ ? 'got' : 'undef' for acquire(memd => $memd, name => "job", force => 1, max_wait => 0.2);"#;
    assert_eq!(says(&memd, script), "undef");
    holder.said("REASON_REVOKED").await;
}

/// Limits are one broker's.
#[tokio::test]
async fn a_broker_without_room_is_no_reason_not_to_ask_the_next() {
    let full = Broker::start(&[&DOOR[..], &["--max-locks", "1"]].concat()).await;
    let other = Broker::start(&DOOR).await;
    let [full, other] = [address(door(&full).await), address(door(&other).await)];
    let script = r#"my $lock = acquire(memd => $memd, name => 'one') or die; my @memd = ($memd);
        say !!eval { acquire(memd => \@memd, name => 'job') } || $@ =~ /resource_exhausted/ && 'full';
        push @memd, 'OTHER'; say !!acquire(memd => \@memd, name => 'job');"#;
    assert_eq!(says(&full, &script.replace("OTHER", &other)), "full\n1");
}

#[tokio::test]
async fn brokers_are_asked_in_turn_and_what_is_wrong_is_an_error() {
    let broker = Broker::start(&DOOR).await;
    let memd = address(door(&broker).await);
    let none = format!("http://127.0.0.1:{}", free_port());
    let script = format!("say !!acquire(memd => ['{none}', $memd], name => 'job');");
    assert_eq!(says(&memd, &script), "1");
    // The program that makes a memcached's client stays as it is.
    let script =
        format!("$ENV{{LOCKBROKER_HTTP}} = '{none},{memd}'; say !!acquire(memd => bless({{}}, 'Any'), name => 'job');");
    assert_eq!(says(&memd, &script), "1");
    let says_why = |call: &str| says(&memd, &format!("eval {{ {call}; 1 }} and say 'none'; print $@;"));
    for (call, why) in [
        (&*format!("acquire(memd => '{none}', name => 'job')"), "nobody answers: Connection refused"),
        ("acquire(memd => $memd, name => 'x' x 129)", "invalid_argument: lock.name: has 129 bytes, the limit is 128"),
        ("acquire(memd => $memd, name => 'job', tiemout => 10)", "there is no argument tiemout"),
        ("acquire(memd => $memd)", "a lock needs a name"),
        ("acquire(memd => {}, name => 'job')", "give the address of a broker"),
        ("acquire(memd => 'memcached:11211', name => 'job')", "is neither http://HOST:PORT nor unix:/PATH"),
        ("Cache::Memcached->new", "Cache::Memcached has no new"),
    ] {
        let said = says_why(call);
        assert!(said.contains(why), "{call}: {said}");
    }
}
