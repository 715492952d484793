//! Locks in memcached: one item a lock, one actor a shard.
//!
//! What the protocol is and why is in ARCHITECTURE.md. This module never decides who ought to have a lock, and is
//! the only one that knows the `memcache` crate.

mod batch;
mod board;
mod commands;
mod epoch;
mod opening;
mod placement;
mod queues;
mod server;
mod server_clock;
mod shard;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use opening::{Opened, adopt, open};

use self::batch::{Answer, Job, LastWord, Op};
use self::board::Board;
use self::commands::{Keys, Verdict};
use self::placement::{Placement, fingerprint};
use self::shard::{Shard, ShardSettings};
use super::{Change, Granted, LockStore, Look, Mark, ShardAddress, StoreError};
use crate::lock::{GrantId, LockName, Owner};

/// The longest `--key-prefix`, in bytes: with the longest name it still fits into memcached's 250 bytes of key.
pub const MAX_KEY_PREFIX_BYTES: usize = 48;

/// What all brokers of one deployment must have in common, and how careful this one is.
#[derive(Debug, Clone)]
pub struct MemcachedSettings {
    /// The shards, in any order; at least one, each once.
    pub shards: Vec<ShardAddress>,
    /// The longest ttl that any broker grants. Part of the topology.
    pub max_ttl: Duration,
    /// What every key begins with: up to [`MAX_KEY_PREFIX_BYTES`] of visible ASCII.
    pub key_prefix: String,
    /// Whether to use servers that may lose locks.
    pub allow_unsafe: bool,
}

/// The locks of one deployment in its memcached servers.
#[derive(Debug)]
pub struct MemcachedStore {
    placement: Placement,
    shards: Vec<mpsc::UnboundedSender<Job>>,
    board: Arc<Board>,
}

impl MemcachedStore {
    /// Starts an actor for each shard, on the present tokio runtime. They connect in the background, and end when
    /// the store is dropped.
    pub fn start(settings: &MemcachedSettings) -> MemcachedStore {
        let board = Arc::new(Board::new(settings.shards.len()));
        let start_shard = |(index, address): (usize, &ShardAddress)| {
            let (sender, inbox) = mpsc::unbounded_channel();
            let shard = Shard::new(ShardSettings {
                index,
                address: address.clone(),
                keys: Keys::new(&settings.key_prefix),
                fingerprint: fingerprint(&settings.shards, settings.max_ttl),
                max_ttl: settings.max_ttl,
                allow_unsafe: settings.allow_unsafe,
                board: Arc::clone(&board),
            });
            tokio::spawn(shard.run(inbox));
            sender
        };
        let shards = settings.shards.iter().enumerate().map(start_shard).collect();
        MemcachedStore { placement: Placement::new(&settings.shards), shards, board }
    }

    fn send(&self, name: &LockName, op: Op, reply: Option<oneshot::Sender<Result<Answer, StoreError>>>) {
        let job = Job { name: name.clone(), op, reply };
        if let Err(refused) = self.shards[self.placement.shard_of(name)].send(job) {
            refused.0.answer(Err(ended()));
        }
    }

    async fn ask(&self, name: &LockName, op: Op) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(name, op, Some(reply));
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn change(
        &self,
        name: &LockName,
        op: Op,
    ) -> Result<(Verdict, Option<crate::lock::FencingToken>, LastWord), StoreError> {
        match self.ask(name, op).await? {
            Answer::Verdict { verdict, token, last_word } => Ok((verdict, token, last_word)),
            Answer::Found { .. } => Err(ended()),
        }
    }
}

fn ended() -> StoreError {
    StoreError::uncertain("the broker is ending")
}

/// While a shard is closed, "another mark" may be a grant about to be undone, and "no item" may be a memory just
/// lost: neither is the last word.
fn settled(verdict: Verdict, last_word: LastWord) -> Result<Change, StoreError> {
    match verdict {
        Verdict::Done => Ok(Change::Done),
        Verdict::Exists => last_word.map(|()| Change::TakenOver),
        Verdict::Missing => last_word.map(|()| Change::Gone),
    }
}

impl LockStore for MemcachedStore {
    async fn grant(&self, name: &LockName, id: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        match self.change(name, Op::Create { mark: Mark::Held(id), ttl, grant: true }).await? {
            (Verdict::Done, Some(token), _) => Ok(Granted::Yes(token)),
            (Verdict::Done, None, _) => Err(StoreError::uncertain("a grant without a fencing token")),
            _ => Ok(Granted::No),
        }
    }

    async fn hand_over(&self, name: &LockName, from: GrantId, to: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        let (from, to) = (Mark::Held(from), Mark::Held(to));
        match self.change(name, Op::Replace { from, to, ttl, grant: true, touch_owner: false }).await? {
            (Verdict::Done, Some(token), _) => Ok(Granted::Yes(token)),
            (Verdict::Done, None, _) => Err(StoreError::uncertain("a grant without a fencing token")),
            (verdict, _, last_word) => settled(verdict, last_word).map(|_| Granted::No),
        }
    }

    async fn renew(&self, name: &LockName, mark: Mark, owner: &Owner, ttl: u32) -> Result<Change, StoreError> {
        let touch_owner = !owner.is_empty();
        let renewal = Op::Replace { from: mark, to: mark, ttl, grant: false, touch_owner };
        match self.change(name, renewal).await? {
            (Verdict::Missing, _, Err(closed)) => {
                // Re-assert. If something else is there, the next renewal finds out whether that is ours, from
                // an earlier re-assertion whose answer was lost.
                let (verdict, ..) = self.change(name, Op::Create { mark, ttl, grant: false }).await?;
                settled(verdict, Err(closed))
            }
            (verdict, _, last_word) => settled(verdict, last_word),
        }
    }

    async fn replace(&self, name: &LockName, from: Mark, to: Mark, ttl: u32) -> Result<Change, StoreError> {
        let op = Op::Replace { from, to, ttl, grant: false, touch_owner: false };
        let (verdict, _, last_word) = self.change(name, op).await?;
        settled(verdict, last_word)
    }

    async fn remove(&self, name: &LockName, mark: Mark) -> Result<Change, StoreError> {
        let (verdict, _, last_word) = self.change(name, Op::Remove(mark)).await?;
        settled(verdict, last_word)
    }

    async fn look(&self, name: &LockName) -> Result<Look, StoreError> {
        match self.ask(name, Op::Look).await? {
            Answer::Found { found: Some((mark, owner, expires_in)), .. } => {
                Ok(Look::Marked { mark, owner, expires_in })
            }
            // In a closed shard its holder may be about to re-assert it.
            Answer::Found { found: None, last_word } => last_word.map(|()| Look::Free),
            Answer::Verdict { .. } => Err(ended()),
        }
    }

    fn describe(&self, name: &LockName, id: GrantId, owner: &Owner, ttl: u32) {
        if !owner.is_empty() {
            self.send(name, Op::Describe { id, owner: owner.clone(), ttl }, None);
        }
    }

    fn ready(&self) -> watch::Receiver<bool> {
        self.board.ready()
    }
}
