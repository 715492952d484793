//! Taking a lock from its holder, by an operator's word (R28). The item becomes a linger of its own kind, a revocation,
//! which keeps everybody out until the holder can no longer believe in the lock.

use std::net::SocketAddr;
use std::time::Duration;

use super::release::{Caller, Closing, Release};
use super::{End, Grant, HandingOver, Hold, HoldKey, Releasing, State, Stimulus};
use crate::Time;
use crate::broker::{Call, Cx, Output};
use crate::env::{Env, Mark, ReleaseCause};
use crate::event::LostReason;
use crate::failure::Failure;
use crate::lock::{Etag, FencingToken, GrantId, LingerId, LockItem, LockName, item_ttl};
use crate::names::Entry;
use crate::request::Revoked;
use crate::rules::Rule;
use crate::store::{Change, ItemState, Label, LockStatus, Note, StoreError};

/// An order to take a lock from its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RevokeCall {
    pub(crate) call: Call,
    /// The only grant that is meant, or the only revocation. None: whichever the look shows.
    pub(crate) only: Option<Etag>,
    /// True if the lock is freed at once, though its holder may believe in it; also if it lingers, or was revoked before.
    pub(crate) immediate: bool,
}

/// An order to free a lock that is closed by this linger, after a release or a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FreeCall {
    call: Call,
    pub(crate) id: LingerId,
    /// Where the broker that keeps it closed hears of that, if it does.
    keeper: Option<SocketAddr>,
}

impl<E: Env> Cx<'_, E> {
    /// Revokes what a look has shown. A grant that is kept here is told so. Any other is ended in the store.
    pub(crate) fn revoke_seen(&mut self, revoke: RevokeCall, item: &LockItem, seen: Result<LockStatus, StoreError>) {
        let (state, label, left) = match seen {
            Err(error) => return self.answer_revoke(revoke.call, Err(error.into())),
            Ok(LockStatus::Taken { state, label, expires_in }) => (state, label, expires_in),
            Ok(LockStatus::Free) => return self.answer_revoke(revoke.call, Ok(Revoked::NotHeld)),
        };
        if revoke.only.is_some_and(|only| only != self.env.etag(state)) {
            return self.answer_revoke(revoke.call, Ok(Revoked::Changed));
        }
        let id = match state {
            ItemState::Held(id) => id,
            ItemState::Lingering(id) if revoke.immediate => {
                return self.free_closed(revoke.call, item, (id, label.keeper));
            }
            ItemState::Lingering(_) => return self.answer_revoke(revoke.call, Ok(Revoked::NotHeld)),
        };
        let label = self.label_of(item, id, *label);
        match self.holder(item, id) {
            // Another broker may have renewed a lease since, so what the record knows of its end is not all. The record ends, so
            // that it does not bring the lease back.
            Some(record) if matches!(self.hold(record).state, State::Leased(_)) => {
                self.end_hold_by(record, End::Superseded);
            }
            Some(keeper) if self.note_end(keeper, End::Revoke(Box::new(revoke))) => return self.look_later(keeper),
            Some(_) | None => {}
        }
        self.revoke_elsewhere(revoke, item, (id, left), &label);
    }

    /// Revokes a grant that another broker keeps, or nobody. A look has shown that its item had `left` to live.
    fn revoke_elsewhere(
        &mut self,
        revoke: RevokeCall,
        item: &LockItem,
        (id, left): (GrantId, Duration),
        label: &Label,
    ) {
        if !self.count_reserved() {
            let full = self.full();
            return self.answer_revoke(revoke.call, Err(full));
        }
        self.env.mark(Mark::RevokedElsewhere);
        let max_ttl = self.core.settings.max_ttl;
        // Its holder was last told of a validity before this command arrives. What runs longer is its linger.
        let closed =
            if revoke.immediate || self.env.breaks(Rule::RevokedWaits) { Duration::ZERO } else { left.max(max_ttl) };
        // The life that it had, and what a renewal after the look may have given it. The sum, and not the greater: so a clock
        // that lags (R18) shortens the one by no more than it has lengthened the other.
        let life =
            if self.env.breaks(Rule::RevokedLives) { item_ttl(left, Duration::ZERO) } else { item_ttl(max_ttl, left) };
        let hold = Hold { owner: label.owner.clone(), ..Hold::without_client(item.clone(), max_ttl, closed) };
        let me = self.core.holds.insert(hold);
        let token = label.token.unwrap_or(FencingToken::FIRST);
        // What is left of its min_hold is in what its item has left.
        let grant = Grant { id, token, sent: self.now, protected_until: None, closed_until: None };
        let release = Release::revoked_elsewhere(grant, Caller::Revoke(revoke.call), label.keeper);
        let closing = Closing { closed, life, tries: max_ttl };
        let state = Releasing::revoked(me, release, closing, None, self);
        self.settle_in(me, state);
    }

    /// Frees a lock that nobody holds and that is still closed: after a release, or a revocation. `keeper`: where the broker that keeps it closed hears of that.
    /// Otherwise it notices when it renews the linger next.
    fn free_closed(&mut self, call: Call, item: &LockItem, (id, keeper): (LingerId, Option<SocketAddr>)) {
        let here = self.core.names.holder(item);
        if let Some((_, here)) = here
            && let Some(hold) = self.core.holds.get_mut(here)
            && let State::Lingering(lingering) = &mut hold.state
            && lingering.end_at(id, self.now)
        {
            self.look_later(here);
        }
        self.free(FreeCall { call, id, keeper }, item);
    }

    /// Takes note of what freeing a closed lock came to.
    pub(crate) fn freed(&mut self, free: FreeCall, item: &LockItem, change: Result<Change, StoreError>) {
        let name = &item.name;
        let result = match change {
            // What is gone was deleted on the same word, or has run out since the look.
            Ok(Change::Done | Change::Gone) => {
                self.note_of(name, Note::WakeQueue);
                if let Some(keeper) = free.keeper {
                    self.note_of(name, Note::TellKeeper(keeper));
                }
                self.released_elsewhere(name);
                Ok(Revoked::Freed)
            }
            Ok(Change::TakenOver | Change::Revoked) => Ok(Revoked::Changed),
            Err(error) => Err(error.into()),
        };
        self.answer_revoke(free.call, result);
    }

    /// Answers a revocation.
    pub(crate) fn answer_revoke(&mut self, call: Call, result: Result<Revoked, Failure>) {
        self.core.outputs.push_back(Output::Revoked { call, result });
    }

    /// Revokes a grant that is kept here. `delivered` and `told`: its client can know of it, and knows that it is lost.
    pub(super) fn revoke_kept(
        &mut self,
        me: HoldKey,
        (grant, since): (Grant, Time),
        (delivered, told): (bool, bool),
        revoke: RevokeCall,
    ) -> State {
        self.env.mark(Mark::RevokedHere);
        if !told {
            self.tell_lost(me, grant.token, LostReason::Revoked, delivered);
        }
        self.end_hold(since);
        let caller = Some(Caller::Revoke(revoke.call));
        let at_once = revoke.immediate || !delivered;
        let release = Release::kept(grant, (!at_once, true), caller, ReleaseCause::Revoked);
        if at_once {
            return HandingOver::begin(me, release, self);
        }
        let waits = !self.env.breaks(Rule::RevokedWaits);
        let believed_until = if waits { self.believed_until(me, &grant) } else { self.now };
        let closed = believed_until.since(self.now) + self.hold(me).linger();
        let life = grant.item_ttl(me, self.hold(me).linger(), self);
        let (tries, alone_until) = release.efforts(me, self);
        Releasing::revoked(me, release, Closing { closed, life, tries }, Some(alone_until), self)
    }

    /// Heeds another broker's word that it has revoked a lock that is kept here, or freed one that is kept closed. It is a hint:
    /// anybody may have said it. So the item is renewed, and that finds out.
    pub(crate) fn revoked_elsewhere(&mut self, name: &LockName) {
        let keepers = self.core.names.get(name).map(Entry::keepers).unwrap_or_default();
        for me in keepers {
            let hold = self.core.holds.get(me);
            if hold.is_some_and(|hold| matches!(hold.state, State::Held(_) | State::Leased(_) | State::Lingering(_))) {
                self.step(me, Stimulus::Suspect);
            }
        }
    }
}
