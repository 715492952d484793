//! Limits on what clients can make a broker hold. Each shows how much of it is used, and counts what it refuses.

use std::num::NonZeroUsize;

use crate::metrics::{Counter, Gauge, Metrics};

/// A limit on how many there may be of something at once. Clones share the count.
#[derive(Debug, Clone)]
pub(crate) struct Quota {
    used: Gauge,
    limit: i64,
    refused: Counter,
}

/// One of those that a [`Quota`] counts. Dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Share(Gauge);

impl Quota {
    /// Makes a limit. `name` is the value of the label `limit` in the metrics.
    pub(crate) fn new(metrics: &Metrics, name: &str, limit: NonZeroUsize) -> Quota {
        let limit = i64::try_from(limit.get()).unwrap_or(i64::MAX / 2);
        let (used, refused) = metrics.limit(name, limit);
        Quota { used, limit, refused }
    }

    /// Counts one more, up to the limit. It counts first and compares then, so that no two callers take the last
    /// place.
    pub(crate) fn take(&self) -> Option<Share> {
        self.take_up_to(self.limit)
    }

    /// Counts one more, up to twice the limit: for calls that end something, or cannot be refused without a loss.
    pub(crate) fn take_reserved(&self) -> Option<Share> {
        self.take_up_to(2 * self.limit)
    }

    fn take_up_to(&self, limit: i64) -> Option<Share> {
        if self.used.begin() < limit {
            return Some(Share(self.used.clone()));
        }
        self.used.end();
        self.refused.inc();
        None
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_let_in_than_there_is_room_for() {
        let quota = Quota::new(&Metrics::default(), "test", NonZeroUsize::new(10).unwrap());
        let shares: Vec<_> = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..100).map(|_| scope.spawn(|| quota.take())).collect();
            takers.into_iter().filter_map(|taker| taker.join().unwrap()).collect()
        });
        assert!(shares.len() <= 10, "{}", shares.len());
        let rest: Vec<_> = std::iter::from_fn(|| quota.take()).collect();
        assert_eq!(shares.len() + rest.len(), 10);
        let reserved: Vec<_> = std::iter::from_fn(|| quota.take_reserved()).collect();
        assert_eq!(reserved.len(), 10);
        drop((shares, rest, reserved));
        assert!(quota.take().is_some());
    }
}
