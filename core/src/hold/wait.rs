//! Waiting for a lock: in the queue of its name, until it is granted or handed over, the wait is over, or the client leaves.

use std::time::Duration;

use super::acquire::{Attempt, Inspecting, Intent, LAST_ATTEMPT, Outcome, going_away};
use super::{End, Grant, Held, HoldKey, LONGEST_RETRY, State, Stimulus, not_acquired};
use crate::Time;
use crate::broker::Cx;
use crate::env::{Env, Mark};
use crate::event::{Event, Reason};
use crate::failure::Failure;
use crate::normal::{Form, Normal};
use crate::queue::{Ticket, Waiter};
use crate::request::{Access, Mode};

/// How often a stream that waits alone is told its place, so that it is never idle for long.
const TELL_PLACE: Duration = Duration::from_secs(5);
/// Limits how long a wait that is over gives the store to say who holds the lock. It has nothing to gain, so this may be
/// longer than the last attempt: people look for the holder by its label.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Waits for the lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Waiting {
    mode: Mode,
    asked: Time,
    deadline: Option<Time>,
    poll_interval: Option<Duration>,
    ticket: Ticket,
    tell_place_at: Time,
    place_told: bool,
    /// How many attempts have failed in a row.
    failures: u8,
    /// The attempt that is under way.
    attempt: Option<Attempt>,
    /// The item that keeps others out while some still have permits.
    intent: Option<Intent>,
    /// True if nobody got a permit when it was last asked for.
    was_closed: bool,
    /// A grant that was handed over, and waits to be taken.
    pub(super) handed: Option<Grant>,
}

/// Why a wait ends without the lock.
enum Leave {
    MaxWait,
    Draining,
    Ended(End),
    Failed(Failure),
}

impl Waiting {
    pub(crate) fn begin<E: Env>(
        me: HoldKey,
        (mode, max_wait, poll_interval): (Mode, Option<Duration>, Option<Duration>),
        cx: &mut Cx<'_, E>,
    ) -> State {
        let (name, shares) = (cx.hold(me).name.clone(), cx.hold(me).access != Access::Alone);
        let ticket = cx.enter(&name, Waiter { hold: me, poll_interval, shares });
        cx.note_queue(&name);
        let waiting = Waiting {
            mode,
            asked: cx.now,
            deadline: max_wait.map(|wait| cx.now + wait),
            poll_interval,
            ticket,
            tell_place_at: cx.now,
            place_told: false,
            failures: 0,
            attempt: None,
            intent: None,
            was_closed: false,
            handed: None,
        };
        cx.core.counts.waiting += 1;
        cx.look_later(me);
        State::Waiting(Box::new(waiting))
    }

    pub(crate) fn on<E: Env>(mut self: Box<Self>, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        let Some(mut attempt) = self.attempt.take() else { return self.look(me, cx) };
        let name = cx.hold(me).name.clone();
        match attempt.on(me, stimulus, cx) {
            None => {
                self.attempt = Some(attempt);
                return State::Waiting(self);
            }
            Some(Outcome::Granted(grant)) => return self.granted(me, grant, cx),
            Some(outcome @ (Outcome::Taken | Outcome::Closed | Outcome::Intent(_))) => {
                self.was_closed = matches!(outcome, Outcome::Closed);
                self.intent = if let Outcome::Intent(intent) = outcome { Some(intent) } else { None };
                self.failures = 0;
                // A permit that was let go meanwhile may stand behind where the search was then.
                let pause = cx.polled(&name, attempt.began, None);
                // What comes of it may bring the next poll forward.
                cx.watch(&name, pause);
            }
            Some(Outcome::Failed(Failure::Unavailable { .. })) => {
                // The interval is for a lock that somebody has, which nobody knows of this one.
                let interval = self.poll_interval.unwrap_or(cx.core.settings.poll_interval);
                let pause = interval.min(LONGEST_RETRY).max(cx.retry_pause(&mut self.failures));
                cx.polled(&name, attempt.began, Some(pause));
            }
            Some(Outcome::Failed(failure)) => return self.leave(me, Leave::Failed(failure), cx),
            Some(Outcome::Abandoned) => {}
        }
        self.look(me, cx)
    }

    /// Looks what there is to do while no attempt is under way.
    fn look<E: Env>(mut self: Box<Self>, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        if let Some(handed) = self.handed.take() {
            return self.take_over(me, handed, cx);
        }
        if let Some(end) = cx.take_end(me) {
            return self.leave(me, Leave::Ended(end), cx);
        }
        if cx.core.draining.is_some() {
            return self.leave(me, Leave::Draining, cx);
        }
        if self.deadline.is_some_and(|deadline| cx.now >= deadline) {
            return self.leave(me, Leave::MaxWait, cx);
        }
        let name = cx.hold(me).name.clone();
        let keep_intent_at = self.intent.map(|intent| intent.sent + cx.hold(me).ttl() / 3);
        let contend_at = [cx.turn(&name, self.ticket), keep_intent_at].into_iter().flatten().min();
        if contend_at.is_some_and(|at| cx.now >= at) {
            self.attempt = Some(match self.intent.take() {
                Some(intent) => Attempt::occupy(me, intent, self.deadline, cx),
                None => Attempt::begin(me, self.deadline, self.was_closed, cx),
            });
            cx.wake_hold_at(me, self.deadline.map(|deadline| deadline + LAST_ATTEMPT));
            return State::Waiting(self);
        }
        let is_alone = cx.is_alone_on_stream(me);
        if cx.now >= self.tell_place_at && (is_alone || !self.place_told) {
            let position = cx.position(&name, self.ticket);
            cx.tell(me, Event::Queued { position });
            cx.env.mark(Mark::PlaceTold);
            self.place_told = true;
            self.tell_place_at = cx.now + TELL_PLACE;
        }
        let tell = is_alone.then_some(self.tell_place_at);
        cx.wake_hold_at(me, [self.deadline, contend_at, tell].into_iter().flatten().min());
        State::Waiting(self)
    }

    /// Takes a grant that the store gave to its attempt.
    fn granted<E: Env>(mut self, me: HoldKey, grant: Grant, cx: &mut Cx<'_, E>) -> State {
        let (name, life) = (cx.hold(me).name.clone(), cx.fresh_item_ttl(me));
        // Nobody hands us the lock that we have just been granted: the item would have had both ids within one lease. Only a
        // store that breaks its promise does that, and what it handed over is cleaned up.
        if let Some(handed) = self.handed.take() {
            cx.clean_up(me, handed.id, life);
            cx.let_go(me, handed.id, cx.now);
        }
        if cx.stop_watching(&name) {
            cx.unwatch(&name);
        }
        self.step_out(me, cx);
        if cx.hold(me).permit.is_some() {
            // The next one may want a permit too.
            cx.released_elsewhere(&name);
        }
        cx.hold_with_room(me, grant, &self.mode, self.asked)
    }

    /// Takes a grant that another hold here has handed over, in the room of that one, which is about to end.
    fn take_over<E: Env>(mut self, me: HoldKey, handed: Grant, cx: &mut Cx<'_, E>) -> State {
        self.drop_intent(me, cx);
        self.step_out(me, cx);
        cx.take_room_always(me);
        Held::begin(me, handed, &self.mode, self.asked, cx)
    }

    fn step_out<E: Env>(&self, me: HoldKey, cx: &mut Cx<'_, E>) {
        let name = cx.hold(me).name.clone();
        cx.leave_queue(&name, self.ticket);
        cx.core.counts.waiting -= 1;
        cx.give_up_wait(me);
    }

    /// Lets others in again.
    fn drop_intent<E: Env>(&mut self, me: HoldKey, cx: &mut Cx<'_, E>) {
        if let Some(intent) = self.intent.take() {
            let life = cx.fresh_item_ttl(me);
            cx.clean_up(me, intent.id, life);
        }
    }

    fn leave<E: Env>(mut self, me: HoldKey, leave: Leave, cx: &mut Cx<'_, E>) -> State {
        self.drop_intent(me, cx);
        let name = cx.hold(me).name.clone();
        if cx.is_alone_in_queue(&name, self.ticket) && cx.stop_watching(&name) {
            // The note would be in the way of other brokers' for as long as this client's interval.
            cx.unwatch(&name);
        }
        if let Some(handed) = self.handed {
            cx.env.mark(Mark::LeaverTookHandOver);
            if let Leave::Ended(end) = leave {
                cx.hold_mut(me).end = Some(end);
            }
            return self.take_over(me, handed, cx);
        }
        self.step_out(me, cx);
        match leave {
            Leave::MaxWait => Inspecting::begin(me, Some(Reason::MaxWait), Some(cx.now + LAST_LOOK), cx),
            Leave::Draining => {
                cx.tell_draining(me);
                cx.refuse(me, Event::Failed(going_away()))
            }
            Leave::Ended(end) => {
                cx.fall_back(me, end);
                cx.refuse(me, not_acquired(Reason::Cancelled))
            }
            Leave::Failed(failure) => cx.refuse(me, Event::Failed(failure)),
        }
    }
}

impl<E: Env> Cx<'_, E> {
    /// Holds a grant that one who waited has got from the store. If there is no room for it, the grant goes back.
    pub(super) fn hold_with_room(&mut self, me: HoldKey, grant: Grant, mode: &Mode, asked: Time) -> State {
        self.give_up_wait(me);
        if !self.take_room(me) {
            self.env.mark(Mark::NoRoomForGrant);
            let life = self.fresh_item_ttl(me);
            // There are no more of these than waiters, and who comes to a full broker does not get to wait.
            self.clean_up_always(me, grant.id, life);
            let full = self.full();
            return self.refuse(me, Event::Failed(full));
        }
        Held::begin(me, grant, mode, asked, self)
    }

    /// Gives a grant to a waiter that was taken out of its queue for it. Gives it back if that has left meanwhile.
    pub(super) fn hand(&mut self, to: HoldKey, grant: Grant) -> Result<(), Grant> {
        match self.core.holds.get_mut(to).map(|hold| &mut hold.state) {
            Some(State::Waiting(waiting)) => {
                waiting.handed = Some(grant);
                self.look_later(to);
                Ok(())
            }
            _ => Err(grant),
        }
    }
}

impl Waiting {
    /// Returns its ticket.
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Returns when it was asked for.
    pub(crate) fn asked(&self) -> Time {
        self.asked
    }

    /// Returns true if its item keeps others out, until those have gone who have permits.
    pub(crate) fn keeps_others_out(&self) -> bool {
        self.intent.is_some() || self.attempt.as_ref().is_some_and(Attempt::is_on_intent)
    }

    /// Brings it into its normal form, in which it has told its place for the last time. Returns when it would have told it
    /// again.
    pub(super) fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) -> Time {
        form.shown(&mut self.asked);
        form.until_any(&mut self.deadline);
        form.ticket(&mut self.ticket);
        let mut tell_place_at = std::mem::replace(&mut self.tell_place_at, Time::NEVER);
        form.pause([&mut tell_place_at]);
        self.place_told = true;
        self.failures = 0;
        self.attempt.iter_mut().for_each(|attempt| attempt.normalise(span, form));
        self.intent.iter_mut().for_each(|intent| intent.normalise(span, form));
        self.handed.iter_mut().for_each(|grant| grant.normalise((span, false), form));
        tell_place_at
    }
}
