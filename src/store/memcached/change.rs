//! Changes the list of servers while brokers run, for `lockbroker shard adopt` (R21 to R27). It keeps nothing in mind: each round looks at
//! every server anew, and does what the change takes next. So it can be stopped and run again at any point.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use lockbroker_core::shard::state_item::{Epoch, Generation, Made, Stamp, StateItem, Witness};
use lockbroker_core::shard::{Topology, first_token, protocol, readiness};
use rand::RngExt;
use tokio::time::sleep;

use super::copy::{self, Copied};
use super::outside::wall_micros;
use super::presence::{self, SeenBroker};
use super::survey::{Reached, Survey, exchange, reach_one, survey};
use super::wire::Wire;
use super::{MemcachedSettings, ShardAddress};
use crate::clock::Moment;
use crate::lock::FencingToken;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(250);
/// The time after which a change that gets no further is given up; it can be run again.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most generations by which a server may lie behind others.
const MOST_GENERATIONS: u32 = 64;
/// The age in seconds that the note of a broker that runs does not reach.
const RENEWED: u32 = 7;
/// The time for which the list in force may not be noted yet: a broker that has just started does so.
const NOTED_SOON: Duration = Duration::from_secs(10);
/// The time for which a server that is said to be dead must not have answered.
const SILENT: Duration = Duration::from_secs(5);
/// The interval at which the time until the servers grant locks is told.
const TOLD: Duration = Duration::from_secs(5);
/// The pause before what stood in the way of a copy may be gone.
const COPIED_AGAIN: Duration = Duration::from_secs(1);

/// A step of a change, for the person who watches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many of all servers have been prepared.
    Prepared(usize, usize),
    /// So many of all brokers can follow.
    Ready(usize, usize),
    /// So many of the servers that are in force have been flipped.
    Flipped(usize, usize),
    /// So many locks and permits have been copied to the server that keeps them from now on; so many of them linger.
    Copied(u64, u64),
    /// The servers grant locks in this time.
    Opens(Duration),
}

/// The servers of a change.
struct Servers {
    from: Topology,
    to: Topology,
    /// The generation that is to come.
    generation: Generation,
    /// All of them that live: those of the present topology first.
    all: Vec<Server>,
    /// Those of the present topology that are dead.
    dead: Vec<Arc<str>>,
}

/// A server, as far as this run has come with it.
struct Server {
    shard: ShardAddress,
    /// True if it is of the present topology.
    is_present: bool,
    /// True if it is of the next one.
    is_next: bool,
    /// The stamp under which it has shown the note of the change.
    prepared: Option<Stamp>,
    /// The stamp under which it was seen in the next topology.
    seen: Option<Stamp>,
    /// The highest token of its epoch before.
    token: Option<FencingToken>,
}

/// Changes the servers from those that are in force to those of the settings, and tells of each step. Returns the generation that is in
/// force then; none if they were in force before. `from` is a server that is in force, if none of the settings is. `dead` are servers in
/// force that are gone for good: nothing answers there any more, neither here nor to a broker (R27).
///
/// # Errors
/// Says why the change cannot be begun, or has got no further for a minute, and what to do. What was done stays: run it again.
///
/// # Cancel safety
/// What was done stays, and no lock is lost: run it again.
pub async fn change(
    settings: &MemcachedSettings,
    from: Option<&ShardAddress>,
    dead: &[ShardAddress],
    mut tell: impl FnMut(Progress),
) -> Result<Option<Generation>, String> {
    let wire = &Wire::new(&settings.key_prefix);
    let Some(servers) = find_in_time(settings, from, dead, wire).await? else { return Ok(None) };
    let begun = Moment::now();
    let mut run = Run { settings, wire, servers, begun, since: begun, copied: None, is_ready: false, opens: false };
    run.check_dead().await.map_err(Trouble::into_text)?;
    run.check_new_servers().await?;
    run.note_dead().await?;
    let (mut told, mut moved_at) = (Vec::new(), Moment::now());
    loop {
        let step = run.round().await;
        let (progress, why) = match step {
            Ok(Step::Through) => return Ok(Some(run.servers.generation)),
            Ok(Step::On(progress)) => {
                moved_at = Moment::now();
                (progress, None)
            }
            Ok(Step::Waits(progress, why)) => {
                moved_at = if why.is_none() { Moment::now() } else { moved_at };
                (progress, why)
            }
            Err(Trouble::Passing(why)) => (Vec::new(), Some(why)),
            Err(Trouble::Final(why)) => return Err(why),
        };
        for step in progress {
            if !told.contains(&step) {
                tell(step);
                (told, moved_at) = (told.into_iter().chain([step]).collect(), Moment::now());
            }
        }
        if let Some(why) = why.filter(|_| Moment::now().since(moved_at) > run.patience()) {
            return Err(format!("{why}. Nothing is lost: run the same command again"));
        }
        sleep(PAUSE).await;
    }
}

/// The outcome of a round.
enum Step {
    /// It has done something.
    On(Vec<Progress>),
    /// It waits, for this if it is somebody else's doing.
    Waits(Vec<Progress>, Option<String>),
    /// The change is through.
    Through,
}

/// The reason for which a round did not come to its end.
enum Trouble {
    /// It may go away.
    Passing(String),
    Final(String),
}

impl Trouble {
    fn into_text(self) -> String {
        match self {
            Trouble::Passing(why) | Trouble::Final(why) => why,
        }
    }
}

struct Run<'a> {
    settings: &'a MemcachedSettings,
    wire: &'a Wire,
    servers: Servers,
    /// When this run has begun.
    begun: Moment,
    /// When the last server was seen in the next topology for the first time.
    since: Moment,
    /// What was copied since, and when that began.
    copied: Option<(Copied, Moment)>,
    /// True once every broker could follow.
    is_ready: bool,
    /// True once a server of the next topology may have been opened.
    opens: bool,
}

impl Run<'_> {
    /// Returns how long a change may get no further. To lower `--max-ttl` brokers wait for as long as a lock may be held (R26).
    fn patience(&self) -> Duration {
        PATIENCE + if self.servers.lowers() { self.servers.from.max_ttl } else { Duration::ZERO }
    }

    /// Refuses servers that are said to be dead, and answer. It is called in each round: none may until the servers are open (R27).
    async fn check_dead(&self) -> Result<(), Trouble> {
        for address in &self.servers.dead {
            let shard: ShardAddress = address.parse().map_err(|error| Trouble::Final(format!("{address}: {error}")))?;
            if super::server::dial(&shard, None).await.is_ok() {
                return Err(Trouble::Final(format!(
                    "{address} answers, so it is not dead: power it off or delete its pod first. A broker that still reaches it \
                     would grant its locks a second time"
                )));
            }
        }
        Ok(())
    }

    /// Notes which servers are dead, everywhere: one may have died in the midst of the change.
    async fn note_dead(&self) -> Result<(), String> {
        for server in self.servers.all.iter().filter(|_| !self.servers.dead.is_empty()) {
            let named = |why: String| format!("{}: {why}", server.shard);
            let reached = reach_one(&server.shard, self.settings.allow_unsafe, self.wire).await;
            let mut reached = reached.map_err(|unread| named(unread.to_string()))?;
            let note = vec![protocol::note_dead(self.servers.generation, &self.servers.dead)];
            exchange(&mut reached.connection, self.wire, note).await.map_err(named)?;
        }
        Ok(())
    }

    /// Refuses new servers that others use.
    async fn check_new_servers(&self) -> Result<(), String> {
        let new: Vec<_> = self.servers.all.iter().filter(|server| !server.is_present).collect();
        let shards: Vec<_> = new.iter().map(|server| server.shard.clone()).collect();
        let known = self.servers.from.fingerprint();
        // Those that had it in their list a moment ago.
        let (_, ours) = self.brokers().await.map_err(Trouble::into_text)?;
        let is_ours = |broker: &&SeenBroker| ours.iter().any(|other| other.note() == broker.note());
        for (shard, survey) in shards.iter().zip(survey(&shards, self.settings, self.wire).await) {
            let survey = survey.map_err(|unread| format!("{shard}: {unread}"))?;
            let is_others = |fingerprint| fingerprint != known && fingerprint != self.servers.to.fingerprint();
            let others = matches!(survey.reached.state, StateItem::Shows { fingerprint, .. } if is_others(fingerprint));
            if let (true, Some(broker)) = (others, survey.brokers.iter().find(|broker| !is_ours(broker))) {
                return Err(format!("{shard} is used by brokers with another list of servers: {broker}"));
            }
        }
        Ok(())
    }

    /// Looks at every server, and does what can be done now.
    async fn round(&mut self) -> Result<Step, Trouble> {
        let (settings, wire) = (self.settings, self.wire);
        let reach = self.servers.all.iter().map(|server| reach_one(&server.shard, settings.allow_unsafe, wire));
        let (dead, found) = join(self.check_dead(), join_all(reach)).await;
        dead?;
        let mut reached = Vec::new();
        for (server, found) in self.servers.all.iter().zip(found) {
            reached.push(found.map_err(|unread| Trouble::Passing(format!("{}: {unread}", server.shard)))?);
        }
        for (at, reached) in reached.iter().enumerate() {
            self.look(at, reached.state)?;
        }
        self.check_memories(&reached)?;
        self.prepare(&mut reached).await?;
        let all = self.servers.all.len();
        let done = |server: &&Server| server.seen.is_some() || server.is_present && server.prepared.is_some();
        let prepared = self.servers.all.iter().filter(done).count();
        if prepared < all {
            return Ok(Step::Waits(vec![Progress::Prepared(prepared, all)], Some(self.unprepared(&reached))));
        }
        let left = self.servers.all.iter().filter(|server| server.seen.is_none()).count();
        if left > 0 {
            return self.flip(&mut reached, left).await;
        }
        let copied = self.copied;
        if copied.is_none_or(|(copied, at)| copied.blocked > 0 && Moment::now().since(at) > COPIED_AGAIN) {
            let now = Moment::now();
            let copied = copy::copy(&self.servers.copies(), &reached, wire).await.map_err(Trouble::Passing)?;
            self.copied = Some((copied, now));
            return Ok(Step::On(vec![Progress::Copied(copied.all, copied.lingering)]));
        }
        // Who still reaches a server that is said to be dead keeps locks there, and may die before the others are open. So the wait
        // counts from when nobody was seen who does (R27).
        if !self.servers.dead.is_empty() && !self.opens {
            let (ready, brokers) = self.brokers().await?;
            if ready < brokers.len() {
                self.since = Moment::now();
                let why = "brokers still reach a server that is said to be dead, or do not know that it is";
                return Ok(Step::Waits(vec![Progress::Ready(ready, brokers.len())], Some(why.to_owned())));
            }
        }
        let wait = self.servers.from.max_ttl.max(self.servers.to.max_ttl);
        let tried = if self.servers.dead.is_empty() { SILENT } else { Moment::now().since(self.begun) };
        let left = wait.saturating_sub(Moment::now().since(self.since)).max(SILENT.saturating_sub(tried));
        if !left.is_zero() {
            // Told at the beginning, and when a multiple of the interval is left.
            let seconds = left.as_secs() + 1;
            let seconds = seconds.next_multiple_of(TOLD.as_secs()).min(wait.as_secs());
            return Ok(Step::Waits(vec![Progress::Opens(Duration::from_secs(seconds))], None));
        }
        self.open(&mut reached).await
    }

    /// Refuses two names of one memory: no two memories have the same epoch.
    fn check_memories(&self, reached: &[Reached]) -> Result<(), Trouble> {
        let mut known = BTreeMap::new();
        for (server, reached) in self.servers.all.iter().zip(reached) {
            let Some(stamp) = reached.state.stamp() else { continue };
            if let Some(other) = known.insert(stamp.epoch.get(), &server.shard) {
                return Err(Trouble::Final(format!(
                    "{} and {other} are the same memcached: it keeps its name as long as it keeps locks. To rename it, stop all brokers, \
                     and use --stopped",
                    server.shard
                )));
            }
        }
        Ok(())
    }

    /// Takes note of what a server shows.
    fn look(&mut self, at: usize, state: StateItem) -> Result<(), Trouble> {
        let generation = self.servers.generation;
        let (from, to) = (self.servers.from.fingerprint(), self.servers.to.fingerprint());
        let server = &mut self.servers.all[at];
        let seen = match state {
            StateItem::Shows { stamp, fingerprint, .. } if fingerprint == to && stamp.generation == generation => {
                Some(stamp)
            }
            StateItem::Shows { stamp, .. } | StateItem::Flipped { stamp, .. } if stamp.generation >= generation => {
                let why = format!(
                    "{}: another change of the servers is under way or through. See `lockbroker shard status`",
                    server.shard
                );
                return Err(Trouble::Final(why));
            }
            StateItem::Unusable { why, .. } => return Err(Trouble::Final(format!("{}: {why}", server.shard))),
            StateItem::Missing | StateItem::Shows { .. } | StateItem::Flipped { .. } => {
                let is_from = matches!(state, StateItem::Shows { fingerprint, .. } if fingerprint == from);
                let may_be_flipped = is_from || !server.is_present;
                server.prepared = server.prepared.filter(|stamp| may_be_flipped && state.stamp() == Some(*stamp));
                None
            }
        };
        if seen != server.seen {
            server.seen = seen;
            // Another epoch counts anew, and what was copied there may be gone (R25).
            (self.since, self.copied) = (Moment::now(), None);
        }
        Ok(())
    }

    /// Returns true once a server of the present topology has been flipped.
    fn has_begun(&self) -> bool {
        self.servers.all.iter().any(|server| server.is_present && server.seen.is_some())
    }

    /// Notes the change on every server, and then gives S to those that are new (R22).
    async fn prepare(&mut self, reached: &mut [Reached]) -> Result<(), Trouble> {
        let begun = self.has_begun();
        for (at, reached) in reached.iter_mut().enumerate() {
            if self.servers.all[at].seen.is_some() {
                continue;
            }
            // In each round anew: a flush may spare S, and take N.
            self.note(at, reached, begun).await?;
            let server = &self.servers.all[at];
            if let Some(prepared) = server.prepared.filter(|_| !server.is_present) {
                self.take_over(at, reached, prepared).await?;
            }
        }
        Ok(())
    }

    /// Notes the change on a server. One that is empty gets its S at once; in the midst of a change that may be one that is in force.
    async fn note(&mut self, at: usize, reached: &mut Reached, begun: bool) -> Result<(), Trouble> {
        let (generation, to) = (self.servers.generation, self.servers.to.fingerprint());
        let server = &self.servers.all[at];
        let first = self.first_generation(server, reached.state)?;
        let mut batch =
            vec![protocol::note_former(generation, &self.servers.from), protocol::note_topology(&self.servers.to)];
        // Also that none is dead: it may have been said before.
        batch.push(protocol::note_dead(generation, &self.servers.dead));
        let each = std::iter::successors(Some(first), |noted| noted.next().filter(|next| *next <= generation));
        batch.extend(each.map(|generation| protocol::note_change(generation, to)));
        if reached.state == StateItem::Missing && (!server.is_present || begun) {
            batch.push(protocol::begin(fresh(generation), to, Made::ByChange));
        }
        if let StateItem::Shows { stamp, .. } = reached.state {
            batch.push(protocol::highest_token(stamp.epoch));
        }
        let looks = batch.len();
        batch.extend([protocol::look_for_change(first), protocol::look_for_change(generation), protocol::probe()]);
        let server = &mut self.servers.all[at];
        let passing = |why| Trouble::Passing(format!("{}: {why}", server.shard));
        let said = exchange(&mut reached.connection, self.wire, batch).await.map_err(passing)?;
        let noted = |said| protocol::read_change_note(said).map_err(|error| passing(error.to_string()));
        let (early, noted) = (noted(&said[looks])?, noted(&said[looks + 1])?);
        if [early, noted].into_iter().flatten().any(|noted| noted != to) {
            let why = "another change of the servers is noted there: complete that one first, by `lockbroker shard adopt` \
                       with its list. If two were begun at once, so that neither can be completed: stop all brokers and use --stopped";
            return Err(Trouble::Final(format!("{}: {why}", server.shard)));
        }
        let state = protocol::read_state(&said[looks + 2]).map_err(|error| passing(error.to_string()))?;
        server.prepared =
            reached.state.stamp().filter(|stamp| early.and(noted) == Some(to) && state.stamp() == Some(*stamp));
        if server.is_present && server.prepared.is_some() {
            server.token = protocol::read_fence(&said[looks - 1]).ok().flatten();
        }
        Ok(())
    }

    /// Returns the first generation for which the change is noted on a server. It looks for the one after its own, which may be an earlier
    /// one than the change's: each that it may look for says the same.
    fn first_generation(&self, server: &Server, state: StateItem) -> Result<Generation, Trouble> {
        let generation = self.servers.generation;
        let own = state.stamp().filter(|_| server.is_present).and_then(|stamp| stamp.generation.next());
        let first = own.unwrap_or(generation).min(generation);
        if generation.get() - first.get() > MOST_GENERATIONS {
            let why =
                "its generation lies too far behind that of others: restart it, wait until it is open, and try again";
            return Err(Trouble::Final(format!("{}: {why}", server.shard)));
        }
        Ok(first)
    }

    /// Flips a server that was in a list before, and is of no use to anybody now, once the change is noted there: on a full one it may
    /// not be. What stands there would be in the way of what comes.
    async fn take_over(&self, at: usize, reached: &mut Reached, prepared: Stamp) -> Result<(), Trouble> {
        let shard = &self.servers.all[at].shard;
        if copy::has_locks(reached, self.wire).await.map_err(Trouble::Passing)? {
            let why = "it has locks from a list of before: restart it, so that it is empty, and try again";
            return Err(Trouble::Final(format!("{shard}: {why}")));
        }
        let flip = vec![protocol::flip(prepared, fresh(self.servers.generation))];
        let flipped = exchange(&mut reached.connection, self.wire, flip).await;
        flipped.map(drop).map_err(|why| Trouble::Passing(format!("{shard}: {why}")))
    }

    fn unprepared(&self, reached: &[Reached]) -> String {
        let is_left = |server: &Server| server.seen.is_none() && server.prepared.is_none();
        let left = self.servers.all.iter().zip(reached).filter(|(server, _)| is_left(server));
        let left: Vec<_> =
            left.map(|(server, reached)| format!("{} shows {:?}", server.shard, reached.state)).collect();
        format!("not all servers could be prepared: {}", left.join("; "))
    }

    /// Flips the servers of the present topology, once every broker can follow.
    async fn flip(&mut self, reached: &mut [Reached], left: usize) -> Result<Step, Trouble> {
        let present = self.servers.all.iter().filter(|server| server.is_present).count();
        if !self.has_begun() {
            let (ready, brokers) = self.brokers().await?;
            let all = self.servers.all.len();
            let progress = vec![Progress::Prepared(all, all), Progress::Ready(ready, brokers.len())];
            let is_late = |broker: &&SeenBroker| broker.ready != Some(self.servers.readiness());
            let late: Vec<String> = brokers.iter().filter(is_late).map(ToString::to_string).collect();
            if !late.is_empty() {
                let long = match self.servers.lowers() {
                    true => format!(", or keep locks whose ttl is longer than {:?}", self.servers.to.max_ttl),
                    false => String::new(),
                };
                let why = format!(
                    "these brokers cannot follow: they are of an older version, do not reach every server of the new list, still \
                     reach one that is said to be dead{long}: {}",
                    late.join("; ")
                );
                return Ok(Step::Waits(progress, Some(why)));
            }
            self.check_keys(reached).await?;
            if !self.is_ready {
                self.is_ready = true;
                return Ok(Step::On(progress));
            }
        }
        for (at, reached) in reached.iter_mut().enumerate() {
            let server = &self.servers.all[at];
            let Some(prepared) = server.prepared.filter(|_| server.seen.is_none()) else { continue };
            let generation = self.servers.generation;
            let passing = |why| Trouble::Passing(format!("{}: {why}", server.shard));
            // Another run may have to open the servers, when the fences of before are not found any more. A full server may refuse it:
            // then the date has to do.
            if let Some(token) = server.token {
                let note = [protocol::note_highest(generation, token.get())];
                let noted = reached.connection.exchange(self.wire, &note).await;
                noted.map_err(|error| passing(error.to_string()))?;
            }
            let flip = vec![protocol::flip(prepared, fresh(generation))];
            // Whatever it comes to, the next round sees.
            exchange(&mut reached.connection, self.wire, flip).await.map_err(passing)?;
        }
        Ok(Step::On(vec![Progress::Flipped(present - left.min(present), present)]))
    }

    /// Sees to it that the servers in force show their keys: what cannot be copied would be lost.
    async fn check_keys(&self, reached: &[Reached]) -> Result<(), Trouble> {
        for (_, reached) in self.servers.all.iter().zip(reached).filter(|(server, _)| server.is_present) {
            copy::check(reached, self.wire).await.map_err(|why| {
                Trouble::Final(format!("{why}. Nothing has changed. Or stop all brokers, and use --stopped"))
            })?;
        }
        Ok(())
    }

    /// Returns the brokers that have noted themselves at the servers that are in force, each once, and how many can follow.
    async fn brokers(&self) -> Result<(usize, Vec<SeenBroker>), Trouble> {
        let present: Vec<_> =
            self.servers.all.iter().filter(|server| server.is_present).map(|server| server.shard.clone()).collect();
        let mut seen = Vec::new();
        for (shard, survey) in present.iter().zip(survey(&present, self.settings, self.wire).await) {
            let Survey { brokers, .. } = survey.map_err(|unread| Trouble::Passing(format!("{shard}: {unread}")))?;
            seen.extend(brokers);
        }
        let mut brokers = presence::latest(seen.into_iter());
        // One that cannot follow and has not renewed its note has gone, or sleeps. No lock is granted twice for that.
        let to = self.servers.readiness();
        brokers.retain(|broker| broker.ready == Some(to) || broker.seconds_ago <= RENEWED);
        let ready = brokers.iter().filter(|broker| broker.ready == Some(to)).count();
        Ok((ready, brokers))
    }

    /// Opens every server of the next topology, of which each still shows the epoch that was waited for.
    async fn open(&mut self, reached: &mut [Reached]) -> Result<Step, Trouble> {
        let mut highest = 0;
        for (server, reached) in self.servers.all.iter().zip(reached.iter_mut()) {
            let look = vec![protocol::look_for_highest(self.servers.generation)];
            let said = exchange(&mut reached.connection, self.wire, look).await;
            let said = said.map_err(|why| Trouble::Passing(format!("{}: {why}", server.shard)))?;
            let noted = said.first().map_or(0, protocol::read_highest);
            highest = server.token.map_or(0, FencingToken::get).max(noted).max(highest);
        }
        let start = first_token(wall_micros(), highest);
        let start = start.ok_or_else(|| Trouble::Final(super::opening::WRONG_CLOCK.to_owned()))?;
        self.opens = true;
        for (server, reached) in self.servers.all.iter().zip(reached) {
            let Some(stamp) = server.seen.filter(|_| server.is_next) else { continue };
            // What is in force is noted again: one that has lost its memory since it was prepared has no words.
            let batch = vec![
                protocol::note_former(self.servers.generation, &self.servers.from),
                protocol::note_topology(&self.servers.to),
                protocol::open(stamp.epoch, start),
                protocol::witness(),
            ];
            let said = exchange(&mut reached.connection, self.wire, batch).await;
            let said = said.map_err(|why| Trouble::Passing(format!("{}: {why}", server.shard)))?;
            match said.last().map(protocol::read_witness) {
                Some(Ok(Witness::Shows(shown))) if shown == stamp => {}
                _ => return Err(Trouble::Passing(format!("{}: it has lost its memory", server.shard))),
            }
        }
        Ok(Step::Through)
    }
}

impl Servers {
    /// Returns true if the longest ttl is to be shorter.
    fn lowers(&self) -> bool {
        self.to.max_ttl < self.from.max_ttl
    }

    /// Returns the number by which a broker says that it can follow.
    fn readiness(&self) -> u64 {
        readiness(self.to.fingerprint(), &self.dead)
    }

    /// Returns where copies go: for each server that is flipped, its topology and which of the servers are those of the next one.
    fn copies(&self) -> copy::Copies<'_> {
        let targets = self.to.members.iter().map(|member| {
            let is_it = |server: &Server| server.is_next && server.shard.to_string() == *member.address;
            self.all.iter().position(is_it).unwrap_or(0)
        });
        let sources = self.all.iter().map(|server| server.is_present).collect();
        copy::Copies { homes: copy::Homes::of(&self.from), to: &self.to, targets: targets.collect(), sources }
    }
}

/// Does the same as [`find`], and waits for a moment where the list in force is not noted yet. Returns none if there is nothing to change.
async fn find_in_time(
    settings: &MemcachedSettings,
    from: Option<&ShardAddress>,
    dead: &[ShardAddress],
    wire: &Wire,
) -> Result<Option<Servers>, String> {
    let begun = Moment::now();
    loop {
        match find(settings, from, dead, wire).await {
            Err(why) if why == NOT_NOTED && Moment::now().since(begun) < NOTED_SOON => sleep(PAUSE).await,
            found => return found,
        }
    }
}

/// Finds out what is in force, and which servers the change concerns.
async fn find(
    settings: &MemcachedSettings,
    from: Option<&ShardAddress>,
    dead: &[ShardAddress],
    wire: &Wire,
) -> Result<Option<Servers>, String> {
    let to = settings.topology();
    let mut shards = settings.shards.clone();
    let named = from.filter(|from| shards.iter().all(|shard| shard.to_string() != from.to_string()));
    shards.extend(named.cloned());
    let mut surveys = Vec::new();
    for (shard, survey) in shards.iter().zip(survey(&shards, settings, wire).await) {
        let survey = survey.map_err(|unread| format!("{shard}: {unread}"))?;
        if let StateItem::Unusable { why, .. } = survey.reached.state {
            return Err(format!("{shard}: {why}"));
        }
        surveys.push((shard, survey));
    }
    let mut processes: BTreeMap<_, &ShardAddress> = BTreeMap::new();
    for (shard, survey) in &surveys {
        if let Some(other) = survey
            .reached
            .process
            .and_then(|process| processes.insert((process.pid, process.began, survey.reached.address), shard))
        {
            return Err(format!("{shard} and {other} are the same memcached: name it once"));
        }
    }
    let (from, generation) = in_force(&to, &mut surveys, wire).await?;
    if from == to {
        return Ok(None);
    }
    let dead: Vec<Arc<str>> = dead.iter().map(|dead| dead.to_string().into()).collect();
    let is_in =
        |topology: &Topology, address: &Arc<str>| topology.members.iter().any(|other| other.address == *address);
    for address in &dead {
        if !is_in(&from, address) || is_in(&to, address) {
            return Err(format!("--dead {address}: name a server that is in force now, and is not in the new list"));
        }
    }
    let mut all = Vec::new();
    let addresses = from.members.iter().chain(&to.members);
    for member in addresses {
        let shard: ShardAddress = member.address.parse().map_err(|error| format!("{}: {error}", member.address))?;
        let is_known = all.iter().any(|server: &Server| server.shard.to_string() == *member.address);
        if is_known || dead.contains(&member.address) {
            continue;
        }
        let (is_present, is_next) = (is_in(&from, &member.address), is_in(&to, &member.address));
        all.push(Server { shard, is_present, is_next, prepared: None, seen: None, token: None });
    }
    Ok(Some(Servers { from, to, generation, all, dead }))
}

/// Returns the topology that is in force, or was before a change that is to be completed, and the generation that is to come.
async fn in_force(
    to: &Topology,
    surveys: &mut [(&ShardAddress, Survey)],
    wire: &Wire,
) -> Result<(Topology, Generation), String> {
    let to_fingerprint = to.fingerprint();
    let shown = |survey: &Survey| match survey.reached.state {
        StateItem::Shows { stamp, fingerprint, .. } => Some((fingerprint, stamp.generation)),
        _ => None,
    };
    let is_open = |survey: &Survey, of| survey.token.is_some() && shown(survey).is_some_and(|(shown, _)| shown == of);
    let all = surveys.iter().filter_map(|(_, survey)| shown(survey));
    let pending = all.filter(|(fingerprint, _)| *fingerprint == to_fingerprint).map(|(_, generation)| generation).max();
    let by_change = |survey: &Survey| matches!(survey.reached.state, StateItem::Shows { made: Made::ByChange, .. });
    let other = |survey: &Survey| survey.token.is_some() && !is_open(survey, to_fingerprint);
    // Brokers that were started with the new list too early have set up servers, and open none: those are of no use to anybody.
    let is_early = !surveys.iter().any(|(_, survey)| by_change(survey) || is_open(survey, to_fingerprint))
        && surveys.iter().any(|(_, survey)| other(survey));
    if let Some(generation) = pending.filter(|_| !is_early) {
        let other = surveys.iter().find(|(_, survey)| other(survey));
        // From the first that is open on, brokers see to the rest.
        let is_through = surveys.iter().any(|(_, survey)| is_open(survey, to_fingerprint));
        if let (true, Some((other, _))) = (is_through, other) {
            return Err(format!(
                "brokers with the new list grant locks at its servers, beside those with another list at {other}: stop them first"
            ));
        }
        for (_, survey) in surveys.iter_mut().filter(|_| !is_through) {
            let said =
                exchange(&mut survey.reached.connection, wire, vec![protocol::look_for_former(generation)]).await?;
            if let Some(former) = said.first().and_then(protocol::read_former) {
                return Ok((former, generation));
            }
        }
        if !is_through && surveys.iter().any(|(_, survey)| by_change(survey)) {
            return Err("the change to this list is not through, and these servers have lost the note of the one before: name a server of \
                        that, --from HOST:PORT"
                .to_owned());
        }
        // It is in force, or nobody has come from elsewhere.
        return Ok((to.clone(), generation));
    }
    let words = surveys.iter().filter_map(|(_, survey)| Some((shown(survey)?.1, survey.topology.clone()?)));
    let words = words.filter(|(_, topology)| topology != to);
    let Some((generation, from)) = words.max_by_key(|(generation, _)| *generation) else {
        let any = surveys.iter().any(|(_, survey)| shown(survey).is_some());
        return Err(if any { NOT_NOTED.to_owned() } else { UNUSED.to_owned() });
    };
    // One that a change has made, and nobody has opened, is of a list that is to come.
    let is_to_come = |survey: &Survey| by_change(survey) && survey.token.is_none();
    let of_it = |survey: &Survey| shown(survey).is_some_and(|(shown, _)| shown == from.fingerprint());
    if !surveys.iter().any(|(_, survey)| of_it(survey) && !is_to_come(survey)) {
        return Err(format!(
            "the servers were to change to `{from}`, and that is not through: complete it first, by the same command with that list"
        ));
    }
    let next = generation.next().ok_or_else(|| super::opening::LAST_GENERATION.to_owned())?;
    Ok((from, next))
}

const NOT_NOTED: &str =
    "the list that is in force is not noted at the servers: start a broker with it, which notes it, and try again";
const UNUSED: &str = "no broker has used these servers. If locks are kept elsewhere now, name one of the servers that keep them (--from \
                      HOST:PORT). If not, there is nothing to adopt: start the brokers";

/// Returns a stamp that nobody has used before.
fn fresh(generation: Generation) -> Stamp {
    Stamp { epoch: Epoch::from_random(rand::rng().random()), generation }
}
