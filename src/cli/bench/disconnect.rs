//! The mode `disconnect`: a holder's connection ends while somebody waits for each of its locks.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::connect::{Socket, connect_all, connect_by_socket, open};
use super::measure::{Tally, Window};
use super::progress::Progress;
use super::report::{Report, metered};
use super::session::Session;
use super::{CommonArgs, Error, prefix};
use crate::proto::WaitSpec;

/// The longest time that the locks of a connection may stay taken: beyond every ttl of a test.
const WITHIN: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Args)]
pub(super) struct DisconnectArgs {
    /// Number of locks that the connection holds, on one Session; for each there is one waiter
    #[arg(long, value_name = "COUNT", default_value = "1")]
    locks: NonZeroUsize,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

pub(super) async fn run(args: &DisconnectArgs) -> Result<Report, Error> {
    let servers = &args.common.server;
    let at_second = connect_all(&args.common, servers.len().min(2)).await?.pop();
    let (server, channel) = at_second.ok_or_else(|| Error::Setup("no broker to connect to".into()))?;
    let (waiters, _) = open(&server, channel, None).await?;
    let tally = Arc::new(Tally::new(Window::new(Duration::ZERO, args.common.duration)));
    let _progress = Progress::start("disconnect", Arc::clone(&tally));
    metered("disconnect", &args.common.pid, &tally, async {
        let prefix = prefix();
        while !tally.window().is_over() {
            // What is wrong with one round is likely wrong with the next.
            if let Err(why) = round(&servers[0], &waiters, &prefix, args.locks.get(), &tally).await {
                tally.fail(why);
                break;
            }
        }
    })
    .await
}

/// Makes one connection, takes its locks and ends it.
async fn round(server: &str, waiters: &Session, prefix: &str, locks: usize, tally: &Tally) -> Result<(), String> {
    let began = Instant::now();
    let (socket, holder) = hold(server, prefix, locks).await?;
    let mut waiting = FuturesUnordered::new();
    let mut places = Vec::new();
    for number in 0..locks {
        places.push(waiters.begin(&format!("{prefix}/{number}"), Some(WaitSpec::default())));
    }
    for mut begun in places {
        // An error says that there is an answer, which is not to be before the cut.
        let queued = timeout(WITHIN, &mut begun.queued).await.map_err(|_| format!("no place in line in {WITHIN:?}"))?;
        queued.map_err(|_| "a waiter was answered before the connection ended".to_owned())?;
        let lock_ref = begun.lock_ref;
        waiting.push(async move { begun.granted().await.map(|()| lock_ref) });
    }

    let cut = Instant::now();
    socket.cut();
    let mut granted = Vec::new();
    while let Some(grant) = timeout(WITHIN, waiting.next()).await.map_err(|_| format!("no grant within {WITHIN:?}"))? {
        granted.push((grant?, cut.elapsed()));
    }
    drop(holder);
    for &(_, after) in &granted {
        tally.note(began, &[("cut to a grant", after)]);
    }
    if let Some(&(_, last)) = granted.last() {
        tally.note(began, &[("cut to the last grant", last)]);
    }
    let releases: Vec<_> = granted.iter().map(|&(lock_ref, _)| waiters.end(lock_ref)).collect();
    for release in releases {
        release.released().await?;
    }
    Ok(())
}

async fn hold(server: &str, prefix: &str, locks: usize) -> Result<(Socket, Session), String> {
    let (channel, socket) = connect_by_socket(server).await?;
    let (session, _) = Session::open(channel, None).await.map_err(|status| super::session::status_line(&status))?;
    let begun: Vec<_> = (0..locks).map(|number| session.begin(&format!("{prefix}/{number}"), None)).collect();
    for lock in begun {
        lock.granted().await?;
    }
    Ok((socket, session))
}
