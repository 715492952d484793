//! The list of servers changes while brokers run and locks are held: `lockbroker shard adopt`.

use std::future::IntoFuture;
use std::process::Output;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker_client::{Client, Guard, NotAcquired, Outcome, Reason};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::support::{Broker, Memcached, SOON, eventually, run};

const TTL: Duration = Duration::from_secs(5);
/// Longer than a test.
const LINGER: Duration = Duration::from_secs(300);
/// The locks that are held; `LOCKBROKER_TEST_LOCKS` says how many.
const LOCKS: usize = 120;

/// Brokers, and clients that hold locks behind which others wait.
struct World {
    brokers: Vec<Broker>,
    held: Vec<Guard>,
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
        World { brokers, held, rivals, newcomer, come: 0 }
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
        let names: Vec<_> = (0..20).map(|name| format!("new {name} of {}", self.come)).collect();
        let newcomer = &self.newcomer;
        eventually(SOON, "new locks are granted", async || {
            join_all(names.iter().map(async |name| newcomer.acquire(name).await)).await.iter().all(Result::is_ok)
        })
        .await;
        println!("{store}: new locks after {:?}", begun.elapsed());
        let refused = newcomer.acquire("closed").await.unwrap();
        assert!(matches!(&refused, Outcome::NotAcquired(NotAcquired { reason: Reason::Lingering, .. })), "{refused:?}");
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
    client.acquire(&name).await.unwrap().guard().expect("nobody else has it")
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
    let [a, b, c] = [Memcached::start(&[]).await, Memcached::start(&[]).await, Memcached::start(&[]).await];
    let mut world = World::on(&a.store()).await;
    world.change(&store(&[&a, &b, &c]), &[]).await;
    world.change(&store(&[&b, &c]), &[]).await;
    world.change(&format!("{}=3,{}", b.store(), c.address()), &[]).await;
    // One that was in the list before is in it again, with what it has kept in its memory.
    world.change(&store(&[&a, &c]), &[]).await;
    world.change(&store(&[&a, &c]), &["--max-ttl", "8s"]).await;
    world.ends_well().await;
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
