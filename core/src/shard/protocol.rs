//! The commands of the protocol on memcached, and what their answers say.
//!
//! A lock's item is created by `ma` and changed only by `md … I`, which compares and sets ttl and CAS in one
//! step. It is never written with `ms`, because a failed `ms` deletes what was there, nor touched with
//! `mg … T`, which sets anybody's ttl.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Topology;
use super::presence::LIVES;
use super::state_item::{Epoch, FINGERPRINTS, Generation, Made, Stamp, StateItem, Witness};
use crate::command::{Cas, Command, Create, InPlace, Key, Left, Mode, Reply, Shown, Ttl, Value, Want};
use crate::lock::{CallKey, FencingToken, GrantId, LockItem, LockName, LockValue, MAX_PERMITS, Owner, Permit};
use crate::store::{ItemState, Label, Slots, StoreError, Stored};

/// S never expires by itself. A date a little before memcached's own end of time in January 2038.
const STATE_EXPIRES: Ttl = Ttl::Until(2_147_480_000);

/// The time in seconds for which an item lives that says that permits exist: longer than any ttl, linger and `min_hold` together (R33). Every command
/// sets the same, so that a late one shortens nothing.
const PERMITS_LIVE: u32 = 10_801;

const CAS: Want = Want { cas: true, left: false, value: false };
const LEFT: Want = Want { cas: false, left: true, value: false };
const VALUE: Want = Want { cas: false, left: false, value: true };
const NOTHING: Want = Want { cas: false, left: false, value: false };

/// A broker as one that is to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Watcher {
    /// Where it listens.
    pub address: SocketAddr,
    /// Tells its notes from those of others: the CAS of their items. Not 0.
    pub id: u64,
}

/// Reads an item and leaves its time of use as it is (`u`).
fn look_at(key: Key, want: Want) -> Command {
    Command::Get { key, bump: false, touch: None, want }
}

/// Creates an item that is not there, and changes none that is.
fn create_item(key: Key, ttl: Ttl, initial: u64, new_cas: Option<Cas>, want: Want) -> Command {
    let create = Some(Create { ttl, initial });
    Command::Arithmetic { key, delta: 0, create, compare: Some(Cas::SENTINEL), new_cas, want }
}

/// Compares an item's number, and sets ttl and number in place: without memory.
fn change_item(key: Key, compare: Option<Cas>, ttl: u32, new_cas: u64) -> Command {
    let in_place = Some(InPlace { ttl: Some(Ttl::Seconds(ttl)), new_cas: Some(Cas(new_cas)) });
    Command::Delete { key, compare, in_place }
}

/// Notes a broker's address in a place, if that is free.
fn take_place(place: Key, Watcher { address, id }: &Watcher, ttl: u32) -> Command {
    write_note(place, Mode::IfMissing, ttl, Some(*id), address.to_string())
}

/// Notes it for longer, if the place is its own.
fn keep_place(place: Key, Watcher { address, id }: &Watcher, ttl: u32) -> Command {
    write_note(place, Mode::IfCas(Cas(*id)), ttl, Some(*id), address.to_string())
}

fn write_note(key: Key, mode: Mode, ttl: u32, new_cas: Option<u64>, text: String) -> Command {
    Command::Set { key, mode, ttl: Ttl::Seconds(ttl), new_cas: new_cas.map(Cas), value: Value::Text(text.into()) }
}

/// Creates the item of a lock that has none: the grant, and the re-assertion after a loss.
pub fn create(item: &LockItem, state: ItemState, ttl: u32) -> Command {
    let id = state.number();
    create_item(Key::Lock(item.clone()), Ttl::Seconds(ttl), id, Some(Cas(id)), CAS)
}

/// Creates the item of a lock that stands on another server, until this date in seconds since 1970.
pub fn copy(item: &LockItem, state: ItemState, until: u32) -> Command {
    let id = state.number();
    create_item(Key::Lock(item.clone()), Ttl::Until(until), id, Some(Cas(id)), CAS)
}

/// Changes an item that carries `from`: renewal, hand-over, reattach, the beginning of a linger.
pub fn replace(item: &LockItem, from: ItemState, to: ItemState, ttl: u32) -> Command {
    change_item(Key::Lock(item.clone()), Some(Cas(from.number())), ttl, to.number())
}

/// Deletes an item that carries `state`.
pub fn remove(item: &LockItem, state: ItemState) -> Command {
    Command::Delete { key: Key::Lock(item.clone()), compare: Some(Cas(state.number())), in_place: None }
}

/// Reads a lock's item.
pub fn look(item: &LockItem) -> Command {
    look_at(Key::Lock(item.clone()), Want { cas: true, left: true, value: false })
}

/// Notes that permits exist on the shard: creates the note where there is none, and lets it live on.
pub fn note_permits() -> [Command; 2] {
    let create = create_item(Key::Permits, Ttl::Seconds(PERMITS_LIVE), 0, None, NOTHING);
    let touch = Some(Ttl::Seconds(PERMITS_LIVE));
    [create, Command::Get { key: Key::Permits, bump: false, touch, want: NOTHING }]
}

/// Reads if permits may exist on the shard.
pub fn look_for_permits() -> Command {
    look_at(Key::Permits, NOTHING)
}

/// Reads how many permits of a lock may exist.
pub fn look_for_slots(name: &LockName) -> Command {
    look_at(Key::Slots(name.clone()), CAS)
}

/// Sees to it that a permit is looked for, and reads how many are.
pub fn note_slots(name: &LockName, slots: Slots, permit: Permit) -> [Command; 2] {
    let (key, upto) = (Key::Slots(name.clone()), u64::from(permit.get()) + 1);
    let note = match slots {
        Slots::Ensure => create_item(key, Ttl::Seconds(PERMITS_LIVE), 0, Some(Cas(upto)), CAS),
        Slots::Raise(from) => change_item(key, Some(Cas(from.into())), PERMITS_LIVE, upto),
    };
    [note, keep_slots(name)]
}

/// Sees to it that the permits of a lock are looked for as before, and reads how many are.
pub fn keep_slots(name: &LockName) -> Command {
    let touch = Some(Ttl::Seconds(PERMITS_LIVE));
    Command::Get { key: Key::Slots(name.clone()), bump: false, touch, want: CAS }
}

/// Reads the clock: how long S has left to live.
pub fn clock() -> Command {
    look_at(Key::State, LEFT)
}

/// Reads the witness: if S is still the one that was read. `u` leaves the time of S as it is, or a `flush_all` in
/// this second could spare S and hide itself (R13a).
pub fn witness() -> Command {
    look_at(Key::State, CAS)
}

/// Reads the whole of S.
pub fn probe() -> Command {
    look_at(Key::State, Want { cas: true, left: false, value: true })
}

/// Raises the fencing tokens of `epoch` by `grants`.
pub fn raise_fence(epoch: Epoch, grants: u64) -> Command {
    let key = Key::Fence(epoch.get());
    Command::Arithmetic { key, delta: grants, create: None, compare: None, new_cas: None, want: VALUE }
}

/// Reads the highest token of `epoch`.
pub fn highest_token(epoch: Epoch) -> Command {
    look_at(Key::Fence(epoch.get()), VALUE)
}

/// Deletes the S with this CAS: only by an operator's hand.
pub fn delete_s(cas: u64) -> Command {
    Command::Delete { key: Key::State, compare: Some(Cas(cas)), in_place: None }
}

/// Creates S on a shard that has none, and so begins an epoch there.
pub fn begin(stamp: Stamp, fingerprint: u64, made: Made) -> Command {
    create_item(Key::State, STATE_EXPIRES, stamp.value(fingerprint, made), Some(Cas(stamp.cas())), NOTHING)
}

/// Flips S: sets the stamp of another generation in place of `from` (R21). Its value and its clock stay as they are.
pub fn flip(from: Stamp, to: Stamp) -> Command {
    let in_place = Some(InPlace { ttl: None, new_cas: Some(Cas(to.cas())) });
    Command::Delete { key: Key::State, compare: Some(Cas(from.cas())), in_place }
}

/// Notes the topology of a generation, unless one is noted (R22): its fingerprint behind a 1, so that it has ten digits. `ma`, since a
/// failed `ms` would delete the note that stands.
pub fn note_change(generation: Generation, fingerprint: u64) -> Command {
    create_item(Key::Notice(generation.get()), Ttl::Never, FINGERPRINTS + fingerprint, None, NOTHING)
}

/// Reads the topology of a generation.
pub fn look_for_change(generation: Generation) -> Command {
    look_at(Key::Notice(generation.get()), VALUE)
}

/// Makes sense of the answer. Returns none if none is noted.
///
/// # Errors
/// It is no such answer.
pub fn read_change_note(reply: &Reply) -> Result<Option<u64>, Unexpected> {
    match reply {
        Reply::Missing => Ok(None),
        Reply::Done(Shown { value: Some(Value::Number(number)), .. }) => Ok(number.checked_sub(FINGERPRINTS)),
        _ => unexpected("look for a change of the servers", reply),
    }
}

/// Leaves in words the topology that was in force before a generation, unless it is there. It does not expire.
pub fn note_former(generation: Generation, former: &Topology) -> Command {
    let text = format!("{} {}", former.fingerprint(), former.text());
    let (key, value) = (Key::Former(generation.get()), Value::Text(text.into()));
    Command::Set { key, mode: Mode::IfMissing, ttl: Ttl::Never, new_cas: None, value }
}

/// Reads the topology that was in force before a generation.
pub fn look_for_former(generation: Generation) -> Command {
    look_at(Key::Former(generation.get()), VALUE)
}

/// Makes sense of the answer. Returns none if nobody has left it there.
pub fn read_former(reply: &Reply) -> Option<Topology> {
    let (fingerprint, text) = text(reply)?.split_once(' ')?;
    Topology::read(text, fingerprint.parse().ok()?)
}

/// Notes the highest token that a server has given before a generation: its fences are not found any more once it is flipped. It does
/// not expire.
pub fn note_highest(generation: Generation, token: u64) -> Command {
    let value = Value::Number(token);
    Command::Set { key: Key::Highest(generation.get()), mode: Mode::Always, ttl: Ttl::Never, new_cas: None, value }
}

/// Reads the highest token that a server has given before a generation.
pub fn look_for_highest(generation: Generation) -> Command {
    look_at(Key::Highest(generation.get()), VALUE)
}

/// Makes sense of the answer. Returns 0 if none is noted.
pub fn read_highest(reply: &Reply) -> u64 {
    match reply {
        Reply::Done(Shown { value: Some(Value::Number(number)), .. }) => *number,
        _ => 0,
    }
}

/// Opens `epoch`: its tokens come after `start`.
pub fn open(epoch: Epoch, start: u64) -> Command {
    create_item(Key::Fence(epoch.get()), Ttl::Never, start, None, NOTHING)
}

/// Notes a label for the item that it belongs to: its number, token, time, call and keeper, and then its owner's own words. That of a
/// revocation has a keeper alone.
pub fn describe(item: &LockItem, of: ItemState, label: &Label, ttl: u32) -> Command {
    let Label { owner, token, since, call, keeper } = label;
    let number = |number: Option<u64>| number.unwrap_or(0);
    let keeper = keeper.map(|keeper| keeper.to_string()).unwrap_or_default();
    let (id, token, since) = (of.number(), number(token.map(FencingToken::get)), number(*since));
    let call = number(call.map(CallKey::get));
    let text = format!("{id},{token},{since},{call},{keeper} {}", owner.as_str());
    write_note(Key::Owner(item.clone()), Mode::Always, ttl, None, text)
}

/// Notes a label that stands on another server, as it is, unless there is one. Returns none if the answer to a look has none.
pub fn copy_label(item: &LockItem, label: &Reply, ttl: u32) -> Option<Command> {
    let label = text(label)?.to_owned();
    Some(write_note(Key::Owner(item.clone()), Mode::IfMissing, ttl, None, label))
}

/// Sets the ttl of an owner's label.
pub fn touch_owner(item: &LockItem, ttl: u32) -> Command {
    let touch = Some(Ttl::Seconds(ttl));
    Command::Get { key: Key::Owner(item.clone()), bump: false, touch, want: NOTHING }
}

/// Reads an owner's label.
pub fn look_for_owner(item: &LockItem) -> Command {
    look_at(Key::Owner(item.clone()), VALUE)
}

/// Writes a grant's value where there is none, or in the place of the version `from`. The key is the grant's own, so what comes
/// late changes no other's (R34). `ms` here: that it deletes what it fails to write costs a value for as long as it takes to the next
/// renewal.
pub fn write_value(id: GrantId, from: Option<u64>, stored: &Stored, ttl: u32) -> Command {
    let mode = from.map_or(Mode::IfMissing, |from| Mode::IfCas(Cas(from)));
    let text = format!("{} {}", stored.token.get(), stored.value.to_text());
    write_note(Key::Value(id), mode, ttl, Some(stored.version), text)
}

/// Reads a grant's value, and lets it live on.
pub fn keep_value(id: GrantId, ttl: u32) -> Command {
    let touch = Some(Ttl::Seconds(ttl));
    Command::Get { key: Key::Value(id), bump: false, touch, want: Want { cas: true, left: false, value: true } }
}

/// Reads a grant's value.
pub fn look_for_value(id: GrantId) -> Command {
    look_at(Key::Value(id), Want { cas: true, left: false, value: true })
}

/// Deletes a grant's value.
pub fn forget_value(id: GrantId) -> Command {
    Command::Delete { key: Key::Value(id), compare: None, in_place: None }
}

/// Notes who is woken when the lock is let go, if nobody is yet. `ms` here and in what follows: that it deletes
/// what it fails to write costs a poll.
pub fn watch(name: &LockName, watcher: &Watcher, ttl: u32) -> Command {
    take_place(Key::Watcher(name.clone()), watcher, ttl)
}

/// Notes it for longer, if this is the one.
pub fn keep_watching(name: &LockName, watcher: &Watcher, ttl: u32) -> Command {
    keep_place(Key::Watcher(name.clone()), watcher, ttl)
}

/// Deletes the note, if this is the one.
pub fn unwatch(name: &LockName, watcher: &Watcher) -> Command {
    Command::Delete { key: Key::Watcher(name.clone()), compare: Some(Cas(watcher.id)), in_place: None }
}

/// Reads who is to be woken, and ends the note in the same step: the next one waits for the next release.
pub fn take_watcher(name: &LockName) -> Command {
    Command::Get { key: Key::Watcher(name.clone()), bump: true, touch: Some(Ttl::Ended), want: VALUE }
}

/// Notes where a queue stands behind the lock's holder.
pub fn note_queue(name: &LockName, address: SocketAddr, ttl: u32) -> Command {
    write_note(Key::Line(name.clone()), Mode::Always, ttl, None, address.to_string())
}

/// Reads where a queue stands behind the lock's holder.
pub fn look_for_queue(name: &LockName) -> Command {
    look_at(Key::Line(name.clone()), VALUE)
}

/// The places for brokers at which a lock is observed: others look again once a second, and are not told at once.
pub const OBSERVER_PLACES: u8 = 16;

/// Takes a place for a broker at which a lock is observed, if it is free.
pub fn note_observer(name: &LockName, place: u8, watcher: &Watcher, ttl: u32) -> Command {
    take_place(Key::Observer(place, name.clone()), watcher, ttl)
}

/// Notes it for longer, if the place is still its own.
pub fn keep_observer(name: &LockName, place: u8, watcher: &Watcher, ttl: u32) -> Command {
    keep_place(Key::Observer(place, name.clone()), watcher, ttl)
}

/// Reads which broker is to be told at this place when a lock has changed.
pub fn look_for_observer(name: &LockName, place: u8) -> Command {
    look_at(Key::Observer(place, name.clone()), VALUE)
}

/// Takes a place for a broker's note, if it is free.
pub fn note_broker(place: u16, id: u64, note: &str) -> Command {
    write_note(Key::Broker(place), Mode::IfMissing, LIVES, Some(id), note.to_owned())
}

/// Notes it for longer, if the place is still its own. Needs no memory: a failed `ms` would delete the note, and a full
/// server give its memory to a lock.
pub fn keep_noted(place: u16, id: u64) -> Command {
    change_item(Key::Broker(place), Some(Cas(id)), LIVES, id)
}

/// Ends a broker's note, if it is still its own.
pub fn end_note(place: u16, id: u64) -> Command {
    Command::Delete { key: Key::Broker(place), compare: Some(Cas(id)), in_place: None }
}

/// Leaves a topology on a shard in words, unless it is there. It does not expire.
pub fn note_topology(topology: &Topology) -> Command {
    let (key, value) = (Key::Topology(topology.fingerprint()), Value::Text(topology.text().into()));
    Command::Set { key, mode: Mode::IfMissing, ttl: Ttl::Never, new_cas: None, value }
}

/// Reads the topology with this fingerprint.
pub fn look_for_topology(fingerprint: u64) -> Command {
    look_at(Key::Topology(fingerprint), VALUE)
}

/// Makes sense of the answer. Returns none if nobody has left it there, or it is another one's.
pub fn read_topology(reply: &Reply, fingerprint: u64) -> Option<Topology> {
    match reply {
        Reply::Done(Shown { value: Some(Value::Text(text)), .. }) => Topology::read(text, fingerprint),
        _ => None,
    }
}

/// Reads a broker's note.
pub fn look_for_broker(place: u16) -> Command {
    look_at(Key::Broker(place), Want { cas: true, left: true, value: true })
}

/// Says in a note that no server is dead.
const NONE: &str = "-";

/// Notes which servers are dead that were in force before a generation (R27), also that none is. It does not expire.
pub fn note_dead(generation: Generation, dead: &[Arc<str>]) -> Command {
    let text = if dead.is_empty() { NONE.to_owned() } else { dead.join(",") };
    let (key, value) = (Key::Dead(generation.get()), Value::Text(text.into()));
    Command::Set { key, mode: Mode::Always, ttl: Ttl::Never, new_cas: None, value }
}

/// Reads which servers are dead that were in force before a generation.
pub fn look_for_dead(generation: Generation) -> Command {
    look_at(Key::Dead(generation.get()), VALUE)
}

/// Makes sense of the answer: their addresses. Returns none if nothing is noted.
pub fn read_dead(reply: &Reply) -> Option<Vec<Arc<str>>> {
    let text = text(reply)?;
    Some(text.split(',').filter(|address| *address != NONE).map(Arc::from).collect())
}

/// A memcached answered what none answers: nothing that came with it counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("memcached answered {0}")]
pub struct Unexpected(String);

impl From<Unexpected> for StoreError {
    fn from(error: Unexpected) -> StoreError {
        StoreError::uncertain(error.to_string())
    }
}

fn unexpected<T>(what: &str, reply: &Reply) -> Result<T, Unexpected> {
    Err(Unexpected(format!("{reply:?} to a {what}")))
}

/// Reads the witness of a batch.
///
/// # Errors
/// It is no such answer.
pub fn read_witness(reply: &Reply) -> Result<Witness, Unexpected> {
    match reply {
        Reply::Missing => Ok(Witness::Missing),
        Reply::Done(Shown { cas: Some(Cas(cas)), .. }) => Ok(Stamp::of_cas(*cas).map_or(Witness::Odd, Witness::Shows)),
        _ => unexpected("look at the shard's state", reply),
    }
}

/// Reads what a probe finds in S.
///
/// # Errors
/// It is no such answer.
pub fn read_state(reply: &Reply) -> Result<StateItem, Unexpected> {
    match reply {
        Reply::Missing => Ok(StateItem::Missing),
        Reply::Done(Shown { cas: Some(Cas(cas)), value: Some(value), .. }) => Ok(StateItem::of(*cas, value)),
        _ => unexpected("look at the shard's state", reply),
    }
}

/// Reads how long S has left, if it is there.
pub(crate) fn read_clock(reply: &Reply) -> Option<Duration> {
    match reply {
        Reply::Done(Shown { left: Some(Left::Seconds(left)), .. }) => Some(Duration::from_secs((*left).into())),
        _ => None,
    }
}

/// Reads the highest token of the batch. None if the epoch is closed.
///
/// # Errors
/// It is no such answer.
pub fn read_fence(reply: &Reply) -> Result<Option<FencingToken>, Unexpected> {
    match reply {
        Reply::Missing => Ok(None),
        Reply::Done(Shown { value: Some(Value::Number(token)), .. }) => match FencingToken::new(*token) {
            Some(token) => Ok(Some(token)),
            None => unexpected("question for fencing tokens", reply),
        },
        _ => unexpected("question for fencing tokens", reply),
    }
}

/// The outcome of a command on a lock's item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CasOutcome {
    /// Created, changed or deleted.
    Done,
    /// There is an item with another state.
    Exists,
    /// There is no item.
    Missing,
}

/// Reads the answer to `create` with this state. It is done only if the CAS that comes back is the one sent.
pub(crate) fn read_create(reply: &Reply, state: ItemState) -> Result<CasOutcome, Unexpected> {
    match reply {
        Reply::Done(Shown { cas: Some(Cas(cas)), .. }) if *cas == state.number() => Ok(CasOutcome::Done),
        Reply::Exists => Ok(CasOutcome::Exists),
        _ => unexpected("grant", reply),
    }
}

/// Reads the answer to `replace` or `remove`.
pub(crate) fn read_change(reply: &Reply) -> Result<CasOutcome, Unexpected> {
    match reply {
        Reply::Done(_) => Ok(CasOutcome::Done),
        Reply::Exists => Ok(CasOutcome::Exists),
        Reply::Missing => Ok(CasOutcome::Missing),
        _ => unexpected("change of a lock", reply),
    }
}

/// Reads what a look has found: the state and the time left, if there is an item.
pub fn read_look(reply: &Reply) -> Result<Option<(ItemState, Duration)>, Unexpected> {
    let (cas, left) = match reply {
        Reply::Missing => return Ok(None),
        Reply::Done(Shown { cas: Some(Cas(cas)), left: Some(Left::Seconds(left)), .. }) => (*cas, *left),
        _ => return unexpected("look at a lock: the item is not lockbroker's", reply),
    };
    match ItemState::of_number(cas) {
        Some(state) => Ok(Some((state, Duration::from_secs(left.into())))),
        None => unexpected("look at a lock: the item is not lockbroker's", reply),
    }
}

/// Reads if permits may exist on the shard. What is no clear no is a yes.
pub(crate) fn read_permits(reply: &Reply) -> bool {
    *reply != Reply::Missing
}

/// Reads how many permits of a lock may exist. Never more than there can be.
///
/// # Errors
/// It is no such answer.
pub fn read_slots(reply: &Reply) -> Result<u16, Unexpected> {
    match reply {
        Reply::Missing => Ok(0),
        Reply::Done(Shown { cas: Some(Cas(slots)), .. }) => {
            Ok(u16::try_from(*slots).unwrap_or(MAX_PERMITS).min(MAX_PERMITS))
        }
        _ => unexpected("look at the permits of a lock", reply),
    }
}

fn text(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Done(Shown { value: Some(Value::Text(text)), .. }) => Some(text),
        _ => None,
    }
}

/// Reads the label noted for `state`, if there is one. A label of another grant is none.
pub fn read_label(reply: &Reply, state: ItemState) -> Label {
    let read = |text: &str| {
        let (noted, owner) = text.split_once(' ')?;
        let mut noted = noted.splitn(5, ',');
        let mut number = || noted.next()?.parse::<u64>().ok();
        let (id, token, since, call) = (number()?, number()?, number()?, number()?);
        let label = Label {
            owner: Owner::new(owner).unwrap_or_default(),
            token: FencingToken::new(token),
            since: (since > 0).then_some(since),
            call: (call > 0).then(|| CallKey::of_digest(call)),
            keeper: noted.next().and_then(|keeper| keeper.parse().ok()),
        };
        (id == state.number()).then_some(label)
    };
    text(reply).and_then(read).unwrap_or_default()
}

/// Reads a grant's value, if there is one that makes sense.
pub(crate) fn read_value(reply: &Reply) -> Option<Stored> {
    let Reply::Done(Shown { cas: Some(Cas(version)), .. }) = reply else { return None };
    let (token, value) = text(reply)?.split_once(' ')?;
    let token = FencingToken::new(token.parse().ok()?)?;
    Some(Stored { token, version: *version, value: LockValue::of_text(value)? })
}

/// Reads the answer to `write_value`.
pub(crate) fn read_written(reply: &Reply) -> Result<CasOutcome, Unexpected> {
    match reply {
        Reply::Done(_) => Ok(CasOutcome::Done),
        Reply::Exists | Reply::NotStored => Ok(CasOutcome::Exists),
        Reply::Missing => Ok(CasOutcome::Missing),
        Reply::Refused(_) => unexpected("write of a value", reply),
    }
}

/// Reads where the broker listens that is to be woken, if there is one.
pub(crate) fn read_address(reply: &Reply) -> Option<SocketAddr> {
    text(reply)?.trim_end().parse().ok()
}
