//! What becomes of a group's holds, and what its client is told of that.

use super::{Group, Phase, Progress, Tell};
use crate::broker::Cx;
use crate::env::{Env, Mark};
use crate::event::{Event, LockRef, LostReason, Together};
use crate::hold::{End, HoldKey};
use crate::lock::LockName;
use crate::outbox::{Item, Outbox};
use crate::rules::Rule;
use crate::session::{Stream, StreamKey};

/// Says that a lock is lost, by what its hold was told last.
fn lost(name: LockName, event: &Event) -> Event {
    // What was released otherwise than by its client is gone for that.
    let reason = if let Event::Lost(reason) = event { *reason } else { LostReason::Gone };
    Event::Together(Box::new(Together::Lost { name, reason }))
}

impl<E: Env> Cx<'_, E> {
    /// Takes note that a hold of a group has its lock, which may not be told yet.
    pub(crate) fn member_granted(&mut self, stream: StreamKey, member: LockRef) {
        let Some(groups) = self.groups(stream) else { return };
        let Some((lock_ref, at)) = groups.members.get(&member).copied() else { return };
        if let Some(group) = groups.by_ref.get_mut(&lock_ref)
            && group.members[at].hold() == Some(member)
        {
            group.members[at].progress = Progress::Granted(member);
            self.core.groups_to_step.push_back((stream, lock_ref));
        }
    }

    /// Takes note of what happened to a hold of a group.
    pub(crate) fn member_told(&mut self, stream: StreamKey, member: LockRef, event: Event) {
        let listens = self.core.streams.get_mut(stream).and_then(Stream::listening).is_some();
        let Some(groups) = self.groups(stream) else { return };
        let Some((lock_ref, at)) = groups.members.get(&member).copied() else { return };
        if !event.is_last() {
            if matches!(event, Event::Queued { .. }) {
                self.push(stream, Item::Event(lock_ref, event));
            }
            return;
        }
        groups.members.remove(&member);
        let Some(group) = groups.by_ref.get_mut(&lock_ref) else { return };
        group.live -= 1;
        if group.members[at].hold() == Some(member) {
            group.members[at].progress = Progress::Ended(event.clone());
        }
        let is_given_back = group.live == 0;
        let name = group.members[at].request.name.clone();
        match (&mut group.phase, event) {
            // Its client has closed the Session, and all are released.
            (Phase::Held, Event::Released) if !listens => {
                self.conclude(stream, lock_ref, Event::Released, Tell::WhenGivenBack);
            }
            // At once: an ack that this makes due covers the group, for a client that has not read that it is lost.
            (Phase::Held, event) => self.lose_group(stream, lock_ref, lost(name, &event)),
            (Phase::Ending { last, .. }, event) => {
                if *last == Event::Released && matches!(event, Event::Lost(_)) {
                    *last = lost(name, &event);
                }
                // Now, for the Session may end with its last hold.
                if is_given_back && let Some(last) = group.take_last() {
                    self.push(stream, Item::Event(lock_ref, last));
                }
            }
            (Phase::Trying | Phase::WaitingFor(_) | Phase::Over, _) => {}
        }
        self.core.groups_to_step.push_back((stream, lock_ref));
    }

    /// Tells the client that it has all locks, as soon as each was granted or renewed after the latest heartbeat (R19).
    pub(super) fn announce_group(&mut self, stream: StreamKey, lock_ref: LockRef) {
        let Some(session) = self.core.streams.get(stream).and_then(Stream::session) else { return };
        let Some(group) = session.groups.by_ref.get(&lock_ref) else { return };
        let mut by_place: Vec<(usize, HoldKey)> = group
            .members
            .iter()
            .filter_map(|member| Some((member.place, *session.locks.get(&member.hold()?)?)))
            .collect();
        by_place.sort_unstable_by_key(|(place, _)| *place);
        let holds: Vec<HoldKey> = by_place.into_iter().map(|(_, hold)| hold).collect();
        let may_be_told: Option<Vec<_>> = holds.iter().map(|hold| self.grant_to_announce(*hold)).collect();
        let Some((grants, locks)) = may_be_told.map(|grants| grants.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()) else {
            return;
        };
        let acquired = Event::Together(Box::new(Together::Acquired { locks }));
        let told = self.push(stream, Item::Event(lock_ref, acquired)).unwrap_or(u64::MAX);
        for (hold, grant) in holds.into_iter().zip(grants) {
            self.told_together(hold, grant, told);
        }
        if let Some(group) = self.group(stream, lock_ref) {
            group.phase = Phase::Held;
        }
        self.env.mark(Mark::GroupHeld);
    }

    /// Tells the client that it has lost one, and so all. Since it may believe in the others until it hears of that, they are
    /// kept as behind one that fell silent.
    fn lose_group(&mut self, stream: StreamKey, lock_ref: LockRef, lost: Event) {
        self.env.mark(Mark::GroupLost);
        let end = if self.env.breaks(Rule::LostTogetherWaits) { End::Closed } else { End::Unresponsive };
        self.conclude(stream, lock_ref, lost, Tell::Now);
        self.end_all(stream, lock_ref, &end);
    }

    /// Takes the grant of a group back that its client has not read. Returns true if it has not, whichever of its holds asks
    /// first.
    pub(crate) fn retract_group(&mut self, stream: StreamKey, member: LockRef, told: u64) -> bool {
        let Some(groups) = self.groups(stream) else { return false };
        let lock_ref = groups.client_ref(member);
        match groups.by_ref.get(&lock_ref) {
            Some(group) if group.was_retracted => return true,
            // It has been told of a loss, and so it is to have read of the grant.
            Some(Group { phase: Phase::Over, .. }) => return false,
            _ => {}
        }
        let mut retracted = false;
        self.write(stream, |outbox: &mut Outbox| retracted = outbox.retract(told));
        if let Some(group) = self.group(stream, lock_ref) {
            group.was_retracted = retracted;
        }
        retracted
    }
}
