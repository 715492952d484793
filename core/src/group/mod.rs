//! Several locks that a client of a Session has together: all of them, or none.
//!
//! Each is a hold of its own, and obeys all rules by itself. The group asks for them, hears what becomes of each, and tells
//! its client about all together. It tries all at once. If one is refused, it keeps those before it in the order of their
//! names, gives back those behind it, waits for that one, and then tries the rest again. So whoever waits holds only locks
//! whose names come before, and nobody waits in a circle. Several permits of one lock are a group, too: see [`gate`].

mod end;
mod gate;
mod normal;
mod told;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Time;
use crate::broker::Cx;
use crate::env::{Env, Mark};
use crate::event::{Event, LockRef, Reason, SESSION, Together};
use crate::failure::{Cause, Failure};
use crate::hold::{End, LAST_ATTEMPT, not_acquired};
use crate::lock::GrantId;
use crate::request::{Access, LockRequest, Mode};
use crate::session::{Stream, StreamKey};

/// Limits how many locks can be had together.
pub const MOST_TOGETHER: usize = 16;

/// The groups of a Session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Groups {
    by_ref: BTreeMap<LockRef, Group>,
    /// The group of each hold, and its place there. Such a hold has a handle below 0, which no client can name.
    members: BTreeMap<LockRef, (LockRef, usize)>,
    last_member: LockRef,
}

/// Several locks that are had together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Group {
    kind: Kind,
    /// In the order of their names.
    members: Vec<Member>,
    /// Until when to wait, where one is refused; the inner none is for ever.
    wait: Option<Option<Time>>,
    /// When the wait is over, whatever the store has still to say.
    late_at: Option<Time>,
    phase: Phase,
    /// How many holds have not told their last event, those included that were given back.
    live: usize,
    /// True if its client cannot know that it was granted: it was taken back unread.
    was_retracted: bool,
}

/// The way in which the locks of a group belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// They are different ones, or all are reattached.
    Several,
    /// They are permits of one lock.
    Weighted {
        /// The id of that lock's item, while it keeps others out for the group, and its T.
        gate: Option<(GrantId, u32)>,
    },
}

/// One lock of a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Member {
    request: LockRequest,
    /// Where it stands in the client's request.
    place: usize,
    progress: Progress,
}

/// How far a lock of a group has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Progress {
    /// It is not asked for.
    Idle,
    /// It is asked for, by the hold with this handle.
    Asked(LockRef),
    /// That hold has it.
    Granted(LockRef),
    /// That hold has ended, with this event.
    Ended(Event),
}

/// What a group does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    /// Tries for all that it has not.
    Trying,
    /// Waits for the one at this place. It has those before.
    WaitingFor(usize),
    /// Has all, and its client knows.
    Held,
    /// Gives back what it has. When that is done, or at `tell_at`, its client is told `last`.
    Ending { last: Event, tell_at: Option<Time> },
    /// Its client has been told the last event.
    Over,
}

/// When the last event of a group is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tell {
    Now,
    /// When all that it has is given back.
    WhenGivenBack,
    /// Then, or a little later: whoever waits for nothing does not wait for a store that is away.
    Soon,
}

/// What follows from how far the members have come.
enum Verdict {
    Pending,
    Complete,
    /// Nobody is in the way of those from here on.
    TryFrom(usize),
    /// The first, by name, that ended, and how.
    Refused(usize, Event),
}

impl Member {
    fn hold(&self) -> Option<LockRef> {
        match self.progress {
            Progress::Asked(hold) | Progress::Granted(hold) => Some(hold),
            Progress::Idle | Progress::Ended(_) => None,
        }
    }
}

impl Group {
    fn new(requests: Vec<LockRequest>, now: Time) -> Group {
        let (wait, late_at) = match requests.first().map(|request| request.mode) {
            Some(Mode::Wait { max_wait, .. }) => {
                // No wait at all is a try, which takes as long as it takes.
                let limited = max_wait.filter(|wait| !wait.is_zero());
                (Some(max_wait.map(|wait| now + wait)), limited.map(|wait| now + wait + LAST_ATTEMPT))
            }
            Some(Mode::Once | Mode::Reattach(_)) | None => (None, None),
        };
        let mut members: Vec<Member> =
            (0..).zip(requests).map(|(place, request)| Member { request, place, progress: Progress::Idle }).collect();
        members.sort_by(|one, other| one.request.name.as_str().cmp(other.request.name.as_str()));
        let collects = |member: &Member| matches!(member.request.access, Access::Shared { weight: 2.., .. });
        let kind = if members.iter().any(collects) { Kind::Weighted { gate: None } } else { Kind::Several };
        Group { kind, members, wait, late_at, phase: Phase::Trying, live: 0, was_retracted: false }
    }

    /// Returns the last event of one that ends, which is told now.
    fn take_last(&mut self) -> Option<Event> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Ending { last, .. } => Some(last),
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Returns when its client is to be told its last event.
    fn tell_at(&self) -> Option<Time> {
        match self.phase {
            Phase::Ending { tell_at, .. } => tell_at,
            Phase::Trying => self.late_at,
            // The one that is waited for says so.
            Phase::WaitingFor(_) | Phase::Held | Phase::Over => None,
        }
    }

    /// Returns the last event of one whose wait is over while it tries for several.
    fn too_late(&self) -> Event {
        let at = self.members.iter().position(|member| !matches!(member.progress, Progress::Granted(_)));
        self.refusal(at.unwrap_or_default(), not_acquired(Reason::MaxWait))
    }

    /// Returns true until it has all, or has come to nothing.
    fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Trying | Phase::WaitingFor(_))
    }

    fn verdict(&self) -> Verdict {
        let ended = self.members.iter().zip(0..).find_map(|(member, at)| match &member.progress {
            Progress::Ended(event) => Some((at, event.clone())),
            _ => None,
        });
        let is_asked = self.members.iter().any(|member| matches!(member.progress, Progress::Asked(_)));
        // One that waits may wait for long, and what was held meanwhile is lost at once.
        match ended {
            Some((at, event)) if !is_asked || matches!(self.phase, Phase::WaitingFor(_)) => Verdict::Refused(at, event),
            _ if is_asked => Verdict::Pending,
            _ => match self.members.iter().position(|member| member.progress == Progress::Idle) {
                Some(from) => Verdict::TryFrom(from),
                None => Verdict::Complete,
            },
        }
    }

    /// Returns true if `event`, by which the one at `at` ended, only means that it has to be waited for.
    fn is_to_wait(&self, at: usize, event: &Event) -> bool {
        let waited_in_vain = matches!(self.phase, Phase::WaitingFor(waiting) if waiting <= at);
        let is_for_now = match event {
            Event::NotAcquired { .. } | Event::Lost(_) | Event::Released => true,
            Event::Failed(failure) => matches!(failure.cause(), Cause::StoreUnavailable | Cause::StoreQuarantined),
            _ => false,
        };
        self.wait.is_some() && is_for_now && !waited_in_vain
    }

    /// Returns the last event that its client is told, where the one at `at` ended by `event`.
    fn refusal(&self, at: usize, event: Event) -> Event {
        let name = self.members[at].request.name.clone();
        match event {
            Event::NotAcquired { reason, owner } => {
                Event::Together(Box::new(Together::NotAcquired { name, reason, owner }))
            }
            Event::Failed(failure) => Event::Failed(failure.about(&name)),
            // It was granted, and lost before the others were.
            _ => Event::Failed(Failure::unavailable("lost before the others were acquired").about(&name)),
        }
    }
}

impl Groups {
    /// Returns when a group is to be told its last event, whatever it still has.
    pub(crate) fn tell_at(&self) -> Option<Time> {
        self.by_ref.values().filter_map(Group::tell_at).min()
    }

    /// Returns the handle that the client knows: that of the group, or the lock's own.
    pub(crate) fn client_ref(&self, lock_ref: LockRef) -> LockRef {
        self.members.get(&lock_ref).map_or(lock_ref, |(group, _)| *group)
    }

    /// Returns a new handle for the hold of a member.
    fn member(&mut self, group: LockRef, at: usize) -> LockRef {
        self.last_member -= 1;
        self.members.insert(self.last_member, (group, at));
        self.last_member
    }
}

impl<E: Env> Cx<'_, E> {
    fn groups(&mut self, stream: StreamKey) -> Option<&mut Groups> {
        self.core.streams.get_mut(stream).and_then(Stream::session_mut).map(|session| &mut session.groups)
    }

    fn group(&mut self, stream: StreamKey, lock_ref: LockRef) -> Option<&mut Group> {
        self.groups(stream)?.by_ref.get_mut(&lock_ref)
    }

    /// Begins to get several locks together.
    pub(crate) fn begin_group(&mut self, stream: StreamKey, lock_ref: LockRef, requests: Vec<LockRequest>) {
        debug_assert!((1..=MOST_TOGETHER).contains(&requests.len()), "the wire has checked that");
        let group = Group::new(requests, self.now);
        let Some(groups) = self.groups(stream) else { return };
        groups.by_ref.insert(lock_ref, group);
        self.wake_session(stream);
        self.core.groups_to_step.push_back((stream, lock_ref));
    }

    /// Looks what a group has to do.
    pub(crate) fn step_group(&mut self, stream: StreamKey, lock_ref: LockRef) {
        let listens = self.core.streams.get_mut(stream).and_then(Stream::listening).is_some();
        let Some(group) = self.group(stream, lock_ref) else { return };
        match &group.phase {
            // Nobody would end what is asked for now. The Session's end comes to each hold, and means to it what it means to a lock
            // alone: one that is being reattached may be believed in (R12, R30).
            Phase::Trying | Phase::WaitingFor(_) if !listens => {
                self.conclude(stream, lock_ref, not_acquired(Reason::Cancelled), Tell::WhenGivenBack);
            }
            Phase::Trying | Phase::WaitingFor(_) => match group.verdict() {
                Verdict::Pending => {}
                Verdict::Complete => {
                    if self.drop_gate_of(stream, lock_ref) {
                        self.env.mark(Mark::PermitsCollected);
                    }
                    self.announce_group(stream, lock_ref);
                }
                Verdict::TryFrom(from) => self.try_from(stream, lock_ref, from),
                Verdict::Refused(at, event) if group.is_to_wait(at, &event) => self.wait_for(stream, lock_ref, at),
                Verdict::Refused(at, event) => {
                    let refusal = group.refusal(at, event);
                    self.finish_group(stream, lock_ref, refusal);
                }
            },
            Phase::Held | Phase::Ending { .. } | Phase::Over => {}
        }
        self.forget_group(stream, lock_ref);
    }

    /// Forgets a group when there is nothing more to hear or to tell.
    fn forget_group(&mut self, stream: StreamKey, lock_ref: LockRef) {
        if self.group(stream, lock_ref).is_some_and(|group| group.live == 0 && group.phase == Phase::Over)
            && let Some(groups) = self.groups(stream)
        {
            groups.by_ref.remove(&lock_ref);
        }
    }

    /// Tries for all from a place on, once.
    fn try_from(&mut self, stream: StreamKey, lock_ref: LockRef, from: usize) {
        let Some(group) = self.group(stream, lock_ref) else { return };
        group.phase = Phase::Trying;
        self.wake_session(stream);
        let Some(group) = self.group(stream, lock_ref) else { return };
        // The first of several permits is waited for on behalf of all.
        let upto = if from == 0 && group.kind != Kind::Several { 1 } else { group.members.len() };
        for at in from..upto {
            if !self.ask_for(stream, lock_ref, at, None) {
                return;
            }
        }
    }

    /// Keeps those before a place, gives back the others, and waits for the one there.
    fn wait_for(&mut self, stream: StreamKey, lock_ref: LockRef, at: usize) {
        self.env.mark(Mark::GroupFellBack);
        self.drop_gate_of(stream, lock_ref);
        let now = self.now;
        let Some(group) = self.group(stream, lock_ref) else { return };
        let at = if group.kind == Kind::Several { at } else { 0 };
        group.phase = Phase::WaitingFor(at);
        let max_wait = group.wait.flatten().map(|until| until.since(now));
        let given_back = group.members.split_off(at);
        let holds: Vec<LockRef> = given_back.iter().filter_map(Member::hold).collect();
        group.members.extend(given_back.into_iter().map(|member| Member { progress: Progress::Idle, ..member }));
        self.end_members(stream, &holds, &End::Closed);
        self.ask_for(stream, lock_ref, at, Some(max_wait));
    }

    /// Asks for one of a group: as its client has, or now for all that is left of the wait. Returns false if that came to nothing
    /// for the whole group.
    fn ask_for(&mut self, stream: StreamKey, lock_ref: LockRef, at: usize, wait: Option<Option<Duration>>) -> bool {
        let Some(groups) = self.groups(stream) else { return false };
        let Some(group) = groups.by_ref.get(&lock_ref) else { return false };
        let mut request = group.members[at].request.clone();
        match (&mut request.mode, wait) {
            (Mode::Wait { max_wait, .. }, Some(left)) => *max_wait = left,
            (mode @ Mode::Wait { .. }, None) => *mode = Mode::Once,
            (Mode::Once | Mode::Reattach(_), _) => {}
        }
        let room = match self.admit(stream, &request) {
            Ok(room) => room,
            Err(failure) => {
                let failed = Event::Failed(failure.about(&request.name));
                self.finish_group(stream, lock_ref, failed);
                return false;
            }
        };
        let Some(groups) = self.groups(stream) else { return false };
        let member = groups.member(lock_ref, at);
        if let Some(group) = groups.by_ref.get_mut(&lock_ref) {
            group.live += 1;
            group.members[at].progress = Progress::Asked(member);
        }
        self.begin(stream, member, request, room);
        true
    }
}

/// Returns true if a handle is that of a group's hold, which its client does not know.
pub(crate) fn is_member(lock_ref: LockRef) -> bool {
    lock_ref < SESSION
}
