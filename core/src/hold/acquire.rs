//! Trying for a lock: one attempt, and a look at who has it.

use std::time::Duration;

use super::share::Search;
use super::{Grant, Held, HoldKey, State, Stimulus, not_acquired};
use crate::Time;
use crate::broker::Cx;
use crate::env::{Env, Mark};
use crate::event::{Event, Reason};
use crate::failure::{Cause, Failure};
use crate::lock::{FencingToken, GrantId, LockItem, Owner, item_ttl};
use crate::normal::{Form, Normal};
use crate::request::{Access, Mode};
use crate::rules::Rule;
use crate::store::{Besides, Granted, ItemState, LockStatus, Reply, Request, Seats, StoreError};

/// By how much a wait may outlast `max_wait` for an attempt that is under way.
pub(crate) const LAST_ATTEMPT: Duration = Duration::from_millis(20);
/// How long a client that has left waits for an attempt under way. After that it is cleaned up behind its back.
const LEAVING: Duration = Duration::from_millis(50);

/// One attempt to get a lock, which is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    /// Fresh for each attempt (R5): what is still under way of an earlier one touches nothing.
    pub(super) id: GrantId,
    /// When its first command was sent. What was let go since then it may have looked at before.
    pub(super) began: Time,
    /// When its last command was sent.
    pub(super) sent: Time,
    /// When to give it up.
    limit: Option<Time>,
    way: Way,
}

/// The thing that is tried to be got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    /// The lock, for oneself alone.
    Alone,
    /// The same, where the item is an intent and nobody must have a permit.
    Occupying(Besides),
    /// A permit.
    Sharing(Search),
}

/// The item of a lock that is wanted by one alone, and stands while others still have permits. It lets nobody else in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Intent {
    pub(super) id: GrantId,
    /// When the command was sent that created it, or last let it live on.
    pub(super) sent: Time,
    besides: Besides,
}

/// What became of an attempt.
pub(super) enum Outcome {
    Granted(Grant),
    Taken,
    /// Nobody gets a permit: somebody has the lock for himself alone, or it lingers.
    Closed,
    /// The lock will be free when those have gone who have permits.
    Intent(Intent),
    Failed(Failure),
    /// The wait was over, or the client gone, before there was an answer.
    Abandoned,
}

impl Attempt {
    /// Asks the store for the lock, up to `deadline` and a little longer. `closed`: nobody got a permit when it was last asked for.
    pub(super) fn begin<E: Env>(me: HoldKey, deadline: Option<Time>, closed: bool, cx: &mut Cx<'_, E>) -> Attempt {
        let limit = deadline.map(|deadline| deadline + LAST_ATTEMPT);
        match cx.hold(me).access {
            Access::Shared { limit: permits, weight: 1 } => {
                let life = cx.fresh_item_ttl(me);
                let (search, request) = match cx.gate_of(me) {
                    Some(gate) => Search::under(me, (permits, Some(gate)), life, cx),
                    None => Search::begin(me, permits, closed, cx),
                };
                Attempt::share_first(me, (search, request), limit, cx)
            }
            // Who wants several permits first keeps all others out: two who collect them would wait for each other.
            Access::Alone | Access::Shared { .. } => {
                cx.hold_mut(me).permit = None;
                let (id, ttl) = (cx.env.grant_id(), cx.intent_ttl(me));
                cx.ask(me, Request::Grant { id, ttl });
                Attempt { id, began: cx.now, sent: cx.now, limit, way: Way::Alone }
            }
        }
    }

    /// Asks for a permit of a lock whose own item is ours, up to `give_up`. The permit's item lives for `life`.
    pub(super) fn under<E: Env>(
        me: HoldKey,
        (permits, under): (u16, Option<GrantId>),
        life: u32,
        give_up: Time,
        cx: &mut Cx<'_, E>,
    ) -> Attempt {
        let search = Search::under(me, (permits, under), life, cx);
        Attempt::share_first(me, search, Some(give_up), cx)
    }

    fn share_first<E: Env>(
        me: HoldKey,
        (search, request): (Search, Request),
        limit: Option<Time>,
        cx: &mut Cx<'_, E>,
    ) -> Attempt {
        let id = cx.env.grant_id();
        let mut attempt = Attempt { id, began: cx.now, sent: cx.now, limit, way: Way::Sharing(search) };
        attempt.share(me, search, request, cx);
        attempt
    }

    /// Tries to make a grant of an intent.
    pub(super) fn occupy<E: Env>(me: HoldKey, intent: Intent, deadline: Option<Time>, cx: &mut Cx<'_, E>) -> Attempt {
        let Intent { id, besides, .. } = intent;
        let limit = deadline.map(|deadline| deadline + LAST_ATTEMPT);
        let mut attempt = Attempt { id, began: cx.now, sent: cx.now, limit, way: Way::Alone };
        attempt.ask_to_occupy(me, besides, cx);
        attempt
    }

    fn ask_to_occupy<E: Env>(&mut self, me: HoldKey, besides: Besides, cx: &mut Cx<'_, E>) {
        let besides = Besides { seats: besides.seats.or(seats(cx.hold(me).access)), ..besides };
        cx.ask(me, Request::Occupy { id: self.id, ttl: cx.intent_ttl(me), besides });
        (self.sent, self.way) = (cx.now, Way::Occupying(besides));
        cx.wake_hold_at(me, self.limit);
    }

    /// Asks for the next step of a search.
    pub(super) fn share<E: Env>(&mut self, me: HoldKey, search: Search, request: Request, cx: &mut Cx<'_, E>) {
        if let Request::Share { id, .. } = request {
            self.id = id;
        }
        cx.ask(me, request);
        (self.sent, self.way) = (cx.now, Way::Sharing(search));
        cx.wake_hold_at(me, self.limit);
    }

    /// Returns what became of it, or none if it goes on. What was asked for and is not wanted any more is cleaned up.
    pub(super) fn on<E: Env>(&mut self, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> Option<Outcome> {
        let outcome = self.heard(me, stimulus, cx)?;
        // Whoever wants one permit under a gate has it from its group, or from its reattach, which see to that.
        if let (Some(gate), Some(_)) = (self.gate(), seats(cx.hold(me).access)) {
            let gate = (gate, cx.intent_ttl(me));
            match outcome {
                Outcome::Granted(_) => cx.keep_gate(me, gate),
                _ => cx.drop_gate(cx.hold(me).name.clone(), gate),
            }
        }
        Some(outcome)
    }

    fn heard<E: Env>(&mut self, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> Option<Outcome> {
        let seats = seats(cx.hold(me).access);
        match (stimulus, self.way) {
            (Stimulus::Answer(Reply::Granted(answer)), _) => match answer {
                Ok(Granted::Yes(token)) => match seats {
                    None => Some(self.granted(me, token, cx)),
                    Some(seats) => {
                        let life = cx.fresh_item_ttl(me);
                        let (search, request) = Search::under(me, (seats.limit, Some(self.id)), life, cx);
                        self.share(me, search, request, cx);
                        None
                    }
                },
                Ok(Granted::No) => Some(Outcome::Taken),
                Ok(Granted::Intent(besides)) if besides.held && besides.seats.is_some() == seats.is_some() => {
                    cx.env.mark(Mark::PermitsInTheWay);
                    Some(Outcome::Intent(Intent { id: self.id, sent: self.sent, besides }))
                }
                Ok(Granted::Intent(besides)) => {
                    self.ask_to_occupy(me, besides, cx);
                    None
                }
                Err(error) => Some(self.failed(me, error, cx)),
            },
            (Stimulus::Answer(Reply::Shared(shared)), Way::Sharing(search)) => self.shared(me, search, shared, cx),
            (Stimulus::Answer(Reply::Found(found)), Way::Sharing(search)) => self.found(me, search, found, cx),
            (Stimulus::Answer(Reply::Status(status)), Way::Sharing(search)) => self.peeked(me, search, status, cx),
            _ => self.goes_on(me, cx),
        }
    }

    /// Takes a grant, if it comes in time.
    pub(super) fn granted<E: Env>(&mut self, me: HoldKey, token: FencingToken, cx: &mut Cx<'_, E>) -> Outcome {
        let sent = cx.counted_from(self.sent);
        if cx.hold(me).counts(sent, cx.now) {
            let closed_until = cx.min_hold_end(me, self.sent);
            return Outcome::Granted(Grant { id: self.id, token, sent, protected_until: None, closed_until });
        }
        cx.env.mark(Mark::GrantTooLate);
        let life = self.life(me, cx);
        cx.clean_up(me, self.id, life);
        Outcome::Failed(Failure::unavailable("the store granted the lock too late"))
    }

    /// Cleans up what may have landed.
    pub(super) fn failed<E: Env>(&mut self, me: HoldKey, error: StoreError, cx: &mut Cx<'_, E>) -> Outcome {
        // An intent stands, whatever became of the last command.
        let may_stand = error.may_have_landed() || matches!(self.way, Way::Occupying(_));
        if may_stand && !cx.env.breaks(Rule::CleanUp) {
            cx.env.mark(Mark::GrantUncertain);
            let life = self.life(me, cx);
            cx.clean_up(me, self.id, life);
        }
        Outcome::Failed(error.into())
    }

    /// Returns the id of the lock's own item, where that is ours and keeps others out while a permit is looked for.
    fn gate(&self) -> Option<GrantId> {
        if let Way::Sharing(search) = self.way { search.gate() } else { None }
    }

    /// Returns true if it goes on from an intent, which keeps others out.
    pub(super) fn is_on_intent(&self) -> bool {
        matches!(self.way, Way::Occupying(_)) || self.gate().is_some()
    }

    /// Returns the T of the item that it creates.
    fn life<E: Env>(&self, me: HoldKey, cx: &Cx<'_, E>) -> u32 {
        if let Way::Sharing(search) = self.way { search.life() } else { cx.fresh_item_ttl(me) }
    }

    /// Waits for the answer, up to its limit.
    fn goes_on<E: Env>(&mut self, me: HoldKey, cx: &mut Cx<'_, E>) -> Option<Outcome> {
        if cx.hold(me).end.is_some() {
            let leaving = cx.now + LEAVING;
            self.limit = Some(self.limit.map_or(leaving, |limit| limit.min(leaving)));
        }
        if self.limit.is_some_and(|limit| cx.now >= limit) {
            cx.env.mark(Mark::AttemptAbandoned);
            let life = self.life(me, cx);
            cx.give_up(me);
            cx.clean_up(me, self.id, life);
            return Some(Outcome::Abandoned);
        }
        cx.wake_hold_at(me, self.limit);
        None
    }
}

impl<E: Env> Cx<'_, E> {
    /// Returns the T of the lock's own item. That of one who collects permits is a gate, and neither lingers nor has a `min_hold`.
    fn intent_ttl(&self, me: HoldKey) -> u32 {
        match seats(self.hold(me).access) {
            Some(_) => item_ttl(self.hold(me).ttl(), Duration::ZERO),
            None => self.fresh_item_ttl(me),
        }
    }
}

/// Returns the permits that one needs free who wants several.
fn seats(access: Access) -> Option<Seats> {
    match access {
        Access::Shared { limit, weight } if weight > 1 => Some(Seats { limit, weight: weight.into(), free: 0 }),
        Access::Alone | Access::Shared { .. } => None,
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
        let attempt = Attempt::begin(me, None, false, cx);
        State::Trying(Box::new(Trying { attempt, mode, asked: cx.now }))
    }

    pub(crate) fn on<E: Env>(mut self: Box<Self>, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        match self.attempt.on(me, stimulus, cx) {
            None => State::Trying(self),
            Some(Outcome::Granted(grant)) if matches!(self.mode, Mode::Wait { .. }) => {
                cx.hold_with_room(me, grant, &self.mode, self.asked)
            }
            Some(Outcome::Granted(grant)) => Held::begin(me, grant, &self.mode, self.asked, cx),
            Some(Outcome::Intent(intent)) => {
                let life = cx.fresh_item_ttl(me);
                cx.clean_up(me, intent.id, life);
                self.not_got(me, cx)
            }
            Some(Outcome::Taken | Outcome::Closed) => self.not_got(me, cx),
            Some(Outcome::Failed(failure)) => cx.refuse(me, Event::Failed(failure)),
            Some(Outcome::Abandoned) => cx.refuse(me, not_acquired(Reason::Cancelled)),
        }
    }

    fn not_got<E: Env>(&self, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        // One who would wait for no time at all has waited in vain.
        let reason = matches!(self.mode, Mode::Wait { .. }).then_some(Reason::MaxWait);
        Inspecting::begin(me, reason, None, cx)
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
        // At the lock, and not at a permit.
        cx.hold_mut(me).permit = None;
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
                (Reason::Held, cx.label_of(&LockItem::from(&name), id, *label).owner)
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
        // Only `WaitQueue::polled` reads it, and a queue in its normal form has no moment with which to compare it.
        self.began = self.sent;
        form.pause(&mut self.limit);
        if let Way::Sharing(search) = &mut self.way {
            search.normalise(form);
        }
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

impl Intent {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) {
        form.grant(&mut self.id);
        form.since(&mut self.sent, span);
    }
}
