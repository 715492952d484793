//! A simulated store at the level of requests and replies: the shards, with what they remember and when they lose it.
//!
//! The machine of a shard and simulated memcached servers take the place of this file once that is in the core.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use lockbroker_core::RequestId;
use lockbroker_core::failure::Cause;
use lockbroker_core::lock::{FencingToken, Owner};
use lockbroker_core::rules::Rule;
use lockbroker_core::store::{Change, Granted, ItemState, LockStatus, Reply, Request, StoreError, Watch};

use crate::time::SEC;

/// An item.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it carries.
    pub state: ItemState,
    /// When it is gone.
    pub expires: u64,
    /// True if that is not earlier than it has to be.
    pub whole: bool,
    /// Until when it was certain to live, whatever the server's clock did.
    pub sure: u64,
    /// Its T.
    ttl: u32,
}

/// A shard: one server's memory.
#[derive(Debug, Clone, Default)]
pub struct Shard {
    /// Counts the losses of memory.
    pub epoch: u64,
    /// True if locks are granted.
    pub open: bool,
    /// The items by name.
    pub items: BTreeMap<usize, Item>,
    /// The last token.
    pub token: u64,
    /// The broker that is woken when a name is released, and until when.
    watchers: BTreeMap<usize, (usize, u64)>,
    /// The broker where others wait behind a name's holder, and until when.
    lines: BTreeMap<usize, (usize, u64)>,
    /// True while answers are lost and commands land late.
    pub uncertain: bool,
    /// True while it is slow.
    pub slow: bool,
    /// True while it has no memory.
    pub full: bool,
    /// When it last lost its memory.
    pub lost_at: Option<u64>,
    /// When it last was in trouble.
    pub trouble: u64,
}

/// What a broker knows of a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// The epoch that it has seen last. None: it has not seen any.
    pub epoch: Option<u64>,
    /// True if it has seen that epoch open.
    pub open: bool,
    /// When it first saw the epoch closed, by its own clock.
    pub closed_since: u64,
}

/// A request that is under way.
#[derive(Debug, Clone)]
pub struct Ask {
    pub broker: usize,
    pub life: u32,
    pub id: RequestId,
    pub name: usize,
    pub request: Request,
    /// When it was sent.
    pub sent: u64,
    /// What the broker knew of the shard by then.
    pub view: View,
    /// The epoch that the witness shows.
    pub witness: Option<u64>,
    pub open: bool,
    /// True once the broker has given it up: what it comes to, nobody hears.
    pub given_up: bool,
    /// True for the command that creates an item again that went with the store's memory.
    pub reasserts: bool,
    /// What is answered, once that is known.
    pub reply: Option<Reply>,
}

/// What the carrying out of a request brought about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effect {
    /// The name is free now by a removal: this broker is to be woken.
    pub wakes: Option<usize>,
    /// An item was created, or given to another grant.
    pub granted: bool,
    /// A grant was replaced by another id.
    pub replaced: bool,
    /// A grant became a linger, or was removed.
    pub ended: bool,
}

impl View {
    /// Takes note of what a shard shows.
    pub fn see(&mut self, epoch: u64, open: bool, local: u64) {
        if self.epoch != Some(epoch) {
            *self = View { epoch: Some(epoch), open: false, closed_since: local };
        }
        self.open |= open;
    }
}

impl Ask {
    /// Returns what is told of a request that may have been carried out.
    pub fn uncertain(request: &Request, why: &str) -> Reply {
        Ask::failed(request, StoreError::uncertain(why))
    }

    /// Returns the reply that tells of a failure.
    pub fn failed(request: &Request, error: StoreError) -> Reply {
        match request {
            Request::Grant { .. } | Request::HandOver { .. } => Reply::Granted(Err(error)),
            Request::Renew { .. } | Request::Replace { .. } | Request::Linger { .. } | Request::Remove { .. } => {
                Reply::Changed(Err(error))
            }
            Request::Look => Reply::Status(Err(error)),
            Request::Stands(_) => Reply::Stands(Err(error)),
            Request::Watch { .. } => Reply::Watching(Watch::No),
        }
    }
}

/// Says that a shard is closed.
pub(crate) fn closed() -> StoreError {
    StoreError::unavailable("the shard is closed", Some(Duration::from_millis(100))).because(Cause::StoreQuarantined)
}

/// Returns true if a request grants something, which a closed shard does not do.
pub(crate) fn grants(request: &Request) -> bool {
    matches!(request, Request::Grant { .. } | Request::HandOver { .. })
}

/// Turns a reply of a shard that is, or was, closed into what that is worth: nothing but a success is final there.
pub(crate) fn settled(reply: Reply) -> Reply {
    match reply {
        Reply::Granted(Ok(Granted::No)) => Reply::Granted(Err(closed())),
        Reply::Changed(Ok(Change::Gone | Change::TakenOver)) => Reply::Changed(Err(closed())),
        Reply::Status(Ok(LockStatus::Free)) => Reply::Status(Err(closed())),
        Reply::Stands(Ok(false)) => Reply::Stands(Err(closed())),
        reply => reply,
    }
}

/// Returns the state to create again if a change finds nothing in a closed shard.
pub(crate) fn reassertion(request: &Request) -> Option<(ItemState, u32)> {
    match request {
        Request::Renew { state, ttl, .. } => Some((*state, *ttl)),
        Request::Linger { to, ttl, certain: true, .. } => Some((ItemState::Lingering(*to), *ttl)),
        _ => None,
    }
}

impl Shard {
    /// Makes one that is empty and open.
    pub fn new() -> Shard {
        Shard { open: true, token: 1_000, ..Shard::default() }
    }

    /// Forgets everything.
    pub fn lose_memory(&mut self, now: u64) {
        self.epoch += 1;
        self.open = false;
        self.items.clear();
        self.watchers.clear();
        self.lines.clear();
        self.lost_at = Some(now);
        self.trouble = now;
    }

    /// Opens it after its quarantine.
    pub fn unlock(&mut self) {
        self.open = true;
        self.token += 1_000_000;
    }

    /// Forgets the items that have expired, and returns them.
    pub fn sweep(&mut self, now: u64) -> Vec<(usize, Item)> {
        if self.items.values().all(|item| item.expires > now) {
            return Vec::new();
        }
        let expired = self.items.iter().filter(|(_, item)| item.expires <= now);
        let expired = expired.map(|(name, item)| (*name, item.clone())).collect();
        self.items.retain(|_, item| item.expires > now);
        expired
    }

    /// Returns a name's item, if it lives.
    pub fn item(&self, name: usize, now: u64) -> Option<&Item> {
        self.items.get(&name).filter(|item| item.expires > now)
    }

    fn next_token(&mut self) -> FencingToken {
        self.token += 1;
        FencingToken::new(self.token).expect("no run draws so many")
    }

    fn change(
        &mut self,
        name: usize,
        (from, to): (ItemState, ItemState),
        (ttl, expires, whole, sure): (u32, u64, bool, u64),
        breaks: bool,
    ) -> Change {
        match self.items.get_mut(&name) {
            None => Change::Gone,
            Some(item) if item.state != from && !breaks => Change::TakenOver,
            Some(item) => {
                item.state = to;
                // The server's clock never goes back: a later command of the same T shortens nothing.
                item.whole = whole;
                let floor = |before: u64| if ttl >= item.ttl { before } else { 0 };
                item.expires = expires.max(floor(item.expires));
                item.sure = sure.max(floor(item.sure));
                item.ttl = ttl;
                Change::Done
            }
        }
    }

    /// Carries out a request that was sent at `ask.sent`. `early` is how much less than its T an item lives, up to 3 s
    /// less from the sending on.
    pub fn carry_out(&mut self, ask: &Ask, now: u64, early: u64, rule: Option<Rule>) -> (Reply, Effect) {
        let name = ask.name;
        let latest = |ttl: u32| now + u64::from(ttl) * SEC;
        let expires = |ttl: u32| {
            let earliest = (ask.sent + (u64::from(ttl) * SEC).saturating_sub(3 * SEC)).max(now);
            latest(ttl).saturating_sub(early).max(earliest) + 1
        };
        // What lands long after its broker has given it up may be left to expire.
        let whole = early == 0 && now < ask.sent + 3 * SEC;
        let sure = |ttl: u32| ask.sent + (u64::from(ttl) * SEC).saturating_sub(3 * SEC);
        let life = |ttl: u32| (ttl, expires(ttl), whole, sure(ttl));
        let mut effect = Effect::default();
        let forced = rule == Some(Rule::IdsCompared);
        let reply = match &ask.request {
            _ if ask.reasserts => self.reassert(ask, whole, expires),
            Request::Grant { id, ttl } => match self.items.entry(name) {
                Entry::Occupied(_) => Reply::Granted(Ok(Granted::No)),
                Entry::Vacant(free) => {
                    effect.granted = true;
                    let state = ItemState::Held(*id);
                    free.insert(Item { state, expires: expires(*ttl), whole, sure: sure(*ttl), ttl: *ttl });
                    Reply::Granted(Ok(Granted::Yes(self.next_token())))
                }
            },
            Request::HandOver { from, to, ttl } => {
                let (from, to) = (ItemState::Held(*from), ItemState::Held(*to));
                match self.change(name, (from, to), life(*ttl), false) {
                    Change::Done => {
                        effect.granted = true;
                        Reply::Granted(Ok(Granted::Yes(self.next_token())))
                    }
                    Change::Gone | Change::TakenOver => Reply::Granted(Ok(Granted::No)),
                }
            }
            Request::Renew { state, ttl, .. } => {
                Reply::Changed(Ok(self.change(name, (*state, *state), life(*ttl), forced)))
            }
            Request::Replace { from, to, ttl } => {
                let (from, to) = (ItemState::Held(*from), ItemState::Held(*to));
                let change = self.change(name, (from, to), life(*ttl), false);
                effect.replaced = change == Change::Done;
                Reply::Changed(Ok(change))
            }
            Request::Linger { from, to, ttl, .. } => {
                let (from, to) = (ItemState::Held(*from), ItemState::Lingering(*to));
                let change = self.change(name, (from, to), life(*ttl), false);
                effect.ended = change == Change::Done;
                Reply::Changed(Ok(change))
            }
            Request::Remove { state } => {
                let change = self.change(name, (*state, *state), (0, now, whole, 0), forced);
                if change == Change::Done {
                    self.items.remove(&name);
                    effect.ended = true;
                }
                effect.wakes = self.watchers.remove(&name).filter(|(_, until)| *until > now).map(|(broker, _)| broker);
                Reply::Changed(Ok(change))
            }
            Request::Look => Reply::Status(Ok(self.look(name, now))),
            Request::Stands(id) => {
                Reply::Stands(Ok(self.items.get(&name).is_some_and(|item| item.state == ItemState::Held(*id))))
            }
            Request::Watch { kept, ttl } => Reply::Watching(self.watch(ask.broker, name, *kept, latest(*ttl), now)),
        };
        (reply, effect)
    }

    fn reassert(&mut self, ask: &Ask, whole: bool, expires: impl Fn(u32) -> u64) -> Reply {
        let Some((state, ttl)) = reassertion(&ask.request) else { return settled(Reply::Changed(Ok(Change::Gone))) };
        if self.items.contains_key(&ask.name) {
            return settled(Reply::Changed(Ok(Change::TakenOver)));
        }
        self.items.insert(
            ask.name,
            Item {
                state,
                expires: expires(ttl),
                whole,
                sure: ask.sent + (u64::from(ttl) * SEC).saturating_sub(3 * SEC),
                ttl,
            },
        );
        Reply::Changed(Ok(Change::Done))
    }

    fn look(&self, name: usize, now: u64) -> LockStatus {
        match self.items.get(&name) {
            None => LockStatus::Free,
            Some(item) => LockStatus::Taken {
                state: item.state,
                owner: Owner::default(),
                expires_in: Duration::from_nanos(item.expires - now),
            },
        }
    }

    fn watch(&mut self, broker: usize, name: usize, kept: bool, until: u64, now: u64) -> Watch {
        match self.watchers.get(&name).filter(|(_, until)| *until > now) {
            Some((noted, _)) if *noted == broker && kept => {
                self.watchers.insert(name, (broker, until));
                Watch::Kept
            }
            Some(_) => Watch::No,
            None => {
                self.watchers.insert(name, (broker, until));
                Watch::Begun
            }
        }
    }

    /// Takes back what a watch asked for.
    pub fn unwatch(&mut self, broker: usize, name: usize) {
        if self.watchers.get(&name).is_some_and(|(noted, _)| *noted == broker) {
            self.watchers.remove(&name);
        }
    }

    /// Notes that a queue stands at a broker.
    pub fn note_line(&mut self, broker: usize, name: usize, until: u64) {
        self.lines.insert(name, (broker, until));
    }

    /// Returns the broker where a queue stands.
    pub fn line(&self, name: usize, now: u64) -> Option<usize> {
        self.lines.get(&name).filter(|(_, until)| *until > now).map(|(broker, _)| *broker)
    }
}
