//! The processes and links of a run, from their start to the look at what is left of them.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker::client::Client;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::RunSettings;
use crate::clients::{self, Life};
use crate::history::{Access, Fault, History, Hold, Kind, Notes, Stuck, Target};
use crate::links::{self, Signposts};
use crate::nemesis::{self, servers_change};
use crate::support::{Broker, Memcached, Proxy, SOON};

pub(crate) const BROKERS: usize = 3;
pub(crate) const STORES: usize = 2;
pub(crate) const CLIENTS: usize = 20;
pub(crate) const NAMES: usize = 16;
/// Those who observe locks. Their numbers come after the clients'.
pub(crate) const OBSERVERS: usize = 8;

/// The time within which a name must be free when everything is well again: a quarantine, the life of an item, what
/// keepalive takes to notice a client that has gone, and something for a busy machine.
const FREED_WITHIN: Duration = Duration::from_secs(20);

/// A lock that somebody believes to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prey {
    pub(crate) client: usize,
    pub(crate) name: usize,
    /// The permit, if the lock is shared.
    pub(crate) permit: Option<u32>,
    /// True if its client has several together.
    pub(crate) is_one_of_several: bool,
}

impl Prey {
    pub(crate) fn of(hold: &Hold) -> Self {
        let permit = match hold.last_access() {
            Access::Alone | Access::Between => None,
            Access::Shared { permit, .. } => Some(permit),
        };
        Self { client: hold.client, name: hold.name, permit, is_one_of_several: hold.together > 1 }
    }
}

/// Everything that the nemesis can strike.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) brokers: Vec<Mutex<Broker>>,
    pub(crate) stores: Vec<Mutex<Memcached>>,
    /// The link of each client to the brokers, and then of each observer.
    pub(crate) client_links: Vec<Proxy>,
    /// The links to each memcached, one for each broker.
    pub(crate) store_links: Vec<Vec<Proxy>>,
    pub(crate) signposts: Arc<Signposts>,
    pub(crate) notes: Notes,
    /// Brokers that were killed: their logs are printed if the run fails.
    pub(crate) graves: Mutex<Vec<Broker>>,
    forks: Vec<Proxy>,
    pub(crate) names: Vec<String>,
    /// The locks that clients believe to hold.
    pub(crate) held: std::sync::Mutex<Vec<Prey>>,
    /// The client and the broker that nothing is done to for now, but to the locks of that client.
    pub(crate) spared: std::sync::Mutex<Option<(usize, usize)>>,
    /// The list of servers, as brokers are started with it.
    pub(crate) servers: std::sync::Mutex<String>,
    /// The memcached that each name lives on at first.
    pub(crate) store_of: Vec<usize>,
}

impl World {
    pub(crate) async fn start() -> Arc<Self> {
        let signposts = Arc::new(Signposts::new(BROKERS, CLIENTS + OBSERVERS));
        let (mut stores, mut forks, mut store_links) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..STORES {
            // Little memory, so that it is soon full; flush_all is allowed.
            let store = Memcached::bare(&["-M", "-m", "8"]).await;
            let (fork, links) = links::to_store(&signposts, store.address(), BROKERS).await;
            stores.push(Mutex::new(store));
            forks.push(fork);
            store_links.push(links);
        }
        let mut world = Self {
            brokers: Vec::new(),
            stores,
            client_links: Vec::new(),
            store_links,
            signposts,
            notes: Notes::default(),
            graves: Mutex::default(),
            forks,
            names: Vec::new(),
            held: std::sync::Mutex::default(),
            spared: std::sync::Mutex::default(),
            servers: std::sync::Mutex::default(),
            store_of: Vec::new(),
        };
        *world.servers.lock().unwrap() = world.store(&[1; STORES]);
        for broker in 0..BROKERS {
            let started = world.start_broker(broker).await;
            world.brokers.push(Mutex::new(started));
        }
        for client in 0..CLIENTS + OBSERVERS {
            world.client_links.push(links::of_client(&world.signposts, client).await);
        }
        for broker in &world.brokers {
            broker.lock().await.ready().await;
        }
        world.find_names().await;
        Arc::new(world)
    }

    /// Returns the list of servers with these weights.
    pub(crate) fn store(&self, weights: &[u32; STORES]) -> String {
        let shards = self.forks.iter().zip(weights).map(|(fork, weight)| format!("{}={weight}", fork.address()));
        format!("memcached://{}", shards.collect::<Vec<_>>().join(","))
    }

    /// Starts a broker on the place of that number, which may have had one before.
    pub(crate) async fn start_broker(&self, number: usize) -> Broker {
        let store = self.servers.lock().unwrap().clone();
        let arguments = [
            ["--store", &store],
            ["--default-ttl", "5s"],
            ["--max-ttl", "5s"],
            ["--poll-interval", "20ms"],
            // How soon a silent client is noticed decides how long its lock is nobody's.
            ["--keepalive-interval", "1s"],
            ["--keepalive-timeout", "1s"],
        ];
        let mut arguments = arguments.concat();
        arguments.push("--allow-unsafe-store");
        let log = std::env::var("LOCKBROKER_FAULTS_LOG");
        if let Ok(log) = &log {
            arguments.extend(["--log", log]);
        }
        let broker = Broker::start_unready(&arguments).await;
        self.signposts.change(number, |site| (site.address, site.pid) = (broker.address(), broker.pid()));
        broker
    }

    /// Chooses names of which every memcached has as many. Where a name lives depends on the memcacheds' ports, and
    /// memcached itself shows it.
    async fn find_names(&mut self) {
        let client = Client::connect(self.brokers[0].lock().await.url()).unwrap();
        let mut found = [0; STORES];
        for number in 0.. {
            if self.names.len() == NAMES {
                return;
            }
            let name = format!("faults/{number}");
            // A memcached that is new is in quarantine.
            let guard = timeout(SOON, client.wait_acquire(&name).into_future()).await;
            let guard = guard.expect("granted").unwrap().guard().expect("nobody else is there");
            for (index, store) in self.stores.iter().enumerate() {
                let here = store.lock().await.command(&format!("mg lockbroker:L:{name}")).await.starts_with("HD");
                if here && found[index] < NAMES / STORES {
                    found[index] += 1;
                    self.names.push(name.clone());
                    self.store_of.push(index);
                }
            }
            guard.release().await.unwrap();
        }
    }

    /// Lets clients and nemesis loose, and looks at what has become of the locks when it is over.
    pub(crate) async fn live(self: &Arc<Self>, settings: &RunSettings) -> History {
        let start = Instant::now();
        let end = start + settings.length;
        let mut parts = JoinSet::new();
        for number in 0..CLIENTS + OBSERVERS {
            let life = Life::new(number, self.client_links[number].address(), settings.seed, end, Arc::clone(self));
            if number < CLIENTS {
                parts.spawn(clients::run(life));
            } else {
                parts.spawn(clients::observe(life));
            }
        }
        parts.spawn(watch_the_machine(Arc::clone(self), end));
        nemesis::rage(self, settings.seed, end).await;
        while let Some(part) = parts.join_next().await {
            if let Err(panic) = part {
                std::panic::resume_unwind(panic.into_panic());
            }
        }
        sleep_until(end.into()).await;

        for broker in &self.brokers {
            broker.lock().await.ready().await;
        }
        let stuck = self.find_stuck().await;
        let take = |what: &std::sync::Mutex<Vec<Fault>>| std::mem::take(&mut *what.lock().unwrap());
        History {
            start,
            end,
            holds: std::mem::take(&mut self.notes.holds.lock().unwrap()),
            waits: std::mem::take(&mut self.notes.waits.lock().unwrap()),
            faults: take(&self.notes.faults),
            revocations: std::mem::take(&mut self.notes.revocations.lock().unwrap()),
            campaigns: std::mem::take(&mut self.notes.campaigns.lock().unwrap()),
            views: std::mem::take(&mut self.notes.views.lock().unwrap()),
            stuck,
            stores_of: self.store_of.iter().map(|store| stores_of(*store)).collect(),
            names: self.names.clone(),
            connections: self.signposts.connections(),
        }
    }

    /// Returns the names that some broker cannot give to a new client although nobody holds them.
    async fn find_stuck(&self) -> Vec<Stuck> {
        let mut clients = Vec::new();
        for broker in &self.brokers {
            clients.push(Client::connect(broker.lock().await.url()).unwrap());
        }
        let clients = &clients;
        let every_name = self.names.iter().map(async |name| {
            for (broker, client) in clients.iter().enumerate() {
                let ask = client.wait_acquire(name).max_wait(FREED_WITHIN).await;
                match ask.map(lockbroker::client::Outcome::guard) {
                    Ok(Some(guard)) => match guard.release().await {
                        Ok(()) => {}
                        Err(error) => return Some(format!("broker {broker} released it with {error}")),
                    },
                    Ok(None) => return Some(format!("not to be had at broker {broker} within {FREED_WITHIN:?}")),
                    Err(error) => return Some(format!("broker {broker}: {error}")),
                }
            }
            None
        });
        let found = join_all(every_name).await.into_iter().enumerate();
        found.filter_map(|(name, why)| Some(Stuck { name, why: why? })).collect()
    }
}

/// Notes when the machine has kept our tasks from running for so long that leases may have run out for it: with that,
/// no broker has a hand in what was lost.
async fn watch_the_machine(world: Arc<World>, end: Instant) {
    const TICK: Duration = Duration::from_millis(20);
    const STALL: Duration = Duration::from_millis(400);
    let mut last = Instant::now();
    while last < end {
        sleep(TICK).await;
        let now = Instant::now();
        if now - last > STALL {
            let fault = Fault { kind: Kind::MachineStalled, on: vec![Target::Everything], from: last, until: now };
            world.notes.faults.lock().unwrap().push(fault);
        }
        last = now;
    }
}

/// Returns each memcached on which a name lives that lives here at first.
fn stores_of(store: usize) -> Vec<usize> {
    if servers_change() { (0..STORES).collect() } else { vec![store] }
}
