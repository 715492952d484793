//! A single lock, from the call that wants it to its end. Every transition is here.
//!
//! ```text
//!             place           acquired          place              acquired
//!   Wanted ──────────▶ Asked ──────────▶ Held ──────────▶ Moving ──────────▶ Held
//!     ▲                 │                  │  ◀──────────    │
//!     └─────────────────┘                  │ end   failed    │ end
//!       leave, try later                   ▼                 ▼      acquired, failed
//!                                      Releasing ◀──────── GivenUp
//! ```
//!
//! A lock that has been given up, refused or lost is gone. One whose release its stream cannot confirm goes to
//! [`elsewhere`](super::elsewhere).

use std::time::Duration;

use super::link::{At, Link, Links};
use super::types::{Access, Code, Event, Failure, Key, LinkId, LockSpec, LostReason, Output, Wait, WaitLeft};
use crate::clock::Moment;

/// The state of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// To be asked for as soon as there is a link.
    Wanted,
    /// Asked for.
    Asked(At),
    /// Held. The link is the one that counts.
    Held(At),
    /// Held at `home`, and its reattach asked for at `to`. There is one at a time: a second would not know the lock id
    /// that the first one's answer brings.
    Moving { home: At, to: At },
    /// Given up while it was moving: to be released by the lock id that the answer brings.
    GivenUp { home: At, to: At },
    /// Given up; its end has been sent and not been answered.
    Releasing(At),
}

/// A lock as the client has it.
#[derive(Debug)]
pub(super) struct Lock {
    pub(super) key: Key,
    pub(super) spec: LockSpec,
    pub(super) wait: Option<Wait>,
    /// The id of the grant; before it is granted that of the grant to take over. None: a new one is wanted.
    pub(super) lock_id: Option<String>,
    /// Those of the locks that are held together with it, in the order of [`LockSpec::others`].
    pub(super) also: Vec<String>,
    /// The permit, once the lock is held and if it is shared.
    pub(super) permit: Option<u32>,
    /// True if it is held alone and to be shared: a reattach does that, also on the link where it is.
    wants_permit: bool,
    /// True if a reattach that was to share it has not been answered: it may be shared.
    may_be_shared: bool,
    pub(super) state: State,
}

/// The rest of a transition: what is to be done beyond this lock.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Stay,
    /// Forget the lock.
    Gone,
    /// Ask the current link for it.
    Place,
    /// Ask again after a pause.
    PlaceLater(Option<Duration>),
    /// Take the link out of use, for it does not keep its word.
    Retire(LinkId),
    /// Release it at any broker, within its validity.
    ReleaseElsewhere(Moment),
}

impl Lock {
    pub(super) fn new(key: Key, spec: LockSpec, wait: Option<Wait>, adopt: Option<String>) -> Lock {
        let (also, permit, state) = (Vec::new(), None, State::Wanted);
        Lock { key, spec, wait, lock_id: adopt, also, permit, wants_permit: false, may_be_shared: false, state }
    }

    /// Returns the place that counts for the lock's validity, if it is held or was until its release.
    pub(super) fn home(&self) -> Option<At> {
        match self.state {
            State::Wanted | State::Asked(_) => None,
            State::Held(home) | State::Moving { home, .. } | State::GivenUp { home, .. } | State::Releasing(home) => {
                Some(home)
            }
        }
    }

    /// Returns true while a call waits for the answer.
    pub(super) fn is_pending(&self) -> bool {
        self.home().is_none()
    }

    /// Asks a link for the lock if nobody has been asked, or for its reattach if it is held elsewhere.
    pub(super) fn place(&mut self, link: &mut Link, now: Moment, out: &mut Vec<Output>) {
        self.state = match self.state {
            State::Wanted => {
                let wait = self.wait.map(|wait| left(wait, now));
                State::Asked(link.begin(self.key, self.spec.clone(), wait, self.ids(), out))
            }
            State::Held(home) if home.link != link.id || self.wants_permit => {
                let to = link.begin(self.key, self.spec.clone(), None, self.ids(), out);
                State::Moving { home, to }
            }
            state => state,
        }
    }

    /// Shares the lock from now on. Nothing may be written under it any more.
    pub(super) fn share(&mut self, limit: Option<u32>) -> Next {
        if self.permit.is_some() {
            return Next::Stay;
        }
        self.spec.share(limit, None);
        self.wants_permit = true;
        Next::Place
    }

    fn ids(&self) -> (Option<String>, Vec<String>) {
        (self.lock_id.clone(), self.also.clone())
    }

    /// Gives the lock up, or the wait for it.
    pub(super) fn end(&mut self, links: &mut Links, now: Moment, out: &mut Vec<Output>) -> Next {
        match self.state {
            State::Wanted => Next::Gone,
            State::Asked(at) => {
                links.forget(at, out);
                Next::Gone
            }
            State::Held(home) => self.release(home, links, now, out),
            State::Moving { home, to } => {
                self.state = State::GivenUp { home, to };
                Next::Stay
            }
            State::GivenUp { .. } | State::Releasing(_) => Next::Stay,
        }
    }

    fn release(&mut self, home: At, links: &mut Links, now: Moment, out: &mut Vec<Output>) -> Next {
        let Some(link) = links.get(home.link) else { return Next::Gone };
        if link.is_open() && !link.is_silent(now) {
            link.end(home.lock_ref, out);
            self.state = State::Releasing(home);
            return Next::Stay;
        }
        let until = link.until(home.lock_ref);
        links.forget(home, out);
        Next::ReleaseElsewhere(until)
    }

    /// Goes on after a reattach that was not granted.
    fn resume(&mut self, links: &mut Links, now: Moment, out: &mut Vec<Output>) -> Option<Next> {
        match self.state {
            State::Moving { home, .. } => {
                self.state = State::Held(home);
                None
            }
            State::GivenUp { home, .. } => {
                self.state = State::Held(home);
                Some(self.release(home, links, now, out))
            }
            _ => None,
        }
    }

    /// Leaves a link that has been taken out of use, as far as it can be left: what is held there stays until it is
    /// reattached. `answers` says whether a release is still answered there.
    pub(super) fn leave(
        &mut self,
        id: LinkId,
        answers: bool,
        links: &mut Links,
        now: Moment,
        out: &mut Vec<Output>,
    ) -> Next {
        let is_open = links.get(id).is_some_and(Link::is_open);
        match self.state {
            State::Asked(at) if at.link == id => {
                links.forget(at, out);
                self.state = State::Wanted;
                Next::Stay
            }
            // Unanswered, and nobody will ever know: the old lock id is all there is to try with.
            State::Moving { to, .. } | State::GivenUp { to, .. } if to.link == id && !is_open => {
                links.remove(to);
                self.may_be_shared |= self.wants_permit;
                self.resume(links, now, out).unwrap_or(Next::Stay)
            }
            State::Releasing(home) if home.link == id && !answers => {
                let until = links.get(id).map_or(now, |link| link.until(home.lock_ref));
                links.forget(home, out);
                Next::ReleaseElsewhere(until)
            }
            _ => Next::Stay,
        }
    }

    /// Takes an event of this lock from its place `at`.
    pub(super) fn event(
        &mut self,
        at: At,
        event: Event,
        links: &mut Links,
        now: Moment,
        out: &mut Vec<Output>,
    ) -> Next {
        match self.state {
            State::Asked(_) => self.asked_event(at, event, links, now, out),
            State::Moving { to, .. } | State::GivenUp { to, .. } if to == at => {
                self.moving_event(at, event, links, now, out)
            }
            State::Moving { .. } | State::GivenUp { .. } => {
                if matches!(event, Event::Lost(_) | Event::Released)
                    && let Some(link) = links.get_mut(at.link)
                {
                    // The reattach makes the old broker lose the lock: the answer to it decides. It must come within
                    // what the old broker has told so far, for that one knows of the lock no more.
                    link.settle(at.lock_ref);
                }
                Next::Stay
            }
            State::Held(home) => match event {
                // Of several, the broker keeps the others from everybody for as long as they were valid.
                Event::Lost(reason) if !self.also.is_empty() => {
                    links.remove(home);
                    out.push(Output::Lost { key: self.key, reason });
                    Next::Gone
                }
                Event::Lost(reason) => self.lose(reason, links, out),
                Event::Released => self.lose(LostReason::Released, links, out),
                _ => Next::Stay,
            },
            State::Releasing(_) => self.releasing_event(at, event, links, out),
            State::Wanted => Next::Stay,
        }
    }

    fn asked_event(&mut self, at: At, event: Event, links: &mut Links, now: Moment, out: &mut Vec<Output>) -> Next {
        let key = self.key;
        let Some(link) = links.get_mut(at.link) else { return Next::Stay };
        match event {
            // Nothing covers it: the broker has acknowledged no heartbeat for too long. It goes back, and a stream that
            // works is asked.
            Event::Acquired { .. } if link.until(at.lock_ref) <= now => return Next::Retire(at.link),
            // A broker that does not know of several locks, or permits, takes the first alone.
            Event::Acquired { also, .. } if also.len() != self.spec.others().count() => {
                links.forget(at, out);
                let failure = Failure {
                    code: Code::Unimplemented,
                    ..Failure::unavailable("the broker does not know how to acquire several locks or permits together")
                };
                out.push(Output::Failed { key, failure });
                return Next::Gone;
            }
            Event::Acquired { lock_id, fencing_token, permit, also } => {
                self.state = State::Held(at);
                self.lock_id = Some(lock_id.clone());
                self.permit = permit;
                self.also = also.iter().map(|granted| granted.lock_id.clone()).collect();
                out.push(Output::Granted { key, lock_id, fencing_token, permit, also });
                return Next::Place;
            }
            // A broker that goes away tells its waiters so, perhaps before it tells that it does.
            Event::Failed(failure) if self.wait.is_some() && failure.code == Code::Unavailable => {
                links.remove(at);
                self.state = State::Wanted;
                return Next::PlaceLater(failure.retry_after);
            }
            Event::NotAcquired(refusal) => out.push(Output::Refused { key, refusal }),
            Event::Failed(failure) => out.push(Output::Failed { key, failure }),
            Event::Lost(reason) => out.push(Output::Lost { key, reason }),
            Event::Released => return Next::Stay,
        }
        links.remove(at);
        Next::Gone
    }

    fn moving_event(&mut self, at: At, event: Event, links: &mut Links, now: Moment, out: &mut Vec<Output>) -> Next {
        match event {
            Event::Acquired { lock_id, also, permit, .. } => {
                let Some(home) = self.home() else { return Next::Stay };
                // An answer counts only if what it brings is still good. (That the old validity has not run out is seen
                // before any input.)
                let is_whole = also.len() == self.also.len();
                if !is_whole || links.get(at.link).is_none_or(|link| link.until(at.lock_ref) <= now) {
                    return self.lose(LostReason::Expired, links, out);
                }
                links.remove(home);
                let given_up = matches!(self.state, State::GivenUp { .. });
                self.state = State::Held(at);
                self.lock_id = Some(lock_id.clone());
                self.also = also.into_iter().map(|granted| granted.lock_id).collect();
                self.permit = permit;
                self.wants_permit &= permit.is_none();
                self.may_be_shared = false;
                if given_up {
                    return self.release(at, links, now, out);
                }
                out.push(Output::Moved { key: self.key, lock_id, also: self.also.clone(), permit });
                // Whatever keeps the broker from a permit may pass.
                if self.wants_permit {
                    return Next::PlaceLater(None);
                }
                // The link may have been retired while it answered.
                Next::Place
            }
            Event::NotAcquired(_) | Event::Lost(_) | Event::Released => self.lose(LostReason::Gone, links, out),
            Event::Failed(failure) => {
                links.remove(at);
                let (retry_after, resumed) = (failure.retry_after, self.resume(links, now, out));
                let is_alone = self.wants_permit && !self.may_be_shared;
                if failure.code.is_final() && is_alone {
                    self.wants_permit = false;
                    self.spec.access = Access::Exclusive;
                    out.push(Output::NotShared { key: self.key, failure });
                }
                resumed.unwrap_or(Next::PlaceLater(retry_after))
            }
        }
    }

    fn releasing_event(&mut self, at: At, event: Event, links: &mut Links, out: &mut Vec<Output>) -> Next {
        let key = self.key;
        out.push(match event {
            Event::Released | Event::NotAcquired(_) => Output::Released { key },
            Event::Lost(reason) => Output::Lost { key, reason },
            Event::Failed(failure) => Output::Failed { key, failure },
            Event::Acquired { .. } => return Next::Stay,
        });
        links.remove(at);
        Next::Gone
    }

    /// Ends the lock as lost, wherever it is.
    pub(super) fn lose(&mut self, reason: LostReason, links: &mut Links, out: &mut Vec<Output>) -> Next {
        match self.state {
            State::Wanted | State::Asked(_) => return Next::Stay,
            State::Held(home) | State::Releasing(home) => links.forget(home, out),
            State::Moving { home, to } | State::GivenUp { home, to } => {
                links.forget(home, out);
                links.forget(to, out);
            }
        }
        out.push(Output::Lost { key: self.key, reason });
        Next::Gone
    }
}

/// Returns the wait, less the time that has passed.
fn left(wait: Wait, now: Moment) -> WaitLeft {
    WaitLeft { max_wait: wait.until.map(|until| until.since(now)), poll_interval: wait.poll_interval }
}
