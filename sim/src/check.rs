//! What must hold after every event.

use std::collections::{BTreeMap, BTreeSet};

use lockbroker_core::lock::GrantId;
use lockbroker_core::store::ItemState;

use crate::campaigns::Campaigns;
use crate::servers::Item;
use crate::time::{SEC, nanos};
use crate::words;
use crate::world::World;

/// Somebody who believes in a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believer {
    /// The number of the item: see `World::spot_of`.
    pub name: usize,
    pub client: usize,
    pub key: u64,
    pub id: u64,
    pub token: u64,
    pub linger: u64,
    pub min_hold: u64,
    /// Until when, by the true time.
    pub until: u64,
    /// True if it has had the lock alone, and believes in some permit from when it asked for that.
    pub downgrading: bool,
}

/// The end of the last belief in a name.
#[derive(Debug, Clone, Copy)]
struct Ended {
    at: u64,
    token: u64,
    linger: u64,
    /// The epoch in which the belief began.
    epoch: u64,
}

/// A name that has to stay closed to others.
#[derive(Debug, Clone, Copy)]
struct Closed {
    until: u64,
    /// The grant that closed it, and the epoch in which it was asked for.
    token: u64,
    epoch: u64,
}

/// What is known of all beliefs.
#[derive(Debug)]
pub struct Checker {
    pub violation: Option<String>,
    pub believers: Vec<Believer>,
    spare: Vec<Believer>,
    ended: Vec<Option<Ended>>,
    /// The names' last grants with a `min_hold`.
    closed: Vec<Option<Closed>>,
    tokens: Vec<u64>,
    /// The id of the grant that was last believed in.
    ids: Vec<u64>,
    epochs: Vec<u64>,
    /// Which id a reattach asks to replace, by the new one.
    pub lineage: BTreeMap<u64, u64>,
    /// When a name's lock was last reattached, or released by a call.
    pub moved: Vec<u64>,
    /// When a name's lock was revoked that was granted last.
    pub revoked: Vec<Option<u64>>,
    /// The grants that were made leases: their items are left to expire.
    pub leases: BTreeSet<u64>,
    /// The grants that were told to a client.
    pub told: BTreeSet<u64>,
    /// The grants of a lock whose client asked to share it.
    pub downgraded: BTreeSet<u64>,
    /// Which broker asked for an id, in which life, and when.
    pub askers: BTreeMap<u64, (usize, u32, u64)>,
    /// How many memories of its shard had been lost when an id was asked for.
    pub asked_after: BTreeMap<u64, u64>,
    /// When a name's item was last granted or removed.
    pub changed: Vec<u64>,
    /// The names that have been had since all faults ended.
    pub had: Vec<bool>,
    /// The items of the names on each server, as commands have left them.
    pub items: Vec<Vec<Option<Item>>>,
    pub campaigns: Campaigns,
}

impl Checker {
    /// Knows of so many names, and so many servers.
    pub fn new(names: usize, servers: usize) -> Checker {
        Checker {
            violation: None,
            believers: Vec::new(),
            spare: Vec::new(),
            ended: vec![None; names],
            closed: vec![None; names],
            tokens: vec![0; names],
            ids: vec![0; names],
            epochs: vec![0; names],
            lineage: BTreeMap::new(),
            leases: BTreeSet::new(),
            told: BTreeSet::new(),
            downgraded: BTreeSet::new(),
            askers: BTreeMap::new(),
            asked_after: BTreeMap::new(),
            moved: vec![0; names],
            revoked: vec![None; names],
            changed: vec![0; names],
            had: vec![false; names],
            items: vec![vec![None; names]; servers],
            campaigns: Campaigns::default(),
        }
    }

    /// Takes note of a violation. The first counts.
    pub fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Returns true if `id` took the place of `believed` by reattaches.
    fn descends(&self, id: u64, believed: u64) -> bool {
        let mut id = id;
        // Each new id is fresh, so this comes to an end.
        for _ in 0..=self.lineage.len() {
            if id == believed {
                return true;
            }
            match self.lineage.get(&id) {
                Some(from) => id = *from,
                None => return false,
            }
        }
        false
    }
}

impl World {
    /// Checks the beliefs of all clients.
    pub fn check_beliefs(&mut self) {
        let mut believers = std::mem::take(&mut self.check.spare);
        believers.clear();
        let mut above = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            for (key, lock) in &client.locks {
                if !client.alive || !lock.believed(client.clock.at(self.now)) {
                    continue;
                }
                let Some(id) = lock.id else { continue };
                if let (Some(permit), Some(limit)) = (id.permit, lock.limit)
                    && permit.get() >= limit
                {
                    above.push((number, permit.get(), limit));
                }
                believers.push(Believer {
                    name: self.spot_of(lock.name, id.permit),
                    client: number,
                    key: *key,
                    id: id.grant.get(),
                    token: id.token.get(),
                    linger: nanos(id.linger),
                    min_hold: nanos(lock.min_hold),
                    until: client.clock.when(lock.until),
                    downgrading: lock.downgrading,
                });
            }
        }
        for (client, permit, limit) in above {
            self.check.fail(format!("client {client} has permit {permit}, above its limit of {limit}"));
        }
        for before in std::mem::take(&mut self.check.believers) {
            if !believers.iter().any(|now| (now.client, now.key) == (before.client, before.key)) {
                self.belief_ended(&before);
            }
            self.check.spare.push(before);
        }
        let before = std::mem::take(&mut self.check.spare);
        for (at, believer) in believers.iter().enumerate() {
            let shares = |one: &Believer| one.downgrading || self.name_of(one.name) != one.name;
            let rivals = |other: &&Believer| {
                let apart = shares(believer) && shares(other) && believer.name != other.name;
                !apart && self.rivals(believer.name).any(|rival| rival == other.name)
            };
            if let Some(other) = believers[..at].iter().find(rivals) {
                let (a, b) = (other.client, believer.client);
                self.check.fail(format!("two believers of n{}: clients {a} and {b}", believer.name));
            }
            if !before.iter().any(|was| (was.client, was.key) == (believer.client, believer.key)) {
                self.belief_began(believer);
            }
            self.check_item(believer);
        }
        self.check.believers = believers;
        self.check.spare = before;
    }

    fn belief_ended(&mut self, believer: &Believer) {
        let Believer { name, token, .. } = *believer;
        // That of one who shares the lock from when it asked closes its permit alone, and which that is is not known.
        let linger = if self.check.downgraded.contains(&believer.id) { 0 } else { believer.linger };
        // A linger counts from the revocation, if there was one.
        let at =
            [Some(believer.until), Some(self.now), self.check.revoked[name]].into_iter().flatten().min().unwrap_or(0);
        // Nothing brings the linger of a lease back that went with the memory (docs/safety.md, 11).
        let is_lease = self.check.leases.contains(&believer.id) && self.losses(name) > 0;
        let epoch = if is_lease { u64::MAX } else { self.check.epochs[name] };
        self.check.ended[name] = Some(Ended { at, token, linger, epoch });
        self.note("believes no more", [name as u64, believer.client as u64, token]);
    }

    fn belief_began(&mut self, believer: &Believer) {
        let Believer { name, client, token, id, .. } = *believer;
        self.note("believes", [name as u64, client as u64, token]);
        let epoch = self.losses(name);
        if self.calm {
            self.check.had[name] = true;
        }
        for rival in self.rivals(name) {
            // The same grant goes on, perhaps as a permit of the lock.
            self.check.ended[rival].take_if(|ended| ended.token == token);
            let Some(ended) = self.check.ended[rival] else { continue };
            let moved_on = token == self.check.tokens[rival] && self.check.descends(id, self.check.ids[rival]);
            if token <= self.check.tokens[rival] && !moved_on {
                let last = self.check.tokens[rival];
                self.check.fail(format!("token {token} of n{name} is not above {last}, of n{rival}"));
            }
            // Clocks differ by 200 ppm.
            let linger = ended.linger - ended.linger / 5_000;
            if self.now < ended.at + linger && epoch == ended.epoch {
                let (left, client) = (ended.at + linger - self.now, believer.client);
                self.check.fail(format!("the linger of n{name} is cut by {left} ns for client {client}"));
            }
        }
        self.check_min_hold(believer, epoch);
        if self.check.tokens[name] != token {
            // A memory that was lost before the client had its answer may have had the item.
            self.check.epochs[name] = self.check.asked_after.get(&id).copied().unwrap_or(epoch);
            self.check.revoked[name] = None;
        }
        self.check.tokens[name] = self.check.tokens[name].max(token);
        self.check.ids[name] = id;
    }

    /// Checks that nobody has a name within the `min_hold` of the grant before. That counts from when the broker asked for it.
    fn check_min_hold(&mut self, believer: &Believer, epoch: u64) {
        let Believer { name, client, token, id, min_hold, .. } = *believer;
        for rival in self.rivals(name) {
            if let Some(closed) = self.check.closed[rival]
                && closed.token != token
                && self.now < closed.until
                && epoch == closed.epoch
            {
                let left = closed.until - self.now;
                self.check.fail(format!("the min_hold of n{rival} is cut by {left} ns for client {client}"));
            }
        }
        if self.check.tokens[name] != token
            && let Some((_, _, asked)) = self.check.askers.get(&id)
            && let Some(&epoch) = self.check.asked_after.get(&id)
        {
            // Clocks differ by 200 ppm.
            let until = asked + min_hold - min_hold / 5_000;
            self.check.closed[name] = Some(Closed { until, token, epoch });
        }
    }

    /// Checks that a believer's item stands under its id, unless the shard is closed.
    fn check_item(&mut self, believer: &Believer) {
        let home = self.shard_of(believer.name);
        if believer.downgrading || !self.keeps_openly(home, believer.name) {
            return;
        }
        let state = self.item_state(believer.name);
        let stands = match state {
            Some(ItemState::Held(id)) => self.check.descends(GrantId::get(id), believer.id),
            // It is closed for all others until this one believes no more.
            Some(ItemState::Lingering(id)) => id.is_revocation(),
            None => false,
        };
        let Believer { client, name, .. } = *believer;
        let sure = self.check.items[home][name].map_or(0, |item| item.sure());
        if stands && sure < believer.until {
            let short = (believer.until - sure) as f64 / SEC as f64;
            self.check.fail(format!(
                "client {client} believes in n{name} for {short} s longer than its item is sure to live"
            ));
        } else if !stands {
            let item = state.map(words::state);
            let left = (believer.until - self.now.min(believer.until)) as f64 / SEC as f64;
            self.check.fail(format!(
                "client {client} believes in n{name} as {} for {left} s more, and its item is {item:?}",
                words::number(believer.id)
            ));
        }
    }

    /// Checks that a grant lingers only if its client can know of it. Ids of reattaches come from clients. One that was lost
    /// before its client has read of it, as when its broker stood still, lingers too.
    pub fn check_linger(&mut self, name: usize, from: GrantId) {
        let id = from.get();
        let asked = self.check.askers.get(&id).map_or(0, |(_, _, asked)| *asked);
        if asked + SEC / 4 < self.now || self.options.dawdle > 20_000 {
            return;
        }
        let moved = self.check.lineage.contains_key(&id) || self.check.lineage.values().any(|old| *old == id);
        if !moved && !self.check.told.contains(&id) {
            self.check.fail(format!("n{name} lingers, and nobody was told that it was granted"));
        }
    }

    /// Checks that no item of a broker that is well was left to expire, but for those of reattaches.
    pub fn check_expired(&mut self, name: usize, item: &Item) {
        let ItemState::Held(id) = item.state else { return };
        if self.check.leases.contains(&id.get()) {
            return;
        }
        let Some((broker, life, _)) = self.check.askers.get(&id.get()).copied() else { return };
        let shard = self.shard_of(name);
        let well = self.is_well(shard, 4 * SEC) && self.broker_trouble(broker) + 4 * SEC < self.now;
        let alive = self.brokers[broker].life == life;
        let few = self.options.settings.max_locks.get() < 100;
        if item.whole && well && alive && !few && self.options.dawdle == 0 {
            let id = words::number(id.get());
            self.check.fail(format!("broker {broker} left the item of n{name} to expire, held as {id}"));
        }
    }

    /// Checks that nobody waits but those who ask since all faults ended, once the others have left.
    pub fn check_waiters(&mut self) {
        let wanting = self.check.had.iter().filter(|had| !**had).count();
        let waiting: usize = self.brokers.iter().filter_map(|node| Some(node.core.as_ref()?.counts().waiting)).sum();
        if waiting > wanting {
            self.check.fail(format!("{waiting} wait, and only {wanting} names are asked for"));
        }
    }

    /// Checks that a broker holds no more than its limits allow.
    pub fn check_bounds(&mut self, broker: usize) {
        let Some(core) = &self.brokers[broker].core else { return };
        let (counts, settings) = (core.counts(), self.options.settings);
        let (locks, waits) = (settings.max_locks.get(), settings.max_waiters.get());
        // A hand-over, a clean-up of a waiter's grant and a linger in mid-reattach take room whatever the limit.
        if counts.locks > 2 * locks + waits + 8 || counts.waits > waits {
            self.check.fail(format!("broker {broker} holds more than it may: {counts:?}"));
        }
        if counts.unread > 8_192 {
            self.check.fail(format!("broker {broker} has {} unread events", counts.unread));
        }
    }
}
