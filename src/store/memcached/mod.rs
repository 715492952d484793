//! Keeps locks in memcached: sends what `core::shard` says, and brings it the answers.
//!
//! ARCHITECTURE.md has the protocol, docs/safety.md the reasons. This module never decides who ought to have a lock,
//! and is the only one that knows the `memcache` crate.

mod board;
mod change;
mod connection;
mod copy;
mod dump;
#[cfg(any(fuzzing, debug_assertions))]
pub mod fuzzing;
mod listing;
mod metrics;
mod news;
mod opening;
mod outside;
mod presence;
mod server;
mod status;
mod survey;
mod wire;
mod words;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lockbroker_core::command::{Command, Reply as Said};
use lockbroker_core::request::StoreTraits;
use lockbroker_core::shard::state_item::{Generation, Witness};
use lockbroker_core::shard::{
    ChangeNews, Dialled, LinkId, Member, News, Output, Settings, Shards, Topology, Unreached, Watcher, protocol,
};
use tokio::sync::watch;

pub use change::{Progress, change};
pub use opening::{Adopted, Opened, adopt, open};
pub use presence::{BrokerNote, SeenBroker};
pub use status::{Becomes, Count, ReportedState, ShardReport, Standing, Uncounted, rehearse, status};

use self::board::Board;
use self::connection::Connection;
use self::listing::MemcachedLister;
use self::metrics::{ErrorMetrics, ShardMetrics, StoreMetrics};
use self::outside::Outside;
use self::server::ServerFacts;
use self::wire::Wire;
use super::{Lister, LockStore, Order, ShardAddress, ShardView, StoreEvent};
use crate::clock::{Moment, sleep_until};
use crate::lock::WakeHint;
use crate::metrics::Metrics;
use crate::wake::{Hint, WakeSocket};

/// The longest `--key-prefix`, in bytes: with the longest name it still fits into memcached's 250 bytes of key.
pub const MAX_KEY_PREFIX_BYTES: usize = 48;

/// An address at which nobody answers.
const NOBODY: &str = "0.0.0.0:1";

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

impl MemcachedSettings {
    fn topology(&self) -> Topology {
        let member = |shard: &ShardAddress| Member { address: shard.to_string().into(), weight: shard.weight };
        Topology { members: self.shards.iter().map(member).collect(), max_ttl: self.max_ttl }
    }
}

/// The outcome of something that took time.
enum Landed {
    Dialled(usize, Result<(Connection, Dialled, ServerFacts), Unreached>),
    Compared(usize, Option<Witness>),
    /// Words were left.
    Left,
    /// A server belongs to others, and it was read to whom.
    Read(usize, Option<Topology>),
    Exchanged {
        shard: usize,
        link: LinkId,
        connection: Connection,
        said: Result<Vec<Said>, Arc<str>>,
        took: Option<Duration>,
    },
}

/// One shard, as it is shown to people.
struct Shown {
    address: ShardAddress,
    metrics: ShardMetrics,
    errors: ErrorMetrics,
}

impl Shown {
    fn new(address: ShardAddress, metrics: &StoreMetrics) -> Shown {
        let (metrics, errors) = metrics.shard(&address.to_string());
        Shown { address, metrics, errors }
    }
}

/// The locks of one deployment in its memcached servers.
pub struct MemcachedStore {
    shards: Shards,
    /// None for a process that is not a broker.
    topology: Option<Arc<Topology>>,
    outside: Outside,
    shown: Vec<Shown>,
    metrics: StoreMetrics,
    board: Board,
    wire: Arc<Wire>,
    allow_unsafe: bool,
    wake_ups: Option<WakeSocket>,
    ready: watch::Sender<bool>,
    /// The connections on which nothing is under way.
    links: HashMap<LinkId, Connection>,
    last_link: u64,
    lister: MemcachedLister,
    flights: FuturesUnordered<BoxFuture<'static, Landed>>,
    /// The facts of servers that have just been met.
    facts: HashMap<LinkId, ServerFacts>,
}

impl fmt::Debug for MemcachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemcachedStore").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl MemcachedStore {
    /// Makes the store, which connects once it is driven. `metrics` counts what it does. `wake_ups` is the socket by which
    /// brokers wake each other.
    pub fn new(settings: &MemcachedSettings, wake_ups: Option<WakeSocket>, metrics: &Metrics) -> MemcachedStore {
        let mut outside = Outside::new();
        let watcher = wake_ups.as_ref().map(|socket| Watcher { address: socket.address(), id: outside.fresh_id() });
        let (topology, wire) = (settings.topology(), Arc::new(Wire::new(&settings.key_prefix)));
        let lister = MemcachedLister::new(&settings.shards, &topology, &wire, settings.allow_unsafe);
        let note = settings.note.as_ref().map(|note| note.as_str().into());
        let core = Settings { members: topology.members.clone(), max_ttl: settings.max_ttl, note, watcher };
        let metrics = StoreMetrics::new(metrics);
        let seed = outside.fresh_id();
        MemcachedStore {
            shards: Shards::new(core, seed, &mut outside),
            topology: settings.note.as_ref().map(|_| Arc::new(topology)),
            outside,
            shown: settings.shards.iter().map(|address| Shown::new(address.clone(), &metrics)).collect(),
            metrics,
            board: Board::new(&settings.shards),
            wire,
            allow_unsafe: settings.allow_unsafe,
            wake_ups,
            ready: watch::Sender::new(false),
            links: HashMap::new(),
            last_link: 0,
            lister,
            flights: FuturesUnordered::new(),
            facts: HashMap::new(),
        }
    }

    /// Does what the shards say.
    fn carry_out(&mut self, events: &mut Vec<StoreEvent>) {
        while let Some(output) = self.shards.output() {
            match output {
                Output::Answer { shard, id, reply } => {
                    self.shown[shard].errors.count(&reply);
                    events.push(StoreEvent::Answer(id, reply));
                }
                Output::Send { shard, link, commands, is_batch } => self.send(shard, link, commands, is_batch),
                Output::Dial { shard, address } => {
                    self.last_link += 1;
                    let (link, unsafe_too) = (LinkId(self.last_link), self.allow_unsafe);
                    let server = self.shown[shard].address.clone();
                    self.flights.push(Box::pin(async move {
                        Landed::Dialled(shard, server::connect(&server, address, link, unsafe_too).await)
                    }));
                }
                Output::Compare { shard } => {
                    let (server, wire) = (self.shown[shard].address.clone(), Arc::clone(&self.wire));
                    self.flights
                        .push(Box::pin(async move { Landed::Compared(shard, look_anew(&server, &wire).await) }));
                }
                Output::Hangup { link, .. } => drop(self.links.remove(&link)),
                Output::Wake { broker, name } => {
                    if let Some(socket) = &self.wake_ups {
                        socket.send(&Hint::Free(WakeHint::of(&name)), broker);
                    }
                }
                Output::TellObserver { broker, name } => {
                    if let Some(socket) = &self.wake_ups {
                        socket.send(&Hint::Changed(WakeHint::of(&name)), broker);
                    }
                }
                Output::TellKeeper { broker, name } => {
                    if let Some(socket) = &self.wake_ups {
                        socket.send(&Hint::Revoked(name), broker);
                    }
                }
                Output::Ready(ready) => {
                    // First: who sees that the broker is ready, or not, finds in the metrics why.
                    self.show();
                    self.ready.send_replace(ready);
                }
                Output::Meet { shard, address } => self.meet(shard, &address),
                Output::Change(news) => self.change(&news),
                Output::News { shard, news } => self.tell(shard, &news),
            }
        }
    }

    fn send(&mut self, shard: usize, link: LinkId, commands: Vec<Command>, is_batch: bool) {
        let Some(mut connection) = self.links.remove(&link) else {
            // The shards know of no other connections than those that they were told of.
            debug_assert!(false, "there is no such connection");
            return self.shards.answered(shard, link, Err("there is no connection".into()), &mut self.outside);
        };
        if is_batch {
            self.shown[shard].metrics.commands.observe_count(commands.len());
        }
        let wire = Arc::clone(&self.wire);
        let sent = self.outside.moment();
        self.flights.push(Box::pin(async move {
            let said = connection.exchange(&wire, &commands).await.map_err(|error| error.to_string().into());
            let took = is_batch.then(|| Moment::now().since(sent));
            Landed::Exchanged { shard, link, connection, said, took }
        }));
    }

    /// Takes up a server that has come.
    fn meet(&mut self, shard: usize, address: &str) {
        let address = match address.parse::<ShardAddress>() {
            Ok(address) => address,
            // Who has announced it had it from a flag, in which it would have been refused.
            Err(error) => {
                tracing::error!("the servers are to change, and {address:?} is not an address: {error}");
                NOBODY.parse().expect("an address")
            }
        };
        self.board.meet(shard, &address);
        let shown = Shown::new(address, &self.metrics);
        match self.shown.get_mut(shard) {
            Some(before) => *before = shown,
            None => self.shown.push(shown),
        }
    }

    /// Tells people of a change of the servers. From when it is through, lists are of the new ones.
    fn change(&mut self, news: &ChangeNews) {
        news::log_change(news);
        if let ChangeNews::InForce { topology, .. } = news {
            let addresses = topology.members.iter().filter_map(|member| member.address.parse().ok());
            self.lister.move_to(addresses.collect(), topology);
            self.topology = self.topology.as_ref().map(|_| Arc::clone(topology));
        }
    }

    fn tell(&mut self, shard: usize, news: &News) {
        let Shown { address, metrics, .. } = &self.shown[shard];
        if let News::Met(link) = news
            && let Some(facts) = self.facts.remove(link)
        {
            metrics.is_unsafe.set(!facts.dangers().is_empty());
            news::log_facts(address, &facts);
        }
        self.board.hear(shard, news);
        let (server, wire) = (address.clone(), Arc::clone(&self.wire));
        match (news, &self.topology) {
            (News::Foreign { fingerprint }, _) => {
                let fingerprint = *fingerprint;
                news::log(address, news);
                self.flights.push(Box::pin(async move {
                    Landed::Read(shard, words::of_owner(&server, &wire, fingerprint).await)
                }));
            }
            (News::GrantsLocks | News::Closed(_) | News::Alone, Some(ours)) => {
                news::log(address, news);
                let ours = Arc::clone(ours);
                self.flights.push(Box::pin(async move {
                    words::leave(&server, &wire, &ours).await;
                    Landed::Left
                }));
            }
            _ => news::log(address, news),
        }
    }

    /// Brings the shards what has come of something.
    fn land(&mut self, landed: Landed) {
        self.outside.read_clock();
        let MemcachedStore { shards, outside, links, facts: met, shown, .. } = self;
        match landed {
            Landed::Dialled(shard, dialled) => {
                let dialled = dialled.map(|(connection, dialled, facts)| {
                    links.insert(dialled.link, connection);
                    met.insert(dialled.link, facts);
                    dialled
                });
                shards.dialled(shard, dialled, outside);
            }
            Landed::Compared(shard, witness) => shards.compared(shard, witness, outside),
            Landed::Left => {}
            Landed::Read(_, None) => {}
            Landed::Read(shard, Some(theirs)) => news::log_foreign(&shown[shard].address, &theirs),
            Landed::Exchanged { shard, link, connection, said, took } => {
                if let Some(took) = took {
                    shown[shard].metrics.batch.observe(took);
                }
                if said.is_ok() {
                    links.insert(link, connection);
                }
                shards.answered(shard, link, said, outside);
            }
        }
    }

    /// Shows how the shards are.
    fn show(&self) {
        for (shard, Shown { metrics, .. }) in self.shown.iter().enumerate() {
            let status = self.shards.status(shard, self.outside.time());
            metrics.show(&status);
            self.board.show(shard, &status, self.outside.moment());
        }
        self.metrics.generation.set(self.shards.generation().map_or(0, Generation::get));
        self.metrics.changing.set(self.shards.is_changing());
    }
}

/// Resolves the shard's name anew and asks whatever answers there for S. Nothing is learned from a failure.
async fn look_anew(shard: &ShardAddress, wire: &Wire) -> Option<Witness> {
    let (mut connection, ..) = server::dial(shard, None).await.ok()?;
    let said = connection.exchange(wire, &[protocol::witness()]).await.ok()?;
    protocol::read_witness(said.first()?).ok()
}

impl LockStore for MemcachedStore {
    fn traits(&self) -> StoreTraits {
        self.shards.traits()
    }

    fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    fn lister(&self) -> Arc<dyn Lister> {
        Arc::new(self.lister.clone())
    }

    fn shards(&self) -> watch::Receiver<Vec<ShardView>> {
        self.board.subscribe()
    }

    fn take(&mut self, orders: &mut Vec<Order>, events: &mut Vec<StoreEvent>) {
        self.outside.read_clock();
        for order in orders.drain(..) {
            self.shards.order(order, &mut self.outside);
        }
        self.shards.flush(&mut self.outside);
        self.carry_out(events);
    }

    async fn drive(&mut self, events: &mut Vec<StoreEvent>) {
        loop {
            self.outside.read_clock();
            self.shards.flush(&mut self.outside);
            self.carry_out(events);
            // `Met` has taken what it needs.
            self.facts.clear();
            self.show();
            if !events.is_empty() {
                return;
            }
            let due = self.shards.due().map(|due| Moment::from_nanos(due.nanos()));
            tokio::select! {
                biased;
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => {
                    self.land(landed);
                    while let Some(Some(landed)) = self.flights.next().now_or_never() {
                        self.land(landed);
                    }
                }
                hint = next_hint(self.wake_ups.as_ref()) => events.push(match hint {
                    Hint::Free(hint) => StoreEvent::Woken(hint),
                    Hint::Changed(hint) => StoreEvent::ChangedElsewhere(hint),
                    Hint::Revoked(name) => StoreEvent::RevokedElsewhere(name),
                }),
                () = sleep_until(due.unwrap_or_else(Moment::now)), if due.is_some() => {}
            }
        }
    }
}

/// Waits for the next hint that reaches this broker.
async fn next_hint(wake_ups: Option<&WakeSocket>) -> Hint {
    match wake_ups {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}
