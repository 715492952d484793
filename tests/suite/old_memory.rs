//! A memory that is not the one that a broker knew is refused and told, where a broker can see it.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::support::{Broker, Memcached, Proxy, SOON, acquire, eventually, once, open, try_acquire};
use futures_util::future::join_all;
use lockbroker::proto::GetLockRequest;
use tonic::Code;

const SHORT: [&str; 4] = ["--default-ttl", "5s", "--max-ttl", "5s"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_memcached_behind_a_balancer_grant_nothing() {
    let (one, other) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let balancer = in_turn(&one, &other).await;
    let store = format!("memcached://{}", balancer.address());
    // Each of the two is opened, so nothing but what the brokers see is in the way.
    (0..2).for_each(|_| open(&store, &SHORT));
    let arguments = [&["--store", &store], &SHORT[..], &Broker::WATCHED[..]].concat();
    // One after the other: what dials in between could lead all connections of a broker to the same memcached.
    let mut brokers = Vec::new();
    for _ in 0..2 {
        let broker = Broker::start_unready(&arguments).await;
        broker.logged("several memcached answer at its address").await;
        refuses(&broker, "an address of its own").await;
        let address = balancer.address().to_string();
        for (reason, value) in [("several_servers", 1.0), ("tokens_fell", 0.0)] {
            let labels = [("shard", &*address), ("reason", reason)];
            assert_eq!(broker.scrape().await.sum("lockbroker_shard_distrusted", &labels), value);
        }
        brokers.push(broker);
    }
    for memcached in [&one, &other] {
        assert_eq!(memcached.command("mg lockbroker:L:job").await, "EN\r\n", "it was granted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_new_memcached_behind_a_balancer_never_open() {
    let (one, other) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let balancer = in_turn(&one, &other).await;
    let store = format!("memcached://{}", balancer.address());
    let broker = Broker::start_unready(&[&["--store", &store], &SHORT[..]].concat()).await;
    broker.logged("memcached is not used").await;
    refuses(&broker, "memcached").await;
    let said = broker.log();
    assert!(!said.iter().any(|line| line.contains("grants locks")), "{said:?}");
}

/// It is compared every second or so, and so before its quarantine of 5 s is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_memcached_is_seen_before_the_first_opens() {
    let (one, other) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let proxy = Proxy::start(one.address()).await;
    let store = format!("memcached://{}", proxy.address());
    let broker = Broker::start_unready(&[&["--store", &store], &SHORT[..]].concat()).await;
    broker.logged("has lost its memory, or is new").await;
    // The broker begins with a comparison.
    tokio::time::sleep(Duration::from_millis(500)).await;
    proxy.turn_to(other.address());
    broker.logged("several memcached answer at its address").await;
    refuses(&broker, "an address of its own").await;
    let said = broker.log();
    assert!(!said.iter().any(|line| line.contains("grants locks")), "{said:?}");
}

/// Another one takes over the address, and the first goes on on the connections that it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_leads_to_another_memcached_is_not_used() {
    let (one, other) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let proxy = Proxy::start(one.address()).await;
    let store = format!("memcached://{}", proxy.address());
    open(&store, &[]);
    open(&other.store(), &[]);
    let broker = Broker::start(&["--store", &store]).await;
    let (_, _held) = acquire(&mut broker.stub().await, once("job")).await;
    proxy.turn_to(other.address());
    // More at once than go over one connection.
    let stub = broker.stub().await;
    let looks = (0..1_000).map(|number| {
        let mut stub = stub.clone();
        async move { stub.get_lock(GetLockRequest { name: format!("lock/{number}"), ..Default::default() }).await }
    });
    join_all(looks).await;
    broker.logged("several memcached answer at its address").await;
    refuses(&broker, "an address of its own").await;
    assert_eq!(other.command("mg lockbroker:L:job").await, "EN\r\n", "it was granted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_is_over_is_refused_when_it_comes_back() {
    let (first, second) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let proxy = Proxy::start(first.address()).await;
    let broker = Broker::on_store(&format!("memcached://{}", proxy.address()), &SHORT).await;
    acquire(&mut broker.stub().await, once("job")).await;
    proxy.turn_to(second.address());
    proxy.cut();
    broker.logged("has lost its memory, or is new").await;
    proxy.turn_to(first.address());
    proxy.cut();
    broker.logged("it shows a memory that was over before").await;
    refuses(&broker, "empty memory").await;
    // Its memory gone, it is as good as new.
    let mut first = first;
    first.restart().await;
    broker.ready().await;
}

#[tokio::test]
async fn a_memory_that_was_saved_earlier_is_refused_by_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let files =
        ["memory", "memory.meta"].map(|name| (folder.path().join(name), folder.path().join(name.to_owned() + ".old")));
    let memory = &files[0].0;
    let mut memcached = Memcached::start(&["-e", memory.to_str().unwrap()]).await;
    let broker = Broker::on_store(&memcached.store(), &["--allow-unsafe-store"]).await;
    let mut stub = broker.stub().await;
    let (before, stream) = acquire(&mut stub, once("job")).await;
    drop(stream);

    memcached.save_and_end().await;
    for (saved, old) in &files {
        std::fs::copy(saved, old).unwrap();
    }
    memcached.start_again().await;
    eventually(SOON, "the memory is whole", async || try_acquire(&mut stub, once("probe")).await.is_ok()).await;
    let (after, _stream) = acquire(&mut stub, once("another")).await;
    assert!(after.fencing_token > before.fencing_token);

    memcached.save_and_end().await;
    for (saved, old) in &files {
        // Into the file that memcached may write.
        std::fs::copy(old, saved).unwrap();
    }
    memcached.start_again().await;
    broker.logged("it gave a fencing token twice").await;
    refuses(&broker, "empty memory").await;
}

/// As it is where a snapshot comes back between two of the broker's looks at the counter.
#[tokio::test]
async fn a_token_is_not_given_twice() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let mut stub = broker.stub().await;
    let (_, _held) = acquire(&mut stub, once("before")).await;
    let epoch = memcached.epoch().await;
    assert_eq!(memcached.command(&format!("ma lockbroker:F:{epoch} MD D1")).await, "HD\r\n");
    try_acquire(&mut stub, once("job")).await.unwrap_err();
    broker.logged("it gave a fencing token twice").await;
    refuses(&broker, "empty memory").await;
}

/// A balancer that leads each connection to the next of the two.
async fn in_turn(one: &Memcached, other: &Memcached) -> Proxy {
    let (servers, turn) = ([one.address(), other.address()], AtomicUsize::new(0));
    Proxy::leading(move |_| Some(servers[turn.fetch_add(1, Relaxed) % 2])).await
}

/// Checks that nothing is granted, and that the answer says what to do.
async fn refuses(broker: &Broker, word: &str) {
    let status = try_acquire(&mut broker.stub().await, once("job")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("is refused") && status.message().contains(word), "{status:?}");
}
