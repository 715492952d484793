//! Locks that several have at the same time, each with a permit.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_spec::Mode;
use lockbroker::proto::{GetLockRequest, GetLockResponse, LockSpec, WaitAcquireRequest};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::Scenario;
use super::moves::{goes_on, stays};
use crate::stage::{AT_ONCE, Client, Held, Rival, Stage, is_freed};
use crate::support::*;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "permit-shared",
        "Several share a lock, each with a permit of its own. Who wants it alone gets it when they have gone, without a permit.",
        |stage| Box::pin(shared(stage)),
    ),
    Scenario::new(
        "permit-limit",
        "No more than the limit share a lock. The next gets the permit that is released, with a higher token.",
        |stage| Box::pin(limit(stage)),
    ),
    Scenario::new(
        "permit-writer",
        "Who waits for a shared lock alone keeps new ones out, gets it when those before have gone, and lets the others in then.",
        |stage| Box::pin(writer(stage)),
    ),
    Scenario::new(
        "permit-move",
        "Its broker is killed, or drains: a shared lock moves with its permit, which is not free in between.",
        |stage| Box::pin(moves(stage)),
    )
    .teeth(&["reattach"]),
    Scenario::new(
        "permit-lease",
        "A lease has a permit, which it keeps while it is renewed, goes on in another process, and becomes a lock.",
        |stage| Box::pin(lease(stage)),
    ),
];

/// The fields that ask for a permit of two. They have a label, so that every broker knows the token.
fn one_of_two() -> Value {
    json!({"limit": 2, "owner": "host 8"})
}

/// A bare stub's request for a permit of two.
fn wait_for_one_of_two(name: &str) -> WaitAcquireRequest {
    let lock = LockSpec { name: name.to_owned(), mode: Mode::Shared.into(), limit: 2, ..LockSpec::default() };
    WaitAcquireRequest { lock: Some(lock), ..wait(name) }
}

pub(super) async fn look_at(broker: &Broker, name: &str, permit: i32) -> GetLockResponse {
    let request = GetLockRequest { name: name.to_owned(), permit: Some(permit), ..GetLockRequest::default() };
    broker.stub().await.get_lock(request).await.unwrap().into_inner()
}

/// Waits until a broker knows this client, and nobody else, as the holder of its permit.
pub(super) async fn has_its_permit(broker: &Broker, name: &str, held: &Held) {
    is_known(broker, name, held.permit.expect("a permit"), held.token).await;
}

/// Waits until a broker knows the token of who has a permit. Labels, which have it, come to other brokers a little later.
pub(super) async fn is_known(broker: &Broker, name: &str, permit: i32, token: i64) {
    eventually(AT_ONCE, &format!("permit {permit} of {name:?} has the token {token}"), async || {
        let seen = look_at(broker, name, permit).await;
        assert_eq!(seen.state(), State::Held, "permit {permit} of {name:?}");
        seen.fencing_token == token
    })
    .await;
}

/// Checks the number of permits that are held: what the client says, and what a broker says.
async fn are_held(client: &Client, broker: &Broker, name: &str, count: i32) {
    let seen = look(&mut broker.stub().await, name).await;
    assert_eq!((seen.state(), seen.shared_count), (State::Held, count));
    let seen = client.ask("get", json!({"name": name})).await;
    assert_eq!((seen.get("state"), seen.get("shared_count")), (&json!("HELD"), &json!(count)));
}

fn permits<'a>(held: impl IntoIterator<Item = &'a Held>) -> BTreeSet<i32> {
    held.into_iter().map(|held| held.permit.expect("a permit")).collect()
}

async fn shared(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let fields = json!({"shared": true, "owner": "host 8"});
    let mut held = Vec::new();
    for (client, verb) in [(&client, "try"), (&client, "wait"), (&other, "enter")] {
        let (lock, call) = client.asking(verb, &name, fields.clone());
        held.push(lock.granted(&call.answer().await));
    }
    assert_eq!(permits(&held).len(), 3, "{held:?}");
    for lock in &held {
        has_its_permit(&brokers.first, &name, lock).await;
    }
    are_held(&client, &brokers.second, &name, 3).await;
    for client in [&client, &other] {
        assert_eq!(client.tries(&name).await.not_acquired(), "HELD");
    }
    let entered = held.pop().expect("it has entered");
    assert_eq!(entered.ask("leave").await.get("left"), true);
    are_held(&client, &brokers.second, &name, 2).await;
    for lock in held {
        assert!(lock.is_held().await);
        assert_eq!(other.tries(&name).await.not_acquired(), "HELD");
        lock.release().await;
    }
    let alone = other.takes(&name).await;
    assert_eq!(alone.permit, None);
    assert_eq!(client.asking("try", &name, fields).1.answer().await.not_acquired(), "HELD");
    alone.release().await;
    is_freed(&brokers.first, &name, AT_ONCE).await;
}

async fn limit(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let kept = client.takes_with(&name, one_of_two()).await;
    let given = other.takes_with(&name, one_of_two()).await;
    assert_eq!(permits([&kept, &given]), BTreeSet::from([0, 1]));
    for client in [&client, &other] {
        assert_eq!(client.asking("try", &name, one_of_two()).1.answer().await.not_acquired(), "HELD");
    }
    let (waiter, mut call) = client.asking("wait", &name, one_of_two());
    eventually(SOON, "it is in line", async || {
        queue(&mut brokers.first.stub().await, wait_for_one_of_two(&name)).await.0 == 2
    })
    .await;
    assert!(!call.is_answered());
    given.release().await;
    let waiter = waiter.granted(&call.answer_within(AT_ONCE).await);
    assert_eq!(waiter.permit, given.permit);
    assert!(waiter.token > given.token && kept.is_held().await);
    has_its_permit(&brokers.second, &name, &waiter).await;
    are_held(&other, &brokers.second, &name, 2).await;
    for (verb, limit) in [("try", 0), ("try", -1), ("wait", 4_097), ("lease", 0), ("lease", 4_097)] {
        let answer = client.asking(verb, &format!("{name}/wrong"), json!({"limit": limit})).1.answer().await;
        assert!(answer.has("error"), "{verb} with a limit of {limit}: {answer:?}");
    }
    kept.release().await;
    waiter.release().await;
    is_freed(&brokers.second, &name, AT_ONCE).await;
}

async fn writer(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let reading = json!({"shared": true});
    let first = client.takes_with(&name, reading.clone()).await;
    let (writer, mut call) = other.waits(&name);
    // The other broker is told of it by the store. No stub shows that it is in line: it would be another who wants the lock alone,
    // and one that leaves.
    eventually(SOON, "new ones are kept out", async || {
        let (lock, call) = client.asking("try", &name, reading.clone());
        let answer = call.answer().await;
        if answer.has("granted") {
            lock.granted(&answer).release().await;
            return false;
        }
        answer.not_acquired() == "HELD"
    })
    .await;
    let (second, reads) = client.asking("wait", &name, reading.clone());
    let mut reads = pin!(reads.answer());
    assert!(first.is_held().await && !call.is_answered());
    first.release().await;
    let answer = tokio::select! {
        answer = &mut reads => panic!("who came after the writer reads before it: {answer:?}"),
        answer = call.answer_within(AT_ONCE) => answer,
    };
    let writer = writer.granted(&answer);
    assert_eq!(writer.permit, None);
    assert!(writer.token > first.token);
    let early = timeout(Duration::from_millis(500), &mut reads).await;
    assert!(early.is_err(), "it reads while somebody writes: {early:?}");
    writer.release().await;
    let second = second.granted(&timeout(AT_ONCE, reads).await.expect("it reads when the writer has gone"));
    let (third, call) = other.asking("wait", &name, reading);
    let third = third.granted(&call.answer_within(AT_ONCE).await);
    assert_eq!(permits([&second, &third]).len(), 2);
    assert!(second.token > writer.token);
    second.release().await;
    third.release().await;
}

async fn moves(stage: Stage) {
    // Each takes as long as a lock outlives its holder.
    tokio::join!(moves_from(&stage, true), moves_from(&stage, false));
}

async fn moves_from(stage: &Stage, is_killed: bool) {
    let (mut brokers, name) = (Brokers::start().await, stage.name());
    let other = stage.client_of(&[brokers.second.url()]).await.takes_with(&name, one_of_two()).await;
    let lock = stage.client_of(&brokers.both()).await.takes_with(&name, one_of_two()).await;
    assert_eq!(permits([&other, &lock]), BTreeSet::from([0, 1]));
    lock.work().await;
    let rival = Rival::queue_for(&brokers.second, &name, wait_for_one_of_two(&name)).await;
    if is_killed {
        brokers.first.kill();
    } else {
        let status = brokers.first.terminate(Duration::from_secs(6)).await;
        assert!(status.success(), "{status}");
    }
    stays(&lock, &rival).await;
    has_its_permit(&brokers.second, &name, &lock).await;
    goes_on(&lock, &rival).await;
    assert_eq!(Some(rival.permit()), lock.permit);
    assert!(other.is_held().await);
}

async fn lease(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    // Less than what the renewals take.
    let mut fields = one_of_two();
    fields["ttl_ms"] = json!(7_000);
    // Before the lease, which is only good for a while: a client that connects on a busy machine may take seconds.
    let lock = other.takes_with(&name, one_of_two()).await;
    let (given, call) = client.asking("lease", &name, fields.clone());
    let given = given.granted(&call.answer().await);
    assert_eq!(permits([&given, &lock]), BTreeSet::from([0, 1]));
    let (adopted, call) = other.asking("adopt_lease", &name, json!({"lock_id": given.lock_id}));
    call.answer().await.get("renewed");
    assert_eq!(other.asking("lease", &name, fields.clone()).1.answer().await.not_acquired(), "HELD");
    let rival = Rival::queue_for(&brokers.second, &name, wait_for_one_of_two(&name)).await;
    given.ask("renew").await.get("renewed");
    // Each believes in what it has renewed itself.
    for _ in 0..5 {
        sleep(Duration::from_secs(2)).await;
        for lease in [&given, &adopted] {
            lease.ask("renew").await.get("renewed");
            assert!(lease.is_held().await && !rival.has_it());
        }
        has_its_permit(&brokers.second, &name, &given).await;
    }
    adopted.release().await;
    rival.granted(AT_ONCE).await;
    assert_eq!(Some(rival.permit()), given.permit);
    lock.release().await;
    // One that a client makes a lock of its own is told its permit again.
    fields["wait_ms"] = json!(10_000);
    let (lease, call) = client.asking("lease", &name, fields);
    let lease = lease.granted(&call.answer().await);
    let (own, call) = other.asking("adopt", &name, json!({"lock_id": lease.lock_id}));
    let own = own.granted(&call.answer().await);
    assert_eq!((own.permit, own.token), (lease.permit, lease.token));
    own.release().await;
}
