//! Several permits of one lock at once: all or none, for one guard.

use std::collections::BTreeSet;

use lockbroker::proto::lock_spec::Mode;
use lockbroker::proto::{LockSpec, WaitAcquireRequest};
use serde_json::{Value, json};

use super::Scenario;
use super::permits::{is_known, look_at};
use crate::stage::{AT_ONCE, Client, Held, Stage, is_freed};
use crate::support::*;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "permit-weight",
        "Several permits of a lock are had at once, all or none, and released together. Who waits for several has them when enough are free.",
        |stage| Box::pin(weight(stage)),
    )
    .teeth(&["release"]),
    Scenario::new(
        "permit-weight-move",
        "Its broker is killed: all its permits move, with the same numbers and tokens.",
        |stage| Box::pin(moves(stage)),
    )
    .teeth(&["reattach"]),
];

const LIMIT: i32 = 4;

/// The fields that ask for so many permits of four.
fn of_four(weight: i64) -> Value {
    json!({"limit": LIMIT, "weight": weight, "owner": "host 8"})
}

/// Returns the permits of a guard, which are its own, and their tokens.
fn permits(held: &Held, count: usize) -> Vec<(i32, i64)> {
    assert!(held.also.iter().all(|also| also.name == held.name), "{held:?}");
    let also = held.also.iter().map(|also| (also.permit, also.token));
    let all = std::iter::once((held.permit, held.token)).chain(also);
    let all: Vec<_> = all.map(|(permit, token)| (permit.expect("a permit"), token)).collect();
    let numbers: BTreeSet<i32> = all.iter().map(|&(permit, _)| permit).collect();
    assert!(numbers.len() == count && all.len() == count, "{held:?}");
    assert!(numbers.iter().all(|number| (0..LIMIT).contains(number)), "{held:?}");
    all
}

/// Waits until a broker knows this guard, and nobody else, as the holder of each of its permits.
async fn has_them(broker: &Broker, held: &Held, count: usize) {
    for (permit, token) in permits(held, count) {
        is_known(broker, &held.name, permit, token).await;
    }
}

async fn is_refused(client: &Client, name: &str, fields: Value) {
    assert_eq!(client.asking("try", name, fields).1.answer().await.not_acquired(), "HELD");
}

async fn weight(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    for verb in ["enter", "wait", "try"] {
        let (lock, call) = client.asking(verb, &name, of_four(3));
        let lock = lock.granted(&call.answer().await);
        has_them(&brokers.second, &lock, 3).await;
        is_refused(&other, &name, of_four(2)).await;
        is_refused(&other, &name, json!({})).await;
        if verb == "enter" {
            assert_eq!(lock.ask("leave").await.get("left"), true);
        } else {
            assert!(lock.is_held().await);
            lock.release().await;
        }
        is_freed(&brokers.second, &name, AT_ONCE).await;
    }
    others_have_the_rest(brokers, &name, &client, &other).await;
    // What cannot be is not sent, and costs no other lock.
    let kept = client.takes(&name).await;
    let wrong = format!("{name}/wrong");
    for weight in [0, -1, 5, 17] {
        let answer = client.asking("try", &wrong, of_four(weight)).1.answer().await;
        assert!(answer.has("error"), "a weight of {weight}: {answer:?}");
    }
    for fields in [json!({"weight": 17}), json!({"weight": 2, "also": [format!("{name}/other")]})] {
        let answer = client.asking("wait", &wrong, fields).1.answer().await;
        assert!(answer.has("error"), "{answer:?}");
    }
    assert!(kept.is_held().await);
    kept.release().await;
    is_freed(&brokers.second, &name, AT_ONCE).await;
}

/// A single one has the fourth, and who waits for two has them when three have been released.
async fn others_have_the_rest(brokers: &Brokers, name: &str, client: &Client, other: &Client) {
    let several = client.takes_with(name, of_four(3)).await;
    let single = other.takes_with(name, of_four(1)).await;
    let all: BTreeSet<_> =
        permits(&several, 3).into_iter().chain(permits(&single, 1)).map(|(permit, _)| permit).collect();
    assert_eq!(all, BTreeSet::from([0, 1, 2, 3]));
    is_refused(client, name, of_four(1)).await;
    let (waiter, mut call) = other.asking("wait", name, of_four(2));
    let lock = LockSpec { name: name.to_owned(), mode: Mode::Shared.into(), limit: LIMIT, ..LockSpec::default() };
    let one_more = WaitAcquireRequest { lock: Some(lock), ..wait(name) };
    eventually(SOON, "it is in line", async || queue(&mut brokers.second.stub().await, one_more.clone()).await.0 == 2)
        .await;
    assert!(!call.is_answered() && several.is_held().await);
    several.release().await;
    let waiter = waiter.granted(&call.answer_within(AT_ONCE).await);
    has_them(&brokers.first, &waiter, 2).await;
    assert!(permits(&waiter, 2).iter().all(|&(permit, _)| Some(permit) != single.permit), "{waiter:?}");
    waiter.release().await;
    single.release().await;
    is_freed(&brokers.first, name, AT_ONCE).await;
}

async fn moves(stage: Stage) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let other = stage.client_of(&[brokers.second.url()]).await;
    let lock = stage.client_of(&brokers.both()).await.takes_with(&name, of_four(3)).await;
    let mut etags = Vec::new();
    for (permit, _) in permits(&lock, 3) {
        etags.push((permit, look_at(&brokers.second, &name, permit).await.etag));
    }
    brokers.first.kill();
    // The etag of a permit is another one when it has a new lock id.
    eventually(SOON, "all permits have moved", async || {
        for (permit, etag) in &etags {
            if look_at(&brokers.second, &name, *permit).await.etag == *etag {
                return false;
            }
        }
        lock.is_held().await
    })
    .await;
    has_them(&brokers.second, &lock, 3).await;
    is_refused(&other, &name, of_four(2)).await;
    assert!(!lock.was_told_lost());
    lock.release().await;
    is_freed(&brokers.second, &name, AT_ONCE).await;
}
