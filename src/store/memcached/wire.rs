//! Commands as the bytes of memcached's meta protocol, and its answers as values.

use memcache::exp::{MetaCommand, MetaOp, MetaResponse, ReturnCode};

use lockbroker_core::command::{Cas, Command, Key, Left, Mode, Refusal, Reply, Shown, Stale, Ttl, Value, Want};

use crate::lock::LockItem;

/// The keys of one deployment on a memcached that others may use too.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    prefix: String,
}

impl Wire {
    pub(super) fn new(prefix: &str) -> Wire {
        Wire { prefix: prefix.to_owned() }
    }

    /// Returns what the keys of all locks begin with, and no others.
    pub(super) fn locks(&self) -> String {
        format!("{}L:", self.prefix)
    }

    /// Returns what the keys of all permits begin with, and no others. The number and a colon follow.
    pub(super) fn permits(&self) -> String {
        format!("{}P:", self.prefix)
    }

    /// Returns a command as the `memcache` crate sends it.
    pub(super) fn command(&self, command: &Command) -> MetaCommand {
        let mut flags = Flags::default();
        let op = match command {
            Command::Get { bump, touch, want, .. } => {
                flags.when(!bump, "u").wants(*want).ttl("T", *touch);
                MetaOp::Get
            }
            Command::Arithmetic { delta, create, compare, new_cas, want, .. } => {
                if let Some(create) = create {
                    flags.ttl("N", Some(create.ttl)).number("J", Some(create.initial));
                }
                flags.number("D", Some(*delta)).cas("C", *compare).cas("E", *new_cas).wants(*want);
                MetaOp::Arithmetic
            }
            Command::Delete { compare, in_place, .. } => {
                flags.cas("C", *compare);
                if let Some(change) = in_place {
                    flags.when(true, "I").ttl("T", change.ttl).cas("E", change.new_cas);
                }
                MetaOp::Delete
            }
            Command::Set { mode, ttl, new_cas, .. } => {
                match mode {
                    Mode::Always => {}
                    Mode::IfMissing => drop(flags.when(true, "ME")),
                    Mode::IfCas(cas) => drop(flags.cas("C", Some(*cas))),
                }
                flags.ttl("T", Some(*ttl)).cas("E", *new_cas);
                MetaOp::Set
            }
        };
        let mut line = MetaCommand::new(op, self.key(command.key()));
        if !flags.text.is_empty() {
            line = line.flag(flags.text);
        }
        match command {
            Command::Set { value: Value::Number(number), .. } => line.value(number.to_string()),
            Command::Set { value: Value::Text(text), .. } => line.value(text.to_string()),
            _ => line,
        }
    }

    /// Returns the key of a lock's item, or of a permit's: no name of a lock looks like the number of a permit and a colon.
    fn item(&self, item: &LockItem, lock: &str, permit: &str) -> Vec<u8> {
        let LockItem { name, permit: number } = item;
        let name = name.as_str().as_bytes();
        let prefix = self.prefix.as_bytes();
        match number {
            None => [prefix, lock.as_bytes(), name].concat(),
            Some(number) => {
                let mut digits = itoa::Buffer::new();
                [prefix, permit.as_bytes(), digits.format(number.get()).as_bytes(), b":", name].concat()
            }
        }
    }

    fn key(&self, key: &Key) -> Vec<u8> {
        let join = |kind: &str, rest: &str| [self.prefix.as_bytes(), kind.as_bytes(), rest.as_bytes()].concat();
        match key {
            Key::State => join("S", ""),
            Key::Fence(epoch) => join("F:", itoa::Buffer::new().format(*epoch)),
            Key::Topology(fingerprint) => join("T:", itoa::Buffer::new().format(*fingerprint)),
            Key::Notice(generation) => join("N:", itoa::Buffer::new().format(*generation)),
            Key::Former(generation) => join("M:", itoa::Buffer::new().format(*generation)),
            Key::Dead(generation) => join("D:", itoa::Buffer::new().format(*generation)),
            Key::Highest(generation) => join("G:", itoa::Buffer::new().format(*generation)),
            Key::Lock(item) => self.item(item, "L:", "P:"),
            Key::Owner(item) => self.item(item, "O:", "Q:"),
            Key::Permits => join("R", ""),
            Key::Slots(name) => join("R:", name.as_str()),
            Key::Watcher(name) => join("W:", name.as_str()),
            Key::Line(name) => join("H:", name.as_str()),
            Key::Observer(place, name) => {
                let mut digits = itoa::Buffer::new();
                join("U:", &[digits.format(*place), ":", name.as_str()].concat())
            }
            Key::Broker(place) => join("B:", itoa::Buffer::new().format(*place)),
            Key::Value(id) => join("V:", itoa::Buffer::new().format(id.get())),
        }
    }
}

/// Flags with numbers. There are some in every command, so they are not left to `format!`, which costs four times as
/// much.
#[derive(Default)]
struct Flags {
    text: String,
}

impl Flags {
    fn when(&mut self, set: bool, flag: &str) -> &mut Flags {
        if set {
            if self.text.is_empty() {
                const LONGEST: usize = 120;
                self.text.reserve(LONGEST);
            } else {
                self.text.push(' ');
            }
            self.text.push_str(flag);
        }
        self
    }

    fn number(&mut self, flag: &str, number: Option<u64>) -> &mut Flags {
        if let Some(number) = number {
            self.when(true, flag);
            self.text.push_str(itoa::Buffer::new().format(number));
        }
        self
    }

    fn cas(&mut self, flag: &str, cas: Option<Cas>) -> &mut Flags {
        self.number(flag, cas.map(|Cas(number)| number))
    }

    fn ttl(&mut self, flag: &str, ttl: Option<Ttl>) -> &mut Flags {
        match ttl {
            None => self,
            Some(Ttl::Never) => self.number(flag, Some(0)),
            Some(Ttl::Seconds(number) | Ttl::Until(number)) => self.number(flag, Some(number.into())),
            Some(Ttl::Ended) => {
                self.when(true, flag);
                self.text.push_str("-1");
                self
            }
        }
    }

    fn wants(&mut self, want: Want) -> &mut Flags {
        self.when(want.cas, "c").when(want.left, "t").when(want.value, "v")
    }
}

/// Reads the answer to a command. None if it is one that no memcached gives.
pub(super) fn read(command: &Command, response: &MetaResponse) -> Option<Reply> {
    Some(match response.rc() {
        ReturnCode::Hd | ReturnCode::Va => Reply::Done(shown(command, response)),
        ReturnCode::Ex => Reply::Exists,
        ReturnCode::En | ReturnCode::Nf => Reply::Missing,
        ReturnCode::Ns => Reply::NotStored,
        _ => return None,
    })
}

/// Reads a SERVER_ERROR or a CLIENT_ERROR. None if it says that the command was not understood.
pub(super) fn read_refusal(why: &str) -> Option<Reply> {
    tracing::debug!(why, "memcached refused a command");
    let why = why.to_ascii_lowercase();
    let refusal = match () {
        () if why.contains("out of memory") => Refusal::NoMemory,
        () if why.contains("non-numeric") => Refusal::NotANumber,
        () if why.starts_with("bad ") || why.contains("too long") => return None,
        () => Refusal::Other,
    };
    Some(Reply::Refused(refusal))
}

fn shown(command: &Command, response: &MetaResponse) -> Shown {
    let mut shown = Shown::default();
    let mut marks = (false, false);
    for flag in response.flags() {
        let Some((letter, rest)) = flag.split_first() else { continue };
        let number = || std::str::from_utf8(rest).ok();
        match letter {
            b'c' => shown.cas = number().and_then(|cas| cas.parse().ok()).map(Cas),
            b't' if rest == b"-1" => shown.left = Some(Left::Forever),
            b't' => shown.left = number().and_then(|left| left.parse().ok()).map(Left::Seconds),
            b'W' => marks.0 = true,
            b'Z' => marks.1 = true,
            _ => {}
        }
    }
    shown.stale = match marks {
        (true, _) => Stale::First,
        (false, true) => Stale::Again,
        (false, false) => Stale::No,
    };
    shown.value = response.value().map(|value| {
        let text = String::from_utf8_lossy(value);
        // Blanks follow a number that has become shorter. Zeros in front would be lost.
        let digits = match command.key() {
            Key::Fence(_) => text.trim_end(),
            Key::State | Key::Notice(_) | Key::Highest(_) => &text,
            _ => "",
        };
        let number =
            Some(digits).filter(|digits| !digits.starts_with(['0', '+'])).and_then(|digits| digits.parse().ok());
        number.map_or_else(|| Value::Text(text.as_ref().into()), Value::Number)
    });
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::lock::{
        CallKey, FencingToken, GrantId, LingerId, LockItem, LockName, LockValue, MAX_PERMITS, Owner, Permit,
    };
    use crate::store::{ItemState, Label};
    use lockbroker_core::shard::protocol;
    use lockbroker_core::shard::state_item::{Epoch, Made, Stamp};
    use lockbroker_core::shard::{Member, Topology, Watcher};
    use lockbroker_core::store::{Slots, Stored};

    proptest! {
        /// Names and prefixes of visible ASCII go as they are, others as base64: neither way may two meet.
        #[test]
        fn every_name_has_keys_of_its_own(
            prefix in "[!-~]{0,48}",
            names in prop::collection::hash_set("\\PC{1,32}|[SFTLOBWHPQRVU:0-9]{1,12}|[A-Za-z0-9+/=:]{1,48}", 2..20),
            epoch: u64,
        ) {
            let wire = Wire::new(&prefix);
            let key = |command: Command| {
                let line = wire.command(&command).encode().unwrap();
                let words: Vec<_> = line[..line.len() - 2].split(|&byte| byte == b' ').collect();
                (words[1].to_vec(), words.contains(&b"b".as_slice()))
            };
            let mut seen = HashSet::new();
            prop_assert!(seen.insert(key(protocol::clock())));
            prop_assert!(seen.insert(key(protocol::highest_token(Epoch::from_random(epoch)))));
            prop_assert!(seen.insert(key(protocol::look_for_broker(7))));
            prop_assert!(seen.insert(key(protocol::look_for_topology(7))));
            prop_assert!(seen.insert(key(protocol::look_for_permits())));
            prop_assert!(seen.insert(key(protocol::look_for_value(GrantId::from_random(epoch)))));
            for name in names.iter().filter_map(|name| LockName::new(name).ok()) {
                let permit = LockItem { permit: Permit::new(MAX_PERMITS - 1), name: name.clone() };
                let lock = LockItem::from(&name);
                let of_item = [&lock, &permit].map(|item| [protocol::look(item), protocol::look_for_owner(item)]);
                let of_name = [protocol::look_for_slots(&name), protocol::look_for_observer(&name, 15)];
                for command in of_item.into_iter().flatten().chain(of_name) {
                    let key = key(command);
                    prop_assert!(key.0.len() <= memcache::exp::MAX_KEY_LENGTH, "{} bytes", key.0.len());
                    prop_assert!(seen.insert(key), "{name:?} shares a key");
                }
            }
        }

        /// Whatever the line of an answer says, reading it ends in a value or in none.
        #[test]
        fn no_answer_is_too_odd_to_be_read(
            line in "(HD|EX|NF|EN|NS|MN|VA|XX)( [!-~]{0,24}){0,4}|[ -~]{0,40}",
            id in 10_000_000_000_000_000_000..u64::MAX,
        ) {
            let Ok(response) = MetaResponse::parse_header(line.as_bytes()) else { return Ok(()) };
            let state = ItemState::Held(GrantId::new(id).unwrap());
            let grant = protocol::create(&LockName::new("job").unwrap().into(), state, 5);
            if let Some(Reply::Done(Shown { cas: Some(Cas(cas)), .. })) = read(&grant, &response) {
                prop_assert!(line.contains(&format!("c{cas}")), "granted by {line:?}");
            }
        }
    }

    fn line(wire: &Wire, command: &Command) -> String {
        String::from_utf8(wire.command(command).encode().unwrap()).unwrap()
    }

    #[test]
    fn commands_are_byte_for_byte_those_of_the_protocol() {
        let name = &LockName::new("job").unwrap();
        let (lock, permit) = (&LockItem::from(name), &LockItem { name: name.clone(), permit: Permit::new(3) });
        let [note_permits, touch_permits] = protocol::note_permits();
        let [first_slots, _] = protocol::note_slots(name, Slots::Ensure, Permit::FIRST);
        let [more_slots, _] = protocol::note_slots(name, Slots::Raise(3), Permit::new(3).unwrap());
        let id = GrantId::new(12_345_678_901_234_567_890).unwrap();
        let held = ItemState::Held(id);
        let linger = ItemState::Lingering(LingerId::new(1_234_567_890_123_456_789).unwrap());
        let member = |address: &str, weight| Member { address: address.into(), weight };
        let topology =
            &Topology { members: vec![member("a:1", 1), member("b:2", 3)], max_ttl: Duration::from_secs(15) };
        let label = &Label {
            owner: Owner::new("me").unwrap(),
            token: FencingToken::new(7),
            since: Some(1_795_000_000_000_000),
            call: Some(CallKey::of_digest(99)),
            keeper: Some("10.0.0.7:28553".parse().unwrap()),
        };
        let [stamp, later] = [7, 8].map(|generation| Stamp::of_cas(1_234_567_890_123_400_000 + generation).unwrap());
        let epoch = stamp.epoch;
        let stored = |version, bytes: &[u8]| Stored {
            token: FencingToken::new(7).unwrap(),
            version,
            value: LockValue::new(bytes).unwrap(),
        };
        let (first, second) = (&stored(1, b"10.0.0.7:\xff80"), &stored(2, b""));
        let watcher = &Watcher { address: "10.0.0.7:28553".parse().unwrap(), id: 77 };
        for (command, expected) in [
            (
                protocol::create(lock, held, 15),
                "ma lb:L:job N15 J12345678901234567890 D0 C18446744073709551615 E12345678901234567890 c",
            ),
            (protocol::replace(lock, held, linger, 12), "md lb:L:job C12345678901234567890 I T12 E1234567890123456789"),
            (protocol::remove(lock, linger), "md lb:L:job C1234567890123456789"),
            (protocol::look(lock), "mg lb:L:job u c t"),
            (protocol::look(permit), "mg lb:P:3:job u c t"),
            (protocol::look_for_owner(permit), "mg lb:Q:3:job u v"),
            (note_permits, "ma lb:R N10801 J0 D0 C18446744073709551615"),
            (touch_permits, "mg lb:R u T10801"),
            (protocol::look_for_permits(), "mg lb:R u"),
            (protocol::look_for_slots(name), "mg lb:R:job u c"),
            (protocol::keep_slots(name), "mg lb:R:job u c T10801"),
            (first_slots, "ma lb:R:job N10801 J0 D0 C18446744073709551615 E1 c"),
            (more_slots, "md lb:R:job C3 I T10801 E4"),
            (protocol::clock(), "mg lb:S u t"),
            (protocol::witness(), "mg lb:S u c"),
            (protocol::probe(), "mg lb:S u c v"),
            (protocol::raise_fence(epoch, 3), "ma lb:F:12345678901234 D3 v"),
            (protocol::highest_token(epoch), "mg lb:F:12345678901234 u v"),
            (protocol::open(epoch, 77), "ma lb:F:12345678901234 N0 J77 D0 C18446744073709551615"),
            (
                protocol::describe(lock, ItemState::Held(id), label, 15),
                "ms lb:O:job 60 T15\r\n12345678901234567890,7,1795000000000000,99,10.0.0.7:28553 me",
            ),
            (protocol::touch_owner(lock, 15), "mg lb:O:job u T15"),
            (protocol::look_for_owner(lock), "mg lb:O:job u v"),
            (protocol::watch(name, watcher, 5), "ms lb:W:job 14 ME T5 E77\r\n10.0.0.7:28553"),
            (protocol::keep_watching(name, watcher, 5), "ms lb:W:job 14 C77 T5 E77\r\n10.0.0.7:28553"),
            (protocol::unwatch(name, watcher), "md lb:W:job C77"),
            (protocol::take_watcher(name), "mg lb:W:job v T-1"),
            (protocol::note_queue(name, watcher.address, 15), "ms lb:H:job 14 T15\r\n10.0.0.7:28553"),
            (protocol::look_for_queue(name), "mg lb:H:job u v"),
            (protocol::note_topology(topology), "ms lb:T:146888217 19 ME T0\r\n1 15000 a:1=1,b:2=3"),
            (protocol::look_for_topology(7), "mg lb:T:7 u v"),
            (protocol::note_broker(7, 77, "2 0.1.0 here"), "ms lb:B:7 12 ME T15 E77\r\n2 0.1.0 here"),
            (protocol::note_observer(name, 3, watcher, 10), "ms lb:U:3:job 14 ME T10 E77\r\n10.0.0.7:28553"),
            (protocol::keep_observer(name, 3, watcher, 10), "ms lb:U:3:job 14 C77 T10 E77\r\n10.0.0.7:28553"),
            (protocol::look_for_observer(name, 3), "mg lb:U:3:job u v"),
            (protocol::keep_noted(7, 77), "md lb:B:7 C77 I T15 E77"),
            (protocol::look_for_broker(7), "mg lb:B:7 u c t v"),
            (
                protocol::write_value(id, None, first, 15),
                "ms lb:V:12345678901234567890 15 ME T15 E1\r\n7 10.0.0.7:\u{ff}80",
            ),
            (protocol::write_value(id, Some(1), second, 15), "ms lb:V:12345678901234567890 2 C1 T15 E2\r\n7 "),
            (protocol::keep_value(id, 15), "mg lb:V:12345678901234567890 u c v T15"),
            (protocol::look_for_value(id), "mg lb:V:12345678901234567890 u c v"),
            (protocol::forget_value(id), "md lb:V:12345678901234567890"),
            (
                protocol::begin(stamp, 42, Made::InForce),
                "ma lb:S N2147480000 J10300007000000042000 D0 C18446744073709551615 E1234567890123400007",
            ),
            (
                protocol::begin(stamp, 42, Made::ByChange),
                "ma lb:S N2147480000 J10300007000000042001 D0 C18446744073709551615 E1234567890123400007",
            ),
            (protocol::flip(stamp, later), "md lb:S C1234567890123400007 I E1234567890123400008"),
            (protocol::note_change(later.generation, 42), "ma lb:N:8 N0 J1000000042 D0 C18446744073709551615"),
            (protocol::look_for_change(later.generation), "mg lb:N:8 u v"),
            (protocol::note_former(later.generation, topology), "ms lb:M:8 29 ME T0\r\n146888217 1 15000 a:1=1,b:2=3"),
            (protocol::look_for_former(later.generation), "mg lb:M:8 u v"),
            (protocol::note_dead(later.generation, &["a:1".into(), "b:2".into()]), "ms lb:D:8 7 T0\r\na:1,b:2"),
            (protocol::note_dead(later.generation, &[]), "ms lb:D:8 1 T0\r\n-"),
            (protocol::look_for_dead(later.generation), "mg lb:D:8 u v"),
            (protocol::note_highest(later.generation, 77), "ms lb:G:8 2 T0\r\n77"),
            (protocol::look_for_highest(later.generation), "mg lb:G:8 u v"),
            (protocol::delete_s(77), "md lb:S C77"),
        ] {
            assert_eq!(line(&Wire::new("lb:"), &command), format!("{expected}\r\n"));
        }
    }

    #[test]
    fn a_refusal_is_of_one_command_alone_unless_that_was_not_understood() {
        for (why, refusal) in [
            ("out of memory storing object", Some(Refusal::NoMemory)),
            ("cannot increment or decrement non-numeric value", Some(Refusal::NotANumber)),
            ("temporary failure", Some(Refusal::Other)),
            ("bad command line format", None),
            ("line too long", None),
        ] {
            assert_eq!(read_refusal(why), refusal.map(Reply::Refused), "{why}");
        }
    }

    #[test]
    fn the_longest_name_and_prefix_fit_into_a_key() {
        let name = LockName::new(&" ".repeat(128)).unwrap();
        let line = line(&Wire::new(&"p".repeat(48)), &protocol::look(&name.into()));
        assert!(line.ends_with(" u c t b\r\n"), "a key with spaces goes as base64");
    }
}
