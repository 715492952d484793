//! Clients who collect permits, share, write and downgrade, at two brokers on one store: nobody excludes another for nothing, and nobody who
//! waits is forgotten.

mod acts;
mod store;
mod world;

use std::time::Duration;

use lockbroker_core::request::{Access, Mode};
use lockbroker_core::store::Request;

use store::failed;
use world::{Belief, LIMIT, World};

const TTL: Duration = Duration::from_secs(30);
const SHARED: Access = Access::Shared { limit: LIMIT, weight: 1 };

impl World {
    /// Whoever has it lets it go, and all who wait come to their turn.
    fn let_all_go(&mut self) {
        for _ in 0..400 {
            for at in 0..self.clients.len() {
                if self.clients[at].open {
                    self.read(at);
                }
                let beliefs = self.clients[at].beliefs.iter();
                let held = beliefs.filter(|(_, belief)| matches!(belief, Belief::Alone(_) | Belief::Shares(_)));
                let held: Vec<i64> = held.map(|(lock_ref, _)| *lock_ref).collect();
                held.into_iter().for_each(|lock_ref| self.end(at, lock_ref));
            }
            if self.clients.iter().all(|client| client.beliefs.is_empty()) {
                return;
            }
            self.beat();
            self.quiet(Duration::from_millis(20));
        }
        self.fail("somebody waits for ever");
    }

    fn nothing_is_left(&mut self) {
        let now = self.outside.now;
        for of in [None, Some(0), Some(1), Some(2)] {
            if self.store.live(of, now).is_some() {
                self.fail(&format!("{of:?} is kept for nobody"));
            }
        }
    }

    /// Acquires the lock alone, for a first client.
    fn alone(&mut self) -> Mode {
        self.open(0);
        self.ask(0, Access::Alone, Mode::Once);
        self.quiet(Duration::from_millis(50));
        self.read(0);
        let Some(Belief::Alone(lock_id)) = self.clients[0].beliefs.remove(&1) else { panic!("it is free") };
        Mode::Reattach(lock_id)
    }

    /// Lets the store carry out the first command of a broker, and answer it.
    fn works_for(&mut self, broker: usize) {
        let Some(at) = self.under.iter().position(|under| under.broker == broker) else { return };
        let mut under = self.under.remove(at);
        while under.reply.is_none() {
            self.store.carry(&mut under, self.outside.now);
        }
        self.brokers[broker].answered(under.id, under.reply.unwrap(), &mut self.outside);
        self.collect(broker);
    }

    /// Answers the one command that is under way: by a failure, after it was carried out or before.
    fn fails(&mut self, carried_out: bool) {
        assert_eq!(self.under.len(), 1);
        let mut under = self.under.remove(0);
        if carried_out {
            self.store.carry(&mut under, self.outside.now);
        }
        self.brokers[under.broker].answered(under.id, failed(&under.request), &mut self.outside);
        self.collect(under.broker);
    }
}

#[test]
fn nobody_is_kept_out_for_nobody() {
    for seed in 1..=60_u64 {
        for faults in [false, true] {
            let mut world = World::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), faults, (TTL, TTL));
            world.run(6_000);
            world.faults = false;
            world.let_all_go();
            for at in 0..world.clients.len() {
                if world.clients[at].open {
                    world.close(at, false);
                }
            }
            world.quiet(Duration::from_secs(3));
            world.nothing_is_left();
        }
    }
}

/// A look that is not answered was taken for one that shows another's lock.
#[test]
fn a_swap_whose_answer_was_lost_is_looked_for_until_the_store_says_what_became_of_it() {
    let mut world = World::new(1, false, (TTL, TTL));
    let reattach = world.alone();
    world.ask(0, SHARED, reattach);
    world.fails(true);
    world.pass(Duration::from_secs(1));
    while !matches!(world.under[0].request, Request::Look) {
        world.step_store();
    }
    world.fails(true);
    world.quiet(Duration::from_secs(1));
    world.read(0);
    let belief = world.clients[0].beliefs.get(&2);
    assert!(matches!(belief, Some(Belief::Shares(_))), "{belief:?}");
}

/// It was tried for the ttl of the permit, which may be much shorter than that of the item.
#[test]
fn the_item_of_a_lock_that_was_downgraded_is_deleted_for_as_long_as_it_may_stand() {
    let mut world = World::new(1, false, (Duration::from_secs(5), Duration::from_secs(60)));
    let reattach = world.alone();
    world.ask(0, SHARED, reattach);
    while !matches!(world.under[0].request, Request::Remove { .. }) {
        world.step_store();
    }
    // The store is away for a while, and then the client leaves.
    for _ in 0..10 {
        while !world.under.is_empty() {
            let under = world.under.remove(0);
            world.brokers[under.broker].answered(under.id, failed(&under.request), &mut world.outside);
            world.collect(under.broker);
        }
        world.pass(Duration::from_secs(1));
    }
    world.close(0, false);
    world.quiet(Duration::from_secs(3));
    let now = world.outside.now;
    assert_eq!(world.store.live(None, now), None, "nobody has it alone");
}

/// The item of a permit that somebody else is about to delete, since the lock was closed to him, was taken for one that somebody has. So one
/// who collected gave all back though enough were free.
#[test]
fn one_who_is_turned_away_is_not_in_the_way_of_one_who_collects() {
    let mut world = World::new(1, false, (TTL, TTL));
    world.open(0);
    world.open(1);
    world.ask(0, Access::Shared { limit: LIMIT, weight: LIMIT as u8 }, Mode::Once);
    world.works_for(0);
    // All are free, and the lock is closed to others.
    world.ask(1, SHARED, Mode::Once);
    let mut turned_away = world.under.pop().unwrap();
    world.store.carry(&mut turned_away, world.outside.now);
    (0..10).for_each(|_| world.works_for(0));
    world.under.push(turned_away);
    (0..2).for_each(|_| world.works_for(1));
    world.quiet(Duration::from_millis(100));
    world.read(0);
    let belief = world.clients[0].beliefs.get(&1);
    assert!(matches!(belief, Some(Belief::Shares(_))), "{belief:?}");
}
