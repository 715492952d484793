//! The faults. Several happen at a time: one of the brokers, each memcached, the clients' connections and the brokers'
//! connections to memcached have a nemesis each, which makes one fault after another and undoes it.

mod junk;
mod revocations;
mod servers;

pub(crate) use servers::servers_change;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use crate::history::{Kind, Target};
use crate::support::{Memcached, Proxy};
use crate::world::{BROKERS, CLIENTS, Prey, STORES, World};
use junk::Junk;

/// The last fault begins so long before the end that it is over by then.
const LONGEST: Duration = Duration::from_secs(12);
/// The longest search for a lock that is held: on a memcached that grants again only now, that takes a while.
const PATIENCE: Duration = Duration::from_secs(6);
/// The time for which a process is stopped, in milliseconds: longer than the ttl.
const PAUSE: std::ops::Range<u64> = 5_200..6_500;

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
    // Often: mostly another fault could be the cause too, and then it proves nothing.
    let of_several = Nemesis { is_after_several: true, ..nemesis(13, &[Kind::Revoked], 500..2_000) };
    tokio::join!(
        of_brokers.rage(0),
        join_all(of_stores),
        of_clients.rage(0),
        of_links.rage(0),
        of_names.rage(0),
        of_several.rage(0),
        servers::change(world, StdRng::seed_from_u64(seed.wrapping_mul(31) + 14), end),
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
