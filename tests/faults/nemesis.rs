//! The faults. Several happen at a time: one of the brokers, each memcached, the clients' connections and the brokers'
//! connections to memcached have a nemesis each, which makes one fault after another and undoes it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker::proto::RevokeLockRequest;
use lockbroker::proto::lock_admin_client::LockAdminClient;
use lockbroker::proto::revoke_lock_response::Outcome;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use crate::checker::AFTERMATH;
use crate::clients::LISTEN_ON;
use crate::history::{Kind, Revocation, TTL, Target};
use crate::support::{Memcached, Proxy};
use crate::world::{BROKERS, CLIENTS, Prey, STORES, World};

/// The last fault begins so long before the end that it is over by then.
const LONGEST: Duration = Duration::from_secs(12);
/// The longest search for a lock that is held: on a memcached that grants again only now, that takes a while.
const PATIENCE: Duration = Duration::from_secs(6);
/// The time for which a process is stopped, in milliseconds: longer than the ttl.
const PAUSE: std::ops::Range<u64> = 5_200..6_500;

/// The time for which a holder may hear late of a revocation.
const HEARD: Duration = Duration::from_millis(2_500);

/// Runs all of them. They end before `end`, and leave everything as they found it.
pub(crate) async fn rage(world: &World, seed: u64, end: Instant) {
    let nemesis = |number: u64, kinds: &[Kind], pause| Nemesis {
        world,
        rng: StdRng::seed_from_u64(seed.wrapping_mul(31) + number),
        kinds: kinds.to_vec(),
        pause,
        is_after_several: false,
        end,
    };
    let of_brokers = nemesis(0, &[Kind::BrokerKilled, Kind::BrokerPaused, Kind::BrokerPausedAndLeft], 700..2_500);
    let kinds = [Kind::StoreRestarted, Kind::StoreFlushed, Kind::StorePaused, Kind::StoreFilled];
    // A quarantine takes 5 s of the pause.
    let of_stores = (0..STORES).map(|store| nemesis(1 + store as u64, &kinds, 7_000..9_000).rage(store));
    let kinds = [
        Kind::ClientCut,
        Kind::ClientDelayed,
        Kind::ClientHalfOpen,
        Kind::ClientResetAtBroker,
        Kind::ClientResetAtClient,
    ];
    // Five kinds, and each is to have its turn.
    let of_clients = nemesis(10, &kinds, 400..1_500);
    let kinds = [Kind::StoreLinkCut, Kind::StoreLinkDelayed, Kind::StoreLinkHalfOpen];
    let of_links = nemesis(11, &kinds, 800..2_500);
    let of_names = nemesis(12, &[Kind::Revoked], 2_000..5_000);
    // One of several is to be revoked often enough: seldom is there nothing else that could be the cause.
    let of_several = Nemesis { is_after_several: true, ..nemesis(13, &[Kind::Revoked], 500..2_000) };
    tokio::join!(
        of_brokers.rage(0),
        join_all(of_stores),
        of_clients.rage(0),
        of_links.rage(0),
        of_names.rage(0),
        of_several.rage(0),
    );
}

struct Nemesis<'a> {
    world: &'a World,
    rng: StdRng,
    kinds: Vec<Kind>,
    /// Milliseconds between two faults.
    pause: std::ops::Range<u64>,
    /// True if it revokes locks that their clients have together with others.
    is_after_several: bool,
    end: Instant,
}

impl Nemesis<'_> {
    /// Does everything that it can in random order, and then again. `store` is the memcached that it is after.
    async fn rage(mut self, store: usize) {
        loop {
            let mut kinds = self.kinds.clone();
            kinds.shuffle(&mut self.rng);
            for kind in kinds {
                self.wait(self.pause.clone()).await;
                if Instant::now() + LONGEST > self.end {
                    return;
                }
                self.strike(kind, store).await;
            }
        }
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }

    async fn wait(&mut self, range: std::ops::Range<u64>) {
        sleep(self.millis(range)).await;
    }

    async fn strike(&mut self, kind: Kind, store: usize) {
        match kind {
            Kind::BrokerKilled => self.kill_a_broker().await,
            Kind::BrokerPaused => self.pause_a_broker(false).await,
            Kind::BrokerPausedAndLeft => self.pause_a_broker(true).await,
            Kind::StoreRestarted | Kind::StoreFlushed | Kind::StorePaused | Kind::StoreFilled => {
                self.strike_store(kind, store).await;
            }
            Kind::ClientCut
            | Kind::ClientDelayed
            | Kind::ClientHalfOpen
            | Kind::ClientResetAtBroker
            | Kind::ClientResetAtClient => {
                let world = self.world;
                // Behind a connection that is open on one side a lock is nobody's for as long as its validity lasts.
                let is_half = matches!(kind, Kind::ClientHalfOpen | Kind::ClientResetAtBroker);
                let count = self.rng.random_range(1..=if is_half { 2 } else { 4 });
                let (prey, ..) = self.find_prey(None).await;
                let mut clients = self.choose_clients(prey, count);
                if matches!(kind, Kind::ClientCut | Kind::ClientResetAtClient) {
                    // It is over at once, and a client that was chosen may have just lost its lock.
                    let (another, ..) = self.find_prey(None).await;
                    clients.retain(|client| *client != another);
                    clients.push(another);
                }
                clients.retain(|client| !self.spares_client(*client));
                if clients.is_empty() {
                    return;
                }
                let proxies: Vec<_> = clients.iter().map(|&client| &world.client_links[client]).collect();
                let fault = world.notes.fault(kind, clients.into_iter().map(Target::Client).collect());
                self.strike_links(kind, &proxies).await;
                drop(fault);
            }
            Kind::StoreLinkCut | Kind::StoreLinkDelayed | Kind::StoreLinkHalfOpen => {
                let world = self.world;
                // One broker, or all of them, and one memcached.
                let (_, broker, store) = self.find_prey(None).await;
                let brokers = if self.rng.random() { broker..broker + 1 } else { 0..BROKERS };
                let proxies: Vec<_> = brokers.clone().map(|broker| &world.store_links[store][broker]).collect();
                let links = brokers.map(|broker| Target::StoreLink { broker, store });
                let fault = world.notes.fault(kind, links.collect());
                self.strike_links(kind, &proxies).await;
                drop(fault);
            }
            Kind::Revoked if self.is_after_several => self.revoke_of_several().await,
            Kind::Revoked => {
                let prey = self.world.held.lock().unwrap().choose(&mut self.rng).copied();
                let hears_late = self.rng.random();
                if let Some(prey) = prey {
                    let broker = self.rng.random_range(0..BROKERS);
                    self.revoke(prey, broker, hears_late && !self.spares_client(prey.client)).await;
                }
            }
            Kind::MachineStalled => {}
        }
    }

    /// Returns a lock that somebody holds, on that memcached if one is given: its client, the broker and the
    /// memcached. If nobody holds any for a while, returns any.
    async fn find_prey(&mut self, on: Option<usize>) -> (usize, usize, usize) {
        let world = self.world;
        let give_up = Instant::now() + PATIENCE;
        loop {
            let mut held = world.held.lock().unwrap().clone();
            held.retain(|prey| on.is_none_or(|store| world.store_of[prey.name] == store));
            if let Some(&Prey { client, name, .. }) = held.choose(&mut self.rng)
                && let Some(broker) = world.signposts.broker_of(client)
            {
                return (client, broker, world.store_of[name]);
            }
            if Instant::now() > give_up {
                let store = on.unwrap_or_else(|| self.rng.random_range(0..STORES));
                return (self.rng.random_range(0..CLIENTS), self.rng.random_range(0..BROKERS), store);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns some clients, and this one among them.
    fn choose_clients(&mut self, prey: usize, count: usize) -> Vec<usize> {
        let mut others: Vec<_> = (0..CLIENTS).filter(|&client| client != prey).collect();
        others.shuffle(&mut self.rng);
        others.into_iter().take(count - 1).chain([prey]).collect()
    }

    /// Revokes one of several that a client has together, and lets it be otherwise, and its broker: it is to be told. Where that is
    /// one fault among many, whatever it is not told has another cause.
    async fn revoke_of_several(&mut self) {
        let world = self.world;
        let is_whole = |prey: &Prey| {
            let broker = world.signposts.broker_of(prey.client);
            let on = [Some(Target::Client(prey.client)), broker.map(Target::Broker)];
            prey.is_one_of_several && !on.into_iter().flatten().any(|target| world.notes.is_struck(target))
        };
        let whole = || world.held.lock().unwrap().iter().filter(|prey| is_whole(prey)).copied().collect::<Vec<_>>();
        // Not for long: the run may be about to end.
        let give_up = Instant::now() + AFTERMATH;
        let client = loop {
            match whole().choose(&mut self.rng) {
                Some(prey) => break prey.client,
                None if Instant::now() > give_up => return,
                None => sleep(Duration::from_millis(20)).await,
            }
        };
        let Some(broker) = world.signposts.broker_of(client) else { return };
        *world.spared.lock().unwrap() = Some((client, broker));
        // What was over before counts for a while.
        sleep(AFTERMATH).await;
        let its_own = whole().into_iter().filter(|prey| prey.client == client).collect::<Vec<_>>();
        if let Some(prey) = its_own.choose(&mut self.rng) {
            self.revoke(*prey, broker, false).await;
            sleep(LISTEN_ON).await;
        }
        *world.spared.lock().unwrap() = None;
    }

    fn spares_client(&self, client: usize) -> bool {
        self.world.spared.lock().unwrap().is_some_and(|(spared, _)| spared == client)
    }

    fn spares_broker(&self, broker: usize) -> bool {
        self.world.spared.lock().unwrap().is_some_and(|(_, spared)| spared == broker)
    }

    /// Returns a broker that has a lock and is not spared.
    async fn find_broker(&mut self) -> usize {
        let (_, broker, _) = self.find_prey(None).await;
        if self.spares_broker(broker) { (broker + 1) % BROKERS } else { broker }
    }

    /// Takes a lock from whoever has it, if nothing else is done to that broker. Its holder may hear late of it.
    async fn revoke(&mut self, prey: Prey, broker: usize, hears_late: bool) {
        let world = self.world;
        let Prey { client, name, permit, .. } = prey;
        let Ok(broker) = world.brokers[broker].try_lock() else { return };
        let url = broker.url();
        drop(broker);
        // Its holder may believe in it until its validity is over, and the name stays closed for as long.
        let link = &world.client_links[client];
        let late = hears_late.then_some(Target::Client(client));
        let fault = world.notes.fault(Kind::Revoked, late.into_iter().chain([Target::Name(name)]).collect());
        if hears_late {
            link.delay(self.millis(1_000..2_500));
        }
        let number = permit.map(|permit| permit as i32);
        let request = RevokeLockRequest { name: world.names[name].clone(), permit: number, ..Default::default() };
        let call = async {
            let channel = Endpoint::from_shared(url).unwrap().connect().await?;
            Ok::<_, Box<dyn std::error::Error>>(LockAdminClient::new(channel).revoke_lock(request).await?)
        };
        // The broker or its memcached may be away.
        let sent = Instant::now();
        if let Ok(Ok(answer)) = timeout(Duration::from_secs(2), call).await
            && answer.into_inner().outcome() == Outcome::Revoked
        {
            let revocation = Revocation { name, permit, sent, answered: Instant::now() };
            world.notes.revocations.lock().unwrap().push(revocation);
        }
        sleep(HEARD).await;
        if hears_late {
            link.delay(Duration::ZERO);
        }
        sleep(TTL - HEARD).await;
        drop(fault);
    }

    async fn kill_a_broker(&mut self) {
        let world = self.world;
        let number = self.find_broker().await;
        let mut broker = world.brokers[number].lock().await;
        let fault = world.notes.fault(Kind::BrokerKilled, vec![Target::Broker(number)]);
        broker.kill();
        self.wait(100..2_500).await;
        let successor = world.start_broker(number).await;
        world.graves.lock().await.push(std::mem::replace(&mut broker, successor));
        drop(fault);
    }

    async fn pause_a_broker(&mut self, clients_leave: bool) {
        let world = self.world;
        let number = self.find_broker().await;
        let mut broker = world.brokers[number].lock().await;
        let kind = if clients_leave { Kind::BrokerPausedAndLeft } else { Kind::BrokerPaused };
        world.signposts.change(number, |site| {
            (site.in_rotation, site.holds_on) = (!clients_leave, !clients_leave);
        });
        let fault = world.notes.fault(kind, vec![Target::Broker(number)]);
        // Often in the middle of a slow exchange: it wakes up to answers that have grown old.
        let proxies: Vec<_> = world.store_links.iter().map(|proxies| &proxies[number]).collect();
        if self.rng.random() {
            let delay = self.millis(200..800);
            proxies.iter().for_each(|proxy| proxy.delay(delay));
            sleep(delay).await;
        }
        broker.stop().await;
        self.wait(PAUSE).await;
        proxies.iter().for_each(|proxy| proxy.delay(Duration::ZERO));
        broker.cont();
        drop(fault);
        world.signposts.change(number, |site| (site.in_rotation, site.holds_on) = (true, false));
    }

    async fn strike_store(&mut self, kind: Kind, number: usize) {
        let world = self.world;
        self.find_prey(Some(number)).await;
        let mut store = world.stores[number].lock().await;
        if kind == Kind::StorePaused && self.rng.random() {
            return self.pause_the_machine(number, &mut store).await;
        }
        let fault = world.notes.fault(kind, vec![Target::Store(number)]);
        match kind {
            Kind::StoreRestarted => {
                store.kill();
                self.wait(0..1_000).await;
                store.start_again().await;
            }
            Kind::StoreFlushed => {
                store.command("flush_all").await;
            }
            Kind::StorePaused => {
                store.stop().await;
                self.wait(PAUSE).await;
                store.cont();
            }
            _ => {
                let junk = Junk::fill(&store).await;
                self.wait(500..2_500).await;
                junk.clear(&store).await;
            }
        }
        drop(fault);
    }

    /// Stops a memcached together with all brokers that nothing else is done to, as when the machine that they share is
    /// suspended. The brokers wake up first, so that memcached finds commands waiting before it finds out how late it is.
    async fn pause_the_machine(&mut self, number: usize, store: &mut Memcached) {
        let world = self.world;
        let mut brokers = Vec::new();
        let mut targets = vec![Target::Store(number)];
        for (broker, lock) in world.brokers.iter().enumerate() {
            if !self.spares_broker(broker)
                && let Ok(lock) = lock.try_lock()
            {
                brokers.push(lock);
                targets.push(Target::Broker(broker));
            }
        }
        let fault = world.notes.fault(Kind::StorePaused, targets);
        for broker in &mut brokers {
            broker.stop().await;
        }
        store.stop().await;
        self.wait(PAUSE).await;
        brokers.iter_mut().for_each(|broker| broker.cont());
        self.wait(50..300).await;
        store.cont();
        drop(fault);
    }

    async fn strike_links(&mut self, kind: Kind, proxies: &[&Proxy]) {
        match kind {
            Kind::ClientCut | Kind::StoreLinkCut => {
                let reset = self.rng.random();
                proxies.iter().for_each(|proxy| if reset { proxy.reset() } else { proxy.cut() });
            }
            Kind::ClientResetAtBroker => proxies.iter().for_each(|proxy| proxy.reset_target()),
            Kind::ClientResetAtClient => proxies.iter().for_each(|proxy| proxy.reset_clients()),
            Kind::ClientDelayed | Kind::StoreLinkDelayed => {
                // The longest are longer than a broker waits for memcached.
                let delay = self.millis(20..1_500);
                proxies.iter().for_each(|proxy| proxy.delay(delay));
                self.wait(1_000..5_000).await;
                proxies.iter().for_each(|proxy| proxy.delay(Duration::ZERO));
            }
            _ => {
                proxies.iter().for_each(|proxy| proxy.black_hole());
                // Either only the connections that there are go dead, or new ones as well for a while.
                if self.rng.random() {
                    self.wait(500..6_000).await;
                }
                proxies.iter().for_each(|proxy| proxy.heal());
            }
        }
    }
}

/// Items that fill a memcached's memory.
struct Junk {
    keys: Vec<String>,
}

impl Junk {
    /// The number of items that are sent at once.
    const BATCH: usize = 100;

    /// Writes large items first, until no page of memory is left. Then writes small ones, until those pages are full
    /// in which a lock's item might find room.
    async fn fill(store: &Memcached) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(store.address()).await.unwrap());
        let mut junk = Self { keys: Vec::new() };
        for length in [400_000, 4_000, 500, 300, 250, 200, 160, 130, 100, 75, 50, 30, 10, 1] {
            while junk.add(&mut stream, length).await {}
        }
        junk
    }

    /// Adds some of this length; whether all found room.
    async fn add(&mut self, stream: &mut BufReader<TcpStream>, length: usize) -> bool {
        let batch = if length > 10_000 { 1 } else { Self::BATCH };
        let value = "x".repeat(length);
        let mut commands = String::new();
        for _ in 0..batch {
            let key = format!("junk:{}", self.keys.len());
            commands += &format!("set {key} 0 0 {length}\r\n{value}\r\n");
            self.keys.push(key);
        }
        stream.write_all(commands.as_bytes()).await.unwrap();
        let mut all_stored = true;
        for _ in 0..batch {
            let mut answer = String::new();
            stream.read_line(&mut answer).await.unwrap();
            all_stored &= answer == "STORED\r\n";
        }
        all_stored
    }

    async fn clear(self, store: &Memcached) {
        for keys in self.keys.chunks(Self::BATCH) {
            let deletes: Vec<_> = keys.iter().map(|key| format!("delete {key} noreply")).collect();
            store.command(&deletes.join("\r\n")).await;
        }
    }
}
