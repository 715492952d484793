//! The commands of the protocol on memcached, byte for byte, and what their answers say.
//!
//! A lock's item is created by `ma` and changed only by `md … I`, which compares and sets ttl and CAS in one
//! step. It is never written with `ms`, because a failed `ms` deletes what was there, nor touched with
//! `mg … T`, which sets anybody's ttl.

use std::net::SocketAddr;
use std::time::Duration;

use memcache::exp::{MetaCommand, MetaOp, MetaResponse, ReturnCode};

use super::presence::LIVES;
use super::state_item::{Epoch, Stamp, StateItem, Witness};
use crate::lock::{FencingToken, GrantId, LingerId, LockName, Owner};
use crate::mutations::{self, Rule};
use crate::store::{ItemState, StoreError};

/// A CAS that no item ever has: an `ma` that compares with it changes nothing that exists and creates what
/// does not.
const SENTINEL: u64 = u64::MAX;
/// S never expires by itself. An absolute time, a little before memcached's own end of time in January 2038.
const STATE_EXPIRES: u64 = 2_147_480_000;

/// The keys of one deployment on a memcached that others may use too.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        Keys { prefix: prefix.to_owned() }
    }

    fn key(&self, kind: &str, rest: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), kind.as_bytes(), rest.as_bytes()].concat()
    }

    fn lock(&self, op: MetaOp, name: &LockName) -> MetaCommand {
        MetaCommand::new(op, self.key("L:", name.as_str()))
    }

    /// `md` for an item that carries this state.
    fn only(&self, name: &LockName, state: ItemState) -> MetaCommand {
        let command = self.lock(MetaOp::Delete, name);
        if mutations::breaks(Rule::IdsCompared) { command } else { command.flag(flags(&[("C", number(state))])) }
    }

    fn owner(&self, op: MetaOp, name: &LockName) -> MetaCommand {
        MetaCommand::new(op, self.key("O:", name.as_str()))
    }

    fn watcher(&self, op: MetaOp, name: &LockName) -> MetaCommand {
        MetaCommand::new(op, self.key("W:", name.as_str()))
    }

    fn line(&self, op: MetaOp, name: &LockName) -> MetaCommand {
        MetaCommand::new(op, self.key("H:", name.as_str()))
    }

    fn broker(&self, op: MetaOp, place: u16) -> MetaCommand {
        MetaCommand::new(op, self.key("B:", &place.to_string()))
    }

    fn state(&self, op: MetaOp) -> MetaCommand {
        MetaCommand::new(op, self.key("S", ""))
    }

    fn fence_item(&self, op: MetaOp, epoch: Epoch) -> MetaCommand {
        MetaCommand::new(op, self.key("F:", &epoch.to_string()))
    }

    /// Creates the item of a lock that has none: the grant, and the re-assertion after a loss.
    pub(super) fn create(&self, name: &LockName, state: ItemState, ttl: u32) -> MetaCommand {
        let id = number(state);
        let flags = flags(&[("N", ttl.into()), (" J", id), (" D", 0), (" C", SENTINEL), (" E", id)]);
        self.lock(MetaOp::Arithmetic, name).flag(flags + " c")
    }

    /// Changes an item that carries `from`: renewal, hand-over, reattach, the beginning of a linger.
    pub(super) fn replace(&self, name: &LockName, from: ItemState, to: ItemState, ttl: u32) -> MetaCommand {
        self.only(name, from).flag(flags(&[("I T", ttl.into()), (" E", number(to))]))
    }

    /// Deletes an item that carries `state`.
    pub(super) fn remove(&self, name: &LockName, state: ItemState) -> MetaCommand {
        self.only(name, state)
    }

    pub(super) fn look(&self, name: &LockName) -> MetaCommand {
        self.lock(MetaOp::Get, name).flag("u c t")
    }

    /// The clock: how long S has left to live.
    pub(super) fn clock(&self) -> MetaCommand {
        self.state(MetaOp::Get).flag("u t")
    }

    /// The witness: whether S is still the one that was read. `u` leaves the time of S as it is, or a `flush_all` in
    /// this second could spare S and hide itself (R13a).
    pub(super) fn witness(&self) -> MetaCommand {
        self.state(MetaOp::Get).flag("u c")
    }

    /// Reads the whole of S.
    pub(super) fn read_state(&self) -> MetaCommand {
        self.state(MetaOp::Get).flag("u c v")
    }

    /// Raises the fencing tokens of `epoch` by `grants`.
    pub(super) fn fence(&self, epoch: Epoch, grants: usize) -> MetaCommand {
        self.fence_item(MetaOp::Arithmetic, epoch).flag(format!("D{grants} v"))
    }

    /// Reads the highest token of `epoch`.
    pub(super) fn highest_token(&self, epoch: Epoch) -> MetaCommand {
        self.fence_item(MetaOp::Get, epoch).flag("u v")
    }

    /// Deletes the S with this CAS: only by an operator's hand.
    pub(super) fn forget_state(&self, cas: u64) -> MetaCommand {
        self.state(MetaOp::Delete).flag(flags(&[("C", cas)]))
    }

    /// Creates S on a shard that has none, and so begins an epoch there.
    pub(super) fn begin(&self, stamp: Stamp, fingerprint: u64) -> MetaCommand {
        let (value, cas) = (stamp.value(fingerprint), stamp.cas());
        let flags = flags(&[("N", STATE_EXPIRES), (" J", value), (" D", 0), (" C", SENTINEL), (" E", cas)]);
        self.state(MetaOp::Arithmetic).flag(flags)
    }

    /// Opens `epoch`: its tokens come after `start`.
    pub(super) fn open(&self, epoch: Epoch, start: u64) -> MetaCommand {
        self.fence_item(MetaOp::Arithmetic, epoch).flag(format!("N0 J{start} D0 C{SENTINEL}"))
    }

    /// Notes an owner's label, for the grant that it belongs to.
    pub(super) fn describe(&self, name: &LockName, id: GrantId, owner: &Owner, ttl: u32) -> MetaCommand {
        let value = format!("{} {}", id.get(), owner.as_str());
        self.owner(MetaOp::Set, name).flag(format!("T{ttl}")).value(value)
    }

    pub(super) fn touch_owner(&self, name: &LockName, ttl: u32) -> MetaCommand {
        self.owner(MetaOp::Get, name).flag(format!("u T{ttl}"))
    }

    pub(super) fn look_for_owner(&self, name: &LockName) -> MetaCommand {
        self.owner(MetaOp::Get, name).flag("u v")
    }

    /// Notes who is woken when the lock is let go, if nobody is yet. `ms` here and in what follows: that it deletes
    /// what it fails to write costs a poll.
    pub(super) fn watch(&self, name: &LockName, watcher: &Watcher, ttl: u32) -> MetaCommand {
        let Watcher { address, id } = watcher;
        self.watcher(MetaOp::Set, name).flag(format!("ME T{ttl} E{id}")).value(address.to_string())
    }

    /// Notes it for longer, if this is the one.
    pub(super) fn keep_watching(&self, name: &LockName, watcher: &Watcher, ttl: u32) -> MetaCommand {
        let Watcher { address, id } = watcher;
        self.watcher(MetaOp::Set, name).flag(format!("C{id} T{ttl} E{id}")).value(address.to_string())
    }

    /// Deletes the note, if this is the one.
    pub(super) fn unwatch(&self, name: &LockName, watcher: &Watcher) -> MetaCommand {
        self.watcher(MetaOp::Delete, name).flag(format!("C{}", watcher.id))
    }

    /// Reads who is to be woken, and ends the note in the same step: the next one waits for the next release.
    pub(super) fn take_watcher(&self, name: &LockName) -> MetaCommand {
        self.watcher(MetaOp::Get, name).flag("v T-1")
    }

    /// Notes where a line stands behind the lock's holder.
    pub(super) fn note_line(&self, name: &LockName, address: SocketAddr, ttl: u32) -> MetaCommand {
        self.line(MetaOp::Set, name).flag(format!("T{ttl}")).value(address.to_string())
    }

    /// Takes a place for a broker's note, if it is free.
    pub(super) fn note_broker(&self, place: u16, id: u64, note: &str) -> MetaCommand {
        self.broker(MetaOp::Set, place).flag(format!("ME T{LIVES} E{id}")).value(note)
    }

    /// Notes it for longer, if the place is still its own. Needs no memory: a failed `ms` would delete the note, and a full
    /// server give its memory to a lock.
    pub(super) fn keep_noted(&self, place: u16, id: u64) -> MetaCommand {
        self.broker(MetaOp::Delete, place).flag(format!("C{id} I T{LIVES} E{id}"))
    }

    pub(super) fn look_for_broker(&self, place: u16) -> MetaCommand {
        self.broker(MetaOp::Get, place).flag("u c t v")
    }

    pub(super) fn look_for_line(&self, name: &LockName) -> MetaCommand {
        self.line(MetaOp::Get, name).flag("u v")
    }
}

/// A broker as one that is to be woken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watcher {
    pub(super) address: SocketAddr,
    /// Tells its notes from those of others: the CAS of their items.
    pub(super) id: u64,
}

/// Flags with numbers. There are some in every command, so they are not left to `format!`, which costs four times as
/// much.
fn flags(flags: &[(&str, u64)]) -> String {
    const LONGEST: usize = 24;
    let mut text = String::with_capacity(flags.len() * LONGEST);
    for (flag, number) in flags {
        text.push_str(flag);
        text.push_str(itoa::Buffer::new().format(*number));
    }
    text
}

fn number(state: ItemState) -> u64 {
    match state {
        ItemState::Held(id) => id.get(),
        ItemState::Lingering(id) => id.get(),
    }
}

/// A memcached answered what none answers: nothing that came with it counts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("memcached answered {0}")]
pub(super) struct Unexpected(String);

impl Unexpected {
    /// A SERVER_ERROR where none is to be had.
    pub(super) fn refusal(why: &str) -> Unexpected {
        Unexpected(format!("that it could not: {why}"))
    }
}

impl From<Unexpected> for StoreError {
    fn from(error: Unexpected) -> StoreError {
        StoreError::uncertain(error.to_string())
    }
}

fn unexpected<T>(what: &str, response: &MetaResponse) -> Result<T, Unexpected> {
    Err(Unexpected(format!("{:?} to a {what}", response.rc())))
}

/// What comes back under a flag, if it is a number from 0 on: a time to live of -1 is none.
fn flag(response: &MetaResponse, flag: u8) -> Option<u64> {
    let number = response.flags().find_map(|token| token.strip_prefix(&[flag]))?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn text(response: &MetaResponse) -> Option<&str> {
    std::str::from_utf8(response.value()?).ok()
}

/// Reads the witness of a batch.
pub(super) fn read_witness(response: &MetaResponse) -> Result<Witness, Unexpected> {
    match (response.rc(), flag(response, b'c')) {
        (ReturnCode::En, _) => Ok(Witness::Missing),
        (ReturnCode::Hd, Some(cas)) => Ok(Stamp::of_cas(cas).map_or(Witness::Odd, Witness::Shows)),
        _ => unexpected("look at the shard's state", response),
    }
}

/// Reads what a probe finds in S.
pub(super) fn read_state(response: &MetaResponse) -> Result<StateItem, Unexpected> {
    match (response.rc(), flag(response, b'c'), response.value()) {
        (ReturnCode::En, ..) => Ok(StateItem::Missing),
        (_, Some(cas), Some(value)) => Ok(StateItem::of(cas, value)),
        _ => unexpected("look at the shard's state", response),
    }
}

/// How long S has left, if it is there.
pub(super) fn read_clock(response: &MetaResponse) -> Option<Duration> {
    flag(response, b't').map(Duration::from_secs)
}

/// The highest token of the batch; none if the epoch is closed.
pub(super) fn read_fence(response: &MetaResponse) -> Result<Option<FencingToken>, Unexpected> {
    match response.rc() {
        ReturnCode::Nf | ReturnCode::En => Ok(None),
        _ => match text(response).and_then(|digits| digits.trim_end().parse().ok()).and_then(FencingToken::new) {
            Some(token) => Ok(Some(token)),
            None => unexpected("rise of the fencing tokens", response),
        },
    }
}

/// What a command on a lock's item came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CasOutcome {
    /// Created, changed or deleted.
    Done,
    /// There is an item with another state.
    Exists,
    /// There is no item.
    Missing,
}

/// What `create` with this state came to: it is done only if the CAS that comes back is the one sent.
pub(super) fn read_create(response: &MetaResponse, state: ItemState) -> Result<CasOutcome, Unexpected> {
    match response.rc() {
        ReturnCode::Hd if flag(response, b'c') == Some(number(state)) => Ok(CasOutcome::Done),
        ReturnCode::Ex => Ok(CasOutcome::Exists),
        _ => unexpected("grant", response),
    }
}

/// What `replace` or `remove` came to.
pub(super) fn read_change(response: &MetaResponse) -> Result<CasOutcome, Unexpected> {
    match response.rc() {
        ReturnCode::Hd => Ok(CasOutcome::Done),
        ReturnCode::Ex => Ok(CasOutcome::Exists),
        ReturnCode::Nf => Ok(CasOutcome::Missing),
        _ => unexpected("change of a lock", response),
    }
}

/// What a `look` found: the state and the time left, if there is an item.
pub(super) fn read_look(response: &MetaResponse) -> Result<Option<(ItemState, Duration)>, Unexpected> {
    if response.rc() == ReturnCode::En {
        return Ok(None);
    }
    let state = flag(response, b'c').and_then(|cas| {
        let held = GrantId::new(cas).map(ItemState::Held);
        held.or_else(|| LingerId::new(cas).map(ItemState::Lingering))
    });
    match (state, flag(response, b't')) {
        (Some(state), Some(left)) => Ok(Some((state, Duration::from_secs(left)))),
        _ => unexpected("look at a lock, which is not one of ours", response),
    }
}

/// The label noted for `state`, if there is one; a label of another grant is none.
pub(super) fn read_owner(response: &MetaResponse, state: ItemState) -> Owner {
    let label = text(response).and_then(|value| value.split_once(' '));
    match label {
        Some((id, owner)) if id == number(state).to_string() => Owner::new(owner).unwrap_or_default(),
        _ => Owner::default(),
    }
}

/// Reads the id of a broker's note, and how many seconds it has left.
pub(super) fn read_note(response: &MetaResponse) -> Option<(u64, u64)> {
    Some((flag(response, b'c')?, flag(response, b't')?))
}

/// Where the broker listens that is to be woken, if there is one.
pub(super) fn read_address(response: &MetaResponse) -> Option<SocketAddr> {
    text(response)?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Names and prefixes of visible ASCII go as they are, others as base64: neither way may two meet.
        #[test]
        fn every_name_has_keys_of_its_own(
            prefix in "[!-~]{0,48}",
            names in prop::collection::hash_set("\\PC{1,32}|[SFLOBWH:0-9]{1,12}|[A-Za-z0-9+/=:]{1,48}", 2..20),
            epoch in Epoch::FIRST..=Epoch::LAST,
        ) {
            let keys = Keys::new(&prefix);
            let key = |command: MetaCommand| {
                let wire = command.encode().unwrap();
                let words: Vec<_> = wire[..wire.len() - 2].split(|&byte| byte == b' ').collect();
                (words[1].to_vec(), words.contains(&b"b".as_slice()))
            };
            let mut seen = HashSet::new();
            prop_assert!(seen.insert(key(keys.clock())));
            prop_assert!(seen.insert(key(keys.highest_token(Epoch::of(epoch)))));
            prop_assert!(seen.insert(key(keys.look_for_broker(7))));
            for name in names.iter().filter_map(|name| LockName::new(name).ok()) {
                for command in [keys.look(&name), keys.look_for_owner(&name)] {
                    let key = key(command);
                    prop_assert!(key.0.len() <= memcache::exp::MAX_KEY_LENGTH, "{} bytes", key.0.len());
                    prop_assert!(seen.insert(key), "{name:?} shares a key");
                }
            }
        }

        /// Whatever the line of an answer says, reading it ends in a value or an error.
        #[test]
        fn no_answer_is_too_odd_to_be_read(
            line in "(HD|EX|NF|EN|NS|MN|VA|XX)( [!-~]{0,24}){0,4}|[ -~]{0,40}",
            id in 10_000_000_000_000_000_000..u64::MAX,
        ) {
            let Ok(response) = MetaResponse::parse_header(line.as_bytes()) else { return Ok(()) };
            let state = ItemState::Held(GrantId::new(id).unwrap());
            let _ = (read_witness(&response), read_state(&response), read_clock(&response), read_fence(&response));
            let _ = (read_look(&response), read_change(&response), read_owner(&response, state));
            if read_create(&response, state) == Ok(CasOutcome::Done) {
                prop_assert!(line.contains(&format!("c{id}")), "granted by {line:?}");
            }
        }
    }

    fn wire(command: MetaCommand) -> String {
        String::from_utf8(command.encode().unwrap()).unwrap()
    }

    #[test]
    fn commands_are_byte_for_byte_those_of_the_protocol() {
        let keys = Keys::new("lb:");
        let name = LockName::new("job").unwrap();
        let held = ItemState::Held(GrantId::new(12_345_678_901_234_567_890).unwrap());
        let linger = ItemState::Lingering(LingerId::new(1_234_567_890_123_456_789).unwrap());
        let stamp = Stamp::of_cas(1_234_567_890_123_400_007).unwrap();
        let epoch = stamp.epoch;
        let watcher = Watcher { address: "10.0.0.7:28553".parse().unwrap(), id: 77 };
        for (command, expected) in [
            (
                keys.create(&name, held, 15),
                "ma lb:L:job N15 J12345678901234567890 D0 C18446744073709551615 E12345678901234567890 c",
            ),
            (keys.replace(&name, held, linger, 12), "md lb:L:job C12345678901234567890 I T12 E1234567890123456789"),
            (keys.remove(&name, linger), "md lb:L:job C1234567890123456789"),
            (keys.look(&name), "mg lb:L:job u c t"),
            (keys.clock(), "mg lb:S u t"),
            (keys.witness(), "mg lb:S u c"),
            (keys.read_state(), "mg lb:S u c v"),
            (keys.fence(epoch, 3), "ma lb:F:12345678901234 D3 v"),
            (keys.open(epoch, 77), "ma lb:F:12345678901234 N0 J77 D0 C18446744073709551615"),
            (keys.watch(&name, &watcher, 5), "ms lb:W:job 14 ME T5 E77\r\n10.0.0.7:28553"),
            (keys.keep_watching(&name, &watcher, 5), "ms lb:W:job 14 C77 T5 E77\r\n10.0.0.7:28553"),
            (keys.unwatch(&name, &watcher), "md lb:W:job C77"),
            (keys.take_watcher(&name), "mg lb:W:job v T-1"),
            (keys.note_line(&name, watcher.address, 15), "ms lb:H:job 14 T15\r\n10.0.0.7:28553"),
            (keys.look_for_line(&name), "mg lb:H:job u v"),
            (keys.note_broker(7, 77, "1 0.1.0 here"), "ms lb:B:7 12 ME T15 E77\r\n1 0.1.0 here"),
            (keys.keep_noted(7, 77), "md lb:B:7 C77 I T15 E77"),
            (keys.look_for_broker(7), "mg lb:B:7 u c t v"),
            (
                keys.begin(stamp, 42),
                "ma lb:S N2147480000 J10200007000000042000 D0 C18446744073709551615 E1234567890123400007",
            ),
            (keys.forget_state(77), "md lb:S C77"),
        ] {
            assert_eq!(wire(command), format!("{expected}\r\n"));
        }
    }

    #[test]
    fn the_longest_name_and_prefix_fit_into_a_key() {
        let keys = Keys::new(&"p".repeat(48));
        let name = LockName::new(&" ".repeat(128)).unwrap();
        assert!(wire(keys.look(&name)).ends_with(" u c t b\r\n"), "a key with spaces goes as base64");
    }
}
