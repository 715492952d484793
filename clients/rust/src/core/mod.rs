//! The client's half of the protocol, without I/O: what has happened goes in with the moment at which it did, and what is
//! to be done comes out. Knows no stream, no task and no clock.
//!
//! One link is current and takes new locks. Others are on their way out: they drain, are silent, or have ended. A link
//! on its way out stays, and sends heartbeats, until each of its locks has been reattached elsewhere or has run out,
//! because closing it would release them. `lock` has the life of a single lock.

mod dialer;
mod elsewhere;
mod link;
mod lock;
mod pause;
mod types;
mod validity;
#[cfg(test)]
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::clock::Moment;
use dialer::Dialer;
pub(crate) use dialer::share;
use elsewhere::Elsewhere;
use link::{At, Link, Links, Phase, Terms};
use lock::{Lock, Next, State};
pub(crate) use pause::pause;
pub use types::{
    Access, Code, Event, Failure, Granted, Input, Key, LinkId, LockRef, LockSpec, LostReason, Message, Output, Refusal,
    RefusalReason, Request, Wait, WaitLeft,
};
use validity::RunOut;

/// The longest pause before a broker is asked again for what it could not do. Within an old validity there is not much
/// time to be polite.
const PLACE_AGAIN: Duration = Duration::from_millis(250);
/// The time that a broker's answer may still take when a wait is over.
const GRACE: Duration = Duration::from_secs(1);
/// The interval at which to check if there is a broker, when a wait is over.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// gRPC's number for a fault of the broker's.
const INTERNAL: i32 = 13;

/// The source of randomness: numbers from 0 up to 1.
pub type Chance = Box<dyn FnMut() -> f64 + Send>;

/// The settings that the core is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The endpoints, as people name them; at least one.
    pub endpoints: Vec<String>,
    /// The longest time that an answer may take beyond a wait.
    pub answer_timeout: Duration,
}

/// A call that waits, and until when.
#[derive(Debug)]
struct Pending {
    /// The moment at which to see if it is over.
    check: Moment,
    /// The moment at which it is over even if a broker may be there.
    at_most: Moment,
}

/// A held lock, as its holder may believe in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The id of the grant.
    pub lock_id: String,
    /// Those of the locks that are held together with it.
    pub also: Vec<String>,
    /// The permit, if the lock is shared.
    pub permit: Option<u32>,
    /// The ttl as granted.
    pub ttl: Duration,
    /// The end of its validity.
    pub until: Moment,
    /// Its stream has ended against the client's will. The broker may have taken that for the client's end, so `until`
    /// only bounds a reattach.
    pub is_broken: bool,
}

/// The state of a client's Session, on whatever streams it is.
pub struct Core {
    settings: Settings,
    chance: Chance,
    locks: BTreeMap<Key, Lock>,
    links: Links,
    dialer: Dialer,
    elsewhere: Elsewhere,
    /// The reason for which there is no session with each endpoint, if there is none.
    troubles: Vec<Option<String>>,
    /// The number of dials in a row that failed in a way in which they would fail again.
    refused: usize,
    /// The moment at which to ask again for what a broker has failed to do.
    place_at: Option<Moment>,
    pending: BTreeMap<Key, Pending>,
    checks: BTreeSet<(Moment, Key)>,
}

impl Core {
    /// Makes one that has nothing. `now` is the moment of its first dial.
    pub fn new(settings: Settings, chance: Chance, now: Moment) -> Core {
        let endpoints = settings.endpoints.len();
        Core {
            dialer: Dialer::new(endpoints, settings.answer_timeout, now),
            troubles: vec![None; endpoints],
            settings,
            chance,
            locks: BTreeMap::new(),
            links: Links::default(),
            elsewhere: Elsewhere::default(),
            refused: 0,
            place_at: None,
            pending: BTreeMap::new(),
            checks: BTreeSet::new(),
        }
    }

    /// Takes what has happened by `now`, and returns what is to be done. What time has ended comes before the input: a
    /// message that is read too late revives nothing.
    pub fn handle(&mut self, now: Moment, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        // But a broker whose message waited here for long is not silent.
        if let Input::Message { link, .. } = &input
            && let Some(link) = self.links.get_mut(*link)
        {
            link.heard(now);
        }
        self.keep_time(now, &mut out);
        match input {
            Input::Acquire { key, spec, wait, adopt } => self.acquire(key, spec, wait, adopt, now, &mut out),
            Input::End { key } => self.step(key, now, &mut out, |lock, links, now, out| lock.end(links, now, out)),
            Input::Value { key, value } => {
                // One that was asked for without a value has none: a reattach must not bring one that was refused.
                if let Some(held) = self.locks.get_mut(&key).and_then(|lock| lock.spec.value.as_mut()) {
                    *held = value;
                }
            }
            Input::Share { key, limit } => self.step(key, now, &mut out, |lock, _, _, _| lock.share(limit)),
            Input::Dialled { link, result: Ok(()) } => self.dialer.connected(link, now, &mut out),
            Input::Dialled { link, result: Err(failure) } => self.dial_failed(link, failure, now, &mut out),
            Input::Message { link, message } => self.message(link, message, now, &mut out),
            Input::Ended { link, failure } => self.ended(link, failure, now, &mut out),
            Input::ReleasedElsewhere { key, result } => {
                self.elsewhere.ended(key, result, now, &mut self.chance, &mut out);
            }
            Input::Timeout => {}
        }
        if self.needs_link() {
            self.dialer.dial(now, &mut self.chance, &mut out);
        }
        self.hang_up(&mut out);
        out
    }

    /// Returns the moment at which to come back if nothing happens before.
    pub fn due(&self) -> Option<Moment> {
        let links = self.links.all.iter().filter_map(Link::due);
        let checks = self.checks.first().map(|&(at, _)| at);
        links
            .chain(self.dialer.due(self.needs_link()))
            .chain(self.elsewhere.due())
            .chain(self.place_at)
            .chain(checks)
            .min()
    }

    /// Returns a lock that is held and not given up.
    pub fn held(&self, key: Key) -> Option<Held> {
        let lock = self.locks.get(&key)?;
        let (State::Held(home) | State::Moving { home, .. }) = lock.state else { return None };
        let link = self.links.get(home.link)?;
        let lock_id = lock.lock_id.clone().unwrap_or_default();
        let (also, permit) = (lock.also.clone(), lock.permit);
        Some(Held {
            lock_id,
            also,
            permit,
            ttl: link.ttl,
            until: link.until(home.lock_ref),
            is_broken: !link.is_open(),
        })
    }

    /// Returns the number of the endpoint to try next.
    pub fn next_endpoint(&self) -> usize {
        self.dialer.endpoint
    }

    /// Returns the number of the endpoint that a link leads to, or would lead to.
    pub fn endpoint(&self, id: LinkId) -> Option<usize> {
        self.links.get(id).map(|link| link.endpoint).or_else(|| self.dialer.endpoint_of(id))
    }

    /// Returns true while there are locks that only a call can release.
    pub fn is_releasing_elsewhere(&self) -> bool {
        !self.elsewhere.is_empty()
    }

    /// Returns the state of a lock, by the name that it has in the vectors. None: it has ended.
    #[cfg(test)]
    pub(crate) fn state(&self, key: Key) -> Option<&'static str> {
        if self.elsewhere.has(key) {
            return Some("releasing_elsewhere");
        }
        Some(match self.locks.get(&key)?.state {
            State::Wanted => "wanted",
            State::Asked(_) => "asked",
            State::Held(_) => "held",
            State::Moving { .. } => "moving",
            State::GivenUp { .. } => "given_up",
            State::Releasing(_) => "releasing",
        })
    }

    fn needs_link(&self) -> bool {
        self.dialer.is_idle()
            && !self.locks.is_empty()
            && self.links.all.iter().all(|link| link.phase != Phase::Current)
    }

    fn acquire(
        &mut self,
        key: Key,
        spec: LockSpec,
        wait: Option<Wait>,
        adopt: Option<String>,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let answer_by = now + self.settings.answer_timeout;
        let (check, at_most) = match wait.map(|wait| wait.until) {
            None => (Some(answer_by), answer_by),
            // A broker ends the wait itself. One that is being connected to gets the time that a call without a wait has.
            Some(Some(until)) => (Some(until), answer_by.max(until + GRACE)),
            Some(None) => (None, answer_by),
        };
        if let Some(check) = check {
            self.pending.insert(key, Pending { check, at_most });
            self.checks.insert((check, key));
        }
        self.locks.insert(key, Lock::new(key, spec, wait, adopt));
        self.place(key, now, out);
    }

    /// Makes one transition of a lock, and does what it leaves to be done.
    fn step(
        &mut self,
        key: Key,
        now: Moment,
        out: &mut Vec<Output>,
        transition: impl FnOnce(&mut Lock, &mut Links, Moment, &mut Vec<Output>) -> Next,
    ) {
        let Some(lock) = self.locks.get_mut(&key) else { return };
        let next = transition(lock, &mut self.links, now, out);
        if !lock.is_pending() || matches!(next, Next::Gone) {
            self.answered(key);
        }
        match next {
            Next::Stay => {}
            Next::Gone => {
                self.locks.remove(&key);
            }
            Next::Place => self.place(key, now, out),
            Next::PlaceLater(after) => {
                let at = now + after.unwrap_or(PLACE_AGAIN).min(PLACE_AGAIN);
                // Never later than it was, or those that fail one after another would put off all others.
                self.place_at = Some(self.place_at.map_or(at, |earlier| earlier.min(at)));
            }
            Next::Retire(link) => self.retire(link, false, now, out),
            Next::ReleaseElsewhere(until) => {
                if let Some(lock) = self.locks.remove(&key) {
                    let names: Vec<String> = lock.spec.others().map(String::from).collect();
                    let names = std::iter::once(lock.spec.name).chain(names);
                    let ids = std::iter::once(lock.lock_id.unwrap_or_default()).chain(lock.also);
                    self.elsewhere.begin(key, names.zip(ids).collect(), until, out);
                }
            }
        }
    }

    /// Notes that a call has its answer, or needs none any more.
    fn answered(&mut self, key: Key) {
        if let Some(pending) = self.pending.remove(&key) {
            self.checks.remove(&(pending.check, key));
        }
    }

    /// Asks the current link, if there is one, for a lock that is wanted, or for the reattach of one that is held
    /// elsewhere.
    fn place(&mut self, key: Key, now: Moment, out: &mut Vec<Output>) {
        if let (Some(link), Some(lock)) = (self.links.current(), self.locks.get_mut(&key)) {
            lock.place(link, now, out);
        }
    }

    /// Asks the current link for everything that it does not know yet, in the order in which it was wanted.
    fn place_all(&mut self, now: Moment, out: &mut Vec<Output>) {
        if let Some(link) = self.links.current() {
            self.locks.values_mut().for_each(|lock| lock.place(link, now, out));
        }
    }

    fn dial_failed(&mut self, link: LinkId, failure: Failure, now: Moment, out: &mut Vec<Output>) {
        let Some(endpoint) = self.dialer.failed(link) else { return };
        self.refused = if failure.code.is_final() { self.refused + 1 } else { 0 };
        self.troubles[endpoint] = Some(failure.message.clone());
        // Another broker may take what one refuses.
        if self.refused < self.settings.endpoints.len() {
            return;
        }
        let pending: Vec<Key> = self.locks.values().filter(|lock| lock.is_pending()).map(|lock| lock.key).collect();
        for key in pending {
            self.fail(key, failure.clone(), now, out);
        }
    }

    /// Ends a call by a failure.
    fn fail(&mut self, key: Key, failure: Failure, now: Moment, out: &mut Vec<Output>) {
        self.step(key, now, out, |lock, links, now, out| lock.end(links, now, out));
        out.push(Output::Failed { key, failure });
    }

    fn message(&mut self, id: LinkId, message: Message, now: Moment, out: &mut Vec<Output>) {
        if self.links.get(id).is_none() && !matches!(message, Message::Opened { .. }) {
            return self.not_opened(id, now, out);
        }
        match message {
            Message::Opened { ttl, expires_after, heartbeat_interval } => {
                let Some((endpoint, sent)) = self.dialer.opened(id) else { return };
                self.troubles.fill(None);
                self.refused = 0;
                let terms = Terms { ttl, expires_after, heartbeat_interval };
                self.links.all.push(Link::new(id, endpoint, sent, now, terms));
                self.place_all(now, out);
            }
            Message::HeartbeatAck { seq, expires_after, not_renewed } => {
                let Some(link) = self.links.get_mut(id) else { return };
                link.acknowledged(seq, expires_after, &not_renewed);
                self.dialer.start_over(now);
            }
            Message::Draining => self.retire(id, true, now, out),
            Message::Event { lock_ref, event } => {
                // Ignores what is said of a lock that has moved on or was given up.
                let key = self.links.get(id).and_then(|link| link.locks.get(&lock_ref)).copied();
                let at = At { link: id, lock_ref };
                if let Some(key) = key {
                    self.step(key, now, out, |lock, links, now, out| lock.event(at, event, links, now, out));
                }
            }
            Message::Other => {}
        }
    }

    /// Hangs up on a broker that says something else before `opened`.
    fn not_opened(&mut self, id: LinkId, now: Moment, out: &mut Vec<Output>) {
        if self.dialer.endpoint_of(id).is_some() {
            out.push(Output::Hangup { link: id });
            let failure = Failure {
                code: Code::Other(INTERNAL),
                ..Failure::unavailable("the Session did not begin with `opened`")
            };
            self.dial_failed(id, failure, now, out);
        }
    }

    fn ended(&mut self, id: LinkId, failure: Failure, now: Moment, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(id) else { return self.dial_failed(id, failure, now, out) };
        let current = link.phase == Phase::Current;
        let endpoint = link.endpoint;
        link.phase = Phase::Ended;
        if current {
            self.troubles[endpoint] = Some(failure.message);
            self.dialer.turn_from(endpoint);
        }
        self.leave(id, false, now, out);
    }

    /// Takes a link out of use: what is wanted or held there moves to the next. `answers` says whether releases that
    /// were asked for on it are still answered there.
    fn retire(&mut self, id: LinkId, answers: bool, now: Moment, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.phase == Phase::Current {
            link.phase = Phase::Retired;
            self.dialer.turn_from(link.endpoint);
        }
        self.leave(id, answers, now, out);
    }

    fn leave(&mut self, id: LinkId, answers: bool, now: Moment, out: &mut Vec<Output>) {
        let keys: Vec<Key> = self.links.get(id).map(|link| link.locks.values().copied().collect()).unwrap_or_default();
        for key in keys {
            self.step(key, now, out, |lock, links, now, out| lock.leave(id, answers, links, now, out));
        }
        self.place_all(now, out);
    }

    /// Does what it is time for.
    fn keep_time(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.run_out(now, out);
        self.elsewhere.keep_time(now, out);
        if let Some((link, failure)) = self.dialer.late(now) {
            out.push(Output::Hangup { link });
            self.dial_failed(link, failure, now, out);
        }
        for at in 0..self.links.all.len() {
            let link = &self.links.all[at];
            if link.phase == Phase::Current && link.is_silent(now) {
                self.troubles[link.endpoint] = Some("the broker is silent".into());
                self.retire(link.id, false, now, out);
            }
        }
        if self.place_at.is_some_and(|at| at <= now) {
            self.place_at = None;
            self.place_all(now, out);
        }
        self.give_up(now, out);
        self.links.all.iter_mut().for_each(|link| link.beat(now, out));
    }

    /// Loses what has run out.
    fn run_out(&mut self, now: Moment, out: &mut Vec<Output>) {
        for at in 0..self.links.all.len() {
            let link = &mut self.links.all[at];
            let keys: Vec<Key> = match link.run_out(now) {
                None => continue,
                Some(RunOut::All) => link.locks.values().copied().collect(),
                Some(RunOut::Some(refs)) => {
                    refs.iter().filter_map(|lock_ref| link.locks.get(lock_ref).copied()).collect()
                }
            };
            let id = link.id;
            for key in keys {
                self.step(key, now, out, |lock, links, _, out| match lock.home() {
                    Some(home) if home.link == id => lock.lose(LostReason::Expired, links, out),
                    _ => Next::Stay,
                });
            }
        }
    }

    /// Ends the calls that have no answer in time.
    fn give_up(&mut self, now: Moment, out: &mut Vec<Output>) {
        while let Some(&(check, key)) = self.checks.first()
            && check <= now
        {
            self.checks.pop_first();
            let Some(pending) = self.pending.get_mut(&key) else { continue };
            let no_broker = self.troubles.iter().any(Option::is_some);
            if no_broker || pending.at_most <= now {
                let failure = Failure::unavailable(self.why_no_answer());
                self.fail(key, failure, now, out);
            } else {
                // Trouble may become known at any time.
                pending.check = (now + CHECK_INTERVAL).min(pending.at_most);
                self.checks.insert((pending.check, key));
            }
        }
    }

    /// Returns why no broker has answered: the troubles with each, as far as they are known.
    fn why_no_answer(&self) -> String {
        let told = self.settings.endpoints.iter().zip(&self.troubles);
        let told =
            told.filter_map(|(name, why)| Some(format!("no session with a broker at {name}: {}", why.as_ref()?)));
        let told: Vec<String> = told.collect();
        if told.is_empty() {
            let names = self.settings.endpoints.join(", ");
            return format!("no answer from the broker at {names} within {:?}", self.settings.answer_timeout);
        }
        told.join("; ")
    }

    /// Closes the links that are out of use and have no lock left.
    fn hang_up(&mut self, out: &mut Vec<Output>) {
        self.links.all.retain(|link| {
            let stays = link.phase == Phase::Current || !link.locks.is_empty();
            if !stays && link.is_open() {
                out.push(Output::Hangup { link: link.id });
            }
            stays
        });
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("locks", &self.locks).field("links", &self.links).finish_non_exhaustive()
    }
}
