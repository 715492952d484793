//! Reattaching: a client takes its lock along to another stream, under a new id, so that whatever is still sent under the
//! old one touches nothing (R10).
//!
//! A swap that was given up may still land. Its new id is not deleted, since the client may still believe in the old one: it
//! expires (R12). Only a client that closes its stream in mid-reattach believes in neither.
//!
//! One who has the lock alone can reattach it as one who shares it. The lock's item keeps others out under the new id until the permit
//! stands (R35). If there is no permit to be had, the lock stays as it was: alone.

use std::time::Duration;

use super::acquire::{Attempt, Outcome};
use super::{End, Grant, Held, HoldKey, State, Stimulus, min_hold, not_acquired};
use crate::Time;
use crate::broker::Cx;
use crate::env::{Env, Mark};
use crate::event::{Event, Reason};
use crate::lock::{FencingToken, GrantId, LockId, item_ttl, lease, min_hold_ttl};
use crate::normal::{Form, Normal};
use crate::request::{Access, Mode};
use crate::rules::Rule;
use crate::store::{Change, ItemState, LockStatus, Reply, Request, StoreError};

/// The longest that a reattach is tried: what the client believes in is over by then (R11).
const LONGEST: Duration = Duration::from_secs(10);

/// Takes over a grant that its client has already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reattaching {
    asked: Time,
    lock_id: LockId,
    token: FencingToken,
    old: GrantId,
    new: GrantId,
    /// The id from which the next swap starts: the new one once a swap has landed too late to count.
    from: GrantId,
    /// The T of the item.
    life: u32,
    /// The end of the `min_hold`.
    closed_until: Option<Time>,
    give_up: Time,
    failures: u8,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// Looks how much of the `min_hold` may be left, of which the lock id says so much.
    LookingForMinHold(Duration),
    /// Writes the value under the new id: before that can be seen (R34).
    WritingValue,
    /// Swaps the ids, by a command sent then.
    Swapping { sent: Time },
    /// Looks if an earlier swap has landed after all.
    Looking,
    /// Takes a permit in the place of the lock, which it has alone by this grant.
    Sharing { attempt: Attempt, alone: Grant },
    /// Leaves the store alone until then.
    Pausing { until: Time },
}

impl Reattaching {
    pub(crate) fn begin<E: Env>(me: HoldKey, lock_id: LockId, cx: &mut Cx<'_, E>) -> State {
        let old = lock_id.grant;
        let new = if cx.env.breaks(Rule::NewIdOnReattach) { old } else { cx.env.grant_id() };
        let (ttl, linger) = (cx.hold(me).ttl(), cx.hold(me).linger());
        let mut reattaching = Box::new(Reattaching {
            asked: cx.now,
            lock_id,
            token: lock_id.token,
            old,
            new,
            from: old,
            life: item_ttl(ttl.max(cx.core.settings.max_ttl), linger),
            closed_until: None,
            give_up: cx.now + LONGEST.min(lease(ttl)),
            failures: 0,
            step: Step::Pausing { until: cx.now },
        });
        if lock_id.min_hold.is_zero() {
            return reattaching.swap(me, cx);
        }
        if let Some(grant) = cx.grant_here(me, old) {
            reattaching.keep_closed(grant.closed_until, grant.min_hold_left(cx), cx);
            return reattaching.swap(me, cx);
        }
        cx.ask(me, Request::Look);
        reattaching.step = Step::LookingForMinHold(lock_id.min_hold);
        State::Reattaching(reattaching)
    }

    /// Keeps the lock closed until then. `left` was left of its `min_hold` when its item was last given a T that counts, or
    /// later.
    fn keep_closed<E: Env>(&mut self, until: Option<Time>, left: Duration, cx: &Cx<'_, E>) {
        self.closed_until = until;
        if !cx.env.breaks(Rule::MinHoldInItem) {
            self.life = self.life.max(min_hold_ttl(left));
        }
    }

    fn swap<E: Env>(mut self: Box<Self>, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        if cx.is_to_write_value(me, self.new)
            && let Some(request) = cx.first_value(me, self.new, self.token)
        {
            cx.ask(me, request);
            self.step = Step::WritingValue;
            return State::Reattaching(self);
        }
        cx.ask(me, Request::Replace { from: self.from, to: self.new, ttl: self.life });
        self.step = Step::Swapping { sent: cx.now };
        State::Reattaching(self)
    }

    pub(crate) fn on<E: Env>(mut self: Box<Self>, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        match (self.step, stimulus) {
            (Step::Swapping { sent }, Stimulus::Answer(Reply::Changed(swapped))) => self.swapped(me, sent, swapped, cx),
            // Whatever became of it: a value is best effort.
            (Step::WritingValue, Stimulus::Answer(Reply::Kept(_))) => self.again(me, cx),
            (Step::LookingForMinHold(left), Stimulus::Answer(Reply::Status(status))) => {
                let left = min_hold::bounded(left, self.old, &status);
                self.keep_closed(Some(cx.now + left), left, cx);
                self.again(me, cx)
            }
            // That says nothing of the swap.
            (Step::Looking, Stimulus::Answer(Reply::Status(Err(why)))) => self.failed(me, why, cx),
            (Step::Looking, Stimulus::Answer(Reply::Status(Ok(status)))) => {
                let landed = matches!(status, LockStatus::Taken { state: ItemState::Held(id), .. } if id == self.new);
                if !landed {
                    return cx.refuse(me, not_acquired(Reason::NotReattachable));
                }
                cx.env.mark(Mark::SwapFound);
                self.from = self.new;
                self.again(me, cx)
            }
            (Step::Sharing { attempt, alone }, stimulus) => self.sharing(me, (attempt, alone), stimulus, cx),
            (Step::Pausing { until }, _) if cx.now >= until || cx.hold(me).end.is_some() => self.again(me, cx),
            (Step::Pausing { until }, _) => {
                cx.wake_hold_at(me, Some(until));
                State::Reattaching(self)
            }
            (Step::WritingValue | Step::Swapping { .. } | Step::Looking | Step::LookingForMinHold(_), _) => {
                State::Reattaching(self)
            }
        }
    }

    /// Takes note of what a swap by a command sent at `sent` came to.
    fn swapped<E: Env>(
        mut self: Box<Self>,
        me: HoldKey,
        sent: Time,
        swapped: Result<Change, StoreError>,
        cx: &mut Cx<'_, E>,
    ) -> State {
        let sent = cx.counted_from(sent);
        let why = match swapped {
            Ok(Change::Done) if cx.hold(me).counts(sent, cx.now) => {
                let protected_until =
                    Some(cx.now + cx.core.settings.max_ttl).filter(|_| !cx.env.breaks(Rule::Protected));
                let (id, token, closed_until) = (self.new, self.token, self.closed_until);
                let grant = Grant { id, token, sent, protected_until, closed_until };
                return match cx.hold(me).access {
                    Access::Shared { limit, .. } if self.lock_id.permit.is_none() => self.share(me, grant, limit, cx),
                    _ => Held::begin(me, grant, &Mode::Reattach(self.lock_id), self.asked, cx),
                };
            }
            Ok(Change::Done) => {
                cx.env.mark(Mark::SwapTooLate);
                self.from = self.new;
                StoreError::uncertain("the store answered too late")
            }
            // An earlier try may have landed after all.
            Ok(Change::TakenOver | Change::Revoked) if self.from == self.old => {
                cx.env.mark(Mark::SwapLookedFor);
                cx.ask(me, Request::Look);
                self.step = Step::Looking;
                return State::Reattaching(self);
            }
            Ok(Change::Gone | Change::TakenOver | Change::Revoked) => {
                return cx.refuse(me, not_acquired(Reason::NotReattachable));
            }
            Err(error) => error,
        };
        self.failed(me, why, cx)
    }

    /// Tries again after a pause, unless the client has left, or it is too late.
    fn failed<E: Env>(mut self: Box<Self>, me: HoldKey, why: StoreError, cx: &mut Cx<'_, E>) -> State {
        if cx.hold(me).end.is_some() {
            return self.again(me, cx);
        }
        if cx.now >= self.give_up {
            cx.env.mark(Mark::ReattachGivenUp);
            if cx.env.breaks(Rule::NewIdStays) {
                cx.clean_up(me, self.new, self.life);
            }
            return cx.refuse(me, Event::Failed(why.into()));
        }
        let until = cx.now + cx.retry_pause(&mut self.failures);
        self.step = Step::Pausing { until };
        cx.wake_hold_at(me, Some(until));
        State::Reattaching(self)
    }

    /// Looks for a permit, while the lock's own item keeps others out.
    fn share<E: Env>(mut self: Box<Self>, me: HoldKey, alone: Grant, limit: u16, cx: &mut Cx<'_, E>) -> State {
        cx.supersede_holder(me);
        let mut under = Some(self.new);
        if cx.env.breaks(Rule::LockOutlivesDowngrade) {
            under = None;
            cx.drop_gate(cx.hold(me).name.clone(), (self.new, self.life));
        }
        let attempt = Attempt::under(me, (limit, under), self.life, self.give_up, cx);
        self.step = Step::Sharing { attempt, alone };
        State::Reattaching(self)
    }

    fn sharing<E: Env>(
        mut self: Box<Self>,
        me: HoldKey,
        (mut attempt, alone): (Attempt, Grant),
        stimulus: Stimulus,
        cx: &mut Cx<'_, E>,
    ) -> State {
        let outcome = attempt.on(me, stimulus, cx);
        match outcome {
            None => {
                self.step = Step::Sharing { attempt, alone };
                State::Reattaching(self)
            }
            Some(Outcome::Granted(permit)) => {
                cx.env.mark(Mark::Downgraded);
                cx.drop_gate(cx.hold(me).name.clone(), (self.new, self.life));
                // Its token is still above all that it excludes.
                let grant = Grant { id: permit.id, sent: permit.sent, ..alone };
                Held::begin(me, grant, &Mode::Reattach(self.lock_id), self.asked, cx)
            }
            // The lock's item is gone, and somebody may have had the lock since.
            Some(Outcome::Closed) => {
                cx.hold_mut(me).permit = None;
                cx.refuse(me, not_acquired(Reason::NotReattachable))
            }
            Some(Outcome::Taken | Outcome::Intent(_) | Outcome::Failed(_) | Outcome::Abandoned) => {
                cx.env.mark(Mark::NotDowngraded);
                cx.hold_mut(me).permit = None;
                self.from = self.new;
                if cx.hold(me).end.is_some() {
                    return self.again(me, cx);
                }
                if cx.hold(me).counts(alone.sent, cx.now) {
                    return Held::begin(me, alone, &Mode::Reattach(self.lock_id), self.asked, cx);
                }
                if cx.now >= self.give_up {
                    let why = StoreError::uncertain("the store did not answer in time");
                    return cx.refuse(me, Event::Failed(why.into()));
                }
                self.again(me, cx)
            }
        }
    }

    /// Swaps again, unless the client has left.
    fn again<E: Env>(self: Box<Self>, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        match cx.take_end(me) {
            None => self.swap(me, cx),
            Some(end) => {
                self.released(me, end, cx);
                cx.refuse(me, not_acquired(Reason::Cancelled))
            }
        }
    }

    /// The client has left while its reattach was under way. If it closed its stream that releases the lock, under
    /// whichever id. If it fell silent, it may believe in the old one, and nothing is done.
    fn released<E: Env>(&self, me: HoldKey, end: End, cx: &mut Cx<'_, E>) {
        let kept = self.closed_until.filter(|_| !cx.env.breaks(Rule::MinHoldKept));
        let linger = cx.hold(me).linger().max(kept.map_or(Duration::ZERO, |until| until.since(cx.now)));
        match end {
            End::Closed | End::Release(..) if linger.is_zero() || cx.env.breaks(Rule::MovingReleaseLingers) => {
                cx.env.mark(Mark::MovingDeleted);
                for id in [self.old, self.new] {
                    cx.clean_up(me, id, self.life);
                }
            }
            End::Closed | End::Release(..) => cx.linger_either(me, [self.old, self.new], linger, self.life),
            // Only a holder is revoked.
            End::Unresponsive | End::Superseded | End::Revoke(_) => {}
        }
        cx.fall_back(me, end);
    }
}

impl Reattaching {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) {
        form.shown(&mut self.asked);
        let ids = [&mut self.lock_id.grant, &mut self.old, &mut self.new, &mut self.from];
        ids.into_iter().for_each(|id| form.grant(id));
        form.until(&mut self.give_up);
        form.until_any(&mut self.closed_until);
        self.failures = 0;
        match &mut self.step {
            Step::Swapping { sent } => form.since(sent, span),
            Step::Pausing { until } => form.pause([until]),
            Step::Sharing { attempt, alone } => {
                attempt.normalise(span, form);
                alone.normalise((span, false), form);
            }
            Step::WritingValue | Step::Looking | Step::LookingForMinHold(_) => {}
        }
    }
}
