//! The end of a group: refused, given up by its client, or with its Session. What it holds is given back.

use std::time::Duration;

use super::{Group, Member, Phase, Tell};
use crate::broker::Cx;
use crate::env::Env;
use crate::event::{Event, LockRef, Reason};
use crate::hold::{End, HoldKey, not_acquired};
use crate::outbox::Item;
use crate::request::Mode;
use crate::session::{Stream, StreamKey};

/// How long a client that has not got a group may have to wait until what it had of that is given back.
const GIVE_BACK_WITHIN: Duration = Duration::from_millis(50);

impl<E: Env> Cx<'_, E> {
    /// Gives up a group whose client has not been told that it has it.
    pub(super) fn finish_group(&mut self, stream: StreamKey, lock_ref: LockRef, last: Event) {
        let Some(group) = self.group(stream, lock_ref) else { return };
        // After a reattach that was refused, the client still believes in the others, until it is told.
        let reattaches = group.members.iter().any(|member| matches!(member.request.mode, Mode::Reattach(_)));
        let end = if reattaches { End::Unresponsive } else { End::Closed };
        // A failure is told at once: what is in its way may be in the way of the releases too.
        let tell = if reattaches || matches!(last, Event::Failed(_)) { Tell::Now } else { Tell::Soon };
        self.conclude(stream, lock_ref, last, tell);
        self.end_all(stream, lock_ref, &end);
    }

    /// Sets the last event, and when it is told.
    pub(super) fn conclude(&mut self, stream: StreamKey, lock_ref: LockRef, last: Event, tell: Tell) {
        self.drop_gate_of(stream, lock_ref);
        let now = self.now;
        let Some(group) = self.group(stream, lock_ref) else { return };
        if tell == Tell::Now || group.live == 0 {
            group.phase = Phase::Over;
            self.push(stream, Item::Event(lock_ref, last));
        } else {
            group.phase = Phase::Ending { last, tell_at: (tell == Tell::Soon).then_some(now + GIVE_BACK_WITHIN) };
            self.wake_session(stream);
        }
    }

    /// Tells the last events for which it is time.
    pub(crate) fn tell_late_groups(&mut self, stream: StreamKey) {
        let now = self.now;
        let Some(groups) = self.groups(stream) else { return };
        let is_late = |group: &Group| group.phase == Phase::Trying && group.tell_at().is_some_and(|at| at <= now);
        let late = groups.by_ref.iter().filter(|(_, group)| is_late(group));
        let tried: Vec<_> = late.map(|(lock_ref, group)| (*lock_ref, group.too_late())).collect();
        for (lock_ref, last) in tried {
            self.finish_group(stream, lock_ref, last);
        }
        let Some(groups) = self.groups(stream) else { return };
        let mut late = Vec::new();
        for (lock_ref, group) in &mut groups.by_ref {
            if matches!(group.phase, Phase::Ending { tell_at: Some(at), .. } if at <= now) {
                late.extend(group.take_last().map(|last| (*lock_ref, last)));
            }
        }
        for (lock_ref, last) in late {
            self.push(stream, Item::Event(lock_ref, last));
        }
    }

    pub(super) fn end_all(&mut self, stream: StreamKey, lock_ref: LockRef, end: &End) {
        let Some(group) = self.group(stream, lock_ref) else { return };
        let holds: Vec<LockRef> = group.members.iter().filter_map(Member::hold).collect();
        self.end_members(stream, &holds, end);
    }

    /// Ends a group for its client, whatever it does. Does nothing if there is no such group.
    pub(crate) fn end_group(&mut self, stream: StreamKey, lock_ref: LockRef) {
        let Some(group) = self.group(stream, lock_ref) else { return };
        let last = match group.phase {
            Phase::Trying | Phase::WaitingFor(_) => Some((not_acquired(Reason::Cancelled), Tell::Soon)),
            Phase::Held => Some((Event::Released, Tell::WhenGivenBack)),
            Phase::Ending { .. } | Phase::Over => None,
        };
        if let Some((last, tell)) = last {
            self.conclude(stream, lock_ref, last, tell);
        }
        self.end_all(stream, lock_ref, &End::Closed);
        self.forget_group(stream, lock_ref);
    }

    pub(super) fn end_members(&mut self, stream: StreamKey, members: &[LockRef], end: &End) {
        let Some(session) = self.core.streams.get(stream).and_then(Stream::session) else { return };
        let holds: Vec<HoldKey> = members.iter().filter_map(|member| session.locks.get(member).copied()).collect();
        holds.into_iter().for_each(|hold| self.end_hold_by(hold, end.clone()));
    }
}
