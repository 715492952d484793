//! A keeper owns one lock of one client from the first attempt to the release and the linger after it. It is the
//! only one that renews and releases its grant.

mod common;
mod metrics;
mod obtain;
mod release;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::task::task_tracker::TaskTrackerToken;

pub(crate) use self::common::Common;
pub use self::common::Settings;
pub(crate) use self::metrics::LockMetrics;
pub use self::obtain::Want;
pub(crate) use self::obtain::{Asked, going_away};
pub(crate) use self::release::{LONGEST_RELEASE, release_by_id};

use crate::audit::Subject;
use crate::bell::{Bell, End, Ended};
use crate::clock::{Moment, notice, sleep_until};
use crate::lock::{FencingToken, GrantId, LockId, LockName, Owner, item_ttl, lease};
use crate::metrics::Label;
use crate::mutations::{self, Rule};
use crate::quota::Share;
use crate::store::{Change, ItemState, LockStore, StoreError};
use crate::stream::{Event, Failure, LostReason, Seat};

use self::common::{LONGEST_RETRY, retry_delays};
use self::release::Released;

/// After so many renewals that failed the pauses grow no longer: a lease that waits for its store has few seconds left.
const LAST_PAUSE: usize = 2;

/// One lock of one client.
#[derive(Debug)]
pub(crate) struct Keeper<S> {
    pub(crate) common: Arc<Common<S>>,
    pub(crate) seat: Seat,
    pub(crate) bell: Arc<Bell>,
    pub(crate) name: LockName,
    pub(crate) ttl: Duration,
    pub(crate) linger: Duration,
    pub(crate) owner: Owner,
    /// Its place among `--max-locks`. One who waits gets it with the grant.
    pub(crate) room: Option<Share>,
}

/// A lock that is ours in the store.
#[derive(Debug, Clone, Copy)]
struct Grant {
    id: GrantId,
    token: FencingToken,
    /// When the command was sent that it stands by.
    sent: Moment,
    /// After a reattach: until when the client may believe in it by what the broker before us told it. No release
    /// but by the client's own word, and no shorter item, before then.
    protected_until: Option<Moment>,
}

impl Grant {
    /// Whether its client can know of it: it has heard of it here, or has had it before it reattached.
    fn is_known(&self, heard: bool) -> bool {
        heard || self.protected_until.is_some()
    }
}

/// How holding a lock came to its end.
#[derive(Debug)]
enum Close {
    /// It is no longer ours; there is nothing to release.
    NotOurs,
    /// It is to be released.
    Release {
        /// Whether the client can have known of it: only then does it linger.
        delivered: bool,
        /// Whether the client has been told the last event already.
        told: bool,
        /// Whoever called Release.
        caller: Option<tokio::sync::oneshot::Sender<Result<Ended, crate::stream::Failure>>>,
        /// For the audit.
        cause: Cause,
    },
}

/// Why a grant is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Its client ended it, or its stream.
    Closed,
    /// Somebody called Release.
    ReleaseCall,
    /// Its client fell silent, and its validity is over.
    Silent,
    /// Its client was told that it is lost, and its validity is over.
    Lost,
}

impl Label for Cause {
    const ALL: &'static [Cause] = &[Cause::Closed, Cause::ReleaseCall, Cause::Silent, Cause::Lost];

    fn label(self) -> &'static str {
        match self {
            Cause::Closed => "closed",
            Cause::ReleaseCall => "release_call",
            Cause::Silent => "silent",
            Cause::Lost => "lost",
        }
    }
}

/// Returns true if an answer that comes now to a command sent at `sent` still counts: its lease is not about to end (R3, R6a).
fn counts(sent: Moment, ttl: Duration) -> bool {
    !(sent + lease(ttl) - notice(ttl)).has_passed()
}

impl<S> Keeper<S> {
    /// Returns the lock and its client as the audit names them.
    fn subject(&self) -> Subject<'_> {
        Subject { name: &self.name, owner: &self.owner, caller: self.seat.caller() }
    }
}

impl<S: LockStore> Keeper<S> {
    /// A lock's whole life.
    ///
    /// The future is there for as long as the lock is held, so it is kept small: what obtaining and giving back need is
    /// boxed, and its block takes what it is made of where an `async fn` would have room for it twice.
    pub(crate) fn keep(mut self, asked: Asked) -> impl Future<Output = ()> + Send + 'static {
        let unfinished = self.common.unfinished.token();
        let asked = Box::new(asked);
        async move {
            let Some(obtained) = Box::pin(self.obtain(asked)).await else { return };
            let mut grant = self.enters(obtained);
            self.common.waiters.hold(&self.name, grant.id, &self.owner, &self.bell);
            let since = self.common.metrics.begin_hold();
            let close = self.hold(&mut grant).await;
            self.common.metrics.end_hold(since);
            Box::pin(self.give_back(grant, close, unfinished)).await;
        }
    }

    /// Takes the room that came with a grant, if any.
    fn enters(&mut self, (grant, room): (Grant, Option<Share>)) -> Grant {
        if room.is_some() {
            self.room = room;
        }
        grant
    }

    /// Announces the grant and renews it until its client, or its store, ends that.
    fn hold(&self, grant: &mut Grant) -> impl Future<Output = Close> + Send {
        let mut announced = false;
        let mut draining_told = false;
        // Renewals that failed in a row, and when to try again.
        let mut failed = 0;
        let mut retry_at: Option<Moment> = None;
        self.common.note_line(&self.name);
        async move {
            loop {
                if let Some(end) = self.bell.take_end() {
                    return Box::pin(self.heed(end, grant, announced)).await;
                }
                let lease_end = self.lease_end(grant);
                if !announced && counts(grant.sent, self.ttl) {
                    let lock_id = LockId { grant: grant.id, token: grant.token, linger: self.linger };
                    announced = self.seat.announce(grant.sent, Event::Acquired { lock_id, until: lease_end });
                    if announced {
                        self.bell.set_lease_end(Some(lease_end));
                        self.common.store.describe(&self.name, grant.id, &self.owner, self.item_ttl(grant));
                    }
                }
                draining_told |= announced && !draining_told && self.tell_draining();

                let renew_at = match self.seat.beat() {
                    None => grant.sent + self.ttl / 3,
                    Some(beat) if beat.arrived > grant.sent => beat.arrived,
                    // The next one rings.
                    Some(_) => lease_end,
                };
                // Renewals that are answered after the next heartbeat only keep the lease, and cover nothing: a client whose
                // validity is over has lost the lock, though the store still has it.
                let covered_until = self.seat.covered_since().map(|since| since + lease(self.ttl));
                let over = covered_until.map_or(lease_end, |covered| covered.min(lease_end));
                let lost_at = over - notice(self.ttl);
                let due = retry_at.map_or(renew_at, |retry| retry.max(renew_at)).min(lost_at);
                let look_at = self.common.look_at(&self.name, grant.id);
                let wake = look_at.map_or(due, |look_at| look_at.min(due));
                tokio::select! {
                    () = self.bell.rung() => continue,
                    () = sleep_until(wake) => {}
                }
                if lost_at.has_passed() {
                    self.tell_lost(grant, LostReason::Expired, announced);
                    tracing::warn!(lock = %self.name, "lost: no renewal got through in time");
                    return Box::pin(self.disbelieved(grant, grant.is_known(announced), true)).await;
                }
                // Another broker may have ended the grant. Then the renewal shows it, and nothing is done on a look's word.
                if !due.has_passed() && Box::pin(self.stands(grant.id, due)).await {
                    continue;
                }

                let sent = Moment::now();
                let renewed = Box::pin(self.renew(grant, renew_at, lost_at)).await;
                let sent = mutations::counted_from(sent);
                match renewed {
                    Ok(Change::Done) if counts(sent, self.ttl) => {
                        grant.sent = sent;
                        failed = 0;
                        retry_at = None;
                        self.common.note_line(&self.name);
                        if announced {
                            self.bell.set_lease_end(Some(self.lease_end(grant)));
                            self.seat.renewed(sent, self.lease_end(grant));
                        }
                    }
                    // It came too late to count.
                    Ok(Change::Done) => {}
                    Ok(Change::Gone) => return self.lost(grant, LostReason::Gone, announced),
                    Ok(Change::TakenOver) => return self.lost(grant, LostReason::TakenOver, announced),
                    Err(error) => {
                        tracing::debug!(lock = %self.name, %error, "not renewed, and tried again");
                        retry_at =
                            Some(Moment::now() + retry_delays().nth(failed.min(LAST_PAUSE)).unwrap_or(LONGEST_RETRY));
                        failed += 1;
                    }
                }
            }
        }
    }

    /// Renews the grant once, as is due since `due`, and waits for the answer until the lock is lost at `lost_at`.
    async fn renew(&self, grant: &Grant, due: Moment, lost_at: Moment) -> Result<Change, StoreError> {
        let renewed = tokio::select! {
            renewed = self.common.store.renew(&self.name, ItemState::Held(grant.id), &self.owner, self.item_ttl(grant)) => {
                renewed
            }
            () = sleep_until(lost_at) => Err(StoreError::uncertain("the lease ended before the store answered")),
        };
        if matches!(renewed, Ok(Change::Done)) {
            self.common.metrics.renewal_lag.observe(due.elapsed());
        }
        renewed
    }

    /// Looks at the store for the line behind, up to `until` or until somebody rings. Returns whether the grant still
    /// stands there, as far as is known.
    async fn stands(&self, id: GrantId, until: Moment) -> bool {
        let look = async {
            sleep_until(self.common.waiters.turn_to_look()).await;
            let sent = Moment::now();
            let stands = self.common.store.stands(&self.name, id).await;
            self.common.waiters.polled(&self.name, sent, None);
            stands.unwrap_or(true)
        };
        tokio::select! {
            stands = look => stands,
            () = sleep_until(until) => true,
            () = self.bell.rung() => {
                // For whoever looks at the bell next.
                self.bell.ring();
                true
            }
        }
    }

    fn lost(&self, grant: &Grant, reason: LostReason, announced: bool) -> Close {
        self.tell_lost(grant, reason, announced);
        Close::NotOurs
    }

    /// Tells a client that its lock is lost, or, where it has not heard of the grant, that it came to nothing.
    fn tell_lost(&self, grant: &Grant, reason: LostReason, announced: bool) {
        self.subject().lost(grant.token, reason);
        if announced {
            self.common.metrics.lost(reason);
            self.bell.set_lease_end(None);
        }
        self.seat.end(match announced {
            true => Event::Lost(reason),
            false => Event::Failed(Failure::unavailable("the lock was granted, and lost before it could be announced")),
        });
    }

    /// Tells a client that is alone on its stream, if so, that the broker is going away; a Session tells it for all
    /// its locks. Returns whether the broker is.
    fn tell_draining(&self) -> bool {
        let grace = *self.common.draining.borrow();
        if let Some(grace) = grace.filter(|_| self.seat.is_alone()) {
            self.seat.tell(Event::Draining { grace });
        }
        grace.is_some()
    }

    /// What an order to end comes to: the end of holding, at once or when the client no longer believes in the lock.
    async fn heed(&self, end: End, grant: &Grant, announced: bool) -> Close {
        if self.common.abandoned.load(Ordering::Relaxed) {
            // The end of a stream is the end of this process then, and no word of its client's.
            std::future::pending::<()>().await;
        }
        let delivered = || grant.is_known(announced && !self.seat.retract_grant());
        match end {
            End::Silence if mutations::breaks(Rule::Silence) => {
                Close::Release { delivered: delivered(), told: false, caller: None, cause: Cause::Silent }
            }
            End::Superseded => self.lost(grant, LostReason::TakenOver, announced),
            End::Word => Close::Release { delivered: delivered(), told: false, caller: None, cause: Cause::Closed },
            End::Release(caller) => {
                Close::Release { delivered: delivered(), told: false, caller: Some(caller), cause: Cause::ReleaseCall }
            }
            End::Silence => self.disbelieved(grant, delivered(), false).await,
        }
    }

    /// Waits, without renewing, until the client can no longer believe in the grant. Its word, or a Release call, ends
    /// that early. `told`: it knows that it has lost the lock.
    async fn disbelieved(&self, grant: &Grant, delivered: bool, told: bool) -> Close {
        let told_until = if delivered { self.lease_end(grant) } else { Moment::now() };
        let believed_until = grant.protected_until.map_or(told_until, |until| until.max(told_until));
        let mut caller = None;
        let mut cause = if told { Cause::Lost } else { Cause::Silent };
        while !believed_until.has_passed() {
            let look_at = self.common.look_at(&self.name, grant.id);
            tokio::select! {
                () = sleep_until(look_at.map_or(believed_until, |look_at| look_at.min(believed_until))) => {
                    if !believed_until.has_passed() && !self.stands(grant.id, believed_until).await {
                        // Another broker has ended it, and there is nothing left to release.
                        return Close::NotOurs;
                    }
                }
                () = self.bell.rung() => match self.bell.take_end() {
                    Some(End::Superseded) => return Close::NotOurs,
                    Some(End::Word) => {
                        cause = Cause::Closed;
                        break;
                    }
                    Some(End::Release(by)) => {
                        caller = Some(by);
                        cause = Cause::ReleaseCall;
                        break;
                    }
                    Some(End::Silence) | None => {}
                },
            }
        }
        Close::Release { delivered, told, caller, cause }
    }

    /// Releases the grant, or hands it over to the next in line here, and keeps the lock closed for its linger.
    async fn give_back(self, grant: Grant, close: Close, unfinished: TaskTrackerToken) {
        self.bell.over();
        let Close::Release { delivered, told, caller, cause } = close else {
            self.common.waiters.let_go(&self.name, grant.id, Moment::now());
            return;
        };
        let token = grant.token;
        let released = self.release(grant, delivered, told, caller).await;
        if !matches!(released, Released::NotOurs(_)) {
            self.subject().released(token, cause);
        }
        let Keeper { common, seat, name, .. } = self;
        // Neither its client nor a broker that is ending waits for a linger. Its room stays taken.
        drop((seat, unfinished));
        if let Released::Lingering(linger_id, until) = released {
            common.outlast(&name, linger_id, until).await;
            common.waiters.let_go(&name, grant.id, Moment::now());
        }
    }

    /// Until when the grant may be believed in.
    fn lease_end(&self, grant: &Grant) -> Moment {
        grant.sent + lease(self.ttl)
    }

    /// The T of the grant's item.
    fn item_ttl(&self, grant: &Grant) -> u32 {
        match grant.protected_until {
            Some(until) if !until.has_passed() => item_ttl(self.ttl.max(self.common.settings.max_ttl), self.linger),
            _ => item_ttl(self.ttl, self.linger),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use crate::store::memcached::MemcachedStore;

    fn future_size<S: LockStore>(keeper: impl FnOnce() -> Keeper<S>) -> usize {
        fn size_of_output<F: Future>(_: impl FnOnce() -> F) -> usize {
            size_of::<F>()
        }
        size_of_output(|| keeper().keep(Asked { want: Want::Once, waits: None }))
    }

    #[test]
    fn a_keeper_is_small() {
        // Each held lock costs one, in a task of tokio's, which adds 104 bytes and rounds up to 128: this makes 640.
        let memory = future_size::<MemoryStore>(|| unreachable!());
        let memcached = future_size::<MemcachedStore>(|| unreachable!());
        assert!(memory.max(memcached) <= 536, "memory {memory}, memcached {memcached}");
    }
}
