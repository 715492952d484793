//! What is asked: commands drawn from a seed, most of them in the shapes that the broker sends.

use lockbroker_core::command::{Cas, Command, Create, InPlace, Key, Mode, Reply, Shown, Ttl, Value, Want};
use lockbroker_core::lock::LockName;
use lockbroker_sim::Choices;

/// The length of names: so most kinds of items are of one class.
const NAME: usize = 100;

/// Draws commands.
#[derive(Debug)]
pub(crate) struct Script {
    chance: Choices,
    /// Numbers that memcached has given out.
    seen: Vec<u64>,
    /// The date at which the clock of the server at hand would have shown 0.
    pub(crate) zero_date: u64,
    pub(crate) second: u32,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Script {
        Script { chance: Choices::seeded(seed, 0), seen: vec![2], zero_date: 0, second: 0 }
    }

    /// Draws a number below `bound`.
    pub(crate) fn draw(&mut self, bound: u64) -> u64 {
        self.chance.spread(bound)
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.draw(of) == 0
    }

    fn some<T>(&mut self, value: T) -> Option<T> {
        (self.draw(2) == 0).then_some(value)
    }

    /// Notes the numbers in answers, so that later commands compare with them.
    pub(crate) fn note(&mut self, replies: &[Reply]) {
        for reply in replies {
            if let Reply::Done(Shown { cas: Some(Cas(cas)), .. }) = reply {
                let slot = usize::try_from(self.draw(6)).expect("small");
                match self.seen.get_mut(slot) {
                    Some(seen) => *seen = *cas,
                    None => self.seen.push(*cas),
                }
            }
        }
    }

    fn cas(&mut self) -> Cas {
        let seen = usize::try_from(self.draw(self.seen.len() as u64)).expect("small");
        match self.draw(16) {
            0 => Cas(0),
            1 => Cas::SENTINEL,
            2..6 => Cas(self.seen[seen]),
            other => Cas(10_000_000_000_000_000_000 + other % 3),
        }
    }

    fn new_cas(&mut self) -> Cas {
        Cas(10_000_000_000_000_000_000 + self.draw(3))
    }

    fn ttl(&mut self) -> Ttl {
        match self.draw(16) {
            0 => Ttl::Never,
            1 => Ttl::Ended,
            2 => Ttl::Until(2_147_480_000),
            3 => {
                let date = self.zero_date + u64::from(self.second) + self.draw(5) - 1;
                Ttl::Until(u32::try_from(date).expect("a date before 2038"))
            }
            4 => Ttl::Until(u32::try_from(self.zero_date - self.draw(2)).expect("a date before 2038")),
            5 => Ttl::Seconds(15),
            6 => Ttl::Seconds(Ttl::LONGEST),
            other => Ttl::Seconds(u32::try_from(other % 5).expect("small") + 1),
        }
    }

    fn want(&mut self) -> Want {
        let bits = self.draw(8);
        Want { cas: bits & 1 != 0, left: bits & 2 != 0, value: bits & 4 != 0 }
    }

    fn value(&mut self) -> Value {
        match self.draw(8) {
            0 => Value::Text("".into()),
            1 => Value::Text(format!("{} a label", self.draw(20)).into()),
            2 => Value::Text("99999999999999999999 too large a number".into()),
            3 | 4 => Value::Text(format!("10.0.0.7:{}", 28_000 + self.draw(900)).into()),
            5 => Value::Text("x".repeat(usize::try_from(self.draw(60)).expect("small")).into()),
            _ => Value::Number([7, 95, 9_999_999, u64::MAX - 2][usize::try_from(self.draw(4)).expect("small")]),
        }
    }

    fn key(&mut self) -> Key {
        all_keys()[usize::try_from(self.draw(all_keys().len() as u64)).expect("small")].clone()
    }

    /// Draws a command.
    pub(crate) fn command(&mut self) -> Command {
        let key = self.key();
        match self.draw(11) {
            0 | 1 => self.grant(key),
            2 | 3 => {
                let (ttl, new_cas) = (self.ttl(), self.new_cas());
                let in_place = Some(InPlace {
                    ttl: (!self.one_in(6)).then_some(ttl),
                    new_cas: (!self.one_in(6)).then_some(new_cas),
                });
                Command::Delete { key, compare: Some(self.cas()), in_place }
            }
            4 => {
                let compare = self.cas();
                Command::Delete { key, compare: (!self.one_in(5)).then_some(compare), in_place: None }
            }
            5 | 6 => Command::Get { key, bump: self.one_in(2), touch: None, want: self.want() },
            7 => {
                let touch = Some(self.ttl());
                Command::Get { key, bump: self.one_in(2), touch, want: self.want() }
            }
            8 | 9 => self.note_of(key),
            _ => self.count(key),
        }
    }

    fn grant(&mut self, key: Key) -> Command {
        let id = self.new_cas();
        Command::Arithmetic {
            key,
            delta: 0,
            create: Some(Create { ttl: self.ttl(), initial: id.0 }),
            compare: Some(Cas::SENTINEL),
            new_cas: Some(id),
            want: Want { cas: true, ..Want::default() },
        }
    }

    fn note_of(&mut self, key: Key) -> Command {
        let mode = match self.draw(3) {
            0 => Mode::Always,
            1 => Mode::IfMissing,
            _ => Mode::IfCas(self.cas()),
        };
        let new_cas = self.new_cas();
        Command::Set { key, mode, ttl: self.ttl(), new_cas: self.some(new_cas), value: self.value() }
    }

    fn count(&mut self, key: Key) -> Command {
        let initial = [0, 9, 95, 1_000_000][usize::try_from(self.draw(4)).expect("small")];
        let create = Create { ttl: self.ttl(), initial };
        let (compare, new_cas) = (self.cas(), self.new_cas());
        Command::Arithmetic {
            key,
            delta: [0, 1, 7, u64::MAX][usize::try_from(self.draw(4)).expect("small")],
            create: self.some(create),
            compare: self.one_in(3).then_some(compare),
            new_cas: self.one_in(4).then_some(new_cas),
            want: self.want(),
        }
    }

    /// Draws a batch.
    pub(crate) fn batch(&mut self, commands: u64) -> Vec<Command> {
        (0..commands).map(|_| self.command()).collect()
    }
}

/// Returns all items that are used.
pub(crate) fn all_keys() -> Vec<Key> {
    let mut keys = vec![Key::State, Key::Fence(1_234_567_890), Key::Broker(7), Key::Broker(8), Key::Permits];
    for letter in ["a", "b", "c"] {
        let name = name(letter);
        keys.extend([Key::Lock(name.clone().into()), Key::Owner(name.clone().into())]);
        keys.extend([Key::Slots(name.clone()), Key::Watcher(name.clone()), Key::Line(name)]);
    }
    keys
}

/// Returns a name of full length.
pub(crate) fn name(begin: &str) -> LockName {
    LockName::new(&format!("{begin:-<NAME$}")).expect("a name")
}

/// Looks at an item, and changes as little as a look can.
pub(crate) fn look_at(key: Key) -> Command {
    Command::Get { key, bump: false, touch: None, want: Want { cas: true, left: true, value: true } }
}

/// Counts up from 0.
pub(crate) fn count_up(key: Key) -> Command {
    let create = Some(Create { ttl: Ttl::Never, initial: 0 });
    Command::Arithmetic { key, delta: 1, create, compare: None, new_cas: None, want: Want::default() }
}

/// Reads an item twice so that it counts as used.
pub(crate) fn read_twice(key: Key) -> [Command; 2] {
    let read = Command::Get { key, bump: true, touch: None, want: Want::default() };
    [read.clone(), read]
}

/// Writes an item if there is none.
pub(crate) fn note_if_missing(key: Key) -> Command {
    Command::Set { key, mode: Mode::IfMissing, ttl: Ttl::Never, new_cas: None, value: Value::Number(7) }
}

/// Looks at all items, and changes as little as a look can.
pub(crate) fn look_at_all() -> Vec<Command> {
    all_keys().into_iter().map(look_at).collect()
}

/// Creates one more item, of the class that most of them are of, to fill the memory.
pub(crate) fn filler(number: u64, ttl: Ttl) -> Command {
    filler_of(NAME, number, ttl)
}

/// The same with a name of this length.
pub(crate) fn filler_of(bytes: usize, number: u64, ttl: Ttl) -> Command {
    let name = format!("{:-<bytes$}", format!("fill{number}"));
    Command::Arithmetic {
        key: Key::Lock(LockName::new(&name).expect("a name").into()),
        delta: 0,
        create: Some(Create { ttl, initial: 10_000_000_000_000_000_000 }),
        compare: Some(Cas::SENTINEL),
        new_cas: Some(Cas(10_000_000_000_000_000_000)),
        want: Want::default(),
    }
}
