//! Several locks together: all or none, for one guard.

use std::sync::Mutex;
use std::time::Duration;

use lockbroker::proto::get_lock_response::State;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Scenario;
use super::moves::{goes_on, stays};
use crate::stage::{AT_ONCE, Client, FREE, Held, Rival, Stage, TTL, is_free, is_freed};
use crate::support::*;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "together-held",
        "Several locks are had together: each is closed to others, with an id and a token of its own, and all are released together.",
        |stage| Box::pin(held(stage)),
    )
    .teeth(&["release"]),
    Scenario::new(
        "together-refused",
        "Somebody else has one of several: the client has none of them, and is told which. Too many, or too long, are not sent.",
        |stage| Box::pin(refused(stage)),
    ),
    Scenario::new(
        "together-wait",
        "Two want the same locks in another order, again and again: nobody waits in a circle, and the tokens rise.",
        |stage| Box::pin(wait_in_turn(stage)),
    ),
    Scenario::new(
        "together-lost",
        "One of several is lost: all are. The others stay closed until their holder can believe in them no more.",
        |stage| Box::pin(lost(stage)),
    ),
    Scenario::new(
        "together-move",
        "Their broker is killed, or drains: all move, with new ids and the same tokens, and none is free in between.",
        |stage| Box::pin(moves(stage)),
    )
    .teeth(&["reattach"]),
];

/// Returns the names of three locks, of which the first sorts last.
fn three(name: &str) -> [String; 3] {
    ["c", "a", "b"].map(|which| format!("{name}/{which}"))
}

/// Returns the fields that ask for other locks too.
fn with(others: &[String]) -> Value {
    json!({"also": others, "owner": "host 8"})
}

/// Returns all locks of a guard that was asked for with these names: the name and the token of each, its id, and its permit.
fn all_of<'a>(held: &'a Held, names: &[String]) -> Vec<(String, i64, &'a str, Option<i32>)> {
    let first = (names[0].clone(), held.token, &*held.lock_id, held.permit);
    let also = held.also.iter().map(|also| (also.name.clone(), also.token, &*also.lock_id, also.permit));
    let all: Vec<_> = std::iter::once(first).chain(also).collect();
    assert_eq!(all.iter().map(|(name, ..)| name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    all
}

/// Checks that their broker knows the holder of each, by its token.
async fn are_held(broker: &Broker, held: &Held, names: &[String]) {
    for (name, token, ..) in all_of(held, names) {
        let seen = look(&mut broker.stub().await, &name).await;
        assert_eq!((seen.state(), seen.fencing_token), (State::Held, token), "{name}");
    }
}

async fn are_freed(broker: &Broker, names: &[String]) {
    for name in names {
        is_freed(broker, name, AT_ONCE).await;
    }
}

async fn held(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let names = three(&name);
    for verb in ["try", "wait", "enter"] {
        let (lock, call) = client.asking(verb, &names[0], with(&names[1..]));
        let lock = lock.granted(&call.answer().await);
        are_held(&brokers.first, &lock, &names).await;
        for (name, _, lock_id, permit) in all_of(&lock, &names) {
            assert_eq!(permit, None);
            assert_eq!(other.tries(&name).await.not_acquired(), "HELD");
            let of_another = names.iter().find(|&each| *each != name).expect("there are three");
            let outcome = release(&mut brokers.second.stub().await, of_another, lock_id).await;
            assert_ne!(outcome, Outcome::Released, "the id of {name} has released {of_another}");
        }
        if verb == "enter" {
            assert_eq!(lock.ask("leave").await.get("left"), true);
        } else {
            assert!(lock.is_held().await);
            lock.release().await;
        }
        are_freed(&brokers.second, &names).await;
    }
    readers(&client, &other, &names).await;
    are_freed(&brokers.second, &names).await;
}

/// Shares all of them: each has a permit.
async fn readers(client: &Client, other: &Client, names: &[String]) {
    let mut fields = with(&names[1..]);
    fields["limit"] = json!(2);
    let [first, second] =
        [client.takes_with(&names[0], fields.clone()).await, other.takes_with(&names[0], fields).await];
    for (one, another) in all_of(&first, names).into_iter().zip(all_of(&second, names)) {
        let mut permits = [one.3.expect("a permit"), another.3.expect("a permit")];
        permits.sort_unstable();
        assert_eq!(permits, [0, 1], "{}", one.0);
        assert_eq!(other.tries(&one.0).await.not_acquired(), "HELD");
    }
    first.release().await;
    second.release().await;
}

async fn refused(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let names = three(&name);
    for taken in &names {
        let lock = other.takes(taken).await;
        for (verb, reason) in [("try", "HELD"), ("wait", "MAX_WAIT"), ("enter", "MAX_WAIT")] {
            let mut fields = with(&names[1..]);
            if verb != "try" {
                fields["wait_ms"] = json!(500);
            }
            let answer = client.asking(verb, &names[0], fields).1.answer().await;
            assert_eq!(answer.not_acquired(), reason);
            assert_eq!(answer.get("not_acquired")["lock"], *taken);
            for name in names.iter().filter(|&name| name != taken) {
                assert!(is_free(&brokers.second, name).await, "{name} after {verb}");
            }
        }
        lock.release().await;
    }
    // What would end the Session, with all its locks, is not sent. Fifteen others are.
    let kept = client.takes(&name).await;
    let numbered =
        |count: usize, width: usize| (0..count).map(|number| format!("{name}/{number:0width$}")).collect::<Vec<_>>();
    for others in [numbered(16, 2), numbered(12, 300), numbered(3, 1_010)] {
        for verb in ["try", "wait"] {
            let answer = client.asking(verb, &names[0], with(&others)).1.answer().await;
            assert_eq!(answer.error(), "INVALID", "{verb} with {} others", others.len());
        }
    }
    // None of these texts is too long by itself.
    let long = numbered(4, 511 - name.len());
    let (wanted, fields) = (&long[0], json!({"also": long[1..], "owner": "o".repeat(512)}));
    assert_eq!(client.asking("try", wanted, fields).1.answer().await.error(), "INVALID");
    assert!(kept.is_held().await);
    let others = numbered(15, 2);
    let most = client.takes_with(&names[0], with(&others)).await;
    assert_eq!(most.also.len(), others.len());
    most.release().await;
    assert!(kept.is_held().await);
    kept.release().await;
}

async fn wait_in_turn(stage: Stage) {
    const TURNS: usize = 8;
    let (brokers, name) = (stage.brokers().await, stage.name());
    let [first, second] = [&brokers.first, &brokers.second].map(Broker::url);
    let [first, second] = [stage.client_of(&[first]).await, stage.client_of(&[second]).await];
    let names = ["a", "b"].map(|which| format!("{name}/{which}"));
    // The highest tokens so far. Whoever has the locks has this too.
    let tokens = Mutex::new([0; 2]);
    let take_turns = async |client: &Client, order: [usize; 2]| {
        let [wanted, other] = order.map(|at| names[at].clone());
        for _ in 0..TURNS {
            let (lock, call) = client.asking("wait", &wanted, with(std::slice::from_ref(&other)));
            let lock = lock.granted(&call.answer().await);
            {
                let mut highest = tokens.try_lock().expect("nobody else has them");
                for (at, token) in order.into_iter().zip([lock.token, lock.also[0].token]) {
                    assert!(token > highest[at], "{}: {token} after {}", names[at], highest[at]);
                    highest[at] = token;
                }
            }
            assert!(lock.is_held().await);
            lock.release().await;
        }
    };
    tokio::join!(take_turns(&first, [0, 1]), take_turns(&second, [1, 0]));
    are_freed(&brokers.first, &names).await;
}

async fn lost(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (client, other) = (stage.client().await, stage.client_of(&[brokers.second.url()]).await);
    let names = three(&name);
    // Others of the same client go on.
    let apart = client.takes(&name).await;
    let lock = client.takes_with(&names[0], with(&names[1..])).await;
    let outcome = release(&mut brokers.second.stub().await, &lock.also[1].name, &lock.also[1].lock_id).await;
    assert_eq!(outcome, Outcome::Released);
    assert!(is_free(&brokers.first, &names[2]).await);
    // Its broker learns of it by its next renewal.
    lock.is_lost("GONE", TTL).await;
    // Whatever it answers, it releases nothing: others must not have what it may still believe in.
    let answer = lock.ask("release").await;
    assert!(answer.has("lost") || answer.get("released") == false, "{answer:?}");
    sleep(Duration::from_secs(2)).await;
    for name in &names[..2] {
        assert_eq!(other.tries(name).await.not_acquired(), "HELD");
    }
    for name in &names[..2] {
        is_freed(&brokers.second, name, FREE).await;
    }
    assert!(apart.is_held().await);
    apart.release().await;
}

async fn moves(stage: Stage) {
    // Each takes as long as a lock outlives its holder.
    tokio::join!(moves_from(&stage, true), moves_from(&stage, false));
}

async fn moves_from(stage: &Stage, is_killed: bool) {
    let mut brokers = Brokers::start().await;
    let names = three(&stage.name());
    let lock = stage.client_of(&brokers.both()).await.takes_with(&names[0], with(&names[1..])).await;
    lock.work().await;
    let rival = Rival::queue(&brokers.second, &names[0]).await;
    let others = [Rival::queue(&brokers.second, &names[1]).await, Rival::queue(&brokers.second, &names[2]).await];
    if is_killed {
        brokers.first.kill();
    } else {
        let status = brokers.first.terminate(Duration::from_secs(6)).await;
        assert!(status.success(), "{status}");
    }
    stays(&lock, &rival).await;
    assert!(!others.iter().any(Rival::has_it), "somebody else was granted one of them");
    are_held(&brokers.second, &lock, &names).await;
    for (name, _, old, _) in all_of(&lock, &names) {
        let outcome = release(&mut brokers.second.stub().await, &name, old).await;
        assert_ne!(outcome, Outcome::Released, "{name} has its old id");
    }
    goes_on(&lock, &rival).await;
    for other in others {
        other.granted(AT_ONCE).await;
    }
}
