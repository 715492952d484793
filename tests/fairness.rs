//! A broker with a long line does not keep the lock to itself: what share another broker gets that has one waiter, and
//! how long that one waits, with wake-ups and without.

mod support;

use std::time::{Duration, Instant};

use lockbroker::proto::lock_event::Kind;
use support::*;

const FOR: Duration = Duration::from_secs(15);
const LINE: i64 = 100;
/// Hand-overs in a row end after 2 s, and the lock is then left to others; the rest is for a busy machine.
const LONGEST_WAIT: Duration = Duration::from_millis(2_000 + 1_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_waiter_gets_its_turn_against_a_line_of_a_hundred() {
    for arguments in [&[][..], &["--advertise", "127.0.0.1:0"]] {
        let memcached = Memcached::start(&[]).await;
        let brokers = [
            Broker::on_store(&memcached.store(), arguments).await,
            Broker::on_store(&memcached.store(), arguments).await,
        ];
        let end = Instant::now() + FOR;
        let crowd = tokio::spawn(take_turns(brokers[0].stub().await, LINE, end));
        let alone = tokio::spawn(take_turns(brokers[1].stub().await, 1, end));
        let (crowd, alone) = (crowd.await.unwrap(), alone.await.unwrap());
        println!(
            "{arguments:?}: the line of 100 had the lock {} times; the one at the \
             other broker had it {} times, in {} turns, and waited for {:?} at the most",
            crowd.grants, alone.grants, alone.turns, alone.longest,
        );
        assert!(alone.longest < LONGEST_WAIT, "waited for {:?}", alone.longest);
        assert!(alone.turns >= FOR.as_secs() / 3, "{} turns in {FOR:?}", alone.turns);
        assert!(crowd.grants > alone.grants, "the line of a hundred had less");
    }
}

#[derive(Debug, Default)]
struct Shares {
    grants: u64,
    /// How often it had the lock after a wait of more than half a second.
    turns: u64,
    longest: Duration,
}

/// So many in line on one Session; who gets the lock releases it and goes to the end of the line.
async fn take_turns(mut stub: Stub, line: i64, end: Instant) -> Shares {
    let mut session = RawSession::open(&mut stub, None).await;
    let mut asked: std::collections::HashMap<i64, Instant> = Default::default();
    let (mut next, mut last_beat, mut shares) = (1, Instant::now(), Shares::default());
    while next <= line {
        session.begin(begin_wait(next, "popular"));
        asked.insert(next, Instant::now());
        next += 1;
    }
    while Instant::now() < end {
        let (lock_ref, kind) = session.next_event().await;
        if let Kind::Acquired(_) = kind {
            let waited = asked.remove(&lock_ref).unwrap().elapsed();
            shares.grants += 1;
            shares.turns += u64::from(waited > Duration::from_millis(500));
            shares.longest = shares.longest.max(waited);
            session.end(lock_ref);
            session.begin(begin_wait(next, "popular"));
            asked.insert(next, Instant::now());
            next += 1;
        }
        if last_beat.elapsed() > Duration::from_secs(2) {
            session.beat();
            last_beat = Instant::now();
        }
    }
    shares
}
