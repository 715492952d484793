//! How long things last.

use std::time::Duration;

/// The shortest ttl.
pub const MIN_TTL: Duration = Duration::from_secs(5);
/// The longest ttl that a broker can be told to allow.
pub const MAX_TTL: Duration = Duration::from_secs(3600);
/// The longest linger.
pub const MAX_LINGER: Duration = Duration::from_secs(3600);

/// What a lease is shorter than its ttl.
///
/// An item with T=n lives for more than n-3 s and at most n s, and T is at least the ttl and one second: memcached's
/// clock ticks in seconds, it can skip one, and of what a clock that lags has stored that much may count.
pub const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// For how long a grant may be believed in, counted from before the command was sent.
pub fn lease(ttl: Duration) -> Duration {
    ttl.saturating_sub(LEASE_MARGIN)
}

/// The T, in seconds, of a lock's item: the ttl and the linger, so that a lock whose broker has died lingers too,
/// rounded up, and one more. It stays when the linger begins, so that a clock that lags then cuts nothing off.
pub fn item_ttl(ttl: Duration, linger: Duration) -> u32 {
    let span = ttl + linger;
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0) + 1;
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
