//! The notes of a run: what the clients believed, what they waited for, and what the nemesis did. All instants come
//! from one clock, that of the test's own process.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::elections::{Campaign, View};

/// The ttl of every lock, default and maximum.
pub(crate) const TTL: Duration = Duration::from_secs(5);
/// The time for which a grant or a renewal is good, counted from when the client asked for it.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// A stretch of time in which a client took the lock for its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Belief {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

/// A grant as its client had it.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) client: usize,
    /// The name's number.
    pub(crate) name: usize,
    /// How it was granted.
    pub(crate) access: Access,
    /// What became of the access, in order, and since when.
    pub(crate) changes: Vec<(Instant, Access)>,
    /// The number of locks and permits that its client has together, this one included.
    pub(crate) together: usize,
    /// The names of the locks that its client had together with it.
    pub(crate) others: Vec<usize>,
    pub(crate) token: i64,
    /// The beliefs, in order. There are several if the stream broke and the lock was reattached: in between there is
    /// no belief.
    pub(crate) beliefs: Vec<Belief>,
    /// The moment at which the client sent what the latest renewal answered.
    pub(crate) renewed: Instant,
    pub(crate) end: End,
    /// True if the end of a stream does not end it: it is kept then, or has none. Its client may have any broker renew it.
    pub(crate) outlives_streams: bool,
    /// The time for which nobody can have it after it was let go.
    pub(crate) linger: Duration,
    /// The moment until which nobody else can have it, whenever it ends.
    pub(crate) held_at_least: Option<Instant>,
    /// True if its client asked for it again by the name of the first call, and got the same.
    pub(crate) repeated: bool,
}

impl Hold {
    /// Returns the names of all locks that its client had together.
    pub(crate) fn names(&self) -> impl Iterator<Item = usize> {
        self.others.iter().copied().chain([self.name])
    }

    /// Returns the access that its client had at that time.
    pub(crate) fn access_at(&self, then: Instant) -> Access {
        self.changes.iter().rfind(|(since, _)| *since <= then).map_or(self.access, |(_, access)| *access)
    }

    /// Returns the access that its client had last.
    pub(crate) fn last_access(&self) -> Access {
        self.changes.last().map_or(self.access, |(_, access)| *access)
    }

    /// Returns the moment before which nobody else can have it, if it is not the end of the belief.
    pub(crate) fn closed_until(&self) -> Option<Instant> {
        let let_go = self.beliefs.last().filter(|_| matches!(self.end, End::LetGo) && !self.linger.is_zero());
        self.held_at_least.max(let_go.map(|last| last.until + self.linger))
    }
}

/// How a client had a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Alone,
    /// Its client has asked to share what it had alone, and does not know if others do by now.
    Between,
    /// As one of several.
    Shared {
        permit: u32,
        /// The most that may share it, if there is a limit.
        limit: Option<u32>,
    },
}

impl Access {
    /// Returns true if the two must not have a lock at the same time.
    pub(crate) fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Shared { permit, .. }, Self::Shared { permit: other, .. }) => permit == other,
            (Self::Between, Self::Shared { .. }) | (Self::Shared { .. }, Self::Between) => false,
            _ => true,
        }
    }
}

/// The way in which a hold ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// Its client released it.
    LetGo,
    /// Against it.
    Lost {
        at: Instant,
        /// True if the broker said so, ended the stream, or said that it had renewed the lock, when that was too late.
        /// Otherwise the client had only its own clock.
        told: bool,
    },
}

/// A client that waited for a lock, until it got it or gave up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) client: usize,
    pub(crate) name: usize,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

/// A deed of the nemesis.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) on: Vec<Target>,
    pub(crate) from: Instant,
    /// Its end: the moment at which it had been undone.
    pub(crate) until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    BrokerKilled,
    BrokerPaused,
    /// A broker is paused while new connections of its clients lead to other brokers.
    BrokerPausedAndLeft,
    StoreRestarted,
    StoreFlushed,
    StorePaused,
    StoreFilled,
    ClientCut,
    ClientDelayed,
    ClientHalfOpen,
    /// The broker's half of the connection is reset. The client's half stays open, and it goes on believing.
    ClientResetAtBroker,
    /// The client's half of the connection is reset. The broker's half stays open.
    ClientResetAtClient,
    StoreLinkCut,
    StoreLinkDelayed,
    StoreLinkHalfOpen,
    /// An operator takes a lock from its holder.
    Revoked,
    /// Nobody did it: this machine had no time for us.
    MachineStalled,
}

impl Kind {
    /// The kinds that the nemesis does.
    pub(crate) const ALL: [Self; 16] = [
        Self::BrokerKilled,
        Self::BrokerPaused,
        Self::BrokerPausedAndLeft,
        Self::StoreRestarted,
        Self::StoreFlushed,
        Self::StorePaused,
        Self::StoreFilled,
        Self::ClientCut,
        Self::ClientDelayed,
        Self::ClientHalfOpen,
        Self::ClientResetAtBroker,
        Self::ClientResetAtClient,
        Self::StoreLinkCut,
        Self::StoreLinkDelayed,
        Self::StoreLinkHalfOpen,
        Self::Revoked,
    ];
}

/// Whom a fault touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Broker(usize),
    Store(usize),
    /// The connections of one client to its brokers.
    Client(usize),
    Name(usize),
    /// The connections of one broker to one memcached.
    StoreLink {
        broker: usize,
        store: usize,
    },
    Everything,
}

/// A grant that an operator took from its holder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revocation {
    pub(crate) name: usize,
    /// The permit, if it was one.
    pub(crate) permit: Option<u32>,
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
}

/// A name that could not be had after the run.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    pub(crate) name: usize,
    pub(crate) why: String,
}

/// The history of a run.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    pub(crate) holds: Vec<Hold>,
    pub(crate) waits: Vec<Wait>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) revocations: Vec<Revocation>,
    pub(crate) campaigns: Vec<Campaign>,
    pub(crate) views: Vec<View>,
    pub(crate) stuck: Vec<Stuck>,
    /// Each memcached that a name lives on in the course of the run.
    pub(crate) stores_of: Vec<Vec<usize>>,
    /// The name of each lock in the brokers' logs.
    pub(crate) names: Vec<String>,
    /// The brokers that each client's connections led to, and since when.
    pub(crate) connections: Vec<Vec<(Instant, usize)>>,
}

impl History {
    /// Returns true if a fault concerns a memcached on which a name lives.
    pub(crate) fn strikes(&self, fault: &Fault, name: usize) -> bool {
        let is_there = |target: &Target| matches!(target, Target::Store(store) if self.stores_of[name].contains(store));
        fault.on.iter().any(is_there)
    }

    /// Returns the brokers that a client was connected to at some time between the two instants.
    pub(crate) fn brokers_of(&self, client: usize, from: Instant, until: Instant) -> Vec<usize> {
        let connections = &self.connections[client];
        let first = connections.iter().rposition(|&(since, _)| since <= from).unwrap_or(0);
        connections[first..].iter().filter(|&&(since, _)| since <= until).map(|&(_, broker)| broker).collect()
    }

    pub(crate) fn cuts_of(&self, client: usize) -> impl Iterator<Item = Instant> {
        let cut = move |fault: &&Fault| fault.kind == Kind::ClientCut && fault.on.contains(&Target::Client(client));
        self.faults.iter().filter(cut).map(|fault| fault.from)
    }
}

/// The notes that all take during the run.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) holds: Mutex<Vec<Hold>>,
    pub(crate) waits: Mutex<Vec<Wait>>,
    pub(crate) faults: Mutex<Vec<Fault>>,
    pub(crate) revocations: Mutex<Vec<Revocation>>,
    /// By their numbers.
    pub(crate) campaigns: Mutex<Vec<Campaign>>,
    pub(crate) views: Mutex<Vec<View>>,
}

impl Notes {
    pub(crate) fn hold(&self, hold: Hold) {
        self.holds.lock().unwrap().push(hold);
    }

    pub(crate) fn wait(&self, client: usize, name: usize, from: Instant) {
        self.waits.lock().unwrap().push(Wait { client, name, from, until: Instant::now() });
    }

    /// Returns true if that has a fault just now.
    pub(crate) fn is_struck(&self, target: Target) -> bool {
        let now = Instant::now();
        self.faults.lock().unwrap().iter().any(|fault| fault.until > now && fault.on.contains(&target))
    }

    /// Notes a fault that begins now; it lasts until what is returned is dropped.
    pub(crate) fn fault(&self, kind: Kind, on: Vec<Target>) -> Ongoing<'_> {
        let from = Instant::now();
        let mut faults = self.faults.lock().unwrap();
        // Until it is over it is taken to last for ever.
        faults.push(Fault { kind, on, from, until: from + Duration::from_secs(86_400) });
        Ongoing { notes: self, index: faults.len() - 1 }
    }
}

/// A fault that is not over.
#[derive(Debug)]
pub(crate) struct Ongoing<'a> {
    notes: &'a Notes,
    index: usize,
}

impl Drop for Ongoing<'_> {
    fn drop(&mut self) {
        self.notes.faults.lock().unwrap()[self.index].until = Instant::now();
    }
}
