//! Brokers that are newer, wrong, or none at all.

use std::time::{Duration, Instant};

use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::*;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use super::Scenario;
use crate::scripted::{Scripted, Session, UNKNOWN, VALID};
use crate::stage::{AT_ONCE, Client, Held, Stage};
use crate::support::{Proxy, SOON, eventually};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "odd-unknown",
        "It passes over messages, events and fields that it does not know, and answers that it never asked for.",
        |stage| Box::pin(unknown(stage)),
    ),
    Scenario::new(
        "odd-values",
        "A reason or a code that it does not know is told as an outcome or an error.",
        |stage| Box::pin(values(stage)),
    ),
    Scenario::new(
        "odd-late-ack",
        "A heartbeat that is answered late extends the validity from when it was sent.",
        |stage| Box::pin(late_ack(stage)),
    ),
    Scenario::new("odd-stray-ack", "An ack of a heartbeat that was never sent extends nothing.", |stage| {
        Box::pin(stray_ack(stage))
    }),
    Scenario::new("odd-refused", "A refusal is told at once, by its kind: of the Session, or of one lock.", |stage| {
        Box::pin(refused(stage))
    }),
    Scenario::new("odd-not-renewed", "A lock that an ack lists as not renewed runs out; the others stay.", |stage| {
        Box::pin(not_renewed(stage))
    }),
    Scenario::new("odd-drain", "A drain without a successor costs the lock only when its stream has ended.", |stage| {
        Box::pin(drain(stage))
    }),
    Scenario::new("odd-reattach", "A reattach whose connection is reset is tried again.", |stage| {
        Box::pin(reattach(stage))
    }),
    Scenario::new(
        "odd-mute",
        "A first server that accepts and says nothing does not use up the time for an answer.",
        |stage| Box::pin(mute(stage)),
    ),
    Scenario::new(
        "odd-unopened",
        "A first server that never answers `open` does not use up the time for an answer.",
        |stage| Box::pin(unopened(stage)),
    ),
    Scenario::new("odd-no-broker", "A server that is no broker is an error that names it.", |stage| {
        Box::pin(no_broker(stage))
    }),
];

/// A client of a scripted broker, and its Session with one lock granted.
pub(super) async fn held(stage: &Stage, broker: &mut Scripted) -> (Client, Held, Session, i64) {
    let url = broker.url();
    held_by_way_of(stage, broker, url).await
}

/// The same, for a client that reaches the broker at this address.
async fn held_by_way_of(stage: &Stage, broker: &mut Scripted, url: String) -> (Client, Held, Session, i64) {
    let client = stage.client_of(&[url]).await;
    let (held, call) = client.asking("try", &stage.name(), serde_json::json!({}));
    let mut session = broker.open().await;
    let begin = session.begin().await;
    session.grant(begin.lock_ref, "one");
    (client, held.granted(&call.answer().await), session, begin.lock_ref)
}

async fn unknown(stage: Stage) {
    let mut broker = Scripted::start().await;
    let client = stage.client_of(&[broker.url()]).await;
    let (held, call) = client.asking("try", &stage.name(), serde_json::json!({}));
    let mut session = broker.open().await;
    session.say_bytes(UNKNOWN);
    session.say_bytes(b"");
    session.acknowledge(99, &[]);
    session.event(4711, Kind::Lost(Lost { reason: lost::Reason::Expired.into(), ..Lost::default() }));
    let lock_ref = session.begin().await.lock_ref;
    // An event of no kind that it knows.
    let event = SessionEvent { lock_ref, event: Some(LockEvent { kind: None }) };
    session.say(session_response::Kind::Event(event));
    let acquired = Acquired { lock_id: "one".into(), fencing_token: 7, ..Acquired::default() };
    let event = LockEvent { kind: Some(Kind::Acquired(acquired)) };
    let event = SessionEvent { lock_ref, event: Some(event) };
    let mut grant = SessionResponse { kind: Some(session_response::Kind::Event(event)) }.encode_to_vec();
    grant.extend(UNKNOWN);
    session.say_bytes(&grant);
    let held = held.granted(&call.answer().await);
    // Every ack twice, for longer than the first validity.
    let twice = session.answer_heartbeats(|session, seq| {
        session.acknowledge(seq, &[]);
        session.acknowledge(seq, &[]);
        session.acknowledge(seq - 1, &[]);
    });
    assert!(timeout(VALID + AT_ONCE, twice).await.is_err(), "it left the stream");
    assert!(held.is_held().await);
    let release = async { held.ask("release").await };
    let (answer, ()) = tokio::join!(release, async {
        assert_eq!(session.end().await, lock_ref);
        session.event(lock_ref, Kind::Released(Released {}));
    });
    assert_eq!(answer.get("released"), true);
}

async fn values(stage: Stage) {
    let mut broker = Scripted::start().await;
    let (client, held, mut session, lock_ref) = held(&stage, &mut broker).await;
    session.event(lock_ref, Kind::Lost(Lost { reason: 99, ..Lost::default() }));
    held.is_told_lost(AT_ONCE).await;
    let (_, call) = client.asking("try", &stage.name(), serde_json::json!({}));
    let lock_ref = session.begin().await.lock_ref;
    session.event(lock_ref, Kind::NotAcquired(NotAcquired { reason: 99, ..NotAcquired::default() }));
    let answer = call.answer().await;
    assert!(answer.has("not_acquired") || answer.error() == "UNEXPECTED", "{answer:?}");
    let (_, call) = client.asking("try", &stage.name(), serde_json::json!({}));
    let lock_ref = session.begin().await.lock_ref;
    session.event(lock_ref, Kind::Failed(Failed { code: 99, message: "odd".into(), ..Failed::default() }));
    assert_eq!(call.answer().await.error(), "UNEXPECTED");
}

async fn not_renewed(stage: Stage) {
    let mut broker = Scripted::start().await;
    let (client, excepted, mut session, lock_ref) = held(&stage, &mut broker).await;
    let (other, call) = client.asking("try", "other", serde_json::json!({}));
    let other_ref = session.begin().await.lock_ref;
    session.grant(other_ref, "two");
    let other = other.granted(&call.answer().await);
    let start = Instant::now();
    tokio::select! {
        () = session.answer_heartbeats(|session, seq| session.acknowledge(seq, &[lock_ref])) => {
            panic!("it left the stream");
        }
        () = excepted.is_lost("EXPIRED", VALID + AT_ONCE) => {}
    }
    assert!(start.elapsed() > VALID / 2, "lost after {:?}", start.elapsed());
    assert!(other.is_held().await);
}

async fn drain(stage: Stage) {
    let mut broker = Scripted::start().await;
    let (_client, held, mut session, _) = held(&stage, &mut broker).await;
    session.say(session_response::Kind::Event(SessionEvent {
        lock_ref: 0,
        event: Some(LockEvent { kind: Some(Kind::Draining(Draining::default())) }),
    }));
    // Long enough for a heartbeat.
    let (until, mut beats) = (Instant::now() + Duration::from_secs(8), 0);
    while Instant::now() < until {
        tokio::select! {
            next = session.next() => match next {
                Some(session_request::Kind::Heartbeat(beat)) => {
                    session.acknowledge(beat.seq, &[]);
                    beats += 1;
                }
                other => panic!("{other:?}: it left the stream, which releases its locks"),
            },
            // A successor that refuses, each time.
            next = broker.accept() => next.fail(Status::unavailable("no")),
            () = sleep(Duration::from_secs(1)) => {}
        }
        assert!(held.is_held().await);
    }
    assert!(beats > 0, "no heartbeat");
    session.fail(Status::unavailable("gone"));
    let refuse = async {
        loop {
            broker.accept().await.fail(Status::unavailable("no"));
        }
    };
    let lost = async {
        // Nobody may act while its stream is broken.
        eventually(AT_ONCE, "the holder stops", async || !held.is_held().await).await;
        held.is_lost("EXPIRED", VALID + AT_ONCE).await;
    };
    tokio::select! {
        () = refuse => {}
        () = lost => {}
    }
}

/// The ack of the first heartbeat comes 6 s late, and then no more. Other messages show that the broker is alive.
async fn late_ack(stage: Stage) {
    let mut broker = Scripted::start().await;
    let (_client, held, mut session, _) = held(&stage, &mut broker).await;
    let Some(session_request::Kind::Heartbeat(beat)) = session.next().await else { panic!("no heartbeat") };
    let sent = Instant::now();
    for second in 0..20 {
        if second == 6 {
            session.acknowledge(beat.seq, &[]);
        }
        session.say_bytes(UNKNOWN);
        sleep(Duration::from_secs(1)).await;
        if held.was_told_lost() {
            break;
        }
    }
    held.is_lost("EXPIRED", AT_ONCE).await;
    let after = sent.elapsed();
    assert!(after > VALID - Duration::from_secs(3), "lost {after:?} after the heartbeat: the ack did not count");
    assert!(after < VALID + Duration::from_secs(2), "lost {after:?} after the heartbeat: it counted from the ack");
}

async fn stray_ack(stage: Stage) {
    let mut broker = Scripted::start().await;
    let (_client, held, session, _) = held(&stage, &mut broker).await;
    let opened = Instant::now();
    while opened.elapsed() < VALID + AT_ONCE && !held.was_told_lost() {
        session.acknowledge(1_000, &[]);
        sleep(Duration::from_secs(1)).await;
    }
    held.is_lost("EXPIRED", Duration::ZERO).await;
}

async fn refused(stage: Stage) {
    for (status, kind) in [
        (Status::permission_denied("no"), "DENIED"),
        (Status::unauthenticated("who"), "DENIED"),
        (Status::invalid_argument("ttl"), "INVALID"),
        (Status::unimplemented("what"), "UNEXPECTED"),
    ] {
        let mut broker = Scripted::start().await;
        let client = stage.client_of(&[broker.url()]).await;
        let (_, call) = client.asking("try", &stage.name(), serde_json::json!({}));
        broker.accept().await.fail(status.clone());
        let answer = call.answer_within(AT_ONCE).await;
        assert_eq!(answer.error(), kind, "{answer:?}");
        assert!(answer.message().contains(status.message()), "{answer:?}");
    }
    for (code, kind) in [(Code::Unavailable, "UNAVAILABLE"), (Code::ResourceExhausted, "EXHAUSTED")] {
        let mut broker = Scripted::start().await;
        let client = stage.client_of(&[broker.url()]).await;
        let (_, call) = client.asking("try", &stage.name(), serde_json::json!({}));
        let mut session = broker.open().await;
        let lock_ref = session.begin().await.lock_ref;
        let failed = Failed { code: code.into(), message: "full of it".into(), ..Failed::default() };
        session.event(lock_ref, Kind::Failed(failed));
        let answer = call.answer_within(AT_ONCE).await;
        assert_eq!(answer.error(), kind, "{answer:?}");
        assert!(answer.message().contains("full of it"), "{answer:?}");
    }
}

async fn reattach(stage: Stage) {
    let mut broker = Scripted::start().await;
    let proxy = Proxy::start(broker.address()).await;
    let url = format!("http://{}", proxy.address());
    let (_client, held, session, _) = held_by_way_of(&stage, &mut broker, url).await;
    session.fail(Status::unavailable("gone"));
    for _ in 0..2 {
        let mut session = broker.open().await;
        assert_eq!(session.begin().await.reattach_lock_id, "one");
        // Nobody may act while its stream is broken.
        assert!(!held.is_held().await);
        proxy.reset();
    }
    let mut session = broker.open().await;
    let begin = session.begin().await;
    assert_eq!(begin.reattach_lock_id, "one");
    session.grant(begin.lock_ref, "two");
    eventually(AT_ONCE, "the lock is held again", async || held.is_held().await).await;
    assert!(!held.was_told_lost());
}

async fn mute(stage: Stage) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = format!("http://{}", listener.local_addr().unwrap());
    let accept = async {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().await);
        }
    };
    let take = async {
        let client = stage.client_of(&[first, stage.brokers().await.first.url()]).await;
        client.takes(&stage.name()).await.release().await;
    };
    tokio::select! {
        () = accept => {}
        () = take => {}
    }
}

async fn unopened(stage: Stage) {
    let mut broker = Scripted::start().await;
    let client = stage.client_of(&[broker.url(), stage.brokers().await.first.url()]).await;
    let (held, call) = client.asking("try", &stage.name(), serde_json::json!({}));
    let _session = broker.accept().await;
    held.granted(&call.answer().await).release().await;
}

/// A web server of the old kind.
async fn no_broker(stage: Stage) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let web = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = [0; 1024];
            let _ = stream.read(&mut bytes).await;
            let _ =
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        }
    });
    let client = stage.client_of(&[format!("http://{address}")]).await;
    let answer = timeout(SOON, client.tries(&stage.name())).await.expect("an answer soon");
    assert!(["PROTOCOL", "UNAVAILABLE"].contains(&answer.error()), "{answer:?}");
    assert!(answer.message().contains(&address.to_string()), "{}", answer.message());
    web.abort();
}
