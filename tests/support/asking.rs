//! Asking a broker for a lock by a bare stub, whatever comes of it.

use std::time::Duration;

use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::{
    AcquireRequest, AcquireResponse, LockSpec, WaitAcquireRequest, WaitAcquireResponse, not_acquired,
};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::{Event, SOON};

/// A lock of this name, without linger or owner.
pub fn named(name: &str) -> LockSpec {
    LockSpec { name: name.to_owned(), ..Default::default() }
}

/// Asks once; the stream of the lock if it was granted_in_the_end, none if it was not.
pub async fn attempt(
    stub: &mut LockServiceClient<Channel>,
    lock: LockSpec,
) -> Result<Option<Streaming<AcquireResponse>>, Status> {
    attempt_for(stub, lock, None).await
}

/// As `attempt`, with a ttl.
pub async fn attempt_for(
    stub: &mut LockServiceClient<Channel>,
    lock: LockSpec,
    ttl: Option<Duration>,
) -> Result<Option<Streaming<AcquireResponse>>, Status> {
    let ttl = ttl.map(|ttl| ttl.try_into().unwrap());
    let request = AcquireRequest { lock: Some(lock), ttl, ..Default::default() };
    let mut stream = stub.acquire(request).await?.into_inner();
    match first_event(&mut stream).await? {
        Kind::Acquired(_) => Ok(Some(stream)),
        Kind::NotAcquired(why) if why.reason() != not_acquired::Reason::Unspecified => Ok(None),
        other => panic!("{other:?} to an Acquire"),
    }
}

/// Stands in line without end for a lock that cannot be had now.
pub async fn stand_in_line(
    stub: &mut LockServiceClient<Channel>,
    lock: LockSpec,
    ttl: Option<Duration>,
) -> Streaming<WaitAcquireResponse> {
    let ttl = ttl.map(|ttl| ttl.try_into().unwrap());
    let request = WaitAcquireRequest { lock: Some(lock), ttl, wait: None };
    let mut stream = stub.wait_acquire(request).await.unwrap().into_inner();
    match first_event(&mut stream).await.unwrap() {
        Kind::Queued(_) => stream,
        other => panic!("{other:?} for a lock that cannot be had"),
    }
}

/// Waits, for as long as it takes, until one who stands in line is granted the lock; its fencing token.
pub async fn granted_in_the_end(stream: &mut Streaming<WaitAcquireResponse>) -> i64 {
    loop {
        match stream.message().await.unwrap().and_then(Event::event).and_then(|event| event.kind) {
            Some(Kind::Queued(_)) => {}
            Some(Kind::Acquired(acquired)) => return acquired.fencing_token,
            other => panic!("{other:?} where a grant was expected"),
        }
    }
}

async fn first_event<E: Event>(stream: &mut Streaming<E>) -> Result<Kind, Status> {
    let message = timeout(SOON, stream.message()).await.expect("an answer soon")?;
    Ok(message.and_then(Event::event).and_then(|event| event.kind).expect("a first event"))
}
