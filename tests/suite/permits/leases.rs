//! Leases that share a lock: no stream, and a permit each.

use super::*;
use lockbroker::proto::acquire_lease_response::Result as Acquiring;
use lockbroker::proto::renew_lease_response::Result as Renewal;
use lockbroker::proto::{AcquireLeaseRequest, RenewLeaseRequest};
use uuid::Builder;

async fn ask(broker: &Broker, request: AcquireLeaseRequest) -> Option<Acquired> {
    match broker.stub().await.acquire_lease(request).await.unwrap().into_inner().result.expect("it is set") {
        Acquiring::Acquired(acquired) => Some(acquired),
        Acquiring::NotAcquired(_) => None,
    }
}

/// A call with a name, so that it can be made again.
fn named(limit: i32) -> AcquireLeaseRequest {
    let request_id = Builder::from_random_bytes(rand::random()).into_uuid().to_string();
    AcquireLeaseRequest { lock: shared("pool", limit), request_id, ..AcquireLeaseRequest::default() }
}

#[tokio::test]
async fn a_lease_has_a_permit_and_is_renewed_and_released_at_any_broker() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let first = ask(&here, named(2)).await.unwrap();
    let second = ask(&there, named(2)).await.unwrap();
    assert_ne!(permit(&first), permit(&second));
    assert_eq!(first.lock_id.len(), 49);
    assert!(ask(&here, named(2)).await.is_none());
    for broker in [&here, &there] {
        let renew = RenewLeaseRequest { name: "pool".into(), lock_id: first.lock_id.clone() };
        let renewed = broker.stub().await.renew_lease(renew).await.unwrap().into_inner();
        assert!(matches!(renewed.result, Some(Renewal::Renewed(_))), "{renewed:?}");
    }
    assert_eq!(release(&mut there.stub().await, "pool", &first.lock_id).await, Outcome::Released);
    let next = ask(&here, named(2)).await.unwrap();
    assert_eq!(next.permit, first.permit);
    assert!(next.fencing_token > first.fencing_token);
}

/// Whoever did not hear the answer asks again, at any broker.
#[tokio::test]
async fn a_call_that_is_made_again_gets_the_permit_that_it_has() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let memory = Broker::memory().await;
    for [one, other] in [[&here, &there], [&memory, &memory]] {
        let (calls, mut got) = ([named(4), named(4), named(4)], Vec::new());
        for call in &calls {
            got.push(ask(one, call.clone()).await.unwrap());
        }
        for (call, lease) in calls.iter().zip(&got) {
            // A label is noted a moment after the grant.
            eventually(SOON, "the call is known", async || {
                let again = ask(other, call.clone()).await.unwrap();
                let is_same = again.lock_id == lease.lock_id;
                assert!(is_same || again.permit != lease.permit);
                if !is_same {
                    release(&mut other.stub().await, "pool", &again.lock_id).await;
                }
                is_same
            })
            .await;
        }
        let seen = look(&mut one.stub().await, "pool").await;
        assert_eq!(seen.shared_count, 3);
        // Another limit is another call.
        let [call, ..] = calls;
        let wider = AcquireLeaseRequest { lock: shared("pool", 5), ..call };
        let wider = ask(other, wider).await.unwrap();
        assert!(got.iter().all(|lease| lease.permit != wider.permit));
    }
}
