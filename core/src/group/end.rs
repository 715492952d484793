//! The end of a group: refused, given up by its client, or with its Session. What it holds is given back.

use super::{Member, Phase};
use crate::broker::Cx;
use crate::env::Env;
use crate::event::{Event, LockRef, Reason};
use crate::hold::{End, HoldKey, not_acquired};
use crate::outbox::Item;
use crate::request::Mode;
use crate::session::{Stream, StreamKey};

impl<E: Env> Cx<'_, E> {
    /// Gives up a group whose client has not been told that it has it.
    pub(super) fn finish_group(&mut self, stream: StreamKey, lock_ref: LockRef, last: Event) {
        // A failure is told at once: what is in its way may be in the way of the releases too.
        let is_failure = matches!(last, Event::Failed(_));
        let Some(group) = self.group(stream, lock_ref) else { return };
        // After a reattach that was refused, the client still believes in the others, until it is told.
        let reattaches = group.members.iter().any(|member| matches!(member.request.mode, Mode::Reattach(_)));
        let end = if reattaches { End::Unresponsive } else { End::Closed };
        self.conclude(stream, lock_ref, last, is_failure || reattaches);
        self.end_all(stream, lock_ref, &end);
    }

    /// Sets the last event: to be told now, or when all is given back.
    pub(super) fn conclude(&mut self, stream: StreamKey, lock_ref: LockRef, last: Event, now: bool) {
        let Some(group) = self.group(stream, lock_ref) else { return };
        if now || group.live == 0 {
            group.phase = Phase::Over;
            self.push(stream, Item::Event(lock_ref, last));
        } else {
            group.phase = Phase::Ending(last);
        }
    }

    pub(super) fn end_all(&mut self, stream: StreamKey, lock_ref: LockRef, end: &End) {
        let Some(group) = self.group(stream, lock_ref) else { return };
        let holds: Vec<LockRef> = group.members.iter().filter_map(Member::hold).collect();
        self.end_members(stream, &holds, end);
    }

    /// Ends a group for its client, whatever it does. Does nothing if there is no such group.
    pub(crate) fn end_group_by_client(&mut self, stream: StreamKey, lock_ref: LockRef) {
        self.end_group(stream, lock_ref);
        self.forget_group(stream, lock_ref);
    }

    pub(super) fn end_group(&mut self, stream: StreamKey, lock_ref: LockRef) {
        let Some(group) = self.group(stream, lock_ref) else { return };
        let last = match group.phase {
            Phase::Trying | Phase::WaitingFor(_) => Some(not_acquired(Reason::Cancelled)),
            Phase::Held => Some(Event::Released),
            Phase::Ending(_) | Phase::Over => None,
        };
        if let Some(last) = last {
            self.conclude(stream, lock_ref, last, false);
        }
        self.end_all(stream, lock_ref, &End::Closed);
    }

    pub(super) fn end_members(&mut self, stream: StreamKey, members: &[LockRef], end: &End) {
        let Some(session) = self.core.streams.get(stream).and_then(Stream::session) else { return };
        let holds: Vec<HoldKey> = members.iter().filter_map(|member| session.locks.get(member).copied()).collect();
        holds.into_iter().for_each(|hold| self.end_hold_by(hold, end.clone()));
    }
}
