//! The text of commands: byte for byte that of the broker.

use lockbroker_core::command::{Cas, Command, Create, InPlace, Key, Mode, Ttl, Value, Want};
use lockbroker_core::lock::LockName;

use crate::text;

const SHOW: Want = Want { cas: false, left: false, value: false };
const HELD: Cas = Cas(12_345_678_901_234_567_890);
const LINGER: Cas = Cas(1_234_567_890_123_456_789);

fn get(key: Key, want: Want) -> Command {
    Command::Get { key, bump: false, touch: None, want }
}

fn delete(key: Key, compare: u64) -> Command {
    Command::Delete { key, compare: Some(Cas(compare)), in_place: None }
}

fn change(key: Key, compare: Cas, ttl: Option<Ttl>, new_cas: Cas) -> Command {
    Command::Delete { key, compare: Some(compare), in_place: Some(InPlace { ttl, new_cas: Some(new_cas) }) }
}

fn create(key: Key, ttl: Ttl, initial: u64, new_cas: Option<Cas>, want: Want) -> Command {
    let create = Some(Create { ttl, initial });
    Command::Arithmetic { key, delta: 0, create, compare: Some(Cas::SENTINEL), new_cas, want }
}

fn set(key: Key, mode: Mode, ttl: u32, new_cas: Option<u64>, value: &str) -> Command {
    let (ttl, new_cas, value) = (Ttl::Seconds(ttl), new_cas.map(Cas), Value::Text(value.into()));
    Command::Set { key, mode, ttl, new_cas, value }
}

/// The items of locks.
fn of_locks() -> Vec<(Command, &'static str)> {
    let lock = Key::Lock(LockName::new("job").unwrap());
    let raise = |delta, want| Command::Arithmetic {
        key: Key::Fence(1_234_567_890),
        delta,
        create: None,
        compare: None,
        new_cas: None,
        want,
    };
    let read = Want { value: true, ..SHOW };
    vec![
        (
            create(lock.clone(), Ttl::Seconds(15), HELD.0, Some(HELD), Want { cas: true, ..SHOW }),
            "ma lb:L:job N15 J12345678901234567890 D0 C18446744073709551615 E12345678901234567890 c",
        ),
        (
            change(lock.clone(), HELD, Some(Ttl::Seconds(12)), LINGER),
            "md lb:L:job C12345678901234567890 I T12 E1234567890123456789",
        ),
        (delete(lock.clone(), LINGER.0), "md lb:L:job C1234567890123456789"),
        (get(lock, Want { cas: true, left: true, ..SHOW }), "mg lb:L:job u c t"),
        (get(Key::State, Want { left: true, ..SHOW }), "mg lb:S u t"),
        (get(Key::State, read), "mg lb:S u v"),
        (get(Key::State, Want { cas: true, ..SHOW }), "mg lb:S u c"),
        (change(Key::State, Cas(77), None, Cas(78)), "md lb:S C77 I E78"),
        (Command::Delete { key: Key::State, compare: None, in_place: None }, "md lb:S"),
        (
            create(Key::State, Ttl::Until(2_147_480_000), 1_234_567_890_000_000_042, None, SHOW),
            "ma lb:S N2147480000 J1234567890000000042 D0 C18446744073709551615",
        ),
        (raise(3, read), "ma lb:F:1234567890 D3 v"),
        (get(Key::Fence(1_234_567_890), read), "mg lb:F:1234567890 u v"),
        (
            create(Key::Fence(1_234_567_890), Ttl::Never, 77, None, SHOW),
            "ma lb:F:1234567890 N0 J77 D0 C18446744073709551615",
        ),
    ]
}

/// Notes of brokers.
fn of_brokers() -> Vec<(Command, &'static str)> {
    let name = LockName::new("job").unwrap();
    let (owner, watcher) = (Key::Owner(name.clone()), Key::Watcher(name.clone()));
    let line = Key::Line(name);
    let address = "10.0.0.7:28553";
    let read = Want { value: true, ..SHOW };
    let touch = |key, bump, ttl, want| Command::Get { key, bump, touch: Some(ttl), want };
    vec![
        (set(owner.clone(), Mode::Always, 15, None, "123 me"), "ms lb:O:job 6 T15\r\n123 me"),
        (touch(owner.clone(), false, Ttl::Seconds(15), SHOW), "mg lb:O:job u T15"),
        (get(owner, read), "mg lb:O:job u v"),
        (set(watcher.clone(), Mode::IfMissing, 5, Some(77), address), "ms lb:W:job 14 ME T5 E77\r\n10.0.0.7:28553"),
        (
            set(watcher.clone(), Mode::IfCas(Cas(77)), 5, Some(77), address),
            "ms lb:W:job 14 C77 T5 E77\r\n10.0.0.7:28553",
        ),
        (delete(watcher.clone(), 77), "md lb:W:job C77"),
        // The order of flags is of no consequence here.
        (touch(watcher, true, Ttl::Ended, read), "mg lb:W:job T-1 v"),
        (set(line.clone(), Mode::Always, 15, None, address), "ms lb:H:job 14 T15\r\n10.0.0.7:28553"),
        (get(line, read), "mg lb:H:job u v"),
        (set(Key::Broker(7), Mode::IfMissing, 15, Some(77), "1 0.1.0 here"), "ms lb:B:7 12 ME T15 E77\r\n1 0.1.0 here"),
        (change(Key::Broker(7), Cas(77), Some(Ttl::Seconds(15)), Cas(77)), "md lb:B:7 C77 I T15 E77"),
        (get(Key::Broker(7), Want { cas: true, left: true, value: true }), "mg lb:B:7 u c t v"),
    ]
}

#[test]
fn the_values_can_say_all_that_the_broker_sends() {
    for (command, expected) in of_locks().into_iter().chain(of_brokers()) {
        let bytes = text::encode(&command);
        assert_eq!(String::from_utf8(bytes).unwrap(), format!("{expected}\r\n"), "{command:?}");
    }
}
