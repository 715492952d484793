//! Keeping a lock closed for its `min_hold`, from the grant on, however the grant ends (R31).
//!
//! A lock that is let go before that lingers for what is left. For the case that everybody dies, the T of its item reaches as
//! far. What is left for T is counted from the last command that counted, and not from now: so a clock that lags, and shows no
//! less than it did then, cuts nothing off.

use std::time::Duration;

use super::{Grant, HoldKey, State};
use crate::Time;
use crate::broker::Cx;
use crate::env::Env;
use crate::lock::{GrantId, min_hold_ttl};
use crate::rules::Rule;
use crate::store::{ItemState, LockStatus, StoreError};

impl Grant {
    /// Returns the end of its `min_hold`, while that is not over.
    pub(super) fn min_hold_end<E: Env>(&self, cx: &Cx<'_, E>) -> Option<Time> {
        self.closed_until.filter(|until| cx.now < *until && !cx.env.breaks(Rule::MinHoldKept))
    }

    /// Returns the part of its `min_hold` that was left when the last command was sent that granted or renewed it, in whole
    /// milliseconds, rounded up. Zero if nothing is left by now.
    pub(super) fn min_hold_left<E: Env>(&self, cx: &Cx<'_, E>) -> Duration {
        let Some(until) = self.closed_until.filter(|until| cx.now < *until) else { return Duration::ZERO };
        let left = until.since(if cx.env.breaks(Rule::MinHoldNeverCut) { cx.now } else { self.sent });
        let millis = left.as_millis() + u128::from(left.subsec_nanos() % 1_000_000 > 0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// Returns the least T of its item.
    pub(super) fn min_hold_ttl<E: Env>(&self, cx: &Cx<'_, E>) -> u32 {
        if cx.env.breaks(Rule::MinHoldInItem) { 0 } else { min_hold_ttl(self.min_hold_left(cx)) }
    }
}

/// Returns how much may be left of a `min_hold` that another broker has promised: no more than the lock id says, and no more
/// than the item lives, whose T has never been less than what was left.
pub(super) fn bounded(left: Duration, id: GrantId, seen: &Result<LockStatus, StoreError>) -> Duration {
    match seen {
        Ok(LockStatus::Taken { state: ItemState::Held(held), expires_in, .. }) if *held == id => left.min(*expires_in),
        _ => left,
    }
}

impl<E: Env> Cx<'_, E> {
    /// Returns the end of the `min_hold` of a grant whose command was sent at `sent`, if it has one.
    pub(super) fn min_hold_end(&self, me: HoldKey, sent: Time) -> Option<Time> {
        let min_hold = self.hold(me).min_hold();
        (!min_hold.is_zero()).then(|| sent + min_hold)
    }

    /// Returns the grant of the same lock that another hold keeps here under this id.
    pub(super) fn grant_here(&self, me: HoldKey, id: GrantId) -> Option<Grant> {
        let keeper = self.holder(&self.hold(me).item(), id)?;
        match &self.hold(keeper).state {
            State::Held(held) => Some(held.grant),
            State::Leased(leased) => Some(leased.grant),
            State::Expiring(expiring) => Some(expiring.grant),
            _ => None,
        }
    }
}
