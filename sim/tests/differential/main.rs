//! Compares the simulated memcached with a real one: the same commands, drawn from a seed, with flushes, stops, lost
//! connections, full memory and restarts between them. Every answer must be one that the simulated one may give too.
//!
//! `LOCKBROKER_SIM_SEED` repeats a run as far as times allow; `LOCKBROKER_DIFFERENTIAL_COMMANDS` makes it longer.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a real process needs real time")]

mod clock;
mod explore;
mod rare;
mod real;
mod script;
mod text;

use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockbroker_core::command::{Command, Key, Refusal, Reply, Ttl, Value};
use lockbroker_sim::memcached::Settings;

use explore::{States, nothing_odd, now, settings};
use real::{Exchange, Real};
use script::Script;

/// Commands of a run where nothing else is said.
const COMMANDS: u64 = 2_500;
/// Commands that are sent at once, as batches of a broker are.
const BATCH: u64 = 20;
/// Counts the commands of a batch that was lost.
const COUNTER: Key = Key::Broker(9);

/// Both servers, and what has been met so far.
struct Pair {
    real: Real,
    states: States,
    script: Script,
    met: Met,
}

/// How often what happened.
#[derive(Debug, Default)]
struct Met {
    batches: u64,
    flushes: u64,
    /// Items that a flush might have spared, and those that it did.
    spareable: u64,
    spared: u64,
    stops: u64,
    /// Stops after which commands were carried out while the clock was behind.
    lags: u64,
    lost: u64,
    /// Lost batches of which only a part was carried out.
    lost_in_part: u64,
    restarts: u64,
    /// Restarts because too many states could be the real one.
    unclear: u64,
    full: u64,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let mut real = Real::start();
        let stats = real.look();
        let states = States::new(stats);
        let mut pair = Pair { real, states, script: Script::new(seed), met: Met::default() };
        pair.script.zero_date = stats.zero_date;
        pair
    }

    fn exchange(&mut self, commands: &[Command]) {
        self.real.send(commands);
        self.receive(commands);
    }

    fn receive(&mut self, commands: &[Command]) -> Exchange {
        let exchange = self.real.receive(commands);
        self.script.second = exchange.after.second;
        if let Err(difference) = self.states.compare(commands, &exchange) {
            panic!("they differ after {:?}\n{:?}\n{difference}", self.met, self.states.counts);
        }
        self.script.note(&exchange.replies);
        exchange
    }

    fn batch(&mut self) {
        let commands = self.script.batch(BATCH);
        self.exchange(&commands);
        self.met.batches += 1;
    }

    /// Flushes. Which of the items are spared that may be, the real server shows.
    fn flush(&mut self) {
        let (before, after) = self.real.flush_all();
        let look = script::look_at_all();
        self.real.send(&look);
        let exchange = self.real.receive(&look);
        let alive: Vec<&Key> = look
            .iter()
            .zip(&exchange.replies)
            .filter_map(|(command, reply)| (*reply != Reply::Missing).then_some(command.key()))
            .collect();
        let (spareable, spared) = self.states.flush_all(before, after, |key| alive.contains(&key));
        if let Err(difference) = self.states.compare(&look, &exchange) {
            panic!("a flush differs after {:?}: {spareable} may be spared\n{difference}", self.met);
        }
        self.met.flushes += 1;
        self.met.spareable += spareable;
        self.met.spared += spared;
    }

    /// Sends a batch in two parts, between which the clock ticks.
    fn slow_batch(&mut self) {
        let commands = self.script.batch(BATCH);
        self.real.send_slowly(&commands, Duration::from_millis(300 + self.script.draw(900)));
        self.receive(&commands);
    }

    /// Makes items old, and uses some of them, so that the flush that follows may spare some.
    fn age(&mut self) {
        let keys = script::all_keys();
        let create: Vec<_> = keys.iter().map(|key| script::count_up(key.clone())).collect();
        self.exchange(&create);
        sleep(Duration::from_millis(2_100));
        let mut uses = Vec::new();
        for key in keys {
            match self.script.draw(4) {
                0 => uses.push(script::count_up(key)),
                1 => uses.extend(script::read_twice(key)),
                2 => uses.push(script::note_if_missing(key)),
                _ => {}
            }
        }
        self.exchange(&uses);
    }

    /// Stops the real server for some time. A batch waits for it.
    fn stop(&mut self) {
        let stopped = Duration::from_millis(200 + self.script.draw(1_900));
        let commands = self.script.batch(BATCH);
        let shown = self.real.look().second;
        self.real.stop();
        sleep(stopped);
        self.real.send(&commands);
        self.real.resume();
        let first = self.receive(&commands).before.second;
        self.met.stops += 1;
        self.met.lags += u64::from(stopped >= Duration::from_secs(1) && first == shown);
    }

    /// Loses a connection with commands under way. A counter shows how many of them were carried out.
    fn lose(&mut self) {
        self.exchange(&[Command::Delete { key: COUNTER, compare: None, in_place: None }]);
        let half = self.script.batch(BATCH / 2);
        let commands: Vec<Command> =
            half.into_iter().flat_map(|command| [command, script::count_up(COUNTER)]).collect();
        let before = self.real.look();
        self.states.tick_to(before.second);
        self.real.lose(&commands);
        let after = self.real.settle(before);
        self.states.lose(&commands, after.second);
        let mut look = script::look_at_all();
        look.push(script::look_at(COUNTER));
        self.real.send(&look);
        let counted = self.receive(&look).replies.pop();
        self.met.lost += 1;
        let all = Some(Value::Number(BATCH / 2 - 1));
        self.met.lost_in_part += u64::from(!matches!(counted, Some(Reply::Done(shown)) if shown.value == all));
    }

    fn restart(&mut self) {
        self.restart_with(&[], settings());
    }

    fn restart_with(&mut self, flags: &[&str], settings: Settings) {
        self.real = Real::start_with(flags);
        let stats = self.real.look();
        self.states.restart(stats, settings);
        self.script.zero_date = stats.zero_date;
        self.met.restarts += 1;
    }

    /// Fills the memory, of which all items take as much, and goes on.
    fn fill(&mut self) {
        self.restart_with(&["-n", "1000"], Settings { smallest_bytes: 1_048, ..settings() });
        let mut next = 0;
        while !self.fill_on(&mut next) {}
        for _ in 0..10 {
            let mut commands = self.script.batch(BATCH);
            let victim = self.script.draw(next);
            let Command::Arithmetic { key, .. } = script::filler(victim, Ttl::Never) else { unreachable!() };
            commands.push(Command::Delete { key, compare: None, in_place: None });
            self.exchange(&commands);
        }
        self.met.full += 1;
        self.restart();
    }

    /// Creates some more items; returns true when there is no more memory.
    fn fill_on(&mut self, next: &mut u64) -> bool {
        let ttls = [Ttl::Never, Ttl::Seconds(60), Ttl::Seconds(4)];
        let commands: Vec<_> =
            (*next..*next + 200).map(|number| script::filler(number, ttls[(number % 64 % 3) as usize])).collect();
        *next += 200;
        self.real.send(&commands);
        let exchange = self.real.receive(&commands);
        self.states.tick_to(exchange.before.second);
        let server = self.states.only().expect("a new server leaves no doubt");
        for (command, reply) in commands.iter().zip(&exchange.replies) {
            let simulated = server.execute(command, now(server), &mut nothing_odd());
            assert_eq!(simulated, *reply, "{}", text::print(command));
        }
        self.states.tick_to(exchange.after.second);
        exchange.replies.contains(&Reply::Refused(Refusal::NoMemory))
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_simulated_memcached_answers_as_the_real_one() {
    let seed = number("LOCKBROKER_SIM_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a date");
        now.as_secs() * 1_000 + u64::from(now.subsec_millis())
    });
    let commands = number("LOCKBROKER_DIFFERENTIAL_COMMANDS").unwrap_or(COMMANDS);
    println!("LOCKBROKER_SIM_SEED={seed}");
    let mut pair = Pair::new(seed);
    for round in 1.. {
        pair.batch();
        match round % 100 {
            10 | 30 | 50 | 70 => pair.lose(),
            15 => pair.slow_batch(),
            20 | 90 => pair.flush(),
            40 => pair.stop(),
            60 => {
                pair.age();
                pair.flush();
            }
            85 => pair.fill(),
            _ => sleep(Duration::from_millis(pair.script.draw(16))),
        }
        if pair.states.too_many() {
            pair.restart();
            pair.met.unclear += 1;
        }
        if pair.states.counts.commands >= commands {
            break;
        }
    }
    println!("{:?}\n{:?}", pair.states.counts, pair.met);
}
