//! The broker side by side with Redis and etcd: the same work in turn, round after round, and the ratios of each round.
//!
//! Times and rates depend on the machine and on what else it does. A ratio of two that were measured within seconds
//! of each other, by the same client, depends on that much less; its median over the rounds and their spread are what
//! is to be looked at.

mod growth;
mod lockers;
mod report;
mod servers;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use lockbroker::cli::bench::measure::{Results, Series, Usage};
use serde_json::Value;
use tokio::process::Command;

use lockers::{Etcd, Redis, session, streams};
use report::Aim::{AtLeast, AtMost};
use report::{Row, Samples};
use servers::{Programs, Servers};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compare the broker with Redis and etcd
#[derive(Debug, Parser)]
struct Args {
    /// Also what takes long: memory, the cost of many held locks, and growth
    #[arg(long)]
    all: bool,
    /// Group to run alone; may be given several times
    #[arg(long, value_name = "GROUP")]
    only: Vec<Group>,
    /// Number of rounds [default: 9, and 3 of the groups whose rounds take long]
    #[arg(long, value_name = "COUNT")]
    rounds: Option<usize>,
    /// Time for which each piece of work is measured, in each round
    #[arg(long, value_name = "DURATION", default_value = "1500ms", value_parser = humantime::parse_duration)]
    length: Duration,
    /// Folder in which the pictures are drawn
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bench"))]
    pictures: PathBuf,
    /// A broker that is built already; without this, a release build is made
    #[arg(long, value_name = "PATH")]
    lockbroker: Option<PathBuf>,
}

/// A group of pieces of work that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Cycles on one shared Session, and on one shared connection to Redis
    Session,
    /// Cycles with a stream for each lock, and with etcd's lock API
    Stream,
    /// One caller, nobody in the way
    Alone,
    /// Hand-over in one broker
    HandOver,
    /// Hand-over between two brokers
    Brokers,
    /// From the end of a connection to the next grant
    Disconnect,
    /// Memory, idle and for each held lock
    Memory,
    /// CPU while 100,000 locks are held
    Hold,
    /// Cycles over callers at a time, and hand-overs over waiters
    Growth,
}

impl Group {
    /// The groups whose rounds take more than 10 s.
    const LONG: [Group; 3] = [Group::Memory, Group::Hold, Group::Growth];

    /// Returns the name, as on the command line.
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn rounds(self, args: &Args) -> usize {
        args.rounds.unwrap_or(if Group::LONG.contains(&self) { 3 } else { 9 })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let wanted = |group: &Group| match args.only.as_slice() {
        [] => args.all || !Group::LONG.contains(group),
        only => only.contains(group),
    };
    let groups: Vec<_> = Group::value_variants().iter().copied().filter(wanted).collect();
    let programs = Programs::find(args.lockbroker.clone())?;
    let servers = Servers::start(&programs)?;
    let bench = Bench { programs: &programs, servers: &servers, length: args.length };
    let (mut samples, mut failures) = (Samples::default(), Vec::new());
    let rounds = groups.iter().map(|group| group.rounds(&args)).max().unwrap_or(0);
    for round in 0..rounds {
        for &group in groups.iter().filter(|group| round < group.rounds(&args)) {
            eprintln!("round {} of {}: {}", round + 1, group.rounds(&args), group.name());
            let mut found = Samples::default();
            let outcome = bench.run(group, &mut found).await;
            // All of a round counts or none, so that what is compared is of the same round; growth compares nothing.
            if outcome.is_ok() || group == Group::Growth {
                samples.append(found);
            }
            if let Err(why) = outcome {
                failures.push(format!("round {} of {}: {why}", round + 1, group.name()));
            }
        }
    }
    print!("{}", report::table(&samples, ROWS, &growth::CHARTS));
    report::draw(&samples, ROWS, &growth::CHARTS, &args.pictures)
        .with_context(|| format!("cannot draw into {}", args.pictures.display()))?;
    ensure!(failures.is_empty(), "what failed and is in no number:\n{}", failures.join("\n"));
    Ok(())
}

/// A lock that goes from hand to hand is released at once: no processor has gone to sleep meanwhile.
const NOT_KEPT: Duration = Duration::ZERO;
/// Long enough for two brokers to have come to know of each other, and for one that polls not to come just then.
const KEPT_SHORT: Duration = Duration::from_millis(1);
/// Long enough for etcd to have come to know who has joined the line: it looks for new watchers every 100 ms.
const KEPT: Duration = Duration::from_millis(120);

/// One round's surroundings.
struct Bench<'a> {
    programs: &'a Programs,
    servers: &'a Servers,
    length: Duration,
}

impl Bench<'_> {
    async fn run(&self, group: Group, samples: &mut Samples) -> Result<(), String> {
        match group {
            Group::Session => self.session(samples).await,
            Group::Stream => self.stream(samples).await,
            Group::Alone => self.alone(samples).await,
            Group::HandOver => self.hand_over(samples).await,
            Group::Brokers => self.brokers(samples).await,
            Group::Disconnect => self.disconnect(samples).await,
            Group::Memory => self.memory(samples).await,
            Group::Hold => self.hold(samples).await,
            Group::Growth => self.growth(samples).await,
        }
    }

    async fn session(&self, samples: &mut Samples) -> Result<(), String> {
        let Servers { memory, memcached: [memcached, _], redis, .. } = self.servers;
        for count in [256, 64] {
            let mut note = |who, (results, cpu): (Results, f64)| {
                samples.add(format!("cycles/s, {count} at a time: {who}"), of(&results, "cycle")?.rate());
                samples.add(format!("CPU µs a cycle, {count} at a time: {who}"), cpu);
                Ok::<_, String>(())
            };
            for (who, broker) in [("Session, memcached", memcached), ("Session, memory", memory)] {
                note(who, work::cycles(session(&broker.url()).await?, count, self.length, broker.pid()).await?)?;
            }
            note("Redis", work::cycles(Redis::connect(redis.port).await?, count, self.length, redis.pid()).await?)?;
        }
        Ok(())
    }

    async fn stream(&self, samples: &mut Samples) -> Result<(), String> {
        let Servers { memory, memcached: [memcached, _], etcd, .. } = self.servers;
        let mut note = |who, (results, cpu): (Results, f64)| {
            samples.add(format!("cycles/s, 64 at a time: {who}"), of(&results, "cycle")?.rate());
            samples.add(format!("CPU µs a cycle, 64 at a time: {who}"), cpu);
            Ok::<_, String>(())
        };
        for (who, broker) in [("streams, memcached", memcached), ("streams, memory", memory)] {
            note(who, work::cycles(streams(&broker.url()).await?, 64, self.length, broker.pid()).await?)?;
        }
        note("etcd", work::cycles(Etcd::open(&etcd.url()).await?, 64, self.length, etcd.pid()).await?)?;
        Ok(())
    }

    async fn alone(&self, samples: &mut Samples) -> Result<(), String> {
        let Servers { memory, memcached: [memcached, _], redis, etcd, .. } = self.servers;
        let mut note = |who, (results, _): (Results, f64)| {
            samples.add(format!("acquire alone, p50 µs: {who}"), of(&results, "acquire")?.micros(50.0));
            Ok::<_, String>(())
        };
        for (who, broker) in [("Session, memcached", memcached), ("Session, memory", memory)] {
            note(who, work::cycles(session(&broker.url()).await?, 1, self.length, broker.pid()).await?)?;
        }
        note("Redis", work::cycles(Redis::connect(redis.port).await?, 1, self.length, redis.pid()).await?)?;
        note("etcd", work::cycles(Etcd::open(&etcd.url()).await?, 1, self.length, etcd.pid()).await?)?;
        Ok(())
    }

    async fn hand_over(&self, samples: &mut Samples) -> Result<(), String> {
        let Servers { memory, memcached: [memcached, _], etcd, .. } = self.servers;
        for (waiters, kept) in [(1, NOT_KEPT), (1, KEPT), (100, NOT_KEPT), (1_000, NOT_KEPT)] {
            let what = match kept {
                NOT_KEPT => format!("hand-over, {waiters} waiting"),
                _ => format!("hand-over, {waiters} waiting for {} ms", kept.as_millis()),
            };
            for (who, broker) in [("memcached", memcached), ("memory", memory)] {
                let lane = Arc::new(session(&broker.url()).await?);
                let results = work::hand_overs(vec![lane; waiters + 1], kept, self.length).await?;
                spread(samples, &what, who, &results, "hand-over")?;
            }
            // Where the only one in line has just come, etcd takes up to 100 ms.
            if waiters == 100 || kept == KEPT {
                let clients = Etcd::several(&etcd.url(), waiters + 1).await?;
                let results = work::hand_overs(clients, kept, self.length).await?;
                spread(samples, &what, "etcd", &results, "hand-over")?;
            }
        }
        Ok(())
    }

    async fn brokers(&self, samples: &mut Samples) -> Result<(), String> {
        let Servers { memcached: [one, other], redis, .. } = self.servers;
        let lanes = vec![Arc::new(session(&one.url()).await?), Arc::new(session(&other.url()).await?)];
        let results = work::hand_overs(lanes, KEPT_SHORT, self.length).await?;
        spread(samples, "hand-over, two brokers", "memcached", &results, "hand-over")?;
        let client = Arc::new(Redis::connect(redis.port).await?);
        let results = work::hand_overs(vec![client; 2], KEPT_SHORT, self.length).await?;
        spread(samples, "hand-over, two brokers", "Redis polled every 10 ms", &results, "hand-over")
    }

    async fn disconnect(&self, samples: &mut Samples) -> Result<(), String> {
        let memcached = &self.servers.memcached[0];
        spread(samples, "disconnect, 1 lock", "bare TCP", &work::bare_ends(self.length).await?, "end")?;
        let results = work::disconnects(&memcached.url(), 1, self.length).await?;
        spread(samples, "disconnect, 1 lock", "memcached", &results, "grant")?;
        let results = work::disconnects(&memcached.url(), 10_000, self.length).await?;
        spread(samples, "disconnect, last of 10,000", "memcached", &results, "last")?;
        Ok(())
    }

    /// Measures memory on servers of its own, since memory that was needed once is not all given back.
    async fn memory(&self, samples: &mut Samples) -> Result<(), String> {
        for locks in [20_000, 50_000, 100_000] {
            let servers = Servers::start(self.programs).map_err(told)?;
            let [one, other] = &servers.memcached;
            let idle = Usage::of(one.pid())?.anonymous as f64 / (1 << 20) as f64;
            samples.add("anonymous MiB, idle".into(), idle);
            let held = work::hold(vec![session(&one.url()).await?], locks, one.pid()).await?;
            samples.add(format!("KiB a lock, {locks} held: Session"), held.kib_per_lock);
            samples.add(format!("anonymous MiB, after {locks} locks: Session"), held.mib_after);
            let held = work::hold(self.lanes(&other.url()).await?, locks, other.pid()).await?;
            samples.add(format!("KiB a lock, {locks} held: streams"), held.kib_per_lock);
            samples.add(format!("anonymous MiB, after {locks} locks: streams"), held.mib_after);
            let redis = &servers.redis;
            let held = work::hold(vec![Redis::connect(redis.port).await?], locks, redis.pid()).await?;
            samples.add(format!("KiB a lock, {locks} held: Redis"), held.kib_per_lock);
        }
        Ok(())
    }

    /// Measures with the broker's own bench, which reads what streams are told. The broker cuts off clients that do
    /// not read.
    async fn hold(&self, samples: &mut Samples) -> Result<(), String> {
        let servers = Servers::start(self.programs).map_err(told)?;
        let [one, other] = &servers.memcached;
        for (via, connections, broker) in [("session", "1", one), ("stream", "20", other)] {
            let mut bench = Command::new(&self.programs.lockbroker);
            // Six renewals of each.
            bench.args(["bench", "hold", "--locks", "100000", "--ttl", "30s", "--duration", "60s", "--json", "-"]);
            bench.args(["--via", via, "--connections", connections, "--server", &broker.url()]);
            bench.args(["--pid", &broker.pid().to_string()]);
            let output = bench.output().await.map_err(|error| error.to_string())?;
            let found: Value =
                serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))?;
            let share = found["brokers"][0]["of_a_core"].as_f64().filter(|_| found["failed"] == 0);
            let share = share.ok_or_else(|| format!("locks were lost, via {via}: {found}"))?;
            samples.add(format!("% of a core, 100,000 held: {via}"), share * 100.0);
        }
        Ok(())
    }

    /// Opens few connections for many streams.
    async fn lanes(&self, url: &str) -> Result<Vec<lockbroker::cli::bench::lane::Lane>, String> {
        let mut lanes = Vec::new();
        for _ in 0..20 {
            lanes.push(streams(url).await?);
        }
        Ok(lanes)
    }
}

/// Returns a step's spans, or an error if there are none.
fn of<'a>(results: &'a Results, step: &str) -> Result<&'a Series, String> {
    results.step(step).ok_or_else(|| format!("nothing was measured of this: {step}"))
}

/// Notes a step's p50 and p99.
fn spread(samples: &mut Samples, what: &str, who: &str, results: &Results, step: &str) -> Result<(), String> {
    let series = of(results, step)?;
    for (name, percentile) in [("p50", 50.0), ("p99", 99.0)] {
        samples.add(format!("{what}, {name} µs: {who}"), series.micros(percentile));
    }
    Ok(())
}

fn told(error: anyhow::Error) -> String {
    format!("{error:#}")
}

/// The figures, with their aims.
const ROWS: &[Row] = &[
    Row::ratio(Group::Session, "CPU µs a cycle, 64 at a time", "Session, memory", "Redis", Some(AtMost(0.9))),
    Row::ratio(Group::Session, "CPU µs a cycle, 64 at a time", "Session, memcached", "Redis", Some(AtMost(1.1))),
    Row::ratio(Group::Session, "cycles/s, 64 at a time", "Session, memory", "Redis", Some(AtLeast(1.5))),
    Row::ratio(Group::Session, "cycles/s, 256 at a time", "Session, memory", "Redis", Some(AtLeast(1.1))),
    Row::ratio(Group::Session, "cycles/s, 64 at a time", "Session, memcached", "Redis", Some(AtLeast(1.0))),
    Row::ratio(Group::Session, "cycles/s, 256 at a time", "Session, memcached", "Redis", Some(AtLeast(0.75))),
    Row::ratio(Group::Stream, "CPU µs a cycle, 64 at a time", "streams, memcached", "etcd", Some(AtMost(0.12))),
    Row::ratio(Group::Stream, "cycles/s, 64 at a time", "streams, memcached", "etcd", Some(AtLeast(3.0))),
    Row::ratio(Group::Stream, "cycles/s, 64 at a time", "streams, memory", "etcd", None),
    Row::ratio(Group::Alone, "acquire alone, p50 µs", "Session, memcached", "etcd", Some(AtMost(0.4))),
    Row::ratio(Group::Alone, "acquire alone, p50 µs", "Session, memory", "etcd", Some(AtMost(0.25))),
    Row::ratio(Group::Alone, "acquire alone, p50 µs", "Redis", "etcd", None),
    Row::ratio(Group::HandOver, "hand-over, 100 waiting, p50 µs", "memcached", "etcd", Some(AtMost(0.25))),
    Row::ratio(Group::HandOver, "hand-over, 100 waiting, p99 µs", "memcached", "etcd", Some(AtMost(0.01))),
    Row::ratio(Group::HandOver, "hand-over, 1 waiting for 120 ms, p50 µs", "memcached", "etcd", None),
    Row::plain(Group::HandOver, "hand-over, 1 waiting, p50 µs: memcached", None),
    Row::plain(Group::HandOver, "hand-over, 1 waiting, p99 µs: memcached", None),
    Row::plain(Group::HandOver, "hand-over, 1000 waiting, p50 µs: memcached", None),
    Row::plain(Group::HandOver, "hand-over, 1000 waiting, p99 µs: memcached", None),
    Row::plain(Group::Brokers, "hand-over, two brokers, p50 µs: memcached", Some(AtMost(1_000.0))),
    Row::plain(Group::Brokers, "hand-over, two brokers, p99 µs: memcached", Some(AtMost(5_000.0))),
    Row::ratio(Group::Brokers, "hand-over, two brokers, p50 µs", "memcached", "Redis polled every 10 ms", None),
    Row::excess(Group::Disconnect, "disconnect, 1 lock, p99 µs", "memcached", "bare TCP", Some(AtMost(200.0))),
    Row::plain(Group::Disconnect, "disconnect, last of 10,000, p99 µs: memcached", Some(AtMost(80_000.0))),
    Row::plain(Group::Memory, "KiB a lock, 20000 held: Session", Some(AtMost(0.4))),
    Row::plain(Group::Memory, "KiB a lock, 50000 held: Session", Some(AtMost(0.4))),
    Row::plain(Group::Memory, "KiB a lock, 100000 held: Session", Some(AtMost(0.4))),
    Row::plain(Group::Memory, "KiB a lock, 20000 held: streams", Some(AtMost(2.0))),
    Row::plain(Group::Memory, "KiB a lock, 50000 held: streams", Some(AtMost(2.0))),
    Row::plain(Group::Memory, "KiB a lock, 100000 held: streams", Some(AtMost(2.0))),
    Row::plain(Group::Memory, "anonymous MiB, idle", Some(AtMost(4.0))),
    Row::plain(Group::Memory, "anonymous MiB, after 100000 locks: Session", Some(AtMost(8.0))),
    Row::plain(Group::Memory, "anonymous MiB, after 100000 locks: streams", Some(AtMost(8.0))),
    Row::plain(Group::Hold, "% of a core, 100,000 held: session", Some(AtMost(3.0))),
    Row::plain(Group::Hold, "% of a core, 100,000 held: stream", Some(AtMost(10.0))),
];
