//! A broker with a long line does not keep the lock to itself: what share another broker gets that has one waiter, and
//! how long that one waits, with wake-ups and without.

use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::proto::lock_event::Kind;

const FOR: Duration = Duration::from_secs(10);
const LINE: i64 = 100;
/// Hand-overs in a row end after 2 s, and the lock is then left to others for a moment, in which a busy machine may miss
/// its turn once.
const LONGEST_WAIT: Duration = Duration::from_millis(2 * 2_130 + 500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "half a minute: scripts/night runs it"]
async fn one_waiter_gets_its_turn_against_a_line_of_a_hundred() {
    let _quiet = crate::quiet().await;
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
        let longest = alone.turns.iter().max().copied().unwrap_or_default();
        println!(
            "{arguments:?}: the line of 100 had the lock {} times; the one at the other broker {} times, in turns for which \
             it waited {:.2?}",
            crowd.grants, alone.grants, alone.turns,
        );
        assert!(longest < LONGEST_WAIT, "waited for {longest:?}");
        assert!(alone.turns.len() >= 3, "{} turns in {FOR:?}", alone.turns.len());
        assert!(crowd.grants > alone.grants, "the line of a hundred had less");
    }
}

#[derive(Debug, Default)]
struct Shares {
    grants: u64,
    /// The waits of more than half a second: one for each turn.
    turns: Vec<Duration>,
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
            shares.turns.extend(Some(waited).filter(|waited| *waited > Duration::from_millis(500)));
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
