//! The placement of names on shards, and the fingerprint that tells brokers that they agree on it.

use std::time::Duration;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Member;
use super::state_item::FINGERPRINTS;
use crate::lock::LockName;

/// The shards with their weights: it puts each name on one of them. Changing how it places a name changes who guards it: two brokers that
/// disagree would grant the same lock twice. So the hash (XXH3, fixed by its specification), the
/// formula and the logarithm (in software, the same on every platform) are fixed for all time.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// The hash seed and the weight of each shard.
    shards: Vec<(u64, f64)>,
}

impl Placement {
    /// Makes the placement on these shards; at least one, each once, in any order.
    pub fn new(shards: &[Member]) -> Placement {
        let shards = shards.iter().map(|shard| (xxh3_64(shard.address.as_bytes()), f64::from(shard.weight)));
        Placement { shards: shards.collect() }
    }

    /// Returns the index of the shard that guards `name`: weighted rendezvous hashing, by which every shard draws a
    /// number for the name and the greatest one wins, the heavier shards drawing greater numbers.
    pub fn shard_of(&self, name: &LockName) -> usize {
        let draw = |&(seed, weight): &(u64, f64)| {
            let hash = xxh3_64_with_seed(name.as_str().as_bytes(), seed);
            // The upper 53 bits, made a number strictly between 0 and 1.
            let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            -weight / libm::log(uniform)
        };
        let draws = self.shards.iter().map(draw).enumerate();
        draws.max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(index, _)| index)
    }
}

/// Returns a topology as nine decimal digits (R20): the same for the same shards, weights and `--max-ttl`, in whatever order
/// the shards are listed.
pub fn fingerprint(shards: &[Member], max_ttl: Duration) -> u64 {
    let mut lines: Vec<String> = shards.iter().map(|shard| format!("{}={}\n", shard.address, shard.weight)).collect();
    lines.sort_unstable();
    lines.push(format!("max-ttl {} ms", max_ttl.as_millis()));
    xxh3_64(lines.concat().as_bytes()) % FINGERPRINTS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topology() -> impl Strategy<Value = Vec<Member>> {
        let shards = prop::collection::btree_map("[a-z]{1,8}:[1-9][0-9]{0,3}", 1u32..=8, 1..6);
        shards.prop_map(|shards| {
            shards
                .iter()
                .map(|(address, weight)| Member { address: address.as_str().into(), weight: *weight })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn any_order_of_any_list_is_the_same_topology(
            (list, shuffled) in topology().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
            names in prop::collection::vec("\\PC{1,32}", 1..50),
        ) {
            let (one, other) = (Placement::new(&list), Placement::new(&shuffled));
            for name in names.iter().filter_map(|name| LockName::new(name).ok()) {
                prop_assert_eq!(&list[one.shard_of(&name)], &shuffled[other.shard_of(&name)]);
            }
            let ttl = Duration::from_secs(15);
            prop_assert_eq!(fingerprint(&list, ttl), fingerprint(&shuffled, ttl));
        }

        #[test]
        fn any_shard_gets_its_share(list in topology()) {
            let placement = Placement::new(&list);
            let mut counts = vec![0.0; list.len()];
            names().take(2_000).for_each(|name| counts[placement.shard_of(&name)] += 1.0);
            let weights: f64 = list.iter().map(|shard| f64::from(shard.weight)).sum();
            for (shard, count) in list.iter().zip(counts) {
                let share = f64::from(shard.weight) / weights;
                // Six standard deviations of a fair draw.
                let tolerance = 6.0 * (2_000.0 * share * (1.0 - share)).sqrt();
                prop_assert!((count - 2_000.0 * share).abs() <= tolerance, "{shard:?}: {count} of 2,000");
            }
        }
    }

    fn shards(list: &str) -> Vec<Member> {
        let member = |shard: &str| {
            let (address, weight) = shard.split_once('=').unwrap_or((shard, "1"));
            Member { address: address.into(), weight: weight.parse().unwrap() }
        };
        list.split(',').map(member).collect()
    }

    fn names() -> impl Iterator<Item = LockName> {
        (0..30_000).map(|n| LockName::new(&format!("name {n}")).unwrap())
    }

    #[test]
    fn the_placement_of_names_never_changes() {
        let list = shards("a:11211,b:11211=3,c:11211");
        let placement = Placement::new(&list);
        let placed: Vec<usize> = names().take(24).map(|name| placement.shard_of(&name)).collect();
        assert_eq!(placed, PLACED, "placement is part of the protocol between brokers");
        assert_eq!(fingerprint(&list, Duration::from_secs(15)), FINGERPRINT);
    }
    const PLACED: [usize; 24] = [1, 1, 2, 0, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 2, 2, 0, 1, 0, 1, 0];
    const FINGERPRINT: u64 = 754517155;

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let (one, other) = (shards("a:1,b:1=3,c:1"), shards("c:1,a:1,b:1=3"));
        let (first, second) = (Placement::new(&one), Placement::new(&other));
        for name in names() {
            assert_eq!(one[first.shard_of(&name)], other[second.shard_of(&name)]);
        }
        let ttl = Duration::from_secs(15);
        assert_eq!(fingerprint(&one, ttl), fingerprint(&other, ttl));
        assert_ne!(fingerprint(&one, ttl), fingerprint(&shards("a:1,b:1,c:1"), ttl));
        assert_ne!(fingerprint(&one, ttl), fingerprint(&one, 2 * ttl));
    }

    #[test]
    fn shards_get_their_share_by_weight() {
        let placement = Placement::new(&shards("a:1,b:1=3,c:1"));
        let mut counts = [0; 3];
        names().for_each(|name| counts[placement.shard_of(&name)] += 1);
        for (count, share) in counts.into_iter().zip([0.2, 0.6, 0.2]) {
            let expected = 30_000.0 * share;
            assert!((f64::from(count) - expected).abs() < 0.05 * expected, "{counts:?}");
        }
    }

    #[test]
    fn without_one_shard_only_its_names_move() {
        let (three, two) = (shards("a:1,b:1=3,c:1"), shards("a:1,c:1"));
        let (before, after) = (Placement::new(&three), Placement::new(&two));
        for name in names().filter(|name| before.shard_of(name) != 1) {
            assert_eq!(three[before.shard_of(&name)], two[after.shard_of(&name)]);
        }
    }
}
