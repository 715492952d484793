//! Measures growth on one machine: the same work for ever more callers, and for ever longer lines.

use std::sync::Arc;

use lockbroker::cli::bench::measure::Results;

use crate::lockers::{Etcd, Redis, session, streams};
use crate::report::{Chart, Samples};
use crate::servers::Servers;
use crate::{Bench, NOT_KEPT, of, work};

/// Cycles by the number of callers at a time.
const CYCLES: Chart = Chart {
    file: "growth-cycles.svg",
    title: "Cycles a second, by callers at a time",
    what: "growth, cycles/s",
    axis: "callers",
    points: &[1, 4, 16, 64, 256, 1024],
    lines: &["Session, memcached", "streams, memcached", "Redis", "etcd"],
};
/// Hand-overs by the number of waiters.
const HAND_OVERS: Chart = Chart {
    file: "growth-hand-over.svg",
    title: "Release sent to next grant received, µs, by waiters",
    what: "growth, hand-over µs",
    axis: "waiters",
    points: &[1, 10, 100, 1_000, 10_000],
    lines: &[
        "memcached, p50",
        "memcached, p99",
        "etcd, p50",
        "etcd, p99",
        "Redis polled every 10 ms, p50",
        "Redis polled every 10 ms, p99",
    ],
};
/// The charts that are drawn.
pub const CHARTS: [Chart; 2] = [CYCLES, HAND_OVERS];

/// The number of connections that the waiters of a broker share, each with a Session.
const CONNECTIONS: usize = 4;
/// The greatest number of waiters where each of them costs the peer's server work all the time: polling for 1,000 is
/// 100,000 commands a second.
const MOST_AT_PEERS: usize = 100;

impl Bench<'_> {
    /// Measures each point by itself: one that fails is missing, and the others are not. Returns all that failed.
    pub async fn growth(&self, samples: &mut Samples) -> Result<(), String> {
        let mut failures = Vec::new();
        for &callers in CYCLES.points {
            self.cycles_of(callers, samples, &mut failures).await;
        }
        for &waiters in HAND_OVERS.points {
            self.hand_overs_among(waiters, samples, &mut failures).await;
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }

    async fn cycles_of(&self, callers: usize, samples: &mut Samples, failures: &mut Vec<String>) {
        let Servers { memcached: [broker, _], redis, etcd, .. } = self.servers;
        let mut note = |line, measured: Result<(Results, f64), String>| {
            let name = CYCLES.name(line, callers);
            match measured.and_then(|(results, _)| Ok(of(&results, "cycle")?.rate())) {
                Ok(rate) => samples.add(name, rate),
                Err(why) => failures.push(format!("{name}: {why}")),
            }
        };
        let work = async { work::cycles(session(&broker.url()).await?, callers, self.length, broker.pid()).await };
        note("Session, memcached", work.await);
        let work = async { work::cycles(streams(&broker.url()).await?, callers, self.length, broker.pid()).await };
        note("streams, memcached", work.await);
        let work = async { work::cycles(Redis::connect(redis.port).await?, callers, self.length, redis.pid()).await };
        note("Redis", work.await);
        let work = async { work::cycles(Etcd::open(&etcd.url()).await?, callers, self.length, etcd.pid()).await };
        note("etcd", work.await);
    }

    async fn hand_overs_among(&self, waiters: usize, samples: &mut Samples, failures: &mut Vec<String>) {
        let Servers { memcached: [broker, _], redis, etcd, .. } = self.servers;
        let mut note = |who, measured: Result<Results, String>| {
            for (name, percentile) in [("p50", 50.0), ("p99", 99.0)] {
                let name = HAND_OVERS.name(&format!("{who}, {name}"), waiters);
                match measured.as_ref().map_err(String::clone).and_then(|results| of(results, "hand-over")) {
                    Ok(series) => samples.add(name, series.micros(percentile)),
                    Err(why) => failures.push(format!("{name}: {why}")),
                }
            }
        };
        let work = async {
            let mut lanes = Vec::new();
            for _ in 0..CONNECTIONS {
                lanes.push(Arc::new(session(&broker.url()).await?));
            }
            let callers = lanes.into_iter().cycle().take(waiters + 1).collect();
            work::hand_overs(callers, NOT_KEPT, self.length).await
        };
        note("memcached", work.await);
        if waiters > MOST_AT_PEERS {
            return;
        }
        let work =
            async { work::hand_overs(Etcd::several(&etcd.url(), waiters + 1).await?, NOT_KEPT, self.length).await };
        note("etcd", work.await);
        let work = async {
            let client = Arc::new(Redis::connect(redis.port).await?);
            work::hand_overs(vec![client; waiters + 1], NOT_KEPT, self.length).await
        };
        note("Redis polled every 10 ms", work.await);
    }
}
