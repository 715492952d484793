//! Versions that keep a shard's state in different ways never serve it together, and say which one is needed.
//!
//! The other version's state is written by hand. That is enough, because brokers meet nowhere but in memcached: what
//! another version does to this one is an item, and what this one does to another is the item that is left there.

use std::time::Duration;

use crate::support::{
    Broker, Memcached, Proxy, SOON, acquire, after_renewals, eventually, once, open, run, try_acquire,
};
use lockbroker::proto::lock_event::Kind;
use tonic::Code;

const SHORT: [&str; 4] = ["--default-ttl", "5s", "--max-ttl", "5s"];
/// The command with which version 1 creates the state of a shard: ten digits of epoch, nine of fingerprint. memcached
/// counts the CAS.
const OLDER: &str = "ma lockbroker:S N2147480000 J1234567890987654321 D0 C18446744073709551615";
/// As a version to come may create it: what is known is that the format stands in the second and third digit.
const NEWER: &str = "ma lockbroker:S N2147480000 J10400001987654321001 D0 C18446744073709551615 E1234567890123400001";

#[tokio::test]
async fn the_state_of_an_older_version_is_refused_until_it_is_adopted() {
    let memcached = Memcached::start(&[]).await;
    // A token of the years to come, so that it is by the older epoch that the new one knows it.
    let token = 3_000_000_000_000_000;
    let fences = format!("ma lockbroker:F:1234567890 N0 J{token} D0 C18446744073709551615");
    for command in [OLDER, &fences] {
        assert_eq!(memcached.command(command).await, "HD\r\n");
    }
    let before = memcached.state().await;
    let mut broker = refused(&memcached, &["an older version of lockbroker", "lockbroker shard adopt"]).await;
    let opened = run(&["shard", "open", "--store", &memcached.store()]);
    assert_eq!(opened.status.code(), Some(1), "{opened:?}");
    assert!(String::from_utf8_lossy(&opened.stdout).contains("an older version of lockbroker"), "{opened:?}");
    // It is seen by who adopts the shard, as one of the older version is.
    eventually(SOON, "the broker is seen", async || {
        let adopted = run(&["shard", "adopt", "--stopped", "--store", &memcached.store()]);
        // Until then the shard would be adopted.
        let said = String::from_utf8_lossy(&adopted.stdout).into_owned();
        adopted.status.code() == Some(1) && said.contains(&broker.address().to_string())
    })
    .await;
    assert_eq!(memcached.state().await, before, "it was touched all the same");
    broker.kill();

    let adopted = run(&["shard", "adopt", "--stopped", "--force", "--store", &memcached.store()]);
    assert!(adopted.status.success(), "{adopted:?}");
    let broker = Broker::start(&["--store", &memcached.store()]).await;
    let (granted, _stream) = acquire(&mut broker.stub().await, once("job")).await;
    assert!(granted.fencing_token > token, "{granted:?}");
}

#[tokio::test]
async fn the_state_of_a_newer_version_is_refused_and_never_touched() {
    let memcached = Memcached::start(&[]).await;
    assert_eq!(memcached.command(NEWER).await, "HD\r\n");
    let before = memcached.state().await;
    let _broker = refused(&memcached, &["a newer version of lockbroker", "format 4", "use the newer version"]).await;
    for arguments in [&["open"][..], &["adopt", "--stopped"], &["adopt", "--stopped", "--force"]] {
        let done = run(&[&["shard"], arguments, &["--store", &memcached.store()]].concat());
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stdout).contains("a newer version of lockbroker"), "{done:?}");
    }
    assert_eq!(memcached.state().await, before);
}

/// S is flipped in place, and no note says to what. A broker that has the shard open sees it by the CAS alone.
#[tokio::test]
async fn a_shard_that_moves_on_under_a_broker_is_refused() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &SHORT).await;
    let mut stub = broker.stub().await;
    let (_, mut held) = acquire(&mut stub, once("held")).await;
    let (cas, value) = memcached.state().await;
    let flip = format!("md lockbroker:S C{cas} I E{}", 1_111_111_111_111_100_000 + cas % 100_000 + 1);
    assert_eq!(memcached.command(&flip).await, "HD\r\n");
    // The fences of its epoch still stand. It is the witness that voids the batch, before any probe has come.
    let early = try_acquire(&mut stub, once("early")).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(memcached.command(&flip).await, "EX\r\n", "a second one of the same");
    assert_eq!(memcached.state().await, (1_111_111_111_111_100_002, value), "its value stays");

    broker.logged("its servers have changed (it is at generation 2 now)").await;
    let status = try_acquire(&mut stub, once("job")).await.unwrap_err();
    assert!(status.message().contains("lockbroker shard adopt --stopped"), "{status:?}");
    assert!(matches!(after_renewals(&mut held).await, Kind::Lost(_)));
    assert_eq!(memcached.command("mg lockbroker:L:job").await, "EN\r\n", "it was granted");
}

/// Of a broker of each version on one memcached, the one that sets the shard up after a loss has it alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_of_two_versions_never_serve_one_shard() {
    let mut memcached = Memcached::start(&[]).await;
    let proxy = Proxy::start(memcached.address()).await;
    let store = format!("memcached://{}", proxy.address());
    let broker = Broker::on_store(&store, &SHORT).await;
    let mut stub = broker.stub().await;
    acquire(&mut stub, once("job")).await;
    // The older one comes second. It creates nothing, and what it reads is not of the length that it knows.
    assert_eq!(memcached.command(OLDER).await, "EX\r\n");
    let seen = memcached.command("mg lockbroker:S u v").await;
    assert!(seen.starts_with("VA 20"), "{seen:?}");
    acquire(&mut stub, once("another job")).await;

    // It comes first, when the memory has gone: while this one cannot reach the shard.
    proxy.turn_to(([127, 0, 0, 1], 1).into());
    proxy.cut();
    memcached.restart().await;
    assert_eq!(memcached.command(OLDER).await, "HD\r\n");
    let fences = "ma lockbroker:F:1234567890 N0 J1800000000000000 D0 C18446744073709551615";
    assert_eq!(memcached.command(fences).await, "HD\r\n");
    let before = memcached.state().await;
    proxy.turn_to(memcached.address());
    broker.logged("an older version of lockbroker has set it up").await;
    for _ in 0..10 {
        let status = try_acquire(&mut stub, once("job")).await.unwrap_err();
        assert!(status.message().contains("an older version"), "{status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(memcached.command("mg lockbroker:L:job").await, "EN\r\n", "it was granted");
    assert_eq!(memcached.state().await, before);

    // With the older state gone, the shard is new.
    assert_eq!(memcached.command("md lockbroker:S").await, "HD\r\n");
    broker.logged("memcached has no lock state").await;
    open(&store, &SHORT);
    broker.ready().await;
    acquire(&mut stub, once("job")).await;
}

/// Starts a broker on this memcached, which must say why it does not use it: in the log, in its metrics, and to whoever
/// asks for a lock.
async fn refused(memcached: &Memcached, words: &[&str]) -> Broker {
    let store = memcached.store();
    let broker = Broker::start_unready(&[&["--store", &store], &Broker::WATCHED[..]].concat()).await;
    let line = broker.logged("memcached is not used").await;
    let status = try_acquire(&mut broker.stub().await, once("job")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for word in words {
        assert!(line.contains(word), "{word:?}: {line}");
        assert!(status.message().contains(word), "{word:?}: {status:?}");
    }
    let address = memcached.address().to_string();
    let state = [("shard", &*address), ("state", "refused")];
    broker.scraped("the shard is refused", |scrape| scrape.sum("lockbroker_shard_state", &state) == 1.0).await;
    assert_eq!(memcached.command("mg lockbroker:L:job").await, "EN\r\n", "it was granted");
    broker
}
