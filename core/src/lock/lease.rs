//! Limits and lengths of ttls, leases, lingers and items.

use std::time::Duration;

/// The shortest ttl.
pub const MIN_TTL: Duration = Duration::from_secs(5);
/// The longest ttl that a broker can be told to allow.
pub const MAX_TTL: Duration = Duration::from_secs(3600);
/// The longest linger.
pub const MAX_LINGER: Duration = Duration::from_secs(3600);

/// The longest `min_hold`.
pub const MAX_MIN_HOLD: Duration = Duration::from_secs(3600);

/// The difference between a ttl and its lease (R2).
///
/// An item with T=n lives for more than n-3 s and at most n s, and T is the ttl plus at least one second. The 3 s are
/// what memcached's clock may take: it ticks in seconds, it can skip a second, and it may lag when it stores the item
/// (R18).
pub const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// Returns the time for which a grant may be believed in, counted from before its command was sent (R2).
pub fn lease(ttl: Duration) -> Duration {
    ttl.saturating_sub(LEASE_MARGIN)
}

/// Returns how long before the end of its validity a lock of this `ttl` counts as lost (R6a). A broker tells `lost` then,
/// and a client says so by its own count. No later answer counts. The lock's item stays until the end: that is the time
/// in which the holder stops.
pub fn notice(ttl: Duration) -> Duration {
    ttl / 30
}

/// Returns T, in seconds, for a lock's item: ttl and linger, rounded up, plus one. The linger is in it so that a lock
/// whose broker has died lingers too. T stays the same when the linger begins, so a clock that lags then shortens
/// nothing.
pub fn item_ttl(ttl: Duration, linger: Duration) -> u32 {
    let span = ttl + linger;
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0) + 1;
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Returns T, in seconds, for an item that has to live for `left` (R31), and 0 if nothing is left: an item with T = n lives
/// for more than n-3 s.
pub fn min_hold_ttl(left: Duration) -> u32 {
    if left.is_zero() { 0 } else { item_ttl(left, LEASE_MARGIN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_outlives_what_is_left_of_its_min_hold() {
        for millis in [1, 999, 1_000, 1_001, 3_600_000] {
            let left = Duration::from_millis(millis);
            let shortest_life = Duration::from_secs(u64::from(min_hold_ttl(left)) - 3);
            assert!(left <= shortest_life && shortest_life < left + Duration::from_secs(1), "{left:?}");
        }
        assert_eq!(min_hold_ttl(Duration::ZERO), 0);
    }

    #[test]
    fn a_lease_ends_before_the_item_can() {
        for millis in [5_000, 5_001, 7_999, 15_000, 3_600_000] {
            let ttl = Duration::from_millis(millis);
            let shortest_life = Duration::from_secs(u64::from(item_ttl(ttl, Duration::ZERO)) - 3);
            assert!(lease(ttl) <= shortest_life, "{ttl:?}");
        }
        assert_eq!(item_ttl(Duration::from_millis(5_001), Duration::from_millis(2_000)), 9);
    }
}
