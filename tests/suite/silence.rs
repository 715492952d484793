//! A client that the broker hears no more may still believe: what it holds is released when that is over, however the
//! broker came to know of the silence.

use std::time::{Duration, Instant};

use crate::support::{Broker, Proxy, RawSession, next_event, stub};
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{BeginLock, LockSpec, WaitAcquireRequest};

const TTL: Duration = Duration::from_secs(5);

/// When hyper gives up on an unanswered ping it ends the request stream as if the client had closed it.
#[tokio::test]
async fn a_session_whose_pings_go_unanswered_keeps_its_lock_until_its_validity_is_over() {
    let keepalive = ["--keepalive-interval", "200ms", "--keepalive-timeout", "200ms"];
    let broker = Broker::start(&[&["--store", "memory"], &keepalive[..]].concat()).await;
    let road = Proxy::start(broker.address()).await;
    let sent = Instant::now();
    let mut session = RawSession::open(&mut stub(road.address()).await, Some(TTL)).await;
    let lock = || Some(LockSpec { name: "a".into(), ..Default::default() });
    session.begin(BeginLock { lock_ref: 1, lock: lock(), ..Default::default() });
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    let validity: Duration = session.opened.expires_after_open.unwrap().try_into().unwrap();

    let request = WaitAcquireRequest { lock: lock(), ..Default::default() };
    let mut rival = broker.stub().await.wait_acquire(request).await.unwrap().into_inner();
    assert!(matches!(next_event(&mut rival).await, Kind::Queued(_)));
    road.black_hole();
    assert!(matches!(next_event(&mut rival).await, Kind::Acquired(_)));
    assert!(sent.elapsed() >= validity, "granted {:?} after it was told that it has {validity:?}", sent.elapsed());
}
