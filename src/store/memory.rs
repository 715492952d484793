//! The embedded store: one broker's locks in its own memory, gone when it ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::{Change, Granted, ItemState, LockStatus, LockStore, StoreError};
use crate::clock::Moment;
use crate::lock::{FencingToken, GrantId, LingerId, LockName, Owner};

#[derive(Debug)]
struct Item {
    state: ItemState,
    owner: Owner,
    expires: Moment,
}

#[derive(Debug, Default)]
struct Items {
    by_name: HashMap<LockName, Item>,
    last_token: u64,
    /// The number of items at which expired ones are swept.
    sweep_at: usize,
}

/// Locks in this process's memory.
#[derive(Debug)]
pub struct MemoryStore {
    items: Mutex<Items>,
    ready: watch::Sender<bool>,
}

impl MemoryStore {
    /// Makes an empty store. Its tokens begin with the wall clock's microseconds, so that they rise over a restart.
    pub fn new() -> MemoryStore {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let last_token = u64::try_from(since_1970.as_micros()).unwrap_or(0).min(FencingToken::LIMIT / 2);
        MemoryStore { items: Mutex::new(Items { last_token, ..Items::default() }), ready: watch::Sender::new(true) }
    }

    fn items(&self) -> MutexGuard<'_, Items> {
        // No code panics while it holds the lock; if one did, the map would still be whole.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl Items {
    fn live(&mut self, name: &LockName) -> Option<&mut Item> {
        if self.by_name.get(name)?.expires.has_passed() {
            self.by_name.remove(name);
        }
        self.by_name.get_mut(name)
    }

    fn next_token(&mut self) -> Result<FencingToken, StoreError> {
        self.last_token += 1;
        FencingToken::new(self.last_token).ok_or_else(|| StoreError::unavailable("fencing tokens are used up", None))
    }

    /// Removes items that expired unseen, so that the map does not grow. The work is proportional to what was added
    /// since.
    fn sweep(&mut self) {
        const SMALLEST: usize = 1024;
        if self.by_name.len() >= self.sweep_at.max(SMALLEST) {
            let now = Moment::now();
            self.by_name.retain(|_, item| item.expires > now);
            self.sweep_at = self.by_name.len() * 2;
            self.by_name.shrink_to(self.sweep_at);
        }
    }

    fn change(&mut self, name: &LockName, from: ItemState, to: ItemState, ttl: u32) -> Change {
        match self.live(name) {
            None => Change::Gone,
            Some(item) if item.state != from => Change::TakenOver,
            Some(item) => {
                item.state = to;
                item.expires = expiry(ttl);
                Change::Done
            }
        }
    }
}

fn expiry(ttl: u32) -> Moment {
    Moment::now() + Duration::from_secs(ttl.into())
}

impl LockStore for MemoryStore {
    async fn grant(&self, name: &LockName, id: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        let mut items = self.items();
        if items.live(name).is_some() {
            return Ok(Granted::No);
        }
        let token = items.next_token()?;
        items.sweep();
        let item = Item { state: ItemState::Held(id), owner: Owner::default(), expires: expiry(ttl) };
        items.by_name.insert(name.clone(), item);
        Ok(Granted::Yes(token))
    }

    async fn hand_over(&self, name: &LockName, from: GrantId, to: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        let mut items = self.items();
        match items.change(name, ItemState::Held(from), ItemState::Held(to), ttl) {
            Change::Done => {
                if let Some(item) = items.live(name) {
                    item.owner = Owner::default();
                }
                items.next_token().map(Granted::Yes)
            }
            Change::Gone | Change::TakenOver => Ok(Granted::No),
        }
    }

    async fn renew(&self, name: &LockName, state: ItemState, _: &Owner, ttl: u32) -> Result<Change, StoreError> {
        Ok(self.items().change(name, state, state, ttl))
    }

    async fn replace(&self, name: &LockName, from: GrantId, to: GrantId, ttl: u32) -> Result<Change, StoreError> {
        Ok(self.items().change(name, ItemState::Held(from), ItemState::Held(to), ttl))
    }

    async fn linger(
        &self,
        name: &LockName,
        from: GrantId,
        to: LingerId,
        ttl: u32,
        _certain: bool,
    ) -> Result<Change, StoreError> {
        Ok(self.items().change(name, ItemState::Held(from), ItemState::Lingering(to), ttl))
    }

    async fn remove(&self, name: &LockName, state: ItemState) -> Result<Change, StoreError> {
        let mut items = self.items();
        let change = items.change(name, state, state, 1);
        if change == Change::Done {
            items.by_name.remove(name);
        }
        Ok(change)
    }

    async fn look(&self, name: &LockName) -> Result<LockStatus, StoreError> {
        Ok(match self.items().live(name) {
            None => LockStatus::Free,
            Some(item) => {
                LockStatus::Taken { state: item.state, owner: item.owner.clone(), expires_in: item.expires.remaining() }
            }
        })
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn describe(&self, name: &LockName, id: GrantId, owner: &Owner, _: u32) {
        if let Some(item) = self.items().live(name)
            && item.state == ItemState::Held(id)
        {
            item.owner = owner.clone();
        }
    }

    fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
}
