//! A lease: a grant whose client has no stream, and renews it by calls, at any broker (R29). What is kept here is a record of
//! it, which renews nothing by itself and deletes nothing: another broker may have renewed it since.

use std::time::Duration;

use super::keep::Look;
use super::release::{Caller, Release};
use super::{End, Grant, HandingOver, Hold, HoldKey, State, Stimulus, min_hold};
use crate::Time;
use crate::broker::{Call, Cx, Output};
use crate::env::{Env, Mark, ReleaseCause};
use crate::event::LostReason;
use crate::failure::Failure;
use crate::lock::{CallKey, LeaseId, LockId, LockItem, LockName};
use crate::normal::{Form, Normal};
use crate::request::{Account, LeaseRenewal, Mode};
use crate::rules::Rule;
use crate::store::{Change, ItemState, Note, Reply, Request, StoreError};

/// Knows of a lease until it is over, as far as is known here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Leased {
    pub(super) grant: Grant,
    /// When the lock was granted, or first renewed here.
    pub(super) since: Time,
    /// False while a first renewal finds out if there is such a grant: another broker has granted it.
    known: bool,
    /// True if it was granted here, so that its age and its owner are known.
    pub(super) granted_here: bool,
    /// The call that it came from, if that is known and had a request id.
    pub(super) call: Option<CallKey>,
    /// The calls for the next renewal.
    calls: Vec<Call>,
    step: Step,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Resting,
    /// Looks how much of the `min_hold` may be left, of which a lock id says so much.
    LookingForMinHold(Duration),
    /// Looks at the store for those who wait behind, or because somebody says that it was revoked.
    Looking(Look),
    /// Renews it for these calls, by a command sent then.
    Renewing {
        sent: Time,
        calls: Vec<Call>,
    },
}

impl Leased {
    /// Keeps a grant for a client without a stream.
    pub(super) fn begin<E: Env>(
        me: HoldKey,
        grant: Grant,
        since: Time,
        call: Option<CallKey>,
        cx: &mut Cx<'_, E>,
    ) -> State {
        cx.look_later(me);
        let (owner, ttl) = (cx.hold(me).owner.clone(), cx.fresh_item_ttl(me));
        if call.is_some() || !owner.is_empty() {
            cx.note(me, Note::Describe { id: grant.id, owner, token: grant.token, call, ttl });
        }
        let step = Step::Resting;
        State::Leased(Box::new(Leased { grant, since, known: true, granted_here: true, call, calls: Vec::new(), step }))
    }

    /// Renews a grant of which nothing is known here.
    fn elsewhere<E: Env>(me: HoldKey, lease: LeaseId, call: Call, cx: &mut Cx<'_, E>) -> State {
        let LockId { grant: id, token, min_hold, .. } = lease.lock;
        let grant = Grant { id, token, sent: cx.now, protected_until: None, closed_until: None };
        let (since, known, granted_here, calls, step) = (cx.now, false, false, vec![call], Step::Resting);
        let call = None;
        let mut leased = Box::new(Leased { grant, since, known, granted_here, call, calls, step });
        if min_hold.is_zero() {
            return leased.renew(me, cx);
        }
        cx.ask(me, Request::Look);
        leased.step = Step::LookingForMinHold(min_hold);
        State::Leased(leased)
    }

    pub(crate) fn on<E: Env>(mut self: Box<Self>, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        match (std::mem::replace(&mut self.step, Step::Resting), stimulus) {
            (Step::Renewing { sent, calls }, Stimulus::Answer(Reply::Changed(renewed))) => {
                return self.renewed(me, (sent, calls), renewed, cx);
            }
            (Step::LookingForMinHold(left), Stimulus::Answer(Reply::Status(status))) => {
                let left = min_hold::bounded(left, self.grant.id, &status);
                (self.grant.sent, self.grant.closed_until) = (cx.now, Some(cx.now + left));
                return self.renew(me, cx);
            }
            // Nobody is heeded before the answer: what ends the lock would cross the renewal.
            (step @ (Step::Renewing { .. } | Step::LookingForMinHold(_)), _) => {
                self.step = step;
                return State::Leased(self);
            }
            (Step::Looking(look), stimulus) => match look.on(me, self.grant.id, &stimulus, cx) {
                Ok(look) => self.step = Step::Looking(look),
                Err(true) => {}
                // Another broker has ended it. The record deletes nothing, so there is nothing to find out.
                Err(false) => return self.over(me, cx),
            },
            (Step::Resting, Stimulus::Suspect) => self.step = Step::Looking(Look::begin(me, self.grant.id, cx)),
            (Step::Resting, _) => {}
        }
        self.look(me, cx)
    }

    /// Looks what there is to do while it renews nothing.
    fn look<E: Env>(mut self: Box<Self>, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        match cx.take_end(me) {
            Some(End::Release(by)) => {
                cx.give_up(me);
                self.answer_all(Err(Failure::unavailable("the lease is being released")), cx);
                cx.end_hold(self.since);
                let caller = Some(Caller::Release(by.call));
                let release = Release::kept(self.grant, (true, true), caller, ReleaseCause::ReleaseCall);
                return HandingOver::begin(me, release, cx);
            }
            // Somebody has a later grant here, or revokes this one here.
            Some(End::Superseded) => {
                self.answer_all(Err(Failure::unavailable("the lease is over, as far as is known here")), cx);
                return self.over(me, cx);
            }
            // It has no stream, and a revocation goes to the store.
            Some(End::Closed | End::Unresponsive | End::Revoke(_)) | None => {}
        }
        if !self.calls.is_empty() {
            return self.renew(me, cx);
        }
        let over = cx.hold(me).lease_end(&self.grant);
        if cx.now >= over {
            cx.env.mark(Mark::LeaseOver);
            return self.over(me, cx);
        }
        let look_at = cx.look_at(me, self.grant.id);
        if matches!(self.step, Step::Resting) && look_at.is_some_and(|at| cx.now >= at) {
            self.step = Step::Looking(Look::begin(me, self.grant.id, cx));
        }
        let look_at = match &self.step {
            Step::Looking(look) => look.wake_at(),
            Step::Resting | Step::Renewing { .. } | Step::LookingForMinHold(_) => look_at,
        };
        cx.wake_hold_at(me, [Some(over), look_at].into_iter().flatten().min());
        State::Leased(self)
    }

    fn renew<E: Env>(mut self: Box<Self>, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        let (id, owner) = (self.grant.id, cx.hold(me).owner.clone());
        let ttl = self.grant.item_ttl(me, cx.linger_of_item(me), cx);
        // Without a lease that is good here nobody knows if the item went with the memory, or before.
        let is_good = self.known && cx.now < cx.hold(me).lease_end(&self.grant);
        let request = if is_good || cx.env.breaks(Rule::LeaseNotRecreated) {
            Request::Renew { state: ItemState::Held(id), owner, ttl }
        } else {
            Request::Replace { from: id, to: id, ttl }
        };
        cx.ask(me, request);
        self.step = Step::Renewing { sent: cx.now, calls: std::mem::take(&mut self.calls) };
        State::Leased(self)
    }

    /// Takes note of what a renewal came to, and tells those who called.
    fn renewed<E: Env>(
        mut self: Box<Self>,
        me: HoldKey,
        (sent, calls): (Time, Vec<Call>),
        renewed: Result<Change, StoreError>,
        cx: &mut Cx<'_, E>,
    ) -> State {
        let sent = cx.counted_from(sent);
        let (result, stands) = match renewed {
            Ok(Change::Done) if cx.hold(me).counts(sent, cx.now) => {
                self.grant.sent = sent;
                // If somebody here has another grant, it cannot be told which of the two is the later one. So no record is
                // kept then, and none where there is no room. That costs what it would create again after a loss.
                if !self.known && !cx.is_held_here(me) && !cx.is_full() {
                    self.known = true;
                    cx.become_holder(me, self.grant.id);
                    cx.core.counts.held += 1;
                }
                (Ok(LeaseRenewal::Renewed { until: cx.hold(me).lease_end(&self.grant) }), true)
            }
            Ok(Change::Done) => (Err(Failure::unavailable("the store renewed the lease too late")), true),
            Ok(Change::Gone) => (Ok(LeaseRenewal::Lost(LostReason::Gone)), false),
            Ok(Change::TakenOver) => (Ok(LeaseRenewal::Lost(LostReason::TakenOver)), false),
            Ok(Change::Revoked) => (Ok(LeaseRenewal::Lost(LostReason::Revoked)), false),
            Err(error) => (Err(error.into()), true),
        };
        for call in calls {
            cx.answer_renewal(call, result.clone());
        }
        if stands && self.known {
            return self.look(me, cx);
        }
        self.answer_all(result, cx);
        self.over(me, cx)
    }

    /// Answers the calls that wait for the next renewal.
    fn answer_all<E: Env>(&mut self, result: Result<LeaseRenewal, Failure>, cx: &mut Cx<'_, E>) {
        for call in std::mem::take(&mut self.calls) {
            cx.answer_renewal(call, result.clone());
        }
    }

    /// Forgets the lease. Its item is left as it is.
    fn over<E: Env>(self, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        cx.give_up(me);
        if self.known {
            cx.end_hold(self.since);
            cx.let_go_now(me, self.grant.id);
        }
        State::Over
    }
}

impl<E: Env> Cx<'_, E> {
    /// Renews a lease, wherever it was granted. A record that is made counts for `account`, which is not refused: its client has
    /// the lock already.
    pub(crate) fn renew_lease(&mut self, call: Call, name: &LockName, lease: LeaseId, account: Option<Account>) {
        let item = LockItem { name: name.clone(), permit: lease.lock.permit };
        if let Some(me) = self.holder(&item, lease.lock.grant) {
            match &mut self.hold_mut(me).state {
                State::Leased(leased) => {
                    leased.calls.push(call);
                    return self.look_later(me);
                }
                State::Held(_) | State::Expiring(_) => {
                    let why = "this lock is held on a stream, which renews it";
                    return self.answer_renewal(call, Err(Failure::Invalid { why: why.into() }));
                }
                // It is about to end.
                _ => {}
            }
        }
        if !self.count_reserved() {
            let full = self.full();
            return self.answer_renewal(call, Err(full));
        }
        let hold = Hold::without_client(item, lease.ttl, lease.lock.linger);
        let account = account.filter(|account| self.env.charge(*account, &Mode::Reattach(lease.lock)).is_ok());
        let me = self.core.holds.insert(Hold { min_hold: lease.lock.min_hold.into(), account, ..hold });
        let state = Leased::elsewhere(me, lease, call, self);
        self.settle_in(me, state);
    }

    fn answer_renewal(&mut self, call: Call, result: Result<LeaseRenewal, Failure>) {
        self.core.outputs.push_back(Output::LeaseRenewed { call, result });
    }

    /// Makes the lock that was announced on a stream of its own a lease. Returns false if there is none any more.
    pub(crate) fn make_lease(&mut self, me: HoldKey, call: Option<CallKey>) -> bool {
        let hold = self.hold_mut(me);
        let State::Held(held) = &hold.state else { return false };
        if hold.end.is_some() || !hold.is_announced() {
            return false;
        }
        let (grant, since) = (held.grant, held.since);
        self.give_up(me);
        self.detach(me);
        let state = Leased::begin(me, grant, since, call, self);
        self.hold_mut(me).state = state;
        true
    }
}

impl Leased {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) {
        self.grant.normalise((span, true), form);
        form.shown(&mut self.since);
        match &mut self.step {
            Step::Resting | Step::LookingForMinHold(_) => {}
            Step::Looking(look) => look.normalise(span, form),
            Step::Renewing { sent, .. } => form.since(sent, span),
        }
    }
}
