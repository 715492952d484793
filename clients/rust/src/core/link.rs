//! One Session stream: what was sent on it, what it covers, and when it has to be heard again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::types::{Key, LinkId, LockRef, LockSpec, Output, Request, WaitLeft};
use super::validity::{RunOut, Validity};
use crate::clock::{Moment, notice};

/// A lock on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) link: LinkId,
    pub(super) lock_ref: LockRef,
}

/// The state of a link. It only goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Takes new locks. There is one such link at most.
    Current,
    /// Takes no new locks, and stays open until those that it has are elsewhere: closing it would release them.
    Retired,
    /// Ended by the other side. What it covered is still what bounds a reattach.
    Ended,
}

/// The broker's terms, from its `opened`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) ttl: Duration,
    pub(super) expires_after: Duration,
    pub(super) heartbeat_interval: Duration,
}

/// A stream and its locks.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// The number of the endpoint.
    pub(super) endpoint: usize,
    /// The ttl of its locks, as granted.
    pub(super) ttl: Duration,
    pub(super) phase: Phase,
    /// The locks that were begun here and have not ended.
    pub(super) locks: BTreeMap<LockRef, Key>,
    validity: Validity,
    last_ref: LockRef,
    last_seq: i64,
    heartbeat_interval: Duration,
    next_beat: Moment,
    /// The moment of the broker's last message.
    heard: Moment,
}

impl Link {
    /// Makes the link of a Session whose `open` was sent at `sent` and has been answered now.
    pub(super) fn new(id: LinkId, endpoint: usize, sent: Moment, now: Moment, terms: Terms) -> Link {
        let Terms { ttl, expires_after, heartbeat_interval } = terms;
        Link {
            id,
            endpoint,
            ttl,
            phase: Phase::Current,
            locks: BTreeMap::new(),
            validity: Validity::new(sent, expires_after.saturating_sub(notice(ttl))),
            last_ref: 0,
            last_seq: 0,
            heartbeat_interval,
            // The validity counts from `open`, and so do the heartbeats that carry it on: after an answer that took long, the
            // first would come too late.
            next_beat: sent + heartbeat_interval,
            heard: now,
        }
    }

    /// Asks for a lock and returns its place here.
    pub(super) fn begin(
        &mut self,
        key: Key,
        spec: LockSpec,
        wait: Option<WaitLeft>,
        (reattach, reattach_also): (Option<String>, Vec<String>),
        out: &mut Vec<Output>,
    ) -> At {
        self.last_ref += 1;
        let lock_ref = self.last_ref;
        self.locks.insert(lock_ref, key);
        self.send(Request::Begin { lock_ref, spec: Box::new(spec), wait, reattach, reattach_also }, out);
        At { link: self.id, lock_ref }
    }

    /// Releases a lock or gives up the wait for it. The stream keeps order, so a grant that crosses this is
    /// released by it.
    pub(super) fn end(&self, lock_ref: LockRef, out: &mut Vec<Output>) {
        self.send(Request::End { lock_ref }, out);
    }

    fn send(&self, request: Request, out: &mut Vec<Output>) {
        if self.is_open() {
            out.push(Output::Send { link: self.id, request });
        }
    }

    /// Notes that the broker was heard.
    pub(super) fn heard(&mut self, now: Moment) {
        self.heard = now;
    }

    /// Takes an acknowledgement.
    pub(super) fn acknowledged(&mut self, seq: i64, expires_after: Duration, not_renewed: &[LockRef]) {
        self.validity.acknowledged(seq, expires_after.saturating_sub(notice(self.ttl)), not_renewed);
    }

    /// Notes that no more events come for a lock that may still be valid. Acknowledgements no longer cover it.
    pub(super) fn settle(&mut self, lock_ref: LockRef) {
        self.validity.settle(lock_ref);
    }

    /// Returns the end of a lock's validity.
    pub(super) fn until(&self, lock_ref: LockRef) -> Moment {
        self.validity.until(lock_ref)
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase != Phase::Ended
    }

    /// Sends a heartbeat if one is due.
    pub(super) fn beat(&mut self, now: Moment, out: &mut Vec<Output>) {
        if !self.is_open() || now < self.next_beat {
            return;
        }
        self.last_seq += 1;
        self.validity.beat(self.last_seq, now);
        self.send(Request::Heartbeat { seq: self.last_seq }, out);
        self.next_beat = now + self.heartbeat_interval;
    }

    /// Returns what has run out by `now` and was not reported before.
    pub(super) fn run_out(&mut self, now: Moment) -> Option<RunOut> {
        self.validity.run_out(now)
    }

    /// Returns the moment from which the silence means that something is wrong: half a ttl after the last message. An
    /// acknowledgement may take a sixth of the ttl. The rest is for its way.
    fn silent_at(&self) -> Moment {
        self.heard + self.ttl / 2 + self.ttl / 30
    }

    /// Returns true if the silence has lasted too long.
    pub(super) fn is_silent(&self, now: Moment) -> bool {
        now >= self.silent_at()
    }

    /// Returns the moment at which this link has something to do next. None: not before a message comes.
    pub(super) fn due(&self) -> Option<Moment> {
        let runs_out = self.validity.next().filter(|_| !self.locks.is_empty());
        let beats = self.is_open().then_some(self.next_beat);
        let silent = (self.phase == Phase::Current).then(|| self.silent_at());
        [runs_out, beats, silent].into_iter().flatten().min()
    }
}

/// All streams of a client.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) all: Vec<Link>,
}

impl Links {
    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.all.iter().find(|link| link.id == id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.all.iter_mut().find(|link| link.id == id)
    }

    /// Returns the one that takes new locks.
    pub(super) fn current(&mut self) -> Option<&mut Link> {
        self.all.iter_mut().find(|link| link.phase == Phase::Current)
    }

    /// Takes a lock off its link without a word.
    pub(super) fn remove(&mut self, at: At) {
        if let Some(link) = self.get_mut(at.link) {
            link.locks.remove(&at.lock_ref);
        }
    }

    /// Ends a lock, and ignores whatever the broker says of it from now on.
    pub(super) fn forget(&mut self, at: At, out: &mut Vec<Output>) {
        if let Some(link) = self.get_mut(at.link) {
            link.locks.remove(&at.lock_ref);
            link.end(at.lock_ref, out);
        }
    }
}
