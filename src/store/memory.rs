//! The embedded store: one broker's locks in its own memory, gone when it ends.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use lockbroker_core::Time;
use lockbroker_core::request::StoreTraits;
use lockbroker_core::store::{Note, Reply, Request, Watch};
use lockbroker_core::table::give_back_room;
use tokio::sync::watch;

use super::{Change, Granted, ItemState, Label, LockStatus, LockStore, Order, StoreError, StoreEvent};
use crate::lock::{FencingToken, GrantId, LingerId, LockName, Owner};
use crate::times::now;

#[derive(Debug)]
struct Item {
    /// That of its state: each lock has an item, and a number takes half the room.
    number: u64,
    owner: Owner,
    expires: Time,
}

/// The number of items below which neither sweeping nor giving room back is worth while.
const SMALLEST: usize = 1024;

/// Locks in this process's memory.
#[derive(Debug)]
pub struct MemoryStore {
    items: HashMap<LockName, Item>,
    /// Read once for all that is carried out together.
    now: Time,
    last_token: u64,
    /// The number of items at which expired ones are swept.
    sweep_at: usize,
    ready: watch::Sender<bool>,
}

impl MemoryStore {
    /// Makes an empty store. Its tokens begin with the wall clock's microseconds, so that they rise over a restart.
    pub fn new() -> MemoryStore {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last_token = u64::try_from(since_1970.as_micros()).unwrap_or(0).min(FencingToken::LIMIT / 2);
        MemoryStore { items: HashMap::new(), now: now(), last_token, sweep_at: 0, ready: watch::Sender::new(true) }
    }

    /// Carries out a request.
    pub fn answer(&mut self, name: &LockName, request: &Request) -> Reply {
        self.now = now();
        self.carry_out(name, request)
    }

    fn carry_out(&mut self, name: &LockName, request: &Request) -> Reply {
        match *request {
            Request::Grant { id, ttl } => Reply::Granted(self.grant(name, id, ttl)),
            Request::HandOver { from, to, ttl } => Reply::Granted(self.hand_over(name, from, to, ttl)),
            Request::Renew { state, ttl, .. } => Reply::Changed(Ok(self.renew(name, state, ttl))),
            Request::Replace { from, to, ttl } => {
                Reply::Changed(Ok(self.change(name, ItemState::Held(from), ItemState::Held(to), ttl)))
            }
            Request::Linger { from, to, ttl, .. } => {
                Reply::Changed(Ok(self.change(name, ItemState::Held(from), ItemState::Lingering(to), ttl)))
            }
            Request::Remove { state } => Reply::Changed(Ok(self.remove(name, state))),
            Request::Look => Reply::Status(Ok(self.look(name))),
            Request::Stands(id) => Reply::Stands(Ok(self.live(name).is_some_and(|item| item.number == id.get()))),
            // Nobody else has this store.
            Request::Watch { .. } => Reply::Watching(Watch::No),
        }
    }

    /// Takes a note.
    pub fn note(&mut self, name: &LockName, note: Note) {
        if let Note::Describe { id, owner, .. } = note
            && let Some(item) = self.live(name)
            && item.number == id.get()
        {
            item.owner = owner;
        }
    }

    fn live(&mut self, name: &LockName) -> Option<&mut Item> {
        if self.items.get(name)?.expires <= self.now {
            self.items.remove(name);
            return None;
        }
        self.items.get_mut(name)
    }

    fn expiry(&self, ttl: u32) -> Time {
        self.now + Duration::from_secs(ttl.into())
    }

    fn next_token(&mut self) -> Result<FencingToken, StoreError> {
        self.last_token += 1;
        FencingToken::new(self.last_token).ok_or_else(|| StoreError::unavailable("fencing tokens are used up", None))
    }

    /// Removes items that expired unseen, so that the map does not grow. The work is proportional to what was added
    /// since.
    fn sweep(&mut self) {
        if self.items.len() >= self.sweep_at.max(SMALLEST) {
            self.items.retain(|_, item| item.expires > self.now);
            self.sweep_at = self.items.len() * 2;
            self.items.shrink_to(self.sweep_at);
        }
    }

    fn change(&mut self, name: &LockName, from: ItemState, to: ItemState, ttl: u32) -> Change {
        let expires = self.expiry(ttl);
        match self.live(name) {
            None => Change::Gone,
            Some(item) if item.number != from.number() => Change::TakenOver,
            Some(item) => {
                item.number = to.number();
                item.expires = expires;
                Change::Done
            }
        }
    }

    fn renew(&mut self, name: &LockName, state: ItemState, ttl: u32) -> Change {
        let change = self.change(name, state, state, ttl);
        let stands = if change == Change::TakenOver { self.live(name).map(|item| item.number) } else { None };
        match stands.and_then(LingerId::new) {
            Some(linger) if linger.is_revocation() && matches!(state, ItemState::Held(_)) => Change::Revoked,
            _ => change,
        }
    }

    fn grant(&mut self, name: &LockName, id: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        if self.live(name).is_some() {
            return Ok(Granted::No);
        }
        let token = self.next_token()?;
        self.sweep();
        let item = Item { number: id.get(), owner: Owner::default(), expires: self.expiry(ttl) };
        self.items.insert(name.clone(), item);
        Ok(Granted::Yes(token))
    }

    fn hand_over(&mut self, name: &LockName, from: GrantId, to: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        match self.change(name, ItemState::Held(from), ItemState::Held(to), ttl) {
            Change::Done => {
                if let Some(item) = self.live(name) {
                    item.owner = Owner::default();
                }
                self.next_token().map(Granted::Yes)
            }
            Change::Gone | Change::TakenOver | Change::Revoked => Ok(Granted::No),
        }
    }

    fn remove(&mut self, name: &LockName, state: ItemState) -> Change {
        let change = self.change(name, state, state, 1);
        if change == Change::Done {
            self.items.remove(name);
            give_back_room(&mut self.items, SMALLEST);
        }
        change
    }

    fn look(&mut self, name: &LockName) -> LockStatus {
        let now = self.now;
        let item = self.live(name);
        let taken = item.and_then(|item| {
            let state = ItemState::of_number(item.number)?;
            let label = Label { owner: item.owner.clone(), ..Label::default() };
            Some(LockStatus::Taken { state, label, expires_in: item.expires.since(now) })
        });
        taken.unwrap_or(LockStatus::Free)
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl LockStore for MemoryStore {
    fn traits(&self) -> StoreTraits {
        StoreTraits { is_shared: false, can_be_woken: false }
    }

    fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn take(&mut self, orders: &mut Vec<Order>, events: &mut Vec<StoreEvent>) {
        self.now = now();
        for order in orders.drain(..) {
            match order {
                Order::Ask(id, name, request) => {
                    events.push(StoreEvent::Answer(id, self.carry_out(&name, &request)));
                }
                Order::GiveUp(_) => {}
                Order::Note(name, note) => self.note(&name, note),
            }
        }
    }

    async fn drive(&mut self, _: &mut Vec<StoreEvent>) {
        std::future::pending::<()>().await;
    }
}
