//! A holder is told that its lock is lost while it still has time to stop: before the end of what it was told, by its
//! own clock.

use std::time::{Duration, Instant};

use crate::support::{
    Broker, Memcached, Proxy, RawSession, SOON, acquire, begin, duration, end_of, eventually, granted_whenever, once,
    queue, wait,
};
use lockbroker::clock::notice;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{Lost, lost, session_response};
use tokio::time::timeout;
use tonic::Code;

const TTL: Duration = Duration::from_secs(15);
/// By how much less than the whole notice a client may be told: an answer's way, and a busy machine.
const LATE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_comes_before_the_end_of_the_validity_and_nobody_is_granted_the_lock_before_that() {
    let memcached = Memcached::start(&[]).await;
    let proxy = Proxy::start(memcached.address()).await;
    let broker = Broker::on_store(&format!("memcached://{}", proxy.address()), &Broker::WATCHED).await;
    let mut stub = broker.stub().await;
    let open_sent = Instant::now();
    let mut session = RawSession::open(&mut stub, None).await;
    let session_end = open_sent + duration(session.opened.expires_after_open);
    session.begin(begin(1, "on-a-session"));
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));

    let sent = Instant::now();
    let (acquired, mut stream) = acquire(&mut stub, once("on-a-stream")).await;
    let end = sent + duration(acquired.expires_after_request);
    let rivals = ["on-a-session", "on-a-stream"].map(|name| {
        let mut stub = stub.clone();
        tokio::spawn(async move {
            let mut stream = queue(&mut stub, wait(name)).await.1;
            loop {
                match stream.message().await.unwrap().and_then(|message| message.event?.kind) {
                    Some(Kind::Acquired(_)) => return Instant::now(),
                    Some(Kind::Queued(_)) => {}
                    other => panic!("{other:?} where a grant was expected"),
                }
            }
        })
    });
    eventually(SOON, "both rivals wait", async || broker.scrape().await.sum("lockbroker_waiters", &[]) == 2.0).await;
    proxy.black_hole();

    let told_on_session = async {
        // Its client is alive, and its broker says that nothing has been renewed.
        let mut beat_at = open_sent + TTL / 3;
        loop {
            let due = tokio::time::sleep_until(beat_at.into());
            let message = tokio::select! {
                () = due => {
                    session.beat();
                    beat_at += TTL / 3;
                    continue;
                }
                message = session.responses.message() => message.unwrap().and_then(|message| message.kind),
            };
            match message {
                Some(session_response::Kind::HeartbeatAck(ack)) => assert_eq!(ack.not_renewed, [1]),
                Some(session_response::Kind::Event(event)) => match event.event.and_then(|event| event.kind) {
                    Some(Kind::Lost(Lost { reason, .. })) => {
                        assert_eq!((event.lock_ref, reason), (1, lost::Reason::Expired.into()));
                        return Instant::now();
                    }
                    other => panic!("{other:?} where `lost` was expected"),
                },
                other => panic!("{other:?} where `lost` was expected"),
            }
        }
    };
    let told_on_stream = async {
        assert!(matches!(timeout(TTL, stream.message()).await, Ok(Ok(Some(message))) if matches!(
            message.event.as_ref().and_then(|event| event.kind.as_ref()), Some(Kind::Lost(_)))));
        let told = Instant::now();
        assert_eq!(end_of(&mut stream).await.code(), Code::Aborted);
        told
    };
    let (on_session, on_stream) = tokio::join!(timeout(TTL, told_on_session), told_on_stream);
    proxy.heal();
    for (what, told, end) in [("session", on_session.unwrap(), session_end), ("stream", on_stream, end)] {
        let left = end.saturating_duration_since(told);
        println!("{what}: told {left:?} before the end");
        assert!(left > notice(TTL) - LATE, "{what}: {left:?} of {:?}", notice(TTL));
        assert!(left <= notice(TTL), "{what}: {left:?} before the end, which is more than the notice");
    }
    for (rival, end) in rivals.into_iter().zip([session_end, end]) {
        let granted = timeout(TTL, rival).await.unwrap().unwrap();
        assert!(granted >= end, "granted {:?} before the end of the holder's validity", end - granted);
    }
}

/// The store answers all the while, so nothing but the rule keeps the next one from the lock.
#[tokio::test]
async fn a_lock_without_heartbeats_is_lost_in_time_and_is_nobodys_before_the_end() {
    let broker = Broker::memory().await;
    let mut stub = broker.stub().await;
    let open_sent = Instant::now();
    let mut session = RawSession::open(&mut stub, None).await;
    let end = open_sent + duration(session.opened.expires_after_open);
    // Its own lease lasts longer than what its client was told for the Session.
    tokio::time::sleep(Duration::from_secs(2)).await;
    session.begin(begin(1, "a"));
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    let (_, mut rival) = queue(&mut stub, wait("a")).await;
    let rival = tokio::spawn(async move {
        granted_whenever(&mut rival).await;
        Instant::now()
    });
    let told = timeout(TTL, session.responses.message()).await.unwrap().unwrap().and_then(|message| message.kind);
    let left = end.saturating_duration_since(Instant::now());
    let Some(session_response::Kind::Event(event)) = told else { panic!("{told:?} where `lost` was expected") };
    let expired = Kind::Lost(Lost { reason: lost::Reason::Expired.into(), ..Default::default() });
    assert_eq!(event.event.and_then(|event| event.kind), Some(expired));
    assert!(left > notice(TTL) - LATE && left <= notice(TTL), "{left:?} of {:?}", notice(TTL));
    let granted = timeout(TTL, rival).await.unwrap().unwrap();
    assert!(granted >= end, "granted {:?} before the end of the holder's validity", end - granted);
}
