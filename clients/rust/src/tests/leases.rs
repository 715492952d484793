//! Leases, against brokers that follow a script.

use std::future::IntoFuture;
use std::time::Duration;

use tokio::time::{advance, sleep};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::peer::{Call, Peer, TTL, VALID, client, client_of_two, soon};
use super::{assert_close, settle};
use crate::proto::acquire_lease_response::Result as Acquiring;
use crate::proto::renew_lease_response::Result as Renewal;
use crate::proto::{self, *};
use crate::{Client, Error, Lease, LostReason, Outcome, Reason};

/// The validity that a broker tells for the usual ttl.
const TOLD: Duration = Duration::from_secs(13);

type Asked = Call<AcquireLeaseRequest, AcquireLeaseResponse>;
type Renewing = Call<RenewLeaseRequest, RenewLeaseResponse>;

async fn asked(peer: &mut Peer) -> Asked {
    soon(peer.leases.recv()).await.expect("a call")
}

async fn renewing(peer: &mut Peer) -> Renewing {
    soon(peer.renewals.recv()).await.expect("a call")
}

fn grant(call: Asked, told: Duration) {
    let expires_after_request = Some(told.try_into().unwrap());
    let acquired = Acquired { lock_id: "id-1".into(), fencing_token: 7, expires_after_request, ..Default::default() };
    call.answer(AcquireLeaseResponse { result: Some(Acquiring::Acquired(acquired)) });
}

fn renew(call: Renewing) {
    let renewed = Renewed { expires_after_request: Some(TOLD.try_into().unwrap()) };
    call.answer(RenewLeaseResponse { result: Some(Renewal::Renewed(renewed)) });
}

fn lose(call: Renewing, reason: proto::lost::Reason) {
    call.answer(RenewLeaseResponse {
        result: Some(Renewal::Lost(Lost { reason: reason.into(), ..Default::default() })),
    });
}

fn lost<T>(reason: LostReason) -> Result<T, Error> {
    Err(Error::Lost { lock: "a".into(), reason })
}

/// Asks for a lease and grants it.
async fn held(client: &Client, peer: &mut Peer) -> Lease {
    let asking = tokio::spawn(client.lease("a").ttl(TTL).into_future());
    grant(asked(peer).await, TOLD);
    soon(asking).await.unwrap().unwrap().guard().expect("acquired")
}

#[tokio::test(start_paused = true)]
async fn its_validity_counts_from_when_the_call_was_sent() {
    let (client, mut peer) = client();
    let asking = client.lease("a").ttl(TTL).linger(Duration::from_secs(2)).min_hold(Duration::from_secs(3)).owner("me");
    let asking = tokio::spawn(asking.into_future());
    let call = asked(&mut peer).await;
    let spec = call.request.lock.clone().unwrap();
    assert_eq!((&*spec.name, &*spec.owner), ("a", "me"));
    assert_eq!(spec.linger.unwrap().seconds, 2);
    assert_eq!(spec.min_hold.unwrap().seconds, 3);
    assert_eq!(call.request.ttl.unwrap().seconds, 15);
    assert_eq!(call.request.wait, None);
    sleep(Duration::from_secs(1)).await;
    grant(call, TOLD);
    let lease = soon(asking).await.unwrap().unwrap().guard().expect("acquired");
    assert_eq!((lease.name(), lease.lock_id(), lease.fencing_token()), ("a", "id-1", Some(7)));
    assert_close(lease.remaining(), VALID - Duration::from_secs(1));
    lease.check().unwrap();

    // The same for a renewal, of which an answer that comes late extends nothing beyond that.
    sleep(Duration::from_secs(5)).await;
    let (renewed, ()) = tokio::join!(lease.renew(), async {
        let call = renewing(&mut peer).await;
        assert_eq!((&*call.request.name, &*call.request.lock_id), ("a", "id-1"));
        sleep(Duration::from_secs(2)).await;
        renew(call);
    });
    renewed.unwrap();
    assert_close(lease.remaining(), VALID - Duration::from_secs(2));
    sleep(VALID).await;
    assert_eq!(lease.check(), lost(LostReason::Expired));
    assert_eq!(lease.renew().await, lost(LostReason::Expired));
    assert_eq!(lease.release().await, lost(LostReason::Expired));
    assert!(peer.renewals.is_empty() && peer.releases.is_empty(), "nobody was asked");
}

#[tokio::test(start_paused = true)]
async fn a_ttl_that_is_not_known_gives_the_same_notice() {
    let (client, mut peer) = client();
    let asking = tokio::spawn(client.lease("a").wait(Duration::from_secs(30)).into_future());
    let call = asked(&mut peer).await;
    assert_eq!(call.request.ttl, None);
    sleep(Duration::from_secs(20)).await;
    grant(call, Duration::from_secs(20) + TOLD);
    let lease = soon(asking).await.unwrap().unwrap().guard().expect("acquired");
    assert_close(lease.remaining(), VALID);
    let (adopted, ()) = tokio::join!(client.adopt_lease("a", "id-1"), async {
        renew(renewing(&mut peer).await);
    });
    let adopted = adopted.unwrap();
    assert_close(adopted.remaining(), VALID);
    assert_eq!(adopted.fencing_token(), None);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_is_made_again_at_the_next_broker() {
    let (client, [mut first, mut second]) = client_of_two();
    let asking = tokio::spawn(client.lease("a").into_future());
    let one = asked(&mut first).await;
    assert_eq!(one.request.request_id.len(), 36);
    assert_eq!(one.request.request_id.as_bytes()[14], b'4', "a random UUID");
    // Never answered.
    let other = asked(&mut second).await;
    assert_eq!(one.request, other.request);
    other.fail(Status::deadline_exceeded("a proxy's"));
    let again = asked(&mut first).await;
    assert_eq!(one.request, again.request);
    grant(again, TOLD);
    let lease = soon(asking).await.unwrap().unwrap().guard().expect("acquired");
    assert_close(lease.remaining(), VALID);

    // Another lease has another name.
    let asking = tokio::spawn(client.lease("a").into_future());
    let next = asked(&mut first).await;
    assert_ne!(one.request.request_id, next.request.request_id);
    let reason = not_acquired::Reason::Held.into();
    let refused = NotAcquired { reason, owner: "them".into(), ..Default::default() };
    next.answer(AcquireLeaseResponse { result: Some(Acquiring::NotAcquired(refused)) });
    match soon(asking).await.unwrap().unwrap() {
        Outcome::NotAcquired(why) => assert_eq!((why.reason, &*why.owner), (Reason::Held, "them")),
        Outcome::Acquired(lease) => panic!("{lease:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_and_an_answer_have_their_limits() {
    let (client, mut peer) = client();
    let begun = tokio::time::Instant::now();
    let asking = tokio::spawn(client.lease("a").wait(Duration::from_secs(10)).into_future());
    let one = asked(&mut peer).await;
    let max_wait = |call: &Asked| call.request.wait.unwrap().max_wait.unwrap().seconds;
    assert_eq!(max_wait(&one), 10);
    sleep(Duration::from_secs(4)).await;
    drop(one);
    let two = asked(&mut peer).await;
    assert!(max_wait(&two) < 6, "it is what is left: {:?}", two.request.wait);
    // Silent from now on.
    let answer = soon(asking).await.unwrap();
    assert!(matches!(answer, Err(Error::Unavailable { .. })), "{answer:?}");
    assert_close(begun.elapsed(), Duration::from_millis(15_050));
    drop(two);

    // What every broker says is not asked again.
    let asking = tokio::spawn(client.lease("a").into_future());
    let details =
        ErrorDetails::with_error_info("STORE_UNAVAILABLE", crate::ERROR_DOMAIN, [("lock".to_owned(), "a".to_owned())]);
    asked(&mut peer).await.fail(Status::with_error_details(Code::Unavailable, "the store is away", details));
    let answer = soon(asking).await.unwrap();
    assert!(matches!(answer, Err(Error::Unavailable { reason: Some(_), .. })), "{answer:?}");
    assert!(peer.leases.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_says_lost_and_an_error_does_not() {
    let (client, mut peer) = client();
    let lease = held(&client, &mut peer).await;
    let (renewed, ()) = tokio::join!(lease.renew(), async {
        // Never answered.
        let _kept = renewing(&mut peer).await;
        sleep(Duration::from_secs(5)).await;
    });
    assert!(matches!(renewed, Err(Error::Unavailable { .. })), "{renewed:?}");
    lease.check().unwrap();
    assert_close(lease.remaining(), VALID - Duration::from_secs(5));
    let (renewed, ()) = tokio::join!(lease.renew(), async { renew(renewing(&mut peer).await) });
    renewed.unwrap();
    assert_close(lease.remaining(), VALID);
    let (renewed, ()) =
        tokio::join!(lease.renew(), async { lose(renewing(&mut peer).await, proto::lost::Reason::Revoked) });
    assert_eq!(renewed, lost(LostReason::Revoked));
    assert_eq!(lease.check(), lost(LostReason::Revoked));
    assert_eq!((lease.remaining(), lease.release().await), (Duration::ZERO, lost(LostReason::Revoked)));

    let (adopted, ()) = tokio::join!(client.adopt_lease("a", "id-9"), async {
        lose(renewing(&mut peer).await, proto::lost::Reason::Gone);
    });
    assert_eq!(adopted.map(|_| ()), lost(LostReason::Gone));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_answered_too_late_revives_nothing() {
    let (client, mut peer) = client();
    let lease = held(&client, &mut peer).await;
    advance(VALID - Duration::from_secs(1)).await;
    let (renewed, ()) = tokio::join!(lease.renew(), async {
        let call = renewing(&mut peer).await;
        sleep(Duration::from_secs(2)).await;
        assert_eq!(lease.check(), lost(LostReason::Expired));
        renew(call);
    });
    assert_eq!(renewed, lost(LostReason::Expired));
    assert_eq!(lease.check(), lost(LostReason::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_release_is_done_once_and_dropping_does_nothing() {
    let (client, mut peer) = client();
    let lease = held(&client, &mut peer).await;
    lease.release().await.unwrap();
    assert_eq!(soon(peer.releases.recv()).await.unwrap().lock_id, "id-1");
    assert_eq!((lease.check(), lease.remaining()), (lost(LostReason::Released), Duration::ZERO));
    lease.release().await.unwrap();
    assert_eq!(lease.renew().await, lost(LostReason::Released));

    let other = held(&client, &mut peer).await;
    drop(client);
    settle().await;
    other.check().unwrap();
    drop(other);
    settle().await;
    assert!(peer.releases.is_empty() && peer.renewals.is_empty());
}

#[tokio::test]
async fn texts_and_limits_that_no_broker_takes_are_not_sent() {
    let (client, _peer) = client();
    for limit in [0, 4_097] {
        let limited = client.acquire("a").limit(limit).await;
        assert!(matches!(&limited, Err(Error::Invalid { .. })), "{limited:?}");
        assert!(matches!(client.wait_acquire("a").limit(limit).await, Err(Error::Invalid { .. })));
        assert!(matches!(client.lease("a").limit(limit).await, Err(Error::Invalid { .. })));
    }
    let long = "a".repeat(2_000);
    assert!(matches!(client.lease(&long).await, Err(Error::Invalid { .. })));
    assert!(matches!(client.lease("a").owner(&long).await, Err(Error::Invalid { .. })));
    assert!(matches!(client.adopt_lease("a", long).await, Err(Error::Invalid { .. })));
    // None of these is too long by itself, and a message with all of them is.
    let long = "a".repeat(512);
    let together = client.acquire(&long).owner(&long).also([&long, &long, &long]).await;
    assert!(matches!(&together, Err(Error::Invalid { .. })), "{together:?}");
}
