//! Tests the session's task against a broker that follows a script, since no real broker can be made to act at the
//! right moment. Time is paused.

mod leases;
mod observe;
mod peer;

use std::future::IntoFuture;
use std::time::Duration;

use tokio::time::{advance, sleep};
use tonic::{Code, Status};

use super::*;
use crate::clock::Moment;
use crate::proto::lock_event::Kind;
use crate::proto::{Draining, Released, lost};
use peer::{BEAT, Peer, Stream, TTL, VALID, client, client_of_two, client_with, soon};

/// The difference that rounding to milliseconds on the wire may make in a span.
const CLOSE: Duration = Duration::from_millis(100);

#[track_caller]
fn assert_close(span: Duration, expected: Duration) {
    assert!(span <= expected && span + CLOSE >= expected, "{span:?} is not {expected:?}");
}

/// Lets everything that can happen now happen.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// Asks for a lock and grants it.
async fn held(client: &Client, peer: &mut Peer) -> (Guard, Stream, i64) {
    let asking = tokio::spawn(client.acquire("a").into_future());
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    stream.grant(begin.lock_ref, "id-1");
    let guard = soon(asking).await.unwrap().unwrap().guard().expect("acquired");
    (guard, stream, begin.lock_ref)
}

#[tokio::test(start_paused = true)]
async fn heartbeats_carry_a_lock_on_and_one_left_out_runs_out() {
    let (client, mut peer) = client();
    let (guard, mut stream, lock_ref) = held(&client, &mut peer).await;
    assert_eq!((guard.fencing_token(), guard.lock_id().as_str(), guard.ttl()), (7, "id-1", TTL));
    assert_close(guard.remaining(), VALID);

    let opened = Moment::now();
    let seq = stream.heartbeat().await;
    assert_close(opened.elapsed(), BEAT);
    sleep(Duration::from_secs(1)).await;
    stream.acknowledge(seq, &[]);
    settle().await;
    // Counted from the heartbeat, not from its acknowledgement.
    assert_close(guard.remaining(), VALID - Duration::from_secs(1));

    let seq = stream.heartbeat().await;
    stream.acknowledge(seq, &[lock_ref]);
    settle().await;
    assert_close(guard.remaining(), VALID - BEAT);
    let left = guard.expires_in();
    let before = Moment::now();
    let lost = tokio::spawn(async move { (soon(guard.lost()).await, guard) });
    // The stream lives on: the lock that is not renewed is given up on it when it has run out.
    loop {
        match stream.next().await {
            proto::session_request::Kind::Heartbeat(beat) => stream.acknowledge(beat.seq, &[lock_ref]),
            proto::session_request::Kind::End(end) => break assert_eq!(end.lock_ref, lock_ref),
            other => panic!("{other:?}"),
        }
    }
    let (reason, guard) = soon(lost).await.unwrap();
    assert_eq!(reason, LostReason::Expired);
    assert!(before.elapsed() >= left && before.elapsed() < left + CLOSE);
    assert_eq!((guard.remaining(), guard.expires_in()), (Duration::ZERO, Duration::ZERO));
    assert_eq!(guard.release().await, Err(Error::Lost { lock: "a".into(), reason: LostReason::Expired }));
}

#[tokio::test(start_paused = true)]
async fn the_first_heartbeat_is_in_time_however_late_the_session_is_open() {
    const LATE: Duration = Duration::from_millis(2_900);
    let (client, mut peer) = client();
    let asking = tokio::spawn(client.acquire("a").into_future());
    let mut stream = peer.accept().await;
    let sent = Moment::now();
    sleep(LATE).await;
    stream.opened();
    let begin = stream.begin().await;
    stream.grant(begin.lock_ref, "id-1");
    let guard = soon(asking).await.unwrap().unwrap().guard().expect("acquired");
    assert_close(guard.remaining(), VALID - LATE);
    stream.heartbeat().await;
    assert_close(sent.elapsed(), BEAT);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_ends_its_lock_even_if_the_grant_is_on_its_way() {
    let (client, mut peer) = client();
    let asking = tokio::spawn(client.wait_acquire("a").into_future());
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    asking.abort();
    assert_eq!(stream.end().await, begin.lock_ref);
    stream.grant(begin.lock_ref, "too late");

    // And one whose grant has come, but which nobody has looked at.
    let mut asking = Box::pin(client.wait_acquire("b").into_future());
    tokio::select! {
        biased;
        _ = &mut asking => panic!("nobody has granted it"),
        begin = stream.begin() => stream.grant(begin.lock_ref, "unseen"),
    }
    settle().await;
    drop(asking);
    assert_eq!(stream.end().await, begin.lock_ref + 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_guard_releases_and_dropping_everything_ends_the_stream() {
    let (client, mut peer) = client();
    let (guard, mut stream, lock_ref) = held(&client, &mut peer).await;
    drop(guard);
    assert_eq!(stream.end().await, lock_ref);
    stream.event(lock_ref, Kind::Released(Released {}));
    drop(client);
    stream.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_is_confirmed_by_the_stream_or_else_by_any_broker() {
    let (client, mut peer) = client();
    let (guard, mut stream, lock_ref) = held(&client, &mut peer).await;
    let releasing = tokio::spawn(guard.release());
    assert_eq!(stream.end().await, lock_ref);
    stream.event(lock_ref, Kind::Released(Released {}));
    assert_eq!(soon(releasing).await.unwrap(), Ok(()));

    let asking = tokio::spawn(client.acquire("b").into_future());
    let begin = stream.begin().await;
    stream.grant(begin.lock_ref, "id-2");
    let releasing = tokio::spawn(soon(asking).await.unwrap().unwrap().guard().unwrap().release());
    assert_eq!(stream.end().await, begin.lock_ref);
    stream.break_off();
    let release = soon(peer.releases.recv()).await.unwrap();
    assert_eq!((&*release.name, &*release.lock_id), ("b", "id-2"));
    assert_eq!(soon(releasing).await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_release_that_a_stream_cannot_confirm_is_not_asked_of_its_broker_first() {
    let (client, [mut one, mut other]) = client_of_two();
    let (guard, mut stream, lock_ref) = held(&client, &mut one).await;
    let releasing = tokio::spawn(guard.release());
    assert_eq!(stream.end().await, lock_ref);
    stream.break_off();
    assert_eq!(soon(other.releases.recv()).await.unwrap().lock_id, "id-1");
    assert_eq!(soon(releasing).await.unwrap(), Ok(()));
    assert!(one.releases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_leaves_no_validity_until_the_lock_is_reattached() {
    let (client, mut peer) = client();
    let (guard, stream, _) = held(&client, &mut peer).await;
    advance(Duration::from_secs(2)).await;
    stream.break_off();
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    assert_eq!((&*begin.reattach_lock_id, begin.wait), ("id-1", None));
    assert_eq!(guard.remaining(), Duration::ZERO);
    assert_close(guard.expires_in(), VALID - Duration::from_secs(2));
    stream.grant(begin.lock_ref, "id-2");
    settle().await;
    assert_close(guard.remaining(), VALID);
    assert_eq!((guard.lock_id().as_str(), guard.fencing_token()), ("id-2", 7));
    drop(guard);
    assert_eq!(stream.end().await, begin.lock_ref);
}

#[tokio::test(start_paused = true)]
async fn a_reattach_that_is_answered_too_late_is_none() {
    let (client, mut peer) = client();
    let (guard, stream, _) = held(&client, &mut peer).await;
    let left = guard.expires_in();
    stream.break_off();
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    let before = Moment::now();
    assert_eq!(stream.end().await, begin.lock_ref);
    assert_close(before.elapsed().min(left), left);
    stream.grant(begin.lock_ref, "id-2");
    settle().await;
    assert_eq!(soon(guard.lost()).await, LostReason::Expired);
    assert_eq!(guard.remaining(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_reattach_that_fails_is_asked_again_and_one_that_is_refused_is_the_end() {
    let (client, mut peer) = client();
    let (guard, stream, _) = held(&client, &mut peer).await;
    stream.break_off();
    let mut stream = peer.open().await;
    let first = stream.begin().await;
    stream.fail(first.lock_ref, Code::Unavailable);
    let second = stream.begin().await;
    assert!(second.lock_ref > first.lock_ref && second.reattach_lock_id == "id-1");
    assert!(guard.expires_in() > VALID - Duration::from_secs(1));
    let refused =
        proto::NotAcquired { reason: proto::not_acquired::Reason::NotReattachable.into(), ..Default::default() };
    stream.event(second.lock_ref, Kind::NotAcquired(refused));
    assert_eq!(soon(guard.lost()).await, LostReason::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_draining_stream_stays_until_its_locks_have_moved() {
    let (client, mut peer) = client();
    let (guard, mut old, old_ref) = held(&client, &mut peer).await;
    old.event(0, Kind::Draining(Draining { grace: None }));
    let mut new = peer.open().await;
    let begin = new.begin().await;
    // Reattaching takes the lock from the old broker, which may say so first.
    old.lose(old_ref, lost::Reason::TakenOver);
    let seq = old.heartbeat().await;
    old.acknowledge(seq, &[]);
    settle().await;
    // It knows nothing of the lock any more: its acknowledgements add nothing.
    assert_close(guard.remaining(), VALID - BEAT);
    assert!(!peer.is_dialed());
    new.grant(begin.lock_ref, "id-2");
    old.ended().await;
    assert_eq!(guard.lock_id(), "id-2");
    new.lose(begin.lock_ref, lost::Reason::Gone);
    assert_eq!(soon(guard.lost()).await, LostReason::Gone);
}

#[tokio::test(start_paused = true)]
async fn what_renews_a_stream_adds_nothing_to_a_lock_that_was_lost_on_it() {
    let (client, mut peer) = client();
    let (guard, mut stream, lock_ref) = held(&client, &mut peer).await;
    stream.lose(lock_ref, lost::Reason::Gone);
    assert_eq!(soon(guard.lost()).await, LostReason::Gone);
    assert_eq!(stream.end().await, lock_ref);
    for passed in [BEAT, 2 * BEAT] {
        let seq = stream.heartbeat().await;
        stream.acknowledge(seq, &[]);
        settle().await;
        assert_close(guard.expires_in(), VALID - passed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_given_up_while_it_moves_is_released_where_it_arrives() {
    let (client, mut peer) = client();
    let (guard, old, _) = held(&client, &mut peer).await;
    old.event(0, Kind::Draining(Draining { grace: None }));
    let mut new = peer.open().await;
    let begin = new.begin().await;
    let releasing = tokio::spawn(guard.release());
    settle().await;
    new.grant(begin.lock_ref, "id-2");
    assert_eq!(new.end().await, begin.lock_ref);
    new.event(begin.lock_ref, Kind::Released(Released {}));
    assert_eq!(soon(releasing).await.unwrap(), Ok(()));
    assert!(peer.releases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn silence_for_half_the_ttl_moves_the_lock_while_the_old_stream_stays_open() {
    let (client, mut peer) = client();
    let (guard, mut old, _) = held(&client, &mut peer).await;
    let before = Moment::now();
    let mut new = peer.open().await;
    assert!(before.elapsed() >= TTL / 2 && before.elapsed() < TTL / 2 + Duration::from_secs(1));
    let begin = new.begin().await;
    assert_close(guard.remaining(), VALID - before.elapsed());
    old.heartbeat().await;
    new.grant(begin.lock_ref, "id-2");
    old.ended().await;
    settle().await;
    assert_close(guard.remaining(), VALID);
}

#[tokio::test(start_paused = true)]
async fn work_begins_anew_when_its_lock_is_lost() {
    let (client, mut peer) = client();
    let begun = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&begun);
    // On a task of its own: its future is Send.
    let holding = tokio::spawn(async move {
        let work = |lock: Arc<Guard>| {
            let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                lock.lock_id()
            }
        };
        client.hold("a", work).await
    });
    let mut stream = peer.open().await;
    let first = stream.begin().await;
    stream.grant(first.lock_ref, "id-1");
    settle().await;
    stream.lose(first.lock_ref, lost::Reason::Gone);
    assert_eq!(stream.end().await, first.lock_ref);
    let second = stream.begin().await;
    stream.grant(second.lock_ref, "id-2");
    assert_eq!(stream.end().await, second.lock_ref);
    stream.event(second.lock_ref, Kind::Released(Released {}));
    assert_eq!(soon(holding).await.unwrap(), Ok("id-2".to_owned()));
    assert_eq!(begun.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_loss_cancels_its_token_and_a_release_does_not() {
    let (client, mut peer) = client();
    let (guard, mut stream, lock_ref) = held(&client, &mut peer).await;
    let token = guard.lost_token();
    assert_eq!(guard.check(), Ok(()));
    stream.lose(lock_ref, lost::Reason::TakenOver);
    soon(token.cancelled()).await;
    assert_eq!(guard.check(), Err(Error::Lost { lock: "a".into(), reason: LostReason::TakenOver }));
    assert_eq!(stream.end().await, lock_ref);

    let asking = tokio::spawn(client.acquire("b").into_future());
    let begin = stream.begin().await;
    stream.grant(begin.lock_ref, "id-2");
    let guard = soon(asking).await.unwrap().unwrap().guard().unwrap();
    let token = guard.lost_token();
    drop(guard);
    assert_eq!(stream.end().await, begin.lock_ref);
    stream.event(begin.lock_ref, Kind::Released(Released {}));
    settle().await;
    assert!(!token.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_lets_nobody_act() {
    let (client, mut peer) = client();
    let (guard, stream, _) = held(&client, &mut peer).await;
    stream.break_off();
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    assert!(matches!(guard.check(), Err(Error::Unavailable { .. })), "{:?}", guard.check());
    stream.grant(begin.lock_ref, "id-2");
    settle().await;
    assert_eq!(guard.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_adopted_by_its_lock_id() {
    let (client, mut peer) = client();
    let adopting = tokio::spawn(client.adopt("a", "id-0").into_future());
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    assert_eq!((&*begin.reattach_lock_id, begin.wait), ("id-0", None));
    stream.grant(begin.lock_ref, "id-1");
    let guard = soon(adopting).await.unwrap().unwrap().guard().unwrap();
    assert_eq!((guard.lock_id().as_str(), guard.fencing_token()), ("id-1", 7));

    let adopting = tokio::spawn(client.adopt("a", "id-0").into_future());
    let begin = stream.begin().await;
    let refused =
        proto::NotAcquired { reason: proto::not_acquired::Reason::NotReattachable.into(), ..Default::default() };
    stream.event(begin.lock_ref, Kind::NotAcquired(refused));
    match soon(adopting).await.unwrap().unwrap() {
        Outcome::NotAcquired(why) => assert_eq!(why.reason, Reason::NotReattachable),
        Outcome::Acquired(guard) => panic!("{guard:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_goes_on_waiting_elsewhere_for_what_is_left_of_its_time() {
    let (client, mut peer) = client();
    let asking = tokio::spawn(client.wait_acquire("a").max_wait(Duration::from_secs(60)).into_future());
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    let max_wait = |begin: &proto::BeginLock| from_wire(begin.wait.as_ref().unwrap().max_wait.as_ref().unwrap());
    assert_close(max_wait(&begin).unwrap(), Duration::from_secs(60));
    let seq = stream.heartbeat().await;
    stream.acknowledge(seq, &[]);
    stream.event(0, Kind::Draining(Draining { grace: None }));
    // It holds nothing there, so nothing keeps the stream.
    stream.ended().await;
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    assert_close(max_wait(&begin).unwrap(), Duration::from_secs(60) - BEAT);
    stream.break_off();
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    stream.grant(begin.lock_ref, "id");
    assert!(soon(asking).await.unwrap().unwrap().guard().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nothing_covers_is_given_back_and_asked_for_elsewhere() {
    let (client, mut peer) = client();
    let asking = tokio::spawn(client.wait_acquire("a").into_future());
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    let before = Moment::now();
    // The broker is heard, but acknowledges nothing.
    while before.elapsed() < VALID {
        stream.heartbeat().await;
        stream.event(begin.lock_ref, Kind::Queued(proto::Queued { position: 1 }));
    }
    stream.grant(begin.lock_ref, "id-1");
    stream.ended().await;
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    stream.grant(begin.lock_ref, "id-2");
    assert_eq!(soon(asking).await.unwrap().unwrap().guard().unwrap().lock_id(), "id-2");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_of_a_broker_that_goes_away_waits_on() {
    let (client, mut peer) = client();
    let asking = tokio::spawn(client.wait_acquire("a").into_future());
    let mut stream = peer.open().await;
    let first = stream.begin().await;
    // It may be told so before its stream is.
    stream.fail(first.lock_ref, Code::Unavailable);
    stream.event(0, Kind::Draining(Draining { grace: None }));
    let mut stream = peer.open().await;
    let second = stream.begin().await;
    stream.fail(second.lock_ref, Code::Unavailable);
    let third = stream.begin().await;
    stream.grant(third.lock_ref, "id");
    assert!(asking.await.unwrap().unwrap().guard().is_some());
}

#[tokio::test(start_paused = true)]
async fn refusals_are_values_and_failures_are_sorted() {
    let (client, mut peer) = client();
    let asking = tokio::spawn(client.acquire("a").into_future());
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    let refused = proto::NotAcquired {
        reason: proto::not_acquired::Reason::Held.into(),
        owner: "somebody".into(),
        ..Default::default()
    };
    stream.event(begin.lock_ref, Kind::NotAcquired(refused));
    match soon(asking).await.unwrap().unwrap() {
        Outcome::NotAcquired(why) => assert_eq!(why.to_string(), "held (holder: somebody)"),
        Outcome::Acquired(guard) => panic!("{guard:?}"),
    }
    let asking = tokio::spawn(client.acquire("a").into_future());
    let begin = stream.begin().await;
    stream.fail(begin.lock_ref, Code::ResourceExhausted);
    assert!(matches!(soon(asking).await.unwrap(), Err(Error::Exhausted { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_refused_fails_its_calls_at_once() {
    let (client, mut peer) = client_with(Client::builder("memory").ttl(Duration::from_secs(1)));
    let before = Moment::now();
    let asking = tokio::spawn(client.wait_acquire("a").into_future());
    peer.accept().await.refuse(Status::invalid_argument("open.ttl: must be 5 s or more"));
    let error = soon(asking).await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::Invalid { message, .. } if message.contains("open.ttl")), "{error}");
    assert!(before.elapsed() < CLOSE);
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_a_call_fails_in_time_and_says_why() {
    let (client, mut peer) = client();
    let before = Moment::now();
    let asking = tokio::spawn(client.acquire("a").into_future());
    let refusing = tokio::spawn(async move {
        loop {
            peer.accept().await.refuse(Status::unavailable("draining"));
        }
    });
    let error = soon(asking).await.unwrap().unwrap_err();
    refusing.abort();
    assert!(matches!(&error, Error::Unavailable { message, .. } if message.contains("draining")), "{error}");
    assert!(before.elapsed() >= DEFAULT_ANSWER_TIMEOUT && before.elapsed() < DEFAULT_ANSWER_TIMEOUT + CLOSE);
}

#[test]
fn endpoints_are_taken_with_or_without_a_scheme() {
    let connector = |text: &str| Client::builder(text).connectors();
    let unix = "unix:/run/lockbroker.sock";
    for good in ["http://h:1", "h:1", "127.0.0.1:28551", unix, "http://[::1]:1", "https://h:1", "https://[::1]"] {
        assert!(connector(good).is_ok(), "{good}");
    }
    for good in ["http://a", "http://a:1/", "https://[::1]:65535", "[::1]:1", "unix:/a", "unix:///a"] {
        assert!(connector(good).is_ok(), "{good}");
    }
    for bad in ["", "https://", "http://", "a b", "grpcs://h:1", "ftp://h", "dns:///h:1", "http://h:1/path", "h", "::1"]
    {
        assert!(matches!(connector(bad), Err(Error::Endpoint { .. })), "{bad}");
    }
    for (bad, why) in [
        ("ftp://a:1", "scheme"),
        ("a", "no port"),
        ("a:", "port"),
        ("http://a:", "port"),
        ("http://a:0", "port"),
        ("http://a:99999", "65535"),
        ("https://[::1]:99999", "65535"),
        ("http://me@a:1", "before the host"),
        ("http://a:1/path", "after the port"),
        ("unix:", "no path"),
        ("unix://", "no path"),
    ] {
        let error = connector(bad).unwrap_err();
        assert!(matches!(&error, Error::Endpoint { reason, .. } if reason.contains(why)), "{bad}: {error}");
    }
    #[cfg(feature = "tls")]
    for (text, good) in [("h:1", false), ("http://h:1", true), (unix, true)] {
        let files = Client::builder(text).tls_identity("/nowhere.crt", "/nowhere.key");
        assert_eq!(files.connectors().is_ok(), good, "{text}");
    }
}
