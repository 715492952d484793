//! Makes requests in one line each, and checks the answers that a test takes for granted.

use std::time::{Duration, Instant};

use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
pub use lockbroker::proto::release_response::Outcome;
use lockbroker::proto::{
    AcquireRequest, AcquireResponse, Acquired, BeginLock, GetLockRequest, GetLockResponse, LockSpec, ReleaseRequest,
    WaitAcquireRequest, WaitAcquireResponse, WaitSpec,
};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::{Broker, Event, Memcached, SOON, eventually, next_event};

pub type Stub = LockServiceClient<Channel>;

/// Starts a broker on each kind of store.
pub async fn brokers(arguments: &[&str]) -> [(Option<Memcached>, Broker); 2] {
    let memcached = Memcached::start(&[]).await;
    let on_memcached = Broker::on_store(&memcached.store(), arguments).await;
    let on_memory = Broker::start(&[&["--store", "memory"], arguments].concat()).await;
    [(None, on_memory), (Some(memcached), on_memcached)]
}

/// Converts a span for the wire; set, whatever it is.
pub fn span(span: Duration) -> Option<prost_types::Duration> {
    Some(span.try_into().unwrap())
}

/// Converts a span from the wire, where it must be set.
pub fn duration(span: Option<prost_types::Duration>) -> Duration {
    span.expect("a duration that is set").try_into().unwrap()
}

pub fn lock(name: &str) -> Option<LockSpec> {
    Some(LockSpec { name: name.to_owned(), ..LockSpec::default() })
}

/// Makes the spec of a lock that lingers.
pub fn lingering(name: &str, linger: Duration) -> Option<LockSpec> {
    Some(LockSpec { name: name.to_owned(), linger: span(linger), ..LockSpec::default() })
}

pub fn once(name: &str) -> AcquireRequest {
    AcquireRequest { lock: lock(name), ..AcquireRequest::default() }
}

pub fn reattach(name: &str, lock_id: &str) -> AcquireRequest {
    AcquireRequest { reattach_lock_id: lock_id.to_owned(), ..once(name) }
}

/// Makes a request that waits until the client leaves.
pub fn wait(name: &str) -> WaitAcquireRequest {
    WaitAcquireRequest { lock: lock(name), ttl: None, wait: None }
}

pub fn wait_up_to(max_wait: Duration, name: &str) -> WaitAcquireRequest {
    let wait = WaitSpec { max_wait: span(max_wait), poll_interval: None };
    WaitAcquireRequest { wait: Some(wait), ..self::wait(name) }
}

/// Makes a BeginLock that tries once.
pub fn begin(lock_ref: i64, name: &str) -> BeginLock {
    BeginLock { lock_ref, lock: lock(name), ..BeginLock::default() }
}

/// Makes a BeginLock that waits.
pub fn begin_wait(lock_ref: i64, name: &str) -> BeginLock {
    BeginLock { wait: Some(WaitSpec::default()), ..begin(lock_ref, name) }
}

/// Acquires what must be free.
pub async fn acquire(stub: &mut Stub, request: AcquireRequest) -> (Acquired, Streaming<AcquireResponse>) {
    match patiently(async || ask(stub, request.clone()).await).await {
        Ok((Kind::Acquired(acquired), stream)) => (acquired, stream),
        other => panic!("{other:?} where `acquired` was expected"),
    }
}

/// Asks again, as a client would, where a broker cannot tell for a moment: it takes a memcached that a busy machine
/// leaves without its turn for one that was stopped.
async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    let start = Instant::now();
    loop {
        match ask().await {
            Err(status) if status.code() == Code::Unavailable && start.elapsed() < SOON => {
                sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
}

/// Asks once, whatever comes of it: the stream of the lock if it was granted, none if it was not.
pub async fn try_acquire(
    stub: &mut Stub,
    request: AcquireRequest,
) -> Result<Option<Streaming<AcquireResponse>>, Status> {
    match ask(stub, request).await? {
        (Kind::Acquired(_), stream) => Ok(Some(stream)),
        (Kind::NotAcquired(_), _) => Ok(None),
        other => panic!("{other:?} to an Acquire"),
    }
}

/// Asks once: the first event, and what follows it.
async fn ask(stub: &mut Stub, request: AcquireRequest) -> Result<(Kind, Streaming<AcquireResponse>), Status> {
    let mut stream = stub.acquire(request).await?.into_inner();
    let first = timeout(SOON, stream.message()).await.expect("an answer soon")?;
    let kind = first.and_then(Event::event).and_then(|event| event.kind).expect("an event of a known kind");
    Ok((kind, stream))
}

/// Begins to wait for what is held, and returns the place in line.
pub async fn queue(stub: &mut Stub, request: WaitAcquireRequest) -> (i32, Streaming<WaitAcquireResponse>) {
    let mut stream = stub.wait_acquire(request).await.unwrap().into_inner();
    match next_event(&mut stream).await {
        Kind::Queued(queued) => (queued.position, stream),
        other => panic!("{other:?} where `queued` was expected"),
    }
}

/// Returns the grant that a stream must get soon. Skips `queued`.
pub async fn granted<E: Event>(stream: &mut Streaming<E>) -> Acquired {
    loop {
        match next_event(stream).await {
            Kind::Acquired(acquired) => return acquired,
            Kind::Queued(_) => {}
            other => panic!("{other:?} where `acquired` was expected"),
        }
    }
}

/// Waits without end for the grant of a stream.
pub async fn granted_whenever(stream: &mut Streaming<WaitAcquireResponse>) -> Acquired {
    loop {
        let message = stream.message().await.unwrap().expect("a grant where the stream ended");
        match message.event.and_then(|event| event.kind) {
            Some(Kind::Acquired(acquired)) => return acquired,
            Some(Kind::Queued(_)) => {}
            other => panic!("{other:?} where `acquired` was expected"),
        }
    }
}

/// Returns the next event of a holder's stream that is not a renewal.
pub async fn after_renewals<E: Event>(stream: &mut Streaming<E>) -> Kind {
    loop {
        match next_event(stream).await {
            Kind::Renewed(_) => {}
            other => return other,
        }
    }
}

pub async fn release(stub: &mut Stub, name: &str, lock_id: &str) -> Outcome {
    let request = ReleaseRequest { name: name.to_owned(), lock_id: lock_id.to_owned() };
    stub.release(request).await.unwrap().into_inner().outcome()
}

pub async fn look(stub: &mut Stub, name: &str) -> GetLockResponse {
    patiently(async || stub.get_lock(of(name)).await).await.unwrap().into_inner()
}

/// Waits until nobody has the lock.
pub async fn freed(stub: &mut Stub, name: &str) {
    eventually(SOON, &format!("{name:?} is free"), async || {
        // The store may be away for a moment.
        stub.get_lock(of(name)).await.is_ok_and(|seen| seen.get_ref().state() == State::Free)
    })
    .await;
}

fn of(name: &str) -> GetLockRequest {
    GetLockRequest { name: name.to_owned(), ..Default::default() }
}
