//! Many locks that are held and nothing else.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tonic::Streaming;

use super::connect::{connect_all, open};
use super::lane::{Held, Lane, end, next};
use super::measure::{Tally, Window};
use super::progress::Progress;
use super::report::{Meter, Report};
use super::session::{Notice, tell};
use super::{CommonArgs, Error, prefix};
use crate::proto::lock_event::Kind;
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::{AcquireResponse, ReleaseRequest};

#[derive(Debug, clap::Args)]
pub(super) struct HoldArgs {
    /// How the locks are asked for
    #[arg(long, value_name = "HOW", default_value = "session")]
    via: Via,
    /// How many locks
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    locks: NonZeroUsize,
    /// How many connections; with `session`, each has one Session
    #[arg(long, value_name = "COUNT", default_value = "1")]
    connections: NonZeroUsize,
    /// How many locks are acquired, and later released, at a time
    #[arg(long, value_name = "COUNT", default_value = "64")]
    concurrency: NonZeroUsize,
    /// The ttl of the locks [default: the broker's, 15s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Via {
    /// On Sessions
    Session,
    /// An Acquire stream for each lock
    Stream,
}

/// What the brokers say while the locks are held.
#[derive(Debug, Default)]
struct Heard {
    acknowledged: AtomicU64,
    not_renewed: AtomicU64,
    renewed: AtomicU64,
}

/// A lock, and where it is.
struct Kept {
    lane: Arc<Lane>,
    held: Lease,
}

enum Lease {
    Session(i64),
    /// Its stream is read by a task.
    Stream(ReleaseRequest),
}

pub(super) async fn run(args: &HoldArgs) -> Result<Report, Error> {
    let mut meter = Meter::start(&args.common.pid)?;
    let heard = Arc::new(Heard::default());
    let holding = Arc::new(Tally::new(Window::open()));
    // What is said of the locks is heard from the first one on.
    let mut listeners = JoinSet::new();
    let mut lanes = Vec::new();
    for (server, channel) in connect_all(&args.common.server, args.connections.get()).await? {
        lanes.push(Arc::new(match args.via {
            Via::Session => {
                let (session, notices) = open(&server, channel, args.ttl).await?;
                listeners.spawn(listen(notices, Arc::clone(&heard), Arc::clone(&holding)));
                Lane::Session(session)
            }
            Via::Stream => Lane::Stream(LockServiceClient::new(channel), args.ttl),
        }));
    }

    let acquiring = Arc::new(Tally::new(Window::open()));
    let kept = acquire(args, &lanes, &acquiring, &mut listeners, &heard, &holding).await;
    let mut results = acquiring.results();
    let mut trouble = meter.weigh("held").and_then(|()| meter.restart()).err();

    {
        let _progress = Progress::start("hold", Arc::clone(&holding));
        tokio::time::sleep(args.common.duration).await;
    }
    let costs = meter.costs().unwrap_or_else(|why| {
        trouble = Some(why);
        Vec::new()
    });

    let counts = vec![
        ("held", kept.len() as u64),
        ("heartbeats acknowledged", heard.acknowledged.load(Ordering::Relaxed)),
        ("not renewed by the first acknowledgement", heard.not_renewed.load(Ordering::Relaxed)),
        ("renewals told on streams", heard.renewed.load(Ordering::Relaxed)),
    ];
    results.add(holding.results());
    let lost = holding.results().failed();
    let releasing = Arc::new(Tally::new(Window::open()));
    release(args, kept, &releasing).await;
    // What is told now has been asked for.
    listeners.abort_all();
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

async fn acquire(
    args: &HoldArgs,
    lanes: &[Arc<Lane>],
    tally: &Arc<Tally>,
    listeners: &mut JoinSet<()>,
    heard: &Arc<Heard>,
    holding: &Arc<Tally>,
) -> Vec<Kept> {
    let _progress = Progress::start("acquire", Arc::clone(tally));
    let prefix = prefix();
    let asks = (0..args.locks.get()).zip(lanes.iter().cycle()).map(|(number, lane)| {
        let (lane, name) = (Arc::clone(lane), format!("{prefix}/{number}"));
        async move {
            let began = Instant::now();
            let held = lane.acquire(&name).await;
            (lane, held, began)
        }
    });
    let mut answers = stream::iter(asks).buffer_unordered(args.concurrency.get());
    let mut kept = Vec::new();
    while let Some((lane, held, began)) = answers.next().await {
        let held = match held {
            Ok(Held::Session(lock_ref)) => Lease::Session(lock_ref),
            Ok(Held::Stream { stream, release }) => {
                listeners.spawn(read(*stream, Arc::clone(heard), Arc::clone(holding)));
                Lease::Stream(release)
            }
            Err(why) => {
                tally.fail(why);
                continue;
            }
        };
        tally.note(began, &[("acquire", began.elapsed())]);
        kept.push(Kept { lane, held });
    }
    kept
}

async fn release(args: &HoldArgs, kept: Vec<Kept>, tally: &Arc<Tally>) {
    let _progress = Progress::start("release", Arc::clone(tally));
    let releases = kept.into_iter().map(|Kept { lane, held }| async move {
        let began = Instant::now();
        let released = match (&*lane, held) {
            (Lane::Stream(stub, _), Lease::Stream(release)) => end(stub, release).await,
            (lane, Lease::Session(lock_ref)) => lane.release(Held::Session(lock_ref)).await,
            _ => Err("a lock on another lane".into()),
        };
        match released {
            Ok(()) => tally.note(began, &[("release", began.elapsed())]),
            Err(why) => tally.fail(why),
        }
    });
    stream::iter(releases).buffer_unordered(args.concurrency.get()).collect::<()>().await;
}

/// Notes what a Session says unasked.
async fn listen(mut notices: UnboundedReceiver<Notice>, heard: Arc<Heard>, tally: Arc<Tally>) {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Acknowledged { after, not_renewed } => {
                heard.acknowledged.fetch_add(1, Ordering::Relaxed);
                heard.not_renewed.fetch_add(not_renewed as u64, Ordering::Relaxed);
                tally.note(Instant::now(), &[("heartbeat to its ack", after)]);
            }
            Notice::Over(kind) => tally.fail(tell(&kind)),
        }
    }
}

/// Notes what is said on a lock's stream.
async fn read(mut stream: Streaming<AcquireResponse>, heard: Arc<Heard>, tally: Arc<Tally>) {
    loop {
        match next(&mut stream).await {
            Ok(Some(Kind::Renewed(_))) => {
                heard.renewed.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Some(Kind::Draining(_))) => {}
            Ok(Some(Kind::Released(_)) | None) => return,
            Ok(Some(other)) => return tally.fail(tell(&other)),
            Err(why) => return tally.fail(why),
        }
    }
}
