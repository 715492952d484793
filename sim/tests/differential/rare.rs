//! What seldom happens, or only to servers that brokers refuse: compared once, not at random.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use lockbroker_core::Time;
use lockbroker_core::command::{Command, Reply, Ttl};
use lockbroker_sim::memcached::{Restart, Server, Settings, TurnedAway};

use crate::explore::{nothing_odd, settings};
use crate::real::{Real, connect};
use crate::script::{all_keys, count_up, filler, filler_of, look_at, look_at_all, note_if_missing};
use crate::text;

fn start(settings: Settings) -> (Server, Time) {
    let now = Time::from_nanos(0) + Duration::from_secs(1_000);
    (Server::new(settings, now, 1_700_000_000, &mut nothing_odd()), now)
}

/// Connects, and returns the connection if it was not turned away.
fn taken(real: &Real) -> Option<TcpStream> {
    let mut stream = connect(real.address());
    // Who is turned away may be told so before the command is written.
    let _ = stream.write_all(b"mn\r\n");
    let mut line = String::new();
    let _ = BufReader::new(&stream).read_line(&mut line);
    (line == "MN\r\n").then_some(stream)
}

#[test]
fn a_connection_too_many_is_turned_away_until_another_one_ends() {
    let real = Real::start_with(&["-c", "40"]);
    let mut streams: Vec<_> = std::iter::from_fn(|| taken(&real)).take(100).collect();
    assert!((1..40).contains(&streams.len()), "{} were taken", streams.len());
    let connections = u32::try_from(streams.len()).unwrap();
    let (mut server, _) = start(Settings { connections, ..Settings::default() });
    assert!((0..connections).all(|_| server.connect().is_ok()));
    assert_eq!((taken(&real).is_none(), server.connect()), (true, Err(TurnedAway)));
    streams.pop();
    server.disconnect();
    let again = (0..1_000).find_map(|_| {
        sleep(Duration::from_millis(2));
        taken(&real)
    });
    assert_eq!((again.is_some(), server.connect()), (true, Ok(())));
}

#[test]
fn a_flush_that_is_not_allowed_is_refused() {
    let mut real = Real::start_with(&["-F"]);
    let (mut server, now) = start(Settings { flushes: false, ..Settings::default() });
    assert_eq!(real.line_to("flush_all"), "CLIENT_ERROR flush_all not allowed");
    assert_eq!(server.flush_all(now, &mut nothing_odd()), Err(TurnedAway));
}

#[test]
fn a_page_has_room_for_as_many_items() {
    let mut real = Real::start();
    let (mut server, now) = start(settings());
    // The lengths of names put the items into three classes.
    for bytes in [70, 100, 128] {
        for batch in 0.. {
            let items: Vec<_> = (0..200).map(|item| filler_of(bytes, 200 * batch + item, Ttl::Never)).collect();
            real.send(&items);
            let replies = real.receive(&items).replies;
            let simulated: Vec<_> = items.iter().map(|item| server.execute(item, now, &mut nothing_odd())).collect();
            assert_eq!(simulated, replies, "names of {bytes} bytes, from item {} on", 200 * batch);
            if replies.iter().any(|reply| matches!(reply, Reply::Refused(_))) {
                break;
            }
        }
    }
}

/// Brokers refuse a server with `-e`. This is what they would meet.
#[test]
fn a_warm_restart_keeps_items_numbers_and_ttls() {
    let folder = tempfile::tempdir().unwrap();
    // The real one may run as another user.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let file = folder.path().join("memory");
    let flags = ["-m", "64", "-I", "1m", "-e", file.to_str().unwrap()];
    let mut real = Real::start_with(&flags);
    let (mut server, mut now) = start(Settings::default());
    let begun = just_ticked(&mut real);
    let mut before: Vec<_> = all_keys().into_iter().map(count_up).collect();
    before.push(filler(1, Ttl::Seconds(100)));
    compare(&mut real, &mut server, now, &before);

    real.end_gracefully();
    // It must notice that time has passed, or begins with nothing.
    sleep(Duration::from_millis(2_100));
    let mut real = Real::start_with(&flags);
    let passed = just_ticked(&mut real) - begun;
    now = now + Duration::from_secs(passed.into());
    server.restart(Restart::Warm, now, 1_700_000_000 + u64::from(passed), &mut nothing_odd());

    let mut after = look_at_all();
    after.push(look_at(filler(1, Ttl::Never).key().clone()));
    after.extend(all_keys().into_iter().map(count_up));
    after.push(note_if_missing(filler(2, Ttl::Never).key().clone()));
    after.push(look_at(filler(2, Ttl::Never).key().clone()));
    compare(&mut real, &mut server, now, &after);
}

/// Waits for a tick, so that none comes soon, and returns what the clock shows.
fn just_ticked(real: &mut Real) -> u32 {
    let shown = real.look().second;
    loop {
        match real.look().second {
            second if second > shown => return second,
            _ => sleep(Duration::from_millis(2)),
        }
    }
}

/// Carries the commands out on both, before a clock ticks.
fn compare(real: &mut Real, server: &mut Server, now: Time, commands: &[Command]) {
    real.send(commands);
    let exchange = real.receive(commands);
    for (command, reply) in commands.iter().zip(&exchange.replies) {
        let simulated = server.execute(command, now, &mut nothing_odd());
        let (simulated, reply) = (text::print_reply(&simulated), text::print_reply(reply));
        assert_eq!(simulated, reply, "{}", text::print(command));
    }
    assert!(!exchange.replies.contains(&Reply::Missing), "nothing is lost");
    server.answers_left();
}
