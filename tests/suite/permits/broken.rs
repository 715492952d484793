//! What was found by those who tried to break several permits at once, and the downgrade.

use std::time::Instant;

use super::*;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AlsoLock, BeginLock, WaitSpec, not_acquired};

/// Returns what happens next to a lock, but for places in a queue.
async fn told(session: &mut RawSession, lock_ref: i64) -> Kind {
    loop {
        match session.next_event().await {
            (of, kind) if of == lock_ref && !matches!(kind, Kind::Queued(_)) => return kind,
            _ => {}
        }
    }
}

/// It ended together with its last hold, and nobody gave the lock's own item back: that kept all others out for a ttl.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_closed_while_it_collects_keeps_nobody_out() {
    let memcached = Memcached::start(&[]).await;
    let proxy = Proxy::start(memcached.address()).await;
    let broker = Broker::on_store(&format!("memcached://{}", proxy.address()), &[]).await;
    proxy.delay(Duration::from_millis(10));
    let mut stub = broker.stub().await;
    // The first permit is asked for after one of its ways to the store and back, and given after the next.
    let moments = (0..100).step_by(5);
    for after in moments.clone() {
        let session = RawSession::open(&mut stub, Some(TTL)).await;
        session.begin(several(1, &format!("pool {after}"), 4, 2));
        tokio::time::sleep(Duration::from_millis(after)).await;
        drop(session);
    }
    proxy.delay(Duration::ZERO);
    // What is given back is free long before.
    tokio::time::sleep(TTL / 3).await;
    let mut closed = Vec::new();
    for after in moments {
        if is_refused(&broker, share(&format!("pool {after}"), 4)).await {
            closed.push(after);
        }
    }
    assert!(closed.is_empty(), "kept for nobody, where the Session ended so many ms after it had asked: {closed:?}");
}

/// A message that is too long ended the Session, and with it all other locks of the client.
#[tokio::test]
async fn what_is_granted_fits_in_the_message_that_reattaches_it() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    for (owner, fits) in [("o".repeat(42), true), ("o".repeat(43), false)] {
        let name = "n".repeat(128);
        let lock = |weight| shared(&name, 16).map(|lock| LockSpec { owner: owner.clone(), weight, ..lock });
        let mut session = open(&here).await;
        session.begin(BeginLock { lock: lock(16), ..begin(1, &name) });
        let acquired = match told(&mut session, 1).await {
            Kind::Acquired(acquired) if fits => acquired,
            Kind::Failed(failed) if !fits => {
                assert_eq!(failed.reason, "INVALID_FIELD");
                assert!(failed.message.starts_with("begin.lock.weight: "), "{failed:?}");
                continue;
            }
            other => panic!("{other:?}"),
        };
        let also = acquired.also.iter().map(|also| AlsoLock { lock: lock(0), reattach_lock_id: also.lock_id.clone() });
        let mut session = open(&there).await;
        let reattach_lock_id = acquired.lock_id.clone();
        session.begin(BeginLock { lock: lock(0), reattach_lock_id, also: also.collect(), ..begin(1, &name) });
        let moved = told(&mut session, 1).await;
        assert!(matches!(moved, Kind::Acquired(_)), "{moved:?}");
    }
}

/// Each of several is tried for without a limit of time, and the try was repeated after the wait was over.
#[tokio::test]
async fn a_wait_for_several_is_over_in_time_while_the_store_stands_still() {
    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let mut session = open(&broker).await;
    memcached.stop().await;
    let wait = Some(WaitSpec { max_wait: span(Duration::from_millis(300)), ..WaitSpec::default() });
    let together = vec![AlsoLock { lock: lock("b"), ..AlsoLock::default() }];
    let asked = [
        BeginLock { wait, ..begin(1, "alone") },
        BeginLock { wait, ..several(2, "pool", 4, 2) },
        BeginLock { wait, also: together, ..begin(3, "a") },
    ];
    for begin in asked {
        let (lock_ref, begun) = (begin.lock_ref, Instant::now());
        session.begin(begin);
        let answer = told(&mut session, lock_ref).await;
        let took = begun.elapsed();
        let Kind::NotAcquired(refused) = answer else { panic!("{lock_ref}: {answer:?}") };
        assert_eq!(refused.reason, not_acquired::Reason::MaxWait as i32);
        assert!(took < Duration::from_millis(800), "{lock_ref}: {took:?}");
    }
    memcached.cont();
}
