//! What a client knows: its streams, its locks, and until when it may believe in them. It counts the whole validity that it
//! was told, and takes no notice off.

use std::collections::BTreeMap;
use std::time::Duration;

use lockbroker_core::event::LockRef;
use lockbroker_core::lock::{LockId, LockValue, Permit};

use crate::shipped::Shipped;
use crate::time::Clock;

/// A stream of a client's.
#[derive(Debug, Clone)]
pub struct Link {
    pub kind: Kind,
    /// True until it has ended.
    pub open: bool,
    /// True once its broker has said that it goes away.
    pub draining: bool,
}

/// What a stream is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// That of one lock, asked for then.
    Alone { sent: u64 },
    /// A Session.
    Session(Box<Session>),
    /// A Session of a shipped client, which knows of it what there is to know.
    Shipped,
}

/// A Session, as its client has it. Times are of the client's clock.
#[derive(Debug, Clone)]
pub struct Session {
    pub ttl: u64,
    pub opened: bool,
    /// When `open` and the heartbeats were sent that are not acknowledged, by number.
    pub beats: BTreeMap<i64, u64>,
    pub last_seq: i64,
    pub acked: i64,
    pub last_ref: LockRef,
    pub next_beat: u64,
    /// Until when locks are valid that no ack has left out.
    pub covered_until: u64,
    /// True once the client sends nothing more on it, and may believe on.
    pub mute: bool,
}

/// Where a lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub conn: usize,
    pub lock_ref: LockRef,
}

/// How a client has a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is asked for.
    Asked,
    /// It is held.
    Held,
    /// Its stream has broken: it may be reattached, and is not believed in.
    Broken,
}

/// A lock, as its client has it. Times are of the client's clock.
#[derive(Debug, Clone)]
pub struct Lock {
    pub name: usize,
    pub ttl: Duration,
    pub linger: Duration,
    pub min_hold: Duration,
    pub phase: Phase,
    pub id: Option<LockId>,
    pub until: u64,
    pub home: Place,
    /// Where it is being reattached.
    pub moving: Option<Place>,
    /// True once its stream says nothing more of it, so that no ack extends it.
    pub settled: bool,
    /// When its client lets it go.
    pub let_go: u64,
    /// True if it is a lease: it has no stream once it is held.
    pub lease: bool,
    /// When its client renews a lease next.
    pub renew_at: u64,
    /// Its permit is below this, if it is shared.
    pub limit: Option<u16>,
    /// So many permits have to be free for it.
    pub weight: u8,
    /// True from when its client asks to share what it had alone until it hears of its permit.
    pub downgrading: bool,
    /// The value with which its client leads, if it does.
    pub value: Option<Value>,
}

/// A value that tells whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// The number of the term: of a lock that was asked for, however often it is moved.
    pub term: u64,
    /// Counts the updates.
    pub number: u64,
}

impl Value {
    /// Returns it as brokers have it.
    pub fn text(self) -> LockValue {
        LockValue::new(format!("{}.{}", self.term, self.number).as_bytes()).expect("it is short")
    }

    /// Reads what brokers show.
    pub fn read(shown: &LockValue) -> Option<Value> {
        let (term, number) = std::str::from_utf8(shown.as_bytes()).ok()?.split_once('.')?;
        Some(Value { term: term.parse().ok()?, number: number.parse().ok()? })
    }
}

/// A client.
#[derive(Debug)]
pub struct Client {
    pub clock: Clock,
    pub alive: bool,
    /// Counts its pauses; odd while it stands still.
    pub pause: u32,
    pub links: BTreeMap<usize, Link>,
    pub locks: BTreeMap<u64, Lock>,
    pub next_key: u64,
    /// When it last was in trouble, or odd.
    pub trouble: u64,
    /// The name that it has to have once, for one that asks when all faults are over.
    pub probes: Option<usize>,
    /// The shipped client that it is, if it is no stub.
    pub shipped: Option<Box<Shipped>>,
}

impl Client {
    /// Makes one that has nothing.
    pub fn new(clock: Clock) -> Client {
        Client {
            clock,
            alive: true,
            pause: 0,
            links: BTreeMap::new(),
            locks: BTreeMap::new(),
            next_key: 0,
            trouble: 0,
            probes: None,
            shipped: None,
        }
    }

    /// Returns true while it stands still.
    pub fn is_paused(&self) -> bool {
        self.pause % 2 == 1
    }

    /// Returns the locks in which it believes at the true time `now`.
    pub fn believed(&self, now: u64) -> impl Iterator<Item = &Lock> {
        let local = self.clock.at(now);
        let alive = self.alive;
        self.locks.values().filter(move |lock| alive && lock.believed(local))
    }

    /// Returns the open Session that takes new locks.
    pub fn session(&self) -> Option<usize> {
        let takes = |link: &Link| link.open && !link.draining && link.session().is_some_and(|session| !session.mute);
        self.links.iter().find(|(_, link)| takes(link)).map(|(conn, _)| *conn)
    }

    /// Returns the lock at a place.
    pub fn lock_at(&self, place: Place) -> Option<u64> {
        let at = |lock: &Lock| lock.home == place || lock.moving == Some(place);
        self.locks.iter().find(|(_, lock)| at(lock)).map(|(key, _)| *key)
    }
}

impl Lock {
    /// Makes one that is about to be asked for.
    pub fn wanted(name: usize, ttl: Duration, linger: Duration) -> Lock {
        let home = Place { conn: 0, lock_ref: 0 };
        let (phase, until, let_go) = (Phase::Asked, 0, 0);
        let (moving, settled, lease, renew_at) = (None, false, false, 0);
        let min_hold = Duration::ZERO;
        let (limit, weight, downgrading, value) = (None, 1, false, None);
        Lock {
            name,
            ttl,
            linger,
            min_hold,
            phase,
            id: None,
            until,
            home,
            moving,
            settled,
            let_go,
            lease,
            renew_at,
            limit,
            weight,
            downgrading,
            value,
        }
    }

    /// Returns the permit that it has.
    pub fn permit(&self) -> Option<Permit> {
        self.id.and_then(|id| id.permit)
    }

    /// Returns true if its client believes in it.
    pub fn believed(&self, local: u64) -> bool {
        self.phase == Phase::Held && local < self.until
    }
}

impl Link {
    /// Returns the Session that it is.
    pub fn session(&self) -> Option<&Session> {
        match &self.kind {
            Kind::Session(session) => Some(session),
            Kind::Alone { .. } | Kind::Shipped => None,
        }
    }

    /// Returns the Session that it is, to change it.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.kind {
            Kind::Session(session) => Some(session),
            Kind::Alone { .. } | Kind::Shipped => None,
        }
    }
}
