//! The values that holders have given their locks.

use std::collections::HashMap;

use lockbroker_core::Time;
use lockbroker_core::store::{ItemState, LockStatus, Proclaimed, Stored};

use crate::lock::{FencingToken, GrantId, LockValue};

/// The number of values below which sweeping is not worth while.
const SMALLEST: usize = 64;

/// The values, each under the id of its grant.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: HashMap<GrantId, (Stored, Time)>,
    /// The number at which expired ones are swept.
    sweep_at: usize,
}

impl Values {
    /// Returns the value of the grant that holds a lock.
    pub(super) fn of(&self, status: &LockStatus, now: Time) -> Option<Stored> {
        let LockStatus::Taken { state: ItemState::Held(id), .. } = status else { return None };
        self.get(*id, now).cloned()
    }

    fn get(&self, id: GrantId, now: Time) -> Option<&Stored> {
        self.values.get(&id).filter(|(_, expires)| *expires > now).map(|(stored, _)| stored)
    }

    /// Lets the value of a grant live on until `expires`, or creates it. Returns the one that stands.
    pub(super) fn keep(&mut self, id: GrantId, stored: &Stored, now: Time, expires: Time) -> Stored {
        let stands = self.get(id, now).unwrap_or(stored).clone();
        self.insert(id, stands.clone(), now, expires);
        stands
    }

    /// Gives the grant that holds a lock another value.
    pub(super) fn proclaim(
        &mut self,
        id: GrantId,
        (creates, value): (Option<(FencingToken, u64)>, &LockValue),
        status: &LockStatus,
        (now, expires): (Time, Time),
    ) -> Proclaimed {
        match status {
            LockStatus::Taken { state: ItemState::Held(held), .. } if *held == id => {}
            LockStatus::Taken { state: ItemState::Held(_), .. } => return Proclaimed::HeldByAnother,
            LockStatus::Taken { .. } | LockStatus::Free => return Proclaimed::NotHeld,
        }
        let before = self.get(id, now).map(|stored| (stored.token, stored.version)).or(creates);
        let Some((token, version)) = before else { return Proclaimed::NoValue };
        let version = version.saturating_add(1);
        self.insert(id, Stored { token, version, value: value.clone() }, now, expires);
        Proclaimed::Done { version }
    }

    /// Forgets the value of a grant.
    pub(super) fn forget(&mut self, id: GrantId) {
        self.values.remove(&id);
        lockbroker_core::table::give_back_room(&mut self.values, SMALLEST);
    }

    fn insert(&mut self, id: GrantId, stored: Stored, now: Time, expires: Time) {
        if self.values.len() >= self.sweep_at.max(SMALLEST) {
            self.values.retain(|_, (_, expires)| *expires > now);
            self.sweep_at = self.values.len() * 2;
        }
        self.values.insert(id, (stored, expires));
    }
}
