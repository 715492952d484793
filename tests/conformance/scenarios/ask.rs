//! Asking for a lock, and waiting for it.

use std::time::{Duration, Instant};

use lockbroker::proto::GetLockResponse;
use lockbroker::proto::get_lock_response::State;
use serde_json::json;
use tokio::time::sleep;

use super::Scenario;
use crate::scripted::Scripted;
use crate::stage::{AT_ONCE, Client, Rival, Stage, in_line, in_line_within, is_free, is_freed};
use crate::support::{Proxy, span};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("ask-try", "One try gets a free lock, each time with a higher token.", |stage| {
        Box::pin(a_try(stage))
    }),
    Scenario::new("ask-held", "One try at a held lock is no error: it says HELD and the holder's label.", |stage| {
        Box::pin(held(stage))
    }),
    Scenario::new("ask-self", "A client does not get a lock that it holds itself.", |stage| Box::pin(oneself(stage))),
    Scenario::new("ask-wait", "A wait gets the lock as soon as its holder releases it.", |stage| {
        Box::pin(a_wait(stage))
    }),
    Scenario::new("ask-order", "Waiters get the lock in the order in which they asked.", |stage| {
        Box::pin(order(stage))
    }),
    Scenario::new("ask-max-wait", "A wait with a limit ends then, with MAX_WAIT.", |stage| Box::pin(max_wait(stage))),
    Scenario::new("ask-cancel", "A cancelled wait leaves the line at once.", |stage| Box::pin(cancel(stage))),
    Scenario::new("ask-cancel-grant", "A cancel that crosses the grant leaves no lock behind.", |stage| {
        Box::pin(cancel_crosses_grant(stage))
    }),
    Scenario::new("ask-tasks", "While one task waits, another of the same client gets and releases locks.", |stage| {
        Box::pin(tasks(stage))
    }),
    Scenario::new("ask-linger", "After a release with linger, the lock stays closed for that long.", |stage| {
        Box::pin(linger(stage))
    }),
    Scenario::new("ask-get", "A look says whether a lock is held, and the holder's label.", |stage| {
        Box::pin(get(stage))
    }),
    Scenario::new(
        "ask-get-details",
        "A look says the holder's token, for how long it has the lock, and the etag; and that the lock was revoked.",
        |stage| Box::pin(get_details(stage)),
    ),
    Scenario::new(
        "ask-bad-input",
        "What no broker takes is INVALID, however long, and costs no other lock of the client.",
        |stage| Box::pin(bad_input(stage)),
    ),
    Scenario::new("ask-deadline", "A lock taken within a call that has a deadline outlives it.", |stage| {
        Box::pin(deadline(stage))
    })
    .needs("deadline"),
    Scenario::new("ask-stubs", "The generated stubs work beside the client, in one program.", |stage| {
        Box::pin(stubs(stage))
    }),
];

async fn a_try(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let broker = &stage.brokers().await.second;
    let first = client.takes(&name).await;
    assert!(first.is_held().await && !is_free(broker, &name).await);
    first.release().await;
    assert!(is_free(broker, &name).await);
    let second = client.takes(&name).await;
    assert!(first.token < second.token);
    second.release().await;
}

async fn held(stage: Stage) {
    let (holder, asker, name) = (stage.client().await, stage.client().await, stage.name());
    let lock = holder.takes_with(&name, json!({"owner": "host 8"})).await;
    let answer = asker.tries(&name).await;
    assert_eq!(answer.not_acquired(), "HELD");
    assert_eq!(answer.get("not_acquired")["owner"], "host 8");
    lock.release().await;
}

async fn oneself(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let lock = client.takes(&name).await;
    assert_eq!(client.tries(&name).await.not_acquired(), "HELD");
    assert!(lock.is_held().await);
    lock.release().await;
}

async fn a_wait(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let first = client.takes(&name).await;
    let (second, call) = client.waits(&name);
    in_line(&stage.brokers().await.first, &name, 1).await;
    first.release().await;
    let second = second.granted(&call.answer_within(AT_ONCE).await);
    assert!(first.token < second.token);
    second.release().await;
}

async fn order(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let broker = &stage.brokers().await.first;
    let mut holder = client.takes(&name).await;
    let mut line = Vec::new();
    for place in 1..=4 {
        line.push(client.waits(&name));
        in_line(broker, &name, place).await;
    }
    for (waiter, call) in line {
        holder.release().await;
        holder = waiter.granted(&call.answer_within(AT_ONCE).await);
    }
    holder.release().await;
}

async fn max_wait(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let lock = client.takes(&name).await;
    let start = Instant::now();
    let (_, call) = client.asking("wait", &name, json!({"wait_ms": 1_500}));
    assert_eq!(call.answer().await.not_acquired(), "MAX_WAIT");
    let took = start.elapsed();
    assert!((Duration::from_millis(1_490)..Duration::from_secs(4)).contains(&took), "it took {took:?}");
    lock.release().await;
}

async fn cancel(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let broker = &stage.brokers().await.first;
    let lock = client.takes(&name).await;
    let (_, call) = client.waits(&name);
    in_line(broker, &name, 1).await;
    client.testee.ask(json!({"do": "cancel", "call": call.id})).await.get("ok");
    call.answer_within(AT_ONCE).await.get("cancelled");
    in_line_within(AT_ONCE, broker, &name, 0).await;
    assert!(lock.is_held().await);
    lock.release().await;
}

/// The grant is on its way while the wait is cancelled. Then both at the same time, so that either may come first.
async fn cancel_crosses_grant(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let broker = &stage.brokers().await.first;
    let proxy = Proxy::start(broker.address()).await;
    let distant = stage.client_of(&[format!("http://{}", proxy.address())]).await;
    let lock = client.takes(&name).await;
    let (_, call) = distant.waits(&name);
    in_line(broker, &name, 1).await;
    proxy.delay(Duration::from_millis(400));
    lock.release().await;
    distant.testee.ask(json!({"do": "cancel", "call": call.id})).await.get("ok");
    call.answer_within(AT_ONCE).await.get("cancelled");
    is_freed(broker, &name, AT_ONCE).await;
    for round in 0..20 {
        // Not a try: the stub that `in_line` has put in line may be granted the lock before the broker hears that it left.
        let (lock, call) = client.waits(&name);
        let lock = lock.granted(&call.answer_within(AT_ONCE).await);
        let (waiter, call) = client.waits(&name);
        in_line(broker, &name, 1).await;
        let cancel = async || {
            client.testee.ask(json!({"do": "cancel", "call": call.id})).await.get("ok");
        };
        if round % 2 == 0 {
            tokio::join!(lock.release(), cancel());
        } else {
            tokio::join!(cancel(), lock.release());
        }
        let answer = call.answer_within(AT_ONCE).await;
        if answer.has("granted") {
            waiter.granted(&answer).release().await;
        } else {
            answer.get("cancelled");
        }
        is_freed(broker, &name, AT_ONCE).await;
    }
}

async fn tasks(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let lock = client.takes(&name).await;
    let (waiter, mut call) = client.waits(&name);
    in_line(&stage.brokers().await.first, &name, 1).await;
    for round in 0..20 {
        client.takes(&format!("{name}/{round}")).await.release().await;
    }
    assert!(!call.is_answered());
    lock.release().await;
    waiter.granted(&call.answer().await).release().await;
}

async fn linger(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let lock = client.takes_with(&name, json!({"linger_ms": 3_000})).await;
    let released = Instant::now();
    lock.release().await;
    assert_eq!(client.tries(&name).await.not_acquired(), "LINGERING");
    let (waiter, call) = client.waits(&name);
    let waiter = waiter.granted(&call.answer_within(Duration::from_secs(5) + AT_ONCE).await);
    let after = released.elapsed();
    assert!(after >= Duration::from_secs(3), "granted {after:?} after the release");
    waiter.release().await;
}

async fn get(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    assert_eq!(client.ask("get", json!({"name": name})).await.get("held"), false);
    let lock = client.takes_with(&name, json!({"owner": "host 8"})).await;
    let seen = client.ask("get", json!({"name": name})).await;
    assert_eq!((seen.get("held"), seen.get("owner")), (&json!(true), &json!("host 8")));
    lock.release().await;
}

async fn get_details(stage: Stage) {
    let (broker, name) = (Scripted::start().await, stage.name());
    let client = stage.client_of(&[broker.url()]).await;
    let look = async |shown: GetLockResponse| {
        broker.shows(shown);
        let seen = client.ask("get", json!({"name": name})).await;
        let number = |field| if seen.has(field) { seen.get(field).as_i64() } else { None };
        let text = |field: &str| seen.get(field).as_str().map(str::to_owned).expect("a text");
        (text("state"), number("token"), number("held_ms"), text("etag"))
    };
    let held = GetLockResponse {
        state: State::Held.into(),
        // As large as a number of JavaScript's takes.
        fencing_token: (1 << 53) - 1,
        held_for: span(Duration::from_millis(90_061_500)),
        etag: "tag-1".into(),
        ..GetLockResponse::default()
    };
    let told = ("HELD".to_owned(), Some((1 << 53) - 1), Some(90_061_500), "tag-1".to_owned());
    assert_eq!(look(held).await, told);
    let revoked = GetLockResponse { state: State::Revoked.into(), etag: "tag-2".into(), ..GetLockResponse::default() };
    assert_eq!(look(revoked).await, ("REVOKED".to_owned(), None, None, "tag-2".to_owned()));
    let free = GetLockResponse { state: State::Free.into(), ..GetLockResponse::default() };
    assert_eq!(look(free).await, ("FREE".to_owned(), None, None, String::new()));
}

/// More milliseconds than there are in 365 days, which brokers take for as long as it takes.
const FARTHEST: i64 = (1 << 53) - 1;

async fn bad_input(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let kept = client.takes(&format!("{name}/kept")).await;
    // A message of more than 4 KiB would end the Session.
    let (long, longer) = ("x".repeat(129), "x".repeat(5_000));
    for wrong in ["", "a\nb", &long, &longer] {
        assert_eq!(client.tries(wrong).await.error(), "INVALID", "{wrong:?}");
    }
    for linger in [400_000_000_000_i64, FARTHEST] {
        let answer = client.asking("try", &name, json!({"linger_ms": linger})).1.answer().await;
        assert_eq!(answer.error(), "INVALID");
        assert!(answer.message().contains("linger"), "{}", answer.message());
    }
    for (verb, fields) in [
        ("try", json!({"owner": "x".repeat(300)})),
        ("try", json!({"owner": longer})),
        ("wait", json!({"poll_ms": FARTHEST})),
        ("adopt", json!({"lock_id": longer})),
    ] {
        assert_eq!(client.asking(verb, &name, fields).1.answer().await.error(), "INVALID", "{verb}");
    }
    let (lock, call) = client.asking("wait", &name, json!({"wait_ms": FARTHEST}));
    lock.granted(&call.answer().await).release().await;
    assert!(kept.is_held().await && !kept.was_told_lost());
    kept.release().await;
}

async fn deadline(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    // A client that opens its Session in there must not hand the deadline down to it.
    let (held, call) = client.asking("deadline", &name, json!({"ms": 1_000}));
    let held = held.granted(&call.answer().await);
    let rival = Rival::queue(&stage.brokers().await.second, &name).await;
    sleep(Duration::from_secs(3)).await;
    assert!(held.is_held().await);
    assert!(!rival.has_it());
    held.release().await;
    rival.granted(AT_ONCE).await;
}

async fn stubs(stage: Stage) {
    let (client, name): (Client, _) = (stage.client().await, stage.name());
    let broker = &stage.brokers().await.first;
    let lock = client.takes(&name).await;
    let other = format!("{name}/bare");
    client.testee.ask(json!({"do": "bare", "server": broker.url(), "name": other})).await.get("ok");
    assert!(is_free(broker, &other).await && lock.is_held().await);
    lock.release().await;
}
