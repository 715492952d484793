//! The work that is measured: the same code for every peer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use lockbroker::cli::bench::connect_by_socket;
use lockbroker::cli::bench::measure::{Results, Tally, Usage, Window};
use lockbroker::cli::bench::session::Session;
use lockbroker::proto::WaitSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::lockers::{Locker, unique};

/// The longest time for anything before the run is given up.
const WITHIN: Duration = Duration::from_secs(60);
/// Runs something that must have happened within [`WITHIN`].
async fn in_time<T>(what: &str, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(WITHIN, work).await.unwrap_or_else(|_| Err(format!("not within {WITHIN:?}: {what}")))
}

/// Makes a tally: a fifth of the time to warm up, and then as long as is measured.
fn window(length: Duration) -> Arc<Tally> {
    Arc::new(Tally::new(Window::new(length / 5, length)))
}

/// Cycles under names of one's own, by as many callers as `concurrency` says, who share one locker. Also the CPU
/// that the server's process used for each.
pub async fn cycles<L: Locker>(
    locker: L,
    concurrency: usize,
    length: Duration,
    server: u32,
) -> Result<(Results, f64), String> {
    let (locker, tally) = (Arc::new(locker), window(length));
    let mut callers = JoinSet::new();
    for caller in 0..concurrency {
        let (locker, tally, name) = (Arc::clone(&locker), Arc::clone(&tally), format!("compare/{caller}"));
        callers.spawn(async move {
            while !tally.window().is_over() {
                let began = Instant::now();
                let held = locker.acquire(&name).await?;
                let acquired = Instant::now();
                locker.release(held).await?;
                tally.note(began, &[("cycle", began.elapsed()), ("acquire", acquired - began)]);
            }
            Ok::<_, String>(())
        });
    }
    tokio::time::sleep_until(tally.window().from.into()).await;
    let before = Usage::of(server)?.cpu;
    all(callers).await?;
    let cpu = Usage::of(server)?.cpu - before;
    let results = tally.results();
    let count = results.step("cycle").map_or(0, |cycle| cycle.count());
    if count == 0 { Err("no cycle was done".into()) } else { Ok((results, cpu.as_secs_f64() * 1e6 / count as f64)) }
}

/// Waits for all, and fails if one has.
async fn all(mut tasks: JoinSet<Result<(), String>>) -> Result<(), String> {
    in_time("the end of all callers", async {
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        Ok(())
    })
    .await
}

/// Hands one name from holder to holder, and measures from sending the release to receiving the next grant. All
/// lockers but one are in line. A holder keeps the lock for `kept`, and whoever had it before has asked for it again.
pub async fn hand_overs<L: Locker>(lockers: Vec<Arc<L>>, kept: Duration, length: Duration) -> Result<Results, String> {
    let name = format!("compare/hand-over/{}", unique());
    let (granted, mut grants) = mpsc::unbounded_channel();
    let mut held = in_time("the first grant", lockers[0].acquire(&name)).await?;
    let mut holder = 0;
    // Dropped, and so aborted, with all that waits.
    let mut waiters = JoinSet::new();
    let mut line_up = |place: usize| {
        let (locker, granted, name) = (Arc::clone(&lockers[place]), granted.clone(), name.clone());
        waiters.spawn(async move {
            let held = locker.wait(&name).await;
            let _ = granted.send((place, Instant::now(), held));
        });
    };
    (1..lockers.len()).for_each(&mut line_up);
    // The whole line, once.
    tokio::time::sleep(Duration::from_millis(100) + Duration::from_micros(200) * lockers.len() as u32).await;
    let tally = window(length);
    // In the end everybody has a turn and leaves: not every peer survives that those in line are cut off.
    let mut in_line = lockers.len() - 1;
    while in_line > 0 {
        if kept.is_zero() {
            // Only to have asked.
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(kept).await;
        }
        let sent = Instant::now();
        in_time("the release", lockers[holder].release(held)).await?;
        let before = holder;
        let received;
        (holder, received, held) = in_time("the next grant", async {
            let (place, received, held) = grants.recv().await.ok_or("nobody waits")?;
            Ok((place, received, held?))
        })
        .await?;
        if tally.window().is_over() {
            in_line -= 1;
        } else {
            tally.note(sent, &[("hand-over", received.saturating_duration_since(sent))]);
            line_up(before);
        }
    }
    in_time("the last release", lockers[holder].release(held)).await?;
    Ok(tally.results())
}

/// Ends a holder's connection, and measures from then to the grant of each of its locks to a waiter, and to the last.
pub async fn disconnects(url: &str, locks: usize, length: Duration) -> Result<Results, String> {
    let open = async |channel| Session::open(channel, None).await.map_err(|status| status.to_string());
    let (waiters, _) = open(lockbroker::cli::bench::connect(url).await?).await?;
    let tally = Tally::new(Window::new(Duration::ZERO, length));
    while !tally.window().is_over() {
        let began = Instant::now();
        let (channel, socket) = connect_by_socket(url).await?;
        let (holder, _) = open(channel).await?;
        let name = |number| format!("compare/disconnect/{number}");
        let begun: Vec<_> = (0..locks).map(|number| holder.begin(&name(number), None)).collect();
        for lock in begun {
            in_time("a lock to hold", lock.granted()).await?;
        }
        let mut waits: Vec<_> =
            (0..locks).map(|number| waiters.begin(&name(number), Some(WaitSpec::default()))).collect();
        for wait in &mut waits {
            in_time("a place in line", async { Ok((&mut wait.queued).await) })
                .await?
                .map_err(|_| "granted too early")?;
        }
        let refs: Vec<_> = waits.iter().map(|wait| wait.lock_ref).collect();
        let cut = Instant::now();
        socket.cut();
        let mut grants = stream::iter(waits).map(|wait| wait.granted()).buffer_unordered(locks);
        while let Some(grant) = in_time("a grant", async { Ok(grants.next().await) }).await? {
            grant?;
            tally.note(began, &[("grant", cut.elapsed())]);
        }
        tally.note(began, &[("last", cut.elapsed())]);
        let releases: Vec<_> = refs.iter().map(|&lock_ref| waiters.end(lock_ref)).collect();
        for release in releases {
            in_time("a release", release.released()).await?;
        }
    }
    Ok(tally.results())
}

/// Measures the least that a disconnect can take: a bare TCP server sees the end of one connection and tells another.
pub async fn bare_ends(length: Duration) -> Result<Results, String> {
    let text = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(text)?;
    let address = listener.local_addr().map_err(text)?;
    let tally = Tally::new(Window::new(Duration::ZERO, length));
    while !tally.window().is_over() {
        let (holder, waiter) = (TcpStream::connect(address), TcpStream::connect(address));
        let (holder, mut waiter) = (holder.await.map_err(text)?, waiter.await.map_err(text)?);
        let (mut at_holder, _) = listener.accept().await.map_err(text)?;
        let (mut to_waiter, _) = listener.accept().await.map_err(text)?;
        let server = tokio::spawn(async move {
            let mut byte = [0];
            // Its end, for it never sends anything.
            let _ = at_holder.read(&mut byte).await;
            to_waiter.write_all(&byte).await
        });
        let cut = Instant::now();
        drop(holder);
        waiter.read_exact(&mut [0]).await.map_err(text)?;
        tally.note(cut, &[("end", cut.elapsed())]);
        server.await.map_err(|error| error.to_string())?.map_err(text)?;
    }
    Ok(tally.results())
}

/// The memory of the server's process with many locks held, and afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// KiB for each lock.
    pub kib_per_lock: f64,
    /// MiB when all are released and others have come and gone.
    pub mib_after: f64,
}

/// Holds locks, spread over the lockers, and releases them.
pub async fn hold<L: Locker>(lockers: Vec<L>, locks: usize, server: u32) -> Result<Held, String> {
    let before = Usage::of(server)?.anonymous;
    let names: Vec<_> = (0..locks).map(|number| format!("compare/hold/{number}")).collect();
    let asks = names.iter().enumerate().map(|(number, name)| {
        let locker = number % lockers.len();
        let held = lockers[locker].acquire(name);
        async move { held.await.map(|held| (locker, held)) }
    });
    let answers: Vec<_> = stream::iter(asks).buffer_unordered(256).collect().await;
    let held = answers.into_iter().collect::<Result<Vec<_>, String>>()?;
    let with = Usage::of(server)?.anonymous;
    let releases = held.into_iter().map(|(locker, held)| lockers[locker].release(held));
    let answers: Vec<_> = stream::iter(releases).buffer_unordered(256).collect().await;
    answers.into_iter().collect::<Result<Vec<()>, String>>()?;
    // Allocators give back what is free little by little, when they are called.
    for name in names.iter().take(500) {
        lockers[0].release(lockers[0].acquire(name).await?).await?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(lockers);
    let after = Usage::of(server)?.anonymous;
    Ok(Held {
        kib_per_lock: with.saturating_sub(before) as f64 / 1024.0 / locks as f64,
        mib_after: after as f64 / (1 << 20) as f64,
    })
}
