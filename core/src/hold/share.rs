//! Getting a permit of a lock that several share: choosing one that seems to be free, and another if it is not.
//!
//! Each try has an id of its own (R5). What a try has created and does not count is deleted behind its back.

use super::HoldKey;
use super::acquire::{Attempt, Outcome};
use crate::broker::Cx;
use crate::env::{Env, Mark};
use crate::failure::Failure;
use crate::lock::{GrantId, Permit};
use crate::normal::{Form, Normal};
use crate::rules::Rule;
use crate::store::{LockStatus, Request, Shared, Slots, StoreError, WINDOW};

/// The most permits that one attempt tries to take. More are lost to others only where hundreds ask at one time.
const TRIES: u8 = 32;
/// Within so many permits, as a power of two, one who steps aside chooses.
const MOST_ASIDE: u8 = 8;

/// Looks for a permit that nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Search {
    /// Permits from this one on are not asked for.
    limit: u16,
    /// The permits below this one have been looked at.
    looked_at: u16,
    tries: u8,
    /// The T of the permit's item.
    life: u32,
    /// The id of the lock's own item, if that is ours and keeps others out meanwhile.
    under: Option<GrantId>,
}

impl Search {
    /// Begins to look for a permit below `limit`. `closed`: the lock was closed when it was last asked for.
    pub(super) fn begin<E: Env>(me: HoldKey, limit: u16, closed: bool, cx: &mut Cx<'_, E>) -> (Search, Request) {
        // Without its rule an even limit has room for one more.
        let limit = if cx.env.breaks(Rule::PermitBelowLimit) { limit | 1 } else { limit };
        let mut search = Search { limit, looked_at: 0, tries: 0, life: cx.fresh_item_ttl(me), under: None };
        if closed {
            cx.hold_mut(me).permit = None;
            return (search, Request::Look);
        }
        let request = search.take_likely(me, cx);
        (search, request)
    }

    /// Tries to take the one that is most likely to be free.
    fn take_likely<E: Env>(&mut self, me: HoldKey, cx: &mut Cx<'_, E>) -> Request {
        let name = cx.hold(me).name.clone();
        let (permit, slots) = cx.likely_permit(&name, self.limit);
        self.take(me, permit, slots, cx)
    }

    fn take<E: Env>(&mut self, me: HoldKey, permit: Permit, slots: Slots, cx: &mut Cx<'_, E>) -> Request {
        self.tries += 1;
        cx.hold_mut(me).permit = Some(permit);
        Request::Share { id: cx.env.grant_id(), ttl: self.life, slots, under: self.under }
    }

    /// Goes on after somebody else was found to have the permit, of so many that may exist. None: all are taken.
    fn next<E: Env>(&mut self, me: HoldKey, slots: u16, cx: &mut Cx<'_, E>) -> Option<Request> {
        let name = cx.hold(me).name.clone();
        let next = cx.next_permit(&name, slots, self.limit);
        match next.and_then(|next| self.aside(next, slots, cx)) {
            Some((permit, slots)) => Some(self.take(me, permit, slots, cx)),
            None => self.find(),
        }
    }

    /// Steps aside, the further the more often others were first: those of other brokers go for the same one.
    fn aside<E: Env>(&self, next: (Permit, Slots), slots: u16, cx: &mut Cx<'_, E>) -> Option<(Permit, Slots)> {
        let Some(losses) = self.tries.checked_sub(2).filter(|losses| *losses > 0) else { return Some(next) };
        let width = 1_u64 << losses.min(MOST_ASIDE);
        let aside = (cx.env.grant_id().get() % width) as u16;
        if aside == 0 {
            return Some(next);
        }
        let permit = Permit::new(next.0.get().saturating_add(aside)).filter(|permit| permit.get() < self.limit);
        Some(permit.map_or(next, |permit| (permit, Slots::Raise(slots))))
    }

    /// Begins to look for a permit of a lock whose own item is ours, under this id. The permit's item lives for `life`.
    pub(super) fn under<E: Env>(
        me: HoldKey,
        (limit, under): (u16, Option<GrantId>),
        life: u32,
        cx: &mut Cx<'_, E>,
    ) -> (Search, Request) {
        let mut search = Search { limit, looked_at: 0, tries: 0, life, under };
        let request = search.take_likely(me, cx);
        (search, request)
    }

    /// Returns the T of the permit's item.
    pub(super) fn life(&self) -> u32 {
        self.life
    }

    /// Returns the id of the lock's own item, if that is ours.
    pub(super) fn gate(&self) -> Option<GrantId> {
        self.under
    }

    /// Brings it into its normal form.
    pub(super) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        self.under.iter_mut().for_each(|under| form.grant(under));
    }

    fn find(&mut self) -> Option<Request> {
        // Where the lock's own item keeps all others out, one that was seen taken may only belong to somebody who is being turned away.
        if self.looked_at >= self.limit && self.under.is_some() && self.tries < TRIES {
            self.tries += 1;
            self.looked_at = 0;
        }
        let (from, upto) = (self.looked_at, self.limit);
        (from < upto).then_some(Request::Find { from, upto })
    }
}

/// Gives up: others were first each time. That says nothing of whether one is left.
fn crowded<E: Env>(me: HoldKey, cx: &mut Cx<'_, E>) -> Outcome {
    cx.hold_mut(me).permit = None;
    Outcome::Failed(Failure::unavailable("others were first with each of 32 permits that seemed to be free: ask again"))
}

impl Attempt {
    /// Takes note of what came of trying to take a permit.
    pub(super) fn shared<E: Env>(
        &mut self,
        me: HoldKey,
        mut search: Search,
        shared: Result<Shared, StoreError>,
        cx: &mut Cx<'_, E>,
    ) -> Option<Outcome> {
        let permit = cx.hold(me).permit;
        let created = match &shared {
            Ok(Shared::Closed { created } | Shared::Uncovered { created, .. }) => *created,
            _ => false,
        };
        if created {
            cx.env.mark(Mark::PermitGivenBack);
            cx.give_back(me, self.id, search.life);
        }
        let next = match shared {
            Ok(Shared::Yes(token)) => return Some(self.granted(me, token, cx)),
            Err(error) => return Some(self.failed(me, error, cx)),
            Ok(Shared::Closed { .. }) => {
                let name = cx.hold(me).name.clone();
                permit.into_iter().for_each(|permit| cx.put_back_permit(&name, permit));
                cx.hold_mut(me).permit = None;
                return Some(Outcome::Closed);
            }
            Ok(_) if search.tries >= TRIES => return Some(crowded(me, cx)),
            Ok(Shared::Taken { slots }) => search.next(me, slots, cx),
            Ok(Shared::Uncovered { slots, .. }) => {
                let is_known = permit.is_some_and(|permit| (1..=permit.get()).contains(&slots));
                let slots = if is_known { Slots::Raise(slots) } else { Slots::Ensure };
                permit.map(|permit| search.take(me, permit, slots, cx))
            }
        };
        self.search_on(me, search, next, cx)
    }

    /// Takes note of what a look for a free permit has found.
    pub(super) fn found<E: Env>(
        &mut self,
        me: HoldKey,
        mut search: Search,
        found: Result<Option<Permit>, StoreError>,
        cx: &mut Cx<'_, E>,
    ) -> Option<Outcome> {
        let next = match found {
            Err(error) => return Some(Outcome::Failed(error.into())),
            Ok(Some(_)) if search.tries >= TRIES => return Some(crowded(me, cx)),
            Ok(Some(permit)) => {
                search.looked_at = permit.get() + 1;
                Some(search.take(me, permit, Slots::Ensure, cx))
            }
            Ok(None) => {
                search.looked_at = search.looked_at.saturating_add(WINDOW);
                search.find()
            }
        };
        self.search_on(me, search, next, cx)
    }

    /// Takes note of whether the lock is still closed.
    pub(super) fn peeked<E: Env>(
        &mut self,
        me: HoldKey,
        mut search: Search,
        status: Result<LockStatus, StoreError>,
        cx: &mut Cx<'_, E>,
    ) -> Option<Outcome> {
        match status {
            Err(error) => Some(Outcome::Failed(Failure::from(error))),
            Ok(LockStatus::Taken { .. }) => Some(Outcome::Closed),
            Ok(LockStatus::Free) => {
                let next = search.take_likely(me, cx);
                self.search_on(me, search, Some(next), cx)
            }
        }
    }

    fn search_on<E: Env>(
        &mut self,
        me: HoldKey,
        search: Search,
        next: Option<Request>,
        cx: &mut Cx<'_, E>,
    ) -> Option<Outcome> {
        let Some(request) = next else {
            cx.hold_mut(me).permit = None;
            cx.env.mark(Mark::NoPermitLeft);
            return Some(Outcome::Taken);
        };
        self.share(me, search, request, cx);
        None
    }
}
