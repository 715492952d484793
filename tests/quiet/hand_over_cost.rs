//! What memcached has to do for a hand-over does not grow with the number of those who wait.

use std::time::Duration;

use crate::support::{Broker, Memcached, Proxy, RawSession, begin_wait};
use lockbroker::proto::lock_event::Kind;

const HAND_OVERS: i64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_costs_the_same_with_one_waiter_and_with_a_hundred() {
    let _quiet = crate::quiet().await;
    for arguments in [&[][..], &["--advertise", "127.0.0.1:0"]] {
        let one = commands_per_hand_over(1, arguments).await;
        let hundred = commands_per_hand_over(100, arguments).await;
        println!("memcached commands per hand-over: {one:.2} with 1 waiter, {hundred:.2} with 100 {arguments:?}");
        assert!(one >= 2.0, "a change and a fencing token are the least: {one}");
        assert!(one <= 5.0 && hundred <= 5.0, "{one} with one waiter, {hundred} with a hundred");
        assert!((one - hundred).abs() < 0.5, "{one} with one waiter, {hundred} with a hundred");
    }
}

/// With this many in line behind the holder all the time.
async fn commands_per_hand_over(waiters: i64, arguments: &[&str]) -> f64 {
    let memcached = Memcached::start(&[]).await;
    // memcached's own statistics leave out what creates or changes a lock.
    let proxy = Proxy::start(memcached.address()).await;
    let broker = Broker::on_store(&format!("memcached://{}", proxy.address()), arguments).await;
    let mut session = RawSession::open(&mut broker.stub().await, Some(Duration::from_secs(15))).await;
    session.begin(begin_wait(1, "popular"));
    expect(&mut session, 1, |kind| matches!(kind, Kind::Acquired(_))).await;
    for lock_ref in 2..=1 + waiters {
        session.begin(begin_wait(lock_ref, "popular"));
        expect(&mut session, lock_ref, |kind| matches!(kind, Kind::Queued(_))).await;
    }

    let before = proxy.lines_up();
    for holder in 1..=HAND_OVERS {
        session.end(holder);
        expect(&mut session, holder, |kind| matches!(kind, Kind::Released(_))).await;
        // One more joins the line, so that it stays as long as it was.
        session.begin(begin_wait(holder + waiters + 1, "popular"));
        let (mut granted, mut queued) = (false, false);
        while !(granted && queued) {
            match session.next_event().await {
                (lock_ref, Kind::Acquired(_)) if lock_ref == holder + 1 => granted = true,
                (lock_ref, Kind::Queued(_)) if lock_ref == holder + waiters + 1 => queued = true,
                other => panic!("{other:?} after the release of {holder}"),
            }
        }
    }
    // Three commands a second among them are the broker's own, whoever waits.
    (proxy.lines_up() - before) as f64 / HAND_OVERS as f64
}

async fn expect(session: &mut RawSession, lock_ref: i64, wanted: impl Fn(&Kind) -> bool) {
    let (about, kind) = session.next_event().await;
    assert!(about == lock_ref && wanted(&kind), "{kind:?} for {about}");
}
