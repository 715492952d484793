//! The part of [`Session`] that follows a single lock: from the call that wants it, over the streams that it is on, to
//! its release.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use super::error::{Error, LostReason};
use super::guard::Hold;
use super::session::{AcquireAnswer, Key, Reply, Session, Wait, Wanted};
use super::settings::release_elsewhere;
use super::wire::{from_wire, to_wire};
use crate::clock::Moment;
use crate::proto::lock_event::Kind;
use crate::proto::{Acquired, Failed, LockSpec, WaitSpec};

/// The pause after a broker could not serve a request, before a broker is asked again.
const PLACE_AGAIN: Duration = Duration::from_millis(250);

/// A lock on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) link: u64,
    pub(super) lock_ref: i64,
}

/// A lock as the client has it.
pub(super) enum Lock {
    /// Asked for, or to be asked for when there is a link.
    Wanted(Wanted, Option<At>),
    /// Held.
    Held(Held),
    /// Given up; EndLock has been sent and not been answered.
    Releasing(Releasing),
}

/// A lock that is held.
pub(super) struct Held {
    lock: LockSpec,
    hold: Arc<Hold>,
    /// The stream that counts.
    home: At,
    /// The link and lock_ref of a reattach that has not been answered. There is one at a time: a second would not know
    /// the lock id that the first one's answer brings.
    moving: Option<At>,
    /// Set when it has been given up while moving: to be released by the lock id that the answer brings.
    given_up: Option<Option<Reply>>,
}

/// A lock that is being released.
pub(super) struct Releasing {
    name: String,
    hold: Arc<Hold>,
    at: At,
    /// The caller who waits for the release, if there is one.
    reply: Option<Reply>,
}

impl Session {
    /// Begins a lock that a call wants.
    pub(super) fn begin(&mut self, key: Key, wanted: Wanted) {
        self.locks.insert(key, Lock::Wanted(wanted, None));
        self.place(key);
    }

    /// Ends a lock that a call or a guard no longer wants.
    pub(super) fn end(&mut self, key: Key, reply: Option<Reply>) {
        match self.locks.remove(&key) {
            None => {}
            Some(Lock::Wanted(_, at)) => self.forget(at),
            Some(Lock::Held(held)) if held.moving.is_some() => {
                let given_up = held.given_up.or(Some(reply));
                self.locks.insert(key, Lock::Held(Held { given_up, ..held }));
            }
            Some(Lock::Held(held)) => self.release(key, held, reply),
            // The drop of a guard whose release was asked for.
            Some(releasing) => {
                self.locks.insert(key, releasing);
            }
        }
    }

    fn release(&mut self, key: Key, held: Held, reply: Option<Reply>) {
        let now = Moment::now();
        let releasing = Releasing { name: held.lock.name, hold: held.hold, at: held.home, reply };
        match self.link(held.home.link) {
            Some(link) if link.is_open() && !link.is_silent(now) => {
                link.end(held.home.lock_ref);
                self.locks.insert(key, Lock::Releasing(releasing));
            }
            _ => self.release_elsewhere(releasing),
        }
    }

    /// Asks any broker to release the lock, since its stream will not tell.
    fn release_elsewhere(&mut self, releasing: Releasing) {
        self.forget(Some(releasing.at));
        let Releasing { name, hold, reply, .. } = releasing;
        tokio::spawn(release_elsewhere(Arc::clone(&self.settings), name, hold, reply));
    }

    fn forget(&mut self, at: Option<At>) {
        if let Some(at) = at
            && let Some(link) = self.link(at.link)
        {
            link.forget(at.lock_ref);
        }
    }

    /// Asks the current link for everything that it does not know yet, in the order in which it was wanted.
    pub(super) fn place_all(&mut self) {
        if self.links.iter().any(|link| !link.retired) {
            let mut keys: Vec<Key> = self.locks.keys().copied().collect();
            keys.sort_unstable();
            keys.into_iter().for_each(|key| self.place(key));
        }
    }

    /// Asks the current link, if there is one, for a lock that is wanted, or for the reattach of one that is held
    /// elsewhere.
    fn place(&mut self, key: Key) {
        let Some(link) = self.links.iter_mut().find(|link| !link.retired) else { return };
        match self.locks.get_mut(&key) {
            Some(Lock::Wanted(wanted, at @ None)) => {
                let wait = wanted.wait.as_ref().map(remaining);
                let lock_ref = link.begin(key, wanted.lock.clone(), wait, None);
                *at = Some(At { link: link.id, lock_ref });
            }
            Some(Lock::Held(held)) if held.moving.is_none() && held.home.link != link.id => {
                // None: it has run out, and the link that it is on is about to say so.
                if let Some(lock_id) = held.hold.lock_id() {
                    let lock_ref = link.begin(key, held.lock.clone(), None, Some(lock_id));
                    held.moving = Some(At { link: link.id, lock_ref });
                }
            }
            _ => {}
        }
    }

    /// Asks again, in a while, for what a broker has failed to do. Within an old validity there is not much time to
    /// be polite.
    fn place_again(&mut self, after: Option<Duration>) {
        self.place_at = Some(Moment::now() + after.unwrap_or(PLACE_AGAIN).min(PLACE_AGAIN));
    }

    /// Takes everything off a link that can be taken off; what it holds stays until it is reattached.
    pub(super) fn leave(&mut self, id: u64, answers: bool) {
        let Some(link) = self.link(id) else { return };
        let is_open = link.is_open();
        let here: Vec<(i64, Key)> = link.locks.iter().map(|(&lock_ref, &key)| (lock_ref, key)).collect();
        for (lock_ref, key) in here {
            let at = At { link: id, lock_ref };
            match self.locks.get_mut(&key) {
                Some(Lock::Wanted(_, place)) => {
                    *place = None;
                    self.forget(Some(at));
                }
                // Unanswered, and nobody will ever know: the old lock id is all there is to try with.
                Some(Lock::Held(held)) if held.moving == Some(at) && !is_open => {
                    held.moving = None;
                    self.forget(Some(at));
                    self.resume(key);
                }
                Some(Lock::Releasing(_)) if !answers => {
                    if let Some(Lock::Releasing(releasing)) = self.locks.remove(&key) {
                        self.release_elsewhere(releasing);
                    }
                }
                _ => {}
            }
        }
    }

    /// Continues after a reattach that was not granted. Releases the lock if it has been given up meanwhile.
    fn resume(&mut self, key: Key) {
        if let Some(Lock::Held(held)) = self.locks.get_mut(&key)
            && let Some(reply) = held.given_up.take()
        {
            self.end(key, reply);
        }
    }

    /// Returns true if the lock's validity is that of this link.
    pub(super) fn lives_on(&self, key: Key, link: u64) -> bool {
        match self.locks.get(&key) {
            Some(Lock::Held(held)) => held.home.link == link,
            Some(Lock::Releasing(releasing)) => releasing.at.link == link,
            _ => false,
        }
    }

    /// Marks the lock as lost and tells its holder.
    pub(super) fn lose(&mut self, key: Key, reason: LostReason) {
        let (name, hold, at, moving, reply) = match self.locks.remove(&key) {
            Some(Lock::Held(held)) => {
                (held.lock.name, held.hold, held.home, held.moving, held.given_up.unwrap_or_default())
            }
            Some(Lock::Releasing(releasing)) => (releasing.name, releasing.hold, releasing.at, None, releasing.reply),
            Some(wanted) => {
                self.locks.insert(key, wanted);
                return;
            }
            None => return,
        };
        hold.lose(reason);
        tracing::debug!(lock = name, %reason, "lock lost");
        self.forget(Some(at));
        self.forget(moving);
        if let Some(reply) = reply {
            let _ = reply.send(Err(Error::Lost { lock: name, reason }));
        }
    }

    /// Fails all calls that wait for a lock, since the broker refuses this client for good.
    pub(super) fn refuse_all(&mut self, error: impl Fn(&str) -> Error) {
        for (key, lock) in mem::take(&mut self.locks) {
            match lock {
                Lock::Wanted(wanted, _) => {
                    let _ = wanted.reply.send(Err(error(&wanted.lock.name)));
                }
                other => {
                    self.locks.insert(key, other);
                }
            }
        }
    }

    /// Handles an event of a lock.
    pub(super) fn event(&mut self, at: At, kind: Kind) {
        // What is said of a lock that has moved on or was given up counts for nothing.
        let Some(&key) = self.link(at.link).and_then(|link| link.locks.get(&at.lock_ref)) else { return };
        match self.locks.remove(&key) {
            Some(Lock::Wanted(wanted, _)) => self.wanted_event(key, wanted, at, kind),
            Some(Lock::Held(held)) if held.moving == Some(at) => self.moving_event(key, held, at, kind),
            Some(Lock::Held(held)) => self.held_event(key, held, at, kind),
            Some(Lock::Releasing(releasing)) => self.releasing_event(key, releasing, kind),
            None => {}
        }
    }

    fn wanted_event(&mut self, key: Key, wanted: Wanted, at: At, kind: Kind) {
        let Some(link) = self.link(at.link) else { return };
        let name = wanted.lock.name.clone();
        let answer = match kind {
            Kind::Acquired(_) if !link.is_valid() => {
                // Nothing covers it: the broker has acknowledged no heartbeat for too long. It goes back, and a
                // stream that works is asked.
                self.locks.insert(key, Lock::Wanted(wanted, Some(at)));
                return self.retire(at.link, false);
            }
            Kind::Acquired(Acquired { lock_id, fencing_token, .. }) => {
                let hold = Arc::new(Hold::new(lock_id, link.ttl, Arc::clone(&link.validity), at.lock_ref));
                let Wanted { lock, reply, .. } = wanted;
                let held = Held { lock, hold: Arc::clone(&hold), home: at, moving: None, given_up: None };
                self.locks.insert(key, Lock::Held(held));
                // Fails if the call has been dropped; then its `End` is on the way.
                let _ = reply.send(Ok(AcquireAnswer::Granted { hold, fencing_token }));
                return;
            }
            // What a broker that goes away tells its waiters, perhaps before it tells that it does.
            Kind::Failed(failed) if wanted.wait.is_some() && Code::from(failed.code) == Code::Unavailable => {
                link.locks.remove(&at.lock_ref);
                self.locks.insert(key, Lock::Wanted(wanted, None));
                self.place_again(failed.retry_after.as_ref().and_then(from_wire));
                return;
            }
            Kind::NotAcquired(refused) => Ok(AcquireAnswer::Refused(refused)),
            Kind::Failed(failed) => Err(Error::from_failed(&name, failed)),
            Kind::Lost(lost) => Err(Error::Lost { lock: name, reason: lost.reason().into() }),
            Kind::Queued(_) | Kind::Renewed(_) | Kind::Released(_) | Kind::Draining(_) => {
                self.locks.insert(key, Lock::Wanted(wanted, Some(at)));
                return;
            }
        };
        link.locks.remove(&at.lock_ref);
        let _ = wanted.reply.send(answer);
    }

    fn moving_event(&mut self, key: Key, mut held: Held, at: At, kind: Kind) {
        let Some(link) = self.link(at.link) else { return };
        match kind {
            Kind::Acquired(Acquired { lock_id, .. }) => {
                let in_time = held.hold.reattach(lock_id, link.ttl, &link.validity, at.lock_ref);
                if !in_time {
                    self.locks.insert(key, Lock::Held(held));
                    return self.lose(key, LostReason::Expired);
                }
                let old = mem::replace(&mut held.home, at);
                held.moving = None;
                if let Some(link) = self.link(old.link) {
                    link.locks.remove(&old.lock_ref);
                }
                self.locks.insert(key, Lock::Held(held));
                self.resume(key);
                // The link may have been retired while it answered.
                self.place(key);
            }
            Kind::NotAcquired(_) | Kind::Lost(_) | Kind::Released(_) => {
                self.locks.insert(key, Lock::Held(held));
                self.lose(key, LostReason::Gone);
            }
            Kind::Failed(Failed { retry_after, .. }) => {
                link.locks.remove(&at.lock_ref);
                held.moving = None;
                self.place_again(retry_after.as_ref().and_then(from_wire));
                self.locks.insert(key, Lock::Held(held));
                self.resume(key);
            }
            Kind::Queued(_) | Kind::Renewed(_) | Kind::Draining(_) => {
                self.locks.insert(key, Lock::Held(held));
            }
        }
    }

    fn held_event(&mut self, key: Key, held: Held, at: At, kind: Kind) {
        let moving = held.moving.is_some();
        self.locks.insert(key, Lock::Held(held));
        let reason = match kind {
            Kind::Lost(lost) => lost.reason().into(),
            Kind::Released(_) => LostReason::Released,
            _ => return,
        };
        if !moving {
            self.lose(key, reason);
        } else if let Some(link) = self.link(at.link) {
            // A reattach that is under way makes the old broker lose the lock: the answer to it decides. It must come
            // within what the old broker has told so far, for that one knows of the lock no more.
            link.settle(at.lock_ref);
        }
    }

    fn releasing_event(&mut self, key: Key, releasing: Releasing, kind: Kind) {
        let result = match kind {
            Kind::Released(_) | Kind::NotAcquired(_) => Ok(()),
            Kind::Lost(lost) => Err(Error::Lost { lock: releasing.name, reason: lost.reason().into() }),
            Kind::Failed(failed) => Err(Error::from_failed(&releasing.name, failed)),
            _ => {
                self.locks.insert(key, Lock::Releasing(releasing));
                return;
            }
        };
        if let Some(link) = self.link(releasing.at.link) {
            link.locks.remove(&releasing.at.lock_ref);
        }
        if let Some(reply) = releasing.reply {
            let _ = reply.send(result);
        }
    }
}

/// Returns the wait, less the time that has passed.
fn remaining(wait: &Wait) -> WaitSpec {
    WaitSpec {
        max_wait: wait.until.map(|until| to_wire(until.remaining())),
        poll_interval: wait.poll_interval.map(to_wire),
    }
}
