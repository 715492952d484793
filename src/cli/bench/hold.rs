//! The mode `hold`: acquires many locks and holds them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};

use super::connect::connect_all;
use super::holder::{Holder, Observed};
use super::measure::{Tally, Window};
use super::progress::Progress;
use super::report::{Meter, Report};
use super::{CommonArgs, Error, prefix};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct HoldArgs {
    /// Kind of call that asks for the locks
    #[arg(long, value_name = "HOW", default_value = "session")]
    pub(super) via: Via,
    /// Number of locks
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    locks: NonZeroUsize,
    /// Number of connections; with `session`, each has one Session
    #[arg(long, value_name = "COUNT", default_value = "1")]
    connections: NonZeroUsize,
    /// Number of locks that are acquired, and later released, at a time
    #[arg(long, value_name = "COUNT", default_value = "64")]
    concurrency: NonZeroUsize,
    /// The ttl of the locks [default: the broker's, 15s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) ttl: Option<Duration>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Via {
    /// On Sessions
    Session,
    /// An Acquire stream for each lock
    Stream,
}

pub(super) async fn run(args: &HoldArgs) -> Result<Report, Error> {
    let mut meter = Meter::start(&args.common.pid)?;
    let observed = Arc::new(Observed::default());
    let mut holders = Vec::new();
    for (server, channel) in connect_all(&args.common, args.connections.get()).await? {
        holders.push(Holder::open(args.clone(), Arc::clone(&observed), server, channel).await?);
    }

    let acquiring = Arc::new(Tally::new(Window::open()));
    acquire(args, &holders, &acquiring).await;
    let mut results = acquiring.results();
    let mut trouble = meter.weigh("held").and_then(|()| meter.restart()).err();

    {
        let _progress = Progress::start("hold", Arc::clone(observed.tally()));
        tokio::time::sleep(args.common.duration).await;
    }
    let costs = meter.costs().unwrap_or_else(|why| {
        trouble = Some(why);
        Vec::new()
    });

    let held: usize = holders.iter().map(|holder| holder.names().len()).sum();
    let counts = vec![
        ("held", held as u64),
        ("heartbeats acknowledged", observed.acknowledged.load(Ordering::Relaxed)),
        ("not renewed by the first acknowledgement", observed.not_renewed.load(Ordering::Relaxed)),
        ("renewals told on streams", observed.renewed.load(Ordering::Relaxed)),
        ("moved to another broker", observed.moved.load(Ordering::Relaxed)),
    ];
    results.add(observed.tally().results());
    let lost = observed.tally().results().failed();
    let releasing = Arc::new(Tally::new(Window::open()));
    release(args, &holders, &releasing).await;
    if let Err(why) = meter.weigh("after") {
        trouble = Some(why);
    }
    if let Some(why) = trouble {
        releasing.fail(why);
    }
    results.add(releasing.results());
    let counts = counts.into_iter().chain([("ended by themselves", lost)]).collect();
    Ok(Report { mode: "hold", results, counts, costs: meter.with_memory(costs) })
}

async fn acquire(args: &HoldArgs, holders: &[Arc<Holder>], tally: &Arc<Tally>) {
    let _progress = Progress::start("acquire", Arc::clone(tally));
    let prefix = prefix();
    let asks = (0..args.locks.get()).zip(holders.iter().cycle()).map(|(number, holder)| {
        let name = format!("{prefix}/{number}");
        async move {
            let began = Instant::now();
            match holder.acquire(&name).await {
                Ok(()) => tally.note(began, &[("acquire", began.elapsed())]),
                Err(why) => tally.fail(why),
            }
        }
    });
    stream::iter(asks).buffer_unordered(args.concurrency.get()).collect::<()>().await;
}

async fn release(args: &HoldArgs, holders: &[Arc<Holder>], tally: &Arc<Tally>) {
    let _progress = Progress::start("release", Arc::clone(tally));
    let names = holders.iter().flat_map(|holder| holder.names().into_iter().map(move |name| (holder, name)));
    let releases = names.map(|(holder, name)| async move {
        let began = Instant::now();
        match holder.release(&name).await {
            Ok(()) => tally.note(began, &[("release", began.elapsed())]),
            Err(why) => tally.fail(why),
        }
    });
    stream::iter(releases).buffer_unordered(args.concurrency.get()).collect::<()>().await;
}
