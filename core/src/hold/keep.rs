//! Holding a lock: announcing it, renewing it, and looking at the store for those who wait behind it.

use std::time::Duration;

use super::release::{Caller, Release};
use super::{End, Expiring, Grant, HandingOver, HoldKey, State, Stimulus};
use crate::Time;
use crate::broker::Cx;
use crate::env::{Env, Mark, Observed, ReleaseCause};
use crate::event::{Event, LostReason};
use crate::lock::{GrantId, LockId, item_ttl, lease, notice};
use crate::normal::{Form, Normal};
use crate::request::Mode;
use crate::rules::Rule;
use crate::store::{Change, ItemState, Note, Reply, Request, StoreError};

/// The least time from a renewal to the next that a hint asks for: so forged hints cost fifty renewals a second at most.
pub(super) const SUSPECT_AFTER: Duration = Duration::from_millis(20);
/// After so many renewals that failed the pauses grow no longer: a lease that waits for its store has few seconds left.
const LAST_PAUSE: u8 = 2;

/// Has the lock, and renews it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(super) grant: Grant,
    /// When the lock was granted.
    pub(super) since: Time,
    draining_told: bool,
    /// How many renewals have failed in a row, and when to try again.
    failures: u8,
    retry_at: Option<Time>,
    /// True if somebody says that it was revoked elsewhere, and no renewal has been sent since.
    suspected: bool,
    /// True if a renewal has been sent because somebody said so, and is not answered.
    asked_for_that: bool,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Resting,
    /// Renews, by a command sent then. That was due at `due`, and is given up when the lock is lost.
    Renewing {
        sent: Time,
        due: Time,
        lost_at: Time,
    },
    /// Looks for those who wait behind.
    Looking(Look),
}

/// A look at the store for those who wait behind a holder: another broker may have ended the grant. It is a hint, and
/// nothing is released on its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Look {
    /// Waits for its turn among the looks of this broker.
    Queued { until: Time },
    /// Asks the store, by a command sent then.
    Asking { sent: Time },
}

impl Look {
    /// Begins to look.
    pub(super) fn begin<E: Env>(me: HoldKey, id: GrantId, cx: &mut Cx<'_, E>) -> Look {
        match cx.turn_to_look() {
            until if until > cx.now => Look::Queued { until },
            _ => Look::ask(me, id, cx),
        }
    }

    fn ask<E: Env>(me: HoldKey, id: GrantId, cx: &mut Cx<'_, E>) -> Look {
        cx.ask(me, Request::Stands(id));
        Look::Asking { sent: cx.now }
    }

    /// Returns the look as it goes on, or true if the grant stands as far as is known. Whatever else happens ends a look.
    pub(super) fn on<E: Env>(
        self,
        me: HoldKey,
        id: crate::lock::GrantId,
        stimulus: &Stimulus,
        cx: &mut Cx<'_, E>,
    ) -> Result<Look, bool> {
        match (self, stimulus) {
            (Look::Queued { until }, _) if cx.now >= until => Ok(Look::ask(me, id, cx)),
            (Look::Asking { sent }, Stimulus::Answer(Reply::Stands(stands))) => {
                let name = cx.hold(me).name.clone();
                cx.polled(&name, sent, None);
                Err(*stands.as_ref().unwrap_or(&true))
            }
            _ => {
                cx.give_up(me);
                Err(true)
            }
        }
    }

    /// Returns when it looks at itself again.
    pub(super) fn wake_at(self) -> Option<Time> {
        match self {
            Look::Queued { until } => Some(until),
            Look::Asking { .. } => None,
        }
    }
}

impl Held {
    /// Holds a lock that its client asked for at `asked`.
    pub(super) fn begin<E: Env>(me: HoldKey, grant: Grant, mode: &Mode, asked: Time, cx: &mut Cx<'_, E>) -> State {
        cx.observe_grant(me, grant.token, mode, asked);
        cx.become_holder(me, grant.id);
        cx.core.counts.held += 1;
        let name = cx.hold(me).name.clone();
        cx.note_queue(&name);
        // Those who observe see the value together with the grant, if it can be helped.
        if !cx.is_to_write_value(me, grant.id) {
            cx.tell_of_change(me);
        }
        cx.look_later(me);
        State::Held(Held {
            grant,
            since: cx.now,
            draining_told: false,
            failures: 0,
            retry_at: None,
            suspected: false,
            asked_for_that: false,
            step: Step::Resting,
        })
    }

    pub(crate) fn on<E: Env>(mut self, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        self.suspected |= matches!(stimulus, Stimulus::Suspect);
        if matches!(self.step, Step::Looking(_)) && cx.hold(me).end.is_some() {
            cx.give_up(me);
            self.step = Step::Resting;
        }
        match (self.step, stimulus) {
            // No answer counts any more (R6a).
            (Step::Renewing { lost_at, .. }, _) if cx.now >= lost_at && !cx.waits_for_late_answers() => {
                cx.env.mark(Mark::RenewalAbandoned);
                cx.give_up(me);
                self.step = Step::Resting;
            }
            (Step::Renewing { sent, due, .. }, Stimulus::Answer(Reply::Changed(renewed))) => {
                self.step = Step::Resting;
                if let Some(lost) = self.renewed(me, (sent, due), renewed, cx) {
                    return self.lost(me, lost, cx);
                }
            }
            // Nobody is heeded before the answer: what ends the lock would cross the renewal.
            (Step::Renewing { lost_at, .. }, _) => {
                cx.wake_hold_at(me, Some(lost_at));
                return State::Held(self);
            }
            (Step::Looking(look), stimulus) => {
                self.step = Step::Resting;
                match look.on(me, self.grant.id, &stimulus, cx) {
                    Ok(look) => self.step = Step::Looking(look),
                    Err(true) => {}
                    // The renewal finds out, and nothing is done on a look's word.
                    Err(false) => {
                        cx.env.mark(Mark::LookFoundNothing);
                        let due = self.renew_at(me, cx);
                        return self.renew(me, due, cx);
                    }
                }
            }
            (Step::Resting, _) => {}
        }
        self.look(me, cx)
    }

    /// Looks what there is to do while the store is not asked.
    fn look<E: Env>(mut self, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        if let Some(end) = cx.take_end(me) {
            return self.end(me, end, cx);
        }
        self.announce(me, cx);
        let (renew_at, lost_at) = (self.renew_at(me, cx), self.lost_at(me, cx));
        if cx.now >= lost_at {
            cx.env.mark(Mark::Expired);
            let announced = cx.hold(me).is_announced();
            cx.tell_lost(me, self.grant.token, LostReason::Expired, announced);
            return self.expire(me, announced, true, cx);
        }
        let suspected_at = if self.suspected { self.grant.sent + SUSPECT_AFTER } else { Time::NEVER };
        let due = self.retry_at.map_or(renew_at, |retry| retry.max(renew_at)).min(suspected_at).min(lost_at);
        if cx.now >= due {
            return self.renew(me, renew_at, cx);
        }
        let look_at = cx.look_at(me, self.grant.id);
        if !matches!(self.step, Step::Looking(_)) && look_at.is_some_and(|at| cx.now >= at) {
            self.step = Step::Looking(Look::begin(me, self.grant.id, cx));
        }
        let look_at = match self.step {
            Step::Looking(look) => look.wake_at(),
            Step::Resting | Step::Renewing { .. } => look_at,
        };
        cx.wake_hold_at(me, [Some(due), look_at].into_iter().flatten().min());
        State::Held(self)
    }

    /// Tells the client of its grant as soon as that may be told, and that the broker is going away.
    fn announce<E: Env>(&mut self, me: HoldKey, cx: &mut Cx<'_, E>) {
        let sent = self.grant.sent;
        if !cx.hold(me).is_announced() && cx.hold(me).counts(sent, cx.now) {
            let lock_id = self.grant.lock_id(me, cx);
            let until = cx.hold(me).lease_end(&self.grant);
            if cx.announce(me, sent, Event::Acquired { lock_id, until }) {
                self.grant.describe(me, cx);
                if cx.is_to_write_value(me, self.grant.id) {
                    cx.keep_value(me, self.grant.id, self.grant.token);
                }
            }
        }
        if cx.core.draining.is_some() && !self.draining_told && cx.hold(me).is_announced() {
            self.draining_told = true;
            cx.env.mark(Mark::DrainingTold);
            cx.tell_draining(me);
        }
    }

    /// Returns when the lock is to be renewed: on a heartbeat, or by the broker's own where it is alone on its stream.
    fn renew_at<E: Env>(&self, me: HoldKey, cx: &Cx<'_, E>) -> Time {
        let Grant { sent, .. } = self.grant;
        match cx.heartbeat_of(me) {
            None => sent + cx.hold(me).ttl() / 3,
            Some(arrived) if arrived > sent => arrived,
            // The next one comes here.
            Some(_) => cx.hold(me).lease_end(&self.grant),
        }
    }

    /// Returns when the lock counts as lost (R6a). Renewals that are answered after the next heartbeat only keep the lease,
    /// and cover nothing: a client whose validity is over has lost the lock, though the store still has it (R19).
    fn lost_at<E: Env>(&self, me: HoldKey, cx: &Cx<'_, E>) -> Time {
        let (ttl, lease_end) = (cx.hold(me).ttl(), cx.hold(me).lease_end(&self.grant));
        let covered_until = cx.covered_since(me).map(|since| since + lease(ttl));
        let covered_until = covered_until.filter(|_| !cx.env.breaks(Rule::CoverCounts));
        let notice = if cx.env.breaks(Rule::LostInTime) { Duration::ZERO } else { notice(ttl) };
        covered_until.map_or(lease_end, |covered| covered.min(lease_end)) - notice
    }

    fn renew<E: Env>(mut self, me: HoldKey, due: Time, cx: &mut Cx<'_, E>) -> State {
        let (owner, ttl) = (cx.hold(me).owner.clone(), self.item_ttl(me, cx));
        cx.ask(me, Request::Renew { state: ItemState::Held(self.grant.id), owner, ttl });
        let lost_at = self.lost_at(me, cx);
        self.asked_for_that = std::mem::take(&mut self.suspected);
        self.step = Step::Renewing { sent: cx.now, due, lost_at };
        cx.wake_hold_at(me, Some(lost_at));
        State::Held(self)
    }

    /// Takes note of what a renewal came to. Returns why the lock is lost, if it is.
    fn renewed<E: Env>(
        &mut self,
        me: HoldKey,
        (sent, due): (Time, Time),
        renewed: Result<Change, StoreError>,
        cx: &mut Cx<'_, E>,
    ) -> Option<LostReason> {
        if matches!(renewed, Ok(Change::Done)) {
            let lag = cx.now.since(due);
            cx.env.observe(Observed::Renewed { lag });
        }
        let sent = cx.counted_from(sent);
        let is_said_revoked = std::mem::take(&mut self.asked_for_that) || self.suspected;
        match renewed {
            Ok(Change::Done) if cx.hold(me).counts(sent, cx.now) => {
                self.grant.sent = sent;
                self.failures = 0;
                self.retry_at = None;
                let name = cx.hold(me).name.clone();
                cx.note_queue(&name);
                if cx.hold(me).is_announced() {
                    let until = cx.hold(me).lease_end(&self.grant);
                    cx.tell_renewed(me, sent, until);
                    cx.keep_value(me, self.grant.id, self.grant.token);
                }
                None
            }
            // It came too late to count.
            Ok(Change::Done) => None,
            // An immediate revocation leaves nothing in the store that could tell.
            Ok(Change::Gone | Change::TakenOver) if is_said_revoked => Some(LostReason::Revoked),
            Ok(Change::Gone) => Some(LostReason::Gone),
            Ok(Change::TakenOver) => Some(LostReason::TakenOver),
            Ok(Change::Revoked) => Some(LostReason::Revoked),
            Err(error) => {
                cx.retried(me, "renewing", &error);
                self.failures = self.failures.min(LAST_PAUSE);
                self.retry_at = Some(cx.now + cx.retry_pause(&mut self.failures));
                None
            }
        }
    }

    /// Comes to what somebody wants of the lock.
    fn end<E: Env>(self, me: HoldKey, end: End, cx: &mut Cx<'_, E>) -> State {
        if cx.core.abandoned {
            cx.env.mark(Mark::Abandoned);
            // The end of a stream is the end of this process then, and no word of its client's.
            return State::Frozen;
        }
        match end {
            End::Superseded => {
                cx.env.mark(Mark::Superseded);
                self.lost(me, LostReason::TakenOver, cx)
            }
            End::Revoke(revoke) => {
                let known = self.grant.is_known(cx.hold(me).is_announced());
                cx.revoke_kept(me, (self.grant, self.since), (known, false), *revoke)
            }
            End::Unresponsive if cx.env.breaks(Rule::Silence) => self.release(me, None, ReleaseCause::Silent, cx),
            End::Unresponsive => {
                let delivered = self.retract(me, cx);
                let expiring = self.expire(me, delivered, false, cx);
                cx.uncover_member(me);
                expiring
            }
            End::Closed => self.release(me, None, ReleaseCause::Closed, cx),
            End::Release(by) => self.release(me, Some(Caller::Release(by.call)), ReleaseCause::ReleaseCall, cx),
        }
    }

    /// Releases the lock now.
    fn release<E: Env>(self, me: HoldKey, caller: Option<Caller>, cause: ReleaseCause, cx: &mut Cx<'_, E>) -> State {
        let delivered = self.retract(me, cx);
        cx.end_hold(self.since);
        HandingOver::begin(me, Release::kept(self.grant, (delivered, false), caller, cause), cx)
    }

    /// Takes back a grant that its client has not read: it is released at once, and does not linger (R8). Returns true if the
    /// client can know of it.
    fn retract<E: Env>(&self, me: HoldKey, cx: &mut Cx<'_, E>) -> bool {
        let announced = cx.hold(me).is_announced();
        let unread = !cx.env.breaks(Rule::UnreadGoesAtOnce) && cx.retract_grant(me);
        self.grant.is_known(announced && !unread)
    }

    /// The lock is not ours any more: there is nothing to release.
    fn lost<E: Env>(self, me: HoldKey, reason: LostReason, cx: &mut Cx<'_, E>) -> State {
        let announced = cx.hold(me).is_announced();
        cx.tell_lost(me, self.grant.token, reason, announced);
        cx.end_hold(self.since);
        cx.let_go_now(me, self.grant.id);
        State::Over
    }

    /// Waits until the client no longer believes. `heard`: it has heard of the grant. `told`: it knows that it is lost.
    fn expire<E: Env>(self, me: HoldKey, heard: bool, told: bool, cx: &mut Cx<'_, E>) -> State {
        Expiring::begin(me, self.grant, self.since, (self.grant.is_known(heard), told), cx)
    }

    /// Returns the T of the grant's item.
    fn item_ttl<E: Env>(&self, me: HoldKey, cx: &Cx<'_, E>) -> u32 {
        self.grant.item_ttl(me, cx.linger_of_item(me), cx)
    }
}

impl Grant {
    /// Returns what its client gets.
    fn lock_id<E: Env>(&self, me: HoldKey, cx: &Cx<'_, E>) -> LockId {
        let (linger, permit) = (cx.hold(me).linger(), cx.hold(me).permit);
        LockId { grant: self.id, token: self.token, linger, min_hold: self.min_hold_left(cx), permit }
    }

    /// Notes who has it, if its client has said so.
    fn describe<E: Env>(&self, me: HoldKey, cx: &mut Cx<'_, E>) {
        let &Grant { id, token, .. } = self;
        let (owner, ttl) = (cx.hold(me).owner.clone(), self.item_ttl(me, cx.linger_of_item(me), cx));
        if !owner.is_empty() && !cx.hold(me).is_for_lease {
            cx.note(me, Note::Describe { id, owner, token, call: None, ttl });
        }
    }

    /// Returns the T of its item: no shorter than `--max-ttl` while its new id is protected (R12), and up to the end of its
    /// `min_hold` (R31).
    pub(super) fn item_ttl<E: Env>(&self, me: HoldKey, linger: Duration, cx: &Cx<'_, E>) -> u32 {
        let ttl = cx.hold(me).ttl();
        let lives = match self.protected_until {
            Some(until) if cx.now < until => item_ttl(ttl.max(cx.core.settings.max_ttl), linger),
            _ => item_ttl(ttl, linger),
        };
        lives.max(self.min_hold_ttl(cx))
    }
}

impl<E: Env> Cx<'_, E> {
    /// Returns the grant of one of several locks, if it may be told: its command was sent after the latest heartbeat (R19).
    pub(crate) fn grant_to_announce(&self, me: HoldKey) -> Option<(Grant, LockId)> {
        let State::Held(held) = &self.core.holds.get(me)?.state else { return None };
        let grant = held.grant;
        let is_covered = grant.sent >= self.heartbeat_of(me)? || self.env.breaks(Rule::AnnouncedAfterHeartbeat);
        let may_be_told = is_covered && self.hold(me).counts(grant.sent, self.now);
        may_be_told.then(|| (grant, grant.lock_id(me, self)))
    }

    /// Takes note that a grant was told together with others, by the item with the number `told`.
    pub(crate) fn told_together(&mut self, me: HoldKey, grant: Grant, told: u64) {
        self.announced_together(me, grant.sent, told);
        grant.describe(me, self);
        // It is lost earlier now, and renewed with the others.
        self.look_later(me);
    }

    /// Returns true if a rule is left out by which a renewal under way is given up when its lock is lost.
    fn waits_for_late_answers(&self) -> bool {
        self.env.breaks(Rule::AnswerInTime) || self.env.breaks(Rule::LostIsFinal)
    }

    /// Takes note that a lock is not held any more, for whatever reason.
    pub(super) fn end_hold(&mut self, since: Time) {
        self.core.counts.held -= 1;
        let held = self.now.since(since);
        self.env.observe(Observed::HoldEnded { held });
    }
}

impl Look {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) {
        match self {
            Look::Queued { until } => form.pause([until]),
            Look::Asking { sent } => form.since(sent, span),
        }
    }
}

impl Held {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, (span, announced): (Duration, bool), form: &mut Form<'_, impl Normal>) {
        self.grant.normalise((span, announced), form);
        form.shown(&mut self.since);
        self.failures = 0;
        form.pause(&mut self.retry_at);
        match &mut self.step {
            Step::Resting => {}
            Step::Renewing { sent, due, lost_at } => {
                form.since(sent, span);
                form.shown(due);
                form.until(lost_at);
            }
            Step::Looking(look) => look.normalise(span, form),
        }
    }
}
