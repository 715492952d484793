//! Lists the locks of all shards, each on connections of its own, made when somebody asks. So a list holds up no lock.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, try_join_all};
use lockbroker_core::failure::Cause;
use lockbroker_core::shard::state_item::{Stamp, StateItem, Witness};
use lockbroker_core::shard::{FOREIGN, Placement, Topology, protocol};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connection::Connection;
use super::dump::{DumpError, Found, Lines, Pattern, ServerTime};
use super::server;
use super::survey;
use super::wire::Wire;
use crate::clock::Moment;
use crate::lock::LockItem;
use crate::store::first::{First, Named};
use crate::store::listing::{CHUNK, Chunk, ChunkSender, ListError, Listed, Lister, Listing};
use crate::store::{ItemState, Label, ShardAddress, StoreError};

/// The longest time until the first locks are there, waiting for others' lists included.
pub(super) const LONGEST: Duration = Duration::from_secs(20);
/// All labels of a chunk are asked for before an answer is read, so questions and answers must have room on the way: 40 KiB each
/// with the longest names.
const _: () = assert!(CHUNK <= 250);
/// The pauses before a server is asked again that shows no keys now, some four seconds together. Growing takes a table of
/// a million items less than a second.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const TRIES: usize = 12;

/// Lists the locks of a deployment's shards.
#[derive(Clone)]
pub(super) struct MemcachedLister(Arc<Shared>);

struct Shared {
    /// Whose shards they are now.
    topology: std::sync::Mutex<Arc<Listable>>,
    wire: Arc<Wire>,
    allow_unsafe: bool,
    /// A server shows its keys to one at a time.
    turn: Mutex<()>,
}

/// The servers of a topology.
#[derive(Debug)]
struct Listable {
    shards: Vec<ShardAddress>,
    placement: Placement,
    /// The topology, as the shards' state shows it.
    fingerprint: u64,
}

impl Listable {
    fn new(shards: Vec<ShardAddress>, topology: &Topology) -> Listable {
        Listable { shards, placement: Placement::new(&topology.members), fingerprint: topology.fingerprint() }
    }
}

/// A shard that has shown its locks.
struct Dump {
    /// For the labels. None once it is of no use any more.
    connection: Option<Connection>,
    time: ServerTime,
}

/// A lock or a permit.
#[derive(Debug)]
struct Of {
    /// The number of its shard.
    shard: u32,
    beside_permits: bool,
    found: Found,
}

impl Named for Of {
    fn item(&self) -> &LockItem {
        &self.found.item
    }

    fn stands_beside_permits(&mut self) {
        self.beside_permits = true;
    }
}

/// The locks that are to be listed, of all shards together.
type Wanted = std::sync::Mutex<First<Of>>;

impl fmt::Debug for MemcachedLister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedLister").field("topology", &self.0.topology).finish_non_exhaustive()
    }
}

impl MemcachedLister {
    pub(super) fn new(shards: &[ShardAddress], topology: &Topology, wire: &Arc<Wire>, allow_unsafe: bool) -> Self {
        let topology = std::sync::Mutex::new(Arc::new(Listable::new(shards.to_vec(), topology)));
        let wire = Arc::clone(wire);
        MemcachedLister(Arc::new(Shared { topology, wire, allow_unsafe, turn: Mutex::new(()) }))
    }

    /// Lists the locks of these servers from now on.
    pub(super) fn move_to(&self, shards: Vec<ShardAddress>, topology: &Topology) {
        *self.0.topology.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Listable::new(shards, topology));
    }
}

impl Lister for MemcachedLister {
    fn list(&self, listing: Listing, to: ChunkSender) -> BoxFuture<'static, ()> {
        let lister = Arc::clone(&self.0);
        async move {
            tokio::select! {
                // Whoever asked has gone.
                () = to.closed() => {}
                listed = lister.list_to(&listing, &to) => if let Err(error) = listed {
                    drop(to.send(Err(error)).await);
                },
            }
        }
        .boxed()
    }
}

impl Shared {
    async fn list_to(&self, listing: &Listing, to: &ChunkSender) -> Result<(), ListError> {
        let pattern = Pattern::new(&self.wire.locks(), &self.wire.permits(), &listing.prefix);
        let wanted = Wanted::new(First::new(listing.limit));
        let dumps = timeout(LONGEST, self.dump_all(&pattern, &wanted)).await;
        let late =
            || StoreError::unavailable(format!("the servers were not asked for their keys within {LONGEST:?}"), None);
        let mut dumps = dumps.map_err(|_| late())??;
        let (found, total) = wanted.into_inner().unwrap_or_else(PoisonError::into_inner).into_sorted();
        let mut rest = found.into_iter();
        loop {
            let chunk: Vec<Of> = rest.by_ref().take(CHUNK).collect();
            let is_last = rest.len() == 0;
            let locks = self.describe(&mut dumps, chunk).await;
            // Whoever asked may have gone.
            if to.send(Ok(Chunk { locks, total: if is_last { total } else { 0 } })).await.is_err() || is_last {
                return Ok(());
            }
        }
    }

    /// Adds to locks what is told of them elsewhere.
    async fn describe(&self, dumps: &mut [Dump], chunk: Vec<Of>) -> Vec<Listed> {
        let labels = dumps.iter_mut().zip(0..).map(|(dump, shard)| {
            let locks: Vec<_> = chunk.iter().filter(|of| of.shard == shard).map(|of| &of.found).collect();
            async move { dump.labels(&self.wire, &locks).await.into_iter() }
        });
        let mut labels = join_all(labels).await;
        let times: Vec<_> = dumps.iter().map(|dump| dump.time).collect();
        let listed = chunk.into_iter().filter_map(|Of { shard, beside_permits, found }| {
            let Found { item, number, expires } = found;
            let (time, label) = (times.get(shard as usize)?, labels.get_mut(shard as usize)?.next()?);
            let seconds = time.seconds + Moment::now().since(time.read).as_secs();
            let state = ItemState::of_number(number)?;
            let expires_in = Duration::from_secs(expires.saturating_sub(seconds));
            Some(Listed { item, state, label, expires_in, beside_permits })
        });
        listed.collect()
    }

    /// Asks all shards for their locks. Fails if one of them is away: a list of the others would look whole.
    async fn dump_all(&self, pattern: &Pattern, wanted: &Wanted) -> Result<Vec<Dump>, ListError> {
        let _turn = self.turn.lock().await;
        let topology = Arc::clone(&self.topology.lock().unwrap_or_else(PoisonError::into_inner));
        try_join_all(topology.shards.iter().zip(0..).map(|shard| self.dump(shard, &topology, pattern, wanted))).await
    }

    /// Asks a shard, which has this number, for its locks.
    async fn dump(
        &self,
        (shard, number): (&ShardAddress, u32),
        topology: &Listable,
        pattern: &Pattern,
        wanted: &Wanted,
    ) -> Result<Dump, ListError> {
        let away = |cause, why: &str| StoreError::unavailable(format!("memcached {shard}: {why}"), None).because(cause);
        let broken = |error: &dyn fmt::Display| away(Cause::StoreUnavailable, &error.to_string());
        let dialled = server::dial(shard, None).await;
        let (mut connection, address, facts) = dialled.map_err(|unreached| away(unreached.reason, &unreached.why))?;
        if let Some(why) = facts.refusal(self.allow_unsafe) {
            return Err(away(Cause::StoreRefused, &why).into());
        }
        let before =
            self.state(&mut connection, topology.fingerprint).await.map_err(|(cause, why)| away(cause, &why))?;
        let take = |found: Found| {
            // What has moved to another server may still stand here.
            if topology.placement.shard_of(&found.item.name) != number as usize {
                return;
            }
            let of = Of { shard: number, beside_permits: false, found };
            wanted.lock().unwrap_or_else(PoisonError::into_inner).add(of);
        };
        let time = dump_locks(address, pattern, take).await.map_err(|error| match error {
            DumpError::Forbidden { .. } => ListError::Refused { why: format!("memcached {shard}: {error}").into() },
            error => ListError::Store(broken(&error)),
        })?;
        let said = connection.exchange(&self.wire, &[protocol::witness()]).await.map_err(|error| broken(&error))?;
        match said.first().map(protocol::read_witness) {
            Some(Ok(Witness::Shows(after))) if after == before => {}
            _ => return Err(away(Cause::StoreQuarantined, "it has lost its memory while it was asked").into()),
        }
        Ok(Dump { connection: Some(connection), time })
    }

    /// Returns what the state of a shard shows whose memory is whole. Otherwise there are locks that it does not have.
    async fn state(&self, connection: &mut Connection, ours: u64) -> Result<Stamp, (Cause, String)> {
        let away = |error: &dyn fmt::Display| (Cause::StoreUnavailable, error.to_string());
        let state = survey::read_state(connection, &self.wire).await.map_err(|unread| away(&unread))?;
        let stamp = match state {
            StateItem::Missing => return Err((Cause::StoreQuarantined, "it has lost its memory, or is new".into())),
            StateItem::Unusable { why, .. } => return Err((Cause::StoreRefused, why.to_string())),
            StateItem::Shows { fingerprint, .. } if fingerprint != ours => {
                return Err((Cause::StoreRefused, FOREIGN.into()));
            }
            StateItem::Shows { stamp, .. } | StateItem::Flipped { stamp, .. } => stamp,
        };
        let fence = protocol::highest_token(stamp.epoch);
        let said = connection.exchange(&self.wire, &[fence]).await.map_err(|error| away(&error))?;
        match protocol::read_fence(&said[0]).map_err(|error| away(&error))? {
            Some(_) => Ok(stamp),
            None => {
                let why = "it has lost its memory, and locks may stand that it does not know of; try again when it grants \
                           locks";
                Err((Cause::StoreQuarantined, why.into()))
            }
        }
    }
}

/// Asks a server for all locks that `pattern` means, on a connection of its own, and gives each to `take` once. One that shows
/// its keys to nobody now is asked again for some four seconds.
pub(super) async fn dump_locks(
    address: SocketAddr,
    pattern: &Pattern,
    take: impl Fn(Found),
) -> Result<ServerTime, DumpError> {
    let dump = || async { Lines::new(TcpStream::connect(address).await?).dump(pattern, &take).await };
    // One that is busy has shown no lock, so nothing is taken twice.
    let pauses = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_delay(LONGEST_PAUSE);
    dump.retry(pauses.with_max_times(TRIES)).when(|error| matches!(error, DumpError::Busy(_))).await
}

impl Dump {
    /// Reads the labels of their owners, which are best effort: if the connection breaks, there are none.
    async fn labels(&mut self, wire: &Wire, locks: &[&Found]) -> Vec<Label> {
        let none = || vec![Label::default(); locks.len()];
        let Some(connection) = self.connection.as_mut().filter(|_| !locks.is_empty()) else { return none() };
        let looks: Vec<_> = locks.iter().map(|found| protocol::look_for_owner(&found.item)).collect();
        match connection.exchange(wire, &looks).await {
            Ok(said) => {
                let read = |(found, said): (&&Found, _)| {
                    ItemState::of_number(found.number)
                        .map_or_else(Label::default, |state| protocol::read_label(said, state))
                };
                locks.iter().zip(&said).map(read).collect()
            }
            Err(error) => {
                tracing::debug!(%error, "no labels for a list of locks");
                self.connection = None;
                none()
            }
        }
    }
}
