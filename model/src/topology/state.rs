//! A state of the world, and its canonical form.

use super::{Bounds, PRESENT};

/// The most servers of a configuration.
pub const SERVERS: usize = 3;
pub type Set = u8;
/// The number of a topology; 0 for none.
pub type Plan = u8;
/// An epoch, renamed by where it appears; 0 for none.
pub type Epoch = u8;
/// An id of a grant or of a linger, renamed by where it appears; 0 for none.
pub type Id = u8;

/// Lists the servers of a set.
pub(crate) fn each(set: Set) -> impl Iterator<Item = usize> {
    (0..SERVERS).filter(move |server| set & 1 << server != 0)
}

/// The meaning of S: an epoch, and the topology to which the server belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    pub epoch: Epoch,
    pub plan: Plan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    pub id: Id,
    pub lingers: bool,
    pub left: u8,
}

/// S. Its value never changes: it has the topology for which S was made. Its CAS has an epoch, and a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateItem {
    pub epoch: Epoch,
    pub made_for: Plan,
    /// True if the generation is a later one than that of the value. Then N has the topology.
    pub flipped: bool,
}

/// A memcached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    pub state: Option<StateItem>,
    /// True if the fences of this epoch are there.
    pub open: bool,
    /// N: the topology that is to come.
    pub notice: Plan,
    pub item: Option<Item>,
    /// The highest token of F.
    pub token: u8,
}

impl Server {
    /// Draws a token.
    pub fn draw(&mut self) -> u8 {
        self.token += 1;
        self.token
    }

    /// Returns what S means.
    pub fn stamp(&self) -> Option<Stamp> {
        let read = |state: StateItem| Stamp {
            epoch: state.epoch,
            plan: if state.flipped { self.notice } else { state.made_for },
        };
        self.state.map(read)
    }
}

/// The S that a broker has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum View {
    #[default]
    Unread,
    Missing,
    Shows {
        stamp: Stamp,
        open: bool,
        /// N.
        notice: Plan,
        /// The ticks since the answer that first showed it, while it is closed and this broker may come to open it.
        closed_for: u8,
    },
}

impl View {
    /// Returns the stamp, if it is of this topology.
    pub fn of(self, plan: Plan) -> Option<Stamp> {
        match self {
            View::Shows { stamp, .. } if stamp.plan == plan => Some(stamp),
            _ => None,
        }
    }
}

/// A broker's knowledge of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Known {
    pub view: View,
    /// The servers that were seen without a word of the next topology since this view; and those of them that were open.
    pub clean: Set,
    pub open: Set,
}

/// A client's request at a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hold {
    #[default]
    None,
    Asked,
    /// The client has come from the other broker, and its lock is to get a new id.
    Moving {
        from: Id,
        to: Id,
        /// The rest of its validity.
        left: u8,
    },
    Held {
        id: Id,
        /// The rest of the lease.
        lease: u8,
    },
    /// The lock was let go, and lingers.
    Lingering {
        from: Id,
        id: Id,
        left: u8,
    },
    /// The lock was let go, and the other client waits for it here.
    HandingOver {
        from: Id,
        to: Id,
        /// The rest of the lease.
        left: u8,
    },
}

impl Hold {
    /// Returns the ids that it keeps, or that it may have given an item.
    pub fn ids(self) -> [Id; 2] {
        match self {
            Hold::None | Hold::Asked => [0, 0],
            Hold::Held { id, .. } => [id, 0],
            Hold::Moving { from, to, .. } | Hold::HandingOver { from, to, .. } => [from, to],
            Hold::Lingering { from, id, .. } => [from, id],
        }
    }

    /// Returns the time that it has left, if it has an end.
    pub fn left_mut(&mut self) -> Option<&mut u8> {
        match self {
            Hold::None | Hold::Asked => None,
            Hold::Held { lease: left, .. }
            | Hold::Moving { left, .. }
            | Hold::Lingering { left, .. }
            | Hold::HandingOver { left, .. } => Some(left),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broker {
    pub known: [Known; SERVERS],
    /// The next topology, once the broker has read of it.
    pub aware: Plan,
    /// The present servers that it has seen flipped.
    pub flipped: Set,
    /// True once it has seen a server open under the next topology, and has dropped the present one.
    pub moved: bool,
    /// The request of each client.
    pub holds: [Hold; 2],
}

/// A run of `shard adopt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Adopter {
    /// The epoch under which it has seen its notice on each present server, and S on each new one.
    pub prepared: [Epoch; SERVERS],
    /// The epoch under which it has seen each server in the next topology.
    pub seen: [Epoch; SERVERS],
    /// The ticks since it saw the last of them.
    pub since: u8,
    /// The item that it has read at the old place.
    pub carries: Option<Item>,
    pub copied: bool,
    /// The highest token that it has read, each after the flip of its server.
    pub highest: u8,
    /// It has met another topology than its own, and gives up.
    pub stopped: bool,
}

/// A command, or a batch that acts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    Grant {
        id: Id,
    },
    /// Renews the item, or creates it again.
    Keep {
        id: Id,
        creates: bool,
    },
    /// Gives the item a new id: a reattach, or a hand-over.
    Swap {
        from: Id,
        to: Id,
    },
    /// Makes the item linger, or creates the linger.
    Linger {
        from: Id,
        id: Id,
        left: u8,
        creates: bool,
    },
    Begin {
        stamp: Stamp,
    },
    Flip {
        from: Epoch,
        to: Epoch,
    },
    Notice {
        plan: Plan,
    },
    Open {
        epoch: Epoch,
        /// The token after which its own come.
        start: u8,
    },
    Copy {
        item: Item,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    Done,
    Exists,
    Missing,
}

/// A command that was given up. It lands later, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stray {
    pub server: u8,
    pub op: Op,
}

/// Steps that may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    pub losses: u8,
    pub deaths: u8,
    pub adopter_deaths: u8,
    pub reattaches: u8,
    /// The times that each client asks again.
    pub asks: [u8; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub servers: [Server; SERVERS],
    /// True once the server that is to be dead has gone.
    pub down: bool,
    /// None while it is dead.
    pub brokers: [Option<Broker>; 2],
    pub adopters: [Adopter; 2],
    pub strays: Vec<Stray>,
    /// The broker at which each client has its request.
    pub at: [u8; 2],
    /// The id that each client was told, and the time for which it believes.
    pub ids: [Id; 2],
    pub valid: [u8; 2],
    /// The time for which nobody may get the lock after each client, by its linger.
    pub closed: [u8; 2],
    pub linger_cut: bool,
    pub lock_lost: bool,
    /// The tokens that were drawn, with their age, where they are followed; and the highest one that was told.
    pub drawn: Vec<(u8, u8)>,
    pub told: u8,
    pub token_fell: bool,
    /// The ids that dead brokers kept: nobody cleans them up.
    pub orphans: Vec<Id>,
    pub left: Left,
}

impl State {
    pub fn new(bounds: &Bounds) -> State {
        let mut servers = [Server::default(); SERVERS];
        let mut broker = Broker::default();
        for (number, server) in each(bounds.present.servers).enumerate() {
            let state = StateItem { epoch: number as Epoch + 1, made_for: PRESENT, flipped: false };
            servers[server] = Server { state: Some(state), open: true, ..Server::default() };
            let stamp = Stamp { epoch: state.epoch, plan: PRESENT };
            broker.known[server].view = View::Shows { stamp, open: true, notice: 0, closed_for: 0 };
        }
        let at = if bounds.together { [0, 0] } else { [0, 1] };
        let mut brokers = [broker.clone(), broker];
        at.iter().enumerate().for_each(|(client, at)| brokers[*at as usize].holds[client] = Hold::Asked);
        State {
            servers,
            down: false,
            brokers: brokers.map(Some),
            adopters: [Adopter::default(); 2],
            strays: Vec::new(),
            at,
            ids: [0; 2],
            valid: [0; 2],
            closed: [0; 2],
            linger_cut: false,
            lock_lost: false,
            drawn: Vec::new(),
            told: 0,
            token_fell: false,
            orphans: Vec::new(),
            left: Left {
                losses: bounds.losses,
                deaths: bounds.deaths,
                adopter_deaths: bounds.adopter_deaths,
                reattaches: bounds.reattaches,
                asks: [bounds.asks; 2],
            },
        }
    }

    /// Returns an epoch that nobody has used.
    pub fn fresh_epoch(&mut self) -> Epoch {
        let mut last = 0;
        self.visit(&mut |_| {}, &mut |epoch| last = last.max(*epoch));
        last + 1
    }

    /// Returns an id that nobody has used.
    pub fn fresh_id(&mut self) -> Id {
        let mut last = 0;
        self.visit(&mut |id| last = last.max(*id), &mut |_| {});
        last + 1
    }

    /// Returns true if somebody still keeps an item with this id.
    pub fn is_kept(&self, id: Id) -> bool {
        let keeps = |broker: &Broker| broker.holds.iter().any(|hold| hold.ids().contains(&id));
        self.brokers.iter().flatten().any(keeps)
    }

    /// Forgets the ids of dead brokers whose items are gone, and those of clients that believe no more.
    pub fn forget(&mut self) {
        for client in 0..2 {
            if self.valid[client] == 0 {
                self.ids[client] = 0;
            }
        }
        let (orphans, ids) = (std::mem::take(&mut self.orphans), std::mem::take(&mut self.ids));
        let mut standing = Vec::new();
        self.visit(&mut |id| standing.push(*id), &mut |_| {});
        self.orphans = orphans.into_iter().filter(|id| standing.contains(id)).collect();
        self.ids = ids;
    }

    /// Calls `id` with every id, and `epoch` with every epoch, in an order that does not depend on their names.
    fn visit(&mut self, id: &mut impl FnMut(&mut Id), epoch: &mut impl FnMut(&mut Epoch)) {
        for server in &mut self.servers {
            server.state.iter_mut().for_each(|state| epoch(&mut state.epoch));
            server.item.iter_mut().for_each(|item| id(&mut item.id));
        }
        for broker in self.brokers.iter_mut().flatten() {
            for known in &mut broker.known {
                if let View::Shows { stamp, .. } = &mut known.view {
                    epoch(&mut stamp.epoch);
                }
            }
            for hold in &mut broker.holds {
                match hold {
                    Hold::Held { id: held, .. } => id(held),
                    Hold::Lingering { from, id: to, .. }
                    | Hold::Moving { from, to, .. }
                    | Hold::HandingOver { from, to, .. } => {
                        id(from);
                        id(to);
                    }
                    Hold::None | Hold::Asked => {}
                }
            }
        }
        for adopter in &mut self.adopters {
            adopter.prepared.iter_mut().chain(&mut adopter.seen).for_each(&mut *epoch);
            adopter.carries.iter_mut().for_each(|item| id(&mut item.id));
        }
        for stray in &mut self.strays {
            match &mut stray.op {
                Op::Grant { id: of } | Op::Keep { id: of, .. } => id(of),
                Op::Linger { from, id: to, .. } | Op::Swap { from, to } => {
                    id(from);
                    id(to);
                }
                Op::Begin { stamp } => epoch(&mut stamp.epoch),
                Op::Flip { from, to } => {
                    epoch(from);
                    epoch(to);
                }
                Op::Open { epoch: of, .. } => epoch(of),
                Op::Copy { item } => id(&mut item.id),
                Op::Notice { .. } => {}
            }
        }
        self.ids.iter_mut().chain(&mut self.orphans).for_each(id);
    }

    /// Renames ids and epochs by where they appear, so that states that differ only in names are one.
    pub fn canonical(mut self) -> State {
        self.strays.sort_unstable();
        let (mut ids, mut epochs) = (Names::default(), Names::default());
        self.visit(&mut |id| ids.rename(id), &mut |epoch| epochs.rename(epoch));
        self.strays.sort_unstable();
        self
    }
}

/// New names, in the order in which the old ones are met.
struct Names {
    names: [u8; 64],
    last: u8,
}

impl Default for Names {
    fn default() -> Names {
        Names { names: [0; 64], last: 0 }
    }
}

impl Names {
    fn rename(&mut self, name: &mut u8) {
        if *name == 0 {
            return;
        }
        let new = &mut self.names[usize::from(*name)];
        if *new == 0 {
            self.last += 1;
            *new = self.last;
        }
        *name = *new;
    }
}
