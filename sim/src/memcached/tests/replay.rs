//! A run can be repeated from its record, whatever happens in it.

use super::*;

/// Draws a command on one of a few items.
fn command(script: &mut Choices) -> Command {
    let key =
        [lock("a"), lock("b"), lock("c"), Key::Fence(1_000_000_000), Key::State][script.spread(5) as usize].clone();
    let cas = 76 + script.spread(4);
    let ttl = [Ttl::Never, Ttl::Ended, Ttl::Seconds(1), Ttl::Seconds(3)][script.spread(4) as usize];
    match script.spread(7) {
        0 => get(&key, script.odd(), None),
        1 => get(&key, true, Some(ttl)),
        2 => create(&key, ttl, cas),
        3 => add(&key, 9 * script.spread(100), Some(cas)),
        4 => delete(&key, (cas > 77).then_some(cas)),
        5 => change(&key, cas, 77, ttl),
        _ => set(&key, [Mode::Always, Mode::IfMissing, Mode::IfCas(Cas(cas))][script.spread(3) as usize]),
    }
}

/// Runs a server through everything that may happen to it.
fn run(seed: u64, choices: &mut Choices) -> (Server, Vec<Reply>) {
    let script = &mut Choices::seeded(seed, 512);
    let settings = Settings {
        room: Room::Items(2 + script.pick(3) as u32),
        shared: script.odd(),
        evicts: script.odd(),
        ..Settings::default()
    };
    let mut now = Time::from_nanos(0) + Duration::from_secs(1_000);
    let date = |now: Time| DATE + now.nanos() / 1_000_000_000 - 1_000;
    let mut server = Server::new(settings, now, DATE, choices);
    let mut replies = Vec::new();
    for _ in 0..2_000 {
        now = now + Duration::from_millis(script.spread(300));
        match script.spread(60) {
            0 => server.flush_all(now, choices).unwrap(),
            1 => server.restart(Restart::Cold, now, date(now), choices),
            2 => server.restart(Restart::Warm, now, date(now), choices),
            3 => {
                server.stop(now, choices);
                now = now + Duration::from_millis(script.spread(4_000));
                server.resume(now, choices);
            }
            4..20 => server.answers_left(),
            _ => replies.push(server.execute(&command(script), now, choices)),
        }
    }
    (server, replies)
}

#[test]
fn the_same_choices_give_the_same_run() {
    let mut refused = 0;
    for seed in 0..100 {
        let mut choices = Choices::seeded(seed, 300);
        let first = run(seed, &mut choices);
        let answers = choices.asked().iter().map(|asked| asked.answer).collect();
        assert!(run(seed, &mut Choices::recorded(answers)) == first, "seed {seed}");
        refused += first.1.iter().filter(|reply| **reply == NO_MEMORY).count();
    }
    assert!(refused > 1_000, "memory was full {refused} times");
}
