//! Tests of the judge of what observers are told.

use super::*;
use crate::elections::{Campaign, Sight, View, encode};

/// When something was seen, with which token, and which value of which campaign.
type Seen = (u64, i64, Option<(usize, usize)>);

/// Judges the history of one who observes name 0, of which two campaigns have sent a value every 100 ms, from 0 and from 1,000 on. The second
/// client never had its grant. A third one is for name 1.
fn observed(origin: Instant, views: &[&[Seen]], faults: Vec<Fault>) -> Vec<Breach> {
    let at = |millis| origin + Duration::from_millis(millis);
    let campaign = |name, token, from: u64| {
        let sent = (0..5).map(|number| at(from + 100 * number)).collect();
        Campaign { name, token, sent, answered: 4 }
    };
    let mut history = history(vec![], faults);
    history.campaigns = vec![campaign(0, Some(7), 0), campaign(0, None, 1_000), campaign(1, Some(7), 0)];
    let sight = |&(millis, token, value): &Seen| Sight {
        at: at(millis),
        token,
        value: value.map(|(campaign, number)| encode(campaign, number)),
    };
    let view = |seen: &&[_]| View { broker: 0, name: 0, seen: seen.iter().map(sight).collect() };
    history.views = views.iter().map(view).collect();
    breaches(&history)
}

#[test]
fn observers_may_miss_values_and_see_none() {
    let now = Instant::now();
    let seen =
        [(10, 7, Some((0, 0))), (250, 7, None), (450, 7, Some((0, 4))), (1_010, 8, Some((1, 0))), (1_200, 9, None)];
    assert_eq!(observed(now, &[&seen], vec![]), []);
}

#[test]
fn tokens_do_not_fall_on_one_stream() {
    let now = Instant::now();
    assert_eq!(observed(now, &[&[(10, 7, None), (20, 6, None)]], vec![]), [Breach::SeenFallingToken]);
    // Another stream is another broker's.
    assert_eq!(observed(now, &[&[(10, 7, None)], &[(20, 6, None)]], vec![]), []);
}

#[test]
fn a_value_is_its_holders() {
    let now = Instant::now();
    let foreign = |seen: Seen| observed(now, &[&[seen]], vec![]);
    assert_eq!(foreign((250, 7, Some((0, 2)))), []);
    // Not sent yet, never sent, with another token, of another name, of nobody.
    for seen in [
        (150, 7, Some((0, 2))),
        (900, 7, Some((0, 5))),
        (250, 8, Some((0, 2))),
        (250, 7, Some((2, 2))),
        (250, 7, Some((9, 0))),
    ] {
        assert_eq!(foreign(seen), [Breach::SeenForeignValue], "{seen:?}");
    }
    // The token of a grant that its client never had is one and the same for all.
    assert_eq!(
        observed(now, &[&[(1_010, 8, Some((1, 0)))], &[(1_020, 9, Some((1, 0)))]], vec![]),
        [Breach::SeenForeignValue]
    );
}

#[test]
fn values_of_one_grant_do_not_go_back_unless_their_memory_was_lost() {
    let now = Instant::now();
    let seen: &[_] = &[(250, 7, Some((0, 2))), (300, 7, None), (350, 7, Some((0, 1)))];
    assert_eq!(observed(now, &[seen], vec![]), [Breach::SeenOlderValue]);
    let with = |kind, store| observed(now, &[seen], vec![fault(now, kind, Target::Store(store), 300, 300)]);
    assert_eq!(with(Kind::StoreFlushed, 0), []);
    assert_eq!(with(Kind::StoreFilled, 0), []);
    assert_eq!(with(Kind::StoreFlushed, 1), [Breach::SeenOlderValue]);
    assert_eq!(with(Kind::StorePaused, 0), [Breach::SeenOlderValue]);
    // Another broker may not have looked yet.
    assert_eq!(observed(now, &[&seen[..1], &seen[2..]], vec![]), []);
}
