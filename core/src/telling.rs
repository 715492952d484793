//! Telling the client of a hold what happens.

use crate::Time;
use crate::broker::Cx;
use crate::env::{Env, Mark, Observed, Subject};
use crate::event::Event;
use crate::group::is_member;
use crate::hold::{HoldKey, State, Subscriber};
use crate::ledger::Due;
use crate::outbox::{Item, Outbox};
use crate::rules::Rule;
use crate::session::{Kind, Stream};

impl<E: Env> Cx<'_, E> {
    fn subscriber(&self, me: HoldKey) -> Option<(Subscriber, &Stream)> {
        let subscriber = self.hold(me).subscriber?;
        Some((subscriber, self.core.streams.get(subscriber.stream)?))
    }

    /// Returns true if the client's stream is this lock's alone.
    pub(crate) fn is_alone_on_stream(&self, me: HoldKey) -> bool {
        self.subscriber(me).is_some_and(|(_, stream)| matches!(stream.kind, Kind::Alone(_)))
    }

    /// Returns true while it waits in a queue, so that it can take a grant.
    pub(crate) fn is_waiting(&self, hold: HoldKey) -> bool {
        self.core.holds.get(hold).is_some_and(|hold| matches!(hold.state, State::Waiting(_)))
    }

    /// Returns when the latest heartbeat arrived on which the lock is renewed. None where it is alone on its stream, and is
    /// renewed by the broker's own time.
    pub(crate) fn heartbeat_of(&self, me: HoldKey) -> Option<Time> {
        let (_, stream) = self.subscriber(me)?;
        stream.session().map(|session| session.ledger.heartbeat().arrived)
    }

    /// Returns when the heartbeat arrived from which the client counts its validity. None if it counts from its request.
    pub(crate) fn covered_since(&self, me: HoldKey) -> Option<Time> {
        let (subscriber, stream) = self.subscriber(me)?;
        stream.session().and(subscriber.covered)
    }

    /// Tells the client an event that is not the last.
    pub(crate) fn tell(&mut self, me: HoldKey, event: Event) {
        let Some(Subscriber { stream, lock_ref, .. }) = self.hold(me).subscriber else { return };
        if is_member(lock_ref) {
            self.member_told(stream, lock_ref, event);
        } else {
            self.push(stream, Item::Event(lock_ref, event));
        }
    }

    /// Tells the client of its grant, whose command was sent at `sent`. Returns false if it has to be renewed first (R19), or
    /// is one of several that are told together.
    pub(crate) fn announce(&mut self, me: HoldKey, sent: Time, granted: Event) -> bool {
        let Some(Subscriber { stream, lock_ref, .. }) = self.hold(me).subscriber else { return false };
        if is_member(lock_ref) {
            self.member_granted(stream, lock_ref);
            return false;
        }
        let breaks = self.env.breaks(Rule::AnnouncedAfterHeartbeat);
        let covered = match self.core.streams.get_mut(stream).and_then(Stream::session_mut) {
            Some(session) => session.ledger.announce(if breaks { self.now } else { sent }),
            None => Some(sent),
        };
        let Some(covered) = covered else { return false };
        let told = self.push(stream, Item::Event(lock_ref, granted));
        self.cover(me, covered, told.unwrap_or(u64::MAX));
        true
    }

    fn cover(&mut self, me: HoldKey, covered: Time, told: u64) {
        if let Some(subscriber) = &mut self.hold_mut(me).subscriber {
            (subscriber.covered, subscriber.told) = (Some(covered), told);
        }
    }

    /// Takes note that the client was told of a grant whose command was sent at `sent`, together with others, by the item with the
    /// number `told`.
    pub(crate) fn announced_together(&mut self, me: HoldKey, sent: Time, told: u64) {
        let sent = if self.env.breaks(Rule::AnnouncedAfterHeartbeat) { self.now } else { sent };
        let Some(Subscriber { stream, .. }) = self.hold(me).subscriber else { return };
        let session = self.core.streams.get_mut(stream).and_then(Stream::session_mut);
        if let Some(covered) = session.and_then(|session| session.ledger.announce(sent)) {
            self.cover(me, covered, told);
        }
    }

    /// Leaves one of several locks out of all acks to come: its client has been told that all are lost, or is not heard any more.
    pub(crate) fn uncover_member(&mut self, me: HoldKey) {
        let now = self.now;
        let Some(subscriber) = self.hold_mut(me).subscriber.as_mut().filter(|client| is_member(client.lock_ref)) else {
            return;
        };
        let (stream, covered) = (subscriber.stream, subscriber.covered.take());
        if let (Some(covered), Some(session)) =
            (covered, self.core.streams.get_mut(stream).and_then(Stream::session_mut))
        {
            let due = session.ledger.end(covered, now);
            self.ack(stream, due);
        }
    }

    /// Tells the client that the lock was renewed by a command sent at `sent`, so that its lease ends at `until`.
    pub(crate) fn tell_renewed(&mut self, me: HoldKey, sent: Time, until: Time) {
        let now = self.now;
        let Some(mut subscriber) = self.hold(me).subscriber else { return };
        let session = self.core.streams.get_mut(subscriber.stream).and_then(Stream::session_mut);
        let (Some(session), Some(covered)) = (session, &mut subscriber.covered) else {
            return self.tell(me, Event::Renewed { until });
        };
        let due = session.ledger.renewed(covered, sent, now);
        self.hold_mut(me).subscriber = Some(subscriber);
        self.ack(subscriber.stream, due);
    }

    /// Tells the client the last event.
    pub(crate) fn tell_last(&mut self, me: HoldKey, last: Event) {
        let now = self.now;
        self.tell(me, last);
        let Some(subscriber) = &mut self.hold_mut(me).subscriber else { return };
        let (stream, covered) = (subscriber.stream, subscriber.covered.take());
        match self.core.streams.get_mut(stream).and_then(Stream::session_mut) {
            Some(session) => {
                let due = covered.map_or(Due::Nothing, |covered| session.ledger.end(covered, now));
                self.ack(stream, due);
            }
            None => self.write(stream, Outbox::close),
        }
    }

    /// Takes back a grant that the client has not read. Returns true if it was still unread.
    pub(crate) fn retract_grant(&mut self, me: HoldKey) -> bool {
        let Some(Subscriber { stream, lock_ref, told, covered: Some(_) }) = self.hold(me).subscriber else {
            return false;
        };
        self.env.mark(Mark::UnreadLookedFor);
        if is_member(lock_ref) {
            return self.retract_group(stream, lock_ref, told);
        }
        let mut retracted = false;
        self.write(stream, |outbox| retracted = outbox.retract(told));
        retracted
    }

    /// Tells a client that is alone on its stream, if so, that the broker is going away. A Session tells it for all its
    /// locks.
    pub(crate) fn tell_draining(&mut self, me: HoldKey) {
        if let Some(grace) = self.core.draining.filter(|_| self.is_alone_on_stream(me)) {
            self.tell(me, Event::Draining { grace });
        }
    }

    /// Lets somebody watch what happens to a hold.
    pub(crate) fn observe_of<'a>(&'a mut self, me: HoldKey, observed: impl FnOnce(Subject<'a>) -> Observed<'a>) {
        let Some(hold) = self.core.holds.get(me) else { return };
        let stream = hold.subscriber.and_then(|subscriber| self.core.streams.get(subscriber.stream));
        let caller = stream.and_then(|stream| stream.caller.as_deref());
        self.env.observe(observed(Subject { name: &hold.name, owner: &hold.owner, caller }));
    }
}
