//! One test for each rule that a broker could stumble over.

mod commands;
mod memory;
mod replay;
mod time;

use std::time::Duration;

use lockbroker_core::Time;
use lockbroker_core::command::{
    Cas, Command, Create, InPlace, Key, Left, Mode, Refusal, Reply, Shown, Stale, Ttl, Value, Want,
};
use lockbroker_core::lock::LockName;

use super::{Restart, Room, Server, Settings, TurnedAway};
use crate::Choices;

/// The date at which every server here begins.
const DATE: u64 = 1_700_000_000;
const NO_MEMORY: Reply = Reply::Refused(Refusal::NoMemory);
const ALL: Want = Want { cas: true, left: true, value: true };
const NONE: Want = Want { cas: false, left: false, value: false };

/// A server, and what time it is.
struct Bench {
    server: Server,
    now: Time,
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        let now = Time::from_nanos(0) + Duration::from_secs(1_000);
        Bench { server: Server::new(settings, now, DATE, &mut even()), now }
    }

    /// Begins one with room for so many items of each class.
    fn with_room(items: u32) -> Bench {
        Bench::new(Settings { room: Room::Items(items), ..Settings::default() })
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.server.clock.advance(self.now, &mut even());
    }

    fn ask(&mut self, command: Command) -> Reply {
        self.choose(command, &[])
    }

    fn choose(&mut self, command: Command, answers: &[u64]) -> Reply {
        let reply = self.server.execute(&command, self.now, &mut Choices::recorded(answers.to_vec()));
        self.server.answers_left();
        reply
    }

    fn look(&mut self, key: &Key) -> Option<Shown> {
        match self.ask(get(key, false, None)) {
            Reply::Done(shown) => Some(shown),
            _ => None,
        }
    }

    fn lives(&mut self, key: &Key) -> bool {
        self.look(key).is_some()
    }

    fn flush(&mut self, answers: &[u64]) {
        self.server.flush_all(self.now, &mut Choices::recorded(answers.to_vec())).unwrap();
    }
}

fn even() -> Choices {
    Choices::recorded(Vec::new())
}

fn lock(name: &str) -> Key {
    Key::Lock(LockName::new(name).unwrap().into())
}

fn get(key: &Key, bump: bool, touch: Option<Ttl>) -> Command {
    Command::Get { key: key.clone(), bump, touch, want: ALL }
}

fn create(key: &Key, ttl: Ttl, id: u64) -> Command {
    let create = Some(Create { ttl, initial: id });
    let want = Want { cas: true, ..NONE };
    Command::Arithmetic {
        key: key.clone(),
        delta: 0,
        create,
        compare: Some(Cas::SENTINEL),
        new_cas: Some(Cas(id)),
        want,
    }
}

fn add(key: &Key, delta: u64, new_cas: Option<u64>) -> Command {
    let want = Want { cas: true, value: true, ..NONE };
    Command::Arithmetic { key: key.clone(), delta, create: None, compare: None, new_cas: new_cas.map(Cas), want }
}

fn delete(key: &Key, compare: Option<u64>) -> Command {
    Command::Delete { key: key.clone(), compare: compare.map(Cas), in_place: None }
}

fn change(key: &Key, from: u64, to: u64, ttl: Ttl) -> Command {
    let in_place = Some(InPlace { ttl: Some(ttl), new_cas: Some(Cas(to)) });
    Command::Delete { key: key.clone(), compare: Some(Cas(from)), in_place }
}

fn set(key: &Key, mode: Mode) -> Command {
    let value = Value::Text("a text".into());
    Command::Set { key: key.clone(), mode, ttl: Ttl::Never, new_cas: None, value }
}

fn done() -> Reply {
    Reply::Done(Shown::default())
}
