//! Moving to another broker, or to another process.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::Scenario;
use crate::stage::{AT_ONCE, Client, Held, Rival, Stage, TTL, in_line};
use crate::support::*;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "move-killed",
        "Its broker is killed: the lock moves to the next, and is not free in between.",
        |stage| Box::pin(broker_killed(stage)),
    )
    .teeth(&["reattach"]),
    Scenario::new("move-drain", "Its broker drains: the lock moves before that ends.", |stage| Box::pin(drain(stage)))
        .teeth(&["reattach"]),
    Scenario::new("move-half-open", "Its connection falls silent: the lock moves within its validity.", |stage| {
        Box::pin(half_open(stage))
    })
    .teeth(&["reattach"]),
    Scenario::new("move-reset", "Its connection is reset on both sides: the lock moves.", |stage| {
        Box::pin(reset(stage))
    })
    .teeth(&["reattach"]),
    Scenario::new(
        "move-reset-broker",
        "The broker's half of its connection is reset: the lock stays, and moves.",
        |stage| Box::pin(reset_of_broker(stage)),
    )
    .teeth(&["reattach"]),
    Scenario::new("move-reset-client", "Its own half of the connection is reset: the lock moves.", |stage| {
        Box::pin(reset_of_client(stage))
    })
    .teeth(&["reattach"]),
    Scenario::new("move-wait", "A wait goes on at the next broker.", |stage| Box::pin(a_wait(stage))),
    Scenario::new("move-adopt", "Another process adopts the lock by its id; the former holder is told.", |stage| {
        Box::pin(adopt(stage))
    }),
];

/// Waits until the lock has moved: it is held under another lock id. Nobody else had it.
async fn moved(lock: &Held, rival: &Rival, within: Duration) {
    eventually(within, "the lock is held again", async || lock.is_held().await).await;
    // Longer than the old grant lived.
    sleep(TTL + Duration::from_secs(3)).await;
    assert!(!rival.has_it(), "somebody else was granted the lock");
    assert!(!lock.was_told_lost());
    assert!(lock.is_held().await);
    lock.release().await;
    rival.granted(AT_ONCE).await;
    rival.judge(lock);
}

async fn broker_killed(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let client = stage.client_of(&brokers.both()).await;
    let lock = client.takes(&name).await;
    lock.work().await;
    let rival = Rival::queue(&brokers.second, &name).await;
    brokers.first.kill();
    moved(&lock, &rival, AT_ONCE).await;
}

async fn drain(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let client = stage.client_of(&brokers.both()).await;
    let lock = client.takes(&name).await;
    lock.work().await;
    let rival = Rival::queue(&brokers.second, &name).await;
    // It ends as soon as everybody has left it, which is long before its drain is over.
    let status = brokers.first.terminate(Duration::from_secs(6)).await;
    assert!(status.success(), "{status}");
    assert!(lock.is_held().await);
    moved(&lock, &rival, AT_ONCE).await;
}

/// A client that reaches the first broker by a proxy, and the second by another, since that is cut too.
async fn behind_proxy(stage: &Stage) -> (Proxy, Held, Rival) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let proxy = Proxy::start(brokers.first.address()).await;
    let client = stage.client_of(&[format!("http://{}", proxy.address()), brokers.second.url()]).await;
    let lock = client.takes(&name).await;
    lock.work().await;
    let rival = Rival::queue(&brokers.second, &name).await;
    // In the middle between two heartbeats.
    sleep(Duration::from_secs(2)).await;
    (proxy, lock, rival)
}

async fn half_open(stage: Stage) {
    let (proxy, lock, rival) = behind_proxy(&stage).await;
    proxy.black_hole();
    moved(&lock, &rival, AT_ONCE).await;
}

async fn reset(stage: Stage) {
    let (proxy, lock, rival) = behind_proxy(&stage).await;
    proxy.reset();
    moved(&lock, &rival, AT_ONCE).await;
}

async fn reset_of_broker(stage: Stage) {
    let (proxy, lock, rival) = behind_proxy(&stage).await;
    proxy.reset_target();
    moved(&lock, &rival, AT_ONCE).await;
}

async fn reset_of_client(stage: Stage) {
    let (proxy, lock, rival) = behind_proxy(&stage).await;
    proxy.reset_clients();
    moved(&lock, &rival, AT_ONCE).await;
}

async fn a_wait(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let holder = stage.client_of(&[brokers.second.url()]).await;
    let lock = holder.takes(&name).await;
    let client = stage.client_of(&brokers.both()).await;
    let (waiter, call) = client.waits(&name);
    in_line(&brokers.first, &name, 1).await;
    brokers.first.kill();
    in_line(&brokers.second, &name, 1).await;
    lock.release().await;
    waiter.granted(&call.answer_within(AT_ONCE).await).release().await;
}

async fn adopt(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let giver = stage.client().await;
    let given = giver.takes(&name).await;
    let taker = Client::connect(stage.own_testee(&[]).await, &[brokers.second.url()]).await;
    let (adopted, call) = taker.asking("adopt", &name, json!({"lock_id": given.lock_id}));
    let adopted = adopted.granted(&call.answer().await);
    assert_eq!(adopted.token, given.token);
    assert_ne!(adopted.lock_id, given.lock_id);
    // Its broker learns of it by its next renewal.
    given.is_told_lost(TTL).await;
    let rival = Rival::queue(&brokers.first, &name).await;
    // The end of the former holder takes nothing from the new one.
    giver.close().await;
    sleep(Duration::from_secs(1)).await;
    assert!(adopted.is_held().await && !rival.has_it());
    adopted.release().await;
    rival.granted(AT_ONCE).await;
    // A lock id that is over.
    let (_, call) = taker.asking("adopt", &name, json!({"lock_id": given.lock_id}));
    let answer = call.answer().await;
    assert!(answer.has("error") || answer.not_acquired() == "NOT_REATTACHABLE", "{answer:?}");
}
