//! Leases: locks without a stream, for programs that cannot keep one open.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use uuid::Builder;

use super::Client;
use super::error::{Error, LostReason};
use super::mutex::lock;
use super::request::{Outcome, check, not_acquired};
use super::settings::{Answered, ClientSettings, unexpected};
use super::wire::{self, FAR, from_wire, to_wire};
use crate::clock::{Moment, notice};
use crate::core::{LockSpec, Refusal};
use crate::proto::acquire_lease_response::Result as Acquiring;
use crate::proto::release_response::Outcome as Releasing;
use crate::proto::renew_lease_response::Result as Renewal;
use crate::proto::{AcquireLeaseRequest, ReleaseRequest, RenewLeaseRequest, WaitSpec};

/// By so much less than its ttl a broker counts a lease.
const LESS: Duration = Duration::from_secs(2);

/// Asks for a lease. Made by [`Client::lease`]; awaiting it asks.
///
/// If an answer does not come, the same call is made again, at the next broker, until the client's
/// [`answer_timeout`](super::ClientBuilder::answer_timeout) is over, beyond the wait. It has a name of its own for that. So a lease
/// whose answer was lost on its way is found again.
///
/// # Errors
/// [`Error::Unavailable`] if no broker answered in time, or if the brokers' store is away: the lock may then stand for its ttl.
/// [`Error::Exhausted`], [`Error::Invalid`] and [`Error::Denied`] as the broker says.
///
/// # Cancel safety
/// If the future is dropped, the lock is not held, unless the broker's answer was on its way: then the lock stands for its ttl.
#[must_use = "asks for nothing unless it is awaited"]
#[derive(Debug)]
pub struct AcquireLease {
    client: Client,
    lock: LockSpec,
    ttl: Option<Duration>,
    wait: Option<Duration>,
}

/// A lock that stands for its ttl, whatever becomes of this value, of its client and of the process, unless it is
/// [renewed](Lease::renew) or [released](Lease::release).
///
/// Nobody tells a holder that its lease is lost. It counts the validity by itself: look at [`remaining`](Lease::remaining) before
/// each step that must not be done twice, and hand the [`fencing_token`](Lease::fencing_token) to whatever the lock protects.
///
/// # Dropping
/// Dropping it does nothing. The lock stands until its ttl is over.
#[must_use = "a lease that is dropped keeps its lock closed for its ttl"]
pub struct Lease {
    name: Arc<str>,
    lock_id: String,
    fencing_token: Option<i64>,
    permit: Option<u32>,
    ttl: Option<Duration>,
    settings: Arc<ClientSettings>,
    state: Mutex<State>,
}

/// The belief of the holder.
#[derive(Debug)]
struct State {
    /// The end of its validity.
    until: Moment,
    standing: Standing,
}

#[derive(Debug, Clone, Copy)]
enum Standing {
    Held,
    /// So many calls have been made that release it, and none was answered.
    Releasing(u32),
    Released,
    Lost(LostReason),
}

impl AcquireLease {
    pub(super) fn new(client: Client, name: &str) -> AcquireLease {
        let (lock, ttl) = (client.lock_spec(name), client.settings.ttl);
        AcquireLease { client, lock, ttl, wait: None }
    }

    /// Sets the time for which the lock stands without renewal; 5 s up to the broker's `--max-ttl`, to the millisecond. Default: the
    /// client's, or else the broker's, 15 s.
    pub fn ttl(mut self, ttl: Duration) -> AcquireLease {
        self.ttl = Some(ttl);
        self
    }

    /// Waits for the lock, for so long at most: up to 30 s, exact to 50 ms, or to 150 ms while the store is slow. Default: tries
    /// once.
    pub fn wait(mut self, wait: Duration) -> AcquireLease {
        self.wait = Some(wait.min(FAR));
        self
    }

    /// Sets the time after the release for which nobody can acquire the lock; up to 1 h, to the millisecond. Default: 0.
    pub fn linger(mut self, linger: Duration) -> AcquireLease {
        self.lock.linger = Some(linger);
        self
    }

    /// Sets the least time for which the lock stays closed; see [`Acquire::min_hold`](super::Acquire::min_hold).
    pub fn min_hold(mut self, min_hold: Duration) -> AcquireLease {
        self.lock.min_hold = Some(min_hold);
        self
    }

    /// Shares the lock; see [`Acquire::shared`](super::Acquire::shared).
    pub fn shared(mut self) -> AcquireLease {
        self.lock.share(None, None);
        self
    }

    /// Shares the lock among so many at a time; see [`Acquire::limit`](super::Acquire::limit).
    pub fn limit(mut self, limit: u32) -> AcquireLease {
        self.lock.share(Some(limit), None);
        self
    }

    /// Sets the label; see [`Acquire::owner`](super::Acquire::owner).
    pub fn owner(mut self, owner: impl Into<String>) -> AcquireLease {
        self.lock.owner = owner.into();
        self
    }

    async fn ask(self) -> Result<Outcome<Lease>, Error> {
        let AcquireLease { client, lock, ttl, wait } = self;
        check(&lock, None)?;
        let name: Arc<str> = lock.name.as_str().into();
        let request = AcquireLeaseRequest {
            lock: Some(wire::lock_spec(lock)),
            ttl: ttl.map(to_wire),
            wait: None,
            request_id: Builder::from_random_bytes(rand::random()).into_uuid().to_string(),
        };
        let until = Moment::now() + wait.unwrap_or_default();
        let answered = client.settings.call_again(&name, until, |mut stub| {
            // What is left of the wait. Everything else has to be the same each time.
            let max_wait = wait.map(|_| to_wire(until.remaining()));
            let wait = max_wait.map(|max_wait| WaitSpec { max_wait: Some(max_wait), poll_interval: None });
            let request = AcquireLeaseRequest { wait, ..request.clone() };
            Box::pin(async move { stub.acquire_lease(request).await })
        });
        let Answered { answer, sent, .. } = answered.await?;
        match answer.result {
            Some(Acquiring::Acquired(acquired)) => {
                let until = valid_until(&name, sent, acquired.expires_after_request.as_ref(), ttl)?;
                let permit = wire::permit(&acquired);
                Ok(Outcome::Acquired(Lease {
                    name,
                    permit,
                    lock_id: acquired.lock_id,
                    fencing_token: Some(acquired.fencing_token),
                    ttl,
                    settings: Arc::clone(&client.settings),
                    state: State::held(until),
                }))
            }
            Some(Acquiring::NotAcquired(refused)) => {
                let refusal = Refusal { reason: refused.reason().into(), owner: refused.owner, name: refused.name };
                not_acquired(&name, refusal).map(Outcome::NotAcquired)
            }
            None => Err(unexpected(&name, "an answer without a result")),
        }
    }
}

impl IntoFuture for AcquireLease {
    type Output = Result<Outcome<Lease>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}

impl State {
    fn held(until: Moment) -> Mutex<State> {
        Mutex::new(State { until, standing: Standing::Held })
    }
}

impl Lease {
    /// Goes on with a lease that is known by its id.
    pub(super) async fn adopt(client: &Client, name: &str, lock_id: String) -> Result<Lease, Error> {
        let settings = Arc::clone(&client.settings);
        check(&client.lock_spec(name), Some(&lock_id))?;
        let until = renew(&settings, name, &lock_id, None).await?;
        let (fencing_token, permit, ttl) = (None, None, None);
        Ok(Lease { name: name.into(), lock_id, fencing_token, permit, ttl, settings, state: State::held(until) })
    }

    /// Returns the lock's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names this lease at any broker: another process can [go on](Client::adopt_lease) with it. It is a capability: keep it out of
    /// logs.
    pub fn lock_id(&self) -> &str {
        &self.lock_id
    }

    /// Returns the fencing token, as [`Guard::fencing_token`](super::Guard::fencing_token) does; none for a lease that was
    /// [adopted](Client::adopt_lease).
    pub fn fencing_token(&self) -> Option<i64> {
        self.fencing_token
    }

    /// Returns the number of the permit, as [`Guard::permit`](super::Guard::permit) does; none for a lease that was
    /// [adopted](Client::adopt_lease).
    pub fn permit(&self) -> Option<u32> {
        self.permit
    }

    /// Returns the time for which the holder may act without renewing the lease, counted from now. It ends a thirtieth of the ttl
    /// before the broker could give the lock to anybody else. It is zero once the lease is lost or released.
    pub fn remaining(&self) -> Duration {
        let state = self.state();
        if let Standing::Held = state.standing { state.until.remaining() } else { Duration::ZERO }
    }

    /// Checks that the holder may act at this moment, by the client's clock. Asks no broker.
    ///
    /// # Errors
    /// [`Error::Lost`] if the lease has run out, or a renewal has told that it is lost, or it was released here.
    pub fn check(&self) -> Result<(), Error> {
        self.standing(&self.state())
    }

    /// Renews the lease: it then stands for its ttl again, counted from this call. Renew well before the end, after a third of the
    /// ttl, say.
    ///
    /// # Errors
    /// [`Error::Lost`] if the lease is lost. Any other error says nothing about it: it is good until
    /// [`remaining`](Lease::remaining) is zero, and the renewal may be tried again. [`Error::Unavailable`] if no broker answers within
    /// the client's [`answer_timeout`](super::ClientBuilder::answer_timeout).
    ///
    /// # Cancel safety
    /// The renewal may happen all the same when the future is dropped; this value then does not count it.
    pub async fn renew(&self) -> Result<(), Error> {
        self.check()?;
        match renew(&self.settings, &self.name, &self.lock_id, self.ttl).await {
            Ok(until) => {
                let mut state = self.state();
                // What was said to be over stays so.
                self.standing(&state)?;
                state.until = state.until.max(until);
                Ok(())
            }
            Err(Error::Lost { reason, .. }) => {
                let mut state = self.state();
                if let Standing::Held = state.standing {
                    state.standing = Standing::Lost(reason);
                }
                self.standing(&state)
            }
            Err(error) => Err(error),
        }
    }

    /// Releases the lock and waits until a broker has confirmed it. A second call does nothing. From the beginning of the first one,
    /// the lease counts as over.
    ///
    /// # Errors
    /// [`Error::Lost`] if the lease had been lost before; [`Error::Unavailable`] if no broker answers within the client's
    /// [`answer_timeout`](super::ClientBuilder::answer_timeout): try again, or leave the lock to run out.
    ///
    /// # Cancel safety
    /// The release may happen all the same when the future is dropped. It can be called again.
    pub async fn release(&self) -> Result<(), Error> {
        {
            let mut state = self.state();
            state.standing = match state.standing {
                Standing::Held => Standing::Releasing(1),
                Standing::Releasing(calls) => Standing::Releasing(calls.saturating_add(1)),
                Standing::Released => return Ok(()),
                Standing::Lost(_) => return self.standing(&state),
            };
        }
        let request = ReleaseRequest { name: self.name.to_string(), lock_id: self.lock_id.clone() };
        let answered = self.settings.call_again(&self.name, Moment::now(), |mut stub| {
            let request = request.clone();
            Box::pin(async move { stub.release(request).await })
        });
        let Answered { answer, tries, .. } = answered.await?;
        let mut state = self.state();
        // Another call, whose answer was lost, may have done it.
        let is_only = tries == 1 && matches!(state.standing, Standing::Releasing(1));
        if is_only && answer.outcome() != Releasing::Released {
            state.standing = Standing::Lost(LostReason::Gone);
            return self.standing(&state);
        }
        state.standing = Standing::Released;
        Ok(())
    }

    /// Returns the lease's state. First marks a lease that has run out as lost, so that nothing later can revive it.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        if let Standing::Held = state.standing
            && state.until.has_passed()
        {
            state.standing = Standing::Lost(LostReason::Expired);
        }
        state
    }

    fn standing(&self, state: &State) -> Result<(), Error> {
        let reason = match state.standing {
            Standing::Held => return Ok(()),
            Standing::Releasing(_) | Standing::Released => LostReason::Released,
            Standing::Lost(reason) => reason,
        };
        Err(Error::Lost { lock: self.name.to_string(), reason })
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.name)
            .field("fencing_token", &self.fencing_token)
            .field("permit", &self.permit)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// Renews a lease, and returns the end of its validity.
async fn renew(settings: &ClientSettings, name: &str, lock_id: &str, ttl: Option<Duration>) -> Result<Moment, Error> {
    let request = RenewLeaseRequest { name: name.into(), lock_id: lock_id.into() };
    let answered = settings.call_again(name, Moment::now(), |mut stub| {
        let request = request.clone();
        Box::pin(async move { stub.renew_lease(request).await })
    });
    let Answered { answer, sent, .. } = answered.await?;
    match answer.result {
        Some(Renewal::Renewed(renewed)) => valid_until(name, sent, renewed.expires_after_request.as_ref(), ttl),
        Some(Renewal::Lost(lost)) => Err(Error::Lost { lock: name.into(), reason: lost.reason().into() }),
        None => Err(unexpected(name, "an answer without a result")),
    }
}

/// Returns the end of the validity that a broker tells: it counts from when the request was sent, and ends a thirtieth of the ttl
/// early (R6a).
fn valid_until(
    name: &str,
    sent: Moment,
    expires_after: Option<&prost_types::Duration>,
    ttl: Option<Duration>,
) -> Result<Moment, Error> {
    let Some(expires_after) = expires_after.and_then(from_wire) else {
        return Err(unexpected(name, "a lease without a validity"));
    };
    let told = sent + expires_after;
    // The broker has just counted from the ttl, whichever it is.
    let ttl = ttl.unwrap_or_else(|| told.remaining() + LESS);
    Ok(told - notice(ttl))
}
