//! Keeping a lock, and losing it: whoever acts stops before anybody else may act.

use std::time::Duration;

use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{Lost, lost};
use serde_json::json;
use tokio::time::sleep;

use super::Scenario;
use super::odd::held;
use crate::scripted::Scripted;
use crate::stage::{ACTS_ON, AT_ONCE, Client, FREE, Held, Rival, Stage, TTL, contended, is_freed, now};
use crate::support::*;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("hold-beyond-ttl", "Heartbeats keep a lock for longer than its ttl.", |stage| Box::pin(hold(stage)))
        .teeth(&["heartbeat"]),
    Scenario::new("hold-blocked-loop", "A loop that is blocked for longer than the ttl loses no lock.", |stage| {
        Box::pin(blocked_loop(stage))
    })
    .needs("loop"),
    Scenario::new("hold-1000", "A thousand locks are held on one connection, and released.", |stage| {
        Box::pin(a_thousand(stage))
    }),
    Scenario::new("hold-store-restart", "A memcached that restarts costs no lock.", |stage| {
        Box::pin(store_restarts(stage))
    }),
    Scenario::new(
        "lose-silence",
        "Its connection falls silent, and there is no other broker: the holder stops before others may act.",
        |stage| Box::pin(silence(stage)),
    )
    .teeth(&["clock"]),
    Scenario::new("lose-closed", "Something between closes its connection: it is told of the loss at once.", |stage| {
        Box::pin(closed(stage))
    }),
    Scenario::new(
        "lose-stopped",
        "A program that was stopped beyond its validity wakes up without the lock.",
        |stage| Box::pin(stopped(stage)),
    )
    .teeth(&["clock"]),
    Scenario::new(
        "lose-store",
        "memcached is away for longer than the lease: the holder stops before others may act.",
        |stage| Box::pin(store_is_away(stage)),
    )
    .teeth(&["clock"]),
    Scenario::new("lose-released", "Somebody releases the lock by its id: it is told at once.", |stage| {
        Box::pin(released(stage))
    }),
    Scenario::new(
        "lose-revoked",
        "An operator revokes the lock: it is told at once, with REVOKED, and the client keeps its other locks.",
        |stage| Box::pin(revoked(stage)),
    ),
];

async fn hold(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let (lock, rival) = contended(&client, &name, &stage.brokers().await.second).await;
    stays_held(&lock, &rival).await;
}

/// Waits for longer than a lock stays whose holder is gone. Nobody else gets it before it is released.
async fn stays_held(lock: &Held, rival: &Rival) {
    sleep(FREE).await;
    assert!(!rival.has_it() && !lock.was_told_lost());
    assert!(lock.is_held().await);
    let since = now();
    lock.release().await;
    rival.granted(AT_ONCE).await;
    rival.judge(lock, since).await;
}

async fn blocked_loop(stage: Stage) {
    let (testee, name) = (stage.own_testee(&[]).await, stage.name());
    let brokers = stage.brokers().await;
    let client = Client::connect(testee, &[brokers.first.url()]).await;
    let lock = client.takes(&name).await;
    let rival = Rival::queue(&brokers.second, &name).await;
    client.testee.ask(json!({"do": "block", "ms": FREE.as_millis() as u64})).await.get("ok");
    assert!(!rival.has_it() && lock.is_held().await);
    lock.release().await;
}

async fn a_thousand(stage: Stage) {
    let (brokers, prefix) = (stage.brokers().await, format!("{}/", stage.name()));
    let proxy = Proxy::start(brokers.first.address()).await;
    let client = stage.client_of(&[format!("http://{}", proxy.address())]).await;
    client.takes_a_thousand(&prefix).await;
    sleep(FREE).await;
    assert_eq!(client.holds_of_a_thousand(&prefix, &brokers.second).await, (1_000, 1_000));
    assert_eq!(proxy.accepted(), 1, "connections");
    client.close().await;
    for part in 0..10 {
        for number in 0..100 {
            is_freed(&brokers.first, &format!("{prefix}{part}/{number}"), SOON).await;
        }
    }
}

async fn store_restarts(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let client = stage.client_of(&brokers.both()).await;
    let (lock, rival) = contended(&client, &name, &brokers.second).await;
    brokers.memcached.kill();
    sleep(Duration::from_millis(500)).await;
    brokers.memcached.start_again().await;
    stays_held(&lock, &rival).await;
}

/// Its only broker's machine is without power.
async fn silence(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let proxy = Proxy::start(brokers.first.address()).await;
    let client = stage.client_of(&[format!("http://{}", proxy.address())]).await;
    let (lock, rival) = contended(&client, &name, &brokers.second).await;
    // So that its validity has been extended once, by an ack.
    sleep(Duration::from_secs(6)).await;
    let since = now();
    proxy.black_hole();
    rival.granted(TTL + FREE).await;
    lock.is_lost("EXPIRED", AT_ONCE).await;
    rival.judge(&lock, since).await;
}

/// A proxy that dies speaks for its client: the broker releases at once (A10 in docs/safety.md). The client learns of it
/// from the other broker, which it asks too late.
async fn closed(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (proxy, slow) = (Proxy::start(brokers.first.address()).await, Proxy::start(brokers.second.address()).await);
    slow.delay(Duration::from_millis(500));
    let servers = [&proxy, &slow].map(|proxy| format!("http://{}", proxy.address()));
    let client = stage.client_of(&servers).await;
    let (lock, rival) = contended(&client, &name, &brokers.second).await;
    proxy.cut();
    rival.granted(AT_ONCE).await;
    lock.is_told_lost(AT_ONCE).await;
    lock.ask("check").await.get("lost");
}

/// When it wakes up, nobody answers: its clock alone can tell.
async fn stopped(stage: Stage) {
    let (testee, brokers, name) = (stage.own_testee(&[]).await, stage.brokers().await, stage.name());
    let proxy = Proxy::start(brokers.first.address()).await;
    let client = Client::connect(testee, &[format!("http://{}", proxy.address())]).await;
    let (lock, rival) = contended(&client, &name, &brokers.second).await;
    let since = now();
    client.testee.stop().await;
    proxy.black_hole();
    rival.granted(FREE).await;
    let acted = lock.acts().len();
    client.testee.cont();
    lock.is_lost("EXPIRED", AT_ONCE).await;
    // One act may have been under way when it was stopped.
    assert!(lock.acts().len() <= acted + 1, "it acted after it woke up");
    rival.judge(&lock, since).await;
}

async fn store_is_away(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let client = stage.client_of(&brokers.both()).await;
    let (lock, rival) = contended(&client, &name, &brokers.second).await;
    let since = now();
    brokers.memcached.stop().await;
    lock.is_told_lost(FREE).await;
    let acts = lock.acts();
    brokers.memcached.cont();
    rival.granted(FREE).await;
    rival.judge(&lock, since).await;
    let last = acts.iter().max().unwrap() - since;
    assert!(last < TTL.as_nanos() as i64, "it acted {} ms after the last renewal", last / 1_000_000);
}

async fn released(stage: Stage) {
    let (client, brokers, name) = (stage.client().await, stage.brokers().await, stage.name());
    let lock = client.takes(&name).await;
    let outcome = release(&mut brokers.first.stub().await, &name, &lock.lock_id).await;
    assert_eq!(outcome, Outcome::Released);
    lock.is_lost("RELEASED", AT_ONCE).await;
}

async fn revoked(stage: Stage) {
    let mut broker = Scripted::start().await;
    let (client, lock, mut session, lock_ref) = held(&stage, &mut broker).await;
    let (other, call) = client.asking("try", "other", json!({}));
    let other_ref = session.begin().await.lock_ref;
    session.grant(other_ref, "two");
    let other = other.granted(&call.answer().await);
    lock.work().await;
    session.event(lock_ref, Kind::Lost(Lost { reason: lost::Reason::Revoked.into(), ..Lost::default() }));
    lock.is_lost("REVOKED", AT_ONCE).await;
    let acts = lock.acts().len();
    assert_eq!(lock.ask("release").await.get("lost")["reason"], "REVOKED");
    assert!(other.is_held().await);
    sleep(ACTS_ON).await;
    assert_eq!(lock.acts().len(), acts, "it acts on");
}
