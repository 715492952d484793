//! Ending a grant: it is handed over to the first that waits here, deleted, or made to linger. A grant
//! comes here when its client ended it, when somebody called Release with its id, or when no client can believe in it any
//! more (R6).

use std::net::SocketAddr;
use std::time::Duration;

use super::{Grant, HoldKey, Lingering, State, Stimulus, counts, min_hold};
use crate::Time;
use crate::broker::{Call, Cx};
use crate::env::{Env, Mark, Observed, ReleaseCause};
use crate::event::{Event, LostReason};
use crate::failure::Failure;
use crate::lock::{FencingToken, GrantId, LingerId, LockId, item_ttl, lease, min_hold_ttl};
use crate::normal::{Form, Normal};
use crate::queue::{Ticket, Waiter};
use crate::request::{Ended, Revoked};
use crate::rules::Rule;
use crate::store::{Change, Granted, ItemState, LockStatus, Note, Reply, Request, StoreError};

/// When a Release call is answered that the store has not answered.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// How long a lock is left to other brokers, in poll intervals: a poll comes after 1.2 of them at the most.
const FAIR_PAUSE: f64 = 1.3;

/// Names the call for the end of a grant that waits for what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// A Release call.
    Release(Call),
    /// A revocation.
    Revoke(Call),
}

/// A grant that is to be ended, and who is to hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Release {
    grant: Grant,
    /// The token that its client knows, for the audit.
    token: FencingToken,
    /// True if its client can know of the grant. Only then it lingers, and only then the client is told `lost` if the store
    /// has it no more.
    delivered: bool,
    /// True if its client has been told the last event.
    told: bool,
    /// The call for it, until that is answered.
    caller: Option<Caller>,
    cause: ReleaseCause,
    /// True if an earlier request may have ended the grant.
    unsure: bool,
    /// True if it was kept here, and false if a call names a grant of another broker's.
    kept: bool,
    /// Where the broker that keeps it hears that it was revoked.
    keeper: Option<SocketAddr>,
}

/// How long a lock is closed after its grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closing {
    /// For how long it lingers, or stays closed after a revocation. Zero: the item is deleted.
    pub(super) closed: Duration,
    /// The T of the item that keeps it closed.
    pub(super) life: u32,
    /// For how long it is tried.
    pub(super) tries: Duration,
}

/// What a release came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Released {
    /// The grant was ended: another hold here has the lock now, or nobody.
    Ended,
    /// The lock lingers under this id until then.
    Lingering(LingerId, Time),
    /// There was nothing to release: the store had the lock under this id no more.
    NotOurs(LostReason),
}

impl Release {
    /// Ends a grant that is kept here. `delivered` and `told` are what its client knows.
    pub(super) fn kept(
        grant: Grant,
        (delivered, told): (bool, bool),
        caller: Option<Caller>,
        cause: ReleaseCause,
    ) -> Release {
        Release { grant, token: grant.token, delivered, told, caller, cause, unsure: false, kept: true, keeper: None }
    }

    /// Ends a grant that nobody keeps here.
    fn elsewhere(grant: Grant, caller: Caller, cause: ReleaseCause, keeper: Option<SocketAddr>) -> Release {
        let kept = Release::kept(grant, (true, true), Some(caller), cause);
        Release { kept: false, keeper, ..kept }
    }

    /// Revokes a grant that another broker keeps, or nobody.
    pub(super) fn revoked_elsewhere(grant: Grant, caller: Caller, keeper: Option<SocketAddr>) -> Release {
        Release::elsewhere(grant, caller, ReleaseCause::Revoked, keeper)
    }

    /// Answers whoever called. `closed`: for how long the lock stays closed.
    fn answer<E: Env>(&mut self, me: HoldKey, result: Result<Ended, Failure>, closed: Duration, cx: &mut Cx<'_, E>) {
        match self.caller.take() {
            None => {}
            Some(Caller::Release(call)) => cx.answer_release(call, result),
            Some(Caller::Revoke(call)) => {
                let revoked = |ended| match ended {
                    Ended::Released => Revoked::Revoked { closed, owner: cx.hold(me).owner.clone() },
                    Ended::NotHeld => Revoked::NotHeld,
                    Ended::HeldByAnother => Revoked::Changed,
                };
                let result = result.map(revoked);
                cx.answer_revoke(call, result);
            }
        }
    }

    /// Returns for how long it is tried to end a grant that is kept here and lingers, and until when it is certain that nobody
    /// else has been granted the lock: until its item may have run out, and until a memory lost since the last renewal may have
    /// been opened again.
    pub(super) fn efforts<E: Env>(&self, me: HoldKey, cx: &Cx<'_, E>) -> (Duration, Time) {
        let (grant, max_ttl) = (self.grant, cx.core.settings.max_ttl);
        let runs_out = cx.hold(me).lease_end(&grant) + self.linger(me, cx);
        let alone_until = self.min_hold_end(cx).map_or(runs_out, |end| end.max(runs_out)).min(grant.sent + max_ttl);
        (Duration::from_secs(item_ttl(max_ttl, self.closed(me, cx)).into()), alone_until)
    }

    /// Tells the client the last event, unless it has been told.
    fn tell<E: Env>(&mut self, me: HoldKey, lost: Option<LostReason>, cx: &mut Cx<'_, E>) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        match lost.filter(|_| self.delivered) {
            Some(reason) => cx.tell_lost(me, self.token, reason, true),
            None => cx.tell_last(me, Event::Released),
        }
    }

    /// Takes note of what it came to, and goes on with what follows.
    fn finish<E: Env>(mut self, me: HoldKey, released: Released, cx: &mut Cx<'_, E>) -> State {
        if !self.kept {
            return self.finish_elsewhere(me, released, cx);
        }
        let name = cx.hold(me).name.clone();
        match released {
            Released::Ended => {
                self.tell(me, None, cx);
                // Waiters of other brokers have waited for long if somebody is still in the queue here: longer than any of
                // them pauses between two polls.
                let fair =
                    cx.is_waited_for_alone(&name) && cx.hold(me).permit.is_none() && self.closed(me, cx).is_zero();
                let pause = if fair { cx.core.settings.poll_interval.mul_f64(FAIR_PAUSE) } else { Duration::ZERO };
                cx.let_go(me, self.grant.id, cx.now + pause);
            }
            Released::Lingering(..) => self.tell(me, None, cx),
            Released::NotOurs(reason) => {
                self.tell(me, Some(reason), cx);
                cx.let_go(me, self.grant.id, cx.now);
            }
        }
        if !matches!(released, Released::NotOurs(_)) {
            cx.observe_release(me, self.token, self.cause);
        }
        // Neither its client nor a broker that is ending waits for a linger. Its room stays taken.
        cx.detach(me);
        match released {
            Released::Lingering(id, until) => Lingering::begin(me, id, until, Some(self.grant.id), cx),
            Released::Ended | Released::NotOurs(_) => State::Over,
        }
    }

    /// Does the same for a grant that another broker keeps. It finds out by a look, or a renewal.
    fn finish_elsewhere<E: Env>(self, me: HoldKey, released: Released, cx: &mut Cx<'_, E>) -> State {
        let name = cx.hold(me).name.clone();
        match released {
            // Nothing has changed for anybody.
            Released::NotOurs(LostReason::TakenOver) => State::Over,
            Released::Lingering(id, until) => {
                cx.note(me, Note::WakeQueue);
                self.tell_keeper(me, cx);
                // Those who wait here wait behind it, and looks show when it ends.
                let kept = (!cx.is_held_here(me)).then_some(self.grant.id);
                kept.into_iter().for_each(|id| cx.become_holder(me, id));
                Lingering::begin(me, id, until, kept, cx)
            }
            Released::Ended => {
                cx.note(me, Note::WakeQueue);
                self.tell_keeper(me, cx);
                cx.released_elsewhere(&name);
                State::Over
            }
            Released::NotOurs(_) => {
                cx.note(me, Note::WakeQueue);
                cx.released_elsewhere(&name);
                State::Over
            }
        }
    }

    /// Tells the broker that keeps a revoked grant, so that its client hears of it now and not with the next renewal.
    fn tell_keeper<E: Env>(&self, me: HoldKey, cx: &mut Cx<'_, E>) {
        if let Some(keeper) = self.keeper {
            cx.note(me, Note::TellKeeper(keeper));
        }
    }

    /// Returns for how long the lock lingers after its release.
    fn linger<E: Env>(&self, me: HoldKey, cx: &Cx<'_, E>) -> Duration {
        if self.delivered { cx.hold(me).linger() } else { Duration::ZERO }
    }

    /// Returns the end of the `min_hold`, while that is not over. Nobody can rely on that of a grant that was not read (R8).
    fn min_hold_end<E: Env>(&self, cx: &Cx<'_, E>) -> Option<Time> {
        self.grant.min_hold_end(cx).filter(|_| self.delivered)
    }

    /// Returns for how long the lock has to stay closed from now on: for its linger, or for what is left of its `min_hold`.
    fn closed<E: Env>(&self, me: HoldKey, cx: &Cx<'_, E>) -> Duration {
        let left = self.min_hold_end(cx).map_or(Duration::ZERO, |end| end.since(cx.now));
        self.linger(me, cx).max(left)
    }
}

/// Gives the lock to the first that waits here, in one step (R4): at no moment is it free.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HandingOver {
    release: Release,
    /// The waiter, taken out of the queue.
    ticket: Ticket,
    to: Waiter,
    /// The ttl of its grant and the T of its item.
    ttl: Duration,
    life: u32,
    /// Its id, and when the command was sent.
    new: GrantId,
    sent: Time,
    /// The end of its `min_hold`. The waiter may be gone when the store answers.
    closed_until: Option<Time>,
}

impl HandingOver {
    /// Ends a grant: by a hand-over if somebody waits here and nothing keeps the lock closed.
    pub(super) fn begin<E: Env>(me: HoldKey, release: Release, cx: &mut Cx<'_, E>) -> State {
        // From here on nothing that anybody wants makes a difference.
        if let Some(end) = cx.take_end(me) {
            cx.fall_back(me, end);
        }
        let name = cx.hold(me).name.clone();
        // Whoever waits for a permit gets none from here, and one that is let go need not be the one that is wanted.
        let hands_over = release.closed(me, cx).is_zero() && cx.hold(me).permit.is_none();
        let next = if hands_over { cx.next_waiter(&name) } else { None };
        let Some((ticket, to)) = next else { return Releasing::begin(me, release, cx) };
        let (ttl, life) = (cx.hold(to.hold).ttl(), cx.fresh_item_ttl(to.hold));
        let (new, closed_until) = (cx.env.grant_id(), cx.min_hold_end(to.hold, cx.now));
        cx.ask_for_lease(me, Request::HandOver { from: release.grant.id, to: new, ttl: life }, ttl);
        let sent = cx.now;
        State::HandingOver(Box::new(HandingOver { release, ticket, to, ttl, life, new, sent, closed_until }))
    }

    pub(crate) fn on<E: Env>(self: Box<Self>, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        let Stimulus::Answer(Reply::Granted(answer)) = stimulus else { return State::HandingOver(self) };
        let HandingOver { mut release, ticket, to, ttl, life, new, sent, closed_until } = *self;
        let name = cx.hold(me).name.clone();
        let sent = cx.counted_from(sent);
        match answer {
            Ok(Granted::Yes(token)) if counts(sent, ttl, cx.now) => {
                release.answer(me, Ok(Ended::Released), Duration::ZERO, cx);
                release.tell(me, None, cx);
                cx.env.observe(Observed::HandedOver);
                let grant = Grant { id: new, token, sent, protected_until: None, closed_until };
                match cx.hand(to.hold, grant) {
                    Ok(()) => {
                        cx.pass(&name, new, to.hold);
                        cx.observe_release(me, release.token, release.cause);
                        cx.detach(me);
                        State::Over
                    }
                    // It left meanwhile: the grant is ours, for the one behind it.
                    Err(grant) => {
                        cx.env.mark(Mark::HandOverLeft);
                        cx.pass(&name, new, me);
                        // Nobody knows of it, so its min_hold is nobody's.
                        release.grant = Grant { closed_until: None, ..grant };
                        HandingOver::begin(me, release, cx)
                    }
                }
            }
            // The grant is not ours any more: the release that follows finds out what became of it.
            Ok(Granted::No) => {
                cx.env.mark(Mark::HandOverRefused);
                cx.put_back(&name, ticket, to);
                Releasing::begin(me, release, cx)
            }
            answer => {
                release.unsure = answer.as_ref().err().is_none_or(StoreError::may_have_landed);
                if release.unsure && !cx.env.breaks(Rule::HandOverCleanedUp) {
                    cx.env.mark(Mark::HandOverUncertain);
                    cx.clean_up(me, new, life);
                }
                cx.put_back(&name, ticket, to);
                Releasing::begin(me, release, cx)
            }
        }
    }
}

/// Ends its grant in the store: deletes it, or makes it linger.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Releasing {
    release: Release,
    /// The linger's id, and how long it is at least: it lasts until the end of the `min_hold` too.
    linger: Option<(LingerId, Duration)>,
    /// The T of the item that lingers: no shorter than it was.
    life: u32,
    /// Until when it is tried.
    over: Time,
    /// When its caller is answered at the latest.
    answer_by: Time,
    /// Until when it is certain that nobody else has been granted the lock.
    alone_until: Option<Time>,
    failures: u8,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// Looks how much of the `min_hold` may be left, of which a lock id says so much.
    LookingForMinHold(Duration),
    /// Asks the store to end the grant.
    Ending,
    /// Looks if an earlier try has begun the linger.
    LookingForLinger,
    /// Looks who has the lock, for whoever called Release.
    LookingWhose,
    /// Leaves the store alone until then.
    Pausing { until: Time },
}

impl Releasing {
    fn begin<E: Env>(me: HoldKey, release: Release, cx: &mut Cx<'_, E>) -> State {
        let (closed, linger, grant) = (release.closed(me, cx), release.linger(me, cx), release.grant);
        let (tries, alone_until) = release.efforts(me, cx);
        let short = cx.env.breaks(Rule::LingerKeepsLife);
        let life = if short { item_ttl(Duration::ZERO, closed) } else { grant.item_ttl(me, cx.hold(me).linger(), cx) };
        let linger_id = (!closed.is_zero()).then(|| cx.env.linger_id());
        let closing = Closing { closed: linger, life, tries };
        Releasing::new(release, (linger_id, closing), Some(alone_until), cx).end(me, cx)
    }

    /// Makes the item of a grant a revocation, which keeps the lock closed for a time; if that is zero, deletes it.
    pub(super) fn revoked<E: Env>(
        me: HoldKey,
        release: Release,
        closing: Closing,
        alone_until: Option<Time>,
        cx: &mut Cx<'_, E>,
    ) -> State {
        let linger_id = (!closing.closed.is_zero()).then(|| cx.env.revocation_id());
        Releasing::new(release, (linger_id, closing), alone_until, cx).end(me, cx)
    }

    /// Releases a grant that nobody keeps here. It is tried for `--max-ttl`, whatever linger the caller's id names: whoever
    /// gets no answer calls again.
    pub(crate) fn by_id<E: Env>(me: HoldKey, lock_id: LockId, caller: Call, cx: &mut Cx<'_, E>) -> State {
        let LockId { grant: id, token, linger, min_hold, permit: _ } = lock_id;
        let max_ttl = cx.core.settings.max_ttl;
        let grant = Grant { id, token, sent: cx.now, protected_until: None, closed_until: None };
        let release = Release::elsewhere(grant, Caller::Release(caller), ReleaseCause::ReleaseCall, None);
        let closing = Closing { closed: linger, life: item_ttl(max_ttl, linger), tries: max_ttl };
        let linger_id = (!linger.is_zero()).then(|| cx.env.linger_id());
        let mut releasing = Releasing::new(release, (linger_id, closing), None, cx);
        if min_hold.is_zero() {
            return releasing.end(me, cx);
        }
        cx.ask(me, Request::Look);
        releasing.step = Step::LookingForMinHold(min_hold);
        State::Releasing(releasing)
    }

    fn new<E: Env>(
        release: Release,
        (linger_id, closing): (Option<LingerId>, Closing),
        alone_until: Option<Time>,
        cx: &Cx<'_, E>,
    ) -> Box<Releasing> {
        let Closing { closed, life, tries } = closing;
        Box::new(Releasing {
            release,
            linger: linger_id.map(|id| (id, closed)),
            life,
            over: cx.now + tries,
            answer_by: cx.now + ANSWER_WITHIN,
            alone_until,
            failures: 0,
            step: Step::Ending,
        })
    }

    /// Keeps the lock closed for so long as well: another broker may have promised that.
    fn keep_closed<E: Env>(&mut self, left: Duration, cx: &mut Cx<'_, E>) {
        self.release.grant.closed_until = Some(cx.now + left);
        if self.release.min_hold_end(cx).is_some() {
            self.life = self.life.max(min_hold_ttl(left));
            self.linger.get_or_insert_with(|| (cx.env.linger_id(), Duration::ZERO));
        }
    }

    /// Returns until when the lock stays closed, if it lingers from now on.
    fn closed_until<E: Env>(&self, linger: Duration, cx: &Cx<'_, E>) -> Time {
        let lingers = cx.now + linger;
        self.release.min_hold_end(cx).map_or(lingers, |end| end.max(lingers))
    }

    fn end<E: Env>(mut self: Box<Self>, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        let id = self.release.grant.id;
        let request = match self.linger {
            None => Request::Remove { state: ItemState::Held(id), quiet: false },
            Some((to, _)) => {
                let certain = self.alone_until.is_some_and(|until| cx.now < until);
                Request::Linger { from: id, to, ttl: self.life, certain }
            }
        };
        cx.ask(me, request);
        self.step = Step::Ending;
        State::Releasing(self)
    }

    pub(crate) fn on<E: Env>(mut self: Box<Self>, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        match (self.step, stimulus) {
            (Step::LookingForMinHold(left), Stimulus::Answer(Reply::Status(status))) => {
                self.keep_closed(min_hold::bounded(left, self.release.grant.id, &status), cx);
                self.end(me, cx)
            }
            (Step::Ending, Stimulus::Answer(Reply::Changed(change))) => self.changed(me, change, cx),
            (Step::LookingForLinger, Stimulus::Answer(Reply::Status(status))) => {
                let lingers = |(id, _): (LingerId, Duration)| matches!(&status, Ok(LockStatus::Taken { state, .. }) if *state == ItemState::Lingering(id));
                self.answer(me, Ok(Ended::Released), cx);
                let released = match self.linger.filter(|linger| lingers(*linger)) {
                    Some((id, linger)) => Released::Lingering(id, self.closed_until(linger, cx)),
                    None => Released::Ended,
                };
                self.release.finish(me, released, cx)
            }
            (Step::LookingWhose, Stimulus::Answer(Reply::Status(status))) => {
                let whose = match status {
                    Ok(LockStatus::Taken { state: ItemState::Held(_), .. }) => Ok(Ended::HeldByAnother),
                    Ok(LockStatus::Taken { .. } | LockStatus::Free) => Ok(Ended::NotHeld),
                    Err(error) => Err(error.into()),
                };
                self.answer(me, whose, cx);
                self.release.finish(me, Released::NotOurs(LostReason::TakenOver), cx)
            }
            (Step::Pausing { until }, _) if cx.now >= until => self.end(me, cx),
            (Step::Pausing { until }, _) => {
                cx.wake_hold_at(me, Some(until));
                State::Releasing(self)
            }
            _ => State::Releasing(self),
        }
    }

    /// Takes note of what the store said to ending the grant.
    fn changed<E: Env>(
        mut self: Box<Self>,
        me: HoldKey,
        change: Result<Change, StoreError>,
        cx: &mut Cx<'_, E>,
    ) -> State {
        let release = &self.release;
        let (answer, released) = match (change, self.linger) {
            (Ok(Change::Done), None) => (Ok(Ended::Released), Released::Ended),
            (Ok(Change::Done), Some((id, linger))) => {
                (Ok(Ended::Released), Released::Lingering(id, self.closed_until(linger, cx)))
            }
            // An earlier try may be what ended it.
            (Ok(Change::TakenOver | Change::Revoked), Some(_)) if release.unsure => {
                cx.env.mark(Mark::LingerLookedFor);
                cx.ask(me, Request::Look);
                self.step = Step::LookingForLinger;
                return State::Releasing(self);
            }
            (Ok(Change::Gone | Change::TakenOver | Change::Revoked), _) if release.unsure => {
                (Ok(Ended::Released), Released::Ended)
            }
            (Ok(Change::Gone), _) => (Ok(Ended::NotHeld), Released::NotOurs(LostReason::Gone)),
            (Ok(Change::TakenOver | Change::Revoked), _) if release.caller.is_some() => {
                cx.env.mark(Mark::WhoseLookedFor);
                cx.ask(me, Request::Look);
                self.step = Step::LookingWhose;
                return State::Releasing(self);
            }
            (Ok(Change::TakenOver | Change::Revoked), _) => {
                (Ok(Ended::HeldByAnother), Released::NotOurs(LostReason::TakenOver))
            }
            (Err(error), _) => return self.failed(me, error, cx),
        };
        self.answer(me, answer, cx);
        self.release.finish(me, released, cx)
    }

    fn answer<E: Env>(&mut self, me: HoldKey, result: Result<Ended, Failure>, cx: &mut Cx<'_, E>) {
        let closed = self.linger.map_or(Duration::ZERO, |(_, linger)| self.closed_until(linger, cx).since(cx.now));
        self.release.answer(me, result, closed, cx);
    }

    fn failed<E: Env>(mut self: Box<Self>, me: HoldKey, error: StoreError, cx: &mut Cx<'_, E>) -> State {
        self.release.unsure |= error.may_have_landed();
        cx.retried(me, "releasing", &error);
        if cx.now >= self.answer_by {
            cx.env.mark(Mark::CallerToldLate);
            self.answer(me, Err(error.into()), cx);
        }
        if cx.now >= self.over {
            cx.env.mark(Mark::ReleaseGivenUp);
            return self.release.finish(me, Released::Ended, cx);
        }
        let until = cx.now + cx.retry_pause(&mut self.failures);
        self.step = Step::Pausing { until };
        cx.wake_hold_at(me, Some(until));
        State::Releasing(self)
    }
}

impl Release {
    /// Brings it into its normal form.
    fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) {
        self.grant.normalise((span, true), form);
        form.token(&mut self.token);
        self.cause = ReleaseCause::Closed;
    }
}

impl HandingOver {
    /// Returns the ticket of the waiter.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) {
        self.release.normalise(span, form);
        form.ticket(&mut self.ticket);
        form.hold(&mut self.to.hold);
        form.grant(&mut self.new);
        form.since(&mut self.sent, lease(self.ttl));
        form.until_any(&mut self.closed_until);
    }
}

impl Releasing {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        // From here on it makes no difference when the grant began.
        self.release.normalise(Duration::ZERO, form);
        self.release.grant.protected_until = None;
        self.linger.iter_mut().for_each(|(id, _)| form.linger(id));
        form.effort(&mut self.over);
        form.effort(&mut self.answer_by);
        self.alone_until = self.alone_until.filter(|_| self.linger.is_some());
        form.until_any(&mut self.alone_until);
        self.failures = 0;
        if let Step::Pausing { until } = &mut self.step {
            form.pause([until]);
        }
    }
}
