//! The simulated servers that could be the real one, after all that it has answered.

use std::fmt::Write as _;
use std::time::Duration;

use lockbroker_core::Time;
use lockbroker_core::command::{Command, Key, Reply};
use lockbroker_sim::Choices;
use lockbroker_sim::memcached::{Room, Server, Settings};

use crate::real::{Exchange, Stats};
use crate::text;

/// The clock of a simulated server when it begins.
const BEGINS_AT: u32 = 62;
/// More states than this are too many: the comparison would say little.
const MOST: usize = 256;

/// All states in which the simulated server has answered everything as the real one did.
///
/// There may be several, because the simulated server leaves things to chance, and because nobody sees at which command
/// of a batch a clock ticked.
#[derive(Debug)]
pub(crate) struct States {
    states: Vec<Server>,
    /// What was asked since the last restart, and answered, with what the clock showed after that batch.
    history: Vec<(u32, Command, Reply)>,
    pub(crate) counts: Counts,
}

/// What the comparison has met.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) commands: u64,
    pub(crate) done: u64,
    pub(crate) refused: u64,
    /// Batches during which the clock ticked.
    pub(crate) ticks: u64,
    /// Commands whose answer only an odd choice explains.
    pub(crate) odd: u64,
    pub(crate) most_states: usize,
}

impl States {
    /// Begins with a server that has just been started.
    pub(crate) fn new(stats: Stats) -> States {
        let mut states = States { states: Vec::new(), history: Vec::new(), counts: Counts::default() };
        states.restart(stats, settings());
        states
    }

    /// Begins anew, with a server that has just been started.
    pub(crate) fn restart(&mut self, stats: Stats, settings: Settings) {
        let date = stats.zero_date + u64::from(BEGINS_AT);
        let mut server = Server::new(settings, at(BEGINS_AT), date, &mut nothing_odd());
        tick(&mut server, stats.second);
        self.states = vec![server];
        self.history.clear();
    }

    /// Carries out what the real server carried out, and keeps the states in which it would have answered the same.
    pub(crate) fn compare(&mut self, commands: &[Command], exchange: &Exchange) -> Result<(), String> {
        self.tick_to(exchange.before.second);
        let after = exchange.after.second;
        self.counts.ticks += u64::from(exchange.before.second != after);
        for (index, (command, reply)) in commands.iter().zip(&exchange.replies).enumerate() {
            self.may_tick_until(after);
            let survivors = self.step(command, reply);
            if survivors.is_empty() {
                return Err(self.difference(commands, exchange, index));
            }
            self.keep(survivors);
            self.history.push((after, command.clone(), reply.clone()));
            self.counts.commands += 1;
            self.counts.done += u64::from(matches!(reply, Reply::Done(_)));
            self.counts.refused += u64::from(matches!(reply, Reply::Refused(_)));
        }
        self.tick_to(after);
        self.answers_left();
        Ok(())
    }

    fn step(&mut self, command: &Command, reply: &Reply) -> Vec<Server> {
        let mut even = Vec::new();
        let mut odd = Vec::new();
        for state in &self.states {
            for (server, answer, was_odd) in outcomes(state, command) {
                if answer == *reply {
                    let survivors = if was_odd { &mut odd } else { &mut even };
                    survivors.push(server);
                }
            }
        }
        self.counts.odd += u64::from(even.is_empty());
        even.append(&mut odd);
        even
    }

    /// Carries out any number of the first commands, as where a connection was lost, until they are seen.
    pub(crate) fn lose(&mut self, commands: &[Command], second: u32) {
        self.may_tick_until(second);
        let mut all = self.states.clone();
        let mut states = std::mem::take(&mut self.states);
        for command in commands {
            let mut next = Vec::new();
            for state in &states {
                for (server, ..) in outcomes(state, command) {
                    push(&mut next, server.clone());
                    push(&mut all, server);
                }
            }
            states = next;
            self.states = states.clone();
            self.may_tick_until(second);
            states = std::mem::take(&mut self.states);
        }
        self.keep(all);
        self.tick_to(second);
        self.answers_left();
    }

    /// Flushes. `survives` says which of the items that may be spared were.
    pub(crate) fn flush_all(&mut self, before: Stats, after: Stats, survives: impl Fn(&Key) -> bool) -> (u64, u64) {
        self.tick_to(before.second);
        self.may_tick_until(after.second);
        let (mut asked, mut spared) = (0, 0);
        for state in &mut self.states {
            let answers: Vec<u64> = state.may_be_spared().iter().map(|key| u64::from(survives(key))).collect();
            asked = asked.max(answers.len() as u64);
            spared = spared.max(answers.iter().sum());
            let now = at(state.clock().shows());
            state.flush_all(now, &mut Choices::recorded(answers)).expect("flushes are allowed");
        }
        self.tick_to(after.second);
        (asked, spared)
    }

    /// Says whether there are too many states.
    pub(crate) fn too_many(&self) -> bool {
        self.states.len() > MOST
    }

    /// Returns the only state, where there is no doubt.
    pub(crate) fn only(&mut self) -> Option<&mut Server> {
        match self.states.as_mut_slice() {
            [server] => Some(server),
            _ => None,
        }
    }

    fn keep(&mut self, states: Vec<Server>) {
        self.states.clear();
        states.into_iter().for_each(|server| push(&mut self.states, server));
        self.counts.most_states = self.counts.most_states.max(self.states.len());
    }

    fn answers_left(&mut self) {
        self.states.iter_mut().for_each(Server::answers_left);
        let states = std::mem::take(&mut self.states);
        self.keep(states);
    }

    /// Sets all clocks to what the real one shows.
    pub(crate) fn tick_to(&mut self, second: u32) {
        self.states.iter_mut().for_each(|state| tick(state, second));
        let states = std::mem::take(&mut self.states);
        self.keep(states);
    }

    /// Adds the states in which the clock has ticked already.
    fn may_tick_until(&mut self, second: u32) {
        for index in 0..self.states.len() {
            for later in self.states[index].clock().shows()..second {
                let mut ticked = self.states[index].clone();
                tick(&mut ticked, later + 1);
                push(&mut self.states, ticked);
            }
        }
    }

    fn difference(&self, commands: &[Command], exchange: &Exchange, index: usize) -> String {
        let mut text = String::new();
        let key = commands[index].key();
        for (second, command, reply) in self.history.iter().filter(|(_, command, _)| command.key() == key) {
            let _ = writeln!(text, "{second}: {}\n      {}", text::print(command), text::print_reply(reply));
        }
        let (command, reply) = (text::print(&commands[index]), text::print_reply(&exchange.replies[index]));
        let seconds = (exchange.before.second, exchange.after.second);
        let _ = writeln!(text, "{seconds:?}: command {index} of {}: {command}\n  real: {reply}", commands.len());
        for state in self.states.iter().take(4) {
            for (_, answer, _) in outcomes(state, &commands[index]) {
                let _ = writeln!(text, "    simulated at {}: {}", state.clock().shows(), text::print_reply(&answer));
            }
        }
        text
    }
}

/// Returns everything that may come of a command, and whether something odd was chosen for it.
fn outcomes(state: &Server, command: &Command) -> Vec<(Server, Reply, bool)> {
    let mut outcomes = Vec::new();
    let mut answers = Vec::new();
    loop {
        let mut server = state.clone();
        let mut choices = Choices::recorded(answers);
        let now = at(server.clock().shows());
        let reply = server.execute(command, now, &mut choices);
        outcomes.push((server, reply, choices.asked().iter().any(|asked| asked.answer != 0)));
        // The next list of answers, as a number is counted up: from its end.
        let mut asked = choices.asked().to_vec();
        while asked.last().is_some_and(|last| last.answer + 1 >= last.bound) {
            asked.pop();
        }
        let Some(last) = asked.last_mut() else { return outcomes };
        last.answer += 1;
        answers = asked.iter().map(|asked| asked.answer).collect();
    }
}

/// Returns the settings of a simulated server that is started as the real one is.
pub(crate) fn settings() -> Settings {
    let prefix_bytes = u32::try_from(text::PREFIX.len()).expect("a short prefix");
    Settings { prefix_bytes, room: Room::Page, ..Settings::default() }
}

fn push(states: &mut Vec<Server>, state: Server) {
    if !states.contains(&state) {
        states.push(state);
    }
}

fn tick(server: &mut Server, second: u32) {
    if server.clock().shows() < second {
        server.tick(at(second), &mut nothing_odd());
    }
}

/// Returns the moment at which a simulated clock shows this.
fn at(second: u32) -> Time {
    Time::from_nanos(0) + Duration::from_secs(second.into())
}

/// Answers that nothing odd happens.
pub(crate) fn nothing_odd() -> Choices {
    Choices::recorded(Vec::new())
}

/// Returns the moment that a server's clock shows.
pub(crate) fn now(server: &Server) -> Time {
    at(server.clock().shows())
}
