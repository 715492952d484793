//! Follows a change of the servers while the broker runs (R21 to R27): hears of the next topology, meets its servers, and asks for each
//! name where it lives now.
//!
//! ```text
//! present ── a server announces the next one ──► announced ── a present server was flipped ──► begun
//!    ▲                                                                                          │
//!    └──────────────── a server is open by the next topology: it is the present one ◄───────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::epoch::{Announced, EpochState, Phase};
use super::job::{self, Job, Op};
use super::placement::Placement;
use super::proof::{Beginning, Probe, Words};
use super::server::Shard;
use super::state_item::{Epoch, FINGERPRINTS, Generation, Made, Stamp};
use super::{ChangeNews, Env, Output, Shards, Topology, Turn};
use crate::Time;
use crate::failure::Cause;
use crate::lock::LockName;
use crate::rules::Rule;
use crate::store::{Request, StoreError};

/// The interval at which a server is asked for the next topology in words.
const WORDS: Duration = Duration::from_secs(1);
/// The time for which a server that is said to be dead has not been reached.
const SILENT: Duration = Duration::from_secs(5);

/// The time that the operator's command has for flipping all servers, once it has begun.
const COMPLETED: Duration = Duration::from_secs(1);

/// Returns the number by which a broker says that it can follow to a topology, and knows that these servers are dead.
pub fn readiness(fingerprint: u64, dead: &[Arc<str>]) -> u64 {
    let mut dead = dead.to_vec();
    dead.sort_unstable();
    match dead.is_empty() {
        true => fingerprint,
        false => fingerprint + FINGERPRINTS * (1 + xxh3_64(dead.join(",").as_bytes()) % FINGERPRINTS),
    }
}

/// A topology, and where its names live.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) topology: Arc<Topology>,
    pub(super) fingerprint: u64,
    placement: Placement,
    /// The index of each of its servers among the shards, in its own order.
    members: Vec<usize>,
}

impl Plan {
    pub(super) fn new(topology: Topology, members: Vec<usize>) -> Plan {
        debug_assert_eq!(topology.members.len(), members.len(), "a shard for each server");
        let (fingerprint, placement) = (topology.fingerprint(), Placement::new(&topology.members));
        Plan { topology: Arc::new(topology), fingerprint, placement, members }
    }

    fn home(&self, name: &LockName) -> usize {
        self.members[self.placement.shard_of(name)]
    }

    fn has(&self, shard: usize) -> bool {
        self.members.contains(&shard)
    }
}

/// The next topology.
#[derive(Debug, Clone)]
struct Change {
    to: Announced,
    /// None until it was read in words.
    plan: Option<Plan>,
    /// When a present server was seen flipped for the first time.
    begun_at: Option<Time>,
    /// The moment at which no lock is held any more whose ttl is longer than the next topology has it (R26).
    long_until: Time,
    /// The servers of the present topology that are dead (R27).
    dead: Vec<usize>,
    /// True if another change was announced before: then nobody knows where the names of flipped servers live, until it is through.
    is_muddled: bool,
}

/// The topologies, and by which each name is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    pub(super) present: Plan,
    change: Option<Change>,
    /// The topology that each shard has shown, or is to show.
    shown: Vec<u64>,
    /// The highest generation of the present topology in which a server was seen open.
    in_force: Option<Generation>,
    /// The highest generation in which a change has made the S of a server.
    made: Option<Generation>,
}

impl Routes {
    pub(super) fn new(present: Plan) -> Routes {
        let shown = vec![present.fingerprint; present.members.len()];
        Routes { present, change: None, shown, in_force: None, made: None }
    }

    /// Returns the shard that keeps a name now. None while that cannot be said. A name is kept by the present topology until its
    /// server was seen flipped (R24).
    pub(super) fn home(&self, name: &LockName) -> Option<usize> {
        let old = self.present.home(name);
        let Some(change) = &self.change else { return Some(old) };
        if self.shown[old] == self.present.fingerprint {
            return Some(old);
        }
        let plan = change.plan.as_ref().filter(|_| !change.is_muddled && self.shown[old] == change.to.fingerprint)?;
        Some(plan.home(name)).filter(|new| self.shown[*new] == plan.fingerprint)
    }

    /// Returns the shard that keeps a name, or the one that did before.
    pub(super) fn home_or_before(&self, name: &LockName) -> usize {
        self.home(name).unwrap_or_else(|| self.present.home(name))
    }

    /// Returns the shard that kept a name until its server was seen flipped. None if that has not come, or the name stays there.
    pub(super) fn home_before(&self, name: &LockName) -> Option<usize> {
        let (now, before) = (self.home(name)?, self.present.home(name));
        (now != before).then_some(before)
    }

    /// Returns true if names may live elsewhere than by the present topology.
    pub(super) fn is_changing(&self) -> bool {
        self.change.is_some()
    }

    /// Returns the next topology, once it is known.
    fn next(&self) -> Option<&Plan> {
        self.change.as_ref()?.plan.as_ref()
    }

    /// Returns true if what a change has made in this generation is not known to be through.
    pub(super) fn awaits(&self, generation: Generation) -> bool {
        self.change.is_some() || self.in_force < Some(generation)
    }

    /// Returns the longest ttl of the next topology, if that is shorter.
    fn lowered(&self) -> Option<Duration> {
        self.next().map(|next| next.topology.max_ttl).filter(|next| *next < self.max_ttl())
    }

    /// Returns the longest ttl of the present topology.
    pub(super) fn max_ttl(&self) -> Duration {
        self.present.topology.max_ttl
    }

    /// Returns true if a memory shows the present topology.
    pub(super) fn is_by_present(&self, state: &EpochState) -> bool {
        state.ours() == self.present.fingerprint
    }

    /// Returns true if the shard is of the present topology.
    pub(super) fn is_present(&self, shard: usize) -> bool {
        self.present.has(shard)
    }
}

impl<E: Env> Turn<'_, E> {
    /// Returns the S with which an epoch begins here, if one may. Once the change has begun it is by the next topology (R23).
    pub(super) fn beginning(&mut self) -> Option<Beginning> {
        let shard = self.shard.index;
        let routes = &self.common.routes;
        let (generation, fingerprint, made) = match &routes.change {
            Some(Change { to, begun_at: Some(_), .. }) => (to.generation, to.fingerprint, Made::ByChange),
            _ if routes.is_present(shard) && self.common.health.may_begin(shard) => {
                // Nobody opens by himself what a change has made, and lost before it was through (R25).
                let made = if routes.in_force < routes.made { Made::ByChange } else { Made::InForce };
                (self.common.health.generation(), routes.present.fingerprint, made)
            }
            _ => return None,
        };
        let epoch = Epoch::from_random(if self.env.breaks(Rule::FreshEpoch) { 0 } else { self.env.random() });
        Some(Beginning { stamp: Stamp { epoch, generation }, fingerprint, made })
    }

    /// Returns the flip that completes a change here which has begun elsewhere, if the operator's command has not come to it. N was read
    /// here under the stamp that the flip compares (R22). A name that moves from a server that is flipped to one that is not has no
    /// place meanwhile.
    pub(super) fn completion(&mut self) -> Option<Probe> {
        let routes = &self.common.routes;
        let change = routes.change.as_ref().filter(|change| change.plan.is_some() && !change.is_muddled)?;
        let is_due = change.begun_at.is_some_and(|at| self.now >= at + COMPLETED);
        let (from, noted) = self.shard.state.noted()?;
        if !is_due
            || noted != change.to
            || !routes.is_present(self.shard.index)
            || !routes.is_by_present(&self.shard.state)
        {
            return None;
        }
        let to = Stamp { epoch: Epoch::from_random(self.env.random()), generation: noted.generation };
        Some(Probe::Flip { from, to, token: self.shard.state.highest_token() })
    }

    /// Returns true if this broker may open the shard's epoch once it has been closed for long enough (R23, R25).
    pub(super) fn may_open(&self) -> bool {
        let routes = &self.common.routes;
        match self.shard.state.phase() {
            Phase::Closed { .. } if routes.is_changing() => false,
            Phase::Closed { .. } if self.awaits_a_change() => false,
            Phase::Closed { since, .. } => self.common.has_evidence(self.shard.index, since),
            _ => false,
        }
    }

    /// Goes on with what a job takes next. Before an item is created again that is missing at its new place, the place before is
    /// looked at: the lock may have got another id there, from a broker that has not created it at the new place yet (R24).
    pub(super) fn go_on(&mut self, job: Job, op: Op) {
        let name = &job.item.name;
        let is_new_place = matches!(op, Op::Reassert { .. } | Op::Cover { .. });
        match (&job.op, self.common.routes.home_before(name)) {
            (Op::Replace { from, to, ttl, .. }, Some(before)) if is_new_place => {
                let op = Op::LookBack { from: *from, to: *to, ttl: *ttl };
                self.common.crossing.push((before, Job { op, ..job }));
            }
            (Op::LookBack { .. }, _) => {
                let home = self.common.routes.home_or_before(name);
                self.common.crossing.push((home, Job { op, ..job }));
            }
            _ => self.take(Job { op, ..job }),
        }
    }

    /// Returns true if the shard is closed for a change that is not through.
    pub(super) fn awaits_a_change(&self) -> bool {
        let routes = &self.common.routes;
        routes.is_changing() || self.shard.state.change().is_some_and(|generation| routes.awaits(generation))
    }
}

impl super::Common {
    /// Returns true if nothing speaks of another topology: since then another present server was open and told of none, or
    /// all others have told of none.
    fn has_evidence(&self, shard: usize, since: Time) -> bool {
        let others = self.routes.present.members.iter().filter(|other| **other != shard);
        let is_clean = |other: &&usize| self.clean[**other].is_some_and(|(at, _)| at >= since);
        let is_open = |other: &usize| self.clean[*other].is_some_and(|(_, is_open)| is_open);
        others.clone().filter(is_clean).any(is_open) || others.clone().all(|other| is_clean(&other))
    }
}

impl Shards {
    /// Takes note of what a look at a shard has found of a change of the servers.
    pub(super) fn follow(&mut self, shard: usize, env: &mut impl Env) {
        let Some(looked) = self.shards.get_mut(shard) else { return };
        self.common.clean[shard] = looked.state.clean_at.map(|at| (at, looked.is_open()));
        let words = looked.words.take();
        let announced = looked.state.announced();
        if let Some(to) = announced {
            self.complete_before(shard, to, env);
            self.hear(to);
        }
        if let Some(words) = words {
            self.learn(words, env);
        }
        self.ask_for_words(shard, env.now());
        self.sort_out(env);
    }

    /// Moves on to a topology that is in force by now, before the one after it is heard of: nobody announces that on a server of a
    /// change that is not through. One who was away meanwhile sees both at once.
    fn complete_before(&mut self, shard: usize, to: Announced, env: &mut impl Env) {
        let Some(Change { to: before, plan: Some(_), .. }) = &self.common.routes.change else { return };
        let state = &self.shards[shard].state;
        let shows = state.ours() == before.fingerprint
            && state.stamp().is_some_and(|stamp| stamp.generation >= before.generation);
        let is_next = to.generation > before.generation && to.fingerprint != before.fingerprint;
        if shows && is_next {
            self.move_on(env);
            self.sort_jobs_anew(env);
        }
    }

    /// Takes note of a change that was announced.
    fn hear(&mut self, to: Announced) {
        let routes = &mut self.common.routes;
        let is_past = to.fingerprint == routes.present.fingerprint || to.generation < self.common.health.generation();
        let before = routes.change.as_ref();
        let known = before.map(|change| change.to);
        if is_past || known.is_some_and(|known| known >= to) {
            return;
        }
        let is_muddled = before.is_some_and(|change| change.begun_at.is_some());
        // On servers of several generations the same change is noted for each.
        if let Some(change) = routes.change.as_mut().filter(|change| change.to.fingerprint == to.fingerprint) {
            change.to.generation = to.generation;
            return;
        }
        let (dead, long_until) = (Vec::new(), Time::NEVER);
        routes.change = Some(Change { to, plan: None, begun_at: None, long_until, dead, is_muddled });
    }

    /// Asks a server that tells of a change for its topology in words, if nobody has told yet.
    fn ask_for_words(&mut self, shard: usize, now: Time) {
        let Some(Change { to, .. }) = &self.common.routes.change else { return };
        let shard = &mut self.shards[shard];
        // It is looked at in between. Which servers are dead may be said later.
        let tells = shard.state.announced().is_some_and(|announced| announced.fingerprint == to.fingerprint);
        if tells && now >= shard.next_words {
            (shard.asks_for_words, shard.next_words) = (Some(*to), now + WORDS);
            shard.next_check = now;
        }
    }

    /// Returns why a lock may not be kept for so long, if it may not (R26). Where `--max-ttl` is to be lowered, what is held for longer
    /// stays so until the servers change.
    pub(super) fn too_long(&mut self, request: &Request, lease: Duration, now: Time) -> Option<StoreError> {
        let routes = &mut self.common.routes;
        let (present, lowered) = (routes.max_ttl(), routes.lowered());
        let change = routes.change.as_mut();
        let keeps = matches!(request, Request::Renew { .. } | Request::Replace { .. });
        let may_stay = keeps && change.as_ref().is_some_and(|change| change.begun_at.is_none());
        let limit = lowered.filter(|_| !may_stay).unwrap_or(present);
        if lease > limit {
            let why = format!(
                "the longest ttl is {limit:?} since --max-ttl was lowered, or is about to be: ask for a shorter one, and start the \
                 broker with the flags that its log names"
            );
            return Some(StoreError::unavailable(why, None).because(Cause::StoreRefused));
        }
        if let (Some(lowered), Some(change)) = (lowered, change)
            && lease > lowered
        {
            change.long_until = change.long_until.max(now + lease);
        }
        None
    }

    /// Takes the next topology, and meets those of its servers that are new.
    fn learn(&mut self, Words { topology, dead }: Words, env: &mut impl Env) {
        let Some(Change { to, plan, .. }) = &self.common.routes.change else { return };
        let (to, is_known) = (*to, plan.is_some());
        if topology.fingerprint() != to.fingerprint {
            return;
        }
        if let Some(dead) = dead {
            self.mourn(&dead);
        }
        if is_known {
            return;
        }
        let members: Vec<usize> =
            topology.members.iter().map(|member| self.shard_at(&member.address, to.fingerprint, env)).collect();
        let plan = Plan::new(topology, members);
        let news = ChangeNews::Announced { generation: to.generation, topology: Arc::clone(&plan.topology) };
        for shard in &mut self.shards {
            if plan.has(shard.index) || self.common.routes.is_present(shard.index) {
                shard.state.expect(to);
                shard.next_check = env.now();
            }
            shard.asks_for_words = None;
        }
        let max_ttl = self.common.routes.max_ttl();
        if let Some(change) = &mut self.common.routes.change {
            // Each that is held is renewed until then.
            (change.plan, change.long_until) = (Some(plan), env.now() + max_ttl);
        }
        self.common.outputs.push_back(Output::Change(news));
    }

    /// Takes note of the servers of the present topology that are said to be dead.
    fn mourn(&mut self, dead: &[Arc<str>]) {
        let present = &self.common.routes.present.members;
        let is_dead = |shard: &&usize| dead.contains(&self.shards[**shard].address);
        let dead: Vec<usize> = present.iter().filter(is_dead).copied().collect();
        if let Some(change) = &mut self.common.routes.change {
            change.dead = dead;
        }
    }

    /// Returns the index of the shard with this address. One that is new, or was not used any more, is made anew.
    fn shard_at(&mut self, address: &Arc<str>, fingerprint: u64, env: &mut impl Env) -> usize {
        let found = self.shards.iter().position(|shard| shard.address == *address);
        if let Some(index) = found.filter(|index| !self.shards[*index].is_retired) {
            return index;
        }
        let index = found.unwrap_or(self.shards.len());
        if let Some(mut turn) = found.and_then(|gone| self.turn(gone, env)) {
            turn.forget_under_way();
        }
        let note = self.common.settings.note.clone();
        let shard = Shard::new(index, Arc::clone(address), fingerprint, note, env.now(), env);
        match found {
            Some(_) => self.shards[index] = shard,
            None => {
                self.shards.push(shard);
                self.common.routes.shown.push(fingerprint);
                self.common.clean.push(None);
                self.common.health.grow();
            }
        }
        self.common.outputs.push_back(Output::Meet { shard: index, address: Arc::clone(address) });
        index
    }

    /// Looks by which topology each server is now, and moves on if the next one is in force.
    fn sort_out(&mut self, env: &mut impl Env) {
        let silent = self.silent(env.now());
        let routes = &mut self.common.routes;
        let before = (routes.shown.clone(), routes.change.is_some());
        for shard in &self.shards {
            routes.shown[shard.index] = shard.state.ours();
        }
        let present = routes.present.fingerprint;
        let open = self.shards.iter().filter(|shard| shard.is_open() && shard.state.ours() == present);
        let generations = open.filter_map(|shard| shard.state.stamp()).map(|stamp| stamp.generation);
        routes.in_force = routes.in_force.max(generations.max());
        routes.made = routes.made.max(self.shards.iter().filter_map(|shard| shard.state.change()).max());
        if let Some(change) = &mut routes.change {
            let is_flipped = |shard: &usize| routes.shown[*shard] == change.to.fingerprint;
            if change.begun_at.is_none() && routes.present.members.iter().any(is_flipped) {
                change.begun_at = Some(env.now());
            }
            // A dead one is taken as flipped from then on, and is asked nothing more.
            let is_begun = change.begun_at.is_some() && change.plan.is_some();
            for dead in change.dead.iter().filter(|dead| is_begun && silent[**dead]) {
                routes.shown[*dead] = change.to.fingerprint;
            }
        }
        let is_open = |shard: &usize| {
            let state = &self.shards[*shard].state;
            let is_made = |change: &Change| state.stamp().is_some_and(|stamp| stamp.generation >= change.to.generation);
            let change = self.common.routes.change.as_ref();
            state.is_open() && change.is_some_and(|change| state.ours() == change.to.fingerprint && is_made(change))
        };
        if self.common.routes.next().is_some_and(|next| next.members.iter().any(is_open)) {
            self.move_on(env);
        }
        self.note_readiness(env);
        if let Some(Change { begun_at: Some(_), plan: Some(_), dead, .. }) = &self.common.routes.change {
            for dead in dead.clone().into_iter().filter(|dead| silent[*dead]) {
                if let Some(mut turn) = self.turn(dead, env).filter(|turn| !turn.shard.is_retired) {
                    turn.retire();
                }
            }
        }
        if before != (self.common.routes.shown.clone(), self.common.routes.change.is_some()) {
            self.sort_jobs_anew(env);
        }
    }

    /// Brings jobs to the shards at which they go on.
    pub(super) fn cross(&mut self, env: &mut impl Env) {
        for (shard, job) in std::mem::take(&mut self.common.crossing) {
            let Some(mut turn) = self.turn(shard, env) else { continue };
            match job.op {
                // A server that does not answer says nothing of the lock, as one that has lost its memory.
                Op::LookBack { to, ttl, .. } if !turn.shard.serves() || turn.shard.is_retired => {
                    let (op, home) =
                        (job::recreate(&job.item, to, ttl), turn.common.routes.home_or_before(&job.item.name));
                    if let Some(mut turn) = self.turn(home, env) {
                        turn.take(Job { op, ..job });
                    }
                }
                _ => turn.take(job),
            }
        }
    }

    /// Looks anew at all that waits, on every shard.
    fn sort_jobs_anew(&mut self, env: &mut impl Env) {
        let mut moved = Vec::new();
        for shard in 0..self.shards.len() {
            let Some(mut turn) = self.turn(shard, env) else { continue };
            moved.extend(turn.sort_all_anew());
        }
        for job in moved {
            let home = self.shard_of(&job.item.name);
            let Some(mut turn) = self.turn(home, env) else { continue };
            turn.take(job);
        }
    }

    /// Returns for each shard if it has not been heard for as long as one has to be that is dead.
    fn silent(&self, now: Time) -> Vec<bool> {
        let is_silent = |shard: &Shard| shard.heard_at.is_none_or(|heard| now >= heard + SILENT);
        self.shards.iter().map(is_silent).collect()
    }

    /// Drops the present topology for the next one, which is in force.
    fn move_on(&mut self, env: &mut impl Env) {
        let Some(Change { to, plan: Some(plan), .. }) = self.common.routes.change.take() else { return };
        let news = ChangeNews::InForce { generation: to.generation, topology: Arc::clone(&plan.topology) };
        self.common.health.generation_seen(to.generation);
        let routes = &mut self.common.routes;
        (routes.present, routes.in_force) = (plan, Some(to.generation));
        let now = env.now();
        for index in 0..self.shards.len() {
            let is_used = self.common.routes.present.has(index);
            let Some(mut turn) = self.turn(index, env) else { continue };
            match is_used {
                true => turn.shard.state.belongs_to(to.fingerprint, now),
                false => turn.retire(),
            }
            turn.shard.next_check = now;
            let shown = turn.shard.state.ours();
            self.common.routes.shown[index] = shown;
        }
        self.common.outputs.push_back(Output::Change(news));
    }

    /// Says in the broker's notes whether it can follow the change that is announced: it has met all servers that are to come, and none
    /// that is said to be dead, and keeps no lock for too long.
    fn note_readiness(&mut self, env: &mut impl Env) {
        let next = self.common.routes.next();
        let former = Phase::Foreign { fingerprint: self.common.routes.present.fingerprint };
        let is_ready = |shard: &usize| {
            let shard = &self.shards[*shard];
            // One that was flipped, and was set up by the present list after a loss, is flipped again.
            let is_met = shard.state.stamp().is_some() || shard.state.phase() == former;
            shard.is_up() && is_met && shard.clock.runs()
        };
        let now = env.now();
        let silent = self.silent(now);
        let dead = self.common.routes.change.as_ref().map_or(&[][..], |change| &change.dead);
        let change = self.common.routes.change.as_ref();
        let is_short = self.common.routes.lowered().is_none() || change.is_some_and(|change| now >= change.long_until);
        let are_met = next.filter(|next| next.members.iter().all(is_ready) && dead.iter().all(|dead| silent[*dead]));
        let are_met = are_met.filter(|_| is_short);
        let ready = are_met.map(|next| {
            let dead: Vec<_> = dead.iter().map(|dead| Arc::clone(&self.shards[*dead].address)).collect();
            readiness(next.fingerprint, &dead)
        });
        // Who has no change before it stays with what it has, which may be the list that is to come.
        let present = Some(self.common.routes.present.fingerprint).filter(|_| !self.common.routes.is_changing());
        let ready = ready.or(present);
        for shard in &mut self.shards {
            // The answer to a note that is under way is about that one.
            if let Some(presence) = shard.presence.as_mut().filter(|_| !shard.noting)
                && presence.follows(ready, env)
            {
                shard.next_note = now;
            }
        }
    }

    /// Returns the generation that is in force. None until a server was seen open.
    pub fn generation(&self) -> Option<Generation> {
        self.common.routes.in_force
    }

    /// Returns true while the servers change.
    pub fn is_changing(&self) -> bool {
        self.common.routes.is_changing()
    }
}
