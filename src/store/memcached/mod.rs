//! Keeps locks in memcached: one item a lock, one task a shard. Places names on shards, and turns each call of
//! [`LockStore`] into a job for one of them.
//!
//! ARCHITECTURE.md has the protocol, docs/safety.md the reasons. This module never decides who ought to have a lock,
//! and is the only one that knows the `memcache` crate.

mod batch;
mod board;
mod commands;
mod connection;
mod epoch;
#[cfg(any(fuzzing, debug_assertions))]
pub mod fuzzing;
mod metrics;
mod opening;
mod placement;
mod presence;
mod queues;
mod server;
mod server_clock;
mod shard;
mod state_item;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use memcache::exp::{MetaCommand, MetaResponse, ReturnCode};
use tokio::sync::{mpsc, oneshot, watch};

pub use opening::{Opened, adopt, open};
pub use presence::BrokerNote;

use self::batch::{Answer, Job, LastWord, Op};
use self::board::Board;
use self::commands::{CasOutcome, Keys, Watcher};
use self::metrics::{ErrorMetrics, StoreMetrics};
use self::placement::{Placement, fingerprint};
use self::shard::{Shard, ShardSettings};
use super::{Change, Granted, ItemState, LockStatus, LockStore, ShardAddress, StoreError, Watch};
use crate::lock::{FencingToken, GrantId, LingerId, LockName, Owner, WakeHint};
use crate::metrics::Metrics;
use crate::wake::WakeSocket;

/// The longest `--key-prefix`, in bytes: with the longest name it still fits into memcached's 250 bytes of key.
pub const MAX_KEY_PREFIX_BYTES: usize = 48;

/// The settings that all brokers of one deployment must share, and how careful this one is.
#[derive(Debug, Clone)]
pub struct MemcachedSettings {
    /// The shards, in any order; at least one, each once.
    pub shards: Vec<ShardAddress>,
    /// The longest ttl that any broker grants. Part of the topology.
    pub max_ttl: Duration,
    /// The prefix of every key: up to [`MAX_KEY_PREFIX_BYTES`] of visible ASCII.
    pub key_prefix: String,
    /// True to use servers that may lose locks.
    pub allow_unsafe: bool,
    /// The note that this broker leaves on each shard, for [`adopt`]. None for a process that is not a broker.
    pub note: Option<BrokerNote>,
}

/// The locks of one deployment in its memcached servers.
#[derive(Debug)]
pub struct MemcachedStore {
    placement: Placement,
    shards: Vec<(mpsc::UnboundedSender<Job>, ErrorMetrics)>,
    board: Arc<Board>,
    keys: Keys,
    wake_ups: Option<Arc<WakeUps>>,
}

/// The socket and the notes with which brokers wake each other.
#[derive(Debug)]
struct WakeUps {
    socket: WakeSocket,
    me: Watcher,
}

impl MemcachedStore {
    /// Starts a task for each shard, on the current tokio runtime. They connect in the background, and end when the
    /// store is dropped. `metrics` counts what they do.
    pub fn start(settings: &MemcachedSettings, metrics: &Metrics) -> MemcachedStore {
        let metrics = StoreMetrics::new(metrics);
        let board = Arc::new(Board::new(settings.shards.len()));
        let start_shard = |(index, address): (usize, &ShardAddress)| {
            let (sender, inbox) = mpsc::unbounded_channel();
            let (shard_metrics, errors) = metrics.shard(&address.to_string());
            let shard = Shard::new(ShardSettings {
                index,
                address: address.clone(),
                keys: Keys::new(&settings.key_prefix),
                fingerprint: fingerprint(&settings.shards, settings.max_ttl),
                max_ttl: settings.max_ttl,
                allow_unsafe: settings.allow_unsafe,
                note: settings.note.clone(),
                board: Arc::clone(&board),
                metrics: shard_metrics,
            });
            tokio::spawn(shard.run(inbox));
            (sender, errors)
        };
        let shards = settings.shards.iter().enumerate().map(start_shard).collect();
        let placement = Placement::new(&settings.shards);
        MemcachedStore { placement, shards, board, keys: Keys::new(&settings.key_prefix), wake_ups: None }
    }

    /// Adds wake-ups to and from other brokers over `socket`.
    pub fn with_wake_ups(self, socket: WakeSocket) -> MemcachedStore {
        let me = Watcher { address: socket.address(), id: rand::random_range(1..u64::MAX) };
        MemcachedStore { wake_ups: Some(Arc::new(WakeUps { socket, me })), ..self }
    }

    fn note(&self, name: &LockName, command: MetaCommand) {
        self.send(name, Op::Note(command), None);
    }

    /// Sends a note and returns memcached's answer. Returns none if memcached refuses it or cannot be reached.
    async fn noted(&self, name: &LockName, command: MetaCommand) -> Option<MetaResponse> {
        match self.ask(name, Op::Note(command)).await {
            Ok(Answer::Noted(response)) => Some(response),
            _ => None,
        }
    }

    /// Sends a job to the shard of `name`, and returns the metrics that count its errors.
    fn send(
        &self,
        name: &LockName,
        op: Op,
        reply: Option<oneshot::Sender<Result<Answer, StoreError>>>,
    ) -> &ErrorMetrics {
        let (jobs, errors) = &self.shards[self.placement.shard_of(name)];
        // A task that has ended drops the job, and its reply with it.
        let _ = jobs.send(Job { name: name.clone(), op, reply });
        errors
    }

    async fn ask(&self, name: &LockName, op: Op) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        let errors = self.send(name, op, Some(reply));
        answer.await.unwrap_or_else(|_| Err(ended())).inspect_err(|error| errors.count(error))
    }

    async fn change(
        &self,
        name: &LockName,
        op: Op,
    ) -> Result<(CasOutcome, Option<FencingToken>, LastWord), StoreError> {
        match self.ask(name, op).await? {
            Answer::CasOutcome { verdict, token, last_word, .. } => Ok((verdict, token, last_word)),
            Answer::Found { .. } | Answer::Noted(_) => Err(mistaken()),
        }
    }

    /// Replaces a state without a new token. `reassert` creates the item again where it went with the store's memory
    /// (R16).
    async fn replace_mark(
        &self,
        name: &LockName,
        (from, to): (ItemState, ItemState),
        ttl: u32,
        touch_owner: bool,
        reassert: bool,
    ) -> Result<Change, StoreError> {
        let replace = Op::Replace { from, to, ttl, grant: false, touch_owner };
        match self.change(name, replace).await? {
            (CasOutcome::Missing, _, Err(closed)) if reassert => {
                // If something else is there, the next try finds out whether that is ours, from an earlier
                // re-assertion whose answer was lost.
                let (verdict, ..) = self.change(name, Op::Create { state: to, ttl, grant: false }).await?;
                settled(verdict, Err(closed))
            }
            (verdict, _, last_word) => settled(verdict, last_word),
        }
    }
}

fn ended() -> StoreError {
    StoreError::uncertain("the broker is ending")
}

/// Reports an answer of the wrong kind for its job. That is a fault of this program.
fn mistaken() -> StoreError {
    StoreError::uncertain("a shard's answer does not belong to what it was asked")
}

/// Turns a job's answer into a grant. An answer without a token grants nothing.
fn granted(token: Option<FencingToken>) -> Result<Granted, StoreError> {
    token.map(Granted::Yes).ok_or_else(|| StoreError::uncertain("a grant without a fencing token"))
}

/// Turns a verdict into a [`Change`]. In a closed shard "another state" may be a grant that is about to be undone, and
/// "no item" a memory that was just lost (R16). So there neither is final.
fn settled(verdict: CasOutcome, last_word: LastWord) -> Result<Change, StoreError> {
    match verdict {
        CasOutcome::Done => Ok(Change::Done),
        CasOutcome::Exists => last_word.map(|()| Change::TakenOver),
        CasOutcome::Missing => last_word.map(|()| Change::Gone),
    }
}

impl LockStore for MemcachedStore {
    async fn grant(&self, name: &LockName, id: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        match self.change(name, Op::Create { state: ItemState::Held(id), ttl, grant: true }).await? {
            (CasOutcome::Done, token, _) => granted(token),
            _ => Ok(Granted::No),
        }
    }

    async fn hand_over(&self, name: &LockName, from: GrantId, to: GrantId, ttl: u32) -> Result<Granted, StoreError> {
        let (from, to) = (ItemState::Held(from), ItemState::Held(to));
        match self.change(name, Op::Replace { from, to, ttl, grant: true, touch_owner: false }).await? {
            (CasOutcome::Done, token, _) => granted(token),
            (verdict, _, last_word) => settled(verdict, last_word).map(|_| Granted::No),
        }
    }

    async fn renew(&self, name: &LockName, state: ItemState, owner: &Owner, ttl: u32) -> Result<Change, StoreError> {
        self.replace_mark(name, (state, state), ttl, !owner.is_empty(), true).await
    }

    async fn replace(&self, name: &LockName, from: GrantId, to: GrantId, ttl: u32) -> Result<Change, StoreError> {
        self.replace_mark(name, (ItemState::Held(from), ItemState::Held(to)), ttl, false, false).await
    }

    async fn linger(
        &self,
        name: &LockName,
        from: GrantId,
        to: LingerId,
        ttl: u32,
        certain: bool,
    ) -> Result<Change, StoreError> {
        self.replace_mark(name, (ItemState::Held(from), ItemState::Lingering(to)), ttl, false, certain).await
    }

    async fn remove(&self, name: &LockName, state: ItemState) -> Result<Change, StoreError> {
        let wakes = self.wake_ups.is_some();
        let Answer::CasOutcome { verdict, last_word, watcher, .. } =
            self.ask(name, Op::Remove { state, wakes }).await?
        else {
            return Err(mistaken());
        };
        // Whatever the outcome of the deletion, the broker that was taken off the list must hear of it.
        if let (Some(wake_ups), Some(watcher)) = (&self.wake_ups, watcher) {
            wake_ups.wake(name, watcher);
        }
        settled(verdict, last_word)
    }

    async fn look(&self, name: &LockName) -> Result<LockStatus, StoreError> {
        match self.ask(name, Op::Look { label: true }).await? {
            Answer::Found { found: Some((state, owner, expires_in)), .. } => {
                Ok(LockStatus::Taken { state, owner, expires_in })
            }
            // In a closed shard its holder may be about to re-assert it.
            Answer::Found { found: None, last_word } => last_word.map(|()| LockStatus::Free),
            Answer::CasOutcome { .. } | Answer::Noted(_) => Err(mistaken()),
        }
    }

    async fn stands(&self, name: &LockName, id: GrantId) -> Result<bool, StoreError> {
        match self.ask(name, Op::Look { label: false }).await? {
            Answer::Found { found: Some((state, ..)), .. } if state == ItemState::Held(id) => Ok(true),
            Answer::Found { last_word, .. } => last_word.map(|()| false),
            Answer::CasOutcome { .. } | Answer::Noted(_) => Err(mistaken()),
        }
    }

    fn describe(&self, name: &LockName, id: GrantId, owner: &Owner, ttl: u32) {
        if !owner.is_empty() {
            self.note(name, self.keys.describe(name, id, owner, ttl));
        }
    }

    fn ready(&self) -> watch::Receiver<bool> {
        self.board.ready()
    }

    fn can_be_woken(&self) -> bool {
        self.wake_ups.is_some()
    }

    async fn watch(&self, name: &LockName, kept: bool, ttl: u32) -> Watch {
        let Some(wake_ups) = &self.wake_ups else { return Watch::No };
        let me = &wake_ups.me;
        let done = |response: Option<MetaResponse>| response.is_some_and(|response| response.rc() == ReturnCode::Hd);
        if kept && done(self.noted(name, self.keys.keep_watching(name, me, ttl)).await) {
            return Watch::Kept;
        }
        match done(self.noted(name, self.keys.watch(name, me, ttl)).await) {
            true => Watch::Begun,
            false => Watch::No,
        }
    }

    fn unwatch(&self, name: &LockName) {
        if let Some(wake_ups) = &self.wake_ups {
            self.note(name, self.keys.unwatch(name, &wake_ups.me));
        }
    }

    fn note_line(&self, name: &LockName, ttl: u32) {
        if let Some(wake_ups) = &self.wake_ups {
            self.note(name, self.keys.note_line(name, wake_ups.me.address, ttl));
        }
    }

    fn wake_line(&self, name: &LockName) {
        let Some(wake_ups) = self.wake_ups.clone() else { return };
        let (reply, noted) = oneshot::channel();
        self.send(name, Op::Note(self.keys.look_for_line(name)), Some(reply));
        let name = name.clone();
        tokio::spawn(async move {
            if let Ok(Ok(Answer::Noted(response))) = noted.await
                && let Some(address) = commands::read_address(&response)
            {
                wake_ups.wake(&name, address);
            }
        });
    }

    async fn next_wake(&self) -> WakeHint {
        match &self.wake_ups {
            Some(wake_ups) => wake_ups.socket.next().await,
            None => std::future::pending().await,
        }
    }
}

impl WakeUps {
    fn wake(&self, name: &LockName, watcher: SocketAddr) {
        // Whoever lets go here sees to the line here.
        if watcher != self.me.address {
            self.socket.send(WakeHint::of(name), watcher);
        }
    }
}
