//! The embedded store: one broker's locks in its own memory, gone when it ends.

mod lister;
mod values;

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;
use lockbroker_core::Time;
use lockbroker_core::request::StoreTraits;
use lockbroker_core::store::{Besides, Note, Reply, Request, Seats, Shared, Sight, WINDOW, Watch};
use lockbroker_core::table::give_back_room;
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;

use self::lister::{MemoryLister, Question};
use self::values::Values;
use super::{Change, Granted, ItemState, Label, Listed, Lister, LockStatus, LockStore, Order, StoreError, StoreEvent};
use crate::lock::{FencingToken, GrantId, LingerId, LockItem, LockName, Owner, Permit};
use crate::times::now;

#[derive(Debug)]
struct Item {
    /// That of its state: each lock has an item, and a number takes half the room.
    number: u64,
    owner: Owner,
    expires: Time,
}

/// The number of parts of the table. A list of the locks is made part by part, and others have their turn in between.
const PARTS: usize = 256;
/// The number of items of a part below which neither sweeping nor giving room back is worth while.
const SMALLEST: usize = 4;

/// The items of some names. A name stays in its part.
#[derive(Debug, Default)]
struct Part {
    items: HashMap<LockItem, Item>,
    /// The permits of each lock that have items.
    permits: HashMap<LockName, BTreeSet<Permit>>,
    /// The number of items at which expired ones are swept.
    sweep_at: usize,
}

/// Locks in this process's memory.
#[derive(Debug)]
pub struct MemoryStore {
    parts: Vec<Part>,
    /// Says which part a name is in. Who knows it could make lists slow, and nothing else.
    spread: RandomState,
    /// Read once for all that is carried out together.
    now: Time,
    last_token: u64,
    values: Values,
    ready: watch::Sender<bool>,
    lister: MemoryLister,
    questions: mpsc::Receiver<Question>,
}

impl MemoryStore {
    /// Makes an empty store. Its tokens begin with the wall clock's microseconds, so that they rise over a restart.
    pub fn new() -> MemoryStore {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last_token = u64::try_from(since_1970.as_micros()).unwrap_or(0).min(FencingToken::LIMIT / 2);
        let (lister, questions) = MemoryLister::new();
        MemoryStore {
            parts: std::iter::repeat_with(Part::default).take(PARTS).collect(),
            spread: RandomState::default(),
            now: now(),
            last_token,
            values: Values::default(),
            ready: watch::Sender::new(true),
            lister,
            questions,
        }
    }

    /// Carries out a request.
    pub fn answer(&mut self, item: &LockItem, request: &Request) -> Reply {
        self.now = now();
        self.carry_out(item, request)
    }

    fn carry_out(&mut self, name: &LockItem, request: &Request) -> Reply {
        match *request {
            Request::Grant { id, ttl } => Reply::Granted(self.grant(name, id, ttl)),
            Request::HandOver { from, to, ttl } => Reply::Granted(self.hand_over(name, from, to, ttl)),
            Request::Renew { state, ttl, .. } => Reply::Changed(Ok(self.renew(name, state, ttl))),
            Request::Replace { from, to, ttl } if from == to => {
                Reply::Changed(Ok(self.renew(name, ItemState::Held(from), ttl)))
            }
            Request::Replace { from, to, ttl } => {
                Reply::Changed(Ok(self.change(name, ItemState::Held(from), ItemState::Held(to), ttl)))
            }
            Request::Linger { from, to, ttl, .. } => {
                Reply::Changed(Ok(self.change(name, ItemState::Held(from), ItemState::Lingering(to), ttl)))
            }
            Request::Occupy { id, ttl, besides } => Reply::Granted(self.occupy(name, id, ttl, besides.seats)),
            Request::Share { id, ttl, under, .. } => Reply::Shared(self.share(name, (id, under), ttl)),
            Request::Find { from, upto } => Reply::Found(Ok(self.find(&name.name, from, upto))),
            Request::Remove { state, .. } => Reply::Changed(Ok(self.remove(name, state))),
            Request::Look => Reply::Status(Ok(self.look(name))),
            Request::Stands(id) => Reply::Stands(Ok(self.live(name).is_some_and(|item| item.number == id.get()))),
            // Nobody else has this store.
            Request::Watch { .. } => Reply::Watching(Watch::No),
            Request::Observe { .. } => {
                let status = self.look(name);
                let stored = self.values.of(&status, self.now);
                let is_shared = self.first_permit(&name.name).is_some();
                Reply::Seen(Ok(Box::new(Sight { status, stored, is_shared })))
            }
            Request::KeepValue { id, ref stored, ttl, .. } => {
                let expires = self.expiry(ttl);
                Reply::Kept(Ok(Box::new(self.values.keep(id, stored, self.now, expires))))
            }
            Request::Proclaim { id, creates, ref value, ttl } => {
                let (status, times) = (self.look(name), (self.now, self.expiry(ttl)));
                Reply::Proclaimed(Ok(self.values.proclaim(id, (creates, value), &status, times)))
            }
        }
    }

    /// Takes a note.
    pub fn note(&mut self, name: &LockItem, note: Note) {
        match note {
            Note::Describe { id, owner, .. } => {
                if let Some(item) = self.live(name).filter(|item| item.number == id.get()) {
                    item.owner = owner;
                }
            }
            Note::ForgetValue(id) => self.values.forget(id),
            // Nobody else has this store.
            _ => {}
        }
    }

    fn part(&mut self, name: &LockName) -> &mut Part {
        let hash = self.spread.hash_one(name.as_str()) as usize;
        &mut self.parts[hash % PARTS]
    }

    fn live(&mut self, name: &LockItem) -> Option<&mut Item> {
        let now = self.now;
        let Part { items, permits, .. } = self.part(&name.name);
        if items.get(name)?.expires <= now {
            items.remove(name);
            forget(permits, name);
            return None;
        }
        items.get_mut(name)
    }

    fn expiry(&self, ttl: u32) -> Time {
        self.now + Duration::from_secs(ttl.into())
    }

    fn next_token(&mut self) -> Result<FencingToken, StoreError> {
        self.last_token += 1;
        FencingToken::new(self.last_token).ok_or_else(|| StoreError::unavailable("fencing tokens are used up", None))
    }

    fn change(&mut self, name: &LockItem, from: ItemState, to: ItemState, ttl: u32) -> Change {
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

    fn renew(&mut self, name: &LockItem, state: ItemState, ttl: u32) -> Change {
        let change = self.change(name, state, state, ttl);
        let stands = if change == Change::TakenOver { self.live(name).map(|item| item.number) } else { None };
        match stands.and_then(LingerId::new) {
            Some(linger) if linger.is_revocation() && matches!(state, ItemState::Held(_)) => Change::Revoked,
            _ => change,
        }
    }

    fn grant(&mut self, name: &LockItem, id: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        if self.live(name).is_some() {
            return Ok(Granted::No);
        }
        self.insert(name, id, ttl);
        self.granted_alone(&name.name)
    }

    fn insert(&mut self, name: &LockItem, id: GrantId, ttl: u32) {
        let item = Item { number: id.get(), owner: Owner::default(), expires: self.expiry(ttl) };
        let now = self.now;
        let part = self.part(&name.name);
        part.sweep(now);
        part.items.insert(name.clone(), item);
        if let Some(permit) = name.permit {
            part.permits.entry(name.name.clone()).or_default().insert(permit);
        }
    }

    /// Makes a grant of an item that keeps everybody else out, if nobody has a permit.
    fn granted_alone(&mut self, name: &LockName) -> Result<Granted, StoreError> {
        match self.first_permit(name) {
            None => self.next_token().map(Granted::Yes),
            Some(permit) => Ok(Granted::Intent(Besides { from: permit.get(), held: true, ..Besides::UNKNOWN })),
        }
    }

    /// Returns true if so many permits are free as are wanted.
    fn has_seats(&mut self, name: &LockName, seats: Seats) -> bool {
        let mut taken = self.part(name).permits.get(name).cloned().unwrap_or_default();
        taken.retain(|permit| {
            permit.get() < seats.limit && self.live(&LockItem { name: name.clone(), permit: Some(*permit) }).is_some()
        });
        taken.len() + usize::from(seats.weight) <= usize::from(seats.limit)
    }

    /// Returns the first permit that somebody has.
    fn first_permit(&mut self, name: &LockName) -> Option<Permit> {
        // One that has run out is forgotten by the look.
        loop {
            let permit = self.part(name).permits.get(name)?.first().copied()?;
            if self.live(&LockItem { name: name.clone(), permit: Some(permit) }).is_some() {
                return Some(permit);
            }
        }
    }

    fn occupy(&mut self, name: &LockItem, id: GrantId, ttl: u32, seats: Option<Seats>) -> Result<Granted, StoreError> {
        let state = ItemState::Held(id);
        match (self.change(name, state, state, ttl), seats) {
            (Change::Done, None) => self.granted_alone(&name.name),
            (Change::Done, Some(seats)) if self.has_seats(&name.name, seats) => self.next_token().map(Granted::Yes),
            (Change::Done, Some(_)) => Ok(Granted::Intent(Besides { held: true, seats, ..Besides::UNKNOWN })),
            (Change::Gone | Change::TakenOver | Change::Revoked, _) => Ok(Granted::No),
        }
    }

    fn share(
        &mut self,
        permit: &LockItem,
        (id, under): (GrantId, Option<GrantId>),
        ttl: u32,
    ) -> Result<Shared, StoreError> {
        let alone = self.live(&LockItem::from(&permit.name)).map(|item| item.number);
        if alone != under.map(GrantId::get) {
            return Ok(Shared::Closed { created: false });
        }
        if self.live(permit).is_some() {
            let last = self.part(&permit.name).permits.get(&permit.name).and_then(|permits| permits.last().copied());
            return Ok(Shared::Taken { slots: last.map_or(0, |last| last.get() + 1) });
        }
        let token = self.next_token()?;
        self.insert(permit, id, ttl);
        Ok(Shared::Yes(token))
    }

    fn find(&mut self, name: &LockName, from: u16, upto: u16) -> Option<Permit> {
        let window = from..upto.min(from.saturating_add(WINDOW));
        let mut permits = window.filter_map(Permit::new);
        permits.find(|permit| self.live(&LockItem { name: name.clone(), permit: Some(*permit) }).is_none())
    }

    fn hand_over(&mut self, name: &LockItem, from: GrantId, to: GrantId, ttl: u32) -> Result<Granted, StoreError> {
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

    fn remove(&mut self, name: &LockItem, state: ItemState) -> Change {
        let change = self.change(name, state, state, 1);
        if change == Change::Done {
            let Part { items, permits, .. } = self.part(&name.name);
            items.remove(name);
            give_back_room(items, SMALLEST);
            forget(permits, name);
        }
        change
    }

    fn look(&mut self, name: &LockItem) -> LockStatus {
        let now = self.now;
        let item = self.live(name);
        let taken = item.and_then(|item| {
            let state = ItemState::of_number(item.number)?;
            let label = Label { owner: item.owner.clone(), ..Label::default() };
            Some(LockStatus::Taken { state, label: Box::new(label), expires_in: item.expires.since(now) })
        });
        taken.unwrap_or(LockStatus::Free)
    }
}

impl Part {
    /// Removes items that expired unseen, so that the map does not grow. The work is proportional to what was added
    /// since.
    fn sweep(&mut self, now: Time) {
        let Part { items, permits, sweep_at } = self;
        if items.len() >= (*sweep_at).max(SMALLEST) {
            items.retain(|of, item| {
                let lives = item.expires > now;
                if !lives {
                    forget(permits, of);
                }
                lives
            });
            *sweep_at = items.len() * 2;
            items.shrink_to(*sweep_at);
        }
    }

    /// Returns the locks whose names begin with `prefix`, and their permits.
    fn list(&self, prefix: &str, now: Time) -> Vec<Listed> {
        let begins = self.items.iter().filter(|(of, item)| item.expires > now && of.name.as_str().starts_with(prefix));
        let listed = begins.filter_map(|(of, item)| {
            let state = ItemState::of_number(item.number)?;
            let expires_in = item.expires.since(now);
            let label = Label { owner: item.owner.clone(), ..Label::default() };
            Some(Listed { item: of.clone(), state, label, expires_in, beside_permits: false })
        });
        listed.collect()
    }
}

/// Forgets a permit whose item has gone.
fn forget(permits: &mut HashMap<LockName, BTreeSet<Permit>>, of: &LockItem) {
    if let (Some(permit), Some(of_lock)) = (of.permit, permits.get_mut(&of.name)) {
        of_lock.remove(&permit);
        if of_lock.is_empty() {
            permits.remove(&of.name);
        }
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

    fn lister(&self) -> Arc<dyn Lister> {
        Arc::new(self.lister.clone())
    }

    fn take(&mut self, orders: &mut Vec<Order>, events: &mut Vec<StoreEvent>) {
        self.now = now();
        for order in orders.drain(..) {
            match order {
                Order::Ask { id, item: name, request, .. } => {
                    events.push(StoreEvent::Answer(id, self.carry_out(&name, &request)));
                }
                Order::GiveUp(_) => {}
                Order::Note(name, note) => self.note(&name, note),
            }
        }
    }

    async fn drive(&mut self, _: &mut Vec<StoreEvent>) {
        // The store has a sender itself, so the questions never end.
        while let Some(Question { part, prefix, answer }) = self.questions.recv().await {
            // Whoever asked may have gone.
            let _ = answer.send(self.parts[part].list(&prefix, now()));
            // On several threads the next question may be there already, and orders are to have their turn first.
            yield_now().await;
        }
    }
}
