//! The gate of a group that takes several permits of one lock: the lock's own item, which keeps all others out meanwhile.
//!
//! One at a time collects permits, so nobody waits in a circle. The first hold of the group gets the item, waits until as many
//! permits are free as are wanted, and takes one. Then the others take theirs, and the item is deleted.

use super::{Group, Kind};
use crate::broker::Cx;
use crate::env::Env;
use crate::event::LockRef;
use crate::hold::HoldKey;
use crate::lock::{GrantId, LockItem, item_ttl};
use crate::session::{Stream, StreamKey};

impl<E: Env> Cx<'_, E> {
    /// Returns the id of the item under which the group of a hold takes its permits.
    pub(crate) fn gate_of(&self, me: HoldKey) -> Option<GrantId> {
        let subscriber = self.hold(me).subscriber?;
        let groups = &self.core.streams.get(subscriber.stream).and_then(Stream::session)?.groups;
        let (lock_ref, _) = groups.members.get(&subscriber.lock_ref)?;
        groups.by_ref.get(lock_ref)?.gate()
    }

    /// Keeps the item for the others of a hold's group. Deletes it where nobody else wants it.
    pub(crate) fn keep_gate(&mut self, me: HoldKey, gate: GrantId) {
        let gate = Kind::Weighted { gate: Some(gate) };
        let kept = self.hold(me).subscriber.is_some_and(|subscriber| {
            let Some(groups) = self.groups(subscriber.stream) else { return false };
            let Some((lock_ref, _)) = groups.members.get(&subscriber.lock_ref).copied() else { return false };
            let group = groups.by_ref.get_mut(&lock_ref).filter(|group| group.is_asking());
            group.map(|group| group.kind = gate).is_some()
        });
        if let (Kind::Weighted { gate: Some(gate) }, false) = (gate, kept) {
            let life = self.fresh_item_ttl(me);
            self.close_gate(me, gate, life);
        }
    }

    /// Lets others in again, whom groups of a Session keep out that is about to be forgotten.
    pub(crate) fn open_gates(&mut self, stream: StreamKey) {
        let Some(groups) = self.groups(stream) else { return };
        let all: Vec<LockRef> = groups.by_ref.keys().copied().collect();
        for lock_ref in all {
            self.open_gate(stream, lock_ref);
        }
    }

    /// Lets others in again. Returns true if they were kept out.
    pub(super) fn open_gate(&mut self, stream: StreamKey, lock_ref: LockRef) -> bool {
        let Some(group) = self.group(stream, lock_ref) else { return false };
        let Some(gate) = group.take_gate() else { return false };
        let Some(member) = group.members.first() else { return false };
        let (item, life) = (LockItem::from(&member.request.name), item_ttl(member.request.ttl, member.request.linger));
        self.clean_up_if_room(item, gate, (life, false));
        true
    }
}

impl Group {
    fn gate(&self) -> Option<GrantId> {
        if let Kind::Weighted { gate } = self.kind { gate } else { None }
    }

    fn take_gate(&mut self) -> Option<GrantId> {
        if let Kind::Weighted { gate } = &mut self.kind { gate.take() } else { None }
    }
}
