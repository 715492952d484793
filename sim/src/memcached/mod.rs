//! A memcached, by the rules of its source, as far as brokers can tell: docs/simulated-memcached.md lists the rules, and
//! says what is left out.

mod clock;
mod commands;
mod items;
mod memory;
#[cfg(test)]
mod tests;

use lockbroker_core::Time;
use lockbroker_core::command::{Command, Key, Reply, Value};

pub use clock::Clock;
pub use memory::Room;

use crate::Choices;
use items::{Context, Items};

/// How a server is started.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The bytes before every key: items with longer keys take more memory.
    pub prefix_bytes: u32,
    /// The least memory that an item takes (48 and `-n`).
    pub smallest_bytes: u32,
    /// How much memory there is.
    pub room: Room,
    /// Others use its memory too: any command that needs some may be refused, however few items there are here.
    pub shared: bool,
    /// There is no memory left for anything.
    pub full: bool,
    /// Throws items out when memory is full (no `-M`). Brokers refuse such a server.
    pub evicts: bool,
    /// Lets clients flush (no `-F`).
    pub flushes: bool,
    /// How many connections there may be.
    pub connections: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            prefix_bytes: 3,
            smallest_bytes: memory::SMALLEST,
            room: Room::Ample,
            shared: false,
            full: false,
            evicts: false,
            flushes: true,
            connections: 1_000,
        }
    }
}

/// What is left of the items when a process has ended and another one begins in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Nothing.
    Cold,
    /// Everything (`-e`). Brokers refuse such a server.
    Warm,
}

/// An item that is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: Key,
    pub cas: u64,
    pub value: Value,
    /// The second since 1970 in which it is over, by the server's clock.
    pub until: u64,
}

/// A client was turned away: there are too many connections, or `flush_all` is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TurnedAway;

/// One memcached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    settings: Settings,
    clock: Clock,
    items: Items,
    /// The date at which the clock would have shown 0, in seconds since 1970.
    zero_date: u64,
    connections: u32,
}

impl Server {
    /// Starts a server. `date` is what its machine takes for the seconds since 1970.
    pub fn new(settings: Settings, now: Time, date: u64, choices: &mut Choices) -> Server {
        let zero_date = date.saturating_sub(clock::BEGINS_AT.into());
        Server { settings, clock: Clock::new(now, choices), items: Items::new(), zero_date, connections: 0 }
    }

    /// Takes a connection.
    ///
    /// # Errors
    /// There are too many.
    pub fn connect(&mut self) -> Result<(), TurnedAway> {
        if self.connections >= self.settings.connections {
            return Err(TurnedAway);
        }
        self.connections += 1;
        Ok(())
    }

    /// Notes that a connection has ended.
    pub fn disconnect(&mut self) {
        self.connections = self.connections.saturating_sub(1);
    }

    /// Refuses all that needs memory from now on, or no more.
    pub fn set_full(&mut self, full: bool) {
        self.settings.full = full;
    }

    /// Refuses some of what needs memory from now on, or no more.
    pub fn set_shared(&mut self, shared: bool) {
        self.settings.shared = shared;
    }

    /// Returns the number of an item that lives, without leaving a trace.
    pub fn peek(&mut self, key: &Key, now: Time, choices: &mut Choices) -> Option<u64> {
        self.clock.advance(now, choices);
        self.items.peek(key, self.clock.shows())
    }

    /// Lists the items that live, as its tools do.
    pub fn list(&mut self, now: Time, choices: &mut Choices) -> Vec<Listed> {
        self.clock.advance(now, choices);
        self.items.list(self.clock.shows(), self.zero_date)
    }

    /// Returns what it takes for the seconds since 1970.
    pub fn date(&mut self, now: Time, choices: &mut Choices) -> u64 {
        self.clock.advance(now, choices);
        self.zero_date + u64::from(self.clock.shows())
    }

    /// Carries out a command.
    ///
    /// # Panics
    /// In tests, if the server is stopped.
    pub fn execute(&mut self, command: &Command, now: Time, choices: &mut Choices) -> Reply {
        debug_assert!(!self.clock.is_stopped(), "a stopped process carries out nothing");
        self.clock.advance(now, choices);
        let Server { settings, clock, items, zero_date, .. } = self;
        items.execute(command, &mut Context { settings, second: clock.shows(), zero_date: *zero_date, choices })
    }

    /// Notes that all answers so far have been sent. Until then they keep the items that they show in memory.
    pub fn answers_left(&mut self) {
        self.items.answers_left();
    }

    /// Carries out a `flush_all`.
    ///
    /// # Errors
    /// It is not allowed.
    pub fn flush_all(&mut self, now: Time, choices: &mut Choices) -> Result<(), TurnedAway> {
        self.clock.advance(now, choices);
        if !self.settings.flushes {
            return Err(TurnedAway);
        }
        self.items.flush(self.clock.shows(), choices);
        Ok(())
    }

    /// Lists the items that a `flush_all` may spare if it comes now, in the order of its choices.
    pub fn may_be_spared(&self) -> Vec<Key> {
        self.items.may_be_spared(self.clock.shows())
    }

    /// Returns its clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Runs the handler of the clock now, before it is due.
    pub fn tick(&mut self, now: Time, choices: &mut Choices) {
        self.clock.tick(now, choices);
    }

    /// Stops the process (SIGSTOP). What is sent to it waits.
    pub fn stop(&mut self, now: Time, choices: &mut Choices) {
        self.clock.stop(now, choices);
    }

    /// Lets the process go on (SIGCONT).
    pub fn resume(&mut self, now: Time, choices: &mut Choices) {
        self.clock.resume(now, choices);
    }

    /// Ends the process, and starts another one in its place. All connections are gone.
    pub fn restart(&mut self, how: Restart, now: Time, date: u64, choices: &mut Choices) {
        match how {
            Restart::Cold => *self = Server::new(self.settings.clone(), now, date, choices),
            Restart::Warm => {
                // It takes the time in between from the date, and counts on.
                let second = u32::try_from(date.saturating_sub(self.zero_date)).unwrap_or(u32::MAX);
                self.clock = Clock::showing(second.max(self.clock.shows()), now, choices);
                self.items.answers_left();
                self.items.next_cas();
                self.connections = 0;
            }
        }
    }
}
