//! What the commands compare and change.

use super::*;

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
fn what_is_no_number_cannot_be_added_to() {
    let mut bench = Bench::new(Settings::default());
    let key = lock("job");
    assert_eq!(bench.ask(add(&key, 1, None)), Reply::Missing);
    let refusal = Reply::Refused(Refusal::NotANumber);
    // What is empty is refused before numbers are compared, other texts after that.
    for (text, sum, with_another_number) in [
        ("12 me", Some(13), Reply::Exists),
        ("me", None, Reply::Exists),
        ("12x", None, Reply::Exists),
        ("", None, refusal),
    ] {
        let value = Value::Text(text.into());
        bench.ask(Command::Set { key: key.clone(), mode: Mode::Always, ttl: Ttl::Never, new_cas: None, value });
        let mut other = add(&key, 1, None);
        if let Command::Arithmetic { compare, .. } = &mut other {
            *compare = Some(Cas::SENTINEL);
        }
        assert_eq!(bench.ask(other), with_another_number, "{text:?}");
        let shown = match bench.ask(add(&key, 1, None)) {
            Reply::Done(shown) => shown.value,
            reply => (reply != Reply::Refused(Refusal::NotANumber)).then_some(Value::Number(0)),
        };
        assert_eq!(shown, sum.map(Value::Number), "{text:?}");
    }
}
