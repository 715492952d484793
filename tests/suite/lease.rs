//! A lease is held without a stream: renewed by calls at any broker, released by one, and over with its ttl.

use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::proto::acquire_lease_response::Result as Acquiring;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::renew_lease_response::Result as Renewal;
use lockbroker::proto::{
    AcquireLeaseRequest, AcquireLeaseResponse, Acquired, GetLockRequest, RenewLeaseRequest, WaitSpec, lost,
    not_acquired,
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

/// The shortest ttl, as the longest one too: so a lock that nobody renews is free again soon.
const SHORT: &[&str] = &["--max-ttl", "5s", "--default-ttl", "5s"];
const TTL: Duration = Duration::from_secs(5);

fn the(name: &str) -> AcquireLeaseRequest {
    AcquireLeaseRequest { lock: lock(name), ..AcquireLeaseRequest::default() }
}

async fn ask(broker: &Broker, request: AcquireLeaseRequest) -> Result<Acquiring, Status> {
    let answer: AcquireLeaseResponse = broker.stub().await.acquire_lease(request).await?.into_inner();
    Ok(answer.result.expect("it is set"))
}

async fn acquire_lease(broker: &Broker, request: AcquireLeaseRequest) -> Acquired {
    match ask(broker, request).await.unwrap() {
        Acquiring::Acquired(acquired) => acquired,
        Acquiring::NotAcquired(why) => panic!("{why:?}"),
    }
}

async fn try_renew(broker: &Broker, name: &str, lock_id: &str) -> Result<Renewal, Status> {
    let request = RenewLeaseRequest { name: name.to_owned(), lock_id: lock_id.to_owned() };
    Ok(broker.stub().await.renew_lease(request).await?.into_inner().result.expect("it is set"))
}

/// Renews a lease, which must be good. Returns until when it is.
async fn renew(broker: &Broker, name: &str, lock_id: &str) -> Instant {
    let sent = Instant::now();
    match try_renew(broker, name, lock_id).await.unwrap() {
        Renewal::Renewed(renewed) => sent + duration(renewed.expires_after_request),
        Renewal::Lost(lost) => panic!("{lost:?}"),
    }
}

async fn why_lost(broker: &Broker, name: &str, lock_id: &str) -> lost::Reason {
    match try_renew(broker, name, lock_id).await.unwrap() {
        Renewal::Lost(lost) => lost.reason(),
        Renewal::Renewed(renewed) => panic!("{renewed:?}"),
    }
}

#[tokio::test]
async fn it_stands_for_its_ttl_after_the_call_and_its_connection_are_over() {
    for (_memcached, broker) in brokers(SHORT).await {
        let sent = Instant::now();
        let lease = acquire_lease(&broker, the("job")).await;
        let valid = duration(lease.expires_after_request);
        assert!(valid > Duration::from_millis(2_900) && valid < Duration::from_secs(3), "{valid:?}");
        assert_eq!(lease.lock_id.len(), 45);
        let seen = look(&mut broker.stub().await, "job").await;
        assert_eq!((seen.state(), seen.fencing_token), (State::Held, lease.fencing_token));
        let Acquiring::NotAcquired(why) = ask(&broker, the("job")).await.unwrap() else { panic!("two holders") };
        assert_eq!(why.reason(), not_acquired::Reason::Held);
        let wait = Some(WaitSpec { max_wait: span(Duration::from_secs(30)), ..WaitSpec::default() });
        let next = acquire_lease(&broker, AcquireLeaseRequest { wait, ..the("job") }).await;
        assert!(sent.elapsed() > valid, "{:?}", sent.elapsed());
        assert!(sent.elapsed() < TTL + Duration::from_secs(3), "{:?}", sent.elapsed());
        assert!(next.fencing_token > lease.fencing_token);
        assert_eq!(why_lost(&broker, "job", &lease.lock_id).await, lost::Reason::TakenOver);
    }
}

#[tokio::test]
async fn it_is_renewed_at_any_broker_and_released_at_any() {
    let both = Brokers::start_with(SHORT).await;
    let (here, there) = (&both.first, &both.second);
    let lease = acquire_lease(here, the("job")).await;
    // For longer than it would stand.
    let began = Instant::now();
    let mut good_until = began + duration(lease.expires_after_request);
    for broker in [there, there, here, there, there, there] {
        sleep(TTL / 3).await;
        assert!(Instant::now() < good_until);
        let until = renew(broker, "job", &lease.lock_id).await;
        assert!(until > good_until);
        good_until = until;
    }
    assert!(began.elapsed() > 2 * TTL - Duration::from_millis(100));
    let seen = look(&mut there.stub().await, "job").await;
    assert_eq!((seen.state(), seen.fencing_token), (State::Held, lease.fencing_token));
    let asked = GetLockRequest { name: "job".to_owned(), lock_id: lease.lock_id.clone(), ..Default::default() };
    let seen = there.stub().await.get_lock(asked).await.unwrap().into_inner();
    assert!(duration(seen.expires_after_request) > Duration::from_secs(1), "the broker that has renewed it knows");
    assert_eq!(release(&mut here.stub().await, "job", &lease.lock_id).await, Outcome::Released);
    let (_, _held) = acquire(&mut here.stub().await, once("job")).await;
    assert_eq!(why_lost(there, "job", &lease.lock_id).await, lost::Reason::TakenOver);
}

#[tokio::test]
async fn it_outlives_its_broker_and_its_memcached() {
    let mut both = Brokers::start_with(SHORT).await;
    let lease = acquire_lease(&both.first, the("job")).await;
    both.first.kill();
    renew(&both.second, "job", &lease.lock_id).await;
    // A renewal creates it again, at the broker that knows of it.
    both.memcached.restart().await;
    let renewed = timeout(TTL, async {
        loop {
            match try_renew(&both.second, "job", &lease.lock_id).await {
                Ok(Renewal::Renewed(_)) => break,
                Ok(Renewal::Lost(lost)) => panic!("{lost:?}"),
                // It cannot be known yet.
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    });
    renewed.await.expect("a lease survives a restart as a lock does");
}

#[tokio::test]
async fn a_call_that_is_cancelled_leaves_no_lock_behind() {
    for (_memcached, broker) in brokers(SHORT).await {
        let (_, held) = acquire(&mut broker.stub().await, once("job")).await;
        let wait = Some(WaitSpec::default());
        let mut stub = broker.stub().await;
        let asking = tokio::spawn(async move { stub.acquire_lease(AcquireLeaseRequest { wait, ..the("job") }).await });
        broker_waits(&broker).await;
        asking.abort();
        drop(held);
        freed(&mut broker.stub().await, "job").await;
        acquire(&mut broker.stub().await, once("job")).await;
    }
}

/// Waits until somebody waits at this broker.
async fn broker_waits(broker: &Broker) {
    let endpoint = tonic::transport::Endpoint::from_shared(broker.url()).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut admin = lockbroker::proto::lock_admin_client::LockAdminClient::new(channel);
    for _ in 0..100 {
        let request = lockbroker::proto::ListWaitersRequest { name: "job".to_owned(), ..Default::default() };
        let mut stream = admin.list_waiters(request).await.unwrap().into_inner();
        if stream.message().await.unwrap().is_some_and(|part| !part.waiters.is_empty()) {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody waits");
}

#[tokio::test]
async fn a_lease_becomes_a_lock_on_a_stream_by_a_reattach() {
    let both = Brokers::start_with(SHORT).await;
    let lease = acquire_lease(&both.first, the("job")).await;
    let (held, mut stream) = acquire(&mut both.second.stub().await, reattach("job", &lease.lock_id)).await;
    assert_eq!((held.fencing_token, held.lock_id.len()), (lease.fencing_token, 36));
    assert_eq!(why_lost(&both.second, "job", &lease.lock_id).await, lost::Reason::TakenOver);
    assert!(matches!(next_event(&mut stream).await, Kind::Renewed(_)));
    // And the other way round there is nothing: a stream renews its own locks.
    let status = try_renew(&both.second, "job", &held.lock_id).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    assert!(status.message().contains("a lock on a stream"), "{}", status.message());
}

#[tokio::test]
async fn its_linger_is_kept_however_it_ends() {
    for (_memcached, broker) in brokers(SHORT).await {
        for ends in [true, false] {
            let name = if ends { "released" } else { "over" };
            let sent = Instant::now();
            let lease = acquire_lease(&broker, AcquireLeaseRequest { lock: lingering(name, TTL), ..the(name) }).await;
            if ends {
                assert_eq!(release(&mut broker.stub().await, name, &lease.lock_id).await, Outcome::Released);
                assert_eq!(look(&mut broker.stub().await, name).await.state(), State::Lingering);
            }
            let (_, mut waiting) = queue(&mut broker.stub().await, wait(name)).await;
            granted_whenever(&mut waiting).await;
            let least = if ends { TTL } else { duration(lease.expires_after_request) + TTL };
            assert!(sent.elapsed() >= least, "{name}: {:?}", sent.elapsed());
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_by_its_field() {
    let broker = Broker::memory().await;
    let lease = acquire_lease(&broker, the("job")).await;
    let longer = format!("{}tffffffff", &lease.lock_id[..36]);
    let wait = |seconds| Some(WaitSpec { max_wait: span(Duration::from_secs(seconds)), ..WaitSpec::default() });
    for (request, field) in [
        (AcquireLeaseRequest { wait: wait(31), ..the("a") }, "wait.max_wait"),
        (AcquireLeaseRequest { ttl: span(Duration::from_secs(16)), ..the("a") }, "ttl"),
        (the(""), "lock.name"),
    ] {
        let status = ask(&broker, request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        assert!(status.message().starts_with(field), "{}", status.message());
    }
    for wrong in ["", "x", &lease.lock_id[..43], &longer, &lease.lock_id.to_uppercase()] {
        let status = try_renew(&broker, "job", wrong).await.unwrap_err();
        assert!(status.message().starts_with("lock_id: "), "{}", status.message());
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    renew(&broker, "job", &lease.lock_id).await;
}

/// The answer may be lost on its way. Whoever asks again by the same request id gets the lease that there is.
#[tokio::test]
async fn a_call_that_is_made_again_gets_the_same_lease() {
    let (one, other) = ("0f9f3b56-35a1-4a8f-9d39-5d0c0b6b7f11", "0f9f3b56-35a1-4a8f-9d39-5d0c0b6b7f12");
    let asks = |name: &str, request_id: &str| AcquireLeaseRequest { request_id: request_id.into(), ..the(name) };
    let memory = Broker::start(&[&["--store", "memory"], SHORT].concat()).await;
    let both = Brokers::start_with(SHORT).await;
    for (first, second) in [(&memory, &memory), (&both.first, &both.first), (&both.first, &both.second)] {
        let name = second.url();
        let lease = acquire_lease(first, asks(&name, one)).await;
        let sent = Instant::now();
        sleep(Duration::from_secs(1)).await;
        let again = acquire_lease(second, asks(&name, one)).await;
        assert_eq!((&again.lock_id, again.fencing_token), (&lease.lock_id, lease.fencing_token));
        // It counts anew.
        assert!(duration(again.expires_after_request) > Duration::from_millis(2_900));
        sleep(TTL.saturating_sub(sent.elapsed())).await;
        assert_eq!(look(&mut first.stub().await, &name).await.state(), State::Held);
        for somebody_else in
            [asks(&name, other), the(&name), AcquireLeaseRequest { lock: lingering(&name, TTL), ..asks(&name, one) }]
        {
            let Acquiring::NotAcquired(why) = ask(second, somebody_else).await.unwrap() else { panic!("two holders") };
            assert_eq!(why.reason(), not_acquired::Reason::Held);
        }
        release(&mut second.stub().await, &name, &lease.lock_id).await;
        // A release is the end: the same call is a new one then.
        let next = acquire_lease(second, asks(&name, one)).await;
        assert_ne!(next.lock_id, lease.lock_id);
        assert!(next.fencing_token > lease.fencing_token);
        release(&mut second.stub().await, &name, &next.lock_id).await;
    }
}

#[tokio::test]
async fn a_request_id_is_a_fresh_uuid() {
    let broker = Broker::memory().await;
    let of_a_name = "886313e1-3b8a-5372-9b90-0c9aee199e5d";
    let (of_a_clock, of_time) = ("c232ab00-9414-11ec-b3c8-9f6bdeced846", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    for request_id in ["nightly", "00000000-0000-0000-0000-000000000000", of_a_name, of_a_clock, "0f9f3b56"] {
        let request = AcquireLeaseRequest { request_id: request_id.into(), ..the("job") };
        let status = ask(&broker, request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("request_id: "), "{}", status.message());
    }
    acquire_lease(&broker, AcquireLeaseRequest { request_id: of_time.into(), ..the("job") }).await;
}

/// A proxy may send a call twice, and a client may not wait for the end of the first one.
#[tokio::test]
async fn two_calls_at_once_that_are_one_get_one_lease() {
    let both = Brokers::start_with(SHORT).await;
    let request = AcquireLeaseRequest { request_id: "0f9f3b56-35a1-4a8f-9d39-5d0c0b6b7f13".into(), ..the("job") };
    let (one, other) = tokio::join!(acquire_lease(&both.first, request.clone()), acquire_lease(&both.second, request));
    assert_eq!((one.lock_id, one.fencing_token), (other.lock_id, other.fencing_token));
}

/// The second try need not wait until the first one's lease is over.
#[tokio::test]
async fn a_call_that_waits_finds_out_that_it_has_got_the_lock_elsewhere() {
    let both = Brokers::start().await;
    let (held, _stream) = acquire(&mut both.first.stub().await, once("job")).await;
    let wait = Some(WaitSpec { max_wait: span(Duration::from_secs(30)), ..WaitSpec::default() });
    let request_id = "0f9f3b56-35a1-4a8f-9d39-5d0c0b6b7f14".to_owned();
    let request = AcquireLeaseRequest { request_id, wait, ..the("job") };
    let calls = async {
        tokio::join!(acquire_lease(&both.first, request.clone()), acquire_lease(&both.second, request.clone()))
    };
    let released = async {
        sleep(Duration::from_millis(500)).await;
        release(&mut both.first.stub().await, "job", &held.lock_id).await;
        Instant::now()
    };
    let ((one, other), released) = tokio::join!(calls, released);
    assert_eq!((one.lock_id, one.fencing_token), (other.lock_id, other.fencing_token));
    assert!(released.elapsed() < Duration::from_secs(5) + SOON, "{:?}", released.elapsed());
}

#[tokio::test]
async fn an_operator_revokes_it() {
    let memory = Broker::start(&[&["--store", "memory"], SHORT].concat()).await;
    let lease = acquire_lease(&memory, the("job")).await;
    let done = output(&mut lockbroker(&["revoke", "--server", &memory.url(), "job"]));
    assert!(done.status.success(), "{done:?}");
    assert_eq!(why_lost(&memory, "job", &lease.lock_id).await, lost::Reason::Revoked);

    let both = Brokers::start_with(SHORT).await;
    for by in [&both.first, &both.second] {
        let name = by.url();
        let lease = acquire_lease(&both.first, the(&name)).await;
        let done = output(&mut lockbroker(&["revoke", "--server", &by.url(), &name]));
        assert!(done.status.success(), "{done:?}");
        assert_eq!(why_lost(&both.first, &name, &lease.lock_id).await, lost::Reason::Revoked);
        assert_eq!(look(&mut both.second.stub().await, &name).await.state(), State::Revoked);
    }
}

/// As long as a call may wait: 30 s are its limit, and what it takes where nothing is said.
#[tokio::test]
async fn the_longest_wait_ends_with_an_answer() {
    let broker = Broker::start(&["--store", "memory"]).await;
    let mut stub = broker.stub().await;
    let (_, _held) = acquire(&mut stub, once("job")).await;
    let (began, waits) = (Instant::now(), AcquireLeaseRequest { wait: Some(WaitSpec::default()), ..the("job") });
    match ask(&broker, waits).await.unwrap() {
        Acquiring::NotAcquired(why) => assert_eq!(why.reason(), not_acquired::Reason::MaxWait),
        Acquiring::Acquired(acquired) => panic!("{acquired:?}"),
    }
    assert!(began.elapsed() >= Duration::from_secs(30), "{:?}", began.elapsed());
}
