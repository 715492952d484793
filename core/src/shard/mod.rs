//! The shards of a store: what a broker knows of each memcached, and the commands by which it asks them.
//!
//! A turn is a call of one of the methods of [`Shards`]. What comes of it are outputs: commands to be sent, connections to be
//! made, answers. What has been asked waits until [`Shards::flush`], so that all that is asked in one turn of a broker
//! travels together.

mod batch;
mod change;
mod clock;
pub mod env;
mod epoch;
mod health;
mod job;
mod link;
mod phase;
mod placement;
mod presence;
mod proof;
pub mod protocol;
mod queues;
mod server;
pub mod state_item;
#[cfg(test)]
mod tests;
mod topology;
mod values;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Time;
use crate::broker::RequestId;
use crate::command::{Command, Reply as Said};
use crate::failure::Cause;
use crate::lock::{LockItem, LockName};
use crate::request::StoreTraits;
use crate::store::{ItemState, Label, Note, Order, Reply, Request, StoreError, Watch};
use crate::table::{self, Table};

pub use change::readiness;
pub use env::Env;
pub use epoch::{Announced, Distrust};
pub use link::{Dialled, LinkId, Process, Unreached};
pub use phase::{FOREIGN, first_token};
pub use placement::{Placement, fingerprint};
pub use presence::{LIVES, PLACES, READY};
pub use protocol::Watcher;
pub use topology::Topology;

/// The machines of a shard, which have no tables. For the model, which explores all that they can come to.
pub mod machine {
    pub use super::batch::{Batch, Evidence};
    pub use super::epoch::{EpochState, NormalMemory, Notice, Phase};
    pub use super::job::{Heeds, Job, Kind, LastWord, Op, Outcome, Seen};
    pub use super::proof::{Beginning, Finality, Found, Probe, Sent, Unserved, Void};
    pub use super::values::Values;
}

use change::{Plan, Routes};
use health::ShardHealth;
use job::{Job, Op};
use server::Shard;
use state_item::{Generation, Witness};

/// The number of entries for which a table keeps room, however few it has.
const SPARE: usize = 1024;

/// One memcached, as the topology names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its address, as all brokers write it.
    pub address: Arc<str>,
    /// The share of the names that it gets, relative to the others.
    pub weight: u32,
}

/// The settings of the shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The servers, in any order; at least one, each once.
    pub members: Vec<Member>,
    /// The longest ttl that any broker grants.
    pub max_ttl: Duration,
    /// The note that this broker leaves on each shard. None for a process that is not a broker.
    pub note: Option<Arc<str>>,
    /// This broker, as others are to wake it. None where brokers do not wake each other.
    pub watcher: Option<Watcher>,
}

/// The state of a shard, as it is shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShardState {
    /// Cannot be reached, or has not yet said what it is.
    Connecting,
    /// Cannot keep locks, or belongs to others.
    Refused,
    /// Waits in quarantine, and grants nothing.
    Closed,
    /// Grants locks.
    Open,
    /// The servers change, and it grants nothing until that is through.
    Moving,
    /// It is in the list no more.
    Gone,
}

/// A shard, as it is shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShardStatus {
    /// Its state.
    pub state: ShardState,
    /// The time for which it will still grant nothing.
    pub quarantine: Duration,
    /// The reason for which it is not trusted, if it is not.
    pub distrust: Option<Distrust>,
    /// The number of jobs that wait for a batch.
    pub waiting: usize,
}

/// Something that people should read of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A server process is met for the first time, on this connection.
    Met(LinkId),
    /// It has answered, for the first time since it was in trouble.
    Connected(SocketAddr),
    /// It cannot be reached, or a connection broke.
    Trouble(Arc<str>),
    /// It cannot keep locks.
    CannotKeepLocks(Arc<str>),
    /// It has lost its memory, or is new.
    Lost,
    /// It belongs to brokers with another topology, and is not used.
    Foreign {
        /// Their topology.
        fingerprint: u64,
    },
    /// It is not used, for this reason.
    NotUsed(Arc<str>),
    /// It does not take the shard's state.
    StateRefused(Arc<str>),
    /// It grants nothing for so long.
    Closed(Duration),
    /// It grants nothing until a change of the servers is through.
    Moving,
    /// It grants nothing until another server of the list is reached: the list may have changed.
    Alone,
    /// It stays closed, since the date by this machine's clock cannot be right.
    WrongDate,
    /// It grants locks.
    GrantsLocks,
}

/// A step of a change of the servers, as people should read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeNews {
    /// An operator has announced another topology.
    Announced {
        /// Its generation.
        generation: Generation,
        /// The topology.
        topology: Arc<Topology>,
    },
    /// It is in force.
    InForce {
        /// Its generation.
        generation: Generation,
        /// The topology.
        topology: Arc<Topology>,
    },
}

/// An order to the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bring this to the broker.
    Answer {
        /// The shard that was asked.
        shard: usize,
        /// The request.
        id: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Connect to a shard, and call [`Shards::dialled`].
    Dial {
        /// The shard.
        shard: usize,
        /// Where the other connections lead. If not given, the shard's name is resolved.
        address: Option<SocketAddr>,
    },
    /// Connect to a shard anew, read its witness there, and call [`Shards::compared`].
    Compare {
        /// The shard.
        shard: usize,
    },
    /// Send commands, and call [`Shards::answered`].
    Send {
        /// The shard.
        shard: usize,
        /// The connection, on which nothing else is under way.
        link: LinkId,
        /// The commands.
        commands: Vec<Command>,
        /// True for a batch of what was asked, false for what the shards ask by themselves.
        is_batch: bool,
    },
    /// End a connection on which nothing is under way.
    Hangup {
        /// The shard.
        shard: usize,
        /// The connection.
        link: LinkId,
    },
    /// Wake another broker.
    Wake {
        /// The broker.
        broker: SocketAddr,
        /// The lock that may be free.
        name: LockName,
    },
    /// Tell another broker that a lock has changed which is observed there.
    TellObserver {
        /// The broker.
        broker: SocketAddr,
        /// The lock.
        name: LockName,
    },
    /// Tell another broker that a lock was revoked which it keeps.
    TellKeeper {
        /// The broker.
        broker: SocketAddr,
        /// The lock.
        name: LockName,
    },
    /// Locks can be granted from now on, or none any more.
    Ready(bool),
    /// Meet a server that has come: it is the shard with this index from now on. The index is the next one, or that of a shard that has
    /// [gone](ShardState::Gone).
    Meet {
        /// The shard.
        shard: usize,
        /// Its address.
        address: Arc<str>,
    },
    /// Tell people of a change of the servers.
    Change(ChangeNews),
    /// Tell people.
    News {
        /// The shard.
        shard: usize,
        /// The news.
        news: News,
    },
}

/// The things that all shards share.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    settings: Settings,
    routes: Routes,
    health: ShardHealth,
    /// When the last look at each shard was sent that told of no change, and if the shard was open.
    clean: Vec<Option<(Time, bool)>>,
    /// Jobs that go on at another shard.
    crossing: Vec<(usize, Job)>,
    /// The requests under way that can be given up, and whether somebody waits for their answers.
    wanted: Table<RequestId, bool>,
    outputs: VecDeque<Output>,
}

/// One shard in a turn, and what it needs.
pub(crate) struct Turn<'a, E> {
    shard: &'a mut Shard,
    common: &'a mut Common,
    env: &'a mut E,
    now: Time,
}

impl Common {
    fn is_wanted(&self, job: &Job) -> bool {
        job.asker.and_then(|id| self.wanted.get(&id)).is_none_or(|wanted| *wanted)
    }
}

/// The shards of one store.
#[derive(Debug, Clone)]
pub struct Shards {
    shards: Vec<Shard>,
    common: Common,
}

impl Shards {
    /// Makes the shards, of which nothing is known yet. `seed` spreads what is kept in tables.
    pub fn new(settings: Settings, seed: u64, env: &mut impl Env) -> Shards {
        let now = env.now();
        let topology = Topology { members: settings.members.clone(), max_ttl: settings.max_ttl };
        let fingerprint = topology.fingerprint();
        let mut shard = |(index, member): (usize, &Member)| {
            Shard::new(index, Arc::clone(&member.address), fingerprint, settings.note.clone(), now, env)
        };
        let shards: Vec<Shard> = settings.members.iter().enumerate().map(&mut shard).collect();
        let routes = Routes::new(Plan::new(topology, (0..shards.len()).collect()));
        let (health, clean) = (ShardHealth::new(shards.len()), vec![None; shards.len()]);
        let (crossing, wanted, outputs) = (Vec::new(), table::new(seed), VecDeque::new());
        Shards { shards, common: Common { settings, routes, health, clean, crossing, wanted, outputs } }
    }

    /// Returns what a broker needs to know of this store.
    pub fn traits(&self) -> StoreTraits {
        StoreTraits { is_shared: true, can_be_woken: self.common.settings.watcher.is_some() }
    }

    /// Returns the index of the shard that guards a name now.
    pub fn shard_of(&self, name: &LockName) -> usize {
        self.common.routes.home_or_before(name)
    }

    fn turn<'a, E: Env>(&'a mut self, shard: usize, env: &'a mut E) -> Option<Turn<'a, E>> {
        let now = env.now();
        Some(Turn { shard: self.shards.get_mut(shard)?, common: &mut self.common, env, now })
    }

    /// Takes an order. [`Shards::flush`] sends what it takes.
    pub fn order(&mut self, order: Order, env: &mut impl Env) {
        match order {
            Order::Ask { id, item, request, lease } => match self.too_long(&request, lease, env.now()) {
                Some(error) => {
                    let (shard, wakes) = (self.shard_of(&item.name), self.common.settings.watcher.is_some());
                    let reply = Op::of(request, wakes).failed(error);
                    self.common.outputs.push_back(Output::Answer { shard, id, reply });
                }
                None => self.ask(id, item, request, env),
            },
            Order::GiveUp(id) => self.give_up(id),
            Order::Note(item, note) => self.note(item, note, env),
        }
    }

    /// Takes a request. It has one answer, within a few seconds, whatever the shard does. [`Shards::flush`] sends it.
    fn ask(&mut self, id: RequestId, item: LockItem, request: Request, env: &mut impl Env) {
        let shard = self.shard_of(&item.name);
        let wakes = self.common.settings.watcher.is_some();
        if matches!(request, Request::Watch { .. }) && !wakes {
            self.common.outputs.push_back(Output::Answer { shard, id, reply: Reply::Watching(Watch::No) });
            return;
        }
        let op = Op::of(request, wakes);
        if op.can_be_given_up() {
            self.common.wanted.insert(id, true);
        }
        if let Some(mut turn) = self.turn(shard, env) {
            turn.take(Job { item, asker: Some(id), op });
        }
    }

    /// Takes note that nobody waits for the answer to a request any more. What is left of it to do need not be done: a look, a
    /// grant or a renewal that waits is not sent, and a renewal that is under way re-asserts nothing. There may be no answer.
    fn give_up(&mut self, id: RequestId) {
        if let Some(wanted) = self.common.wanted.get_mut(&id) {
            *wanted = false;
        }
    }

    /// Takes a note: best effort, and nothing depends on it. [`Shards::flush`] sends it.
    fn note(&mut self, item: LockItem, note: Note, env: &mut impl Env) {
        let name = &item.name;
        let watcher = self.common.settings.watcher;
        let op = match (note, watcher) {
            (Note::Describe { owner, call: None, .. }, _) if owner.is_empty() => return,
            (Note::Describe { id, owner, token, call, ttl }, me) => {
                let keeper = me.map(|me| me.address);
                let label = Label { owner, token: Some(token), since: env.wall_micros(), call, keeper };
                Op::note(protocol::describe(&item, ItemState::Held(id), &label, ttl))
            }
            (Note::KeepsClosed { id, ttl }, Some(me)) => {
                let label = Label { keeper: Some(me.address), ..Label::default() };
                Op::note(protocol::describe(&item, ItemState::Lingering(id), &label, ttl))
            }
            (Note::Unwatch, Some(me)) => Op::note(protocol::unwatch(name, &me)),
            (Note::QueueHere { ttl }, Some(me)) => Op::note(protocol::note_queue(name, me.address, ttl)),
            (Note::WakeQueue, Some(_)) => Op::LookForQueue,
            (Note::ObservedHere { ttl }, Some(_)) => {
                Op::ObserveHere { others: protocol::OBSERVER_PLACES - 1, kept: true, ttl }
            }
            (Note::TellObservers, Some(_)) => return self.look_for_observers(item, env),
            (Note::ForgetValue(id), _) => Op::note(protocol::forget_value(id)),
            (Note::TellKeeper(broker), Some(_)) => {
                return self.common.outputs.push_back(Output::TellKeeper { broker, name: name.clone() });
            }
            (
                Note::KeepsClosed { .. }
                | Note::Unwatch
                | Note::QueueHere { .. }
                | Note::WakeQueue
                | Note::ObservedHere { .. }
                | Note::TellObservers
                | Note::TellKeeper(_),
                None,
            ) => return,
        };
        let shard = self.shard_of(name);
        let Some(mut turn) = self.turn(shard, env) else { return };
        // Whoever observes looks once a second anyway, so its note must not push out one that is needed.
        if matches!(op, Op::ObserveHere { .. }) && turn.shard.queues.has_many_notes() {
            return;
        }
        turn.take(Job { item, asker: None, op });
    }

    /// Looks at which brokers a lock is observed, to tell them. Where much waits to be noted, it is left out: they look by
    /// themselves.
    fn look_for_observers(&mut self, item: LockItem, env: &mut impl Env) {
        let shard = self.shard_of(&item.name);
        let Some(mut turn) = self.turn(shard, env) else { return };
        if turn.shard.queues.has_many_notes() {
            return;
        }
        for place in 0..protocol::OBSERVER_PLACES {
            turn.take(Job { item: item.clone(), asker: None, op: Op::LookForObserver(place) });
        }
    }

    /// Takes a connection that was asked for, or why there is none.
    pub fn dialled(&mut self, shard: usize, dialled: Result<Dialled, Unreached>, env: &mut impl Env) {
        if let Some(mut turn) = self.turn(shard, env) {
            turn.dialled(dialled);
            turn.sort_anew();
        }
    }

    /// Takes the witness that another connection has shown. None if nothing was to be learned.
    pub fn compared(&mut self, shard: usize, witness: Option<Witness>, env: &mut impl Env) {
        if let Some(mut turn) = self.turn(shard, env) {
            turn.compared(witness);
            turn.sort_anew();
        }
    }

    /// Takes the answers to what was sent on a connection, one for each command, or the reason why it is of no use any more.
    pub fn answered(&mut self, shard: usize, link: LinkId, said: Result<Vec<Said>, Arc<str>>, env: &mut impl Env) {
        let Some(mut turn) = self.turn(shard, env) else { return };
        let is_look = turn.answered(link, said);
        turn.sort_anew();
        self.cross(env);
        if is_look {
            self.follow(shard, env);
        }
    }

    /// Sends what waits, and does what is due.
    pub fn flush(&mut self, env: &mut impl Env) {
        for shard in 0..self.shards.len() {
            let Some(mut turn) = self.turn(shard, env) else { continue };
            turn.turn_down_the_impatient();
            turn.launch();
            turn.publish();
        }
    }

    /// Returns when [`Shards::flush`] is to be called next.
    pub fn due(&self) -> Option<Time> {
        let due = |shard: &Shard| [shard.next_wake(), shard.queues.impatient_at()].into_iter().flatten().min();
        self.shards.iter().filter_map(due).min()
    }

    /// Takes the next thing that is to be done outside.
    pub fn output(&mut self) -> Option<Output> {
        self.common.outputs.pop_front()
    }

    /// Returns what there is to show of a shard.
    pub fn status(&self, shard: usize, now: Time) -> ShardStatus {
        self.shards[shard].status(&self.common.routes, now)
    }
}

impl<E: Env> Turn<'_, E> {
    fn output(&mut self, output: Output) {
        self.common.outputs.push_back(output);
    }

    fn tell(&mut self, news: News) {
        let shard = self.shard.index;
        self.output(Output::News { shard, news });
    }

    /// Queues a job, or turns it down if the shard cannot serve it. What serves a lock that is held waits for a shard
    /// that will be back: it may be soon enough.
    fn take(&mut self, job: Job) {
        if self.has_moved(&job) {
            return self.fail(job, moved());
        }
        match self.refusal(&job.op) {
            None => {
                if let Some(let_go) = self.shard.queues.push(job) {
                    let error = StoreError::unavailable("a note was let go: too many wait to be sent", None);
                    self.fail(let_go, error);
                }
            }
            Some(_) if job.op.serves_a_holder() && self.shard.may_come_back() => {
                self.shard.queues.park(job, self.now);
            }
            Some(error) => self.fail(job, error),
        }
    }

    /// Returns true if the servers have changed, and the lock is not kept here any more, or nobody knows where.
    fn has_moved(&self, job: &Job) -> bool {
        (self.shard.is_retired || self.common.routes.is_changing()) && self.is_kept_elsewhere(job)
    }

    /// Returns true if the lock is not kept here by the topologies that are known now, or nobody knows where.
    fn is_kept_elsewhere(&self, job: &Job) -> bool {
        let (routes, name) = (&self.common.routes, &job.item.name);
        let home = if job.op.looks_back() { routes.home_before(name) } else { routes.home(name) };
        self.shard.is_retired || home != Some(self.shard.index)
    }

    fn fail(&mut self, job: Job, error: StoreError) {
        self.answer(job.asker, job.op.failed(error));
    }

    /// Forgets a job that nobody waits for any more.
    fn give_up(&mut self, job: &Job) {
        job.asker.map(|id| self.common.wanted.remove(&id));
    }

    /// Answers the asker, if there is one.
    fn answer(&mut self, asker: Option<RequestId>, reply: Reply) {
        let Some(id) = asker else { return };
        let wanted = &mut self.common.wanted;
        if wanted.remove(&id) == Some(false) {
            // Nobody waits for it.
            return;
        }
        if wanted.capacity() > SPARE && wanted.len() < wanted.capacity() / 4 {
            wanted.shrink_to(wanted.capacity() / 2);
        }
        let shard = self.shard.index;
        self.output(Output::Answer { shard, id, reply });
    }

    /// Brings what jobs have come to: answers them, wakes others, and takes what is to be done next.
    fn bring(&mut self, settled: Vec<(Job, job::Outcome)>) {
        for (job, outcome) in settled {
            if let Some(broker) = outcome.wakes {
                self.hint(broker, &job);
            }
            if let Some(reply) = outcome.reply {
                self.answer(job.asker, reply);
            }
            let Some(op) = outcome.next else { continue };
            // One that nobody waits for any more is left out when its batch is made.
            self.go_on(job, op);
        }
    }

    /// Tells a broker whose note was read.
    fn hint(&mut self, broker: SocketAddr, job: &Job) {
        let name = job.item.name.clone();
        // A release here has seen to the queue here, and whoever observes here has been told.
        if self.common.settings.watcher.is_some_and(|me| me.address != broker) {
            self.output(match job.op {
                Op::LookForObserver(_) => Output::TellObserver { broker, name },
                _ => Output::Wake { broker, name },
            });
        }
    }

    /// Looks anew at what waits, after something has changed.
    fn sort_anew(&mut self) {
        let serves = self.shard.serves();
        if serves || !self.shard.may_come_back() {
            let parked = self.shard.queues.take_parked();
            parked.into_iter().for_each(|job| self.take(job));
        }
        if !serves || !self.shard.is_open() {
            let waiting = self.shard.queues.take_waiting();
            waiting.into_iter().for_each(|job| self.take(job));
        }
    }

    /// Looks anew at all that waits: a lock may be kept elsewhere now. Returns what keeps such a lock, for where it is kept. Whoever asked
    /// for anything else asks again. When a change is through, a server of both topologies still has what waited for it before: it is
    /// not to be carried out there.
    fn sort_all_anew(&mut self) -> Vec<Job> {
        let mut all = self.shard.queues.take_parked();
        all.extend(self.shard.queues.take_waiting());
        let mut moved = Vec::new();
        for job in all {
            let keeps_a_lock = matches!(job.op, Op::Replace { .. }) && job.op.keeps_a_lock();
            match (self.is_kept_elsewhere(&job), keeps_a_lock) {
                (true, true) => moved.push(job),
                (true, false) => self.fail(job, self::moved()),
                (false, _) => self.take(job),
            }
        }
        moved
    }

    /// Ends the wait of those that have waited long enough for the shard to come back: queues what can be served, fails the rest.
    fn turn_down_the_impatient(&mut self) {
        while let Some(job) = self.shard.queues.next_impatient(self.now) {
            match self.refusal(&job.op) {
                Some(error) => self.fail(job, error),
                // It serves a lock, so it is no note that another would have to make room for.
                None => drop(self.shard.queues.push(job)),
            }
        }
    }
}

/// Says that a lock is kept by another server than the one that was to be asked.
fn moved() -> StoreError {
    let why = "the servers have changed, and the lock is kept by another one now";
    StoreError::unavailable(why, Some(server::EAGER_CHECK)).because(Cause::StoreQuarantined)
}
