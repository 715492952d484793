//! Acquires, reattaches and ends locks, on a Session or each on a stream of its own.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::session::{Session, status_line, tell};
use crate::proto::lock_event::Kind;
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::release_response::Outcome;
use crate::proto::{AcquireRequest, AcquireResponse, GetLockRequest, LockSpec, ReleaseRequest};

/// A connection on which calls are made, and what is set up on it once.
#[derive(Debug)]
pub enum Lane {
    /// One Session for all locks.
    Session(Session),
    /// Each lock on an Acquire stream, ended by a Release call; with this ttl, or the broker's default.
    Stream(LockServiceClient<Channel>, Option<Duration>),
}

/// A lock that is held.
#[derive(Debug)]
pub enum Held {
    /// Its lock_ref.
    Session(i64),
    /// A lock on a stream of its own.
    Stream {
        /// Its stream.
        stream: Box<Streaming<AcquireResponse>>,
        /// The call that ends it.
        release: ReleaseRequest,
    },
}

impl Lane {
    /// Acquires a lock that nobody has.
    ///
    /// # Errors
    /// One line that says what came instead.
    pub async fn acquire(&self, name: &str) -> Result<Held, String> {
        match self {
            Lane::Session(session) => {
                let begun = session.begin(name, None);
                let lock_ref = begun.lock_ref;
                begun.granted().await.map(|()| Held::Session(lock_ref))
            }
            Lane::Stream(stub, ttl) => acquire(stub, name, *ttl, String::new()).await,
        }
    }

    /// Releases a lock and waits until that is confirmed.
    ///
    /// # Errors
    /// One line that says what came instead; a lock of another kind of lane is one.
    pub async fn release(&self, held: Held) -> Result<(), String> {
        match (self, held) {
            (Lane::Session(session), Held::Session(lock_ref)) => session.end(lock_ref).released().await,
            (Lane::Stream(stub, _), Held::Stream { mut stream, release }) => {
                end(stub, release).await?;
                // Its end is on the way; to drop it before would send a reset.
                while next(&mut stream).await?.is_some() {}
                Ok(())
            }
            _ => Err("a lock on another lane".into()),
        }
    }
}

/// Makes an Acquire call. With a lock id, reattaches that lock.
pub(super) async fn acquire(
    stub: &LockServiceClient<Channel>,
    name: &str,
    ttl: Option<Duration>,
    reattach_lock_id: String,
) -> Result<Held, String> {
    let lock = Some(LockSpec { name: name.to_owned(), ..LockSpec::default() });
    let ttl = ttl.map(|ttl| ttl.try_into().map_err(|_| "the ttl is too long")).transpose()?;
    let request = AcquireRequest { lock, ttl, reattach_lock_id };
    let mut stream = stub.clone().acquire(request).await.map_err(failed)?.into_inner();
    match next(&mut stream).await? {
        Some(Kind::Acquired(acquired)) => {
            let release = ReleaseRequest { name: name.to_owned(), lock_id: acquired.lock_id };
            Ok(Held::Stream { stream: Box::new(stream), release })
        }
        Some(other) => Err(tell(&other)),
        None => Err("the stream ended without an answer".into()),
    }
}

/// Makes a Release call, and fails if the lock was not held.
pub(super) async fn end(stub: &LockServiceClient<Channel>, release: ReleaseRequest) -> Result<(), String> {
    match stub.clone().release(release).await.map_err(failed)?.get_ref().outcome() {
        Outcome::Released => Ok(()),
        other => Err(format!("not released: {}", other.as_str_name())),
    }
}

/// Makes a GetLock call: one call, one look into the store, nothing kept.
pub(super) async fn look(stub: &LockServiceClient<Channel>, name: &str) -> Result<(), String> {
    let request = GetLockRequest { name: name.to_owned(), ..Default::default() };
    stub.clone().get_lock(request).await.map(|_| ()).map_err(failed)
}

/// Returns the next event on a lock's stream; none at its end.
pub(super) async fn next(stream: &mut Streaming<AcquireResponse>) -> Result<Option<Kind>, String> {
    Ok(stream.message().await.map_err(failed)?.and_then(|response| response.event?.kind))
}

fn failed(status: Status) -> String {
    status_line(&status)
}
