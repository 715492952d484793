//! Jobs: one thing to do to one lock on its shard, the commands that it takes, and what their answers mean.

use std::net::SocketAddr;

use super::batch::lost_tokens;
use super::protocol::{self, CasOutcome, Unexpected, Watcher};
use super::values::Values;
use crate::broker::RequestId;
use crate::command::{Command, Refusal, Reply as Said};
use crate::lock::{FencingToken, GrantId, LockItem, Permit};
use crate::store::{
    Besides, Change, Granted, ItemState, Label, LockStatus, Reply, Request, Shared, Slots, StoreError, WINDOW, Watch,
};

/// One thing to do to one lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Create the item as a new grant.
    Grant {
        /// The new id.
        id: GrantId,
        /// The item's ttl in seconds.
        ttl: u32,
    },
    /// Give the lock to another grant.
    HandOver {
        /// The id that the item carries.
        from: GrantId,
        /// The new id.
        to: GrantId,
        /// The item's ttl in seconds.
        ttl: u32,
    },
    /// Make a grant of an intent.
    Occupy {
        /// The id that the item carries.
        id: GrantId,
        /// The item's ttl in seconds.
        ttl: u32,
        /// The permits, as far as was known before.
        besides: Besides,
    },
    /// Create the item of a permit as a new grant.
    Share {
        /// The new id.
        id: GrantId,
        /// The item's ttl in seconds.
        ttl: u32,
        /// The note that lets others look for it.
        slots: Slots,
        /// The id of the lock's own item, if it is ours.
        under: Option<GrantId>,
    },
    /// Look for a permit that nobody has.
    Find {
        /// The first one.
        from: u16,
        /// The end, which is not looked at.
        upto: u16,
    },
    /// See to it that others look for a permit, before its item is created again after a loss.
    Cover {
        /// The note that does it.
        slots: Slots,
        /// The state that the item carried.
        state: ItemState,
        /// Its ttl in seconds.
        ttl: u32,
    },
    /// Change the item that carries `from`.
    Replace {
        /// The state that the item carries.
        from: ItemState,
        /// The state that it is to carry.
        to: ItemState,
        /// Its ttl in seconds.
        ttl: u32,
        /// True if the owner's label is to live as long.
        touches_owner: bool,
        /// True if the item is created again where it went with the store's memory (R16).
        reasserts: bool,
    },
    /// Create the item again, after a loss.
    Reassert {
        /// The state that the item carries.
        state: ItemState,
        /// Its ttl in seconds.
        ttl: u32,
    },
    /// Look if the item still carries this where it was kept before the servers changed. If so, or if nothing is there, create it
    /// again where it is kept now.
    LookBack {
        /// The state that the item carried.
        from: ItemState,
        /// The state that it is to carry.
        to: ItemState,
        /// Its ttl in seconds.
        ttl: u32,
    },
    /// Delete the item that carries this state.
    Remove {
        /// The state that the item carries.
        state: ItemState,
        /// True if the note is taken of who is to be woken then.
        wakes: bool,
    },
    /// Read the item and the owner's label.
    Look,
    /// Read the item.
    Stands(GrantId),
    /// Note that this broker is to be woken.
    Watch {
        /// True if it was noted before, and is noted for longer.
        kept: bool,
        /// For how many seconds.
        ttl: u32,
    },
    /// Read if the item that stands in the way of a renewal is a revocation.
    LookIfRevoked,
    /// Read which broker is to be woken for a queue behind the holder.
    LookForQueue,
    /// Note that a lock is observed at this broker, at the first place that is free or its own.
    ObserveHere {
        /// The number of places that are tried after this one.
        others: u8,
        /// True to keep a place that is its own already, false to take a free one.
        kept: bool,
        /// For how many seconds.
        ttl: u32,
    },
    /// Read which broker is to be told at this place that the lock has changed.
    LookForObserver(u8),
    /// Write a note. What it says claims nothing, and it may be refused.
    Note(Box<Command>),
    /// Something about a holder's value.
    Value(Box<Values>),
}

/// The kind of batch in which a job travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is about a lock's item: its batch ends with a witness.
    Item,
    /// It claims nothing.
    Note,
}

/// The verdict on `Exists` and `Missing`: whether they are the last word of a shard, or else why not, and until when.
pub type LastWord = Result<(), StoreError>;

/// The outcome of an op.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The answer for the asker.
    pub reply: Option<Reply>,
    /// The op that comes next, before there is a reply.
    pub next: Option<Op>,
    /// The broker that is to be woken, or told: its note has been taken or read.
    pub wakes: Option<SocketAddr>,
}

impl Outcome {
    pub(super) fn reply(reply: Reply) -> Outcome {
        Outcome { reply: Some(reply), ..Outcome::default() }
    }

    fn next(next: Op) -> Outcome {
        Outcome { next: Some(next), ..Outcome::default() }
    }
}

/// The shard of a batch that counts, as its jobs see it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Its address.
    pub shard: &'a str,
    /// The worth of "another state" and "no item".
    pub last_word: &'a LastWord,
    /// The batch's word on permits.
    pub permits: Permits,
    /// The rules by which permits and values count.
    pub heeds: Heeds,
}

/// The rules by which permits and values count. What ships heeds all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heeds {
    /// True if none counts beside a lock (R32).
    pub lock: bool,
    /// True if one that is taken under the lock's own item counts only if that is ours (R35).
    pub gate: bool,
    /// True if one counts only while it is looked for (R33).
    pub cover: bool,
    /// True if a value counts only with the grant that is its own (R34).
    pub value: bool,
}

impl Heeds {
    /// All of them.
    pub const ALL: Heeds = Heeds { lock: true, gate: true, cover: true, value: true };
}

/// The word of a batch on the permits of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permits {
    /// True if the batch has noted that there are some, where it was to.
    pub noted: bool,
    /// True if there was no memory for that note.
    pub no_memory: bool,
    /// True if there may be some, where a grant has to know.
    pub exist: bool,
}

impl Seen<'_> {
    /// Returns true if others look for a permit, where they look for so many.
    fn covers(&self, permit: Permit, slots: u16) -> bool {
        !self.heeds.cover || (slots > permit.get() && self.permits.noted)
    }
}

impl Op {
    /// Turns a request into its first op. `wakes`: brokers wake each other.
    pub fn of(request: Request, wakes: bool) -> Op {
        match request {
            Request::Grant { id, ttl } => Op::Grant { id, ttl },
            Request::HandOver { from, to, ttl } => Op::HandOver { from, to, ttl },
            Request::Occupy { id, ttl, besides } => Op::Occupy { id, ttl, besides },
            Request::Share { id, ttl, slots, under } => Op::Share { id, ttl, slots, under },
            Request::Find { from, upto } => Op::Find { from, upto },
            Request::Renew { state, owner, ttl } => {
                Op::Replace { from: state, to: state, ttl, touches_owner: !owner.is_empty(), reasserts: true }
            }
            Request::Replace { from, to, ttl } => {
                let (from, to) = (ItemState::Held(from), ItemState::Held(to));
                Op::Replace { from, to, ttl, touches_owner: from == to, reasserts: false }
            }
            Request::Linger { from, to, ttl, certain } => {
                let (from, to) = (ItemState::Held(from), ItemState::Lingering(to));
                Op::Replace { from, to, ttl, touches_owner: false, reasserts: certain }
            }
            Request::Remove { state, quiet } => Op::Remove { state, wakes: wakes && !quiet },
            Request::Look => Op::Look,
            Request::Stands(id) => Op::Stands(id),
            Request::Watch { kept, ttl } => Op::Watch { kept, ttl },
            Request::Observe { known } => Op::value(Values::Observe { known, is_last: false }),
            Request::KeepValue { id, stored, ttl, is_first } => Op::value(Values::keep(id, stored, ttl, is_first)),
            Request::Proclaim { id, creates, value, ttl } => Op::value(Values::Proclaim { id, creates, value, ttl }),
        }
    }

    pub(super) fn note(command: Command) -> Op {
        Op::Note(Box::new(command))
    }

    pub(super) fn value(value: Values) -> Op {
        Op::Value(Box::new(value))
    }

    /// Returns the kind of batch in which it travels.
    pub fn kind(&self) -> Kind {
        match self {
            Op::Watch { .. } | Op::LookForQueue | Op::Note(_) => Kind::Note,
            Op::ObserveHere { .. } | Op::LookForObserver(_) => Kind::Note,
            Op::Grant { .. } | Op::HandOver { .. } | Op::Occupy { .. } | Op::Share { .. } => Kind::Item,
            Op::Replace { .. } | Op::Cover { .. } | Op::Reassert { .. } | Op::Find { .. } => Kind::Item,
            Op::Remove { .. } | Op::Look | Op::Stands(_) | Op::LookIfRevoked | Op::Value(_) => Kind::Item,
            Op::LookBack { .. } => Kind::Item,
        }
    }

    /// Returns true if it may make a new grant, and so needs an open shard and a fencing token.
    pub fn grants(&self) -> bool {
        match self {
            Op::Grant { .. } | Op::HandOver { .. } | Op::Occupy { .. } | Op::Share { .. } => true,
            Op::Replace { .. } | Op::Cover { .. } | Op::Reassert { .. } | Op::Remove { .. } => false,
            Op::LookBack { .. } | Op::Find { .. } | Op::Look | Op::Stands(_) | Op::LookIfRevoked => false,
            Op::ObserveHere { .. } | Op::LookForObserver(_) => false,
            Op::Watch { .. } | Op::LookForQueue | Op::Note(_) | Op::Value(_) => false,
        }
    }

    /// Returns true if a lock is lost where it comes late.
    pub(crate) fn keeps_a_lock(&self) -> bool {
        self.renews() || matches!(self, Op::Cover { .. } | Op::Reassert { .. } | Op::LookBack { .. })
    }

    fn renews(&self) -> bool {
        matches!(self, Op::Replace { from, to, .. } if from == to)
    }

    fn renews_a_grant(&self) -> bool {
        self.renews() && matches!(self, Op::Replace { from: ItemState::Held(_), .. })
    }

    /// Returns true if it needs memory, and may be refused for want of it.
    pub(crate) fn creates(&self) -> bool {
        match self {
            Op::Value(value) => value.writes(),
            _ => matches!(self, Op::Grant { .. } | Op::Share { .. } | Op::Cover { .. } | Op::Reassert { .. }),
        }
    }

    /// Returns true if it only reads.
    pub(crate) fn looks(&self) -> bool {
        match self {
            Op::Value(value) => value.only_reads(),
            _ => matches!(self, Op::Find { .. } | Op::Look | Op::Stands(_) | Op::LookIfRevoked),
        }
    }

    /// Returns true if it serves a lock that somebody holds: renews, re-asserts, moves or releases it.
    pub(crate) fn serves_a_holder(&self) -> bool {
        self.keeps_a_lock() || matches!(self, Op::Replace { .. } | Op::Remove { .. })
    }

    /// Returns true if it is done where the lock was kept before the servers changed.
    pub(crate) fn looks_back(&self) -> bool {
        matches!(self, Op::LookBack { .. })
    }

    /// Returns true if it makes an item live on, so that the server's clock matters.
    pub fn extends(&self) -> bool {
        match self {
            Op::Grant { .. } | Op::HandOver { .. } | Op::Occupy { .. } | Op::Share { .. } => true,
            Op::Replace { .. } | Op::Cover { .. } | Op::Reassert { .. } => true,
            Op::Remove { .. } | Op::Find { .. } | Op::Look | Op::Stands(_) | Op::LookIfRevoked => false,
            Op::LookBack { .. } => false,
            // That of a value matters to nobody.
            Op::ObserveHere { .. } | Op::LookForObserver(_) => false,
            Op::Watch { .. } | Op::LookForQueue | Op::Note(_) | Op::Value(_) => false,
        }
    }

    /// Returns true if it need not be done when nobody waits for its answer any more. A grant that was given up is deleted, so it
    /// is best not sent at all. A renewal that is under way then re-asserts nothing. A release has to be done all the same.
    pub(crate) fn can_be_given_up(&self) -> bool {
        self.looks() || self.renews() || self.grants()
    }

    /// Adds its commands to a batch, and returns how many they are. `compares`: see [`Rule::IdsCompared`].
    ///
    /// [`Rule::IdsCompared`]: crate::rules::Rule::IdsCompared
    pub(crate) fn commands(
        &self,
        item: &LockItem,
        me: Option<&Watcher>,
        compares: bool,
        batch: &mut Vec<Command>,
    ) -> usize {
        let (before, name) = (batch.len(), &item.name);
        // A permit whose item lives on is one for which others look.
        if let (Op::Replace { .. } | Op::Reassert { .. }, Some(_)) = (self, item.permit) {
            batch.push(protocol::keep_slots(name));
        }
        match self {
            Op::Grant { id, ttl } => batch.push(protocol::create(item, ItemState::Held(*id), *ttl)),
            Op::Reassert { state, ttl } => batch.push(protocol::create(item, *state, *ttl)),
            Op::HandOver { from, to, ttl } => {
                let (from, to) = (ItemState::Held(*from), ItemState::Held(*to));
                batch.push(blind_unless(compares, protocol::replace(item, from, to, *ttl)));
            }
            Op::Occupy { id, ttl, besides } => {
                let held = ItemState::Held(*id);
                batch.push(blind_unless(compares, protocol::replace(item, held, held, *ttl)));
                // After the item is known to stand: whoever has a permit since has seen it (R32).
                batch.push(protocol::look_for_slots(name));
                batch.extend(besides.window().map(|permit| protocol::look(&of_permit(item, permit))));
            }
            Op::Share { id, ttl, slots, .. } => {
                let permit = item.permit.unwrap_or(Permit::FIRST);
                let open = LockItem::from(name);
                // In this order: others look for the permit, it stands, and then the lock is looked at (R32).
                batch.extend(protocol::note_slots(name, *slots, permit));
                batch.push(protocol::create(&of_permit(item, permit), ItemState::Held(*id), *ttl));
                batch.push(protocol::look(&open));
            }
            Op::Find { from, upto } => {
                let permits = (*from..(*upto).min(from.saturating_add(WINDOW))).filter_map(Permit::new);
                batch.extend(permits.map(|permit| protocol::look(&of_permit(item, permit))));
            }
            Op::Cover { slots, .. } => {
                batch.extend(protocol::note_slots(name, *slots, item.permit.unwrap_or(Permit::FIRST)));
            }
            Op::Replace { from, to, ttl, touches_owner, .. } => {
                batch.push(blind_unless(compares, protocol::replace(item, *from, *to, *ttl)));
                batch.extend(touches_owner.then(|| protocol::touch_owner(item, *ttl)));
            }
            Op::Remove { state, wakes } => {
                batch.push(blind_unless(compares, protocol::remove(item, *state)));
                // After the deletion: whoever has noted itself before sees that the lock is free, or is seen here.
                batch.extend(wakes.then(|| protocol::take_watcher(name)));
            }
            Op::Look => batch.extend([protocol::look(item), protocol::look_for_owner(item)]),
            Op::LookBack { .. } | Op::Stands(_) | Op::LookIfRevoked => batch.push(protocol::look(item)),
            Op::Watch { kept: true, ttl } => batch.extend(me.map(|me| protocol::keep_watching(name, me, *ttl))),
            Op::Watch { kept: false, ttl } => batch.extend(me.map(|me| protocol::watch(name, me, *ttl))),
            Op::LookForQueue => batch.push(protocol::look_for_queue(name)),
            Op::ObserveHere { others, kept, ttl } => batch.extend(me.map(|me| {
                let place = (me.id.wrapping_add(u64::from(*others)) % u64::from(protocol::OBSERVER_PLACES)) as u8;
                let note = if *kept { protocol::keep_observer } else { protocol::note_observer };
                note(name, place, me, *ttl)
            })),
            Op::LookForObserver(place) => batch.push(protocol::look_for_observer(name, *place)),
            Op::Note(command) => batch.push(Command::clone(command)),
            Op::Value(value) => value.commands(item, batch),
        }
        batch.len() - before
    }

    /// Reads what memcached has said to its commands, in a batch that counts. `token` is the one that a grant gets.
    pub(crate) fn outcome(
        &self,
        item: &LockItem,
        said: &[Said],
        token: Option<Result<FencingToken, StoreError>>,
        seen: &Seen<'_>,
    ) -> Outcome {
        let token = || token.unwrap_or_else(|| Err(lost_tokens()));
        let Some(first) = said.first() else {
            return Outcome::reply(self.failed(unanswered()));
        };
        match self {
            Op::Grant { id, .. } => {
                let created = self.read(first, |said| protocol::read_create(said, ItemState::Held(*id)), seen);
                Outcome::reply(Reply::Granted(created.and_then(|created| match created {
                    CasOutcome::Done if seen.permits.exist => Ok(Granted::Intent(Besides::UNKNOWN)),
                    created => granted(created, token()),
                })))
            }
            Op::HandOver { .. } => {
                let changed = self.read(first, protocol::read_change, seen);
                Outcome::reply(Reply::Granted(changed.and_then(|changed| match changed {
                    CasOutcome::Done => granted(changed, token()),
                    _ => settled(changed, seen.last_word).map(|_| Granted::No),
                })))
            }
            Op::Occupy { besides, .. } => {
                let occupied = self.occupied(besides, said, token(), seen);
                Outcome::reply(Reply::Granted(occupied))
            }
            Op::Share { id, under, .. } => {
                let permit = item.permit.unwrap_or(Permit::FIRST);
                let shared = self.shared((*id, *under), permit, said, token(), seen);
                Outcome::reply(Reply::Shared(shared))
            }
            Op::Find { from, .. } => {
                let free = said.iter().zip(*from..).find(|(said, _)| **said == Said::Missing);
                let found = free.and_then(|(_, number)| Permit::new(number));
                Outcome::reply(Reply::Found(seen.last_word.clone().map(|()| found)))
            }
            Op::Cover { state, ttl, .. } => self.covered(*state, *ttl, (item, said), seen),
            Op::Replace { to, ttl, reasserts, .. } => match self.changed(item, said, seen) {
                // If something else is there, the next try finds out if that is ours, from an earlier re-assertion whose answer
                // was lost.
                Ok(CasOutcome::Missing) if *reasserts && seen.last_word.is_err() => {
                    Outcome::next(recreate(item, *to, *ttl))
                }
                // It is another grant's, and that is final. Its client is to hear if an operator did that.
                Ok(CasOutcome::Exists) if self.renews_a_grant() && seen.last_word.is_ok() => {
                    Outcome::next(Op::LookIfRevoked)
                }
                changed => Outcome::changed(changed, seen.last_word),
            },
            Op::Reassert { state, .. } => {
                let created = self.read_of_permit(item, said, |said| protocol::read_create(said, *state), seen);
                // What is there may be ours, from an earlier re-assertion whose answer was lost. The next renewal finds out.
                let unsure = || seen.last_word.clone().err().unwrap_or_else(|| reasserted_before(seen.shard));
                Outcome::changed(created, &Err(unsure()))
            }
            Op::LookBack { from, to, ttl } => match self.read(first, protocol::read_look, seen) {
                Ok(Some((state, _))) if state != *from && state != *to => {
                    Outcome::reply(Reply::Changed(Err(kept_by_another(seen.shard))))
                }
                Ok(_) => Outcome::next(recreate(item, *to, *ttl)),
                Err(error) => Outcome::reply(Reply::Changed(Err(error))),
            },
            Op::Remove { .. } => {
                let removed = self.read(first, protocol::read_change, seen);
                // Whatever the outcome of the deletion, the broker that was taken off the list must hear of it.
                let wakes = said.get(1).and_then(protocol::read_address);
                Outcome { wakes, ..Outcome::changed(removed, seen.last_word) }
            }
            Op::Look => Outcome::reply(Reply::Status(self.status(first, said.get(1), seen))),
            Op::Stands(id) => Outcome::reply(Reply::Stands(self.stands(*id, first, seen))),
            Op::LookIfRevoked => match self.read(first, protocol::read_look, seen) {
                Ok(Some((ItemState::Lingering(id), _))) if id.is_revocation() => {
                    Outcome::reply(Reply::Changed(Ok(Change::Revoked)))
                }
                _ => Outcome::reply(Reply::Changed(Ok(Change::TakenOver))),
            },
            Op::Value(value) => value.outcome(self, item, said, seen),
            // These travel in batches of their own.
            Op::Watch { .. } | Op::LookForQueue | Op::Note(_) => self.noted(first),
            Op::ObserveHere { .. } | Op::LookForObserver(_) => self.noted(first),
        }
    }

    /// Reads what memcached has said to its one command, which stands in a batch without a witness.
    pub(crate) fn noted(&self, said: &Said) -> Outcome {
        let done = matches!(said, Said::Done(_));
        match self {
            Op::Watch { kept: true, .. } if done => Outcome::reply(Reply::Watching(Watch::Kept)),
            Op::Watch { kept: true, ttl } => Outcome::next(Op::Watch { kept: false, ttl: *ttl }),
            Op::Watch { kept: false, .. } if done => Outcome::reply(Reply::Watching(Watch::Begun)),
            Op::Watch { kept: false, .. } => Outcome::reply(Reply::Watching(Watch::No)),
            // On a full server each further try would be one more command in vain.
            Op::ObserveHere { others, kept, ttl } if !done && !matches!(said, Said::Refused(_)) => {
                let next = if *kept { Some(*others) } else { others.checked_sub(1) };
                let next = next.map(|others| Op::ObserveHere { others, kept: !kept, ttl: *ttl });
                Outcome { next, ..Outcome::default() }
            }
            Op::LookForQueue | Op::LookForObserver(_) => {
                Outcome { wakes: protocol::read_address(said), ..Outcome::default() }
            }
            _ => Outcome::default(),
        }
    }

    /// Returns the reply that tells of an error.
    pub fn failed(&self, error: StoreError) -> Reply {
        match self {
            Op::Grant { .. } | Op::HandOver { .. } | Op::Occupy { .. } => Reply::Granted(Err(error)),
            Op::Share { .. } => Reply::Shared(Err(error)),
            Op::Find { .. } => Reply::Found(Err(error)),
            Op::Replace { .. } | Op::Cover { .. } | Op::Reassert { .. } => Reply::Changed(Err(error)),
            Op::LookBack { .. } | Op::Remove { .. } => Reply::Changed(Err(error)),
            Op::Look => Reply::Status(Err(error)),
            Op::Stands(_) => Reply::Stands(Err(error)),
            // Tells what is known without an answer: the grant is gone.
            Op::LookIfRevoked => Reply::Changed(Ok(Change::TakenOver)),
            Op::Watch { .. } | Op::LookForQueue | Op::Note(_) => Reply::Watching(Watch::No),
            Op::ObserveHere { .. } | Op::LookForObserver(_) => Reply::Watching(Watch::No),
            Op::Value(value) => value.failed(error),
        }
    }

    /// Reads the answers to the renewal, the swap or the linger of a lock or a permit. Of a permit it counts only if others look for
    /// it: otherwise it is as if there were none.
    fn changed(&self, item: &LockItem, said: &[Said], seen: &Seen<'_>) -> Result<CasOutcome, StoreError> {
        self.read_of_permit(item, said, protocol::read_change, seen)
    }

    fn read_of_permit(
        &self,
        item: &LockItem,
        said: &[Said],
        read: impl FnOnce(&Said) -> Result<CasOutcome, Unexpected>,
        seen: &Seen<'_>,
    ) -> Result<CasOutcome, StoreError> {
        let Some(permit) = item.permit else { return self.read(said.first().ok_or_else(unanswered)?, read, seen) };
        let [slots, rest, ..] = said else { return Err(unanswered()) };
        let slots = self.read(slots, protocol::read_slots, seen)?;
        match self.read(rest, read, seen)? {
            CasOutcome::Done if !seen.covers(permit, slots) => Ok(CasOutcome::Missing),
            outcome => Ok(outcome),
        }
    }

    fn covered(&self, state: ItemState, ttl: u32, (item, said): (&LockItem, &[Said]), seen: &Seen<'_>) -> Outcome {
        let Some(slots) = said.get(1) else { return Outcome::reply(self.failed(unanswered())) };
        let next = match self.read(slots, protocol::read_slots, seen) {
            Err(error) => return Outcome::reply(self.failed(error)),
            Ok(slots) if item.permit.is_none_or(|permit| slots > permit.get()) => Op::Reassert { state, ttl },
            Ok(0) => Op::Cover { slots: Slots::Ensure, state, ttl },
            Ok(slots) => Op::Cover { slots: Slots::Raise(slots), state, ttl },
        };
        Outcome::next(next)
    }

    /// Reads what an intent has found beside it.
    fn occupied(
        &self,
        besides: &Besides,
        said: &[Said],
        token: Result<FencingToken, StoreError>,
        seen: &Seen<'_>,
    ) -> Result<Granted, StoreError> {
        let [item, slots, permits @ ..] = said else { return Err(unanswered()) };
        match self.read(item, protocol::read_change, seen)? {
            CasOutcome::Done => {}
            outcome => return settled(outcome, seen.last_word).map(|_| Granted::No),
        }
        let slots = self.read(slots, protocol::read_slots, seen)?;
        let window = || permits.iter().zip(besides.window()).take_while(|(_, permit)| permit.get() < slots);
        if let Some(seats) = besides.seats {
            let free = window().filter(|(said, permit)| **said == Said::Missing && permit.get() < seats.limit).count();
            return match besides.counted(seats, free as u16, slots) {
                None => token.map(Granted::Yes),
                Some(besides) => Ok(Granted::Intent(besides)),
            };
        }
        let held = window().find(|(said, _)| **said != Said::Missing).map(|(_, permit)| permit.get());
        let looked_at = besides.window().last().map_or(besides.from, |last| last.get() + 1);
        match held {
            None if looked_at >= slots => token.map(Granted::Yes),
            _ => Ok(Granted::Intent(Besides {
                from: held.unwrap_or(looked_at),
                upto: Some(slots),
                held: held.is_some(),
                seats: None,
            })),
        }
    }

    /// Reads what came of an attempt to get a permit under an id, and under an item of the lock that may be ours.
    fn shared(
        &self,
        (id, under): (GrantId, Option<GrantId>),
        permit: Permit,
        said: &[Said],
        token: Result<FencingToken, StoreError>,
        seen: &Seen<'_>,
    ) -> Result<Shared, StoreError> {
        let [noted, slots, item, lock, ..] = said else { return Err(unanswered()) };
        let slots = self.read(slots, protocol::read_slots, seen)?;
        let created = self.read(item, |said| protocol::read_create(said, ItemState::Held(id)), seen)?;
        let created = created == CasOutcome::Done;
        // What cannot be read is in the way, too.
        let stands = protocol::read_look(lock).map(|stands| stands.map(|(state, _)| state));
        let compares = if under.is_none() { seen.heeds.lock } else { seen.heeds.gate };
        if compares && stands != Ok(under.map(ItemState::Held)) {
            return Ok(Shared::Closed { created });
        }
        match created {
            // Where there is no memory for the notes that others look for, another try would find none either.
            _ if !seen.covers(permit, slots) && (seen.permits.no_memory || is_out_of_memory(noted)) => {
                Err(self.full(seen.shard))
            }
            _ if !seen.covers(permit, slots) => Ok(Shared::Uncovered { slots, created }),
            true => token.map(Shared::Yes),
            false => Ok(Shared::Taken { slots }),
        }
    }

    /// Reads an answer that memcached may have refused to give. Only what needs memory is refused for want of it.
    pub(super) fn read<T>(
        &self,
        said: &Said,
        read: impl FnOnce(&Said) -> Result<T, Unexpected>,
        seen: &Seen<'_>,
    ) -> Result<T, StoreError> {
        match said {
            Said::Refused(_) if self.creates() => Err(self.full(seen.shard)),
            Said::Refused(refusal) => Err(refused(seen.shard, *refusal)),
            _ => Ok(read(said)?),
        }
    }

    /// Says that there is no memory for what it was to create, what that leaves as it was, and what helps.
    fn full(&self, shard: &str) -> StoreError {
        let left = match self {
            // The refusal deletes the value that stood there. The broker that keeps the lock writes the one before anew.
            Op::Value(_) => {
                " for the value: the lock is held as before, and those who observe it see the value before, or none; set it anew \
                 later, or give memcached more memory (-m)"
            }
            Op::Grant { .. } | Op::Share { .. } => {
                " for another lock, and keeps those that are held: try again later, give it more memory (-m), or let nobody \
                 else fill it"
            }
            // One that is held already, in a memory that has lost it.
            _ => " for locks",
        };
        StoreError::Full { why: format!("memcached {shard} has no memory left{left}").into() }
    }

    pub(super) fn status(&self, item: &Said, label: Option<&Said>, seen: &Seen<'_>) -> Result<LockStatus, StoreError> {
        match self.read(item, protocol::read_look, seen)? {
            Some((state, expires_in)) => {
                let label = label.map_or_else(Label::default, |label| protocol::read_label(label, state));
                Ok(LockStatus::Taken { state, label: Box::new(label), expires_in })
            }
            // In a closed shard its holder may be about to re-assert it.
            None => seen.last_word.clone().map(|()| LockStatus::Free),
        }
    }

    fn stands(&self, id: GrantId, item: &Said, seen: &Seen<'_>) -> Result<bool, StoreError> {
        match self.read(item, protocol::read_look, seen)? {
            Some((state, _)) if state == ItemState::Held(id) => Ok(true),
            _ => seen.last_word.clone().map(|()| false),
        }
    }
}

impl Outcome {
    fn changed(changed: Result<CasOutcome, StoreError>, last_word: &LastWord) -> Outcome {
        Outcome::reply(Reply::Changed(changed.and_then(|changed| settled(changed, last_word))))
    }
}

/// Returns true if there was no memory for a command.
pub(super) fn is_out_of_memory(said: &Said) -> bool {
    matches!(said, Said::Refused(Refusal::NoMemory))
}

/// Tells that memcached did not carry out a command.
pub(crate) fn refused(shard: &str, refusal: Refusal) -> StoreError {
    let why = match refusal {
        Refusal::NoMemory => "it has no memory left",
        Refusal::NotANumber => "somebody else uses its keys",
        Refusal::Other => "it refused",
    };
    StoreError::uncertain(format!("memcached {shard} could not do it: {why}"))
}

pub(super) fn unanswered() -> StoreError {
    StoreError::uncertain("memcached did not answer this")
}

fn reasserted_before(shard: &str) -> StoreError {
    StoreError::unavailable(format!("memcached {shard} has an item again for a lock that it had lost"), None)
}

fn kept_by_another(shard: &str) -> StoreError {
    let why = format!("another broker has given the lock a new id at memcached {shard}, before the servers changed");
    StoreError::unavailable(why, None)
}

/// Returns what creates an item again. Of a permit others are to look for it first.
pub(super) fn recreate(item: &LockItem, state: ItemState, ttl: u32) -> Op {
    match item.permit {
        None => Op::Reassert { state, ttl },
        Some(_) => Op::Cover { slots: Slots::Ensure, state, ttl },
    }
}

/// Returns the item of a permit of the same lock.
fn of_permit(item: &LockItem, permit: Permit) -> LockItem {
    LockItem { permit: Some(permit), ..item.clone() }
}

/// Leaves the comparison out of a command on a lock's item, where a test wants that.
fn blind_unless(compares: bool, mut command: Command) -> Command {
    if let Command::Delete { compare, .. } = &mut command
        && !compares
    {
        *compare = None;
    }
    command
}

/// Turns an outcome into a grant. An answer without a token grants nothing.
fn granted(outcome: CasOutcome, token: Result<FencingToken, StoreError>) -> Result<Granted, StoreError> {
    match outcome {
        CasOutcome::Done => token.map(Granted::Yes),
        CasOutcome::Exists | CasOutcome::Missing => Ok(Granted::No),
    }
}

/// Turns an outcome into a [`Change`]. In a closed shard "another state" may be a grant that is about to be undone, and "no
/// item" a memory that was just lost (R16). So there neither is final.
fn settled(outcome: CasOutcome, last_word: &LastWord) -> Result<Change, StoreError> {
    match outcome {
        CasOutcome::Done => Ok(Change::Done),
        CasOutcome::Exists => last_word.clone().map(|()| Change::TakenOver),
        CasOutcome::Missing => last_word.clone().map(|()| Change::Gone),
    }
}

/// An [`Op`] under way, and who waits for what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The item that it is about.
    pub item: LockItem,
    /// The request that is answered, if one is.
    pub asker: Option<RequestId>,
    /// The thing to do.
    pub op: Op,
}

impl Job {
    /// Returns true if it is about a permit.
    pub(crate) fn is_of_permit(&self) -> bool {
        self.item.permit.is_some()
    }
}
