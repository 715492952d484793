//! Session: many locks on one stream, kept by the client's heartbeats.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::support::*;
use futures_util::future::join_all;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::not_acquired::Reason;
use lockbroker::proto::session_request::Kind as Request;
use lockbroker::proto::{
    BeginLock, EndLock, Heartbeat, HeartbeatAck, OpenSession, SessionRequest, SessionResponse, session_response,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(6);
/// For how long a grant of that ttl is good.
const LEASE: Duration = Duration::from_secs(4);

#[tokio::test]
async fn it_opens_with_its_terms() {
    let broker = Broker::memory().await;
    for (asked, ttl) in [(None, Duration::from_secs(15)), (Some(TTL), TTL)] {
        let opened = RawSession::open(&mut broker.stub().await, asked).await.opened;
        assert_eq!(duration(opened.ttl), ttl);
        assert_eq!(duration(opened.heartbeat_interval), ttl / 3);
        let validity = duration(opened.expires_after_open);
        // The lease, less what clocks may drift.
        assert!(validity < ttl - 2_000 * MS && validity > ttl - 2_010 * MS, "{validity:?}");
    }
}

#[tokio::test]
async fn an_ack_costs_the_same_with_a_thousand_locks() {
    for (_memcached, broker) in brokers(&[]).await {
        let proxy = Proxy::start(broker.address()).await;
        let mut session = RawSession::open(&mut stub(proxy.address()).await, Some(TTL)).await;
        for lock_ref in 1..=1_000 {
            session.begin(begin(lock_ref, &format!("job {lock_ref}")));
        }
        let mut held = HashSet::new();
        for _ in 0..1_000 {
            let (lock_ref, Kind::Acquired(acquired)) = session.next_event().await else { panic!("not acquired") };
            assert_eq!(acquired.expires_after_request, None, "an ack covers it");
            held.insert(lock_ref);
        }
        assert_eq!(held.len(), 1_000);
        let before = proxy.bytes_down();
        for _ in 0..3 {
            let sent = Instant::now();
            let seq = session.beat();
            let HeartbeatAck { seq: acknowledged, expires_after_heartbeat: validity, not_renewed } =
                ack(&mut session).await;
            assert!(sent.elapsed() < TTL / 6 + 500 * MS, "{:?}", sent.elapsed());
            assert_eq!((acknowledged, not_renewed), (seq, vec![]));
            assert!(duration(validity) <= LEASE);
        }
        let bytes = proxy.bytes_down() - before;
        assert!(bytes < 3 * 200, "{bytes} bytes for three acks");
        // And nothing comes that was not asked for.
        timeout(100 * MS, session.next()).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_lock_is_held_for_as_long_as_its_client_beats() {
    join_all(brokers(&["--default-ttl", "5s"]).await.map(async |(_memcached, broker)| {
        let mut stub = broker.stub().await;
        let mut session = RawSession::open(&mut stub, None).await;
        session.begin(begin(1, "job"));
        session.next_event().await;
        let (_, mut waiting) = queue(&mut stub, wait("job")).await;
        // Longer than any lease; then the heart stops on a connection that is as well as before.
        let mut beat = Instant::now();
        for _ in 0..3 {
            tokio::time::sleep(1_200 * MS).await;
            beat = Instant::now();
            session.beat();
            assert!(ack(&mut session).await.not_renewed.is_empty());
        }
        assert_eq!(look(&mut stub, "job").await.state(), State::Held);
        granted(&mut waiting).await;
        let (after, lease) = (beat.elapsed(), 3_000 * MS);
        assert!(after >= lease && after < lease + 1_000 * MS, "{after:?} after the last heartbeat");
        assert_eq!(rest(&mut session.responses).await.code(), Code::Aborted);
    }))
    .await;
}

#[tokio::test]
async fn a_half_close_releases_everything_and_then_the_session_ends_well() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let mut session = RawSession::open(&mut stub, None).await;
        for lock_ref in 1..=100 {
            session.begin(begin(lock_ref, &format!("job {lock_ref}")));
            session.next_event().await;
        }
        let RawSession { requests, mut responses, .. } = session;
        drop(requests);
        assert_eq!(rest(&mut responses).await.code(), Code::Ok);
        // The end of the stream says so.
        for lock_ref in 1..=100 {
            assert_eq!(look(&mut stub, &format!("job {lock_ref}")).await.state(), State::Free);
        }
    }
}

#[tokio::test]
async fn a_lock_ends_when_its_client_says_so() {
    let broker = Broker::memory().await;
    let mut stub = broker.stub().await;
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin(1, "job"));
    session.next_event().await;
    session.end(1);
    assert!(matches!(session.next_event().await, (1, Kind::Released(_))));
    assert_eq!(look(&mut stub, "job").await.state(), State::Free);
    // The end of what has ended is nothing, nor is that of what was never acquired.
    let (_, _held) = acquire(&mut stub, once("taken")).await;
    session.begin(begin(2, "taken"));
    assert!(matches!(session.next_event().await, (2, Kind::NotAcquired(refusal)) if refusal.reason() == Reason::Held));
    session.end(1);
    session.end(2);
    session.beat();
    assert_eq!(ack(&mut session).await.seq, 1);
}

#[tokio::test]
async fn a_bad_lock_fails_alone() {
    let broker = Broker::memory().await;
    let mut session = RawSession::open(&mut broker.stub().await, None).await;
    session.begin(begin(1, "good"));
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    let good = begin(2, "good");
    for (lock_ref, bad, field) in [
        (2, BeginLock { lock: None, ..good.clone() }, "begin.lock.name"),
        (3, BeginLock { lock: lock("a\nb"), ..good.clone() }, "begin.lock.name"),
        (4, BeginLock { lock: lingering("a", Duration::from_secs(3_601)), ..good.clone() }, "begin.lock.linger"),
        (5, BeginLock { reattach_lock_id: "x".into(), ..good.clone() }, "begin.reattach_lock_id"),
    ] {
        session.begin(BeginLock { lock_ref, ..bad });
        let (failed_ref, Kind::Failed(failed)) = session.next_event().await else { panic!("not failed") };
        assert_eq!((failed_ref, failed.code), (lock_ref, Code::InvalidArgument as i32));
        assert!(failed.message.contains(field), "{}", failed.message);
    }
    session.beat();
    assert!(ack(&mut session).await.not_renewed.is_empty());
    session.end(1);
    assert!(matches!(session.next_event().await, (1, Kind::Released(_))));
}

#[tokio::test]
async fn a_breach_of_its_rules_ends_it_and_names_the_field() {
    let broker = Broker::memory().await;
    let open = || Request::Open(OpenSession { ttl: None });
    let open_for = |ttl| Request::Open(OpenSession { ttl: span(ttl) });
    let beat = |seq| Request::Heartbeat(Heartbeat { seq });
    let begin = |lock_ref| Request::Begin(begin(lock_ref, &format!("job {lock_ref}")));
    let end = |lock_ref| Request::End(EndLock { lock_ref });
    for (requests, field) in [
        (vec![beat(1)], "open"),
        (vec![begin(1)], "open"),
        (vec![end(1)], "open"),
        (vec![open(), open()], "open"),
        (vec![open_for(4_999 * MS)], "open.ttl"),
        (vec![open_for(15_001 * MS)], "open.ttl"),
        (vec![open(), beat(0)], "heartbeat.seq"),
        (vec![open(), beat(2), beat(2)], "heartbeat.seq"),
        (vec![open(), begin(0)], "begin.lock_ref"),
        (vec![open(), begin(-1)], "begin.lock_ref"),
        (vec![open(), begin(7), begin(7)], "begin.lock_ref"),
        (vec![open(), begin(7), begin(6)], "begin.lock_ref"),
        (vec![open(), end(1)], "end.lock_ref"),
        (vec![open(), begin(1), end(2)], "end.lock_ref"),
        (vec![open(), end(0)], "end.lock_ref"),
    ] {
        let what = format!("{requests:?}");
        let requests = requests.into_iter().map(|kind| SessionRequest { kind: Some(kind) });
        // The client itself ends nothing.
        let requests = tokio_stream::StreamExt::chain(tokio_stream::iter(requests), tokio_stream::pending());
        let mut responses = broker.stub().await.session(requests).await.unwrap().into_inner();
        let status = rest(&mut responses).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{what}");
        let details = status.get_details_bad_request().unwrap_or_else(|| panic!("{what}: no details"));
        assert_eq!(details.field_violations[0].field, field, "{what}");
    }
}

#[tokio::test]
async fn what_a_breach_ends_is_kept_while_its_client_may_believe() {
    let broker = Broker::start(&["--store", "memory", "--default-ttl", "5s"]).await;
    let mut stub = broker.stub().await;
    let opened = Instant::now();
    let mut session = RawSession::open(&mut stub, None).await;
    let validity = duration(session.opened.expires_after_open);
    session.begin(begin(1, "job"));
    session.next_event().await;
    session.end(2);
    assert_eq!(end_of(&mut session.responses).await.code(), Code::InvalidArgument);
    let (_, mut waiting) = queue(&mut stub, wait("job")).await;
    granted(&mut waiting).await;
    let after = opened.elapsed();
    assert!(after >= validity && after < validity + 1_000 * MS, "{after:?}");
}

#[tokio::test]
async fn an_ack_names_what_could_not_be_renewed_and_comes_again_when_it_was() {
    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let mut session = RawSession::open(&mut broker.stub().await, Some(TTL)).await;
    for lock_ref in 1..=3 {
        session.begin(begin(lock_ref, &format!("job {lock_ref}")));
        session.next_event().await;
    }
    memcached.stop().await;
    let sent = Instant::now();
    let seq = session.beat();
    let mut first = ack(&mut session).await;
    let after = sent.elapsed();
    first.not_renewed.sort();
    assert_eq!((first.seq, first.not_renewed), (seq, vec![1, 2, 3]));
    assert!(after >= TTL / 6 && after < TTL / 6 + 300 * MS, "{after:?}");
    memcached.cont();
    assert_eq!(ack_of_all(&mut session).await.seq, seq);
    assert!(sent.elapsed() < LEASE);
    let seq = session.beat();
    assert_eq!(
        ack_of_all(&mut session).await,
        HeartbeatAck { seq, not_renewed: vec![], expires_after_heartbeat: first.expires_after_heartbeat }
    );
}

/// The next acknowledgement that leaves out no lock.
async fn ack_of_all(session: &mut RawSession) -> HeartbeatAck {
    let acks = async {
        loop {
            let ack = ack(session).await;
            if ack.not_renewed.is_empty() {
                break ack;
            }
        }
    };
    timeout(SOON, acks).await.expect("all locks are renewed")
}

/// The acknowledgement that must come next.
async fn ack(session: &mut RawSession) -> HeartbeatAck {
    match session.next().await {
        session_response::Kind::HeartbeatAck(ack) => ack,
        other => panic!("{other:?} where an ack was expected"),
    }
}

/// The status at the end of a Session, whatever comes before.
async fn rest(responses: &mut Streaming<SessionResponse>) -> Status {
    timeout(SOON, async {
        loop {
            match responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break Status::ok(""),
                Err(status) => break status,
            }
        }
    })
    .await
    .expect("the Session ends")
}
