//! One test for each rule that a broker could stumble over.

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
    Key::Lock(LockName::new(name).unwrap())
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
fn a_flush_kills_what_was_used_before_its_second_and_what_was_created_in_it() {
    let mut bench = Bench::new(Settings::default());
    let (old, new) = (lock("old"), lock("new"));
    bench.ask(create(&old, Ttl::Never, 77));
    bench.pass(3);
    bench.ask(create(&new, Ttl::Never, 78));
    // A renewal does not count as a use.
    bench.ask(change(&old, 77, 79, Ttl::Never));
    bench.flush(&[1, 1, 1]);
    assert!(!bench.lives(&old) && !bench.lives(&new));
    assert!(matches!(bench.ask(create(&new, Ttl::Never, 80)), Reply::Done(_)));
    assert!(bench.lives(&new), "what comes after it lives");
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
        assert_eq!(bench.server.may_be_spared(), [fence.clone()]);
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
fn a_flush_that_is_not_allowed_does_nothing() {
    let mut bench = Bench::new(Settings { flushes: false, ..Settings::default() });
    bench.ask(create(&lock("job"), Ttl::Never, 77));
    bench.pass(2);
    assert_eq!(bench.server.flush_all(bench.now, &mut even()), Err(TurnedAway));
    assert!(bench.lives(&lock("job")));
}

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
fn a_change_or_a_deletion_needs_the_number_that_the_item_carries() {
    let mut bench = Bench::new(Settings::default());
    let job = lock("job");
    assert_eq!(bench.ask(change(&job, 77, 78, Ttl::Never)), Reply::Missing);
    bench.ask(create(&job, Ttl::Seconds(15), 77));
    assert_eq!(bench.ask(create(&job, Ttl::Seconds(15), 78)), Reply::Exists);
    assert_eq!(bench.ask(change(&job, 78, 79, Ttl::Never)), Reply::Exists);
    assert_eq!(bench.ask(delete(&job, Some(78))), Reply::Exists);
    // Without a ttl, that stays: as where the generation of S is changed.
    let in_place = Some(InPlace { ttl: None, new_cas: Some(Cas(80)) });
    bench.ask(Command::Delete { key: job.clone(), compare: Some(Cas(77)), in_place });
    let shown = bench.look(&job).unwrap();
    assert_eq!((shown.cas, shown.left), (Some(Cas(80)), Some(Left::Seconds(15))));
    assert_eq!(bench.ask(delete(&job, Some(80))), done());
    assert!(!bench.lives(&job));
}

#[test]
fn a_touch_sets_the_ttl_of_anybody_s_item() {
    let mut bench = Bench::new(Settings::default());
    bench.ask(create(&lock("job"), Ttl::Seconds(60), 77));
    bench.ask(get(&lock("job"), false, Some(Ttl::Seconds(5))));
    assert_eq!(bench.look(&lock("job")).unwrap().left, Some(Left::Seconds(5)));
}

#[test]
fn the_first_read_after_a_change_in_place_is_told_so() {
    let mut bench = Bench::new(Settings::default());
    let job = lock("job");
    bench.ask(create(&job, Ttl::Never, 77));
    assert_eq!(bench.look(&job).unwrap().stale, Stale::No);
    bench.ask(change(&job, 77, 78, Ttl::Never));
    let told: Vec<_> = (0..3).map(|_| bench.look(&job).unwrap().stale).collect();
    assert_eq!(told, [Stale::First, Stale::Again, Stale::Again]);
    bench.ask(change(&job, 78, 79, Ttl::Never));
    assert_eq!(bench.look(&job).unwrap().stale, Stale::First);
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
fn what_is_no_number_cannot_be_added_to() {
    let mut bench = Bench::new(Settings::default());
    let refusal = Reply::Refused(Refusal::NotANumber);
    for (text, expected) in [("12 me", Some(13)), ("me", None), ("", None), ("12x", None)] {
        let (key, value) = (lock("job"), Value::Text(text.into()));
        bench.ask(Command::Set { key: key.clone(), mode: Mode::Always, ttl: Ttl::Never, new_cas: None, value });
        match (bench.ask(add(&key, 1, None)), expected) {
            (Reply::Done(shown), Some(number)) => assert_eq!(shown.value, Some(Value::Number(number))),
            (reply, _) => assert_eq!(reply, refusal, "{text:?}"),
        }
    }
    assert_eq!(bench.ask(add(&lock("none"), 1, None)), Reply::Missing);
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
    bench.pass(4);
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
