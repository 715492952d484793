//! Several locks together: all or none.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker::client::{self, Client, Error, Reason};
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_spec::{Mode, OnDisconnect};
use lockbroker::proto::{
    Acquired, AlsoLock, BeginLock, Failed, LockSpec, Lost, NotAcquired, WaitSpec, lost, not_acquired,
};

use crate::support::*;

const TTL: Duration = Duration::from_secs(6);

fn together(lock_ref: i64, names: &[&str]) -> BeginLock {
    let also = names[1..].iter().map(|name| AlsoLock { lock: lock(name), ..AlsoLock::default() }).collect();
    BeginLock { also, ..begin(lock_ref, names[0]) }
}

fn wait_together(lock_ref: i64, names: &[&str]) -> BeginLock {
    BeginLock { wait: Some(Default::default()), ..together(lock_ref, names) }
}

fn reattach_together(lock_ref: i64, names: &[&str], ids: &[String]) -> BeginLock {
    let mut begin = together(lock_ref, names);
    begin.reattach_lock_id = ids[0].clone();
    begin.also.iter_mut().zip(&ids[1..]).for_each(|(also, id)| also.reattach_lock_id = id.clone());
    begin
}

async fn open(broker: &Broker) -> RawSession {
    RawSession::open(&mut broker.stub().await, Some(TTL)).await
}

/// Returns what one handle is told next, but for its place in a queue.
async fn told(session: &mut RawSession, lock_ref: i64) -> Kind {
    loop {
        match session.next_event().await {
            (about, Kind::Queued(_)) if about == lock_ref => {}
            (about, kind) => {
                assert_eq!(about, lock_ref, "{kind:?}");
                return kind;
            }
        }
    }
}

async fn all_acquired(session: &mut RawSession, lock_ref: i64) -> Acquired {
    match told(session, lock_ref).await {
        Kind::Acquired(acquired) => acquired,
        other => panic!("{other:?} where `acquired` was expected"),
    }
}

fn ids(acquired: &Acquired) -> Vec<String> {
    let also = acquired.also.iter().map(|also| also.lock_id.clone());
    std::iter::once(acquired.lock_id.clone()).chain(also).collect()
}

async fn state(broker: &Broker, name: &str) -> State {
    look(&mut broker.stub().await, name).await.state()
}

#[tokio::test]
async fn all_are_held_and_released_together() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut session = open(&broker).await;
        session.begin(together(1, &["c", "a", "b"]));
        let acquired = all_acquired(&mut session, 1).await;
        assert_eq!(acquired.also.len(), 2);
        assert_eq!(ids(&acquired).into_iter().collect::<HashSet<_>>().len(), 3);
        // Each has an id of its own, in the order in which they were asked for.
        for (name, id) in ["a", "b", "c"].iter().zip(ids(&acquired)) {
            assert_eq!(state(&broker, name).await, State::Held);
            assert_ne!(release(&mut broker.stub().await, name, &id).await, Outcome::Released, "{name}");
        }
        let seq = session.beat();
        loop {
            if let lockbroker::proto::session_response::Kind::HeartbeatAck(ack) = session.next().await {
                assert_eq!((ack.seq, ack.not_renewed), (seq, vec![]));
                break;
            }
        }
        session.end(1);
        assert!(matches!(told(&mut session, 1).await, Kind::Released(_)));
        for name in ["a", "b", "c"] {
            assert_eq!(state(&broker, name).await, State::Free, "{name}");
        }
    }
}

#[tokio::test]
async fn one_that_is_held_refuses_all_and_is_named() {
    for (_memcached, broker) in brokers(&[]).await {
        let spec = LockSpec { owner: "them".into(), ..lock("b").unwrap() };
        let held = lockbroker::proto::AcquireRequest { lock: Some(spec), ..Default::default() };
        let (_, _held) = acquire(&mut broker.stub().await, held).await;
        let mut session = open(&broker).await;
        session.begin(together(1, &["c", "b", "a"]));
        let refused = NotAcquired { reason: not_acquired::Reason::Held.into(), owner: "them".into(), name: "b".into() };
        assert_eq!(told(&mut session, 1).await, Kind::NotAcquired(refused));
        // Nothing is left of the attempt when that is told, and nothing lingers.
        for name in ["a", "c"] {
            assert_eq!(state(&broker, name).await, State::Free, "{name}");
        }
    }
}

#[tokio::test]
async fn one_that_waits_holds_only_what_comes_before() {
    for (_memcached, broker) in brokers(&[]).await {
        let (held, mut holder) = acquire(&mut broker.stub().await, once("b")).await;
        let mut session = open(&broker).await;
        session.begin(wait_together(1, &["c", "b", "a"]));
        let mut stub = broker.stub().await;
        let waits = async || {
            look(&mut stub, "a").await.state() == State::Held && look(&mut stub, "c").await.state() == State::Free
        };
        eventually(SOON, "it has a, and gave c back", waits).await;
        let (_, _other) = acquire(&mut broker.stub().await, once("c")).await;
        assert_eq!(release(&mut broker.stub().await, "b", &held.lock_id).await, Outcome::Released);
        assert!(matches!(after_renewals(&mut holder).await, Kind::Released(_)));
        // It waits for c now.
        let mut stub = broker.stub().await;
        eventually(SOON, "it has b", async || look(&mut stub, "b").await.state() == State::Held).await;
        drop(_other);
        let acquired = all_acquired(&mut session, 1).await;
        let tokens: Vec<i64> = acquired.also.iter().map(|also| also.fencing_token).collect();
        assert!(tokens[0] > held.fencing_token, "b's token is the second, as it was asked for");
    }
}

/// Twenty clients at two brokers want two to four of six locks each, in any order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_in_a_circle_and_nobody_has_what_another_has() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let memcached = Memcached::start(&[]).await;
    let both = [&[][..], &["--advertise", "127.0.0.1:0"]];
    let brokers =
        [Broker::on_store(&memcached.store(), both[1]).await, Broker::on_store(&memcached.store(), both[1]).await];
    let used: Vec<std::sync::Mutex<()>> = NAMES.iter().map(|_| std::sync::Mutex::new(())).collect();
    let clients = (0..20_usize).map(|number| {
        let (url, used) = (brokers[number % 2].url(), &used);
        async move {
            let client = Client::connect(&url).unwrap();
            for round in 0..5_usize {
                let wanted: Vec<usize> =
                    (0..2 + (number + round) % 3).map(|step| (number * 5 + round * 7 + step * 5) % 6).collect();
                let names: Vec<&str> = wanted.iter().map(|&at| NAMES[at]).collect();
                let asked = client.wait_acquire(names[0]).also(names[1..].iter().copied()).await;
                let Ok(client::Outcome::Acquired(guard)) = asked else { panic!("{asked:?}") };
                {
                    let _mine: Vec<_> =
                        wanted.iter().map(|&at| used[at].try_lock().expect("nobody else has it")).collect();
                    assert_eq!(guard.locks().len(), names.len());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                guard.check().unwrap();
                guard.release().await.unwrap();
            }
        }
    });
    tokio::time::timeout(Duration::from_secs(60), join_all(clients)).await.expect("all had their turns");
}

#[tokio::test]
async fn when_one_is_lost_all_are_and_the_others_stay_closed() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut session = open(&broker).await;
        session.begin(together(1, &["a", "b"]));
        let acquired = all_acquired(&mut session, 1).await;
        let told_at = Instant::now();
        assert_eq!(release(&mut broker.stub().await, "b", &acquired.also[0].lock_id).await, Outcome::Released);
        let lost = Lost { reason: lost::Reason::Gone.into(), name: "b".into() };
        assert_eq!(told(&mut session, 1).await, Kind::Lost(lost));
        assert_eq!(state(&broker, "a").await, State::Held, "its client may not have heard yet");
        // And no longer than that. The Session goes on, and its other locks with it.
        session.begin(begin(2, "c"));
        all_acquired(&mut session, 2).await;
        let mut stub = broker.stub().await;
        eventually(TTL + SOON, "a is free", async || {
            session.beat();
            look(&mut stub, "a").await.state() == State::Free
        })
        .await;
        assert!(told_at.elapsed() > TTL - Duration::from_millis(2_600), "{:?}", told_at.elapsed());
        assert_eq!(state(&broker, "c").await, State::Held);
    }
}

#[tokio::test]
async fn they_are_moved_together() {
    let memcached = Memcached::start(&[]).await;
    let [mut here, there] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let names = ["b", "a"];
    let mut session = open(&here).await;
    session.begin(together(1, &names));
    let acquired = all_acquired(&mut session, 1).await;
    here.kill();
    let mut session = open(&there).await;
    session.begin(reattach_together(1, &names, &ids(&acquired)));
    let moved = all_acquired(&mut session, 1).await;
    assert_eq!(moved.fencing_token, acquired.fencing_token);
    assert_eq!(moved.also[0].fencing_token, acquired.also[0].fencing_token);
    // The old ids are good for nothing.
    session.begin(reattach_together(2, &names, &ids(&acquired)));
    let Kind::NotAcquired(refused) = told(&mut session, 2).await else { panic!("it was moved") };
    assert_eq!(refused.reason(), not_acquired::Reason::NotReattachable);
    assert_eq!(state(&there, "a").await, State::Held);
}

#[tokio::test]
async fn a_client_moves_all_to_another_broker() {
    let memcached = Memcached::start(&[]).await;
    let [mut here, there] = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let client = Client::builder(here.url()).endpoint(there.url()).connect().unwrap();
    let guard = client.acquire("x").also(["y", "z"]).await.unwrap().guard().expect("all are free");
    let before = guard.locks();
    assert!(here.terminate(SOON).await.success());
    let names: Vec<&str> = before.iter().map(|lock| lock.name.as_str()).collect();
    assert_eq!(names, ["x", "y", "z"]);
    for (before, now) in before.iter().zip(guard.locks()) {
        assert_ne!(before.lock_id, now.lock_id, "{}", now.name);
        assert_eq!(before.fencing_token, now.fencing_token);
    }
    guard.check().unwrap();
    guard.release().await.unwrap();
    for name in ["x", "y", "z"] {
        assert_eq!(state(&there, name).await, State::Free, "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_together_is_turned_back_by_its_field() {
    let broker = Broker::memory().await;
    let mut session = open(&broker).await;
    let sixteen: Vec<String> = (0..17).map(|number| format!("lock {number}")).collect();
    let sixteen: Vec<&str> = sixteen.iter().map(String::as_str).collect();
    let mut held_at_least = together(4, &["a", "b"]);
    held_at_least.lock.as_mut().unwrap().min_hold = span(Duration::from_secs(1));
    let mut one_id = together(5, &["a", "b"]);
    one_id.also[0].reattach_lock_id = "x".into();
    let wrong = [
        (together(1, &["a", "b", "a"]), "begin.also[1].lock.name"),
        (together(2, &sixteen), "begin.also:"),
        (together(3, &["a", "\n"]), "begin.also[0].lock.name"),
        (held_at_least, "begin.also:"),
        (one_id, "begin.also[0].reattach_lock_id"),
    ];
    for (begin, field) in wrong {
        let lock_ref = begin.lock_ref;
        session.begin(begin);
        let Kind::Failed(Failed { message, reason, .. }) = told(&mut session, lock_ref).await else { panic!("taken") };
        assert!(message.starts_with(field) && reason == "INVALID_FIELD", "{message}");
    }
    session.begin(together(6, &sixteen[..16]));
    assert_eq!(all_acquired(&mut session, 6).await.also.len(), 15);
}

#[tokio::test]
async fn the_longest_wait_is_for_all_together() {
    let broker = Broker::memory().await;
    let client = Client::connect(broker.url()).unwrap();
    let _held = client.acquire("b").owner("them").await.unwrap().guard().unwrap();
    let started = Instant::now();
    let asked = client.wait_acquire("a").also(["b", "c"]).max_wait(Duration::from_millis(400)).await;
    let Ok(client::Outcome::NotAcquired(why)) = asked else { panic!("{asked:?}") };
    assert_eq!((why.reason, why.lock.as_str(), why.owner.as_str()), (Reason::MaxWait, "b", "them"));
    assert!((Duration::from_millis(400)..SOON).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(state(&broker, "a").await, State::Free);
    let many = client.acquire("a").also((0..16).map(|number| number.to_string())).await;
    assert!(matches!(many, Err(Error::Invalid { .. })), "{many:?}");
    // No message is so long that it would end the Session.
    let long = client.acquire("a").also((0..12).map(|number| format!("{number:0300}"))).await;
    assert!(matches!(long, Err(Error::Invalid { .. })), "{long:?}");
}

#[tokio::test]
async fn readers_have_several_too() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut session = open(&broker).await;
        let shared = |mut begin: BeginLock| {
            let specs = begin.also.iter_mut().map(|also| &mut also.lock).chain([&mut begin.lock]);
            specs.flatten().for_each(|spec| spec.mode = Mode::Shared.into());
            begin
        };
        session.begin(shared(together(1, &["a", "b"])));
        session.begin(shared(together(2, &["b", "a"])));
        let first = all_acquired(&mut session, 1).await;
        let second = all_acquired(&mut session, 2).await;
        assert_ne!(first.permit, second.also[0].permit);
        assert_ne!(first.also[0].permit, second.permit);
        session.begin(together(3, &["a", "b"]));
        assert!(matches!(told(&mut session, 3).await, Kind::NotAcquired(_)));
    }
}

#[tokio::test]
async fn a_wait_that_is_cancelled_gives_everything_back() {
    for (_memcached, broker) in brokers(&[]).await {
        let (_, _held) = acquire(&mut broker.stub().await, once("b")).await;
        let mut session = open(&broker).await;
        session.begin(wait_together(1, &["a", "b"]));
        let mut stub = broker.stub().await;
        eventually(SOON, "it has a", async || look(&mut stub, "a").await.state() == State::Held).await;
        session.end(1);
        let Kind::NotAcquired(refused) = told(&mut session, 1).await else { panic!("it was cancelled") };
        assert_eq!(refused.reason(), not_acquired::Reason::Cancelled);
        assert_eq!(state(&broker, "a").await, State::Free);
        // And so does the end of the Session.
        session.begin(wait_together(2, &["a", "b"]));
        let mut stub = broker.stub().await;
        eventually(SOON, "it has a", async || look(&mut stub, "a").await.state() == State::Held).await;
        drop(session);
        freed(&mut broker.stub().await, "a").await;
    }
}

/// An ack that covers the group for a client that has not read that it is lost would have it believe in a lock that is gone.
#[tokio::test]
async fn a_loss_is_told_before_an_ack_that_it_makes_due() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    // Whichever of them is renewed last.
    for (gone, other) in [("a", "b"), ("b", "a")] {
        let mut session = open(&broker).await;
        session.begin(together(1, &["a", "b"]));
        all_acquired(&mut session, 1).await;
        assert_eq!(memcached.command(&format!("md lockbroker:L:{gone}")).await, "HD\r\n");
        session.beat();
        let next = session.next().await;
        let is_lost = matches!(&next, lockbroker::proto::session_response::Kind::Event(event)
            if matches!(event.event.as_ref().and_then(|event| event.kind.as_ref()), Some(Kind::Lost(_))));
        assert!(is_lost, "{gone}: {next:?}");
        session.end(1);
        freed(&mut broker.stub().await, other).await;
    }
}

#[tokio::test]
async fn what_is_not_held_any_more_is_told_lost_when_it_is_ended() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let mut session = open(&broker).await;
    session.begin(together(1, &["a", "b"]));
    all_acquired(&mut session, 1).await;
    assert_eq!(memcached.command("md lockbroker:L:b").await, "HD\r\n");
    session.end(1);
    let lost = Lost { reason: lost::Reason::Gone.into(), name: "b".into() };
    assert_eq!(told(&mut session, 1).await, Kind::Lost(lost));
    freed(&mut broker.stub().await, "a").await;
}

/// The client still believes in the lock that could be moved, whatever became of the other, until it has read the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reattach_whose_stream_ends_releases_nothing() {
    let memcached = Memcached::start(&[]).await;
    let slow = Proxy::start(memcached.address()).await;
    let store = format!("memcached://{}", slow.address());
    let [mut here, there] = [Broker::on_store(&store, &[]).await, Broker::on_store(&store, &[]).await];
    let mut session = open(&here).await;
    session.begin(together(1, &["a", "b"]));
    let acquired = all_acquired(&mut session, 1).await;
    here.kill();
    assert_eq!(memcached.command("md lockbroker:L:b").await, "HD\r\n");
    let proxy = Proxy::start(there.address()).await;
    let session = RawSession::open(&mut stub(proxy.address()).await, Some(TTL)).await;
    let mut again = reattach_together(1, &["a", "b"], &ids(&acquired));
    let specs = again.also.iter_mut().map(|also| &mut also.lock).chain([&mut again.lock]);
    specs.flatten().for_each(|spec| spec.on_disconnect = OnDisconnect::Keep.into());
    // The stream ends before the store has answered.
    slow.delay(Duration::from_millis(200));
    session.begin(again);
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.cut();
    let moved_at = Instant::now();
    while moved_at.elapsed() < Duration::from_secs(2) {
        assert_eq!(state(&there, "a").await, State::Held, "{:?}", moved_at.elapsed());
    }
}

#[tokio::test]
async fn a_wait_is_over_in_time_though_what_it_held_cannot_be_given_back() {
    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let (_, _held) = acquire(&mut broker.stub().await, once("b")).await;
    let mut session = open(&broker).await;
    let max_wait = span(Duration::from_millis(700));
    session.begin(BeginLock { wait: Some(WaitSpec { max_wait, ..Default::default() }), ..together(1, &["a", "b"]) });
    let begun = Instant::now();
    let mut stub = broker.stub().await;
    eventually(SOON, "it has a", async || look(&mut stub, "a").await.state() == State::Held).await;
    memcached.stop().await;
    let Kind::NotAcquired(refused) = told(&mut session, 1).await else { panic!("it waited in vain") };
    assert_eq!(refused.reason(), not_acquired::Reason::MaxWait);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    memcached.cont();
}
