//! The list of servers changes while brokers run and locks are held: `lockbroker shard adopt`.

use std::future::IntoFuture;
use std::io::{BufRead, BufReader};
use std::ops::RangeInclusive;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker_client::{Client, Error, Guard, NotAcquired, Outcome, Reason};
use rand::RngExt;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::support::{Broker, Memcached, Proxy, SOON, eventually, lockbroker, run};

const TTL: Duration = Duration::from_secs(5);
/// Longer than a test.
const LINGER: Duration = Duration::from_secs(300);
/// The locks that are held; `LOCKBROKER_TEST_LOCKS` says how many.
const LOCKS: usize = 120;

/// Brokers, and clients that hold locks behind which others wait.
struct World {
    brokers: Vec<Broker>,
    held: Vec<Guard>,
    /// The broker of each.
    of: Vec<String>,
    rivals: Vec<JoinHandle<Guard>>,
    /// Somebody who comes new each time.
    newcomer: Client,
    come: usize,
}

impl World {
    /// Three brokers on this store; locks of many Sessions, a rival behind each, and one that lingers.
    async fn on(store: &str) -> World {
        let flags = ["--store", store, "--max-ttl", "5s", "--default-ttl", "5s"];
        crate::support::open(store, &["--max-ttl", "5s"]);
        let brokers = join_all((0..3).map(|_| Broker::start(&flags))).await;
        let locks = std::env::var("LOCKBROKER_TEST_LOCKS").map_or(LOCKS, |locks| locks.parse().expect("a number"));
        let client = |number: usize| Client::builder(brokers[number % 3].url()).ttl(TTL).connect().unwrap();
        let holders: Vec<_> = (0..locks.div_ceil(20)).map(client).collect();
        let held = (0..locks).map(|lock| acquired(&holders[lock / 20], format!("lock {lock}")));
        let held = join_all(held).await;
        let waiting: Vec<_> = (1..=locks.div_ceil(100)).map(client).collect();
        let rivals = (0..locks).map(|lock| {
            let wait = waiting[lock / 100].wait_acquire(&format!("lock {lock}")).max_wait(LINGER);
            tokio::spawn(async move { wait.into_future().await.unwrap().guard().expect("it waits for longer") })
        });
        let rivals = rivals.collect();
        let newcomer = client(1);
        let closed = newcomer.acquire("closed").linger(LINGER).await.unwrap().guard().unwrap();
        closed.release().await.unwrap();
        let of = (0..locks).map(|lock| brokers[lock / 20 % 3].url()).collect();
        World { brokers, held, of, rivals, newcomer, come: 0 }
    }

    /// Changes the servers, and sees that nobody has lost a lock or got one too early.
    async fn change(&mut self, store: &str, more: &[&str]) {
        let begun = Instant::now();
        let adopted = adopt(store, more).await;
        assert!(adopted.status.success(), "{adopted:?}");
        for guard in &self.held {
            guard.check().unwrap_or_else(|lost| panic!("{}: {lost}, {adopted:?}", guard.name()));
        }
        assert_eq!(self.rivals.iter().filter(|rival| rival.is_finished()).count(), 0);
        self.come += 1;
        self.grants((0..20).map(|name| format!("new {name} of {}", self.come))).await;
        println!("{store}: new locks after {:?}", begun.elapsed());
        let refused = self.newcomer.acquire("closed").await.unwrap();
        assert!(matches!(&refused, Outcome::NotAcquired(NotAcquired { reason: Reason::Lingering, .. })), "{refused:?}");
    }

    /// Waits until somebody who comes new is answered for each of these names.
    async fn grants(&self, names: impl Iterator<Item = String>) {
        let (names, newcomer): (Vec<_>, _) = (names.collect(), &self.newcomer);
        eventually(SOON, "all names are granted", async || {
            join_all(names.iter().map(async |name| newcomer.acquire(name).await)).await.iter().all(Result::is_ok)
        })
        .await;
    }

    /// Releases all locks, and sees that the rivals get them, with higher tokens.
    async fn ends_well(self) {
        let tokens: Vec<_> = self.held.iter().map(Guard::fencing_token).collect();
        join_all(self.held.into_iter().map(Guard::release)).await.into_iter().for_each(|done| done.unwrap());
        for (rival, token) in self.rivals.into_iter().zip(tokens) {
            let guard = tokio::time::timeout(2 * SOON, rival).await.expect("it gets the lock").unwrap();
            assert!(guard.fencing_token() > token, "{}", guard.name());
        }
        drop(self.brokers);
    }
}

async fn acquired(client: &Client, name: String) -> Guard {
    loop {
        match client.acquire(&name).await {
            Ok(granted) => return granted.guard().expect("nobody else has it"),
            // A server's clock is watched for a second.
            Err(Error::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn adopt(store: &str, more: &[&str]) -> Output {
    let mut arguments: Vec<String> = ["shard", "adopt", "--store", store].map(str::to_owned).to_vec();
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    if !more.contains(&"--max-ttl") {
        arguments.extend(["--max-ttl".to_owned(), "5s".to_owned()]);
    }
    spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap()
}

fn store(servers: &[&Memcached]) -> String {
    let addresses: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    format!("memcached://{}", addresses.join(","))
}

#[tokio::test]
async fn servers_come_and_go_and_no_lock_is_lost() {
    let [mut a, b, c] = [Memcached::start(&[]).await, Memcached::start(&[]).await, Memcached::start(&[]).await];
    let mut world = World::on(&a.store()).await;
    world.change(&store(&[&a, &b, &c]), &[]).await;
    world.change(&store(&[&b, &c]), &[]).await;
    world.change(&format!("{}=3,{}", b.store(), c.address()), &[]).await;
    // One that was in the list before has locks that others have had since.
    let refused = adopt(&store(&[&a, &c]), &[]).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("restart it, so that it is empty"), "{refused:?}");
    a.restart().await;
    world.change(&store(&[&a, &c]), &[]).await;
    world.change(&store(&[&a, &c]), &["--max-ttl", "8s"]).await;
    world.change(&store(&[&a, &c]), &["--max-ttl", "5s"]).await;
    world.ends_well().await;
}

/// Until no lock is held for longer, nothing changes; meanwhile nobody gets another one (R26).
#[tokio::test]
async fn max_ttl_is_lowered_to_what_no_lock_exceeds() {
    let server = Memcached::start(&[]).await;
    let (store, before) = (server.store(), 2 * TTL);
    crate::support::open(&store, &["--max-ttl", "10s"]);
    let broker = Broker::start(&["--store", &store, "--max-ttl", "10s", "--default-ttl", "5s"]).await;
    let client = |ttl| Client::builder(broker.url()).ttl(ttl).connect().unwrap();
    let (short, long) = (client(TTL), client(before));
    let (stays, goes) = (acquired(&short, "stays".into()).await, acquired(&long, "goes".into()).await);
    let adopter = tokio::spawn(async move { adopt(&store, &["--max-ttl", "5s"]).await });
    broker.logged("the servers are to change").await;
    tokio::time::sleep(before + TTL).await;
    assert!(!adopter.is_finished() && goes.check().is_ok());
    let refused = long.acquire("another").await.unwrap_err();
    assert!(refused.to_string().contains("the longest ttl is 5s"), "{refused}");
    goes.release().await.unwrap();
    let adopted = adopter.await.unwrap();
    assert!(adopted.status.success() && stays.check().is_ok(), "{adopted:?}");
    eventually(SOON, "new locks are granted", async || short.acquire("another").await.is_ok()).await;
    let refused = long.acquire("a third one").await.unwrap_err();
    assert!(refused.to_string().contains("the longest ttl is 5s"), "{refused}");
    stays.release().await.unwrap();
}

#[tokio::test]
async fn one_memcached_under_two_names_is_refused() {
    let server = Memcached::start(&[]).await;
    let world = World::on(&server.store()).await;
    let proxy = Proxy::start(server.address()).await;
    let renamed = [format!("memcached://{}", proxy.address()), format!("{},{}", server.store(), proxy.address())];
    for store in renamed {
        let refused = adopt(&store, &[]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("the same memcached"), "{refused:?}");
    }
    world.ends_well().await;
}

/// What is noted as dead only when a change is run again is heard of all the same.
#[tokio::test]
async fn a_server_that_dies_for_good_in_a_change_is_left_behind() {
    let [a, mut b, c] = [Memcached::start(&[]).await, Memcached::start(&[]).await, Memcached::start(&[]).await];
    let world = World::on(&store(&[&a, &b])).await;
    let next = store(&[&a, &c]);
    let mut adopter = lockbroker(&["shard", "adopt", "--max-ttl", "5s", "--store", &next]);
    let mut adopter = adopter.stdout(Stdio::null()).spawn().unwrap();
    world.brokers[0].logged("the servers are to change").await;
    adopter.kill().unwrap();
    adopter.wait().unwrap();
    b.kill();
    let adopted = adopt(&next, &["--dead", &b.address().to_string()]).await;
    assert!(adopted.status.success(), "{adopted:?}");
    world.grants((0..40).map(|name| format!("after {name}"))).await;
}

/// A broker that is started with the new list before the change has begun opens a new server by itself. Nobody follows to that.
#[tokio::test]
async fn a_broker_with_a_list_of_others_draws_nobody_along() {
    let [a, mut b] = [Memcached::start(&[]).await, Memcached::start(&[]).await];
    let mut world = World::on(&a.store()).await;
    let early = Broker::start_unready(&["--store", &b.store(), "--max-ttl", "5s", "--default-ttl", "5s"]).await;
    let adopter = tokio::spawn({
        let (next, from) = (b.store(), a.address().to_string());
        async move { adopt(&next, &["--from", &from]).await }
    });
    world.brokers[0].logged("the servers are to change").await;
    b.restart().await;
    early.ready().await;
    let adopted = adopter.await.unwrap();
    // Whatever comes of the change, nobody has moved to what the early one has opened.
    for guard in &world.held {
        guard.check().unwrap_or_else(|lost| panic!("{}: {lost}, {adopted:?}", guard.name()));
    }
    assert_eq!(world.rivals.iter().filter(|rival| rival.is_finished()).count(), 0, "{adopted:?}");
    world.held.clear();
}

#[tokio::test]
async fn the_only_server_is_replaced() {
    let [old, new] = [Memcached::start(&[]).await, Memcached::start(&[]).await];
    let mut world = World::on(&old.store()).await;
    let unnamed = adopt(&new.store(), &[]).await;
    assert!(!unnamed.status.success() && String::from_utf8_lossy(&unnamed.stderr).contains("--from"), "{unnamed:?}");
    world.change(&new.store(), &["--from", &old.address().to_string()]).await;
    drop(old);
    // What was in force before is needed no more.
    world.change(&new.store(), &["--max-ttl", "6s"]).await;
    world.ends_well().await;
}

/// The lines of an adopter at which it is killed, and the pause after them. Between two flips nothing is said.
const DIES_AT: [(&str, RangeInclusive<u64>); 7] = [
    ("", 0..=60),
    ("prepared", 0..=0),
    ("can follow", 0..=0),
    ("can follow", 250..=270),
    ("the servers change now", 0..=0),
    ("copied", 0..=0),
    ("locks are granted again", 0..=5_000),
];

/// `LOCKBROKER_TEST_CHANGES` says in how many changes.
#[tokio::test]
async fn an_adopter_that_dies_at_any_step_is_run_again() {
    let [a, b, c] = [Memcached::start(&[]).await, Memcached::start(&[]).await, Memcached::start(&[]).await];
    let mut world = World::on(&store(&[&a, &b])).await;
    let weights = |weight| format!("{}={weight},{},{}", a.store(), b.address(), c.address());
    let changes = std::env::var("LOCKBROKER_TEST_CHANGES").map_or(1, |changes| changes.parse().expect("a number"));
    for change in 0..changes {
        let next = weights(2 + change % 2);
        for step in 0..DIES_AT.len() {
            let next = next.clone();
            spawn_blocking(move || adopt_and_die(&next, step, &[])).await.unwrap();
        }
        world.change(&next, &[]).await;
    }
    world.ends_well().await;
}

/// The fences of an epoch that was opened by a machine whose clock was ahead. Nobody finds them after the flip.
#[tokio::test]
async fn tokens_go_on_rising_though_an_adopter_dies_after_the_flip() {
    let [old, new] = [Memcached::start(&[]).await, Memcached::start(&[]).await];
    crate::support::open(&old.store(), &["--max-ttl", "5s"]);
    let broker = Broker::start(&["--store", &old.store(), "--max-ttl", "5s", "--default-ttl", "5s"]).await;
    let hour = Duration::from_secs(3_600).as_micros();
    let raised = old.command(&format!("ma lockbroker:F:{} MI D{hour}", old.epoch().await)).await;
    assert_eq!(raised, "HD\r\n");
    let client = Client::connect(broker.url()).unwrap();
    let before = acquired(&client, "job".into()).await;
    let (store, from) = (new.store(), old.address().to_string());
    let flipped = DIES_AT.iter().position(|(line, _)| line.contains("change now")).unwrap();
    let dies = {
        let (store, from) = (store.clone(), from.clone());
        move || adopt_and_die(&store, flipped, &["--from", &from])
    };
    spawn_blocking(dies).await.unwrap();
    let adopted = adopt(&store, &["--from", &from]).await;
    assert!(adopted.status.success(), "{adopted:?}");
    let token = before.fencing_token();
    before.release().await.unwrap();
    let mut after = None;
    eventually(SOON, "the lock is granted", async || {
        after = client.acquire("job").await.ok().and_then(Outcome::guard);
        after.is_some()
    })
    .await;
    assert!(after.unwrap().fencing_token() > token);
}

/// Runs an adopter until it has come to this step or, where that is over, to a later one. Then kills it.
fn adopt_and_die(store: &str, step: usize, more: &[&str]) {
    let mut adopter = lockbroker(&["shard", "adopt", "--max-ttl", "5s", "--store", store]);
    let mut adopter = adopter.args(more).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let said = BufReader::new(adopter.stdout.take().unwrap()).lines().map_while(Result::ok);
    let has_come = |said: &String| DIES_AT[step..].iter().any(|(line, _)| said.contains(line));
    if DIES_AT[step].0.is_empty() || said.into_iter().any(|said| has_come(&said)) {
        let pause = rand::rng().random_range(DIES_AT[step].1.clone());
        std::thread::sleep(Duration::from_millis(pause));
    }
    adopter.kill().unwrap();
    adopter.wait().unwrap();
}

#[tokio::test]
async fn a_broker_that_sleeps_through_a_change_wakes_up_in_the_new_list() {
    let [a, b] = [Memcached::start(&[]).await, Memcached::start(&[]).await];
    let mut world = World::on(&a.store()).await;
    world.brokers[0].stop().await;
    // Its clients' locks are lost; nobody else's are.
    let stopped = world.brokers[0].url();
    let (lost, held): (Vec<_>, Vec<_>) =
        world.held.drain(..).zip(world.of.clone()).partition(|(_, url)| *url == stopped);
    world.held = held.into_iter().map(|(guard, _)| guard).collect();
    assert!(!lost.is_empty() && !world.held.is_empty());
    world.rivals.clear();
    world.change(&store(&[&a, &b]), &[]).await;
    let awake = Client::connect(world.brokers[1].url()).unwrap();
    for (guard, _) in &lost {
        // Its client has stopped to believe in it before anybody can get it.
        let taken = awake.wait_acquire(guard.name()).max_wait(SOON).await.unwrap();
        let is_lost = guard.check().is_err();
        assert!(is_lost || taken.guard().is_none(), "{}", guard.name());
    }
    world.brokers[0].cont();
    world.brokers[0].logged("the servers have changed").await;
    let client = Client::connect(world.brokers[0].url()).unwrap();
    for name in 0..20 {
        eventually(SOON, "it grants locks", async || client.acquire(&format!("awake {name}")).await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_server_that_dies_in_a_change_is_waited_for() {
    let [a, b, mut c] = [Memcached::start(&[]).await, Memcached::start(&[]).await, Memcached::start(&[]).await];
    let mut world = World::on(&store(&[&a, &b])).await;
    let next = store(&[&a, &c]);
    let adopter = tokio::spawn({
        let next = next.clone();
        async move { adopt(&next, &[]).await }
    });
    // The new one loses its memory when locks have moved there.
    world.brokers[0].logged("grants nothing until the change").await;
    tokio::time::sleep(TTL / 5).await;
    c.restart().await;
    assert!(adopter.await.unwrap().status.success());
    world.change(&store(&[&c]), &[]).await;
    world.ends_well().await;
}

#[tokio::test]
async fn a_server_that_is_gone_for_good_is_left_behind() {
    let [a, mut b, c] = [Memcached::start(&[]).await, Memcached::start(&[]).await, Memcached::start(&[]).await];
    let world = World::on(&store(&[&a, &b])).await;
    let dead = b.address().to_string();
    let alive = adopt(&store(&[&a, &c]), &["--dead", &dead]).await;
    assert!(String::from_utf8_lossy(&alive.stderr).contains("it is not dead"), "{alive:?}");
    b.kill();
    // Whoever says that it is dead has looked for longer.
    tokio::time::sleep(TTL).await;
    let begun = Instant::now();
    let adopted = adopt(&store(&[&a, &c]), &["--dead", &dead]).await;
    assert!(adopted.status.success(), "{adopted:?}");
    world.grants((0..40).map(|name| format!("after {name}"))).await;
    println!("a dead server: all names after {:?}", begun.elapsed());
}
