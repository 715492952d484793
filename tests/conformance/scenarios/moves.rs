//! Moving to another broker, or to another process.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::Scenario;
use crate::stage::{AT_ONCE, Client, FREE, Held, Rival, Stage, TTL, contended, in_line, now};
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
        "The broker sees a reset, and the client silence: the lock is not freed, and moves.",
        |stage| Box::pin(reset_of_broker(stage)),
    )
    .teeth(&["reattach"]),
    Scenario::new("move-reset-client", "The client sees a reset, and the broker silence: the lock moves.", |stage| {
        Box::pin(reset_of_client(stage))
    })
    .teeth(&["reattach"]),
    Scenario::new("move-wait", "A wait goes on at the next broker.", |stage| Box::pin(a_wait(stage))),
    Scenario::new("move-adopt", "Another process adopts the lock by its id; the former holder is told.", |stage| {
        Box::pin(adopt(stage))
    }),
];

/// Waits until the lock is held again, and for longer than the old grant could live. Nobody else gets the lock.
pub(super) async fn moved(lock: &Held, rival: &Rival) {
    stays(lock, rival).await;
    goes_on(lock, rival).await;
}

/// Waits until the lock is held again, and for longer than the old grant could live.
pub(super) async fn stays(lock: &Held, rival: &Rival) {
    eventually(AT_ONCE, "the lock is held again", async || lock.is_held().await).await;
    sleep(FREE).await;
    assert!(!rival.has_it(), "somebody else was granted the lock");
    assert!(!lock.was_told_lost());
    assert!(lock.is_held().await);
}

/// Releases the lock, and waits until the rival has it.
pub(super) async fn goes_on(lock: &Held, rival: &Rival) {
    let since = now();
    lock.release().await;
    rival.granted(AT_ONCE).await;
    rival.judge(lock, since).await;
}

async fn broker_killed(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let client = stage.client_of(&brokers.both()).await;
    let (lock, rival) = contended(&client, &name, &brokers.second).await;
    brokers.first.kill();
    moved(&lock, &rival).await;
}

async fn drain(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let client = stage.client_of(&brokers.both()).await;
    let (lock, rival) = contended(&client, &name, &brokers.second).await;
    // It ends as soon as everybody has left it, which is long before its drain is over.
    let status = brokers.first.terminate(Duration::from_secs(6)).await;
    assert!(status.success(), "{status}");
    assert!(lock.is_held().await);
    moved(&lock, &rival).await;
}

/// A holder that reaches the first broker by a proxy, and the second directly, and its rival.
async fn behind_proxy(stage: &Stage) -> (Proxy, Held, Rival) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let proxy = Proxy::start(brokers.first.address()).await;
    let client = stage.client_of(&[format!("http://{}", proxy.address()), brokers.second.url()]).await;
    let (lock, rival) = contended(&client, &name, &brokers.second).await;
    // In the middle between two heartbeats.
    sleep(Duration::from_secs(2)).await;
    (proxy, lock, rival)
}

async fn half_open(stage: Stage) {
    let (proxy, lock, rival) = behind_proxy(&stage).await;
    proxy.black_hole();
    moved(&lock, &rival).await;
}

async fn reset(stage: Stage) {
    let (proxy, lock, rival) = behind_proxy(&stage).await;
    proxy.reset();
    moved(&lock, &rival).await;
}

async fn reset_of_broker(stage: Stage) {
    let (proxy, lock, rival) = behind_proxy(&stage).await;
    proxy.reset_target();
    moved(&lock, &rival).await;
}

async fn reset_of_client(stage: Stage) {
    let (proxy, lock, rival) = behind_proxy(&stage).await;
    proxy.reset_clients();
    moved(&lock, &rival).await;
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
    given.is_lost("TAKEN_OVER", TTL).await;
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
    assert_eq!(answer.not_acquired(), "NOT_REATTACHABLE");
}
