//! Shards beside a small memcached: what is asked of it, when, and what its answers are worth.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::state_item::{Epoch, Made, Stamp};
use super::*;
use crate::command::{Cas, Key, Left, Refusal, Shown, Value};
use crate::lock::{FencingToken, GrantId, Owner};
use crate::store::{Change, Granted, ItemState, LockStatus};

const MAX_TTL: Duration = Duration::from_secs(10);

/// An outside whose numbers are drawn in order.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    pub(crate) now: Time,
    pub(crate) drawn: u64,
}

impl Default for Outside {
    fn default() -> Outside {
        Outside { now: Time::from_nanos(1 << 50), drawn: 0 }
    }
}

impl Env for Outside {
    fn now(&self) -> Time {
        self.now
    }

    fn wall_micros(&self) -> Option<u64> {
        Some(1_800_000_000_000_000)
    }

    fn random(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn spread(&mut self, span: Duration, _extra: Duration) -> Duration {
        span
    }
}

/// A memcached that keeps what brokers write, without memory's end. Items live for ever.
#[derive(Debug, Default)]
struct Memory {
    items: BTreeMap<Key, (u64, u64)>,
    /// The values that are text, put there by a test.
    texts: BTreeMap<Key, String>,
    /// The number of locks' items that it has created.
    created: usize,
    /// The keys that were to be written. It has no room for text.
    written: Vec<Key>,
}

impl Memory {
    fn execute(&mut self, command: &Command, now: Time) -> Said {
        let key = command.key();
        let found = self.items.get(key).copied();
        match command {
            Command::Get { want, .. } => match found {
                None => self.texts.get(key).map_or(Said::Missing, |text| {
                    Said::Done(Shown { value: Some(Value::Text(text.as_str().into())), ..Shown::default() })
                }),
                Some((cas, value)) => Said::Done(Shown {
                    cas: want.cas.then_some(Cas(cas)),
                    left: want.left.then(|| Left::Seconds(300_000_000 - (now.nanos() / 1_000_000_000) as u32)),
                    value: want.value.then_some(Value::Number(value)),
                    ..Shown::default()
                }),
            },
            Command::Arithmetic { create: Some(create), new_cas, want, .. } => {
                if found.is_some() {
                    return Said::Exists;
                }
                let cas = new_cas.map_or(1, |Cas(cas)| cas);
                self.created += usize::from(matches!(key, Key::Lock(_)));
                self.items.insert(key.clone(), (cas, create.initial));
                Said::Done(Shown { cas: want.cas.then_some(Cas(cas)), ..Shown::default() })
            }
            Command::Arithmetic { delta, .. } => match self.items.get_mut(key) {
                None => Said::Missing,
                Some((_, value)) => {
                    *value += delta;
                    Said::Done(Shown { value: Some(Value::Number(*value)), ..Shown::default() })
                }
            },
            Command::Delete { compare, in_place, .. } => match (found, compare, in_place) {
                (None, ..) => Said::Missing,
                (Some((cas, _)), Some(Cas(wanted)), _) if cas != *wanted => Said::Exists,
                (Some((_, value)), _, Some(change)) => {
                    let cas = change.new_cas.map_or(1, |Cas(cas)| cas);
                    self.items.insert(key.clone(), (cas, value));
                    Said::Done(Shown::default())
                }
                (Some(_), _, None) => {
                    self.items.remove(key);
                    Said::Done(Shown::default())
                }
            },
            Command::Set { .. } => {
                self.written.push(key.clone());
                Said::Refused(Refusal::Other)
            }
        }
    }
}

/// Shards, and the memcached behind them.
struct Bench {
    shards: Shards,
    env: Outside,
    /// One for each shard.
    memories: Vec<Memory>,
    answers: BTreeMap<RequestId, Reply>,
    /// Commands whose answers are held back, where that is wanted.
    held_back: Option<Vec<(LinkId, Vec<Command>)>>,
    reachable: bool,
    process: u64,
    last_link: u64,
    asked: u32,
}

impl Bench {
    fn new() -> Bench {
        Bench::of(None)
    }

    fn of(watcher: Option<Watcher>) -> Bench {
        Bench::with(1, watcher)
    }

    fn with(servers: usize, watcher: Option<Watcher>) -> Bench {
        let mut env = Outside::default();
        let members = (0..servers).map(member).collect();
        let settings = Settings { members, max_ttl: MAX_TTL, note: None, watcher };
        let shards = Shards::new(settings, 1, &mut env);
        let (memories, answers) = ((0..servers).map(|_| Memory::default()).collect(), BTreeMap::new());
        let (reachable, process, last_link, asked) = (true, 1, 0, 0);
        Bench { shards, env, memories, answers, held_back: None, reachable, process, last_link, asked }
    }

    /// Makes one that grants locks.
    fn open() -> Bench {
        let mut bench = Bench::new();
        bench.pass(MAX_TTL + Duration::from_secs(3));
        assert_eq!(bench.state(), ShardState::Open);
        bench
    }

    fn state(&self) -> ShardState {
        self.shards.status(0, self.env.now).state
    }

    /// Lets time pass, in steps of 10 ms.
    fn pass(&mut self, span: Duration) {
        let until = self.env.now + span;
        while self.env.now < until {
            self.env.now = self.env.now + Duration::from_millis(10);
            self.turn();
        }
    }

    /// Sends what waits, and brings all answers.
    fn turn(&mut self) {
        self.shards.flush(&mut self.env);
        while let Some(output) = self.shards.output() {
            match output {
                Output::TellKeeper { .. } | Output::TellObserver { .. } | Output::Change(_) => {}
                Output::Meet { shard, .. } => assert!(shard < self.memories.len(), "it is a server of the test"),
                Output::Answer { id, reply, .. } => {
                    assert_eq!(self.answers.insert(id, reply), None, "a request has one answer");
                }
                Output::Dial { shard, .. } => {
                    let dialled = self.dial(shard);
                    self.shards.dialled(shard, dialled, &mut self.env);
                }
                Output::Compare { shard } => self.shards.compared(shard, None, &mut self.env),
                Output::Send { shard, link, commands, .. } => match &mut self.held_back {
                    Some(held_back) => held_back.push((link, commands)),
                    None => self.answer(shard, link, &commands),
                },
                Output::Hangup { .. } | Output::News { .. } | Output::Ready(_) | Output::Wake { .. } => {}
            }
            self.shards.flush(&mut self.env);
        }
    }

    fn dial(&mut self, shard: usize) -> Result<Dialled, Unreached> {
        if !self.reachable {
            return Err(Unreached { why: "nobody answers".into(), reason: crate::failure::Cause::StoreUnavailable });
        }
        self.last_link += 1;
        let process = Some(Process { pid: self.process, began: shard as u64 });
        let address = SocketAddr::from(([127, 0, 0, 1], 11_211));
        Ok(Dialled { link: LinkId(self.last_link), address, process, refusal: None })
    }

    fn answer(&mut self, shard: usize, link: LinkId, commands: &[Command]) {
        let said = match self.reachable {
            true => Ok(commands.iter().map(|command| self.memories[shard].execute(command, self.env.now)).collect()),
            false => Err("the connection broke".into()),
        };
        self.shards.answered(shard, link, said, &mut self.env);
    }

    fn execute(&mut self, shard: usize, command: &Command) -> Said {
        self.memories[shard].execute(command, self.env.now)
    }

    fn stamp(&mut self, shard: usize) -> Stamp {
        let state = self.execute(shard, &protocol::probe());
        protocol::read_state(&state).unwrap().stamp().expect("it has an S")
    }

    /// Announces a change of all servers to one that is new, at those that are named.
    fn announce(&mut self, noted: &[usize]) {
        let new = self.memories.len();
        let to = Topology { members: vec![member(new)], max_ttl: MAX_TTL };
        let next = next(self.stamp(0), 1_001);
        self.memories.push(Memory::default());
        self.execute(new, &protocol::begin(next, to.fingerprint(), Made::ByChange));
        for memory in &mut self.memories {
            memory.texts.insert(Key::Topology(to.fingerprint()), to.text());
        }
        for shard in noted {
            self.execute(*shard, &protocol::note_change(next.generation, to.fingerprint()));
        }
        self.pass(Duration::from_secs(3));
        assert!(self.shards.is_changing(), "it was announced");
    }

    fn flip(&mut self, shard: usize) {
        let from = self.stamp(shard);
        self.execute(shard, &protocol::flip(from, next(from, 1_002)));
    }

    /// Moves all names of one server to another, which is not open yet. Returns after the broker has seen the flip.
    fn move_names(&mut self) {
        self.announce(&[0]);
        self.flip(0);
        self.pass(Duration::from_secs(2));
        assert_eq!(self.shards.status(1, self.env.now).state, ShardState::Moving);
    }

    /// Renews the lock. Returns what that came to, and how many locks' items were created at the new server.
    fn renew(&mut self, id: GrantId) -> (Option<Reply>, usize) {
        let renewed = self.ask(renewal(id));
        self.pass(Duration::from_secs(1));
        (self.reply(renewed).cloned(), self.memories[1].created)
    }

    fn ask(&mut self, request: Request) -> RequestId {
        self.asked += 1;
        let id = RequestId::outside(self.asked);
        self.shards.ask(id, name().into(), request, &mut self.env);
        self.turn();
        id
    }

    fn reply(&self, id: RequestId) -> Option<&Reply> {
        self.answers.get(&id)
    }

    /// Grants the lock under an id.
    fn grant(&mut self, id: GrantId) {
        let asked = self.ask(Request::Grant { id, ttl: 10 });
        assert!(matches!(self.reply(asked), Some(Reply::Granted(Ok(Granted::Yes(_))))), "{:?}", self.reply(asked));
    }
}

fn next(stamp: Stamp, epoch: u64) -> Stamp {
    Stamp { epoch: Epoch::from_random(epoch), generation: stamp.generation.next().unwrap() }
}

fn member(shard: usize) -> Member {
    Member { address: format!("memcached-{shard}.test:11211").into(), weight: 1 }
}

fn name() -> LockName {
    LockName::new("job").unwrap()
}

fn renewal(id: GrantId) -> Request {
    Request::Renew { state: ItemState::Held(id), owner: Owner::default(), ttl: 10 }
}

const ID: fn(u64) -> GrantId = GrantId::from_random;

#[test]
fn a_memory_without_state_grants_nothing_for_the_longest_ttl() {
    let mut bench = Bench::new();
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.state(), ShardState::Closed);
    let refused = bench.ask(Request::Grant { id: ID(1), ttl: 10 });
    assert!(matches!(bench.reply(refused), Some(Reply::Granted(Err(StoreError::Unavailable { .. })))));
    bench.pass(MAX_TTL - Duration::from_millis(2_100));
    assert_eq!(bench.state(), ShardState::Closed);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.state(), ShardState::Open);
    assert_eq!(bench.memories[0].created, 0, "no grant was sent (R20a)");
    bench.grant(ID(2));
}

#[test]
fn a_lock_lives_through_a_flush_between_its_renewal_and_the_witness() {
    let mut bench = Bench::open();
    bench.grant(ID(1));
    bench.held_back = Some(Vec::new());
    let renewed = bench.ask(renewal(ID(1)));
    let mut sent = bench.held_back.take().expect("it was held back");
    let (link, commands) = sent.pop().expect("a batch was sent");
    let split = commands.len() - 1;
    let mut said: Vec<Said> =
        commands[..split].iter().map(|command| bench.memories[0].execute(command, bench.env.now)).collect();
    bench.memories[0].items.clear();
    said.push(bench.memories[0].execute(&commands[split], bench.env.now));
    bench.shards.answered(0, link, Ok(said), &mut bench.env);
    sent.into_iter().for_each(|(link, commands)| bench.answer(0, link, &commands));
    bench.turn();
    let uncertain =
        Some(Reply::Changed(Err(StoreError::uncertain("the shard lost its memory while the command was under way"))));
    assert_eq!(bench.reply(renewed).cloned(), uncertain, "the witness came after the loss (R13)");
    let again = bench.ask(renewal(ID(1)));
    bench.pass(Duration::from_millis(1_500));
    let again = match bench.reply(again) {
        Some(Reply::Changed(Err(StoreError::Unavailable { .. }))) => bench.ask(renewal(ID(1))),
        _ => again,
    };
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.reply(again), Some(&Reply::Changed(Ok(Change::Done))), "it was created again (R16)");
    assert_eq!(bench.state(), ShardState::Closed);
    let look = bench.ask(Request::Look);
    let held = ItemState::Held(ID(1));
    assert!(matches!(bench.reply(look), Some(Reply::Status(Ok(LockStatus::Taken { state, .. }))) if *state == held));
}

#[test]
fn in_a_closed_shard_nothing_but_a_success_is_final() {
    let mut bench = Bench::new();
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.state(), ShardState::Closed);
    for request in
        [Request::Look, Request::Stands(ID(1)), Request::Remove { state: ItemState::Held(ID(1)), quiet: false }]
    {
        let asked = bench.ask(request);
        let reply = bench.reply(asked).cloned();
        let unavailable = match &reply {
            Some(Reply::Status(Err(error)) | Reply::Stands(Err(error)) | Reply::Changed(Err(error))) => {
                matches!(error, StoreError::Unavailable { .. })
            }
            _ => false,
        };
        assert!(unavailable, "{reply:?}");
    }
    let renewed = bench.ask(renewal(ID(1)));
    assert_eq!(bench.reply(renewed), Some(&Reply::Changed(Ok(Change::Done))));
    let other = bench.ask(renewal(ID(2)));
    assert!(matches!(bench.reply(other), Some(Reply::Changed(Err(StoreError::Unavailable { .. })))), "not TakenOver");
}

#[test]
fn what_serves_a_holder_waits_a_second_for_a_shard_and_no_longer() {
    let mut bench = Bench::open();
    bench.grant(ID(1));
    bench.reachable = false;
    // It finds out, by what is under way.
    bench.ask(Request::Look);
    let parked = bench.ask(renewal(ID(1)));
    let refused = bench.ask(Request::Look);
    assert!(matches!(bench.reply(refused), Some(Reply::Status(Err(StoreError::Unavailable { .. })))));
    assert_eq!(bench.reply(parked), None);
    bench.pass(Duration::from_millis(900));
    assert_eq!(bench.reply(parked), None);
    bench.pass(Duration::from_millis(200));
    assert!(matches!(bench.reply(parked), Some(Reply::Changed(Err(StoreError::Unavailable { .. })))));
    let in_time = bench.ask(renewal(ID(1)));
    bench.reachable = true;
    bench.pass(Duration::from_millis(900));
    assert_eq!(bench.reply(in_time), Some(&Reply::Changed(Ok(Change::Done))));
}

#[test]
fn what_nobody_waits_for_is_not_sent() {
    let mut bench = Bench::open();
    bench.held_back = Some(Vec::new());
    // Each takes a connection.
    for _ in 0..3 {
        bench.ask(Request::Look);
    }
    let given_up = [bench.ask(Request::Stands(ID(1))), bench.ask(Request::Grant { id: ID(2), ttl: 10 })];
    assert_eq!(bench.shards.status(0, bench.env.now).waiting, 2);
    given_up.into_iter().for_each(|id| bench.shards.give_up(id));
    let under_way = bench.held_back.replace(Vec::new()).expect("it was held back");
    under_way.into_iter().for_each(|(link, commands)| bench.answer(0, link, &commands));
    bench.turn();
    assert_eq!(bench.shards.status(0, bench.env.now).waiting, 0);
    assert!(bench.shards.common.wanted.is_empty(), "nothing is left of it");
    assert!(given_up.iter().all(|id| bench.reply(*id).is_none()));
    assert_eq!(bench.memories[0].created, 0);
}

#[test]
fn a_reassertion_that_nobody_waits_for_is_not_sent() {
    let mut bench = Bench::new();
    bench.pass(Duration::from_secs(3));
    bench.held_back = Some(Vec::new());
    let renewed = bench.ask(renewal(ID(1)));
    bench.shards.give_up(renewed);
    let under_way = bench.held_back.take().expect("it was held back");
    under_way.into_iter().for_each(|(link, commands)| bench.answer(0, link, &commands));
    bench.turn();
    assert_eq!((bench.memories[0].created, bench.reply(renewed)), (0, None));
    assert!(bench.shards.common.wanted.is_empty());
}

#[test]
fn a_token_that_was_given_before_makes_a_memory_an_old_one() {
    let mut bench = Bench::open();
    bench.grant(ID(1));
    let fence = bench.memories[0].items.iter_mut().find(|(key, _)| matches!(key, Key::Fence(_))).expect("it is open");
    fence.1.1 -= 1;
    bench.ask(Request::Remove { state: ItemState::Held(ID(1)), quiet: false });
    let again = bench.ask(Request::Grant { id: ID(2), ttl: 10 });
    assert!(matches!(bench.reply(again), Some(Reply::Granted(Err(StoreError::Uncertain { .. })))));
    assert_eq!(bench.shards.status(0, bench.env.now).distrust, Some(Distrust::TokensFell));
    assert_eq!(bench.state(), ShardState::Refused);
}

#[test]
fn a_broker_asks_for_a_place_of_observers_until_it_has_one_or_is_refused() {
    let of = |others, kept| job::Op::ObserveHere { others, kept, ttl: 10 };
    let next = |op: job::Op, said: Said| op.noted(&said).next;
    let done = Said::Done(Shown::default());
    assert_eq!(next(of(1, true), done.clone()), None, "it is its own");
    for anothers in [Said::Exists, Said::Missing] {
        assert_eq!(next(of(1, true), anothers), Some(of(1, false)));
    }
    assert_eq!(next(of(1, false), done), None, "it was free");
    assert_eq!(next(of(1, false), Said::NotStored), Some(of(0, true)));
    assert_eq!(next(of(0, false), Said::NotStored), None, "the last one");
    for kept in [true, false] {
        assert_eq!(next(of(15, kept), Said::Refused(Refusal::NoMemory)), None);
    }
}

#[test]
fn those_who_observe_push_no_label_out() {
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let mut bench = Bench::of(Some(Watcher { address, id: 1 }));
    bench.pass(Duration::from_secs(1));
    let owner = Owner::new("its holder").unwrap();
    let described = Note::Describe { id: ID(1), owner, token: FencingToken::new(1).unwrap(), call: None, ttl: 60 };
    bench.shards.order(Order::Note(name().into(), described), &mut bench.env);
    for number in 0..3_000 {
        let name = LockName::new(&format!("observed {number}")).unwrap();
        bench.shards.order(Order::Note(name.into(), Note::ObservedHere { ttl: 10 }), &mut bench.env);
    }
    bench.pass(Duration::from_secs(1));
    let written = |like: fn(&Key) -> bool| bench.memories[0].written.iter().filter(|key| like(key)).count();
    assert_eq!(written(|key| matches!(key, Key::Owner(_))), 1, "the label came through");
    assert!(written(|key| matches!(key, Key::Observer(..))) > 100, "so did many of theirs");
}

#[test]
fn a_held_lock_is_created_anew_where_it_moves_to() {
    let mut bench = Bench::open();
    bench.grant(ID(1));
    bench.move_names();
    assert_eq!(bench.renew(ID(1)), (Some(Reply::Changed(Ok(Change::Done))), 1));
    assert_eq!(bench.renew(ID(1)), (Some(Reply::Changed(Ok(Change::Done))), 1));
}

/// Another broker has taken the lock over just before the servers changed, under a new id.
#[test]
fn a_lock_that_had_another_id_before_it_moved_is_not_created_under_the_old_one() {
    let mut bench = Bench::open();
    bench.grant(ID(1));
    bench.move_names();
    let (cas, _) = bench.memories[0].items.get_mut(&Key::Lock(name().into())).expect("it is held");
    *cas = ItemState::Held(ID(2)).number();
    let (renewed, created) = bench.renew(ID(1));
    assert!(matches!(renewed, Some(Reply::Changed(Err(StoreError::Unavailable { .. })))), "{renewed:?}");
    assert_eq!(created, 0, "whoever has it now creates it");
    // A server that has lost it says nothing against it.
    bench.memories[0].items.retain(|key, _| !matches!(key, Key::Lock(_)));
    assert_eq!(bench.renew(ID(1)), (Some(Reply::Changed(Ok(Change::Done))), 1));
}

#[test]
fn a_held_lock_moves_though_its_server_of_before_has_lost_its_memory() {
    let mut bench = Bench::open();
    bench.grant(ID(1));
    bench.move_names();
    bench.memories[0].items.clear();
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.renew(ID(1)), (Some(Reply::Changed(Ok(Change::Done))), 1));
}

/// Whoever flips the servers may die in between.
#[test]
fn a_flip_that_has_begun_is_completed_where_the_change_is_noted() {
    for (noted, is_completed) in [(&[0, 1][..], true), (&[0], false)] {
        let mut bench = Bench::with(2, None);
        bench.pass(MAX_TTL + Duration::from_secs(3));
        bench.announce(noted);
        let before = bench.stamp(1);
        bench.pass(Duration::from_secs(5));
        assert_eq!(bench.stamp(1), before, "none was flipped yet");
        bench.flip(0);
        bench.pass(Duration::from_millis(900));
        assert_eq!(bench.stamp(1), before, "the operator's command may come to it");
        bench.pass(Duration::from_secs(3));
        let after = bench.stamp(1);
        assert_eq!(after != before, is_completed, "noted at {noted:?} (R22)");
        assert_eq!(after.generation > before.generation, is_completed);
    }
}
