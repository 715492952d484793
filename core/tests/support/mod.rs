//! The outside of a broker under test.

use std::time::Duration;

use lockbroker_core::Time;
use lockbroker_core::env::Env;
use lockbroker_core::lock::{GrantId, LingerId, LockName};

/// A clock that the test sets, and ids that count.
pub(crate) struct Outside {
    pub(crate) now: Time,
    pub(crate) last_id: u64,
    /// The number of times that those who observe were to look anew.
    pub(crate) changes: usize,
}

impl Outside {
    pub(crate) fn new() -> Outside {
        Outside { now: Time::from_nanos(1_000_000_000), last_id: 0, changes: 0 }
    }
}

impl Env for Outside {
    fn now(&self) -> Time {
        self.now
    }

    fn grant_id(&mut self) -> GrantId {
        self.last_id += 1;
        GrantId::from_random(self.last_id)
    }

    fn linger_id(&mut self) -> LingerId {
        self.last_id += 1;
        LingerId::from_random(self.last_id)
    }

    fn spread(&mut self, span: Duration, _: Duration) -> Duration {
        span
    }

    fn changed(&mut self, _: &LockName) {
        self.changes += 1;
    }
}
