//! The streams of clients: a Session with many locks, or a stream of one lock. What is told on them, and how they end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::Time;
use crate::broker::{Cx, Output};
use crate::env::{Env, Mark, Observed};
use crate::event::{Ack, Event, LockRef, SESSION};
use crate::failure::Failure;
use crate::group::{Groups, is_member};
use crate::hold::{End, HoldKey, going_away};
use crate::ledger::{Due, Ledger};
use crate::lock::lease;
use crate::normal::{Form, Normal};
use crate::outbox::{Item, Outbox, Read};
use crate::request::{ProtocolError, StreamEnd};
use crate::rules::Rule;
use crate::slab::Key;

/// How long a stream that its client has closed waits for its locks to be released, to tell that they are.
const CLOSED_WITHIN: Duration = Duration::from_secs(3);

/// Names a stream.
pub type StreamKey = Key<Stream>;

/// The stream of one client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stream {
    pub(crate) outbox: Outbox,
    /// Who the client is, where somebody wants to know.
    pub(crate) caller: Option<Arc<str>>,
    pub(crate) kind: Kind,
    /// How many holds tell what happens on it.
    pub(crate) subscribers: usize,
    /// How many of them are kept when the stream is closed: its end does not wait for them.
    pub(crate) kept: usize,
    /// True until nobody reads it any more.
    pub(crate) is_read: bool,
    /// True once nothing more will be told on it.
    pub(crate) is_over: bool,
    pub(crate) due: Option<Time>,
}

/// What a stream is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Nothing has been asked on it yet.
    New,
    /// The stream of one lock.
    Alone(Option<HoldKey>),
    /// A Session.
    Session(Box<Session>),
}

/// The locks of one Session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    ttl: Duration,
    pub(crate) ledger: Ledger,
    pub(crate) locks: BTreeMap<LockRef, HoldKey>,
    /// The locks of it that are had together.
    pub(crate) groups: Groups,
    last_ref: LockRef,
    last_seq: i64,
    last_heartbeat: Time,
    visits: Visits,
    phase: Phase,
    /// What each lock is told when it is looked at, once all are to end.
    end: Option<StreamEnd>,
}

/// What a Session's client may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    /// Ask.
    Listening,
    /// Nothing: it was not heard for too long. Its locks end, and whoever drives the stream ends that, when it has said why.
    Silent,
    /// Hear that its locks are released, until then at the latest. It has closed the stream.
    Closed { until: Time },
}

/// The locks of a Session that are still to be looked at: from `next` on, round the end, so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Visits {
    next: LockRef,
    left: usize,
    /// When the last of them was looked at. Of several Sessions the one whose turn was longest ago goes on first.
    last: Time,
}

impl Session {
    /// Adds a lock. A round of visits that is under way comes to it too, or another lock would be left out for it.
    pub(crate) fn insert(&mut self, lock_ref: LockRef, hold: HoldKey) {
        self.locks.insert(lock_ref, hold);
        if self.visits.left > 0 {
            self.visits.left += 1;
        }
    }
}

impl Stream {
    pub(crate) fn new(caller: Option<Arc<str>>) -> Stream {
        let outbox = Outbox::default();
        Stream { outbox, caller, kind: Kind::New, subscribers: 0, kept: 0, is_read: true, is_over: false, due: None }
    }

    /// Returns the one lock of a stream that has no other.
    pub(crate) fn alone(&self) -> Option<HoldKey> {
        match self.kind {
            Kind::Alone(hold) => hold,
            Kind::New | Kind::Session(_) => None,
        }
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.kind {
            Kind::Session(session) => Some(session),
            _ => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.kind {
            Kind::Session(session) => Some(session),
            _ => None,
        }
    }

    /// Returns the Session while its client may still ask on it.
    pub(crate) fn listening(&mut self) -> Option<&mut Session> {
        self.session_mut().filter(|session| session.phase == Phase::Listening)
    }
}

impl<E: Env> Cx<'_, E> {
    /// Changes what waits to be read, and wakes the reader.
    pub(crate) fn write(&mut self, key: StreamKey, write: impl FnOnce(&mut Outbox)) {
        let Some(stream) = self.core.streams.get_mut(key) else { return };
        let before = stream.outbox.unread();
        write(&mut stream.outbox);
        self.core.counts.unread = self.core.counts.unread + stream.outbox.unread() - before;
        if stream.is_read {
            self.core.outputs.push_back(Output::Readable(key));
        }
    }

    /// Adds what is to be read. Returns its number.
    pub(crate) fn push(&mut self, key: StreamKey, item: Item) -> Option<u64> {
        let in_place = self.env.breaks(Rule::AckAtEnd);
        let mut number = None;
        self.write(key, |outbox| number = outbox.push(item, in_place));
        number
    }

    /// Sends the ack of the latest heartbeat, if it is due.
    pub(crate) fn ack(&mut self, key: StreamKey, due: Due) {
        let Some(session) = self.core.streams.get(key).and_then(Stream::session) else { return };
        let (seq, ttl) = (session.ledger.heartbeat().seq, session.ttl);
        if due == Due::Ack {
            self.push(key, Item::Ack(Ack { seq, ttl, not_renewed: Vec::new() }));
        }
        self.wake_session(key);
    }

    pub(crate) fn open_session(&mut self, key: StreamKey, ttl: Duration) -> Result<(), Failure> {
        if self.core.draining.is_some() {
            return Err(going_away());
        }
        let now = self.now;
        let Some(stream) = self.core.streams.get_mut(key) else { return Ok(()) };
        stream.kind = Kind::Session(Box::new(Session {
            ttl,
            ledger: Ledger::open(now),
            locks: BTreeMap::new(),
            groups: Groups::default(),
            last_ref: SESSION,
            last_seq: 0,
            last_heartbeat: now,
            visits: Visits { next: SESSION, left: 0, last: now },
            phase: Phase::Listening,
            end: None,
        }));
        self.core.unfinished += 1;
        self.push(key, Item::Opened { ttl });
        self.wake_session(key);
        Ok(())
    }

    /// Sets when a Session looks at itself.
    pub(crate) fn wake_session(&mut self, key: StreamKey) {
        let Some(stream) = self.core.streams.get(key) else { return };
        let Some(session) = stream.session() else { return };
        // Holds that are due by then go first (`fire`), and so do the Sessions that have had no turn since.
        let visit = (session.visits.left > 0).then(|| session.visits.last + Duration::from_nanos(1));
        let silent_at = session.last_heartbeat + lease(session.ttl);
        let tell_at = session.groups.tell_at();
        let due = match session.phase {
            Phase::Listening => [Some(silent_at), session.ledger.ack_at(session.ttl), visit, tell_at],
            Phase::Closed { until } if !stream.is_over => [Some(until), None, visit, tell_at],
            Phase::Closed { .. } | Phase::Silent => [None, None, visit, tell_at],
        };
        self.wake_stream_at(key, due.into_iter().flatten().min());
    }

    /// Lets a stream go on whose time has come.
    pub(crate) fn step_stream(&mut self, key: StreamKey) {
        let now = self.now;
        let Some(stream) = self.core.streams.get_mut(key) else { return };
        let is_over = stream.is_over;
        let Some(session) = stream.session_mut() else { return };
        match session.phase {
            Phase::Listening if now >= session.last_heartbeat + lease(session.ttl) => self.fall_silent(key),
            Phase::Listening if session.ledger.ack_at(session.ttl).is_some_and(|at| now >= at) => self.ack_in_part(key),
            Phase::Closed { until } if now >= until && !is_over => {
                self.env.mark(Mark::ClosedTooLong);
                self.finish_stream(key);
            }
            Phase::Listening | Phase::Silent | Phase::Closed { .. } => {}
        }
        self.tell_late_groups(key);
        self.visit(key);
        self.wake_session(key);
    }

    /// As far as the broker knows, the validity of a Session's client is over. In case it is not, this counts as silence, and
    /// what becomes of its locks is not told: it would be taken for an answer.
    fn fall_silent(&mut self, key: StreamKey) {
        let Some(session) = self.core.streams.get_mut(key).and_then(Stream::session_mut) else { return };
        session.phase = Phase::Silent;
        self.write(key, Outbox::seal);
        self.core.outputs.push_back(Output::Silent(key));
        self.env.mark(Mark::SessionSilent);
        self.end_locks(key, StreamEnd::Unresponsive);
    }

    /// Acknowledges the latest heartbeat with what has been renewed since, if that is worth telling.
    fn ack_in_part(&mut self, key: StreamKey) {
        let Some(stream) = self.core.streams.get_mut(key) else { return };
        let Kind::Session(session) = &mut stream.kind else { return };
        if !session.ledger.ack_in_part() {
            return;
        }
        let (heartbeat, ttl) = (session.ledger.heartbeat(), session.ttl);
        let holds = &self.core.holds;
        let is_behind = |hold: &HoldKey| {
            let covered = holds.get(*hold).and_then(|hold| hold.subscriber?.covered);
            covered.is_some_and(|covered| covered < heartbeat.arrived)
        };
        let behind = session.locks.iter().filter(|(_, hold)| is_behind(hold));
        let mut not_renewed: Vec<LockRef> = behind.map(|(lock_ref, _)| session.groups.client_ref(*lock_ref)).collect();
        // Those of a group have one handle together.
        not_renewed.sort_unstable();
        not_renewed.dedup();
        self.push(key, Item::Ack(Ack { seq: heartbeat.seq, ttl, not_renewed }));
    }

    /// Takes note of a heartbeat: all locks are renewed, and then it is acknowledged.
    pub(crate) fn heartbeat(&mut self, key: StreamKey, seq: i64) -> Result<(), ProtocolError> {
        let now = self.now;
        let Some(session) = self.core.streams.get_mut(key).and_then(Stream::listening) else { return Ok(()) };
        if seq <= session.last_seq {
            return Err(ProtocolError::Seq { last: session.last_seq, got: seq });
        }
        session.last_seq = seq;
        let lag = now.since(session.last_heartbeat + session.ttl / 3);
        session.last_heartbeat = now;
        let due = session.ledger.beat(seq, now);
        // A round that is under way goes on, or the last of many locks would never have their turn.
        session.visits.left = session.locks.len();
        self.env.observe(Observed::Heartbeat { lag });
        self.ack(key, due);
        self.visit(key);
        self.wake_session(key);
        Ok(())
    }

    /// Looks at some of the locks that are still to be looked at.
    fn visit(&mut self, key: StreamKey) {
        loop {
            let Some(session) = self.core.streams.get_mut(key).and_then(Stream::session_mut) else { return };
            let left = session.visits.left.min(session.locks.len());
            let next = session.locks.range(session.visits.next..).next().or_else(|| session.locks.first_key_value());
            let Some((lock_ref, hold)) = next.map(|(lock_ref, hold)| (*lock_ref, *hold)).filter(|_| left > 0) else {
                session.visits.left = 0;
                return;
            };
            let end = session.end;
            session.visits.left = left;
            if !self.core.has_budget(self.now) {
                return;
            }
            if let Some(session) = self.core.streams.get_mut(key).and_then(Stream::session_mut) {
                session.visits = Visits { next: lock_ref.wrapping_add(1), left: left - 1, last: self.now };
            }
            let end = end.and_then(|by| self.end_by(hold, by));
            if let Some(end) = end {
                self.note_end(hold, end);
            }
            self.look_later(hold);
        }
    }

    /// Takes note of a new lock's handle.
    pub(crate) fn take_ref(&mut self, key: StreamKey, lock_ref: LockRef) -> Result<(), ProtocolError> {
        let Some(session) = self.core.streams.get_mut(key).and_then(Stream::listening) else { return Ok(()) };
        if lock_ref <= session.last_ref {
            return Err(ProtocolError::BeginRef { last: session.last_ref, got: lock_ref });
        }
        session.last_ref = lock_ref;
        Ok(())
    }

    /// Gives up a lock, or the wait for it. Ending what has already ended does nothing.
    pub(crate) fn end_lock(&mut self, key: StreamKey, lock_ref: LockRef) -> Result<(), ProtocolError> {
        let Some(session) = self.core.streams.get_mut(key).and_then(Stream::session_mut) else { return Ok(()) };
        if lock_ref > session.last_ref || lock_ref <= SESSION {
            return Err(ProtocolError::EndRef(lock_ref));
        }
        match session.locks.get(&lock_ref).copied() {
            Some(hold) => self.end_hold_by(hold, End::Closed),
            None => self.end_group(key, lock_ref),
        }
        Ok(())
    }

    /// Ends a stream. If its client closed it, it goes on until everything on it has been released, or that takes too long,
    /// so that its end tells the client so.
    pub(crate) fn end_stream(&mut self, key: StreamKey, by: StreamEnd) {
        let Some(stream) = self.core.streams.get(key) else { return };
        match &stream.kind {
            Kind::New => self.finish_stream(key),
            Kind::Alone(hold) => {
                let end = hold.and_then(|hold| Some((hold, self.end_by(hold, by)?)));
                if let Some((hold, end)) = end {
                    self.end_hold_by(hold, end);
                }
            }
            Kind::Session(session) => {
                let was_listening = session.phase == Phase::Listening;
                if by == StreamEnd::Unresponsive || !was_listening {
                    // What becomes of its locks is not told any more.
                    self.finish_stream(key);
                }
                // A client that is heard after all closes its locks.
                if was_listening || by == StreamEnd::Closed {
                    self.end_locks(key, by);
                }
                if was_listening && by == StreamEnd::Closed {
                    self.close_session(key);
                }
            }
        }
    }

    /// Waits until all locks of a Session are released that its client has closed.
    fn close_session(&mut self, key: StreamKey) {
        let until = self.now + CLOSED_WITHIN;
        let Some(stream) = self.core.streams.get_mut(key) else { return };
        let is_empty = stream.subscribers == stream.kept;
        if let Some(session) = stream.session_mut() {
            session.phase = Phase::Closed { until };
        }
        if is_empty { self.finish_stream(key) } else { self.wake_session(key) }
    }

    /// Tells all locks of a Session to end. They come to it some at a time.
    fn end_locks(&mut self, key: StreamKey, end: StreamEnd) {
        let Some(session) = self.core.streams.get_mut(key).and_then(Stream::session_mut) else { return };
        session.end = Some(end);
        session.visits.left = session.locks.len();
        self.visit(key);
        self.wake_session(key);
    }

    /// Lets the reader end when it has read what is there.
    fn finish_stream(&mut self, key: StreamKey) {
        let Some(stream) = self.core.streams.get_mut(key).filter(|stream| !stream.is_over) else { return };
        stream.is_over = true;
        if stream.session().is_some() {
            self.core.unfinished -= 1;
        }
        self.write(key, Outbox::close);
        self.wake_session(key);
        self.forget_stream(key);
    }

    /// Takes note that a stream is not read any more.
    pub(crate) fn stop_reading(&mut self, key: StreamKey) {
        let Some(stream) = self.core.streams.get_mut(key) else { return };
        if !std::mem::replace(&mut stream.is_read, false) {
            return;
        }
        if matches!(stream.kind, Kind::Alone(_)) {
            self.core.unfinished -= 1;
        }
        self.forget_stream(key);
    }

    /// Forgets a stream that has ended, that nobody reads, and on which nothing will be told.
    pub(crate) fn forget_stream(&mut self, key: StreamKey) {
        let Some(stream) = self.core.streams.get(key) else { return };
        let is_over = match &stream.kind {
            Kind::New | Kind::Alone(None) => true,
            Kind::Alone(Some(_)) => false,
            Kind::Session(_) => stream.is_over,
        };
        if is_over && !stream.is_read && stream.subscribers == 0 {
            self.wake_stream_at(key, None);
            // The last hold has gone in this very turn, and the groups have not looked since.
            self.drop_gates_of(key);
            if let Some(stream) = self.core.streams.remove(key) {
                self.core.counts.unread -= stream.outbox.unread();
            }
        }
    }

    /// Takes note that a hold tells no more on its stream.
    pub(crate) fn detach(&mut self, me: HoldKey) {
        let now = self.now;
        let hold = self.hold_mut(me);
        let kept = usize::from(hold.is_kept());
        let Some(subscriber) = hold.subscriber.take() else { return };
        self.core.unfinished -= 1;
        let key = subscriber.stream;
        if is_member(subscriber.lock_ref) {
            // In case that it has not been told.
            self.member_told(key, subscriber.lock_ref, Event::Released);
        }
        let Some(stream) = self.core.streams.get_mut(key) else { return };
        stream.subscribers -= 1;
        stream.kept -= kept;
        let nobody_left = stream.subscribers == stream.kept;
        match &mut stream.kind {
            Kind::Session(session) => {
                session.locks.remove(&subscriber.lock_ref);
                let closes = matches!(session.phase, Phase::Closed { .. });
                if let Some(covered) = subscriber.covered {
                    let due = session.ledger.end(covered, now);
                    self.ack(key, due);
                }
                if closes && nobody_left {
                    self.finish_stream(key);
                }
                self.forget_stream(key);
            }
            Kind::Alone(hold) => {
                *hold = None;
                self.forget_stream(key);
            }
            Kind::New => {}
        }
    }

    /// Tells a Session that the broker is going away.
    pub(crate) fn tell_all_draining(&mut self, grace: Duration) {
        let sessions: Vec<StreamKey> = self.core.streams.keys().collect();
        for key in sessions {
            if self.core.streams.get(key).and_then(Stream::session).is_some() {
                self.push(key, Item::Event(SESSION, Event::Draining { grace }));
            }
        }
    }

    /// Takes the next item that waits to be read.
    pub(crate) fn read(&mut self, key: StreamKey) -> Read {
        let Some(stream) = self.core.streams.get_mut(key) else { return Read::End };
        let before = stream.outbox.unread();
        let read = stream.outbox.read();
        self.core.counts.unread -= before - stream.outbox.unread();
        read
    }
}

impl Stream {
    /// Brings it into its normal form.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        self.outbox.normalise(form);
        form.pause(&mut self.due);
        match &mut self.kind {
            Kind::New => {}
            Kind::Alone(hold) => hold.iter_mut().for_each(|hold| form.hold(hold)),
            Kind::Session(session) => {
                let ttl = session.ttl;
                session.ledger.normalise(ttl, form);
                form.since(&mut session.last_heartbeat, ttl);
                match session.visits.left {
                    // The next round comes to all locks, wherever it begins.
                    0 => session.visits = Visits { next: SESSION, left: 0, last: form.now },
                    _ => form.since(&mut session.visits.last, ttl),
                }
                session.locks.values_mut().for_each(|hold| form.hold(hold));
                session.groups.normalise(form);
                if let Phase::Closed { until } = &mut session.phase {
                    form.until(until);
                }
            }
        }
    }
}
