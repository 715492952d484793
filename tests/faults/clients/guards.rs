//! A client that uses the Rust client, and believes what its guards say. It asks them every few milliseconds. An
//! answer counts until the guard was last asked. So what is noted falls short of the truth by that much and never
//! exceeds it.

use std::time::{Duration, Instant};

use lockbroker::client::{Client, Guard, Outcome};
use rand::RngExt;
use tokio::time::{sleep, timeout};

use super::wanted::each;
use super::{Holding, LISTEN_ON, Life, PAUSE, POLL, Wanted};

/// The number of locks that a client holds or wants at a time.
const LOCKS: u64 = 2;
/// The interval at which a guard is asked.
const ASK_EVERY: Duration = Duration::from_millis(5);

pub(super) async fn run(mut life: Life) {
    let client = Client::builder(life.link.to_string()).connect().unwrap();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..LOCKS {
        let mut life = life.share();
        let client = client.clone();
        workers.spawn(async move {
            while life.goes_on() {
                one_lock(&mut life, &client).await;
            }
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
}

async fn one_lock(life: &mut Life, client: &Client) {
    let wanted = life.choose_together();
    // The client asks for all in the same way.
    let (first, is_one) = (wanted[0], wanted.len() == 1);
    let wanted =
        wanted.into_iter().map(|one| Wanted { is_shared: first.is_shared && is_one, linger: first.linger, ..one });
    let wanted: Vec<Wanted> = wanted.collect();
    let asked = Instant::now();
    let names = &life.world.names;
    let mut ask = client.wait_acquire(&names[first.name]).also(wanted[1..].iter().map(|one| &names[one.name]));
    ask = ask.poll_interval(POLL).linger(first.linger);
    ask = if life.keeps() { ask.keep_on_disconnect() } else { ask };
    ask = match (wanted[0].is_shared, first.limit()) {
        (false, _) => ask,
        (true, None) => ask.shared(),
        (true, Some(limit)) if first.weight > 1 => ask.limit(limit).weight(first.weight),
        (true, Some(limit)) => ask.limit(limit),
    };
    let outcome = ask.max_wait(life.max_wait()).await;
    life.note_wait(&wanted, asked);
    match outcome {
        Ok(Outcome::Acquired(guard)) => hold(life, &wanted, guard).await,
        Ok(Outcome::NotAcquired(_)) => {}
        Err(_) => sleep(PAUSE).await,
    }
}

async fn hold(life: &mut Life, wanted: &[Wanted], guard: Guard) {
    let begun = Instant::now();
    let remaining = guard.remaining();
    if remaining.is_zero() {
        return;
    }
    // `begin` looks at the clock again, after the guard was asked: never before the client had it.
    let locks = guard.locks();
    let each = each(wanted);
    assert_eq!(locks.len(), each.len(), "all or none");
    let got = each.iter().zip(&locks).map(|(wanted, lock)| wanted.got(lock.fencing_token, lock.permit));
    let mut holding = Holding::begin(life, &got.collect::<Vec<_>>(), begun + remaining);
    if life.keeps() {
        holding.outlives_streams();
    }
    let go_at = (begun + life.hold_for(wanted.len())).min(life.end);
    let mut last_valid = begun;
    loop {
        // Validity counts from before the guard is asked, so that what it says is not stretched.
        let before = Instant::now();
        let expires_in = guard.expires_in();
        let is_valid = !guard.remaining().is_zero();
        if is_valid {
            last_valid = before;
            holding.resume(before + expires_in);
        } else {
            holding.doubt_since(last_valid);
        }
        if expires_in.is_zero() || is_lost(&guard, Duration::ZERO).await {
            holding.doubt_since(last_valid);
            let told = is_lost(&guard, LISTEN_ON).await;
            return holding.lost(told, life);
        }
        if before >= go_at && is_valid && !life.is_to_hold_on() {
            holding.let_go(life);
            if life.rng.random_bool(0.5) {
                // Dropping it is the other way.
                let _ = guard.release().await;
            }
            return;
        }
        sleep(ASK_EVERY).await;
    }
}

async fn is_lost(guard: &Guard, within: Duration) -> bool {
    timeout(within, guard.lost()).await.is_ok()
}
