//! Keeping a lock closed after its release, until its linger is over.

use super::keep::SUSPECT_AFTER;
use super::{HoldKey, State, Stimulus};
use crate::Time;
use crate::broker::Cx;
use crate::env::{Env, Mark};
use crate::lock::{GrantId, LingerId, Owner, item_ttl};
use crate::normal::{Form, Normal};
use crate::store::{Change, ItemState, Note, Reply, Request};

/// How long the item of a linger that is over is tried to be deleted: it expires by then.
const REMOVED_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Keeps the lock closed. A long linger is renewed now and then, so that it survives a memcached that loses its memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lingering {
    id: LingerId,
    until: Time,
    /// The T of its item: no shorter than it was, as at its beginning.
    life: u32,
    /// The grant that was kept here. None if another broker kept it.
    kept: Option<GrantId>,
    failures: u8,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Resting {
        until: Time,
    },
    Renewing,
    Removing,
    /// Leaves the store alone until then, before it removes the item.
    Pausing {
        until: Time,
    },
}

impl Lingering {
    pub(crate) fn begin<E: Env>(
        me: HoldKey,
        id: LingerId,
        until: Time,
        kept: Option<GrantId>,
        cx: &mut Cx<'_, E>,
    ) -> State {
        let life = item_ttl(cx.core.settings.max_ttl, until.since(cx.now));
        cx.tell_of_change(me);
        let lingering = Lingering { id, until, life, kept, failures: 0, step: Step::Renewing };
        if id.is_revocation() && cx.core.store.can_be_woken {
            cx.note(me, Note::KeepsClosed { id, ttl: life });
        }
        Box::new(lingering).rest(me, cx)
    }

    fn rest<E: Env>(mut self: Box<Self>, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        let until = self.until.min(cx.now + cx.core.settings.max_ttl / 3);
        self.step = Step::Resting { until };
        cx.wake_hold_at(me, Some(until));
        State::Lingering(self)
    }

    pub(crate) fn on<E: Env>(mut self: Box<Self>, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        let state = ItemState::Lingering(self.id);
        match (self.step, stimulus) {
            (Step::Resting { .. }, _) if cx.now >= self.until => self.remove(me, cx),
            // It finds out by a renewal, as whatever a hint says is found out.
            (Step::Resting { until }, Stimulus::Suspect) => {
                let until = until.min(cx.now + SUSPECT_AFTER);
                self.step = Step::Resting { until };
                cx.wake_hold_at(me, Some(until));
                State::Lingering(self)
            }
            (Step::Resting { until }, _) if cx.now >= until => {
                cx.ask(me, Request::Renew { state, owner: Owner::default(), ttl: self.life });
                cx.env.mark(Mark::LingerRenewed);
                self.step = Step::Renewing;
                State::Lingering(self)
            }
            (Step::Resting { until } | Step::Pausing { until }, _) if cx.now < until => {
                cx.wake_hold_at(me, Some(until));
                State::Lingering(self)
            }
            (Step::Pausing { .. }, _) => self.remove(me, cx),
            (Step::Renewing, Stimulus::Answer(Reply::Changed(renewed))) => match renewed {
                Ok(Change::Gone | Change::TakenOver | Change::Revoked) => self.open(me, cx),
                Ok(Change::Done) => self.rest(me, cx),
                Err(error) => {
                    cx.retried(me, "renewing the linger of", &error);
                    self.rest(me, cx)
                }
            },
            (Step::Removing, Stimulus::Answer(Reply::Changed(removed))) => {
                let Err(error) = removed else { return self.open(me, cx) };
                cx.retried(me, "ending the linger of", &error);
                if cx.now >= self.until + REMOVED_WITHIN {
                    cx.env.mark(Mark::LingerLeft);
                    return self.open(me, cx);
                }
                let until = cx.now + cx.retry_pause(&mut self.failures);
                self.step = Step::Pausing { until };
                cx.wake_hold_at(me, Some(until));
                State::Lingering(self)
            }
            _ => State::Lingering(self),
        }
    }

    fn remove<E: Env>(mut self: Box<Self>, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        cx.ask(me, Request::Remove { state: ItemState::Lingering(self.id), quiet: false });
        self.step = Step::Removing;
        State::Lingering(self)
    }

    /// Lets those who wait here ask for the lock.
    fn open<E: Env>(self, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        let name = cx.hold(me).name.clone();
        match self.kept {
            Some(id) => cx.let_go(me, id, cx.now),
            None => cx.released_elsewhere(&name),
        }
        State::Over
    }
}

impl Lingering {
    /// Ends the linger at that time, if it has this id and would last for longer. Its hold has to look then.
    pub(super) fn end_at(&mut self, id: LingerId, at: Time) -> bool {
        let ends = self.id == id && at < self.until;
        if ends {
            self.until = at;
        }
        ends
    }

    /// Returns when the lock is open again, if it lingers under this id.
    pub(super) fn closed_until(&self, id: LingerId) -> Option<Time> {
        (self.id == id).then_some(self.until)
    }

    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        form.linger(&mut self.id);
        form.until(&mut self.until);
        self.kept.iter_mut().for_each(|id| form.grant(id));
        self.failures = 0;
        match &mut self.step {
            Step::Resting { until } | Step::Pausing { until } => form.pause([until]),
            Step::Renewing | Step::Removing => {}
        }
    }
}
