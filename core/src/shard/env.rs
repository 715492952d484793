//! Time and chance, which the shards are given from outside.

use std::time::Duration;

use crate::Time;
use crate::rules::Rule;

/// The outside of the shards, as the driver makes it.
pub trait Env {
    /// Returns what time it is. It is fixed for one call of [`Shards`](super::Shards).
    fn now(&self) -> Time;
    /// Returns the date by this machine's clock, in microseconds since 1970. None before.
    fn wall_micros(&self) -> Option<u64>;
    /// Draws a random number. Nobody else may be able to guess it.
    fn random(&mut self) -> u64;
    /// Returns a time from `span` to `span + extra`, at random, so that brokers do not act in step.
    fn spread(&mut self, span: Duration, extra: Duration) -> Duration;
    /// Returns true if a rule is to be left out.
    fn breaks(&self, rule: Rule) -> bool {
        let _ = rule;
        false
    }
}
