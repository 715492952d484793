//! Commands and answers as the bytes of memcached's text protocol, by the words of the `memcache` crate.

use lockbroker_core::command::{Cas, Command, Key, Left, Mode, Refusal, Reply, Shown, Stale, Ttl, Value, Want};
use lockbroker_core::lock::LockItem;
use memcache::exp::{Error, MetaCommand, MetaOp, MetaResponse, ReturnCode};

/// What stands before every key.
pub(crate) const PREFIX: &str = "lb:";

/// Returns the bytes of a command.
pub(crate) fn encode(command: &Command) -> Vec<u8> {
    let (op, flags) = match command {
        Command::Get { bump, touch, want, .. } => {
            (MetaOp::Get, [if *bump { "" } else { "u" }.into(), ttl("T", *touch), shows(*want)].join(" "))
        }
        Command::Arithmetic { delta, create, compare, new_cas, want, .. } => {
            let create = create.map(|create| format!("{} J{}", ttl("N", Some(create.ttl)), create.initial));
            let flags = [create.unwrap_or_default(), format!("D{delta}"), cas("C", *compare), cas("E", *new_cas)];
            (MetaOp::Arithmetic, [flags.join(" "), shows(*want)].join(" "))
        }
        Command::Delete { compare, in_place, .. } => {
            let change = in_place.map(|change| ["I".into(), ttl("T", change.ttl), cas("E", change.new_cas)].join(" "));
            (MetaOp::Delete, [cas("C", *compare), change.unwrap_or_default()].join(" "))
        }
        Command::Set { mode, ttl: lives, new_cas, .. } => {
            let mode = match mode {
                Mode::Always => String::new(),
                Mode::IfMissing => "ME".into(),
                Mode::IfCas(number) => cas("C", Some(*number)),
            };
            (MetaOp::Set, [mode, ttl("T", Some(*lives)), cas("E", *new_cas)].join(" "))
        }
    };
    let flags = flags.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = MetaCommand::new(op, key(command.key()));
    if !flags.is_empty() {
        line = line.flag(flags);
    }
    if let Command::Set { value, .. } = command {
        line = line.value(text(value));
    }
    line.encode().expect("a command that the protocol has")
}

/// Returns the bytes that name an item.
pub(crate) fn key(key: &Key) -> String {
    match key {
        Key::State => format!("{PREFIX}S"),
        Key::Fence(epoch) => format!("{PREFIX}F:{epoch}"),
        Key::Topology(fingerprint) => format!("{PREFIX}T:{fingerprint}"),
        Key::Notice(generation) => format!("{PREFIX}N:{generation}"),
        Key::Former(generation) => format!("{PREFIX}M:{generation}"),
        Key::Dead(generation) => format!("{PREFIX}D:{generation}"),
        Key::Highest(generation) => format!("{PREFIX}G:{generation}"),
        Key::Lock(LockItem { name, permit: None }) => format!("{PREFIX}L:{name}"),
        Key::Lock(LockItem { name, permit: Some(permit) }) => format!("{PREFIX}P:{}:{name}", permit.get()),
        Key::Owner(LockItem { name, permit: None }) => format!("{PREFIX}O:{name}"),
        Key::Owner(LockItem { name, permit: Some(permit) }) => format!("{PREFIX}Q:{}:{name}", permit.get()),
        Key::Permits => format!("{PREFIX}R"),
        Key::Slots(name) => format!("{PREFIX}R:{name}"),
        Key::Watcher(name) => format!("{PREFIX}W:{name}"),
        Key::Line(name) => format!("{PREFIX}H:{name}"),
        Key::Broker(place) => format!("{PREFIX}B:{place}"),
        Key::Observer(place, name) => format!("{PREFIX}U:{place}:{name}"),
        Key::Value(id) => format!("{PREFIX}V:{}", id.get()),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
    }
}

fn ttl(flag: &str, ttl: Option<Ttl>) -> String {
    match ttl {
        None => String::new(),
        Some(Ttl::Never) => format!("{flag}0"),
        Some(Ttl::Seconds(number) | Ttl::Until(number)) => format!("{flag}{number}"),
        Some(Ttl::Ended) => format!("{flag}-1"),
    }
}

fn cas(flag: &str, cas: Option<Cas>) -> String {
    cas.map(|Cas(number)| format!("{flag}{number}")).unwrap_or_default()
}

fn shows(want: Want) -> String {
    let flags = [(want.cas, "c"), (want.left, "t"), (want.value, "v")];
    flags.into_iter().filter_map(|(wanted, flag)| wanted.then_some(flag)).collect::<Vec<_>>().join(" ")
}

/// Reads the answer to a command: its line, and the value behind that.
pub(crate) fn parse(command: &Command, line: &str, value: Option<&str>) -> Reply {
    let reads = matches!(command, Command::Get { .. });
    match MetaResponse::parse_header(line.as_bytes()) {
        Ok(response) => match response.rc() {
            ReturnCode::Hd | ReturnCode::Va => Reply::Done(shown(&response, value)),
            ReturnCode::Ex => Reply::Exists,
            ReturnCode::En if reads => Reply::Missing,
            ReturnCode::Nf if !reads => Reply::Missing,
            ReturnCode::Ns => Reply::NotStored,
            _ => panic!("{line:?} to {}", print(command)),
        },
        Err(Error::Server(why)) if why.to_lowercase().contains("out of memory") => Reply::Refused(Refusal::NoMemory),
        Err(Error::Rejected(why)) if why.contains("non-numeric") => Reply::Refused(Refusal::NotANumber),
        Err(_) => panic!("{line:?} to {}", print(command)),
    }
}

fn shown(response: &MetaResponse, value: Option<&str>) -> Shown {
    let flags: Vec<_> = response.flags().map(|flag| std::str::from_utf8(flag).expect("flags are ASCII")).collect();
    let after = |letter: &str| flags.iter().find_map(|flag| flag.strip_prefix(letter));
    let left = after("t").map(|left| match left {
        "-1" => Left::Forever,
        seconds => Left::Seconds(seconds.parse().expect("a number of seconds")),
    });
    let stale = match (flags.contains(&"X"), flags.contains(&"W"), flags.contains(&"Z")) {
        (false, false, false) => Stale::No,
        (true, true, false) => Stale::First,
        (true, false, true) => Stale::Again,
        _ => panic!("{flags:?}"),
    };
    let value = value.map(|value| match value.trim_end().parse() {
        Ok(number) => Value::Number(number),
        Err(_) => Value::Text(value.into()),
    });
    Shown { cas: after("c").map(|cas| Cas(cas.parse().expect("a number"))), left, value, stale }
}

/// Prints a command with all its numbers: those of a test are no secret.
pub(crate) fn print(command: &Command) -> String {
    String::from_utf8_lossy(&encode(command)).trim_end().replace("\r\n", " | ")
}

/// Prints an answer with all its numbers.
pub(crate) fn print_reply(reply: &Reply) -> String {
    let Reply::Done(shown) = reply else { return format!("{reply:?}") };
    let cas = shown.cas.map(|Cas(cas)| format!(" c{cas}")).unwrap_or_default();
    let value = shown.value.as_ref().map(|value| format!(" {:?}", text(value))).unwrap_or_default();
    format!("Done{cas} {:?} {:?}{value}", shown.left, shown.stale)
}
