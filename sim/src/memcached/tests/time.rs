//! How long items live, and what `flush_all` leaves of them.

use super::*;

#[test]
fn an_item_is_dead_in_the_second_in_which_it_expires() {
    let mut bench = Bench::new(Settings::default());
    let job = lock("job");
    bench.ask(create(&job, Ttl::Seconds(2), 77));
    bench.pass(1);
    assert_eq!(bench.look(&job).unwrap().left, Some(Left::Seconds(1)));
    bench.pass(1);
    assert!(!bench.lives(&job), "the clock shows what it was to live for");
}

#[test]
fn a_ttl_of_more_than_30_days_is_a_date() {
    let mut bench = Bench::new(Settings::default());
    let job = lock("job");
    bench.ask(create(&job, Ttl::Seconds(Ttl::LONGEST), 77));
    assert_eq!(bench.look(&job).unwrap().left, Some(Left::Seconds(Ttl::LONGEST)));
    bench.ask(change(&job, 77, 78, Ttl::Until(u32::try_from(DATE).unwrap() + 9)));
    assert_eq!(bench.look(&job).unwrap().left, Some(Left::Seconds(9)));
    bench.ask(change(&job, 78, 79, Ttl::Seconds(Ttl::LONGEST + 1)));
    assert!(!bench.lives(&job), "a date in 1970");
}

#[test]
fn an_item_that_is_to_end_is_done_and_dead_at_once() {
    let mut bench = Bench::new(Settings::default());
    let watcher = Key::Watcher(LockName::new("job").unwrap());
    bench.ask(set(&watcher, Mode::IfMissing));
    let Reply::Done(shown) = bench.ask(get(&watcher, true, Some(Ttl::Ended))) else { panic!("it is there") };
    assert_eq!(shown.value, Some(Value::Text("a text".into())));
    assert!(!bench.lives(&watcher));
}

#[test]
fn what_is_stored_while_the_clock_lags_dies_early() {
    let mut bench = Bench::new(Settings::default());
    let job = lock("job");
    bench.server.stop(bench.now, &mut even());
    bench.pass(10);
    bench.server.resume(bench.now, &mut Choices::recorded(vec![20_000]));
    bench.ask(create(&job, Ttl::Seconds(10), 77));
    assert!(bench.lives(&job));
    bench.now = bench.now + Duration::from_millis(20);
    assert!(!bench.lives(&job), "of 10 s it has lived 20 ms");
}

#[test]
fn a_flush_kills_what_was_used_before_its_second_and_deletes_what_was_used_in_it() {
    let mut bench = Bench::new(Settings::default());
    let (old, new) = (lock("old"), lock("new"));
    bench.ask(create(&old, Ttl::Never, 77));
    bench.pass(3);
    bench.ask(create(&new, Ttl::Never, 78));
    // A renewal does not count as a use.
    bench.ask(change(&old, 77, 79, Ttl::Never));
    bench.flush(&[]);
    assert!(!bench.lives(&old) && !bench.lives(&new));
    assert!(matches!(bench.ask(create(&new, Ttl::Never, 80)), Reply::Done(_)));
    assert!(bench.lives(&new), "what comes after it lives");
}

#[test]
fn a_flush_may_spare_a_new_item_only_where_there_is_an_old_one_of_its_size() {
    for (age, spared) in [(0, false), (1, false), (2, true)] {
        let mut bench = Bench::new(Settings::default());
        bench.ask(create(&lock("old"), Ttl::Never, 77));
        bench.pass(age);
        bench.ask(create(&lock("new"), Ttl::Never, 78));
        bench.flush(&[1, 0]);
        assert_eq!(bench.lives(&lock("new")), spared, "the other one was {age} s old");
        assert!(age == 0 || !bench.lives(&lock("old")));
    }
}

#[test]
fn a_flush_may_spare_a_counter_that_is_raised_in_its_second() {
    for spared in [false, true] {
        let mut bench = Bench::new(Settings::default());
        let (fence, other) = (Key::Fence(1_000_000_000), Key::Fence(1_000_000_001));
        for key in [&fence, &other] {
            bench.ask(create(key, Ttl::Never, 7_000_000));
        }
        bench.pass(2);
        bench.ask(add(&fence, 1, None));
        assert_eq!(bench.server.may_be_spared(), std::slice::from_ref(&fence));
        bench.flush(&[u64::from(spared)]);
        assert_eq!((bench.lives(&fence), bench.lives(&other)), (spared, false));
    }
}

#[test]
fn a_flush_may_spare_what_was_read_without_u_and_never_what_was_read_with_it() {
    for (bump, reads, spared) in [(false, 9, false), (true, 1, false), (true, 2, true)] {
        let mut bench = Bench::new(Settings::default());
        bench.ask(create(&Key::State, Ttl::Never, 1_000_000_000_000_000_042));
        bench.ask(create(&Key::Fence(1_000_000_000), Ttl::Never, 7));
        bench.ask(create(&lock("job"), Ttl::Never, 77));
        bench.pass(5);
        for _ in 0..reads {
            bench.ask(get(&Key::State, bump, None));
        }
        bench.flush(&[1]);
        assert_eq!(bench.lives(&Key::State), spared, "{reads} reads, {}", if bump { "without u" } else { "with u" });
        assert!(!bench.lives(&lock("job")), "all locks are gone, and the witness says that nothing was lost");
    }
}

#[test]
fn a_flush_may_spare_what_an_ms_me_met_in_its_second() {
    for (mode, spared) in [(Mode::IfMissing, true), (Mode::IfCas(Cas(5)), false)] {
        let mut bench = Bench::new(Settings::default());
        bench.ask(create(&lock("met"), Ttl::Never, 77));
        bench.ask(create(&lock("other"), Ttl::Never, 78));
        bench.pass(2);
        bench.ask(set(&lock("met"), mode));
        bench.flush(&[1]);
        assert_eq!(bench.lives(&lock("met")), spared, "{mode:?}");
    }
}

#[test]
fn a_flush_that_is_not_allowed_does_nothing() {
    let mut bench = Bench::new(Settings { flushes: false, ..Settings::default() });
    bench.ask(create(&lock("job"), Ttl::Never, 77));
    bench.pass(2);
    assert_eq!(bench.server.flush_all(bench.now, &mut even()), Err(TurnedAway));
    assert!(bench.lives(&lock("job")));
}
