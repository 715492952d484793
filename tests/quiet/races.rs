//! Ends that race with grants: whatever the moment, no lock is left that nobody holds, and the line goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::*;
use futures_util::future::join_all;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{ReleaseRequest, WaitAcquireResponse};
use tonic::Streaming;

const MS: Duration = Duration::from_millis(1);
/// For how long a grant with a ttl of 5 s is good.
const LEASE: Duration = Duration::from_secs(3);
/// Either end comes first, and the other one 0 µs up to the longest gap after it: each four times.
const ROUNDS: u64 = 4 * 2 * (LONGEST_GAP + 1);
/// In microseconds.
const LONGEST_GAP: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_is_cancelled_as_it_is_granted() {
    let _quiet = crate::quiet().await;
    for (_memcached, broker) in brokers(&[]).await {
        let (mut holder, mut waiter) = (broker.stub().await, broker.stub().await);
        for round in 0..ROUNDS {
            let mut held = holder.wait_acquire(wait("job")).await.unwrap().into_inner();
            let begun = Instant::now();
            granted(&mut held).await;
            assert!(begun.elapsed() < 1_000 * MS, "round {round}: the lock was stuck for {:?}", begun.elapsed());
            let (_, waiting) = queue(&mut waiter, wait("job")).await;
            let gap = Duration::from_micros(round / 2 % (LONGEST_GAP + 1));
            if round % 2 == 0 {
                drop(held);
                spin(gap);
                drop(waiting);
            } else {
                drop(waiting);
                spin(gap);
                drop(held);
            }
        }
        freed(&mut holder, "job").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute: scripts/night runs it"]
async fn a_wait_on_a_session_is_ended_as_it_is_granted() {
    let _quiet = crate::quiet().await;
    for (_memcached, broker) in brokers(&[]).await {
        let mut holder = RawSession::open(&mut broker.stub().await, None).await;
        let mut waiter = RawSession::open(&mut broker.stub().await, None).await;
        for lock_ref in 1..=ROUNDS as i64 {
            if lock_ref % 50 == 0 {
                holder.beat();
                waiter.beat();
            }
            holder.begin(begin_wait(lock_ref, "job"));
            let begun = Instant::now();
            event(&mut holder, lock_ref, |kind| matches!(kind, Kind::Acquired(_))).await;
            assert!(begun.elapsed() < 1_000 * MS, "{lock_ref}: the lock was stuck for {:?}", begun.elapsed());
            waiter.begin(begin_wait(lock_ref, "job"));
            event(&mut waiter, lock_ref, |kind| matches!(kind, Kind::Queued(_))).await;
            let gap = Duration::from_micros(lock_ref as u64 / 2 % (LONGEST_GAP + 1));
            let (first, second) = if lock_ref % 2 == 0 { (&holder, &waiter) } else { (&waiter, &holder) };
            first.end(lock_ref);
            spin(gap);
            second.end(lock_ref);
            // The waiter hears one of two things, and the lock is free either way.
            event(&mut waiter, lock_ref, |kind| matches!(kind, Kind::NotAcquired(_) | Kind::Released(_))).await;
        }
        drop((holder, waiter));
        freed(&mut broker.stub().await, "job").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute: scripts/night runs it"]
async fn a_thousand_connections_are_cut_in_the_middle_of_their_cycles() {
    let _quiet = crate::quiet().await;
    for (_memcached, broker) in brokers(&["--default-ttl", "5s"]).await {
        let proxy = Proxy::start(broker.address()).await;
        let mut stub = broker.stub().await;
        let (_, _neighbour) = acquire(&mut stub, once("neighbour")).await;
        for round in 0..10 {
            let over = Arc::new(AtomicBool::new(false));
            let stubs = join_all((0..100).map(|_| crate::support::stub(proxy.address()))).await;
            let clients = stubs.into_iter().zip(0..).map(|(mut stub, client)| {
                let over = Arc::clone(&over);
                tokio::spawn(async move {
                    let name = format!("job {}", client % 10);
                    // A channel dials anew by itself, so not every cut is an error.
                    for cycle in (0..).take_while(|_| !over.load(Ordering::Relaxed)) {
                        // Half of them wait, half try; every other cycle ends by a Release, the rest by a cancel.
                        if client % 20 < 10 {
                            let Ok(stream) = stub.wait_acquire(wait(&name)).await else { break };
                            let mut stream = stream.into_inner();
                            if !until_granted(&mut stream).await {
                                break;
                            }
                        } else {
                            let Ok(stream) = stub.acquire(once(&name)).await else { break };
                            let Ok(Some(answer)) = stream.into_inner().message().await else { break };
                            if let Some(Kind::Acquired(acquired)) = answer.event.and_then(|event| event.kind)
                                && cycle % 2 == 0
                            {
                                let request = ReleaseRequest { name: name.clone(), lock_id: acquired.lock_id };
                                if stub.release(request).await.is_err() {
                                    break;
                                }
                            }
                        }
                    }
                })
            });
            let clients: Vec<_> = clients.collect();
            tokio::time::sleep((20 + 3 * round as u32) * MS).await;
            over.store(true, Ordering::Relaxed);
            // What is reset is silent, and each of those goes on for as long as its client may believe.
            let longest = if round % 5 == 4 {
                proxy.reset();
                LEASE + 2_000 * MS
            } else {
                proxy.cut();
                2_000 * MS
            };
            let cut = Instant::now();
            for name in 0..10 {
                freed(&mut stub, &format!("job {name}")).await;
            }
            assert!(cut.elapsed() < longest, "round {round}: {:?}", cut.elapsed());
            join_all(clients).await.into_iter().for_each(|client| client.unwrap());
        }
        assert_eq!(look(&mut stub, "neighbour").await.state(), State::Held);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_thousand_waiters_is_killed() {
    let _quiet = crate::quiet().await;
    for (_memcached, broker) in brokers(&[]).await {
        let before = hand_overs(&broker).await;
        let mut stub = broker.stub().await;
        let (acquired, _held) = acquire(&mut stub, once("job")).await;

        let test = std::env::current_exe().unwrap();
        let mut client = std::process::Command::new(test);
        client.args(["--ignored", "--exact", "races::the_client_with_a_thousand_waiters", "--nocapture"]);
        let mut client = Process::spawn("the client", client.env(SERVER, broker.address().to_string()));
        eventually(2 * SOON, "a thousand wait", async || client.log().iter().any(|line| line == "a thousand wait"))
            .await;
        let (place, mut waiting) = queue(&mut stub, wait("job")).await;
        assert_eq!(place, 1_001);
        client.kill();
        let killed = Instant::now();
        assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
        granted(&mut waiting).await;
        assert!(killed.elapsed() < 2_000 * MS, "{:?}", killed.elapsed());
        drop(waiting);
        freed(&mut stub, "job").await;

        let after = hand_overs(&broker).await;
        println!("hand-over: {before:?} before, {after:?} after");
        assert!(after < 2 * before + 2 * MS, "{before:?} before, {after:?} after");
    }
}

const SERVER: &str = "TEST_SERVER";

#[tokio::test]
#[ignore = "a process of its own, for another test to kill"]
async fn the_client_with_a_thousand_waiters() {
    let stub = stub(std::env::var(SERVER).unwrap().parse().unwrap()).await;
    let waiting = (0..1_000).map(|_| {
        let mut stub = stub.clone();
        async move { queue(&mut stub, wait("job")).await }
    });
    let _waiting = join_all(waiting).await;
    eprintln!("a thousand wait");
    std::future::pending::<()>().await;
}

/// The median of 100 hand-overs, from sending the release to hearing of the next grant.
async fn hand_overs(broker: &Broker) -> Duration {
    let (mut one, mut other) = (broker.stub().await, broker.stub().await);
    let (mut acquired, mut held) = {
        let mut stream = one.wait_acquire(wait("handed over")).await.unwrap().into_inner();
        (granted(&mut stream).await, stream)
    };
    let mut took = Vec::new();
    for _ in 0..100 {
        let (_, mut waiting) = queue(&mut one, wait("handed over")).await;
        let released = Instant::now();
        let (_, next) = tokio::join!(release(&mut other, "handed over", &acquired.lock_id), granted(&mut waiting));
        took.push(released.elapsed());
        (acquired, held) = (next, waiting);
    }
    drop(held);
    took.sort();
    took[took.len() / 2]
}

/// Reads the stream of a waiter until its grant; `false` if the stream ends before.
async fn until_granted(stream: &mut Streaming<WaitAcquireResponse>) -> bool {
    while let Ok(Some(answer)) = stream.message().await {
        if matches!(answer.event.and_then(|event| event.kind), Some(Kind::Acquired(_))) {
            return true;
        }
    }
    false
}

/// Waits for an event of a Session's lock that is `meant`; those before it are passed over.
async fn event(session: &mut RawSession, lock_ref: i64, meant: impl Fn(&Kind) -> bool) {
    loop {
        let (of, kind) = session.next_event().await;
        if of == lock_ref && meant(&kind) {
            return;
        }
    }
}

/// Busy for so long: what sleeps wakes a millisecond later.
fn spin(span: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        std::hint::spin_loop();
    }
}
