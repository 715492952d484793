//! Asking the store, and answering those who call.

use std::time::Duration;

use crate::broker::{Asker, Call, Cx, Output, RequestId, Seen};
use crate::env::{Env, Observed};
use crate::errand::ErrandKey;
use crate::failure::Failure;
use crate::hold::{End, Hold, HoldKey, ReleaseCall, Releasing, State};
use crate::lock::{LockId, LockItem, LockName};
use crate::request::Ended;
use crate::store::{ItemState, LockStatus, Note, Order, Request, StoreError};

impl<E: Env> Cx<'_, E> {
    /// Asks the store for a hold, which gives up what it asked before.
    pub(crate) fn ask(&mut self, me: HoldKey, request: Request) {
        let lease = if request.makes_believe() { self.hold(me).ttl() } else { Duration::ZERO };
        self.ask_for_lease(me, request, lease);
    }

    /// Does the same for a lease that is not the hold's own.
    pub(crate) fn ask_for_lease(&mut self, me: HoldKey, request: Request, lease: Duration) {
        self.give_up(me);
        let hold = self.hold_mut(me);
        hold.request = hold.request.wrapping_add(1);
        hold.asks = true;
        let (number, item) = (hold.request, hold.item());
        self.order(Order::Ask { id: RequestId { asker: Asker::Hold(me), number }, item, request, lease });
    }

    /// Gives up what a hold has asked, if that is under way: the answer is passed over.
    pub(crate) fn give_up(&mut self, me: HoldKey) {
        let hold = self.hold_mut(me);
        if std::mem::take(&mut hold.asks) {
            let number = hold.request;
            hold.request = number.wrapping_add(1);
            self.order(Order::GiveUp(RequestId { asker: Asker::Hold(me), number }));
        }
    }

    /// Asks the store for an errand.
    pub(crate) fn ask_on_errand(&mut self, key: ErrandKey, request: Request) {
        let Some(errand) = self.core.errands.get_mut(key) else { return };
        errand.request = errand.request.wrapping_add(1);
        let (number, item) = (errand.request, errand.item.clone());
        let id = RequestId { asker: Asker::Errand(key), number };
        self.order(Order::Ask { id, item, request, lease: Duration::ZERO });
    }

    fn order(&mut self, order: Order) {
        self.core.outputs.push_back(Output::Order(order));
    }

    /// Tells the store something about a hold's lock.
    pub(crate) fn note(&mut self, me: HoldKey, note: Note) {
        let item = self.hold(me).item();
        self.order(Order::Note(item, note));
    }

    /// Tells the store something about a lock.
    pub(crate) fn note_of(&mut self, name: &LockName, note: Note) {
        self.order(Order::Note(name.into(), note));
    }

    /// Takes note that the store did not do something, which is tried again.
    pub(crate) fn retried(&mut self, me: HoldKey, what: &'static str, error: &StoreError) {
        if let Some(hold) = self.core.holds.get(me) {
            self.env.observe(Observed::Retried { name: &hold.name, what, error });
        }
    }

    /// Keeps what a hold has come to, right after it was made.
    pub(crate) fn settle_in(&mut self, me: HoldKey, state: State) {
        match state {
            State::Over => self.remove_hold(me),
            state => self.hold_mut(me).state = state,
        }
    }

    /// Tells a hold to end, which it comes to when it looks. The first word counts, but a silence may still be followed by
    /// one. Returns false if that makes no difference any more.
    pub(crate) fn note_end(&mut self, hold: HoldKey, end: End) -> bool {
        let Some(hold) = self.core.holds.get_mut(hold) else { return false };
        let counts = hold.heeds() && matches!(hold.end, None | Some(End::Unresponsive));
        if counts {
            hold.end = Some(end);
        }
        counts
    }

    /// Tells a hold to end, and lets it look.
    pub(crate) fn end_hold_by(&mut self, hold: HoldKey, end: End) {
        if self.note_end(hold, end) {
            self.look_later(hold);
        }
    }

    /// Sees to what somebody wanted of a hold that ends otherwise: a call goes to the store itself.
    pub(crate) fn fall_back(&mut self, me: HoldKey, end: End) {
        let name = self.hold(me).name.clone();
        match end {
            End::Release(release) => {
                let ReleaseCall { call, lock_id } = *release;
                self.release_by_id(call, &name, lock_id);
            }
            // It may be held by somebody else by now.
            End::Revoke(revoke) => self.revoke(*revoke, self.hold(me).item()),
            End::Closed | End::Unresponsive | End::Superseded => {}
        }
    }

    /// Releases a grant that nobody keeps here.
    pub(crate) fn release_by_id(&mut self, call: Call, name: &LockName, lock_id: LockId) {
        if !self.count_reserved() {
            let full = self.full();
            return self.answer_release(call, Err(full));
        }
        let item = LockItem { name: name.clone(), permit: lock_id.permit };
        let hold = Hold::without_client(item, self.core.settings.max_ttl, lock_id.linger);
        let me = self.core.holds.insert(hold);
        let state = Releasing::by_id(me, lock_id, call, self);
        self.settle_in(me, state);
    }

    pub(crate) fn answer_release(&mut self, call: Call, result: Result<Ended, Failure>) {
        self.core.outputs.push_back(Output::Released { call, result });
    }

    /// Answers a look with what the store has, and what is known here.
    pub(crate) fn answer_look(
        &mut self,
        call: Call,
        item: &LockItem,
        lock_id: Option<LockId>,
        status: Result<LockStatus, StoreError>,
    ) {
        let result = status.map_err(Failure::from).map(|mut status| {
            let (mut lease_end, mut held_since) = (None, None);
            self.complete(item, &mut status);
            if let LockStatus::Taken { state: ItemState::Held(id), .. } = &status {
                held_since = self.holder(item, *id).and_then(|hold| self.core.holds.get(hold)?.held_since());
                let asked_about = lock_id.filter(|lock_id| lock_id.grant == *id);
                let kept = asked_about.and_then(|lock_id| self.holder(item, lock_id.grant));
                lease_end = kept.and_then(|hold| self.core.holds.get(hold)?.told_lease_end());
            }
            Seen { status, lease_end, held_since }
        });
        self.core.outputs.push_back(Output::Looked { call, result });
    }

    /// Adds what is known here to what the store has: the label of a grant that is kept here, and the end of a linger.
    pub(crate) fn complete(&self, item: &LockItem, status: &mut LockStatus) {
        match status {
            LockStatus::Taken { state: ItemState::Held(id), label, .. } => {
                **label = self.label_of(item, *id, std::mem::take(label));
            }
            // The item of a linger outlives it.
            LockStatus::Taken { state: ItemState::Lingering(id), expires_in, .. } => {
                if let Some(until) = self.core.closed_until(item, *id) {
                    *expires_in = until.since(self.now).min(*expires_in);
                }
            }
            LockStatus::Free => {}
        }
    }
}
