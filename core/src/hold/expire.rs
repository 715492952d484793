//! Waiting, without renewing, until a client can no longer believe in its lock (R7).

use std::time::Duration;

use super::keep::Look;
use super::release::{Caller, Release};
use super::{End, Grant, HandingOver, HoldKey, State, Stimulus};
use crate::Time;
use crate::broker::Cx;
use crate::env::{Env, Mark, ReleaseCause};
use crate::normal::{Form, Normal};
use crate::rules::Rule;

/// Renews no more, and waits until its client no longer believes in the lock. The client may end that early, and so may a
/// Release call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Expiring {
    pub(super) grant: Grant,
    /// When the lock was granted.
    pub(super) since: Time,
    /// True if its client can have known of it.
    delivered: bool,
    /// True if its client knows that it is lost.
    pub(super) told: bool,
    believed_until: Time,
    look: Option<Look>,
}

impl Expiring {
    pub(super) fn begin<E: Env>(
        me: HoldKey,
        grant: Grant,
        since: Time,
        (delivered, told): (bool, bool),
        cx: &mut Cx<'_, E>,
    ) -> State {
        let waits = delivered && !(told && cx.env.breaks(Rule::LostWaits));
        let believed_until = if waits {
            cx.believed_until(me, &grant)
        } else {
            grant.protected_until.map_or(cx.now, |until| until.max(cx.now))
        };
        cx.look_later(me);
        State::Expiring(Box::new(Expiring { grant, since, delivered, told, believed_until, look: None }))
    }

    pub(crate) fn on<E: Env>(mut self: Box<Self>, me: HoldKey, stimulus: Stimulus, cx: &mut Cx<'_, E>) -> State {
        if let Some(look) = self.look.take() {
            match look.on(me, self.grant.id, &stimulus, cx) {
                Ok(look) => self.look = Some(look),
                Err(true) => {}
                // Another broker has ended it, and there is nothing left to release.
                Err(false) if cx.now < self.believed_until => return self.not_ours(me, cx),
                Err(false) => {}
            }
        }
        self.look(me, cx)
    }

    fn look<E: Env>(mut self: Box<Self>, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        let silence = if self.told { ReleaseCause::Lost } else { ReleaseCause::Silent };
        match cx.take_end(me) {
            Some(End::Superseded) => return self.not_ours(me, cx),
            Some(End::Closed) => return self.release(me, None, ReleaseCause::Closed, cx),
            Some(End::Release(by)) => {
                return self.release(me, Some(Caller::Release(by.call)), ReleaseCause::ReleaseCall, cx);
            }
            Some(End::Revoke(revoke)) => {
                cx.give_up(me);
                let heard = (self.delivered, self.told);
                return cx.revoke_kept(me, (self.grant, self.since), heard, *revoke);
            }
            Some(End::Unresponsive) | None => {}
        }
        if cx.now >= self.believed_until {
            cx.env.mark(Mark::SilenceOver);
            return self.release(me, None, silence, cx);
        }
        let look_at = cx.look_at(me, self.grant.id);
        if self.look.is_none() && look_at.is_some_and(|at| cx.now >= at) {
            self.look = Some(Look::begin(me, self.grant.id, cx));
        }
        let look_at = self.look.map_or(look_at, Look::wake_at);
        cx.wake_hold_at(me, [Some(self.believed_until), look_at].into_iter().flatten().min());
        State::Expiring(self)
    }

    fn not_ours<E: Env>(self, me: HoldKey, cx: &mut Cx<'_, E>) -> State {
        cx.give_up(me);
        cx.end_hold(self.since);
        cx.let_go_now(me, self.grant.id);
        State::Over
    }

    fn release<E: Env>(self, me: HoldKey, caller: Option<Caller>, cause: ReleaseCause, cx: &mut Cx<'_, E>) -> State {
        cx.give_up(me);
        cx.end_hold(self.since);
        HandingOver::begin(me, Release::kept(self.grant, (self.delivered, self.told), caller, cause), cx)
    }
}

impl<E: Env> Cx<'_, E> {
    /// Returns until when the client can believe in a grant of which it has heard.
    pub(super) fn believed_until(&self, me: HoldKey, grant: &Grant) -> Time {
        let told_until = self.hold(me).lease_end(grant);
        grant.protected_until.map_or(told_until, |until| until.max(told_until))
    }
}

impl Expiring {
    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, span: Duration, form: &mut Form<'_, impl Normal>) {
        self.grant.normalise((span, true), form);
        form.shown(&mut self.since);
        form.until(&mut self.believed_until);
        self.look.iter_mut().for_each(|look| look.normalise(span, form));
    }
}
