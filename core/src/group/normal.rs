//! The normal form of groups, for whoever explores all that a broker can come to.

use std::collections::BTreeMap;

use super::{Groups, Progress, is_member};
use crate::broker::Core;
use crate::event::LockRef;
use crate::normal::{Form, Normal};
use crate::request::Mode;
use crate::session::Stream;

impl Core {
    /// Numbers the handles of groups' holds anew.
    pub(crate) fn number_members(&mut self) {
        for key in self.streams.keys().collect::<Vec<_>>() {
            let Some(session) = self.streams.get_mut(key).and_then(Stream::session_mut) else { continue };
            let new: BTreeMap<LockRef, LockRef> = session
                .locks
                .keys()
                .rev()
                .copied()
                .filter(|handle| is_member(*handle))
                .zip((1..).map(|place| -place))
                .collect();
            let renamed = |handle: LockRef| new.get(&handle).copied().unwrap_or(handle);
            session.locks =
                std::mem::take(&mut session.locks).into_iter().map(|(at, hold)| (renamed(at), hold)).collect();
            session.groups.rename(&renamed, new.len());
            for client in self.holds.values_mut().filter_map(|hold| hold.subscriber.as_mut()) {
                if client.stream == key {
                    client.lock_ref = renamed(client.lock_ref);
                }
            }
        }
    }
}

impl Groups {
    fn rename(&mut self, renamed: &impl Fn(LockRef) -> LockRef, count: usize) {
        self.members = std::mem::take(&mut self.members).into_iter().map(|(at, of)| (renamed(at), of)).collect();
        self.last_member = -(count as LockRef);
        for member in self.by_ref.values_mut().flat_map(|group| &mut group.members) {
            if let Progress::Asked(hold) | Progress::Granted(hold) = &mut member.progress {
                *hold = renamed(*hold);
            }
        }
    }

    /// Brings them into their normal form.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        for group in self.by_ref.values_mut() {
            if let super::Kind::Weighted { gate: Some((gate, _)) } = &mut group.kind {
                form.grant(gate);
            }
            group.wait.iter_mut().for_each(|until| form.until_any(until));
            form.until_any(&mut group.late_at);
            if let super::Phase::Ending { tell_at, .. } = &mut group.phase {
                form.pause(tell_at);
            }
            for member in &mut group.members {
                if let Mode::Reattach(lock_id) = &mut member.request.mode {
                    form.grant(&mut lock_id.grant);
                    form.token(&mut lock_id.token);
                }
            }
        }
    }
}
