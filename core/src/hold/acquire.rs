//! Trying for a lock: one attempt, and a look at who has it.

use std::time::Duration;

use super::{Grant, Held, HoldKey, State, Stimulus, not_acquired};
use crate::Time;
use crate::broker::Cx;
use crate::env::{Env, Mark};
use crate::event::{Event, Reason};
use crate::failure::{Cause, Failure};
use crate::lock::{GrantId, Owner};
use crate::normal::{Form, Normal};
use crate::request::Mode;
use crate::rules::Rule;
use crate::store::{Granted, ItemState, LockStatus, Reply, Request};

/// By how much a wait may outlast `max_wait` for an attempt that is under way.
pub(super) const LAST_ATTEMPT: Duration = Duration::from_millis(20);
/// How long a client that has left waits for an attempt under way. After that it is cleaned up behind its back.
const LEAVING: Duration = Duration::from_millis(50);

/// One attempt to get a lock, which is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    /// Fresh for each attempt (R5): what is still under way of an earlier one touches nothing.
    id: GrantId,
    pub(super) sent: Time,
    /// When to give it up.
    limit: Option<Time>,
}

/// What became of an attempt.
pub(super) enum Outcome {
    Granted(Grant),
    Taken,
    Failed(Failure),
    /// The wait was over, or the client gone, before there was an answer.
    Abandoned,
}

impl Attempt {
    /// Asks the store for the lock, up to `deadline` and a little longer.
    pub(super) fn begin<E: Env>(me: HoldKey, deadline: Option<Time>, cx: &mut Cx<'_, E>) -> Attempt {
        let (id, ttl) = (cx.env.grant_id(), cx.fresh_item_ttl(me));
        cx.ask(me, Request::Grant { id, ttl });
        Attempt { id, sent: cx.now, limit: deadline.map(|deadline| deadline + LAST_ATTEMPT) }
    }

    /// Returns what became of it, or none if it goes on. What was asked for and is not wanted any more is cleaned up.
    pub(super) fn on<E: Env>(&mut self, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> Option<Outcome> {
        match stimulus {
            Stimulus::Answer(Reply::Granted(answer)) => {
                let (life, counts) = (cx.fresh_item_ttl(me), cx.counted_from(self.sent));
                Some(match answer {
                    Ok(Granted::Yes(token)) if cx.hold(me).counts(counts, cx.now) => {
                        let closed_until = cx.min_hold_end(me, self.sent);
                        Outcome::Granted(Grant {
                            id: self.id,
                            token,
                            sent: counts,
                            protected_until: None,
                            closed_until,
                        })
                    }
                    Ok(Granted::Yes(_)) => {
                        cx.env.mark(Mark::GrantTooLate);
                        cx.clean_up(me, self.id, life);
                        Outcome::Failed(Failure::unavailable("the store granted the lock too late"))
                    }
                    Ok(Granted::No) => Outcome::Taken,
                    Err(error) => {
                        if error.may_have_landed() && !cx.env.breaks(Rule::CleanUp) {
                            cx.env.mark(Mark::GrantUncertain);
                            cx.clean_up(me, self.id, life);
                        }
                        Outcome::Failed(error.into())
                    }
                })
            }
            _ => {
                if cx.hold(me).end.is_some() {
                    let leaving = cx.now + LEAVING;
                    self.limit = Some(self.limit.map_or(leaving, |limit| limit.min(leaving)));
                }
                if self.limit.is_some_and(|limit| cx.now >= limit) {
                    cx.env.mark(Mark::AttemptAbandoned);
                    let life = cx.fresh_item_ttl(me);
                    cx.give_up(me);
                    cx.clean_up(me, self.id, life);
                    return Some(Outcome::Abandoned);
                }
                cx.wake_hold_at(me, self.limit);
                None
            }
        }
    }
}

/// Asks the store for the lock, once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Trying {
    attempt: Attempt,
    mode: Mode,
    /// When the client asked.
    asked: Time,
}

impl Trying {
    pub(crate) fn begin<E: Env>(me: HoldKey, mode: Mode, cx: &mut Cx<'_, E>) -> State {
        let attempt = Attempt::begin(me, None, cx);
        State::Trying(Box::new(Trying { attempt, mode, asked: cx.now }))
    }

    pub(crate) fn on<E: Env>(mut self: Box<Self>, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        match self.attempt.on(me, stimulus, cx) {
            None => State::Trying(self),
            Some(Outcome::Granted(grant)) if matches!(self.mode, Mode::Wait { .. }) => {
                cx.hold_with_room(me, grant, &self.mode, self.asked)
            }
            Some(Outcome::Granted(grant)) => Held::begin(me, grant, &self.mode, self.asked, cx),
            Some(Outcome::Taken) => {
                // One who would wait for no time at all has waited in vain.
                let reason = matches!(self.mode, Mode::Wait { .. }).then_some(Reason::MaxWait);
                Inspecting::begin(me, reason, None, cx)
            }
            Some(Outcome::Failed(failure)) => cx.refuse(me, Event::Failed(failure)),
            Some(Outcome::Abandoned) => cx.refuse(me, not_acquired(Reason::Cancelled)),
        }
    }
}

/// Looks who has the lock that it did not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Inspecting {
    /// What to tell the client; if not set, what the look shows.
    reason: Option<Reason>,
    /// When to tell it without an answer.
    limit: Option<Time>,
}

impl Inspecting {
    pub(super) fn begin<E: Env>(me: HoldKey, reason: Option<Reason>, limit: Option<Time>, cx: &mut Cx<'_, E>) -> State {
        cx.ask(me, Request::Look);
        cx.wake_hold_at(me, limit);
        State::Inspecting(Inspecting { reason, limit })
    }

    pub(crate) fn on<E: Env>(self, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        let status = match stimulus {
            Stimulus::Answer(Reply::Status(status)) => status.ok(),
            Stimulus::Look if self.limit.is_some_and(|limit| cx.now >= limit) => None,
            _ => {
                cx.wake_hold_at(me, self.limit);
                return State::Inspecting(self);
            }
        };
        cx.give_up(me);
        let name = cx.hold(me).name.clone();
        let (seen, owner) = match status {
            Some(LockStatus::Taken { state: ItemState::Lingering(_), .. }) => (Reason::Lingering, Owner::default()),
            Some(LockStatus::Taken { state: ItemState::Held(id), label, .. }) => {
                (Reason::Held, cx.label_of(&name, id, label).owner)
            }
            // It was held when we asked.
            Some(LockStatus::Free) => (Reason::Held, Owner::default()),
            // The store did not say. Who holds it here is known all the same.
            None => (Reason::Held, cx.label_here(&name)),
        };
        cx.refuse(me, Event::NotAcquired { reason: self.reason.unwrap_or(seen), owner })
    }
}

/// Says what new work gets from a broker that drains.
pub(crate) fn going_away() -> Failure {
    let why = "this broker is going away; ask another one".into();
    Failure::Unavailable { why, cause: Cause::BrokerDraining, retry_after: None }
}

impl Attempt {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) {
        form.grant(&mut self.id);
        form.since(&mut self.sent, span);
        form.pause(&mut self.limit);
    }
}

impl Trying {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) {
        self.attempt.normalise(span, form);
        form.shown(&mut self.asked);
    }
}

impl Inspecting {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        form.until_any(&mut self.limit);
    }
}
