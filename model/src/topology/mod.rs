//! Servers that come and go: a list of memcached servers that changes under running brokers (README.md has what is in it).
//!
//! A machine of its own, beside the one of `crate::model`: one name, two brokers with a client each, up to three servers, and
//! up to two runs of `shard adopt`. Brokers and adopters are written for it. A batch is one step: it counts if S shows
//! what its sender knew when it was sent, and a server carries it out at one moment. That loses nothing: S never shows a stamp twice, so
//! a batch whose witness shows what was known had that S for all its commands.

mod actions;
mod adopters;
mod brokers;
mod configurations;
mod properties;
mod servers;
mod state;

pub use actions::Action;
pub use configurations::{LARGER, LONG, Mutilation, QUICK, TEETH};
pub use properties::{FREE_AGAIN, LINGER_WHOLE, LOCK_KEPT, ONE_HOLDER, PROMISES, TOKENS_RISE};
pub use state::{SERVERS, Set, State};

use state::Plan;
pub(crate) use state::each;

/// The topology in force at first, and those that operators adopt.
pub(crate) const PRESENT: Plan = 1;
pub(crate) const NEXT: Plan = 2;
pub(crate) const RIVAL: Plan = 3;

/// A list of servers, and where the name lives by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    pub servers: Set,
    pub place: usize,
    /// Its `--max-ttl`, in ticks.
    pub max_ttl: u8,
}

/// The bounds of a configuration. Times are in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub name: &'static str,
    pub present: Topology,
    pub next: Topology,
    /// The aim of another operator, at the same time.
    pub rival: Option<Topology>,
    pub ttl: u8,
    pub linger: u8,
    /// The times that each client asks.
    pub asks: u8,
    /// True if clients release of their own accord.
    pub leaves: bool,
    pub losses: u8,
    /// The brokers that may die, and start again with the present list.
    pub deaths: u8,
    /// The adopters that may die and be run again, with nothing in mind.
    pub adopter_deaths: u8,
    /// The times that a client goes to the other broker with its lock.
    pub reattaches: u8,
    /// True if both clients are at one broker, which hands over.
    pub together: bool,
    /// True if fencing tokens are followed.
    pub tokens: bool,
    /// The commands that may be given up at a time, and land later or never.
    pub strays: usize,
    /// A server of the present list that is gone for good: `--dead`.
    pub dead: Option<usize>,
    /// True if the adopter's list of what lives at the old place may miss the lock.
    pub dump_misses: bool,
    /// Everybody works before time goes on.
    pub prompt: bool,
    /// True if every state is looked at for a way on: it costs a hundred times the time.
    pub recovers: bool,
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident,)*) => {
        /// The rules, each of which can be left out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Rules {
            $($(#[doc = $doc])+ pub $rule: bool,)*
        }

        impl Rules {
            /// The protocol as it is.
            pub const ALL: Rules = Rules { $($rule: true,)* };
        }
    };
}

rules! {
    /// R21. A flip changes the epoch; left out, what was sent before counts after it.
    flip_is_fresh,
    /// R22. No server is flipped before every present one shows the notice, and every new one the next topology.
    prepared,
    /// R23. Who opens an epoch of the present topology has looked at another open server of it since this epoch was seen, or at all;
    /// left out, servers that were not reached say nothing against it.
    opens_with_evidence,
    /// R23. Who knows of the next topology opens no epoch of the present one.
    aware_opens_nothing,
    /// R24. Nothing is sent to the new place before the old one was seen flipped.
    old_place_first,
    /// R25. The next topology opens only when every present server is flipped.
    opens_when_all_flipped,
    /// R25. It opens the longest ttl after the last flip; left out, after the first one.
    waits_from_last_flip,
    /// R25. Only the adopter opens it at first; left out, any broker does after a quarantine.
    adopter_opens_first,
    /// R25. It opens when what lives at the old place was copied to the new one.
    copies,
    /// R25. The tokens of the next topology begin after those that were drawn; left out, at the beginning.
    tokens_go_on,
    /// R25. An epoch that has changed since it was seen counts anew.
    counts_anew,
    /// R24. A broker creates what it keeps at a place that is closed.
    reasserts,
    /// R26. The wait is as long as the longer one of both `--max-ttl`; left out, as the next one.
    longer_ttl,
    /// R26. `--max-ttl` is lowered only to what no lock in use exceeds.
    lowered_with_care,
    /// A11. Once a server is flipped, some present one goes on to speak of the change until every broker has heard of it.
    somebody_remembers,
    /// R27. A server that is said to be dead answers nobody; left out, it answers one broker.
    dead_is_down,
}

/// One configuration, with all rules or without one.
#[derive(Clone, Debug)]
pub struct Model {
    pub bounds: Bounds,
    pub rules: Rules,
}

impl Model {
    pub fn new(bounds: Bounds, rules: Rules) -> Model {
        Model { bounds, rules }
    }

    pub(crate) fn topology(&self, plan: Plan) -> Topology {
        match plan {
            NEXT => self.bounds.next,
            RIVAL => self.bounds.rival.expect("somebody adopts it"),
            _ => self.bounds.present,
        }
    }

    /// Returns the servers of the present topology, but for the one that is gone.
    pub(crate) fn present(&self) -> Set {
        let dead = self.bounds.dead.map_or(0, |dead| 1 << dead);
        self.bounds.present.servers & !dead
    }

    /// Returns the servers that play a part in a change.
    pub(crate) fn involved(&self, plan: Plan) -> Set {
        self.present() | self.topology(plan).servers
    }

    /// Returns the time for which an epoch of this topology stays closed.
    pub(crate) fn quarantine(&self, plan: Plan) -> u8 {
        match self.rules.longer_ttl {
            true => self.topology(plan).max_ttl.max(self.bounds.present.max_ttl),
            false => self.topology(plan).max_ttl,
        }
    }

    /// Returns true if nobody but the broker that may reach a dead server against the rule can ask this one.
    pub(crate) fn is_down(&self, state: &State, server: usize, broker: Option<usize>) -> bool {
        let reaches = !self.rules.dead_is_down && broker == Some(1);
        state.down && self.bounds.dead == Some(server) && !reaches
    }
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.bounds).canonical()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        self.apply(&mut state, action);
        let after = state.canonical();
        (after != *before).then_some(after)
    }

    fn properties(&self) -> Vec<stateright::Property<Model>> {
        properties::all(&self.bounds)
    }
}

/// Returns true if all of these are among those.
pub(crate) fn is_within(these: Set, those: Set) -> bool {
    these & !those == 0
}
