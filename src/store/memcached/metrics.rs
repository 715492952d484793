//! The metrics of shards.

use std::time::Duration;

use crate::metrics::{Buckets, Counter, Counters, Gauge, Gauges, Histogram, Histograms, Metrics};
use lockbroker_core::shard::{Distrust, ShardState, ShardStatus};
use lockbroker_core::store::{Reply, StoreError};

/// Buckets from 0.1 ms to 1.6 s; no exchange takes longer than a second.
const LATENCIES: Buckets = Buckets { first: 0.0001, factor: 4.0, count: 8 };
/// Buckets from 1 to 512 commands; a batch has a few more at most.
const SIZES: Buckets = Buckets { first: 1.0, factor: 2.0, count: 10 };

/// The metrics of all shards, each under its own label.
#[derive(Debug)]
pub(super) struct StoreMetrics {
    state: Gauges,
    quarantine: Gauges,
    is_unsafe: Gauges,
    distrusted: Gauges,
    waiting: Gauges,
    batch: Histograms,
    commands: Histograms,
    errors: Counters,
    /// The generation of the topology in force.
    pub(super) generation: Gauge,
    /// 1 while the servers change.
    pub(super) changing: Gauge,
}

/// The metrics of one shard.
#[derive(Debug)]
pub(super) struct ShardMetrics {
    states: [(ShardState, Gauge); 6],
    quarantine: Gauge,
    pub(super) is_unsafe: Gauge,
    distrusted: [(Distrust, Gauge); 3],
    /// The number of jobs that wait for a batch.
    waiting: Gauge,
    /// The time from sending a batch to its answer, or to giving it up.
    pub(super) batch: Histogram,
    /// The number of commands in a batch.
    pub(super) commands: Histogram,
}

/// The counts of requests that a shard did not do.
#[derive(Debug)]
pub(super) struct ErrorMetrics {
    unavailable: Counter,
    uncertain: Counter,
    full: Counter,
}

impl StoreMetrics {
    pub(super) fn new(metrics: &Metrics) -> StoreMetrics {
        StoreMetrics {
            state: metrics.gauges("shard_state", "1 for the state that a shard is in, 0 for the others"),
            quarantine: metrics.gauges("shard_quarantine_seconds", "For how long a shard will still grant nothing"),
            is_unsafe: metrics.gauges(
                "shard_unsafe",
                "1 for a shard that may lose locks and is used all the same, for --allow-unsafe-store",
            ),
            distrusted: metrics.gauges(
                "shard_distrusted",
                "1 for a shard that is refused because its memory is an old one, or several servers share its address",
            ),
            waiting: metrics.gauges("shard_waiting", "What waits to be asked of a shard"),
            batch: metrics.histograms(
                "batch_seconds",
                "From sending a batch of commands to memcached to its answer, or to giving it up",
                LATENCIES,
            ),
            commands: metrics.histograms("batch_commands", "Commands in a batch", SIZES),
            errors: metrics.counters("store_errors", "Requests that a shard did not do"),
            generation: metrics.gauge(
                "topology_generation",
                "The number of the list of servers that is in force, 0 while it is not known",
            ),
            changing: metrics.gauge("topology_changing", "1 while the list of servers changes"),
        }
    }

    pub(super) fn shard(&self, shard: &str) -> (ShardMetrics, ErrorMetrics) {
        let label = ("shard", shard);
        let state = |state: ShardState, name| (state, self.state.of(&[label, ("state", name)]));
        let distrusted = |why, reason| (why, self.distrusted.of(&[label, ("reason", reason)]));
        let error = |kind| self.errors.of(&[label, ("kind", kind)]);
        let shard = ShardMetrics {
            states: [
                state(ShardState::Connecting, "connecting"),
                state(ShardState::Refused, "refused"),
                state(ShardState::Closed, "closed"),
                state(ShardState::Open, "open"),
                state(ShardState::Moving, "moving"),
                state(ShardState::Gone, "gone"),
            ],
            quarantine: self.quarantine.of(&[label]),
            is_unsafe: self.is_unsafe.of(&[label]),
            distrusted: [
                distrusted(Distrust::EpochCameBack, "epoch_came_back"),
                distrusted(Distrust::TokensFell, "tokens_fell"),
                distrusted(Distrust::SeveralServers, "several_servers"),
            ],
            waiting: self.waiting.of(&[label]),
            batch: self.batch.of(&[label]),
            commands: self.commands.of(&[label]),
        };
        shard.show(&ShardStatus {
            state: ShardState::Connecting,
            quarantine: Duration::ZERO,
            distrust: None,
            waiting: 0,
        });
        let errors =
            ErrorMetrics { unavailable: error("unavailable"), uncertain: error("uncertain"), full: error("full") };
        (shard, errors)
    }
}

impl ShardMetrics {
    /// Shows how the shard is.
    pub(super) fn show(&self, status: &ShardStatus) {
        let ShardStatus { state, quarantine, distrust, waiting } = *status;
        for (each, gauge) in &self.states {
            gauge.set(*each == state);
        }
        // An hour at the most.
        self.quarantine.set(quarantine.as_secs_f64().ceil() as u32);
        for (each, gauge) in &self.distrusted {
            gauge.set(distrust == Some(*each));
        }
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}

impl ErrorMetrics {
    /// Counts an answer that tells of an error.
    pub(super) fn count(&self, reply: &Reply) {
        let error = match reply {
            Reply::Granted(Err(error)) | Reply::Changed(Err(error)) => error,
            Reply::Status(Err(error)) | Reply::Stands(Err(error)) => error,
            Reply::Seen(Err(error)) | Reply::Kept(Err(error)) | Reply::Proclaimed(Err(error)) => error,
            _ => return,
        };
        match error {
            StoreError::Unavailable { .. } => self.unavailable.inc(),
            StoreError::Uncertain { .. } => self.uncertain.inc(),
            StoreError::Full { .. } => self.full.inc(),
        };
    }
}
