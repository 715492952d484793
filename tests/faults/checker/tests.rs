mod observers;
mod several;

use super::*;
use crate::history::{Belief, Fault, Stuck};

/// Makes a history of client 0 and name 0.
fn history(holds: Vec<Hold>, faults: Vec<Fault>) -> History {
    let start = Instant::now();
    History {
        start,
        end: start + Duration::from_secs(60),
        holds,
        waits: Vec::new(),
        faults,
        revocations: Vec::new(),
        campaigns: Vec::new(),
        views: Vec::new(),
        stuck: Vec::new(),
        stores_of: vec![vec![0], vec![1]],
        names: vec!["faults/0".into(), "faults/1".into()],
        connections: vec![vec![(start, 0)], vec![(start, 1)]],
    }
}

fn hold(origin: Instant, client: usize, token: i64, beliefs: &[(u64, u64)]) -> Hold {
    let at = |millis| origin + Duration::from_millis(millis);
    Hold {
        client,
        name: 0,
        access: Access::Alone,
        changes: Vec::new(),
        together: 1,
        others: Vec::new(),
        token,
        beliefs: beliefs.iter().map(|&(from, until)| Belief { from: at(from), until: at(until) }).collect(),
        renewed: at(beliefs[0].0),
        end: End::LetGo,
        outlives_streams: false,
        linger: Duration::ZERO,
        held_at_least: None,
        repeated: false,
    }
}

fn fault(origin: Instant, kind: Kind, on: Target, from: u64, until: u64) -> Fault {
    let at = |millis| origin + Duration::from_millis(millis);
    Fault { kind, on: vec![on], from: at(from), until: at(until) }
}

fn breaches(history: &History) -> Vec<Breach> {
    judge(history).into_iter().map(|violation| violation.what).collect()
}

#[test]
fn one_after_another_is_fine() {
    let now = Instant::now();
    let holds = vec![hold(now, 0, 1, &[(0, 100)]), hold(now, 1, 2, &[(100, 200)])];
    assert_eq!(breaches(&history(holds, vec![])), []);
}

#[test]
fn two_holders_are_found_behind_a_longer_and_an_interrupted_hold() {
    let now = Instant::now();
    let around = vec![hold(now, 0, 1, &[(0, 1_000)]), hold(now, 1, 2, &[(10, 20)]), hold(now, 1, 3, &[(30, 40)])];
    assert_eq!(breaches(&history(around, vec![])), [Breach::TwoHolders; 2]);
    // In the gap between two beliefs the lock is its client's all the same, but nobody believes.
    let gap = vec![hold(now, 0, 1, &[(0, 10), (30, 40)]), hold(now, 1, 2, &[(12, 28)])];
    assert_eq!(breaches(&history(gap, vec![])), []);
    let behind = vec![hold(now, 0, 1, &[(0, 10), (30, 40)]), hold(now, 1, 2, &[(12, 31)])];
    assert_eq!(breaches(&history(behind, vec![])), [Breach::TwoHolders]);
}

#[test]
fn a_cut_ends_the_belief_of_its_client_alone() {
    let now = Instant::now();
    let holds = || vec![hold(now, 0, 1, &[(0, 100)]), hold(now, 1, 2, &[(60, 200)])];
    let cut = |client| fault(now, Kind::ClientCut, Target::Client(client), 50, 50);
    assert_eq!(breaches(&history(holds(), vec![cut(0)])), []);
    assert_eq!(breaches(&history(holds(), vec![cut(1)])), [Breach::TwoHolders]);
}

#[test]
fn a_cut_does_not_end_what_outlives_its_stream() {
    let now = Instant::now();
    let lease = Hold { outlives_streams: true, ..hold(now, 0, 1, &[(0, 100)]) };
    let cut = fault(now, Kind::ClientCut, Target::Client(0), 50, 50);
    assert_eq!(breaches(&history(vec![lease, hold(now, 1, 2, &[(60, 200)])], vec![cut])), [Breach::TwoHolders]);
}

#[test]
fn tokens_must_rise() {
    let now = Instant::now();
    let tokens = |first, second| vec![hold(now, 0, first, &[(0, 100)]), hold(now, 1, second, &[(100, 200)])];
    assert_eq!(breaches(&history(tokens(2, 1), vec![])), [Breach::FallingToken]);
    assert_eq!(breaches(&history(tokens(2, 2), vec![])), [Breach::FallingToken]);
}

#[test]
fn a_name_that_nobody_can_have_is_found() {
    let mut history = history(vec![], vec![]);
    history.stuck.push(Stuck { name: 1, why: "held by nobody".into() });
    assert_eq!(breaches(&history), [Breach::NeverFreed]);
}

#[test]
fn a_loss_needs_a_cause_that_touches_it_after_the_last_renewal() {
    let now = Instant::now();
    let lost = || {
        let mut hold = hold(now, 0, 1, &[(10_000, 13_000)]);
        hold.end = End::Lost { at: now + Duration::from_secs(10) + LEASE, told: true };
        vec![hold]
    };
    assert_eq!(breaches(&history(lost(), vec![])), [Breach::LostWithoutCause]);
    let store = |store, from, until| fault(now, Kind::StorePaused, Target::Store(store), from, until);
    assert_eq!(breaches(&history(lost(), vec![store(0, 11_000, 18_000)])), []);
    assert_eq!(breaches(&history(lost(), vec![store(1, 11_000, 18_000)])), [Breach::LostWithoutCause]);
    assert_eq!(breaches(&history(lost(), vec![store(0, 1_000, 7_000)])), [Breach::LostWithoutCause]);
    assert_eq!(breaches(&history(lost(), vec![store(0, 14_000, 18_000)])), [Breach::LostWithoutCause]);
    let broker = |broker| fault(now, Kind::BrokerPaused, Target::Broker(broker), 11_000, 18_000);
    assert_eq!(breaches(&history(lost(), vec![broker(0)])), []);
    assert_eq!(breaches(&history(lost(), vec![broker(1)])), [Breach::LostWithoutCause]);
    let link = |broker| Target::StoreLink { broker, store: 0 };
    let link = |broker| fault(now, Kind::StoreLinkHalfOpen, link(broker), 11_000, 18_000);
    assert_eq!(breaches(&history(lost(), vec![link(0)])), []);
    assert_eq!(breaches(&history(lost(), vec![link(1)])), [Breach::LostWithoutCause]);
}

#[test]
fn a_loss_is_told_unless_the_way_of_the_telling_was_touched() {
    let now = Instant::now();
    let untold = || {
        let mut hold = hold(now, 0, 1, &[(10_000, 13_000)]);
        hold.end = End::Lost { at: now + Duration::from_secs(10) + LEASE, told: false };
        vec![hold]
    };
    let during = |kind, on| vec![fault(now, kind, on, 11_000, 18_000)];
    let store = during(Kind::StorePaused, Target::Store(0));
    assert_eq!(breaches(&history(untold(), store)), [Breach::LostWithoutNotice]);
    let client = during(Kind::ClientHalfOpen, Target::Client(0));
    assert_eq!(breaches(&history(untold(), client)), []);
    // A broker may be stopped between the end of the validity and its word, and not after it should have come.
    let with_a_broker_stopped = |from| {
        let store = fault(now, Kind::StorePaused, Target::Store(0), 11_000, 18_000);
        vec![store, fault(now, Kind::BrokerPaused, Target::Broker(0), from, 18_000)]
    };
    assert_eq!(breaches(&history(untold(), with_a_broker_stopped(13_500))), []);
    assert_eq!(breaches(&history(untold(), with_a_broker_stopped(16_000))), [Breach::LostWithoutNotice]);
}

/// Makes a hold of a permit.
fn share(origin: Instant, client: usize, token: i64, (permit, limit): (u32, u32), belief: (u64, u64)) -> Hold {
    let access = Access::Shared { permit, limit: Some(limit) };
    Hold { access, ..hold(origin, client, token, &[belief]) }
}

#[test]
fn several_share_a_lock_with_a_permit_each_and_nobody_has_it_beside_them() {
    let now = Instant::now();
    let (first, second) = (share(now, 0, 1, (0, 2), (0, 100)), share(now, 1, 2, (1, 2), (50, 150)));
    let of = |third: Hold| breaches(&history(vec![first.clone(), second.clone(), third], vec![]));
    assert_eq!(of(hold(now, 1, 3, &[(150, 200)])), []);
    // Beside one of them, and beside both.
    assert_eq!(of(hold(now, 1, 3, &[(120, 200)])), [Breach::TwoHolders]);
    assert_eq!(of(hold(now, 1, 3, &[(60, 70)])), [Breach::TwoHolders; 2]);
    assert_eq!(of(share(now, 1, 3, (0, 2), (120, 200))), []);
    assert_eq!(of(share(now, 1, 3, (1, 2), (120, 200))), [Breach::TwoHolders]);
}

#[test]
fn no_more_have_a_lock_than_its_limit_and_no_permit_is_above_it() {
    let now = Instant::now();
    let two = [share(now, 0, 1, (0, 2), (0, 100)), share(now, 1, 2, (1, 2), (0, 100))];
    let of = |third: Hold| breaches(&history(two.iter().cloned().chain([third]).collect(), vec![]));
    assert_eq!(of(share(now, 1, 3, (0, 2), (100, 110))), []);
    assert_eq!(of(share(now, 1, 3, (2, 2), (100, 110))), [Breach::AboveLimit]);
    // One too many by count, whatever the numbers.
    let mut others = share(now, 1, 3, (0, 2), (90, 110));
    assert_eq!(of(others.clone()), [Breach::TwoHolders, Breach::AboveLimit]);
    others.access = Access::Shared { permit: 1, limit: None };
    assert_eq!(of(others), [Breach::TwoHolders]);
}

#[test]
fn tokens_rise_between_those_that_exclude_each_other() {
    let now = Instant::now();
    let of = |holds: Vec<Hold>| breaches(&history(holds, vec![]));
    let reader = |token, permit, from| share(now, 0, token, (permit, 3), (from, from + 10));
    let writer = |token, from| hold(now, 1, token, &[(from, from + 10)]);
    // Readers among themselves need not rise, but those with one permit.
    assert_eq!(of(vec![writer(1, 0), reader(3, 0, 10), reader(2, 1, 20), writer(4, 30)]), []);
    assert_eq!(of(vec![reader(3, 0, 10), reader(2, 0, 20)]), [Breach::FallingToken]);
    assert_eq!(of(vec![writer(3, 0), reader(2, 0, 10)]), [Breach::FallingToken]);
    assert_eq!(of(vec![reader(3, 0, 0), reader(1, 1, 10), writer(2, 20)]), [Breach::FallingToken]);
    assert_eq!(of(vec![writer(5, 0), reader(6, 0, 10), reader(4, 1, 20)]), [Breach::FallingToken]);
}

#[test]
fn a_lock_stays_closed_after_its_end_unless_its_memory_was_lost() {
    let now = Instant::now();
    let lingers = Hold { linger: Duration::from_millis(50), ..hold(now, 0, 1, &[(0, 100)]) };
    let held = Hold { held_at_least: Some(now + Duration::from_millis(150)), ..hold(now, 0, 1, &[(0, 100)]) };
    let lost = End::Lost { at: now + Duration::from_millis(100), told: true };
    let stopped = vec![fault(now, Kind::StorePaused, Target::Store(0), 0, 100)];
    for (closed, ends) in [(&lingers, false), (&held, true)] {
        let of = |from, faults| {
            let holds = vec![closed.clone(), hold(now, 1, 2, &[(from, from + 10)])];
            breaches(&history(holds, faults))
        };
        assert_eq!(of(150, vec![]), []);
        assert_eq!(of(149, vec![]), [Breach::OpenedEarly]);
        assert_eq!(of(149, stopped.clone()), [Breach::OpenedEarly]);
        let flush = |store| vec![fault(now, Kind::StoreFlushed, Target::Store(store), 50, 50)];
        assert_eq!(of(149, flush(0)), []);
        assert_eq!(of(149, flush(1)), [Breach::OpenedEarly]);
        // A linger counts from the release, and what was lost is not released.
        let lost = Hold { end: lost, ..closed.clone() };
        let found = breaches(&history(vec![lost, hold(now, 1, 2, &[(149, 160)])], stopped.clone()));
        assert_eq!(found.contains(&Breach::OpenedEarly), ends);
    }
}

#[test]
fn a_lock_is_lost_by_what_touches_another_that_was_had_together_with_it() {
    let now = Instant::now();
    let end = End::Lost { at: now + Duration::from_secs(10) + LEASE, told: true };
    let alone = Hold { end, ..hold(now, 0, 1, &[(10_000, 13_000)]) };
    let together = Hold { others: vec![1], ..alone.clone() };
    let store = vec![fault(now, Kind::StorePaused, Target::Store(1), 11_000, 18_000)];
    assert_eq!(breaches(&history(vec![alone], store.clone())), [Breach::LostWithoutCause]);
    assert_eq!(breaches(&history(vec![together], store)), []);
}
