//! How a broker is, for people who look at it.

use crate::store::ShardView;

/// A broker at a glance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overview {
    /// The number of locks that it holds for its clients.
    pub held: i64,
    /// The number of requests that wait for a lock here.
    pub waiting: i64,
    /// What it has done so far.
    pub totals: Totals,
    /// The memcached servers, in the order of `--store`. None on the embedded store.
    pub shards: Vec<ShardView>,
}

/// What a broker has done since it began. Each number only rises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Locks granted, those that were handed over included. A reattach is none.
    pub grants: u64,
    /// Locks released, those that were handed over included. What is cleaned up after a loss is none.
    pub releases: u64,
    /// Locks handed from their holder straight to a waiter of this broker.
    pub hand_overs: u64,
    /// Locks lost whose clients believed in them.
    pub losses: u64,
    /// Requests for a lock that ended without one, but for those whose client changed its mind.
    pub refusals: u64,
}
