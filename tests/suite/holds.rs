//! A lock's life under a store that is slow, loses answers, or is away: time is paused, and the store is the
//! embedded one behind a wrapper that does to its answers what a network does.

use lockbroker::ids::grant_id;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use lockbroker::broker::{
    Broker, Cause, ClientStream, Ended, Event, Failure, Item, LockRequest, LostReason, Mode, OnDisconnect, Reason,
    Settings, StreamEnd, moment,
};
use lockbroker::clock::{self, Moment, notice};
use lockbroker::lock::{FencingToken, GrantId, LockId, LockName, Owner, lease};
use lockbroker::metrics::Metrics;
use lockbroker::store::{
    Change, Granted, ItemState, LockStatus, LockStore, MemoryStore, Order, Reply, Request, StoreError, StoreEvent,
    StoreTraits, Watch,
};
use tokio::sync::watch;
use tokio::time::{advance, sleep, timeout};

const TTL: Duration = Duration::from_secs(15);
const MS: Duration = Duration::from_millis(1);
/// The interval of those who name none.
const POLL: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_at_any_moment_leaves_nothing_behind() {
    for want in [Mode::Once, waiting(None)] {
        for left_after in 0..60 {
            let (broker, store) = broker();
            store.takes(10 * MS);
            let standing = broker.begin(ask(want)).unwrap();
            sleep(left_after * MS).await;
            standing.end(StreamEnd::Closed);
            assert_free_within(&store, 100 * MS).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_answer_was_lost_is_taken_back() {
    let (broker, store) = broker();
    store.loses_answers(1);
    let standing = broker.begin(ask(Mode::Once)).unwrap();
    assert!(matches!(next(&standing).await, Event::Failed(Failure::Unavailable { .. })));
    assert_free_within(&store, Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_goes_on_after_a_lost_answer() {
    let (broker, store) = broker();
    store.loses_answers(1);
    let standing = broker.begin(ask(waiting(None))).unwrap();
    assert!(matches!(next(&standing).await, Event::Queued { position: 1 }));
    assert!(matches!(next(&standing).await, Event::Acquired { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_comes_after_its_lease_is_not_announced() {
    let (broker, store) = broker();
    store.takes(lease(TTL) - notice(TTL) + MS);
    let standing = broker.begin(ask(Mode::Once)).unwrap();
    assert!(matches!(next(&standing).await, Event::Failed(Failure::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_less_than_the_lease_costs_nothing() {
    let (broker, store) = broker();
    let standing = broker.begin(ask(Mode::Once)).unwrap();
    let Event::Acquired { until: granted_until, .. } = next(&standing).await else { panic!() };
    store.is_away(true);
    sleep(lease(TTL) - Duration::from_secs(2)).await;
    store.is_away(false);
    let Event::Renewed { until } = next(&standing).await else { panic!() };
    assert!(until > granted_until);
    assert!(Moment::now() < moment(granted_until));
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_before_the_lease_is_over_and_the_lock_stays_until_then() {
    let (broker, store) = broker();
    let standing = broker.begin(ask(Mode::Once)).unwrap();
    let Event::Acquired { until, .. } = next(&standing).await else { panic!() };
    let waiter = broker.begin(ask(waiting(None))).unwrap();
    assert!(matches!(next(&waiter).await, Event::Queued { position: 1 }));
    store.is_away(true);
    assert_eq!(next(&standing).await, Event::Lost(LostReason::Expired));
    let left = moment(until).remaining();
    assert!(left <= notice(TTL) && left > notice(TTL) - 10 * MS, "{left:?}");
    store.is_away(false);
    acquired(&waiter).await;
    assert!(moment(until).has_passed());
    assert!(moment(until).elapsed() < 10 * MS, "{:?}", moment(until).elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_the_loss_was_told_does_not_revive_the_lock() {
    let (broker, store) = broker();
    let standing = broker.begin(ask(Mode::Once)).unwrap();
    let Event::Acquired { lock_id, until } = next(&standing).await else { panic!() };
    // Asked after a third of the ttl, and answered half-way from the loss to the end of the lease.
    store.takes(lease(TTL) - TTL / 3 - notice(TTL) / 2);
    assert_eq!(next(&standing).await, Event::Lost(LostReason::Expired));
    store.takes(Duration::ZERO);
    sleep(moment(until).remaining() - 10 * MS).await;
    assert!(is_held(&store));
    assert_eq!(broker.look(&name(), Some(lock_id)).await.unwrap().lease_end, None, "nobody is told that it is valid");
    assert_eq!(poll_fn(|cx| standing.poll_next(cx)).await, None, "it was told the last");
    assert_free_within(&store, 50 * MS).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_a_lost_lock_releases_it_at_once() {
    let (broker, store) = broker();
    let standing = broker.begin(ask(Mode::Once)).unwrap();
    let Event::Acquired { lock_id, .. } = next(&standing).await else { panic!() };
    store.is_away(true);
    assert_eq!(next(&standing).await, Event::Lost(LostReason::Expired));
    store.is_away(false);
    assert!(is_held(&store));
    assert_eq!(broker.release(&name(), lock_id).await, Ok(Ended::Released));
    assert_free_within(&store, MS).await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_no_ack_covers_is_lost_though_its_lease_is_renewed() {
    let (broker, store) = broker();
    let stream = broker.stream(None);
    let opened = Moment::now();
    let mut session = broker.open(stream.key(), TTL).unwrap();
    session.turn(|turn| turn.take_ref(1).unwrap());
    session.turn(|turn| turn.begin(1, ask(Mode::Once)));
    sleep(MS).await;
    // Every answer comes after the next heartbeat: the store is renewed in time, and no ack covers the lock.
    store.takes(TTL / 3 + 100 * MS);
    let beating = async {
        for seq in 1.. {
            tokio::select! {
                () = session.silent() => panic!("the client beats"),
                () = sleep(TTL / 3) => session.turn(|turn| turn.heartbeat(seq).unwrap()),
            }
        }
    };
    let lost = async {
        loop {
            if let Some(Item::Event(1, Event::Lost(reason))) = poll_fn(|cx| stream.poll_next(cx)).await {
                return reason;
            }
        }
    };
    tokio::select! {
        () = beating => {}
        reason = lost => assert_eq!(reason, LostReason::Expired),
    }
    let told = opened.elapsed();
    let earliest = lease(TTL) - notice(TTL);
    assert!(told >= earliest && told < earliest + TTL / 3 + Duration::from_secs(1), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_is_told_nothing_that_would_pass_for_an_answer() {
    let (broker, store) = broker();
    let holder = held(&broker).await;
    let stream = broker.stream(None);
    let mut session = broker.open(stream.key(), TTL).unwrap();
    session.turn(|turn| turn.take_ref(1).unwrap());
    session.turn(|turn| turn.begin(1, ask(waiting(None))));
    let next = || poll_fn(|cx| stream.poll_next(cx));
    assert!(matches!(next().await, Some(Item::Opened { .. })));
    assert!(matches!(next().await, Some(Item::Event(1, Event::Queued { position: 1 }))));
    session.silent().await;
    // Neither that its wait was cancelled, nor the end, before whoever drives the Session has said why it ends.
    assert!(timeout(Duration::from_secs(60), next()).await.is_err());
    // What it asks now is nobody's any more.
    session.turn(|turn| turn.begin(2, LockRequest { name: LockName::new("another").unwrap(), ..ask(Mode::Once) }));
    sleep(MS).await;
    let another = store.answer(&LockName::new("another").unwrap(), &Request::Look);
    assert_eq!(another, Reply::Status(Ok(LockStatus::Free)));
    session.close(StreamEnd::Unresponsive);
    assert_eq!(next().await, None);
    drop(holder);
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_that_is_closed_after_all_releases_at_once() {
    let (broker, store) = broker();
    let old = acquired(&broker.begin(ask(Mode::Once)).unwrap()).await;
    let stream = broker.stream(None);
    let mut session = broker.open(stream.key(), TTL).unwrap();
    session.turn(|turn| turn.take_ref(1).unwrap());
    session.turn(|turn| turn.begin(1, ask(Mode::Reattach(old))));
    session.silent().await;
    // It may believe in what the broker before told it.
    sleep(MS).await;
    assert!(is_held(&store));
    session.close(StreamEnd::Closed);
    assert_free_within(&store, MS).await;
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_keeps_its_lock_for_as_long_as_it_may_believe_in_it() {
    let (broker, store) = broker();
    let standing = broker.begin(ask(Mode::Once)).unwrap();
    let Event::Acquired { until, .. } = next(&standing).await else { panic!() };
    standing.end(StreamEnd::Unresponsive);
    sleep(moment(until).remaining() - 10 * MS).await;
    assert!(is_held(&store));
    assert_free_within(&store, 50 * MS).await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_a_silent_client_has_not_read_is_released_at_once() {
    let (broker, store) = broker();
    let standing = broker.begin(ask(Mode::Once)).unwrap();
    sleep(MS).await;
    assert!(is_held(&store));
    standing.end(StreamEnd::Unresponsive);
    assert_free_within(&store, MS).await;
}

#[tokio::test(start_paused = true)]
async fn a_reattached_lock_is_kept_for_max_ttl_through_silence_but_not_through_a_word() {
    for word in [false, true] {
        let (broker, store) = broker();
        let first = broker.begin(ask(Mode::Once)).unwrap();
        let old = acquired(&first).await;
        let second = broker.begin(ask(Mode::Reattach(old))).unwrap();
        let new = acquired(&second).await;
        assert_eq!(new.token, old.token);
        assert_ne!(new.grant, old.grant);
        assert_eq!(next(&first).await, Event::Lost(LostReason::TakenOver));
        if word {
            second.end(StreamEnd::Closed);
            assert_free_within(&store, MS).await;
        } else {
            let third = broker.begin(ask(Mode::Reattach(new))).unwrap();
            sleep(MS).await;
            // Never read: but the client may still believe in what it was told before.
            third.end(StreamEnd::Unresponsive);
            sleep(TTL - 10 * MS).await;
            assert!(is_held(&store));
            assert_free_within(&store, 50 * MS).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_that_speaks_after_all_is_heard_at_once() {
    for by_release in [false, true] {
        let (broker, store) = broker();
        let old = acquired(&broker.begin(ask(Mode::Once)).unwrap()).await;
        let ttl = Duration::from_secs(5);
        let second = broker.begin(LockRequest { ttl, ..ask(Mode::Reattach(old)) }).unwrap();
        let new = acquired(&second).await;
        second.end(StreamEnd::Unresponsive);
        // Its own lease is over, but not what the client may have been told before the reattach.
        sleep(ttl).await;
        assert!(is_held(&store));
        if by_release {
            assert_eq!(timeout(MS, broker.release(&name(), new)).await, Ok(Ok(Ended::Released)));
        } else {
            second.end(StreamEnd::Closed);
        }
        assert_free_within(&store, MS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reattach_whose_answer_was_lost_is_found_to_have_landed() {
    let (broker, store) = broker();
    let old = acquired(&broker.begin(ask(Mode::Once)).unwrap()).await;
    store.loses_answers(1);
    let second = broker.begin(ask(Mode::Reattach(old))).unwrap();
    assert_eq!(acquired(&second).await.token, old.token);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_not_ours_any_more_is_lost_and_not_released() {
    for waits_behind in [false, true] {
        for by_release in [false, true] {
            let (broker, store) = broker();
            let first = broker.begin(ask(Mode::Once)).unwrap();
            let old = acquired(&first).await;
            let waiter = waits_behind.then(|| broker.begin(ask(waiting(None))).unwrap());
            store.takes(10 * MS);
            let second = broker.begin(ask(Mode::Reattach(old))).unwrap();
            // The swap has been carried out, and its hold does not know it yet.
            sleep(6 * MS).await;
            if by_release {
                assert_eq!(broker.release(&name(), old).await, Ok(Ended::HeldByAnother));
            } else {
                first.end(StreamEnd::Closed);
            }
            assert_eq!(next(&first).await, Event::Lost(LostReason::TakenOver));
            let new = acquired(&second).await;
            assert_eq!(broker.release(&name(), new).await, Ok(Ended::Released));
            assert_eq!(next(&second).await, Event::Released);
            if let Some(waiter) = waiter {
                acquired(&waiter).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_somebody_else_has_deleted_is_lost_and_not_released() {
    for waits_behind in [false, true] {
        for by_release in [false, true] {
            let (broker, store) = broker();
            let first = broker.begin(ask(Mode::Once)).unwrap();
            let lock_id = acquired(&first).await;
            let waiter = waits_behind.then(|| broker.begin(ask(waiting(None))).unwrap());
            sleep(MS).await;
            store.lets_go(lock_id.grant);
            if by_release {
                assert_eq!(broker.release(&name(), lock_id).await, Ok(Ended::NotHeld));
            } else {
                first.end(StreamEnd::Closed);
            }
            assert_eq!(next(&first).await, Event::Lost(LostReason::Gone));
            if let Some(waiter) = waiter {
                // At once: there is no other broker whose turn it could be.
                timeout(10 * MS, acquired(&waiter)).await.unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_mid_reattach_leaves_the_linger() {
    const LINGER: Duration = Duration::from_secs(2);
    let lingering = |want| LockRequest { linger: LINGER, ..ask(want) };
    for left_after in 0..40 {
        let (broker, store) = broker();
        let first = broker.begin(lingering(Mode::Once)).unwrap();
        let old = acquired(&first).await;
        store.takes(10 * MS);
        let lost = if left_after % 2 == 0 { 0 } else { 3 };
        store.loses_answers(lost);
        let second = broker.begin(lingering(Mode::Reattach(old))).unwrap();
        sleep(left_after * MS / 2).await;
        second.end(StreamEnd::Closed);
        let left = Moment::now();
        // The first one believes that it has it: what it renews now is not its lock any more.
        while is_held(&store) {
            sleep(MS).await;
        }
        let lingered = left.elapsed();
        assert!(lingered >= LINGER && lingered < 2 * LINGER, "left after {left_after}: lingered for {lingered:?}");
        drop(first);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_held_any_more_cannot_be_reattached() {
    let (broker, store) = broker();
    let first = broker.begin(ask(Mode::Once)).unwrap();
    let old = acquired(&first).await;
    first.end(StreamEnd::Closed);
    assert_free_within(&store, MS).await;
    let second = broker.begin(ask(Mode::Reattach(old))).unwrap();
    assert!(matches!(next(&second).await, Event::NotAcquired { reason: Reason::NotReattachable, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_whose_answer_was_lost_leaves_no_lock_behind() {
    let (broker, store) = broker();
    let holder = broker.begin(ask(Mode::Once)).unwrap();
    let first = acquired(&holder).await;
    let waiter = broker.begin(ask(waiting(None))).unwrap();
    assert!(matches!(next(&waiter).await, Event::Queued { position: 1 }));
    store.loses_answers(1);
    holder.end(StreamEnd::Closed);
    assert!(acquired(&waiter).await.token > first.token);
    waiter.end(StreamEnd::Closed);
    assert_free_within(&store, Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_hand_over_lost_its_answer_has_released_all_the_same() {
    let (broker, store) = broker();
    let lock_id = acquired(&broker.begin(ask(Mode::Once)).unwrap()).await;
    let waiter = broker.begin(ask(waiting(None))).unwrap();
    assert!(matches!(next(&waiter).await, Event::Queued { position: 1 }));
    store.loses_answers(1);
    assert_eq!(broker.release(&name(), lock_id).await, Ok(Ended::Released));
    acquired(&waiter).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_races_with_a_hand_over_leaves_no_lock_behind() {
    for left_after in 0..40 {
        let (broker, store) = broker();
        store.takes(10 * MS);
        let holder = broker.begin(ask(Mode::Once)).unwrap();
        acquired(&holder).await;
        let waiter = broker.begin(ask(waiting(None))).unwrap();
        assert!(matches!(next(&waiter).await, Event::Queued { .. }));
        let behind = broker.begin(ask(waiting(None))).unwrap();
        assert!(matches!(next(&behind).await, Event::Queued { .. }));
        holder.end(StreamEnd::Closed);
        sleep(left_after * MS).await;
        waiter.end(StreamEnd::Closed);
        acquired(&behind).await;
        behind.end(StreamEnd::Closed);
        assert_free_within(&store, 100 * MS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_in_which_they_came() {
    let (broker, _) = broker();
    let mut holder = broker.begin(ask(Mode::Once)).unwrap();
    let mut token = acquired(&holder).await.token;
    let mut line = Vec::new();
    for position in 1..=50 {
        let waiter = broker.begin(ask(waiting(None))).unwrap();
        assert_eq!(next(&waiter).await, Event::Queued { position });
        line.push(waiter);
    }
    for waiter in line {
        holder.end(StreamEnd::Closed);
        let lock_id = acquired(&waiter).await;
        assert!(lock_id.token > token);
        token = lock_id.token;
        holder = waiter;
    }
}

/// Another broker ends the grant. The line behind it goes on when its first would have polled, or the grant be renewed.
#[tokio::test(start_paused = true)]
async fn a_line_behind_a_holder_goes_on_after_a_release_elsewhere() {
    for silent in [false, true] {
        for interval in [None, Some(10 * MS), Some(1_000 * MS), Some(60_000 * MS)] {
            let (broker, store) = broker();
            let holder = broker.begin(ask(Mode::Once)).unwrap();
            let lock_id = acquired(&holder).await;
            let waiter = broker.begin(ask(polling(interval))).unwrap();
            assert!(matches!(next(&waiter).await, Event::Queued { position: 1 }));
            if silent {
                holder.end(StreamEnd::Unresponsive);
            }
            sleep(7 * MS).await;
            store.lets_go(lock_id.grant);
            // Behind a silent client nothing is renewed; its lease ends.
            let at_last = if silent { TTL } else { TTL / 3 };
            let limit = interval.unwrap_or(POLL).mul_f64(1.2).min(at_last) + 5 * MS;
            timeout(limit, acquired(&waiter)).await.unwrap_or_else(|_| panic!("not within {limit:?}"));
            if !silent {
                assert_eq!(after_renewals(&holder).await, Event::Lost(LostReason::Gone));
            }
        }
    }
}

/// What a look shows leads to a renewal, and to no release, whatever it shows.
#[tokio::test(start_paused = true)]
async fn a_look_that_shows_what_is_not_so_ends_nothing() {
    let (broker, store) = broker();
    let holder = broker.begin(ask(Mode::Once)).unwrap();
    let Event::Acquired { until, .. } = next(&holder).await else { panic!() };
    let waiter = broker.begin(ask(waiting(None))).unwrap();
    store.shows_nothing(true);
    sleep(2 * TTL).await;
    assert!(is_held(&store));
    assert!(matches!(next(&holder).await, Event::Renewed { until: renewed } if renewed > until));
    // Neither is the lock of a silent client deleted, in which that may believe.
    let told = Moment::now();
    holder.end(StreamEnd::Unresponsive);
    while is_held(&store) && told.elapsed() < TTL {
        sleep(MS).await;
    }
    assert!(told.elapsed() >= lease(TTL) - TTL / 3, "{:?}", told.elapsed());
    acquired(&waiter).await;
}

#[tokio::test(start_paused = true)]
async fn the_store_is_looked_at_only_for_a_line_and_once_an_interval() {
    let (broker, store) = broker();
    let _holder = held(&broker).await;
    sleep(10 * TTL).await;
    assert_eq!(store.looks(), 0, "nobody waits");
    let waiter = broker.begin(ask(waiting(None))).unwrap();
    let _behind: Vec<_> = (0..50).map(|_| broker.begin(ask(waiting(None))).unwrap()).collect();
    sleep(MS).await;
    sleep(TTL).await;
    let (least, most) = (TTL.div_duration_f64(POLL.mul_f64(1.2)) as u32 - 1, TTL.div_duration_f64(POLL) as u32);
    assert!((least..=most).contains(&store.looks()), "{} looks in {TTL:?}", store.looks());
    drop(waiter);
}

#[tokio::test(start_paused = true)]
async fn looks_are_bounded_however_many_names_are_contended() {
    const NAMES: u32 = 3_000;
    let (broker, store) = broker_for(NAMES as usize + 1);
    let mut kept = Vec::new();
    for number in 0..NAMES {
        let name = LockName::new(&format!("job {number}")).unwrap();
        let want = |want| LockRequest { name: name.clone(), ..ask(want) };
        kept.push(broker.begin(want(Mode::Once)).unwrap());
        acquired(kept.last().unwrap()).await;
        kept.push(broker.begin(want(polling(Some(10 * MS)))).unwrap());
    }
    sleep(1_000 * MS).await;
    let before = store.looks();
    sleep(1_000 * MS).await;
    let looks = store.looks() - before;
    // 10,000 a second, where 250,000 to 300,000 would be asked for; each name has its turn all the same.
    assert!((9_000..=10_100).contains(&looks), "{looks} looks in a second");
}

/// Each waiter's own interval, from when it comes to the head of the line.
#[tokio::test(start_paused = true)]
async fn the_interval_of_one_that_leaves_binds_nobody_behind_it() {
    for leaves_by_itself in [false, true] {
        let (broker, store) = broker();
        let elsewhere = store.is_held_elsewhere();
        let max_wait = leaves_by_itself.then_some(5 * MS);
        let rarely = Mode::Wait { max_wait, poll_interval: Some(60_000 * MS) };
        let first = broker.begin(ask(rarely)).unwrap();
        assert!(matches!(next(&first).await, Event::Queued { position: 1 }));
        let second = broker.begin(ask(waiting(None))).unwrap();
        let third = broker.begin(ask(polling(Some(1_000 * MS)))).unwrap();
        sleep(MS).await;
        if !leaves_by_itself {
            first.end(StreamEnd::Closed);
        }
        assert!(matches!(next(&first).await, Event::NotAcquired { .. }));
        store.lets_go(elsewhere);
        let free = Moment::now();
        acquired(&second).await;
        assert!(free.elapsed() <= POLL.mul_f64(1.2) + 5 * MS, "{:?}", free.elapsed());

        // Nor does the interval of one that polls often count for one that wants to poll rarely.
        second.end(StreamEnd::Closed);
        acquired(&third).await;
        third.end(StreamEnd::Closed);
        assert_free_within(&store, MS).await;
        let elsewhere = store.is_held_elsewhere();
        let often = broker.begin(ask(polling(Some(10 * MS)))).unwrap();
        sleep(MS).await;
        let rarely = broker.begin(ask(polling(Some(1_000 * MS)))).unwrap();
        sleep(25 * MS).await;
        often.end(StreamEnd::Closed);
        let at_the_head = Moment::now();
        sleep(MS).await;
        store.lets_go(elsewhere);
        acquired(&rarely).await;
        let waited = at_the_head.elapsed();
        assert!(waited >= 1_000 * MS && waited <= 1_205 * MS, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_leaves_while_it_polls_leaves_the_line_as_it_was() {
    for left_after in 0..40 {
        let (broker, store) = broker();
        store.takes(10 * MS);
        let elsewhere = store.is_held_elsewhere();
        let first = broker.begin(ask(polling(Some(60_000 * MS)))).unwrap();
        let second = broker.begin(ask(waiting(None))).unwrap();
        sleep(left_after * MS / 2).await;
        first.end(StreamEnd::Closed);
        if left_after % 2 == 0 {
            sleep(20 * MS).await;
        }
        store.lets_go(elsewhere);
        let free = Moment::now();
        acquired(&second).await;
        assert!(free.elapsed() <= POLL.mul_f64(1.2) + 80 * MS, "left after {left_after}: {:?}", free.elapsed());
        second.end(StreamEnd::Closed);
        assert_free_within(&store, 100 * MS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_of_anothers_grant_here_is_not_lost_on_a_poll_under_way() {
    let (broker, store) = broker();
    let grant = store.is_held_elsewhere();
    store.takes(10 * MS);
    let waiter = broker.begin(ask(polling(Some(60_000 * MS)))).unwrap();
    // The poll has found the lock taken, and has not told so yet.
    sleep(6 * MS).await;
    store.takes(Duration::ZERO);
    let lock_id = LockId {
        grant,
        token: FencingToken::new(1).unwrap(),
        linger: Duration::ZERO,
        min_hold: Duration::ZERO,
        permit: None,
    };
    assert_eq!(broker.release(&name(), lock_id).await, Ok(Ended::Released));
    timeout(10 * MS, acquired(&waiter)).await.expect("at once");
}

/// The other way round: a line here stands behind one that has been released elsewhere, and here somebody releases the
/// one that has got it since.
#[tokio::test(start_paused = true)]
async fn a_release_of_anothers_grant_here_lets_the_line_behind_a_stale_holder_go_on() {
    let (broker, store) = broker();
    let holder = broker.begin(ask(Mode::Once)).unwrap();
    let lock_id = acquired(&holder).await;
    let waiter = broker.begin(ask(polling(Some(60_000 * MS)))).unwrap();
    sleep(MS).await;
    store.lets_go(lock_id.grant);
    let grant = store.is_held_elsewhere();
    let lock_id = LockId {
        grant,
        token: FencingToken::new(1).unwrap(),
        linger: Duration::ZERO,
        min_hold: Duration::ZERO,
        permit: None,
    };
    assert_eq!(broker.release(&name(), lock_id).await, Ok(Ended::Released));
    timeout(10 * MS, acquired(&waiter)).await.expect("at once");
    assert_eq!(after_renewals(&holder).await, Event::Lost(LostReason::Gone));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_moment_costs_no_interval() {
    let (broker, store) = broker();
    store.is_away(true);
    let waiter = broker.begin(ask(polling(Some(3_600_000 * MS)))).unwrap();
    sleep(300 * MS).await;
    store.is_away(false);
    timeout(1_500 * MS, acquired(&waiter)).await.expect("soon");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_on_time_whatever_the_store_does() {
    // It is a little late where the store does not say in time who has the lock.
    for (takes, latest) in [(MS, 1_050 * MS), (Duration::from_secs(3), 1_100 * MS)] {
        let (broker, store) = broker();
        let _holder = held(&broker).await;
        store.takes(takes);
        let asked = Moment::now();
        let waiter = broker.begin(ask(waiting(Some(Duration::from_secs(1))))).unwrap();
        loop {
            match next(&waiter).await {
                Event::Queued { .. } => {}
                Event::NotAcquired { reason: Reason::MaxWait, .. } => break,
                other => panic!("{other:?}"),
            }
        }
        let waited = asked.elapsed();
        assert!(waited >= Duration::from_secs(1) && waited <= latest, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_acquires_while_a_lock_lingers_and_then_the_waiter_does_at_once() {
    let (broker, _) = broker();
    let linger = Duration::from_millis(1_500);
    let lingering = LockRequest { linger, ..ask(Mode::Once) };
    let holder = broker.begin(lingering).unwrap();
    acquired(&holder).await;
    let waiter = broker.begin(ask(waiting(None))).unwrap();
    assert!(matches!(next(&waiter).await, Event::Queued { .. }));
    let released = Moment::now();
    holder.end(StreamEnd::Closed);
    assert_eq!(next(&holder).await, Event::Released);
    let other = broker.begin(ask(Mode::Once)).unwrap();
    assert!(matches!(next(&other).await, Event::NotAcquired { reason: Reason::Lingering, .. }));
    acquired(&waiter).await;
    let waited = released.elapsed();
    assert!(waited >= linger && waited < linger + 20 * MS, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_stays_closed_until_its_min_hold_is_over_and_then_the_waiter_has_it_at_once() {
    let min_hold = Duration::from_millis(1_500);
    // Ended sooner, it lingers for what is left. Ended later, it is handed over.
    for held_for in [500 * MS, 2_000 * MS] {
        let (broker, _) = broker();
        let granted = Moment::now();
        let holder = broker.begin(LockRequest { min_hold, ..ask(Mode::Once) }).unwrap();
        let lock_id = acquired(&holder).await;
        assert_eq!((lock_id.min_hold, lock_id.linger), (min_hold, Duration::ZERO));
        let waiter = broker.begin(ask(waiting(None))).unwrap();
        assert!(matches!(next(&waiter).await, Event::Queued { .. }));
        sleep(held_for).await;
        holder.end(StreamEnd::Closed);
        assert_eq!(next(&holder).await, Event::Released);
        assert_eq!(acquired(&waiter).await.min_hold, Duration::ZERO);
        let (waited, closed) = (granted.elapsed(), min_hold.max(held_for));
        assert!(waited >= closed && waited < closed + 20 * MS, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_has_read_keeps_no_min_hold() {
    let (broker, store) = broker();
    let min_hold = Duration::from_secs(600);
    let holder = broker.begin(LockRequest { min_hold, ..ask(Mode::Once) }).unwrap();
    sleep(MS).await;
    assert!(is_held(&store));
    holder.end(StreamEnd::Closed);
    assert_free_within(&store, 20 * MS).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_mid_reattach_keeps_its_min_hold() {
    let min_hold = Duration::from_secs(4);
    for left_after in 0..40 {
        let (broker, store) = broker();
        let granted = Moment::now();
        let first = broker.begin(LockRequest { min_hold, ..ask(Mode::Once) }).unwrap();
        let old = acquired(&first).await;
        store.takes(10 * MS);
        store.loses_answers(if left_after % 2 == 0 { 0 } else { 3 });
        let second = broker.begin(ask(Mode::Reattach(old))).unwrap();
        sleep(left_after * MS / 2).await;
        second.end(StreamEnd::Closed);
        while is_held(&store) {
            sleep(MS).await;
        }
        let closed = granted.elapsed();
        assert!(
            closed >= min_hold && closed < min_hold + Duration::from_secs(1),
            "left after {left_after}: {closed:?}"
        );
        drop(first);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_goes_on_until_the_store_is_back() {
    let (broker, store) = broker();
    let holder = broker.begin(ask(Mode::Once)).unwrap();
    let lock_id = acquired(&holder).await;
    store.is_away(true);
    let release = broker.release(&name(), lock_id).await;
    assert!(matches!(release, Err(Failure::Unavailable { .. })), "{release:?}");
    store.is_away(false);
    assert_free_within(&store, Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_drains_keeps_what_is_held_and_lets_waiters_go() {
    let (broker, store) = broker();
    let holder = broker.begin(ask(Mode::Once)).unwrap();
    acquired(&holder).await;
    let waiter = broker.begin(ask(waiting(None))).unwrap();
    assert!(matches!(next(&waiter).await, Event::Queued { .. }));
    let grace = Duration::from_secs(25);
    broker.drain(grace);
    assert_eq!(next(&waiter).await, Event::Draining { grace });
    assert!(matches!(next(&waiter).await, Event::Failed(Failure::Unavailable { .. })));
    assert_eq!(next(&holder).await, Event::Draining { grace });
    assert!(broker.begin(ask(Mode::Once)).is_err());
    assert!(matches!(next(&holder).await, Event::Renewed { .. }));
    drop(waiter);
    holder.end(StreamEnd::Closed);
    drop(holder);
    broker.drained().await;
    assert!(!is_held(&store));
}

#[tokio::test(start_paused = true)]
async fn nothing_asks_the_store_when_all_is_over() {
    let (broker, store) = broker();
    for round in 0..200 {
        let standing = broker.begin(ask(if round % 2 == 0 { Mode::Once } else { waiting(Some(MS)) })).unwrap();
        sleep(2 * MS).await;
        standing.end(StreamEnd::Closed);
    }
    assert_free_within(&store, 10 * MS).await;
    advance(MS).await;
    assert_eq!(Arc::strong_count(&store.0), 2, "one for the test, one for the broker");
}

// ---- the store --------------------------------------------------------------------------------------------------

/// The embedded store behind a network. Cloning shares it.
#[derive(Clone)]
struct Network(Arc<Behind>);

struct Behind {
    memory: Mutex<MemoryStore>,
    takes_micros: AtomicU64,
    lost_answers: AtomicU32,
    away: AtomicBool,
    /// A look finds nothing, whatever there is.
    shows_nothing: AtomicBool,
    looks: AtomicU32,
}

/// What a broker has of it: commands under way as well.
struct Carrier {
    network: Network,
    under_way: FuturesUnordered<BoxFuture<'static, StoreEvent>>,
}

impl Network {
    /// Every command takes this long, half of it before it is carried out.
    fn takes(&self, time: Duration) {
        self.0.takes_micros.store(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// The next `count` commands are carried out, and nobody hears of it.
    fn loses_answers(&self, count: u32) {
        self.0.lost_answers.store(count, Ordering::Relaxed);
    }

    /// Looks for queues find nothing from now on, whatever there is.
    fn shows_nothing(&self, nothing: bool) {
        self.0.shows_nothing.store(nothing, Ordering::Relaxed);
    }

    /// How many looks there have been for queues behind holders.
    fn looks(&self) -> u32 {
        self.0.looks.load(Ordering::Relaxed)
    }

    /// Another broker is granted the lock.
    fn is_held_elsewhere(&self) -> GrantId {
        let id = grant_id();
        let granted = self.answer(&name(), &Request::Grant { id, ttl: 3_600 });
        assert!(matches!(granted, Reply::Granted(Ok(Granted::Yes(_)))));
        id
    }

    /// Another broker releases this grant.
    fn lets_go(&self, id: GrantId) {
        let removed = self.answer(&name(), &Request::Remove { state: ItemState::Held(id), quiet: false });
        assert_eq!(removed, Reply::Changed(Ok(Change::Done)));
    }

    /// Looks past the network.
    fn status(&self) -> LockStatus {
        let Reply::Status(Ok(status)) = self.answer(&name(), &Request::Look) else { panic!("a look shows a status") };
        status
    }

    /// Commands do not even get there.
    fn is_away(&self, away: bool) {
        self.0.away.store(away, Ordering::Relaxed);
    }

    fn answer(&self, name: &LockName, request: &Request) -> Reply {
        self.0.memory.lock().unwrap().answer(&name.into(), request)
    }

    async fn carry(self, name: LockName, request: Request) -> Reply {
        if matches!(request, Request::Stands(_)) {
            self.0.looks.fetch_add(1, Ordering::Relaxed);
        }
        let half = Duration::from_micros(self.0.takes_micros.load(Ordering::Relaxed) / 2);
        sleep(half).await;
        if self.0.away.load(Ordering::Relaxed) {
            let cause = Cause::StoreUnavailable;
            return failed(&request, StoreError::Unavailable { why: "away".into(), cause, retry_after: None });
        }
        let reply = self.answer(&name, &request);
        sleep(half).await;
        let losing = |left: u32| left.checked_sub(1);
        if self.0.lost_answers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, losing).is_ok() {
            return failed(&request, StoreError::Uncertain { why: "the answer was lost".into() });
        }
        match reply {
            Reply::Stands(Ok(stands)) => Reply::Stands(Ok(stands && !self.0.shows_nothing.load(Ordering::Relaxed))),
            reply => reply,
        }
    }
}

fn failed(request: &Request, error: StoreError) -> Reply {
    match request {
        Request::Grant { .. } | Request::HandOver { .. } => Reply::Granted(Err(error)),
        Request::Look => Reply::Status(Err(error)),
        Request::Stands(_) => Reply::Stands(Err(error)),
        Request::Watch { .. } => Reply::Watching(Watch::No),
        _ => Reply::Changed(Err(error)),
    }
}

impl LockStore for Carrier {
    fn traits(&self) -> StoreTraits {
        StoreTraits { is_shared: true, can_be_woken: false }
    }

    fn ready(&self) -> watch::Receiver<bool> {
        self.network.0.memory.lock().unwrap().ready()
    }

    fn take(&mut self, orders: &mut Vec<Order>, _: &mut Vec<StoreEvent>) {
        for order in orders.drain(..) {
            match order {
                Order::Ask { id, item: name, request, .. } => {
                    let network = self.network.clone();
                    let carried = async move { StoreEvent::Answer(id, network.carry(name.name, request).await) };
                    self.under_way.push(Box::pin(carried));
                }
                Order::GiveUp(_) => {}
                Order::Note(name, note) => self.network.0.memory.lock().unwrap().note(&name, note),
            }
        }
    }

    async fn drive(&mut self, events: &mut Vec<StoreEvent>) {
        match self.under_way.next().await {
            Some(event) => events.push(event),
            None => std::future::pending().await,
        }
    }
}

// ---- helpers ----------------------------------------------------------------------------------------------------

fn broker() -> (Broker, Network) {
    broker_for(1_000)
}

fn broker_for(locks: usize) -> (Broker, Network) {
    clock::follow_tokio();
    let behind = Behind {
        memory: Mutex::new(MemoryStore::new()),
        takes_micros: AtomicU64::new(0),
        lost_answers: AtomicU32::new(0),
        away: AtomicBool::new(false),
        shows_nothing: AtomicBool::new(false),
        looks: AtomicU32::new(0),
    };
    let store = Network(Arc::new(behind));
    let locks = NonZeroUsize::new(locks).unwrap();
    let settings =
        Settings { default_ttl: TTL, max_ttl: TTL, poll_interval: POLL, max_locks: locks, max_waiters: locks };
    let carrier = Carrier { network: store.clone(), under_way: FuturesUnordered::new() };
    (Broker::new(carrier, settings, &Metrics::default()), store)
}

fn name() -> LockName {
    LockName::new("job").unwrap()
}

fn ask(mode: Mode) -> LockRequest {
    LockRequest {
        name: name(),
        ttl: TTL,
        linger: Duration::ZERO,
        min_hold: Duration::ZERO,
        owner: Owner::default(),
        value: None,
        access: Default::default(),
        mode,
        account: None,
        on_disconnect: OnDisconnect::default(),
    }
}

fn waiting(max_wait: Option<Duration>) -> Mode {
    Mode::Wait { max_wait, poll_interval: None }
}

fn polling(poll_interval: Option<Duration>) -> Mode {
    Mode::Wait { max_wait: None, poll_interval }
}

async fn next(standing: &ClientStream) -> Event {
    match poll_fn(|cx| standing.poll_next(cx)).await {
        Some(Item::Event(_, event)) => event,
        other => panic!("the stream gave {other:?}"),
    }
}

/// The next grant, past whatever is told of the wait for it.
async fn acquired(standing: &ClientStream) -> LockId {
    loop {
        match next(standing).await {
            Event::Acquired { lock_id, .. } => return lock_id,
            Event::Queued { .. } => {}
            other => panic!("not acquired: {other:?}"),
        }
    }
}

async fn after_renewals(standing: &ClientStream) -> Event {
    loop {
        match next(standing).await {
            Event::Renewed { .. } => {}
            other => return other,
        }
    }
}

async fn held(broker: &Broker) -> ClientStream {
    let standing = broker.begin(ask(Mode::Once)).unwrap();
    acquired(&standing).await;
    standing
}

fn is_held(store: &Network) -> bool {
    store.status() != LockStatus::Free
}

async fn assert_free_within(store: &Network, limit: Duration) {
    let asked = Moment::now();
    // Whatever is ready to run does so before the clock moves.
    sleep(Duration::from_micros(1)).await;
    while is_held(store) {
        assert!(asked.elapsed() < limit, "still held after {:?}", asked.elapsed());
        sleep(MS).await;
    }
    // And stays free: nothing lands later.
    sleep(Duration::from_secs(1)).await;
    assert!(!is_held(store), "held again");
}
