//! The mode `cycle`: acquires and releases, over and over, names that nobody else wants.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tonic::transport::Channel;

use super::connect::{connect_all, open};
use super::lane::{Lane, look};
use super::measure::{Tally, Window};
use super::progress::Progress;
use super::report::{Report, metered};
use super::{CommonArgs, Error, GRACE, WarmUp, prefix};
use crate::proto::lock_service_client::LockServiceClient;

/// The pause of a caller whose call has failed.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(super) struct CycleArgs {
    /// Kind of call that asks for a lock
    #[arg(long, value_name = "HOW", default_value = "session")]
    via: Via,
    /// Number of connections; with `session`, each has one Session that all its callers share
    #[arg(long, value_name = "COUNT", default_value = "1")]
    connections: NonZeroUsize,
    /// Number of callers, each with one cycle at a time
    #[arg(long, value_name = "COUNT", default_value = "64")]
    concurrency: NonZeroUsize,
    /// Begin this many cycles a second, whether or not the broker keeps up, and count a cycle's time from when it was
    /// to begin; without this, each caller begins the next cycle when one is done
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    #[command(flatten)]
    warm_up: WarmUp,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Via {
    /// On a Session
    Session,
    /// An Acquire stream for each lock, and a Release call
    Stream,
    /// No lock at all: one GetLock call of a free name, the ceiling for anything that makes calls
    Unary,
}

#[derive(Debug)]
enum Target {
    Lane(Lane),
    Calls(LockServiceClient<Channel>),
}

pub(super) async fn run(args: &CycleArgs) -> Result<Report, Error> {
    let mut targets = Vec::new();
    for (server, channel) in connect_all(&args.common, args.connections.get()).await? {
        targets.push(Arc::new(match args.via {
            Via::Session => Target::Lane(Lane::Session(open(&server, channel, None).await?.0)),
            Via::Stream => Target::Lane(Lane::Stream(LockServiceClient::new(channel), None)),
            Via::Unary => Target::Calls(LockServiceClient::new(channel)),
        }));
    }
    let tally = Arc::new(Tally::new(Window::new(args.warm_up.warm_up, args.common.duration)));
    let starts = Arc::new(Starts::new(args, tally.window()));
    let _progress = Progress::start("cycle", Arc::clone(&tally));
    metered("cycle", &args.common.pid, &tally, work(args, targets, &starts, &tally)).await
}

async fn work(args: &CycleArgs, targets: Vec<Arc<Target>>, starts: &Arc<Starts>, tally: &Arc<Tally>) {
    let prefix = prefix();
    let mut callers = JoinSet::new();
    for (caller, target) in (0..args.concurrency.get()).zip(targets.iter().cycle()) {
        let (target, starts, tally) = (Arc::clone(target), Arc::clone(starts), Arc::clone(tally));
        let name = format!("{prefix}/{caller}");
        callers.spawn(async move {
            while let Some(began) = starts.next().await {
                let late = starts.is_fixed().then(|| began.elapsed());
                if let Err(why) = cycle(&target, &name, began, late, &tally).await {
                    tally.fail(why);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
    }
    let deadline = tally.window().until + GRACE;
    let all = async { while callers.join_next().await.is_some() {} };
    if timeout_at(deadline.into(), all).await.is_err() {
        tally.fail_times(format!("unanswered {GRACE:?} after the end"), callers.len() as u64);
        tally.fail_times(format!("due, and not begun {GRACE:?} after the end"), starts.left());
    }
}

async fn cycle(target: &Target, name: &str, due: Instant, late: Option<Duration>, tally: &Tally) -> Result<(), String> {
    let began = Instant::now();
    let mut steps = Vec::with_capacity(4);
    match target {
        Target::Calls(stub) => {
            look(stub, name).await?;
            steps.push(("call", due.elapsed()));
        }
        Target::Lane(lane) => {
            let held = lane.acquire(name).await?;
            let acquired = Instant::now();
            lane.release(held).await?;
            steps.extend([("cycle", due.elapsed()), ("acquire", acquired - began), ("release", acquired.elapsed())]);
        }
    }
    steps.extend(late.map(|late| ("begun late by", late)));
    tally.note(due, &steps);
    Ok(())
}

/// Says when a cycle is to begin.
#[derive(Debug)]
enum Starts {
    /// A caller begins as soon as it is ready.
    Ready(Window),
    /// Callers begin at fixed times, whoever is ready then: a broker that stalls does not put them off.
    Fixed(Arc<Schedule>),
}

#[derive(Debug)]
struct Schedule {
    from: Instant,
    rate: u64,
    /// The number of cycles to begin.
    total: u64,
    /// The number of cycles that have begun.
    begun: AtomicU64,
    /// A permit for each one that is due, and in the end one for each caller, to say that there are no more.
    due: Semaphore,
}

impl Starts {
    fn new(args: &CycleArgs, window: Window) -> Starts {
        let Some(rate) = args.rate else { return Starts::Ready(window) };
        let length = args.warm_up.warm_up + args.common.duration;
        let schedule = Arc::new(Schedule {
            from: window.until - length,
            rate,
            total: (length.as_secs_f64() * rate as f64) as u64,
            begun: AtomicU64::new(0),
            due: Semaphore::new(0),
        });
        let (pacer, callers) = (Arc::clone(&schedule), args.concurrency.get());
        // The runtime's timers are exact to a millisecond, a thread's sleep to some 50 µs.
        thread::spawn(move || pacer.run(callers));
        Starts::Fixed(schedule)
    }

    /// Waits until the next cycle is to begin, and says since when. None: there are no more.
    async fn next(&self) -> Option<Instant> {
        match self {
            Starts::Ready(window) => (!window.is_over()).then(Instant::now),
            Starts::Fixed(schedule) => {
                schedule.due.acquire().await.ok()?.forget();
                let number = schedule.begun.fetch_add(1, Ordering::Relaxed);
                (number < schedule.total).then(|| schedule.at(number))
            }
        }
    }

    /// Returns true if cycles are due at certain times, at which no caller may be free.
    fn is_fixed(&self) -> bool {
        matches!(self, Starts::Fixed(_))
    }

    /// Returns the number of cycles that were due and never begun.
    fn left(&self) -> u64 {
        match self {
            Starts::Ready(_) => 0,
            Starts::Fixed(schedule) => schedule.total.saturating_sub(schedule.begun.load(Ordering::Relaxed)),
        }
    }
}

impl Schedule {
    fn at(&self, number: u64) -> Instant {
        self.from + Duration::from_secs_f64(number as f64 / self.rate as f64)
    }

    fn run(&self, callers: usize) {
        for number in 0..self.total {
            thread::sleep(self.at(number).saturating_duration_since(Instant::now()));
            self.due.add_permits(1);
        }
        self.due.add_permits(callers);
    }
}
