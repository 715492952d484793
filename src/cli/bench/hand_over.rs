//! The mode `hand-over`: one name that goes from holder to holder.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::connect::{connect_all, open};
use super::measure::{Tally, Window};
use super::progress::Progress;
use super::report::{Report, metered};
use super::session::{Begun, Session};
use super::{CommonArgs, Error, GRACE, WarmUp, prefix};
use crate::proto::WaitSpec;

#[derive(Debug, clap::Args)]
pub(super) struct HandOverArgs {
    /// Number of waiters while one holds the lock
    #[arg(long, value_name = "COUNT", default_value = "1")]
    waiters: NonZeroUsize,
    /// Number of connections, each with one Session; the callers are spread over them. At least one for each broker
    #[arg(long, value_name = "COUNT", default_value = "2")]
    connections: NonZeroUsize,
    #[command(flatten)]
    warm_up: WarmUp,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

pub(super) async fn run(args: &HandOverArgs) -> Result<Report, Error> {
    let servers = &args.common.server;
    let mut sessions = Vec::new();
    for (server, channel) in connect_all(&args.common, args.connections.get().max(servers.len())).await? {
        sessions.push(open(&server, channel, None).await?.0);
    }
    let mut ring = Ring::form(&sessions, servers.len(), args.waiters.get()).await.map_err(Error::Setup)?;
    let tally = Arc::new(Tally::new(Window::new(args.warm_up.warm_up, args.common.duration)));
    let _progress = Progress::start("hand-over", Arc::clone(&tally));
    metered("hand-over", &args.common.pid, &tally, async {
        while !tally.window().is_over() {
            // A lock that nobody gets is the end: there is no next holder.
            if let Err(why) = ring.hand_over(&tally).await {
                tally.fail(why);
                break;
            }
        }
    })
    .await
}

type Waiting = Pin<Box<dyn Future<Output = Result<Caller, String>> + Send>>;

/// One who has asked for the lock.
#[derive(Debug, Clone, Copy)]
struct Caller {
    session: usize,
    lock_ref: i64,
}

/// The holder and those in line.
struct Ring<'a> {
    sessions: &'a [Session],
    /// Sessions that are this far apart are at one broker.
    brokers: usize,
    name: String,
    holder: Caller,
    waiting: FuturesUnordered<Waiting>,
}

impl<'a> Ring<'a> {
    /// Makes the line. When this returns, one caller holds the lock and the others wait.
    async fn form(sessions: &'a [Session], brokers: usize, waiters: usize) -> Result<Ring<'a>, String> {
        let name = prefix();
        let wait = Some(WaitSpec::default());
        let first = sessions[0].begin(&name, wait);
        let holder = Caller { session: 0, lock_ref: first.lock_ref };
        in_time("the first grant", first.granted()).await?;
        let ring = Ring { sessions, brokers, name, holder, waiting: FuturesUnordered::new() };
        let places: Vec<_> = (1..=waiters).map(|waiter| ring.ask(waiter % sessions.len())).collect();
        for (session, begun) in places {
            ring.line_up(session, begun).await?;
        }
        Ok(ring)
    }

    fn ask(&self, session: usize) -> (usize, Begun) {
        (session, self.sessions[session].begin(&self.name, Some(WaitSpec::default())))
    }

    async fn line_up(&self, session: usize, mut begun: Begun) -> Result<(), String> {
        let caller = Caller { session, lock_ref: begun.lock_ref };
        // An error says that the answer is there already.
        let _ = timeout(GRACE, &mut begun.queued).await.map_err(|_| format!("no place in line within {GRACE:?}"))?;
        self.waiting.push(Box::pin(async move { begun.granted().await.map(|()| caller) }));
        Ok(())
    }

    /// Releases the lock, waits until one of the waiters has it, and puts the former holder at the end of the line.
    async fn hand_over(&mut self, tally: &Tally) -> Result<(), String> {
        let before = self.holder;
        let sent = Instant::now();
        let released = self.sessions[before.session].end(before.lock_ref);
        let grant = async { self.waiting.next().await.unwrap_or_else(|| Err("nobody is in line".into())) };
        self.holder = in_time("a grant", grant).await?;
        let took = sent.elapsed();
        in_time("the release's answer", released.released()).await?;
        let mut steps = vec![("hand-over", took), ("release", sent.elapsed())];
        if self.brokers > 1 {
            let same = before.session % self.brokers == self.holder.session % self.brokers;
            steps.push((if same { "within one broker" } else { "to another broker" }, took));
        }
        tally.note(sent, &steps);
        let (session, begun) = self.ask(before.session);
        self.line_up(session, begun).await
    }
}

async fn in_time<T>(what: &str, answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let within: Duration = GRACE;
    timeout(within, answer).await.unwrap_or_else(|_| Err(format!("not within {within:?}: {what}")))
}
