//! What one run is like: which faults and features it has, how large it is and how fast. Each seed draws its own subset.

use std::num::NonZeroUsize;
use std::time::Duration;

use lockbroker_core::request::{OnDisconnect, Settings, StoreTraits};

use crate::choices::Choices;
use crate::shipped::Shipped;
use crate::themes::Theme;
use crate::time::{MS, SEC};

/// A fault that a run can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A broker stands still for a while.
    Pause,
    /// A broker dies.
    Kill,
    /// A broker drains, and ends.
    Drain,
    /// A broker does not reach a shard for a while.
    Cut,
    /// A shard loses its memory.
    Loss,
    /// A connection carries nothing for a while, one way or both.
    BlackHole,
    /// A connection is reset, on one side or both.
    Reset,
    /// A client's process or machine dies.
    ClientDeath,
    /// A client stands still for a while.
    ClientPause,
    /// Answers of a shard are lost for a while, and commands land late.
    Uncertain,
    /// A shard answers slowly for a while.
    Slow,
    /// A shard has no memory for a while, or too little.
    Full,
    /// The connections of a broker to a shard break.
    Broken,
    /// A server's process is stopped for a while.
    Stop,
    /// A server's process ends, and the next one begins after a while.
    Down,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 15] = [
        Fault::Pause,
        Fault::Kill,
        Fault::Drain,
        Fault::Cut,
        Fault::Loss,
        Fault::BlackHole,
        Fault::Reset,
        Fault::ClientDeath,
        Fault::ClientPause,
        Fault::Uncertain,
        Fault::Slow,
        Fault::Full,
        Fault::Broken,
        Fault::Stop,
        Fault::Down,
    ];
}

/// What one run is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many brokers there are.
    pub brokers: usize,
    /// How many shards there are.
    pub shards: usize,
    /// How many servers there are beside them, which can be put in their place. If there are any, an operator changes the list of
    /// the servers.
    pub spares: usize,
    /// How often in a million an operator's command dies before a step.
    pub operator_dies: u32,
    /// How many clients there are.
    pub clients: usize,
    /// How many names they want.
    pub names: usize,
    /// The settings of all brokers.
    pub settings: Settings,
    /// What the store is to the brokers.
    pub traits: StoreTraits,
    /// The faults that the run has.
    pub faults: Vec<Fault>,
    /// The mean time between two faults.
    pub fault_every: u64,
    /// Of eight losses of memory that are drawn so many happen.
    pub losses: usize,
    /// True if servers refuse some of what needs memory throughout.
    pub scarce: bool,
    /// The longest times that a fault may last, of which one is drawn for each.
    pub spans: Vec<u64>,
    /// Of three servers that are stopped so many stand still with a broker.
    pub together: usize,
    /// For how long there are faults.
    pub length: u64,
    /// How often a client acts.
    pub tick: u64,
    /// The longest time for which a client keeps a lock.
    pub hold: u64,
    /// How often in a million a broker stands still before an event.
    pub stall: u32,
    /// How often in a million a message or an answer takes long.
    pub dawdle: u32,
    /// The ttls that clients ask for.
    pub ttls: Vec<Duration>,
    /// The lingers that clients ask for.
    pub lingers: Vec<Duration>,
    /// The `min_hold`s that clients ask for.
    pub min_holds: Vec<Duration>,
    /// True if clients do odd things too.
    pub rude: bool,
    /// True if clients move locks that are well, and release by calls.
    pub moves: bool,
    /// Of ten requests so many wait.
    pub waits: u64,
    /// Of ten requests so many have a stream of their own.
    pub alone: u64,
    /// Of ten clients so many are the shipped one.
    pub shipped: u64,
    /// True if clocks differ.
    pub drift: bool,
    /// Of ten requests for a stream of its own so many ask for a lease instead.
    pub leases: u64,
    /// How often an operator revokes a lock. None: never.
    pub revokes_every: Option<u64>,
    /// Of ten clients so many ask for locks that are kept when their streams end.
    pub kept: usize,
    /// Of ten requests so many ask for a permit.
    pub shares: u64,
    /// Of ten who want a lock alone so many give it a value, and others look at it.
    pub leads: u64,
    /// Of ten requests for a permit so many need as many free ones as there may be.
    pub collects: u64,
    /// Of ten requests of shipped clients so many ask for several locks together.
    pub several: u64,
}

impl Options {
    /// Draws them.
    pub fn draw(choices: &mut Choices) -> Options {
        let theme = Theme::draw(choices);
        let mut options = Options::mixture(choices);
        theme.shape(&mut options, choices);
        options
    }

    fn mixture(choices: &mut Choices) -> Options {
        let secs = Duration::from_secs;
        let max_ttl = secs([15, 6, 10, 20, 30][choices.spread(5) as usize]);
        let mut ttls = vec![secs(5)];
        ttls.extend([6, 9, 15].map(secs).into_iter().filter(|ttl| *ttl <= max_ttl && choices.spread(2) == 1));
        let mut lingers = vec![Duration::ZERO];
        lingers.extend([1, 4, 12].map(secs).into_iter().filter(|_| choices.spread(3) == 2));
        let few = choices.spread(6) == 5;
        let limit = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        let settings = Settings {
            default_ttl: secs(5),
            max_ttl,
            poll_interval: Duration::from_millis([100, 20, 500, 1_000][choices.spread(4) as usize]),
            max_locks: limit(if few { 3 } else { 10_000 }),
            max_waiters: limit(if few { 2 } else { 10_000 }),
        };
        let mut faults = Fault::ALL.to_vec();
        match choices.spread(8) {
            0 => faults.clear(),
            // All of them.
            7 => {}
            _ => faults.retain(|_| choices.spread(3) == 2),
        }
        let brokers = 1 + choices.spread(4) as usize;
        Options {
            brokers,
            shards: 1 + choices.spread(2) as usize,
            spares: 0,
            operator_dies: 0,
            clients: 1 + choices.spread(8) as usize,
            names: 1 + choices.spread(5) as usize,
            settings,
            traits: StoreTraits { is_shared: true, can_be_woken: choices.spread(3) > 0 },
            faults,
            fault_every: [1_000, 250, 4_000, 10_000][choices.spread(4) as usize] * MS,
            losses: 1,
            scarce: false,
            spans: [1, 4, 15, 45].map(|seconds| seconds * SEC).to_vec(),
            together: 1,
            length: (30 + choices.spread(120)) * SEC,
            tick: [200, 30, 1_000][choices.spread(3) as usize] * MS,
            hold: [5, 1, 15, 40][choices.spread(4) as usize] * SEC,
            stall: [0, 0, 100, 1_000][choices.spread(4) as usize],
            dawdle: [0, 1_000, 20_000, 200_000][choices.spread(4) as usize],
            ttls,
            lingers,
            min_holds: vec![Duration::ZERO],
            rude: choices.spread(2) == 1,
            moves: choices.spread(2) == 1,
            waits: choices.spread(11),
            alone: choices.spread(11),
            shipped: choices.spread(11),
            drift: choices.spread(2) == 1,
            leases: [0, 0, 3, 8][choices.spread(4) as usize],
            revokes_every: [None, None, None, Some(3 * SEC), Some(20 * SEC)][choices.spread(5) as usize],
            kept: [0, 0, 3, 10][choices.spread(4) as usize],
            shares: 0,
            leads: 0,
            collects: 2,
            several: 0,
        }
    }

    /// Draws if a client is the shipped one, by a clock that shows `now`.
    pub fn draw_shipped(&self, now: u64, choices: &mut Choices) -> Option<Box<Shipped>> {
        (choices.spread(10) < self.shipped).then(|| self.new_shipped(now, choices))
    }

    /// Makes a shipped client, by a clock that shows `now`.
    pub fn new_shipped(&self, now: u64, choices: &mut Choices) -> Box<Shipped> {
        let ttl = self.ttls[choices.spread(self.ttls.len() as u64) as usize];
        Box::new(Shipped::new(self.brokers, ttl, now, choices))
    }

    /// Returns true if a run has this fault.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Returns what is to become of this client's locks when their streams end.
    pub fn on_disconnect(&self, client: usize) -> OnDisconnect {
        if client % 10 < self.kept { OnDisconnect::Keep } else { OnDisconnect::Release }
    }

    /// Returns the longest linger that a client asks for.
    pub fn longest_linger(&self) -> Duration {
        self.lingers.iter().copied().max().unwrap_or_default()
    }

    /// Returns the longest `min_hold` that a client asks for.
    pub fn longest_min_hold(&self) -> Duration {
        self.min_holds.iter().copied().max().unwrap_or_default()
    }
}
