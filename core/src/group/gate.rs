//! The gate of a group that takes several permits of one lock: the lock's own item, which keeps all others out meanwhile.
//!
//! One at a time collects permits, so nobody waits in a circle. The first hold of the group gets the item, waits until as many
//! permits are free as are wanted, and takes one. Then the others take theirs, and the item is deleted.

use super::{Group, Kind};
use crate::broker::Cx;
use crate::env::Env;
use crate::event::LockRef;
use crate::hold::HoldKey;
use crate::lock::GrantId;
use crate::session::StreamKey;

impl<E: Env> Cx<'_, E> {
    /// Returns the id of the item under which the group of a hold takes its permits.
    pub(crate) fn gate_of(&mut self, me: HoldKey) -> Option<GrantId> {
        self.group_of(me)?.gate()
    }

    /// Keeps the item, which lives for so long, for the others of a hold's group. Deletes it where nobody else wants it.
    pub(crate) fn keep_gate(&mut self, me: HoldKey, gate: (GrantId, u32)) {
        match self.group_of(me).filter(|group| group.is_asking()) {
            Some(group) => group.kind = Kind::Weighted { gate: Some(gate) },
            None => self.drop_gate(self.hold(me).name.clone(), gate),
        }
    }

    /// Lets others in again, whom groups of a Session keep out that is about to be forgotten.
    pub(crate) fn drop_gates_of(&mut self, stream: StreamKey) {
        let Some(groups) = self.groups(stream) else { return };
        let all: Vec<LockRef> = groups.by_ref.keys().copied().collect();
        for lock_ref in all {
            self.drop_gate_of(stream, lock_ref);
        }
    }

    fn group_of(&mut self, me: HoldKey) -> Option<&mut Group> {
        let subscriber = self.hold(me).subscriber?;
        let groups = self.groups(subscriber.stream)?;
        let (lock_ref, _) = groups.members.get(&subscriber.lock_ref).copied()?;
        groups.by_ref.get_mut(&lock_ref)
    }

    /// Lets others in again. Returns true if they were kept out.
    pub(super) fn drop_gate_of(&mut self, stream: StreamKey, lock_ref: LockRef) -> bool {
        let Some(group) = self.group(stream, lock_ref) else { return false };
        let (Some(gate), Some(member)) = (group.take_gate(), group.members.first()) else { return false };
        let name = member.request.name.clone();
        self.drop_gate(name, gate);
        true
    }
}

impl Group {
    fn gate(&self) -> Option<GrantId> {
        if let Kind::Weighted { gate: Some((gate, _)) } = self.kind { Some(gate) } else { None }
    }

    fn take_gate(&mut self) -> Option<(GrantId, u32)> {
        if let Kind::Weighted { gate } = &mut self.kind { gate.take() } else { None }
    }
}
