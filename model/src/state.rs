//! A state of the world: memcached, two brokers, two clients, and the commands under way between them.
//!
//! No instant is absolute. A time is kept as what is left of it, or as an age that stops counting when nobody cares
//! any more. So a world at rest is the same state whenever that is. The clocks of the shipped cores always show the same
//! moment: what they have noted moves into the past.

use std::sync::Arc;

use lockbroker_core::shard::machine::{EpochState, Op as Shipped};
use lockbroker_core::shard::state_item::Epoch as ShippedEpoch;
use lockbroker_core::store::{Besides, ItemState, Seats, Slots as ShippedSlots};
use lockbroker_core::{Broker as Core, RequestId, StreamKey};

use crate::broker::{grant_id, linger_id, of_grant, of_item, seconds, ticks_of};

/// The place of an item: 0 for the lock's own, and one more than its number for a permit's.
pub type Place = u8;
/// A grant's or a linger's id; 0 is none.
pub type Id = u8;
/// The bit that all ids of lingers have.
pub const LINGER: Id = 0x80;
/// An epoch of the shard.
pub type Epoch = u8;
/// A fencing token; 0 where tokens are not followed.
pub type Token = u8;

/// The world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub memcached: Memcached,
    pub brokers: [Broker; 2],
    /// The shipped core of each broker that is alive.
    pub cores: [Option<Node>; 2],
    /// The stream of each client at each broker.
    pub links: [[Option<Link>; 2]; 2],
    pub clients: [Client; 2],
    /// Batches under way, in no order.
    pub flights: Vec<Flight>,
    /// The number of ids that are in use: those up to this one.
    pub ids: u8,
    pub left: Left,
    pub ghost: Ghost,
    pub reached: Reached,
}

/// The branches and sends of the step that led here, for the coverage. A state forgets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Reached {
    /// By [`lockbroker_core::env::Mark`].
    pub marks: u64,
    /// By the place in [`crate::coverage::STEPS`].
    pub sends: u64,
}

/// The contents of memcached: one shard with one lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Memcached {
    /// The item S.
    pub epoch: Option<Epoch>,
    pub epoch_fresh: bool,
    /// The items F<e>.
    pub fences: Vec<Fence>,
    /// The lock's item.
    pub item: Option<Item>,
    /// The items of its permits.
    pub permits: [Option<Item>; PERMITS],
    /// The item R of the lock: the number of permits that are looked for.
    pub slots: Option<Slots>,
    /// The item R of the shard, and whether it was written in this tick.
    pub noted: Option<bool>,
    pub stopped: bool,
    /// The ticks by which its clock is behind.
    pub lag: u8,
}

/// The place of an item that becomes a permit: its client believes in some permit, and does not know which.
pub const DOWNGRADING: Place = Place::MAX;

/// The number of permits that a lock can have here.
pub const PERMITS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slots {
    pub number: u8,
    /// Written in this tick, so that a flush may spare it.
    pub fresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence {
    pub epoch: Epoch,
    pub token: Token,
    /// Written in this tick, so that a flush may spare it.
    pub fresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Item {
    pub id: Id,
    /// The rest of its T by memcached's clock. It may die a margin earlier.
    pub left: u8,
    /// Stored while the clock lagged.
    pub stored_late: bool,
    pub fresh: bool,
}

/// A broker's knowledge of the shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broker {
    /// The shipped machine.
    pub memory: EpochState,
    /// The ticks by which memcached's clock was behind where this broker takes it to be right.
    pub reference: u8,
    /// True once it has seen memcached's clock run.
    pub clock_known: bool,
    /// The number of ticks ago that a quarantine counts from, where a rule is left out and it begins before it should.
    pub closed_from: Option<u8>,
}

/// A core. States in which nothing has happened to it share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub core: Arc<Core>,
    /// The ids that it knows, in the order in which they are met, if it is in its normal form and has nothing to clean up.
    pub ids: Option<Vec<Id>>,
}

impl Node {
    /// Makes one to which something has happened.
    pub fn new(core: Core) -> Node {
        Node { core: Arc::new(core), ids: None }
    }
}

/// The stream of a client at a broker, until the broker has forgotten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    pub key: StreamKey,
    /// True while what the broker says reaches the client, and the other way round.
    pub connected: bool,
    /// True until the broker takes it as ended.
    pub live: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Client {
    /// The broker at which it has asked.
    pub at: Option<u8>,
    /// The broker at which it reattaches.
    pub moving_to: Option<u8>,
    /// The id that it holds.
    pub id: Id,
    /// The place of the item that it holds.
    pub place: Place,
    /// What is left of the `min_hold` by its lock id.
    pub min_hold: u8,
    /// The time for which it may act without hearing from a broker again.
    pub valid: u8,
    /// True if it has ever moved or called Release elsewhere since it got the lock.
    pub moved: bool,
    /// True if what it holds is a lease: there is no stream.
    pub leased: bool,
    /// The broker at which it renews its lease, until that answers.
    pub calls: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A hold or an errand of this broker.
    Core(u8, RequestId),
    Probe(u8),
    /// Given up: what it comes to interests nobody.
    Nobody,
}

/// The purpose of a batch: an op of the shipped core in few bytes, or a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    Grant {
        id: Id,
        ttl: u8,
    },
    HandOver {
        from: Id,
        to: Id,
        ttl: u8,
    },
    /// An intent becomes a grant, if nobody has a permit from `from` on, or if there are `seats`.
    Occupy {
        id: Id,
        ttl: u8,
        from: u8,
        upto: u8,
        seats: u8,
    },
    /// A permit is taken; under the lock's own item, if `under` is not 0.
    Share {
        id: Id,
        ttl: u8,
        slots: u8,
        under: Id,
    },
    Find {
        from: u8,
        upto: u8,
    },
    Cover {
        id: Id,
        ttl: u8,
        slots: u8,
    },
    /// A renewal, a reattach, or the beginning of a linger.
    Replace {
        from: Id,
        to: Id,
        ttl: u8,
        reasserts: bool,
    },
    Reassert {
        id: Id,
        ttl: u8,
    },
    Remove {
        id: Id,
    },
    Look,
    Stands {
        id: Id,
    },
    LookIfRevoked,
    Probe,
    Begin(Epoch),
    Open(Epoch, Token),
}

/// An answer of memcached in few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Word {
    /// It has not answered yet.
    None,
    /// Done. What it shows is a lag, an epoch, a token or an id, as the command asks.
    Done(u8),
    Exists,
    Missing,
}

/// The most commands that a batch has: the clock, the lock's, its slots, a window of permits, the fences, the witness.
pub const MOST_COMMANDS: usize = 9;

/// The end of what an intent looks at that does not know it.
const UNKNOWN: u8 = u8::MAX;

fn pack_slots(slots: ShippedSlots) -> u8 {
    match slots {
        ShippedSlots::Ensure => 0,
        ShippedSlots::Raise(from) => from as u8,
    }
}

fn unpack_slots(slots: u8) -> ShippedSlots {
    match slots {
        0 => ShippedSlots::Ensure,
        from => ShippedSlots::Raise(from.into()),
    }
}

/// Packs what one wants who takes several permits: each number is below 4.
fn pack_seats(seats: Seats) -> u8 {
    (seats.limit + 4 * seats.weight + 16 * seats.free) as u8
}

fn unpack_seats(seats: u8) -> Option<Seats> {
    let [limit, weight, free] = [seats % 4, seats / 4 % 4, seats / 16].map(u16::from);
    (seats != 0).then_some(Seats { limit, weight, free })
}

/// A batch under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight {
    pub owner: Owner,
    pub op: Op,
    /// The item on which it acts.
    pub place: Place,
    /// The number of its commands, and how many were carried out.
    pub count: u8,
    pub carried_out: u8,
    /// True if the one command that changes something was carried out, or there is none.
    pub landed: bool,
    /// Ticks since it was sent.
    pub age: u8,
    /// The epoch that the broker knew then, and whether it has changed its mind since.
    pub epoch: Epoch,
    pub stale: bool,
    /// True if the broker knew the shard as open, and the highest token that it had seen.
    pub open: bool,
    pub token: Token,
    /// The answers, in the order of the commands.
    pub said: [Word; MOST_COMMANDS],
    /// The grant landed while a linger or a `min_hold` was not over.
    pub cuts_linger: bool,
}

/// The steps that may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Left {
    pub losses: u8,
    pub breaks: u8,
    pub deaths: u8,
    pub stops: u8,
    pub reattaches: u8,
    pub releases: u8,
    pub revocations: u8,
    pub draws: u8,
    pub asks: [u8; 2],
}

/// Facts that nobody in the world knows, kept for the properties.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Ghost {
    /// The time for which nobody may get the lock because of each client's linger.
    pub linger: [u8; 2],
    /// The time for which nobody may get the lock because of each client's `min_hold`.
    pub min_hold: [u8; 2],
    /// True from when the lock was revoked until a client has another grant of it: its linger counts from then.
    pub revoked: bool,
    /// The highest token ever told.
    pub told: Token,
    /// Tokens drawn lately with their age, and the highest one drawn longer ago.
    pub drawn: Vec<(Token, u8)>,
    pub drawn_long_ago: Token,
    pub token_fell: bool,
    pub linger_cut: bool,
    pub lease_lost: bool,
    /// The grant whose answer is brought, if it landed while a linger or a `min_hold` was not over.
    pub cutter: Option<Id>,
    /// A batch has been cut in two, for a loss of memory to come in between.
    pub cutting: bool,
}

/// Returns an epoch as the shipped core has it.
pub fn epoch_of(epoch: Epoch) -> ShippedEpoch {
    ShippedEpoch::from_random(epoch.into())
}

/// Returns an epoch of the shipped core.
pub fn of_epoch(epoch: ShippedEpoch) -> Epoch {
    (epoch.get() - ShippedEpoch::FIRST) as Epoch
}

pub(crate) fn item_of(id: Id) -> ItemState {
    match id & LINGER {
        0 => ItemState::Held(grant_id(id)),
        _ => ItemState::Lingering(linger_id(id)),
    }
}

impl Flight {
    /// Returns true if only the answer is still to come.
    pub fn is_answer(&self) -> bool {
        self.carried_out == self.count
    }

    /// Returns true if the lock's command was answered by "done".
    pub fn is_done(&self) -> bool {
        matches!(self.said[self.at()], Word::Done(_))
    }

    /// Returns the place of the lock's command among those of its batch: after the clock, if that is asked for, and after the notes
    /// of permits.
    pub fn at(&self) -> usize {
        let notes = match self.op {
            Op::Cover { .. } => 2,
            Op::Share { .. } => 4,
            op if self.place > 0 && op.extends() => 3,
            _ => 0,
        };
        usize::from(self.op.extends()) + notes
    }
}

impl Op {
    /// Packs an op of the shipped core.
    pub fn packed(op: &Shipped) -> Op {
        match *op {
            Shipped::Grant { id, ttl } => Op::Grant { id: of_grant(id), ttl: ticks_of(ttl) },
            Shipped::HandOver { from, to, ttl } => {
                Op::HandOver { from: of_grant(from), to: of_grant(to), ttl: ticks_of(ttl) }
            }
            Shipped::Occupy { id, ttl, besides } => {
                // That somebody has the first of them is forgotten: it is looked at again.
                let upto = besides.upto.map_or(UNKNOWN, |upto| upto as u8);
                let seats = besides.seats.map_or(0, pack_seats);
                Op::Occupy { id: of_grant(id), ttl: ticks_of(ttl), from: besides.from as u8, upto, seats }
            }
            Shipped::Share { id, ttl, slots, under } => {
                let under = under.map_or(0, of_grant);
                Op::Share { id: of_grant(id), ttl: ticks_of(ttl), slots: pack_slots(slots), under }
            }
            Shipped::Find { from, upto } => Op::Find { from: from as u8, upto: upto as u8 },
            Shipped::Cover { slots, state, ttl } => {
                Op::Cover { id: of_item(state), ttl: ticks_of(ttl), slots: pack_slots(slots) }
            }
            // There are no labels that it could touch.
            Shipped::Replace { from, to, ttl, touches_owner: _, reasserts } => {
                Op::Replace { from: of_item(from), to: of_item(to), ttl: ticks_of(ttl), reasserts }
            }
            Shipped::Reassert { state, ttl } => Op::Reassert { id: of_item(state), ttl: ticks_of(ttl) },
            Shipped::Remove { state, wakes } => {
                assert!(!wakes, "nobody is woken");
                Op::Remove { id: of_item(state) }
            }
            Shipped::Look => Op::Look,
            Shipped::Stands(id) => Op::Stands { id: of_grant(id) },
            Shipped::LookIfRevoked => Op::LookIfRevoked,
            Shipped::Watch { .. } | Shipped::LookForQueue | Shipped::Note(_) => unreachable!("there are no notes"),
            Shipped::ObserveHere { .. } | Shipped::LookForObserver(_) => unreachable!("nobody observes"),
            Shipped::LookBack { .. } => unreachable!("the servers do not change"),
            Shipped::Value(_) => unreachable!("no lock has a value, and nobody observes any"),
        }
    }

    /// Returns it as the shipped core has it.
    pub fn shipped(self) -> Shipped {
        match self {
            Op::Grant { id, ttl } => Shipped::Grant { id: grant_id(id), ttl: seconds(ttl) },
            Op::HandOver { from, to, ttl } => {
                Shipped::HandOver { from: grant_id(from), to: grant_id(to), ttl: seconds(ttl) }
            }
            Op::Replace { from, to, ttl, reasserts } => {
                let (from, to) = (item_of(from), item_of(to));
                Shipped::Replace { from, to, ttl: seconds(ttl), touches_owner: false, reasserts }
            }
            Op::Occupy { id, ttl, from, upto, seats } => {
                let upto = (upto != UNKNOWN).then_some(upto.into());
                let besides = Besides { from: from.into(), upto, held: false, seats: unpack_seats(seats) };
                Shipped::Occupy { id: grant_id(id), ttl: seconds(ttl), besides }
            }
            Op::Share { id, ttl, slots, under } => {
                let (slots, under) = (unpack_slots(slots), (under != 0).then(|| grant_id(under)));
                Shipped::Share { id: grant_id(id), ttl: seconds(ttl), slots, under }
            }
            Op::Find { from, upto } => Shipped::Find { from: from.into(), upto: upto.into() },
            Op::Cover { id, ttl, slots } => {
                Shipped::Cover { slots: unpack_slots(slots), state: item_of(id), ttl: seconds(ttl) }
            }
            Op::Reassert { id, ttl } => Shipped::Reassert { state: item_of(id), ttl: seconds(ttl) },
            Op::Remove { id } => Shipped::Remove { state: item_of(id), wakes: false },
            Op::Look => Shipped::Look,
            Op::Stands { id } => Shipped::Stands(grant_id(id)),
            Op::LookIfRevoked => Shipped::LookIfRevoked,
            Op::Probe | Op::Begin(_) | Op::Open(..) => unreachable!("a probe is no job"),
        }
    }

    pub fn is_probe(self) -> bool {
        matches!(self, Op::Probe | Op::Begin(_) | Op::Open(..))
    }

    /// Returns true if it only reads an item, which is done at once.
    pub fn looks(self) -> bool {
        matches!(self, Op::Find { .. } | Op::Look | Op::Stands { .. } | Op::LookIfRevoked)
    }

    /// Returns true if it may make a new grant.
    pub fn grants(self) -> bool {
        !self.is_probe() && self.shipped().grants()
    }

    /// Returns the grant that it may make.
    pub fn makes(self) -> Option<Id> {
        match self {
            Op::Grant { id, .. } | Op::HandOver { to: id, .. } => Some(id),
            Op::Occupy { id, .. } | Op::Share { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Returns true if it makes an item live on.
    pub fn extends(self) -> bool {
        !self.is_probe() && self.shipped().extends()
    }
}

impl Memcached {
    /// Returns the lock's item, or that of a permit.
    pub fn slot(&mut self, place: Place) -> &mut Option<Item> {
        if place == 0 { &mut self.item } else { &mut self.permits[place as usize - 1] }
    }

    /// Returns the places of all of them.
    pub fn slots_mut(&mut self) -> impl Iterator<Item = &mut Option<Item>> {
        std::iter::once(&mut self.item).chain(&mut self.permits)
    }

    /// Returns all that are there.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        std::iter::once(self.item).chain(self.permits).flatten()
    }

    /// Returns true if an item with this id is there.
    pub fn carries(&self, id: Id) -> bool {
        self.items().any(|item| item.id == id)
    }

    /// Deletes the item with this id, if it is there.
    pub fn delete(&mut self, id: Id) {
        for slot in self.slots_mut() {
            *slot = slot.filter(|item| item.id != id);
        }
    }
}

impl State {
    /// Returns true if a client waits for a lock that it may still get.
    pub fn waits(&self, client: usize) -> bool {
        let Client { at, id, .. } = self.clients[client];
        let link = at.and_then(|at| self.links[at as usize][client]);
        id == 0 && link.is_some_and(|link| link.live)
    }

    pub fn strays(&self) -> usize {
        self.flights.iter().filter(|flight| flight.owner == Owner::Nobody).count()
    }

    pub fn fence(&self, epoch: Epoch) -> Option<&Fence> {
        self.memcached.fences.iter().find(|fence| fence.epoch == epoch)
    }
}
