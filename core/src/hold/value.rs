//! The value that a holder has given its lock, for those who observe it. It stands in the store under the id of the grant (R34). It
//! is best effort: a value that the store has lost is written anew with the next renewal.

use std::time::Duration;

use super::{HoldKey, State};
use crate::broker::{Call, Cx, Output};
use crate::env::Env;
use crate::errand::Task;
use crate::failure::Failure;
use crate::lock::{FencingToken, GrantId, LockId, LockItem, LockName, LockValue, item_ttl};
use crate::normal::{Form, Normal};
use crate::request::{Observation, Updated};
use crate::store::{ItemState, LockStatus, Note, Proclaimed, Request, Sight, StoreError, Stored};

/// The value of a hold's lock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HeldValue {
    value: LockValue,
    version: u64,
    /// The grant under which it was written, or is about to be.
    written: Option<GrantId>,
}

/// An UpdateLock call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UpdateCall {
    call: Call,
    id: GrantId,
    value: LockValue,
}

impl HeldValue {
    fn stored(&self, token: FencingToken) -> Box<Stored> {
        Box::new(Stored { token, version: self.version, value: self.value.clone() })
    }

    /// Takes what stands in the store, if that is newer: another broker has updated it.
    fn take(&mut self, version: u64, value: LockValue) -> bool {
        let is_newer = version > self.version;
        if is_newer {
            (self.version, self.value) = (version, value);
        }
        is_newer
    }

    /// Brings it into its normal form.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        self.written.iter_mut().for_each(|id| form.grant(id));
    }
}

impl UpdateCall {
    /// Brings it into its normal form.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        form.grant(&mut self.id);
    }
}

impl<E: Env> Cx<'_, E> {
    /// Takes note of the value with which a lock is asked for. A permit has none, also one that is reattached.
    pub(crate) fn give_value(&mut self, me: HoldKey, value: Option<LockValue>) {
        if let Some(value) = value.filter(|_| self.hold(me).permit.is_none()) {
            self.core.values.insert(me, HeldValue { value, version: 1, written: None });
        }
    }

    /// Returns true if the value of a hold is still to be written under this grant.
    pub(super) fn is_to_write_value(&self, me: HoldKey, id: GrantId) -> bool {
        self.core.values.get(&me).is_some_and(|value| value.written != Some(id))
    }

    /// Returns the request that writes a hold's value under a grant, if it has one, for the first time.
    pub(super) fn first_value(&mut self, me: HoldKey, id: GrantId, token: FencingToken) -> Option<Request> {
        let ttl = self.value_ttl(me);
        let value = self.core.values.get_mut(&me)?;
        value.written = Some(id);
        Some(Request::KeepValue { id, stored: value.stored(token), ttl, is_first: true })
    }

    /// Writes a hold's value, or lets it live on: with each renewal.
    pub(super) fn keep_value(&mut self, me: HoldKey, id: GrantId, token: FencingToken) {
        let ttl = self.value_ttl(me);
        let Some(value) = self.core.values.get_mut(&me) else { return };
        let is_first = value.written.replace(id) != Some(id);
        let request = Request::KeepValue { id, stored: value.stored(token), ttl, is_first };
        let key = self.insert_errand(self.hold(me).item(), false, Task::KeepValue { id, is_first });
        self.ask_on_errand(key, request);
    }

    fn value_ttl(&self, me: HoldKey) -> u32 {
        item_ttl(self.hold(me).ttl(), Duration::ZERO)
    }

    /// Takes note of the value that stands for a grant.
    pub(crate) fn value_kept(
        &mut self,
        item: &LockItem,
        (id, is_first): (GrantId, bool),
        kept: Result<Stored, StoreError>,
    ) {
        let is_newer = kept.is_ok_and(|stored| self.take_value(item, id, stored.version, stored.value));
        if is_first {
            self.tell_observers(&item.name);
        } else if is_newer {
            // Whoever has updated it has told others.
            self.env.changed(&item.name);
        }
    }

    /// Lets the hold that keeps a grant here know of a value. Returns true if that is newer than its own.
    fn take_value(&mut self, item: &LockItem, id: GrantId, version: u64, value: LockValue) -> bool {
        let Some(me) = self.holder(item, id) else { return false };
        self.core.values.get_mut(&me).is_some_and(|held| held.take(version, value))
    }

    /// Tells those who observe the lock of a hold that it has changed: here, and, if it has a value, at other brokers.
    pub(super) fn tell_of_change(&mut self, me: HoldKey) {
        let name = self.hold(me).name.clone();
        match self.core.values.contains_key(&me) {
            true => self.tell_observers(&name),
            false => self.env.changed(&name),
        }
    }

    /// Tells those who observe a lock with a value that it has changed, here and at other brokers.
    fn tell_observers(&mut self, name: &LockName) {
        self.env.changed(name);
        if self.core.store.can_be_woken {
            self.note_of(name, Note::TellObservers);
        }
    }

    /// Deletes the value of a hold that is about to be forgotten.
    pub(crate) fn forget_value(&mut self, me: HoldKey) {
        if let Some(id) = self.core.values.remove(&me).and_then(|value| value.written) {
            self.note(me, Note::ForgetValue(id));
            let name = self.hold(me).name.clone();
            self.tell_observers(&name);
        }
    }

    /// Gives a grant another value, wherever it is kept.
    pub(crate) fn update(&mut self, call: Call, name: &LockName, lock_id: LockId, value: LockValue) {
        let item = LockItem { name: name.clone(), permit: lock_id.permit };
        let here = self.holder(&item, lock_id.grant);
        // One that is ended already is looked for in the store.
        let has_value = here.is_none_or(|me| self.core.values.contains_key(&me) || !self.hold(me).heeds());
        if item.permit.is_some() || !has_value {
            return self.answer_update(call, Ok(Updated::NoValue));
        }
        // One that the store has lost, or does not have yet, is created by the broker alone that keeps it for long enough.
        let created = |me: HoldKey| match &self.hold(me).state {
            State::Held(held) => self.core.values.get(&me).map(|value| (held.grant.token, value.version)),
            _ => None,
        };
        let creates = here.and_then(created);
        let ttl = item_ttl(self.core.settings.max_ttl, Duration::ZERO);
        let id = lock_id.grant;
        let update = Box::new(UpdateCall { call, id, value: value.clone() });
        let key = self.insert_errand(item, false, Task::Update(update));
        self.ask_on_errand(key, Request::Proclaim { id, creates, value, ttl });
    }

    /// Takes note of what an update came to.
    pub(crate) fn updated(&mut self, update: UpdateCall, item: &LockItem, proclaimed: Result<Proclaimed, StoreError>) {
        let UpdateCall { call, id, value } = update;
        let result = match proclaimed {
            Ok(Proclaimed::Done { version }) => {
                self.take_value(item, id, version, value);
                self.tell_observers(&item.name);
                Ok(Updated::Done)
            }
            Ok(Proclaimed::NotHeld) => Ok(Updated::NotHeld),
            Ok(Proclaimed::HeldByAnother) => Ok(Updated::HeldByAnother),
            // The broker that keeps the lock has yet to write it, or never will.
            Ok(Proclaimed::NoValue) => Err(Failure::unavailable(
                "the store has no value of this grant yet; if the lock was asked for without one, it never will",
            )),
            Err(error) => Err(error.into()),
        };
        self.answer_update(call, result);
    }

    fn answer_update(&mut self, call: Call, result: Result<Updated, Failure>) {
        self.core.outputs.push_back(Output::Updated { call, result });
    }

    /// Answers a look of those who observe, with what is known here too.
    pub(crate) fn answer_observe(&mut self, call: Call, item: &LockItem, sight: Result<Sight, StoreError>) {
        let result = sight.map_err(Failure::from).map(|Sight { mut status, stored, is_shared }| {
            self.complete(item, &mut status);
            let mut value = None;
            if let LockStatus::Taken { state: ItemState::Held(id), label, .. } = &mut status {
                // A token that is not the grant's would say that somebody else wrote the value.
                let stored = stored.filter(|stored| label.token.is_none_or(|token| token == stored.token));
                label.token = label.token.or(stored.as_ref().map(|stored| stored.token));
                let here = self.holder(item, *id).and_then(|hold| self.core.values.get(&hold));
                let here = here.filter(|here| stored.as_ref().is_none_or(|stored| stored.version < here.version));
                value = here.map(|here| here.value.clone()).or(stored.map(|stored| stored.value));
            }
            Observation { status, value, is_shared }
        });
        self.core.outputs.push_back(Output::Observed { call, result });
    }
}
