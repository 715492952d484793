//! How a keeper comes by its grant: by trying once, by waiting in line, or by taking over one that its client
//! holds already.

use crate::ids::grant_id;
use std::time::{Duration, Instant};

use super::common::LONGEST_RETRY;
use super::{Grant, Keeper, counts};
use crate::bell::{End, Handed};
use crate::clock::{Moment, sleep_until};
use crate::keeper::common::retry_delays;
use crate::lock::{GrantId, LockId, Owner, item_ttl, lease};
use crate::metrics::Label;
use crate::mutations::{self, Rule};
use crate::quota::Share;
use crate::store::{Change, Granted, ItemState, LockStatus, LockStore, StoreError};
use crate::stream::{Event, Failure, Reason};
use crate::waiters::{Turn, Waiter};
use lockbroker_core::failure::Cause;

/// How often a stream that waits alone is told its place, so that it is never idle for long.
const TELL_PLACE: Duration = Duration::from_secs(5);
/// By how much a wait may outlast `max_wait` for an attempt that is under way.
const LAST_ATTEMPT: Duration = Duration::from_millis(20);
/// How long a client that has left waits for an attempt under way; after that it is cleaned up behind its back.
const LEAVING: Duration = Duration::from_millis(50);
/// The longest that a reattach is tried: what the client believes in is over by then.
const LONGEST_REATTACH: Duration = Duration::from_secs(10);

/// How a lock is wanted.
#[derive(Debug, Clone)]
pub enum Want {
    /// Now or not at all.
    Once,
    /// With a wait.
    Wait {
        /// For how long; without end if not set.
        max_wait: Option<Duration>,
        /// The least time between two polls; the broker chooses if not set.
        poll_interval: Option<Duration>,
    },
    /// As it is held already under this id.
    Reattach(LockId),
}

/// A lock as a keeper is asked for it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Once, in line, or by a reattach.
    pub(crate) want: Want,
    /// Its place among `--max-waiters`, if it waits.
    pub(crate) waits: Option<Share>,
}

/// What one attempt to get the lock came to.
enum Attempt {
    Granted(Grant),
    Taken,
    Failed(Failure),
    /// The wait was over, or the client gone, before there was an answer.
    Abandoned,
}

/// Why a wait ended without the lock.
enum Leave {
    MaxWait,
    Draining,
    Ended(End),
    Failed(Failure),
}

impl<S: LockStore> Keeper<S> {
    /// Gets the lock, or tells the client why not.
    pub(super) async fn obtain(&self, asked: Box<Asked>) -> Option<(Grant, Option<Share>)> {
        let Asked { want, waits: _in_line } = *asked;
        let metrics = &self.common.metrics;
        let (waits, reattach, asked) = (metrics.waits_of(&want), matches!(want, Want::Reattach(_)), Instant::now());
        let grant = match want {
            Want::Once => self.try_once(None).await.map(|grant| (grant, None)),
            Want::Wait { max_wait: Some(Duration::ZERO), .. } => {
                self.try_once(Some(Reason::MaxWait)).await.and_then(|grant| self.with_room(grant))
            }
            Want::Wait { max_wait, poll_interval } => self.wait_in_line(max_wait, poll_interval).await,
            Want::Reattach(lock_id) => self.reattach(lock_id).await.map(|grant| (grant, None)),
        };
        match grant {
            Ok(grant) => {
                waits.observe(asked.elapsed());
                metrics.granted(reattach);
                self.subject().granted(grant.0.token, reattach, asked.elapsed());
                Some(grant)
            }
            Err(why) => {
                if let Some(outcome) = metrics.not_granted(&why) {
                    self.subject().refused(outcome.label());
                }
                self.seat.end(why);
                None
            }
        }
    }

    /// One attempt; if the lock is taken, the answer is `reason`, or what a look shows.
    async fn try_once(&self, reason: Option<Reason>) -> Result<Grant, Event> {
        let failed = match self.attempt(None).await {
            Attempt::Granted(grant) => return Ok(grant),
            Attempt::Taken => None,
            Attempt::Failed(failure) => Some(failure),
            Attempt::Abandoned => return Err(not_acquired(Reason::Cancelled)),
        };
        match failed {
            Some(failure) => Err(Event::Failed(failure)),
            None => {
                let (seen, owner) = self.who_has_it().await;
                Err(Event::NotAcquired { reason: reason.unwrap_or(seen), owner })
            }
        }
    }

    /// Waits in line until the lock is granted or handed over, the wait is over, or the client leaves.
    async fn wait_in_line(
        &self,
        max_wait: Option<Duration>,
        poll_interval: Option<Duration>,
    ) -> Result<(Grant, Option<Share>), Event> {
        let _waiting = self.common.metrics.waiting.one_more();
        let deadline = max_wait.map(|wait| Moment::now() + wait);
        let me = Waiter {
            bell: self.bell.clone(),
            owner: self.owner.clone(),
            ttl: self.ttl,
            item_ttl: item_ttl(self.ttl, self.linger),
            poll_interval,
        };
        let place = self.common.waiters.enter(&self.name, me);
        self.common.note_line(&self.name);
        let mut tell_place_at = Moment::now();
        let mut place_told = false;
        let mut retries = retry_delays();
        let leave = loop {
            if let Some(handed) = self.bell.take_handed() {
                return Ok(self.in_the_place_of_another(handed));
            }
            if let Some(end) = self.bell.take_end() {
                break Leave::Ended(end);
            }
            if self.common.draining.borrow().is_some() {
                break Leave::Draining;
            }
            if deadline.is_some_and(Moment::has_passed) {
                break Leave::MaxWait;
            }
            let contend_at = match place.turn() {
                Turn::Contend(at) => Some(at),
                Turn::Wait => None,
            };
            if contend_at.is_some_and(Moment::has_passed) {
                let sent = Moment::now();
                let pause = match self.attempt(deadline).await {
                    Attempt::Granted(grant) => {
                        // Nobody has handed us the lock that we have just been granted; see to it all the same.
                        if let Some(handed) = self.bell.leave() {
                            self.common.scrub(&self.name, handed.id, item_ttl(self.ttl, self.linger));
                        }
                        self.common.stop_watching(&self.name);
                        return self.with_room(grant);
                    }
                    Attempt::Taken => {
                        retries = retry_delays();
                        let pause = self.common.waiters.polled(&self.name, sent, None);
                        // What comes of it may bring the next poll forward.
                        self.common.watch(&self.name, pause);
                        continue;
                    }
                    Attempt::Failed(Failure::Unavailable { why, .. }) => {
                        tracing::debug!(lock = %self.name, %why, "waits on");
                        // The interval is for a lock that somebody has, which nobody knows of this one.
                        let interval = poll_interval.unwrap_or(self.common.settings.poll_interval);
                        interval.min(LONGEST_RETRY).max(retries.next().unwrap_or_default())
                    }
                    Attempt::Failed(failure) => break Leave::Failed(failure),
                    Attempt::Abandoned => continue,
                };
                self.common.waiters.polled(&self.name, sent, Some(pause));
                // Whoever rang meanwhile was not heard: look again.
                continue;
            }
            if tell_place_at.has_passed() && (self.seat.is_alone() || !place_told) {
                self.seat.tell(Event::Queued { position: place.position() });
                place_told = true;
                tell_place_at = Moment::now() + TELL_PLACE;
            }
            let tell = self.seat.is_alone().then_some(tell_place_at);
            let wake = [deadline, contend_at, tell].into_iter().flatten().min();
            tokio::select! {
                () = self.bell.rung() => {}
                () = sleep_until(wake.unwrap_or_else(Moment::now)), if wake.is_some() => {}
            }
        };
        // First take no grant any more, then leave the line: whoever hands over either finds us gone or has us
        // find what was handed.
        let handed = self.bell.leave();
        if place.is_alone() {
            // The note would be in the way of other brokers' for as long as this client's interval.
            self.common.stop_watching(&self.name);
        }
        drop(place);
        if let Some(handed) = handed {
            if let Leave::Ended(end) = leave {
                self.bell.end(end);
            }
            return Ok(self.in_the_place_of_another(handed));
        }
        Err(match leave {
            Leave::MaxWait => {
                let look = tokio::time::timeout(LAST_ATTEMPT, self.who_has_it()).await;
                Event::NotAcquired { reason: Reason::MaxWait, owner: look.map(|(_, owner)| owner).unwrap_or_default() }
            }
            Leave::Draining => {
                self.tell_draining();
                Event::Failed(going_away())
            }
            Leave::Ended(_) => not_acquired(Reason::Cancelled),
            Leave::Failed(failure) => Event::Failed(failure),
        })
    }

    /// Takes room for a grant that one who waited has got from the store. If there is none, the grant goes back.
    fn with_room(&self, grant: Grant) -> Result<(Grant, Option<Share>), Event> {
        let room = self.common.locks.take();
        if room.is_none() {
            // There are no more of these than waiters, and who comes to a full broker does not get to wait.
            let room = self.common.locks.take_always();
            self.common.scrub_in(room, &self.name, grant.id, item_ttl(self.ttl, self.linger));
            return Err(Event::Failed(self.common.full()));
        }
        Ok((grant, room))
    }

    /// Takes room for a grant that another keeper here hands over, which is about to end.
    fn in_the_place_of_another(&self, handed: Handed) -> (Grant, Option<Share>) {
        (handed.into(), Some(self.common.locks.take_always()))
    }

    /// Asks the store for the lock. What was asked for and is not wanted any more is cleaned up.
    async fn attempt(&self, deadline: Option<Moment>) -> Attempt {
        let (id, sent, life) = (grant_id(), Moment::now(), item_ttl(self.ttl, self.linger));
        let granting = self.common.store.grant(&self.name, id, life);
        tokio::pin!(granting);
        let mut limit = deadline.map(|deadline| deadline + LAST_ATTEMPT);
        let granted = loop {
            tokio::select! {
                granted = &mut granting => break granted,
                () = sleep_until(limit.unwrap_or(sent)), if limit.is_some() => {
                    self.common.scrub(&self.name, id, life);
                    return Attempt::Abandoned;
                }
                () = self.bell.rung() => if self.bell.is_ended() {
                    let leaving = Moment::now() + LEAVING;
                    limit = Some(limit.map_or(leaving, |limit| limit.min(leaving)));
                },
            }
        };
        let sent = mutations::counted_from(sent);
        match granted {
            Ok(Granted::Yes(token)) if counts(sent, self.ttl) => {
                Attempt::Granted(Grant { id, token, sent, protected_until: None })
            }
            Ok(Granted::Yes(_)) => {
                self.common.scrub(&self.name, id, life);
                Attempt::Failed(Failure::unavailable("the store granted the lock too late"))
            }
            Ok(Granted::No) => Attempt::Taken,
            Err(error) => {
                if error.may_have_landed() {
                    self.common.scrub(&self.name, id, life);
                }
                Attempt::Failed(error.into())
            }
        }
    }

    /// Takes over the grant that the client holds, under a new id: whatever is still sent under the old one touches
    /// nothing.
    ///
    /// A swap that was given up may still land. Its new id is never deleted, since the client may still believe in
    /// the old one: it expires.
    async fn reattach(&self, lock_id: LockId) -> Result<Grant, Event> {
        let old = lock_id.grant;
        let new = if mutations::breaks(Rule::NewIdOnReattach) { old } else { grant_id() };
        let give_up = Moment::now() + LONGEST_REATTACH.min(lease(self.ttl));
        let life = item_ttl(self.ttl.max(self.common.settings.max_ttl), self.linger);
        let mut retries = retry_delays();
        let mut from = old;
        loop {
            if self.bell.is_ended() {
                // A client that ends its stream now has released the lock.
                return Err(self.release_unanswered(old, new, life));
            }
            let sent = Moment::now();
            let swapped = self.common.store.replace(&self.name, from, new, life).await;
            let sent = mutations::counted_from(sent);
            let why: StoreError = match swapped {
                Ok(Change::Done) if counts(sent, self.ttl) => {
                    let protected_until = Some(Moment::now() + self.common.settings.max_ttl);
                    return Ok(Grant { id: new, token: lock_id.token, sent, protected_until });
                }
                Ok(Change::Done) => {
                    from = new;
                    StoreError::uncertain("the store answered too late")
                }
                // An earlier try may have landed after all.
                Ok(Change::TakenOver) if from == old && self.carries(new).await => {
                    from = new;
                    continue;
                }
                Ok(Change::Gone | Change::TakenOver) => return Err(not_acquired(Reason::NotReattachable)),
                Err(error) => error,
            };
            if give_up.has_passed() && !self.bell.is_ended() {
                return Err(Event::Failed(why.into()));
            }
            tokio::select! {
                () = self.bell.rung() => {}
                () = tokio::time::sleep(retries.next().unwrap_or_default()) => {}
            }
        }
    }

    /// Whether a look shows the lock held under this id.
    async fn carries(&self, id: GrantId) -> bool {
        let look = self.common.store.look(&self.name).await;
        matches!(look, Ok(LockStatus::Taken { state, .. }) if state == ItemState::Held(id))
    }

    /// The client has left while its reattach was under way. By its word that releases the lock, under whichever
    /// id; by silence it may believe in the old one, and nothing is done.
    fn release_unanswered(&self, old: GrantId, new: GrantId, life: u32) -> Event {
        if let Some(End::Word | End::Release(_)) = self.bell.take_end() {
            if self.linger.is_zero() {
                for id in [old, new] {
                    self.common.scrub(&self.name, id, life);
                }
            } else {
                self.common.make_either_linger(&self.name, [old, new], self.linger, life);
            }
        }
        not_acquired(Reason::Cancelled)
    }

    /// Why the lock cannot be had, and by whom it is held, as far as a look shows.
    async fn who_has_it(&self) -> (Reason, Owner) {
        match self.common.look(&self.name).await {
            Ok(LockStatus::Taken { state: ItemState::Lingering(_), .. }) => (Reason::Lingering, Owner::default()),
            Ok(LockStatus::Taken { owner, .. }) => (Reason::Held, owner),
            // It was held when we asked.
            Ok(LockStatus::Free) | Err(_) => (Reason::Held, Owner::default()),
        }
    }
}

impl From<Handed> for Grant {
    fn from(Handed { id, token, sent }: Handed) -> Grant {
        Grant { id, token, sent, protected_until: None }
    }
}

fn not_acquired(reason: Reason) -> Event {
    Event::NotAcquired { reason, owner: Owner::default() }
}

/// What new work gets from a broker that drains.
pub(crate) fn going_away() -> Failure {
    let why = "this broker is going away; ask another one".into();
    Failure::Unavailable { why, cause: Cause::BrokerDraining, retry_after: None }
}
