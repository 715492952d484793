//! Several permits at once, and locks that become shared ones.

use super::*;

#[test]
fn several_permits_of_one_client_count_each() {
    let now = Instant::now();
    let two = [share(now, 0, 1, (0, 3), (0, 100)), share(now, 0, 2, (1, 3), (0, 100))];
    let of = |others: &[Hold]| breaches(&history(two.iter().chain(others).cloned().collect(), vec![]));
    let third = share(now, 1, 3, (2, 3), (50, 150));
    assert_eq!(of(std::slice::from_ref(&third)), []);
    // A fourth has the number of one that is gone already, by its own account alone.
    assert_eq!(of(&[third, share(now, 1, 4, (1, 3), (60, 70))]), [Breach::TwoHolders, Breach::AboveLimit]);
    assert_eq!(of(&[hold(now, 1, 3, &[(99, 110)])]), [Breach::TwoHolders; 2]);
    // One client that has a permit twice.
    assert_eq!(of(&[share(now, 0, 3, (1, 3), (0, 100))]), [Breach::TwoHolders]);
}

/// Has the lock alone for 100 ms, does not know for 100 ms, and then shares it.
fn downgraded(origin: Instant, client: usize, token: i64) -> Hold {
    let at = |millis| origin + Duration::from_millis(millis);
    let shared = Access::Shared { permit: 0, limit: Some(2) };
    let changes = vec![(at(100), Access::Between), (at(200), shared)];
    Hold { changes, ..hold(origin, client, token, &[(0, 100), (100, 200), (200, 300)]) }
}

#[test]
fn a_downgrade_lets_others_share_the_lock_from_when_it_is_asked_for_and_nobody_have_it_alone() {
    let now = Instant::now();
    let of = |other: Hold| breaches(&history(vec![downgraded(now, 0, 1), other], vec![]));
    for (from, breach) in [(90, Some(Breach::TwoHolders)), (100, None), (150, None), (200, None), (300, None)] {
        assert_eq!(of(share(now, 1, 2, (1, 2), (from, 400))), breach.into_iter().collect::<Vec<_>>(), "at {from}");
    }
    for from in [0, 90, 100, 150, 250] {
        assert_eq!(of(hold(now, 1, 2, &[(from, from + 1)])), [Breach::TwoHolders], "at {from}");
    }
    assert_eq!(of(hold(now, 1, 2, &[(300, 310)])), []);
    // The permit that it is told is its own from then on.
    assert_eq!(of(share(now, 1, 2, (0, 2), (150, 190))), []);
    assert_eq!(of(share(now, 1, 2, (0, 2), (150, 201))), [Breach::TwoHolders]);
}

#[test]
fn whoever_is_on_the_way_to_share_a_lock_counts_for_its_limit() {
    let now = Instant::now();
    let readers = |from| {
        vec![downgraded(now, 0, 1), share(now, 1, 2, (1, 2), (from, 400)), share(now, 1, 3, (0, 2), (from + 1, 190))]
    };
    assert_eq!(breaches(&history(readers(150), vec![])), [Breach::AboveLimit]);
}

#[test]
fn the_token_of_a_downgrade_is_below_those_of_all_who_share_the_lock_then() {
    let now = Instant::now();
    let of = |other: Hold| breaches(&history(vec![downgraded(now, 0, 5), other], vec![]));
    assert_eq!(of(share(now, 1, 6, (1, 2), (150, 160))), []);
    assert_eq!(of(share(now, 1, 4, (1, 2), (150, 160))), [Breach::FallingToken]);
    assert_eq!(of(hold(now, 1, 4, &[(300, 310)])), [Breach::FallingToken]);
}

#[test]
fn the_linger_of_a_downgrade_closes_its_permit_alone() {
    let now = Instant::now();
    let lingers = Hold { linger: Duration::from_millis(50), ..downgraded(now, 0, 1) };
    let of = |other: Hold| breaches(&history(vec![lingers.clone(), other], vec![]));
    assert_eq!(of(share(now, 1, 2, (1, 2), (310, 320))), []);
    assert_eq!(of(share(now, 1, 2, (0, 2), (310, 320))), [Breach::OpenedEarly]);
    assert_eq!(of(hold(now, 1, 2, &[(310, 320)])), [Breach::OpenedEarly]);
}

#[test]
fn a_revocation_is_a_cause_and_no_excuse_for_silence() {
    let now = Instant::now();
    let lost = |told| {
        let end = End::Lost { at: now + Duration::from_secs(10) + LEASE, told };
        vec![Hold { end, others: vec![1], together: 2, ..hold(now, 0, 1, &[(10_000, 13_000)]) }]
    };
    let revoked =
        |of: &[Target]| vec![Fault { on: of.to_vec(), ..fault(now, Kind::Revoked, Target::Name(0), 11_000, 16_000) }];
    assert_eq!(breaches(&history(lost(true), revoked(&[Target::Name(1)]))), []);
    assert_eq!(breaches(&history(lost(false), revoked(&[Target::Name(1)]))), [Breach::LostWithoutNotice]);
    // Its client was made to hear late.
    assert_eq!(breaches(&history(lost(false), revoked(&[Target::Name(1), Target::Client(0)]))), []);
}

#[test]
fn nobody_believes_in_a_revoked_lock_for_longer_than_it_was_good() {
    let now = Instant::now();
    let at = |millis| now + Duration::from_millis(millis);
    let of = |hold: Hold, faults| {
        let mut history = history(vec![hold], faults);
        history.revocations = vec![Revocation { name: 0, permit: None, sent: at(1_000), answered: at(1_100) }];
        breaches(&history)
    };
    let lease = LEASE.as_millis() as u64;
    assert_eq!(of(hold(now, 0, 1, &[(0, 1_100 + lease)]), vec![]), []);
    let late = hold(now, 0, 1, &[(0, 1_101 + lease)]);
    assert_eq!(of(late.clone(), vec![]), [Breach::BelievedAfterRevocation]);
    let with = |kind| of(late.clone(), vec![fault(now, kind, Target::Store(0), 2_000, 2_000)]);
    assert_eq!(with(Kind::StoreFlushed), []);
    assert_eq!(with(Kind::StorePaused), [Breach::BelievedAfterRevocation]);
    // It may be another grant that was revoked.
    assert_eq!(of(hold(now, 0, 1, &[(1_001, 9_000)]), vec![]), []);
    assert_eq!(of(share(now, 0, 1, (0, 2), (0, 9_000)), vec![]), []);
}
