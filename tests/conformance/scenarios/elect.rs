//! Leaders, who tell others a value, and those who observe them.

use std::time::Duration;

use lockbroker::proto::ObserveRequest;
use lockbroker::proto::observe_response::State;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::Scenario;
use crate::follower::Seen;
use crate::stage::{AT_ONCE, Held, Stage, is_free, is_freed};
use crate::support::*;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "elect-follow",
        "Who observes a lock sees that it is free, its holder's value, label and token, another value, and its end.",
        |stage| Box::pin(follow(stage)),
    )
    .teeth(&["release"]),
    Scenario::new(
        "elect-move",
        "The leader's broker is killed, or drains: its value and its token stay, the value that it gave last too.",
        |stage| Box::pin(moves(stage)),
    ),
    Scenario::new(
        "elect-next",
        "The leader resigns: the next one is seen, with its own value and a higher token, and never the first one's again.",
        |stage| Box::pin(next(stage)),
    ),
    Scenario::new(
        "elect-away",
        "memcached is away, and comes back empty: nobody is told FREE, but UNKNOWN, and then the same leader.",
        |stage| Box::pin(away(stage)),
    ),
    Scenario::new(
        "elect-observer-moves",
        "The observer's broker is killed: it goes on at another one. Without any it is told UNKNOWN, and asks again.",
        |stage| Box::pin(observer_moves(stage)),
    ),
    Scenario::new(
        "elect-refused",
        "A value that no broker takes is INVALID and not sent, and so is one for a lock that was asked for without.",
        |stage| Box::pin(refused(stage)),
    ),
];

/// What another broker does is told within this time: within 1.2 s if the store is not slow.
const POLLED: Duration = Duration::from_secs(4);

/// Returns the fields that ask for a lock with a value.
fn with(value: &str) -> Value {
    json!({"value": value, "owner": "host 8"})
}

fn is_free_there(seen: &Seen) -> bool {
    seen.state == "FREE"
}

fn is_unknown(seen: &Seen) -> bool {
    seen.state == "UNKNOWN"
}

fn has<'a>(value: &'a str) -> impl Fn(&Seen) -> bool + 'a {
    move |seen| seen.state == "HELD" && seen.value.as_deref() == Some(value)
}

/// Checks that of `told` all is about this leader, as far as anything is known.
fn are_all_of(told: &[Seen], leader: &Held) {
    for seen in told.iter().filter(|seen| !is_unknown(seen)) {
        assert_eq!((&*seen.state, seen.token.unwrap_or(leader.token)), ("HELD", leader.token), "{told:?}");
    }
}

/// Waits until a broker tells this value of the leader.
async fn is_told_by(broker: &Broker, name: &str, value: &str, leader: &Held) {
    let request = ObserveRequest { name: name.to_owned() };
    let mut told = broker.stub().await.observe(request).await.unwrap().into_inner();
    let seen = timeout(POLLED, async {
        loop {
            let seen = told.message().await.unwrap().expect("it does not end by itself");
            if seen.value.as_deref() == Some(value.as_bytes()) {
                return seen;
            }
        }
    });
    let seen = seen.await.unwrap_or_else(|_| panic!("{name}: {value:?} is not told"));
    assert_eq!((seen.state(), seen.fencing_token), (State::Held, leader.token));
}

async fn follow(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (leader, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let far = other.observes(&name).await;
    far.sees(SOON, "free", is_free_there).await;
    let lock = leader.takes_with(&name, with("http://[fe80::1]:80/größe")).await;
    let seen = far.sees(POLLED, "its value", has("http://[fe80::1]:80/größe")).await;
    assert_eq!((seen.token, &*seen.owner), (Some(lock.token), "host 8"));
    lock.updates("moved to ☃").await.get("updated");
    let seen = far.sees(POLLED, "its new value", has("moved to ☃")).await;
    assert_eq!((seen.token, &*seen.owner), (Some(lock.token), "host 8"));
    lock.release().await;
    let seen = far.sees(POLLED, "free again", is_free_there).await;
    assert_eq!((seen.value, seen.token, &*seen.owner), (None, None, ""));
    far.ends().await;

    // Its own broker tells it at once. Nothing is told twice.
    let near = leader.observes(&name).await;
    near.sees(AT_ONCE, "free", is_free_there).await;
    for verb in ["try", "wait", "enter"] {
        // An empty value is one.
        for value in [verb, ""] {
            let (lock, call) = other.asking(verb, &name, with(value));
            let lock = lock.granted(&call.answer().await);
            near.sees(POLLED, "a value", has(value)).await;
            lock.ask(if verb == "enter" { "leave" } else { "release" }).await;
            near.sees(POLLED, "free", is_free_there).await;
        }
    }
    let lock = leader.takes(&name).await;
    let seen = near.sees(AT_ONCE, "a lock without a value", |seen| seen.state == "HELD").await;
    assert_eq!(seen.value, None);
    lock.release().await;
    let told = near.told();
    assert!(told.windows(2).all(|two| two[0] != two[1]), "{told:?}");
    // One that has ended says nothing more.
    near.sees(AT_ONCE, "free", is_free_there).await;
    near.ends().await;
    let count = near.told().len();
    let lock = leader.takes_with(&name, with("unseen")).await;
    is_told_by(&brokers.second, &name, "unseen", &lock).await;
    lock.release().await;
    assert_eq!(near.told().len(), count);
}

async fn moves(stage: Stage) {
    tokio::join!(moves_from(&stage, true), moves_from(&stage, false));
}

async fn moves_from(stage: &Stage, is_killed: bool) {
    let mut brokers = Brokers::start().await;
    let (client, other) = (stage.client_of(&brokers.both()).await, stage.client_of(&[brokers.second.url()]).await);
    let name = format!("{}/{}", stage.name(), if is_killed { "killed" } else { "drained" });
    // One that is told nothing more, and one that is told meanwhile.
    let quiet = client.takes_with(&format!("{name}/quiet"), with("one")).await;
    quiet.updates("two").await.get("updated");
    let lock = client.takes_with(&name, with("one")).await;
    lock.updates("two").await.get("updated");
    let follower = other.observes(&name).await;
    follower.sees(SOON, "the value", has("two")).await;
    let since = follower.told().len();
    if is_killed {
        brokers.first.kill();
        lock.updates("three").await.get("updated");
    } else {
        let (status, updated) = tokio::join!(brokers.first.terminate(Duration::from_secs(6)), lock.updates("three"));
        assert!(status.success(), "{status}");
        updated.get("updated");
    }
    follower.sees(POLLED, "the value that it was given meanwhile", has("three")).await;
    let after = follower.told().len();
    eventually(AT_ONCE, "the locks are held again", async || lock.is_held().await && quiet.is_held().await).await;
    is_told_by(&brokers.second, &quiet.name, "two", &quiet).await;
    is_told_by(&brokers.second, &name, "three", &lock).await;
    lock.updates("four").await.get("updated");
    follower.sees(POLLED, "the value that it was given then", has("four")).await;
    quiet.updates("five").await.get("updated");
    is_told_by(&brokers.second, &quiet.name, "five", &quiet).await;
    let told = follower.told();
    are_all_of(&told[since..], &lock);
    assert!(!told[since..].iter().any(has("one")) && !told[after..].iter().any(has("two")), "{told:?}");
}

async fn next(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (one, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let follower = one.observes(&name).await;
    let first = one.takes_with(&name, with("the first")).await;
    follower.sees(SOON, "the first one", has("the first")).await;
    let (second, call) = other.asking("wait", &name, with("the second"));
    first.release().await;
    let second = second.granted(&call.answer_within(SOON).await);
    assert!(first.token < second.token);
    let seen = follower.sees(POLLED, "the second one", has("the second")).await;
    assert_eq!(seen.token, Some(second.token));
    let since = follower.told().len();
    // One that is over says nothing more.
    let answer = first.updates("the first again").await;
    assert!(answer.has("lost") || answer.has("error"), "{answer:?}");
    second.updates("the second still").await.get("updated");
    follower.sees(POLLED, "the second one still", has("the second still")).await;
    are_all_of(&follower.told()[since..], &second);
    second.release().await;
    follower.sees(POLLED, "free", is_free_there).await;
}

async fn away(stage: Stage) {
    let mut brokers = Brokers::start().await;
    let name = stage.name();
    let leader = stage.client_of(&[brokers.first.url()]).await;
    let lock = leader.takes_with(&name, with("the leader")).await;
    let followers = [leader, stage.client_of(&[brokers.second.url()]).await];
    let followers = [followers[0].observes(&name).await, followers[1].observes(&name).await];
    for follower in &followers {
        follower.sees(SOON, "the leader", has("the leader")).await;
    }
    brokers.memcached.kill();
    for follower in &followers {
        let seen = follower.sees(SOON, "that nobody knows", is_unknown).await;
        assert_eq!((seen.value, seen.token), (None, None));
    }
    brokers.memcached.start_again().await;
    for follower in &followers {
        let seen = follower.sees(3 * SOON, "the leader again", has("the leader")).await;
        assert_eq!(seen.token, Some(lock.token));
        are_all_of(&follower.told(), &lock);
    }
    assert!(lock.is_held().await);
    lock.release().await;
}

async fn observer_moves(stage: Stage) {
    let mut brokers = Brokers::start().await;
    let name = stage.name();
    let leader = stage.client_of(&[brokers.second.url()]).await;
    let lock = leader.takes_with(&name, with("one")).await;
    let follower = stage.client_of(&brokers.both()).await.observes(&name).await;
    follower.sees(SOON, "the leader", has("one")).await;
    brokers.first.kill();
    lock.updates("two").await.get("updated");
    follower.sees(SOON, "another value, from another broker", has("two")).await;
    are_all_of(&follower.told(), &lock);
    brokers.second.kill();
    follower.sees(SOON, "that nobody knows", is_unknown).await;
    // Nothing is told twice, however often brokers are asked.
    sleep(Duration::from_millis(500)).await;
    assert!(is_unknown(follower.told().last().expect("that nobody knows")), "{:?}", follower.told());
    brokers.second.start_again().await;
    follower.sees(SOON, "the lock again", |seen| !is_unknown(seen)).await;
    let told = follower.told();
    assert!(told.windows(2).all(|two| two[0] != two[1]), "{told:?}");
}

async fn refused(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let client = stage.client().await;
    let kept = client.takes(&format!("{name}/kept")).await;
    let long = "v".repeat(1_025);
    for verb in ["try", "wait", "enter"] {
        for fields in [
            with(&long),
            // 1,026 bytes, and fewer characters.
            with(&"é".repeat(513)),
            json!({"value": "v", "shared": true}),
            json!({"value": "v", "also": [format!("{name}/also")]}),
        ] {
            let what = format!("{verb} with {fields}");
            assert_eq!(client.asking(verb, &name, fields).1.answer().await.error(), "INVALID", "{what}");
            assert!(is_free(&brokers.first, &name).await, "{what}");
        }
    }
    assert_eq!(kept.updates("v").await.error(), "INVALID");
    let lock = client.takes_with(&name, with(&long[1..])).await;
    is_told_by(&brokers.second, &name, &long[1..], &lock).await;
    assert_eq!(lock.updates(&long).await.error(), "INVALID");
    lock.updates("short").await.get("updated");
    is_told_by(&brokers.second, &name, "short", &lock).await;
    // One that was lost is told so.
    assert_eq!(release(&mut brokers.first.stub().await, &name, &lock.lock_id).await, Outcome::Released);
    lock.is_told_lost(AT_ONCE).await;
    lock.updates("late").await.get("lost");
    is_freed(&brokers.first, &name, AT_ONCE).await;
    // What no lock is called cannot be observed.
    for wrong in ["", &"n".repeat(129)] {
        let follower = client.observes(wrong).await;
        assert_eq!(follower.fails(AT_ONCE).await, "INVALID");
    }
    assert!(kept.is_held().await);
    kept.release().await;
}
