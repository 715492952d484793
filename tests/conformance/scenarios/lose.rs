//! Keeping a lock, and losing it: whoever acts stops before anybody else may act.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::Scenario;
use crate::stage::{AT_ONCE, Client, FREE, Rival, Stage, TTL, is_freed};
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
        "A connection that falls silent, with no other broker: it stops before others may act.",
        |stage| Box::pin(silence(stage)),
    )
    .teeth(&["clock"]),
    Scenario::new(
        "lose-stopped",
        "A program that was stopped beyond its validity wakes up without the lock.",
        |stage| Box::pin(stopped(stage)),
    )
    .teeth(&["clock"]),
    Scenario::new(
        "lose-store",
        "A memcached that is away for longer than the lease: it stops before others may act.",
        |stage| Box::pin(store_is_away(stage)),
    )
    .teeth(&["clock"]),
    Scenario::new("lose-released", "Somebody releases the lock by its id: it is told at once.", |stage| {
        Box::pin(released(stage))
    }),
];

async fn hold(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let lock = client.takes(&name).await;
    lock.work().await;
    let rival = Rival::queue(&stage.brokers().await.second, &name).await;
    sleep(TTL + Duration::from_secs(5)).await;
    assert!(!rival.has_it() && !lock.was_told_lost());
    assert!(lock.is_held().await);
    lock.release().await;
    rival.granted(AT_ONCE).await;
    rival.judge(&lock);
}

async fn blocked_loop(stage: Stage) {
    let (testee, name) = (stage.own_testee(&[]).await, stage.name());
    let brokers = stage.brokers().await;
    let client = Client::connect(testee, &[brokers.first.url()]).await;
    let lock = client.takes(&name).await;
    let rival = Rival::queue(&brokers.second, &name).await;
    client.testee.ask(json!({"do": "block", "ms": 17_000})).await.get("ok");
    assert!(!rival.has_it() && lock.is_held().await);
    lock.release().await;
}

async fn a_thousand(stage: Stage) {
    let (client, prefix) = (stage.client().await, format!("{}/", stage.name()));
    client.takes_many(&prefix, 100).await;
    sleep(Duration::from_secs(8)).await;
    assert_eq!(client.holds_of_many(&prefix, 100).await, 1_000);
    client.close().await;
    for part in 0..10 {
        is_freed(&stage.brokers().await.first, &format!("{prefix}{part}/99"), AT_ONCE).await;
    }
}

async fn store_restarts(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let client = stage.client_of(&brokers.both()).await;
    let lock = client.takes(&name).await;
    lock.work().await;
    brokers.memcached.kill();
    sleep(Duration::from_millis(500)).await;
    brokers.memcached.start_again().await;
    sleep(TTL).await;
    assert!(!lock.was_told_lost() && lock.is_held().await);
    lock.release().await;
}

/// Its only broker's machine is without power.
async fn silence(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let proxy = Proxy::start(brokers.first.address()).await;
    let client = stage.client_of(&[format!("http://{}", proxy.address())]).await;
    let lock = client.takes(&name).await;
    lock.work().await;
    let rival = Rival::queue(&brokers.second, &name).await;
    // So that its validity has been extended once, by an ack.
    sleep(Duration::from_secs(6)).await;
    proxy.black_hole();
    rival.granted(TTL + FREE).await;
    lock.is_told_lost(AT_ONCE).await;
    rival.judge(&lock);
    lock.ask("check").await.get("lost");
}

/// When it wakes up, nobody answers: its clock alone can tell.
async fn stopped(stage: Stage) {
    let (testee, brokers, name) = (stage.own_testee(&[]).await, stage.brokers().await, stage.name());
    let proxy = Proxy::start(brokers.first.address()).await;
    let client = Client::connect(testee, &[format!("http://{}", proxy.address())]).await;
    let lock = client.takes(&name).await;
    lock.work().await;
    let rival = Rival::queue(&brokers.second, &name).await;
    client.testee.stop().await;
    rival.granted(FREE).await;
    proxy.black_hole();
    let acted = lock.acts().len();
    client.testee.cont();
    lock.is_told_lost(AT_ONCE).await;
    lock.ask("check").await.get("lost");
    // One act may have been under way when it was stopped.
    assert!(lock.acts().len() <= acted + 1, "it acted after it woke up");
    rival.judge(&lock);
}

async fn store_is_away(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let client = stage.client_of(&brokers.both()).await;
    let lock = client.takes(&name).await;
    lock.work().await;
    let rival = Rival::queue(&brokers.second, &name).await;
    brokers.memcached.stop().await;
    lock.is_told_lost(FREE).await;
    brokers.memcached.cont();
    rival.granted(FREE).await;
    rival.judge(&lock);
}

async fn released(stage: Stage) {
    let (client, brokers, name) = (stage.client().await, stage.brokers().await, stage.name());
    let lock = client.takes(&name).await;
    let outcome = release(&mut brokers.first.stub().await, &name, &lock.lock_id).await;
    assert_eq!(outcome, Outcome::Released);
    lock.is_told_lost(AT_ONCE).await;
    lock.ask("check").await.get("lost");
}
