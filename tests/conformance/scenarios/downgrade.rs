//! A lock that one has alone becomes one that others share.

use serde_json::json;

use super::Scenario;
use super::permits::has_its_permit;
use crate::stage::{AT_ONCE, Client, Held, Stage, is_freed};
use crate::support::*;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "permit-downgrade",
        "Who has a lock alone shares it from then on: with the same token, a permit and a new lock id, and nobody has it alone in between.",
        |stage| Box::pin(downgrade(stage)),
    ),
    Scenario::new(
        "permit-downgrade-refused",
        "A lock that no broker shares is INVALID to share, and is held alone as before.",
        |stage| Box::pin(refused(stage)),
    ),
];

async fn is_refused(client: &Client, name: &str, is_shared: bool) {
    let fields = json!({"shared": is_shared});
    assert_eq!(client.asking("try", name, fields).1.answer().await.not_acquired(), "HELD");
}

async fn downgrade(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let alone = client.takes_with(&name, json!({"owner": "host 8"})).await;
    assert_eq!(alone.permit, None);
    is_refused(&other, &name, true).await;
    let lock = alone.downgraded(&alone.downgrade(Some(2)).await);
    assert_eq!(lock.token, alone.token);
    assert_ne!(lock.lock_id, alone.lock_id);
    has_its_permit(&brokers.second, &name, &lock).await;
    assert!(lock.is_held().await);
    let outcome = release(&mut brokers.second.stub().await, &name, &alone.lock_id).await;
    assert_ne!(outcome, Outcome::Released, "it has its old id");
    let another = other.takes_with(&name, json!({"limit": 2, "owner": "host 9"})).await;
    assert_ne!(another.permit.expect("a permit"), lock.permit.expect("a permit"));
    for client in [&client, &other] {
        is_refused(client, &name, false).await;
    }
    // It is shared already.
    let again = lock.downgraded(&lock.downgrade(None).await);
    assert_eq!((again.permit, again.lock_id), (lock.permit, lock.lock_id.clone()));
    assert!(lock.is_held().await && !lock.was_told_lost());
    lock.release().await;
    is_refused(&client, &name, false).await;
    another.release().await;
    is_freed(&brokers.second, &name, AT_ONCE).await;
    // Without a limit.
    let lock = client.takes(&name).await;
    let lock = lock.downgraded(&lock.downgrade(None).await);
    other.takes_with(&name, json!({"shared": true})).await.release().await;
    lock.release().await;
    is_freed(&brokers.second, &name, AT_ONCE).await;
}

async fn refused(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let least = client.takes_with(&name, json!({"min_hold_ms": 1_000})).await;
    let several = client.takes_with(&format!("{name}/a"), json!({"also": [format!("{name}/b")]})).await;
    let alone = client.takes(&format!("{name}/c")).await;
    let is_as_before = async |held: &Held| {
        is_refused(&other, &held.name, true).await;
        let check = held.ask("check").await;
        assert!(check.has("held") && !held.was_told_lost(), "{check:?}");
    };
    for lock in [&least, &several] {
        assert_eq!(lock.downgrade(None).await.error(), "INVALID", "{}", lock.name);
        is_as_before(lock).await;
    }
    for limit in [0, 4_097] {
        let answer = alone.downgrade(Some(limit)).await;
        assert!(answer.has("error"), "a limit of {limit}: {answer:?}");
        is_as_before(&alone).await;
    }
    // One that was refused does not keep another from being shared.
    let shared = alone.downgraded(&alone.downgrade(Some(2)).await);
    assert!(shared.permit.is_some());
    for lock in [least, several, shared] {
        lock.release().await;
        is_freed(&brokers.second, &lock.name, SOON).await;
    }
}
