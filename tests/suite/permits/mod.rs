//! Locks that several share, each with a permit: up to a limit, or until one wants the lock alone.

mod broken;
mod claimed;
mod downgrade;
mod leases;
mod readers;
mod seats;
mod several;
mod shown;

use std::time::Duration;

use lockbroker::proto::lock_admin_client::LockAdminClient;
use lockbroker::proto::lock_spec::Mode;
use lockbroker::proto::{
    AcquireRequest, AcquireResponse, Acquired, BeginLock, GetLockRequest, LockSpec, WaitAcquireRequest,
};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::support::*;

/// So rarely do waiters poll here that whoever gets a lock before was woken.
const POLLS_EVERY: &[&str] = &["--poll-interval", "5s"];
const BELOW_A_POLL: Duration = Duration::from_secs(3);

/// The spec of a lock that is shared. No limit: 0. It has a label, so that all brokers know its token.
fn shared(name: &str, limit: i32) -> Option<LockSpec> {
    let owner = "somebody".to_owned();
    Some(LockSpec { name: name.to_owned(), owner, mode: Mode::Shared.into(), limit, ..LockSpec::default() })
}

fn share(name: &str, limit: i32) -> AcquireRequest {
    AcquireRequest { lock: shared(name, limit), ..AcquireRequest::default() }
}

fn wait_to_share(name: &str, limit: i32) -> WaitAcquireRequest {
    WaitAcquireRequest { lock: shared(name, limit), ..wait(name) }
}

fn permit(acquired: &Acquired) -> i32 {
    acquired.permit.expect("the lock is shared")
}

/// Acquires a permit that must be free.
async fn take(broker: &Broker, name: &str, limit: i32) -> (Acquired, Streaming<AcquireResponse>) {
    acquire(&mut broker.stub().await, share(name, limit)).await
}

async fn is_refused(broker: &Broker, request: AcquireRequest) -> bool {
    try_acquire(&mut broker.stub().await, request).await.unwrap().is_none()
}

async fn admin(broker: &Broker) -> LockAdminClient<Channel> {
    LockAdminClient::new(Endpoint::from_shared(broker.url()).unwrap().connect().await.unwrap())
}

fn of_permit(name: &str, permit: i32) -> GetLockRequest {
    GetLockRequest { name: name.to_owned(), permit: Some(permit), ..GetLockRequest::default() }
}

/// The ttl of a Session on which several permits are asked for.
const TTL: Duration = Duration::from_secs(6);

/// Asks for so many permits.
fn several(lock_ref: i64, name: &str, limit: i32, weight: i32) -> BeginLock {
    let lock = shared(name, limit).map(|lock| LockSpec { weight, ..lock });
    BeginLock { lock, ..begin(lock_ref, name) }
}

async fn open(broker: &Broker) -> RawSession {
    RawSession::open(&mut broker.stub().await, Some(TTL)).await
}

/// Two brokers that wake each other, on one memcached.
async fn two_brokers(arguments: &[&str]) -> (Memcached, [Broker; 2]) {
    let memcached = Memcached::start(&[]).await;
    let arguments = [&["--advertise", "127.0.0.1:0"], arguments].concat();
    let brokers = [
        Broker::on_store(&memcached.store(), &arguments).await,
        Broker::on_store(&memcached.store(), &arguments).await,
    ];
    (memcached, brokers)
}
