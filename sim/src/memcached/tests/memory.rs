//! Memory, restarts and connections.

use super::*;

#[test]
fn a_write_that_fails_deletes_what_was_there_whatever_its_condition() {
    for mode in [Mode::Always, Mode::IfMissing, Mode::IfCas(Cas(5))] {
        let mut bench = Bench::with_room(1);
        bench.ask(create(&lock("job"), Ttl::Never, 77));
        assert_eq!(bench.ask(set(&lock("job"), mode)), NO_MEMORY);
        assert!(!bench.lives(&lock("job")), "{mode:?}");
        assert_eq!(bench.ask(set(&lock("job"), Mode::Always)), done(), "its memory is free again");
    }
}

#[test]
fn a_write_obeys_its_condition_where_there_is_memory() {
    let mut bench = Bench::new(Settings::default());
    let key = lock("job");
    assert_eq!(bench.ask(set(&key, Mode::IfCas(Cas(5)))), Reply::Missing);
    assert_eq!(bench.ask(set(&key, Mode::IfMissing)), done());
    assert_eq!(bench.ask(set(&key, Mode::IfMissing)), Reply::NotStored);
    let Some(Cas(cas)) = bench.look(&key).unwrap().cas else { panic!("asked for") };
    assert_eq!(bench.ask(set(&key, Mode::IfCas(Cas(cas + 1)))), Reply::Exists);
    assert_eq!(bench.ask(set(&key, Mode::IfCas(Cas(cas)))), done());
}

#[test]
fn a_change_in_place_needs_no_memory_and_a_grant_does() {
    let mut bench = Bench::with_room(1);
    bench.ask(create(&lock("a"), Ttl::Seconds(15), 77));
    assert_eq!(bench.ask(create(&lock("b"), Ttl::Seconds(15), 78)), NO_MEMORY);
    assert_eq!(bench.ask(change(&lock("a"), 77, 79, Ttl::Seconds(30))), done());
    let shown = bench.look(&lock("a")).unwrap();
    assert_eq!((shown.cas, shown.left), (Some(Cas(79)), Some(Left::Seconds(30))));
}

#[test]
fn a_counter_that_grows_needs_memory() {
    let mut bench = Bench::with_room(1);
    let fence = Key::Fence(1_000_000_000);
    bench.ask(create(&fence, Ttl::Never, 8));
    assert!(matches!(bench.ask(add(&fence, 1, None)), Reply::Done(_)), "in place");
    assert_eq!(bench.ask(add(&fence, 1, None)), NO_MEMORY, "two digits");
    assert_eq!(bench.look(&fence).unwrap().value, Some(Value::Number(9)));
}

#[test]
fn a_counter_that_an_answer_shows_may_be_stored_anew_and_loses_its_new_number() {
    let fence = Key::Fence(1_000_000_000);
    let raised_while_read = |room, answers: &[u64]| {
        let mut bench = Bench::with_room(room);
        bench.ask(create(&fence, Ttl::Never, 1_000));
        bench.server.execute(&get(&fence, false, None), bench.now, &mut even());
        let reply = bench.choose(add(&fence, 1, Some(99)), answers);
        (reply, bench.look(&fence).unwrap().cas)
    };
    let told = Reply::Done(Shown { cas: Some(Cas(99)), value: Some(Value::Number(1_001)), ..Shown::default() });
    assert_eq!(raised_while_read(1, &[]), (told.clone(), Some(Cas(99))));
    assert_eq!(raised_while_read(2, &[1]), (told, Some(Cas(2))), "the answer looks right");
    assert_eq!(raised_while_read(1, &[1]), (NO_MEMORY, Some(Cas(1_000))));
}

#[test]
fn a_read_without_u_may_keep_hold_of_an_item_when_its_answer_has_left() {
    let fence = Key::Fence(1_000_000_000);
    for (bump, later, anew) in [(false, 0, false), (true, 0, true), (true, 3, false)] {
        let mut bench = Bench::new(Settings::default());
        bench.ask(create(&fence, Ttl::Never, 1_000));
        for _ in 0..2 {
            bench.ask(get(&fence, bump, None));
        }
        bench.pass(later);
        bench.choose(add(&fence, 1, Some(99)), &[1]);
        assert_eq!(bench.look(&fence).unwrap().cas != Some(Cas(99)), anew, "read {later} s ago");
    }
}

#[test]
fn a_deleted_item_keeps_its_memory_until_the_answers_that_show_it_have_left() {
    let mut bench = Bench::with_room(1);
    bench.ask(create(&lock("a"), Ttl::Never, 77));
    let batch = [get(&lock("a"), false, None), delete(&lock("a"), None), create(&lock("b"), Ttl::Never, 78)];
    let replies: Vec<_> =
        batch.iter().map(|command| bench.server.execute(command, bench.now, &mut Choices::recorded(vec![1]))).collect();
    assert_eq!(replies[1..], [done(), NO_MEMORY]);
    bench.server.answers_left();
    assert!(matches!(bench.choose(create(&lock("b"), Ttl::Never, 78), &[1]), Reply::Done(_)));
}

#[test]
fn dead_items_give_their_memory_back_sooner_or_later() {
    for (answer, expected) in [(1, NO_MEMORY), (0, done())] {
        let mut bench = Bench::with_room(1);
        bench.ask(create(&lock("a"), Ttl::Seconds(1), 77));
        bench.pass(2);
        assert_eq!(bench.choose(set(&lock("b"), Mode::Always), &[answer]), expected);
    }
}

#[test]
fn a_cold_restart_forgets_everything_and_counts_from_the_beginning() {
    let mut bench = Bench::new(Settings::default());
    let numbers = [0, 1].map(|_| {
        bench.ask(set(&lock("job"), Mode::Always));
        let cas = bench.look(&lock("job")).unwrap().cas;
        bench.server.restart(Restart::Cold, bench.now, DATE, &mut even());
        assert!(!bench.lives(&lock("job")));
        cas
    });
    assert_eq!(numbers[0], numbers[1], "without E, an old holder's number fits a new item");
}

#[test]
fn a_warm_restart_keeps_items_and_what_they_have_left() {
    let mut bench = Bench::new(Settings::default());
    bench.ask(create(&lock("job"), Ttl::Seconds(15), 77));
    // Nobody runs its clock while it is down.
    bench.now = bench.now + Duration::from_secs(4);
    bench.server.restart(Restart::Warm, bench.now, DATE + 4, &mut even());
    assert_eq!(bench.look(&lock("job")).unwrap().left, Some(Left::Seconds(11)));
}

#[test]
fn a_server_that_evicts_throws_live_items_out() {
    let mut bench = Bench::new(Settings { room: Room::Items(1), evicts: true, ..Settings::default() });
    bench.ask(create(&lock("a"), Ttl::Never, 77));
    assert!(matches!(bench.ask(create(&lock("b"), Ttl::Never, 78)), Reply::Done(_)));
    assert!(!bench.lives(&lock("a")) && bench.lives(&lock("b")));
}

#[test]
fn a_server_with_other_users_may_refuse_whatever_needs_memory_and_nothing_else() {
    let mut bench = Bench::new(Settings { shared: true, ..Settings::default() });
    bench.ask(create(&lock("a"), Ttl::Never, 77));
    assert_eq!(bench.choose(create(&lock("b"), Ttl::Never, 78), &[1]), NO_MEMORY);
    assert_eq!(bench.choose(change(&lock("a"), 77, 79, Ttl::Never), &[1]), done());
    assert!(matches!(bench.choose(add(&lock("a"), 1, None), &[1]), Reply::Done(_)));
}

#[test]
fn there_is_a_limit_to_connections() {
    let mut bench = Bench::new(Settings { connections: 1, ..Settings::default() });
    assert_eq!(bench.server.connect(), Ok(()));
    assert_eq!(bench.server.connect(), Err(TurnedAway));
    bench.server.disconnect();
    assert_eq!(bench.server.connect(), Ok(()));
    bench.server.restart(Restart::Cold, bench.now, DATE, &mut even());
    assert_eq!(bench.server.connect(), Ok(()), "a restart ends them all");
}

#[test]
fn a_dead_item_that_is_found_may_have_lost_its_memory_before() {
    for (reclaims, expected) in [(false, done()), (true, NO_MEMORY)] {
        let mut bench = Bench::with_room(2);
        for name in ["a", "b"] {
            bench.ask(create(&lock(name), Ttl::Seconds(1), 77));
        }
        bench.pass(2);
        if reclaims {
            assert_eq!(bench.ask(set(&lock("c"), Mode::Always)), done());
        }
        assert!(!bench.lives(&lock("a")), "found, and deleted");
        assert_eq!(bench.choose(set(&lock("d"), Mode::Always), &[1]), expected);
    }
}

#[test]
fn a_dead_item_keeps_its_memory_while_an_answer_shows_it() {
    let mut bench = Bench::with_room(1);
    bench.ask(create(&lock("a"), Ttl::Never, 77));
    let batch = [get(&lock("a"), false, Some(Ttl::Ended)), get(&lock("a"), false, None), set(&lock("b"), Mode::Always)];
    let replies: Vec<_> =
        batch.iter().map(|command| bench.server.execute(command, bench.now, &mut Choices::recorded(vec![1]))).collect();
    assert_eq!(replies[1..], [Reply::Missing, NO_MEMORY]);
}

#[test]
fn memory_that_an_answer_had_hold_of_is_free_once_only() {
    let mut bench = Bench::with_room(2);
    bench.ask(create(&lock("dead"), Ttl::Seconds(1), 77));
    bench.ask(create(&lock("a"), Ttl::Never, 77));
    bench.pass(2);
    for command in [get(&lock("a"), false, None), delete(&lock("a"), None), create(&lock("b"), Ttl::Never, 77)] {
        assert!(matches!(bench.server.execute(&command, bench.now, &mut even()), Reply::Done(_)));
    }
    bench.server.answers_left();
    // The memory of "b" is that of "a", or that of the dead item.
    assert_eq!(bench.choose(create(&lock("c"), Ttl::Never, 77), &[1]), NO_MEMORY);
}
