//! A client with nothing but the stub: `Acquire` and `WaitAcquire`, a stream for each lock.

mod moves;

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::{AcquireRequest, Acquired, ReleaseRequest, WaitAcquireRequest};
use rand::RngExt;
use tokio::time::{Instant as Then, sleep, sleep_until, timeout, timeout_at};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::elections::{LEADERS, Leads};
use super::{Holding, LISTEN_ON, Life, PATIENCE, PAUSE, Wanted, duration, got, is_an_answer, wait_spec};
use crate::history::TTL;
use crate::support::Event;
use moves::{downgrade, reattach};

type Stub = LockServiceClient<Channel>;
type Events = Pin<Box<dyn Stream<Item = Result<Kind, Status>> + Send>>;

/// The share of locks with a `min_hold`, and how long that is.
const HELD_AT_LEAST: f64 = 0.04;
const MIN_HOLD: Duration = Duration::from_millis(700);

/// The share of locks that are kept when their stream ends, and of these that whose streams the client ends itself.
const KEEPS: f64 = 0.25;
const LEAVES: f64 = 0.5;
/// The longest time for which a client does without a stream, in milliseconds. Its lock stays valid for longer.
const AWAY: u64 = 1_000;
/// The share of locks with a value, and the time for which they are held, in milliseconds: an observer at another broker hears of it
/// after a second.
const CAMPAIGNS: f64 = 0.2;
const TERM: std::ops::Range<u64> = 50..6_000;
/// The share of locks that become shared ones, of the rest.
const DOWNGRADES: f64 = 0.6;

/// A lock on its stream.
struct Granted {
    events: Events,
    acquired: Acquired,
    /// The moment at which the request was sent that this stream answers.
    sent: Instant,
}

impl Granted {
    fn valid_until(&self, expires_after: Option<prost_types::Duration>) -> Instant {
        self.sent + duration(expires_after)
    }
}

pub(super) async fn run(mut life: Life) {
    let mut connection = None;
    while life.goes_on() {
        let Some(mut stub) = take_or_dial(&mut connection, &life).await else {
            sleep(PAUSE).await;
            continue;
        };
        let mut wanted = life.choose();
        wanted.keeps = life.rng.random_bool(KEEPS);
        if life.rng.random_bool(HELD_AT_LEAST) {
            wanted.min_hold = MIN_HOLD;
        }
        if life.rng.random_bool(CAMPAIGNS) {
            (wanted.name, wanted.is_shared) = (life.rng.random_range(0..LEADERS), false);
            wanted.campaign = Some(life.world.notes.campaign(wanted.name));
        }
        match obtain(&mut life, &mut stub, wanted).await {
            Ok(Some(granted)) => connection = hold(&mut life, stub, wanted, granted).await,
            Ok(None) => {
                connection = Some(stub);
                sleep(PAUSE).await;
            }
            // It leads nowhere any more.
            Err(()) => {}
        }
    }
}

async fn take_or_dial(connection: &mut Option<Stub>, life: &Life) -> Option<Stub> {
    match connection.take() {
        Some(stub) => Some(stub),
        None => life.dial().await,
    }
}

/// Asks for a lock, with or without a wait.
async fn obtain(life: &mut Life, stub: &mut Stub, wanted: Wanted) -> Result<Option<Granted>, ()> {
    let max_wait = life.max_wait();
    let waits = life.rng.random_bool(0.8);
    let sent = Instant::now();
    let give_up = Then::from(sent + if waits { max_wait } else { Default::default() } + PATIENCE);
    let lock = Some(wanted.spec(life));
    let answer = async {
        let mut events = if waits {
            let request = WaitAcquireRequest { lock, wait: wait_spec(max_wait), ..Default::default() };
            events(stub.wait_acquire(request).await?.into_inner())
        } else {
            let request = AcquireRequest { lock, ..Default::default() };
            events(stub.acquire(request).await?.into_inner())
        };
        first(&mut events).await.map(|acquired| acquired.map(|acquired| Granted { events, acquired, sent }))
    };
    let answer = timeout_at(give_up, answer).await;
    if waits {
        life.note_wait(&[wanted], sent);
    }
    match answer {
        Ok(Ok(granted)) => Ok(granted),
        Ok(Err(status)) if is_an_answer(&status) => Ok(None),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

fn events<E: Event + Send + 'static>(stream: Streaming<E>) -> Events {
    Box::pin(stream.map(|message| message.map(|message| message.event().and_then(|event| event.kind).unwrap())))
}

/// Returns the grant, if the stream begins with one; none for a refusal.
async fn first(events: &mut Events) -> Result<Option<Acquired>, Status> {
    loop {
        match events.next().await {
            Some(Ok(Kind::Queued(_) | Kind::Draining(_))) => {}
            Some(Ok(Kind::Acquired(acquired))) => return Ok(Some(acquired)),
            Some(Ok(_)) => return Ok(None),
            Some(Err(status)) => return Err(status),
            None => return Err(Status::unavailable("the stream ended without an answer")),
        }
    }
}

/// What a client does with a lock of its own accord.
#[derive(Clone, Copy, Debug)]
enum Deed {
    LetGo,
    /// Ends the stream of a lock that is kept.
    Leave,
    /// Shares what it had alone.
    Downgrade,
}

/// Chooses what a client does with a lock, and when.
fn choose_deed(life: &mut Life, wanted: Wanted) -> (Then, Deed) {
    let can_share = !wanted.is_shared && wanted.campaign.is_none() && wanted.min_hold.is_zero();
    let deed = match () {
        () if wanted.keeps && life.rng.random_bool(LEAVES) => Deed::Leave,
        () if can_share && life.rng.random_bool(DOWNGRADES) => Deed::Downgrade,
        () => Deed::LetGo,
    };
    match wanted.campaign {
        Some(_) => {
            let term = Duration::from_millis(life.rng.random_range(TERM));
            ((Instant::now() + term).min(life.end).into(), deed)
        }
        None => (let_go_at(life), deed),
    }
}

fn let_go_at(life: &mut Life) -> Then {
    (Instant::now() + life.hold_for(1)).min(life.end).into()
}

/// Holds a lock to its end; what is returned is the connection that it was on last, if it still works.
async fn hold(life: &mut Life, mut stub: Stub, mut wanted: Wanted, mut on: Granted) -> Option<Stub> {
    let valid_until = on.valid_until(on.acquired.expires_after_request);
    let leads = wanted.campaign.map(|campaign| Leads::begin(life, campaign, wanted.name, &on.acquired));
    if valid_until <= Instant::now() {
        // It came too late; the end of the stream gives it back.
        return None;
    }
    let mut holding = Holding::begin(life, &got(&[wanted], &on.acquired), valid_until);
    let (mut at, mut deed) = choose_deed(life, wanted);
    let mut heard = Instant::now();
    loop {
        let runs_out = Then::from(holding.valid_until);
        let event = tokio::select! {
            event = on.events.next() => Some(event),
            () = sleep_until(at) => match deed {
                Deed::LetGo => {
                    holding.let_go(life);
                    return release(life, stub, wanted, on).await;
                }
                Deed::Leave => {
                    on.events = Box::pin(futures_util::stream::empty());
                    (at, deed) = (let_go_at(life), Deed::LetGo);
                    continue;
                }
                Deed::Downgrade => {
                    (stub, on) = match downgrade(life, &mut wanted, &mut holding, on).await {
                        Ok(other) => other,
                        Err(told) => {
                            holding.lost(told, life);
                            return None;
                        }
                    };
                    (at, deed, heard) = (let_go_at(life), Deed::LetGo, Instant::now());
                    continue;
                }
            },
            () = sleep_until((heard + TTL / 2).into()) => None,
            () = sleep_until(runs_out) => {
                let told = is_told_late(&mut on.events).await;
                holding.lost(told, life);
                return None;
            }
        };
        match event {
            Some(Some(Ok(Kind::Renewed(renewed)))) => {
                heard = Instant::now();
                holding.valid_until(on.valid_until(renewed.expires_after_request));
            }
            Some(Some(Ok(Kind::Draining(_)))) => {}
            Some(Some(Ok(_))) => {
                // Lost; or released, which nobody has asked for.
                holding.lost(true, life);
                return Some(stub);
            }
            // Silence, or the stream's end against our will.
            silence_or_end => {
                let ended = silence_or_end.is_some();
                if ended && wanted.keeps {
                    let away = Duration::from_millis(life.rng.random_range(0..AWAY));
                    sleep_until((Instant::now() + away).min(holding.valid_until).into()).await;
                } else if ended {
                    holding.doubt();
                }
                if let Some(leads) = &leads {
                    leads.pause();
                }
                match reattach(life, wanted, &mut holding, &mut on).await {
                    Ok((other_stub, other)) if !holding.has_run_out() => {
                        (stub, on, heard) = (other_stub, other, Instant::now());
                        holding.resume(on.valid_until(on.acquired.expires_after_request));
                        if let Some(leads) = &leads {
                            leads.move_to(&on.acquired);
                        }
                    }
                    _ => {
                        let told = ended || is_told_late(&mut on.events).await;
                        holding.lost(told, life);
                        return None;
                    }
                }
            }
        }
    }
}

/// Listens on after the validity has run out. Returns true if the broker says so as well, or that it has renewed the
/// lock after all.
async fn is_told_late(events: &mut Events) -> bool {
    timeout(LISTEN_ON, events.next()).await.is_ok()
}

/// Gives the lock back: by the Release call, or by ending the stream.
async fn release(life: &mut Life, mut stub: Stub, wanted: Wanted, on: Granted) -> Option<Stub> {
    if life.rng.random_bool(0.5) {
        return Some(stub);
    }
    let request = ReleaseRequest { name: life.world.names[wanted.name].clone(), lock_id: on.acquired.lock_id.clone() };
    match timeout(PATIENCE, stub.release(request)).await {
        Ok(Ok(_)) => Some(stub),
        Ok(Err(status)) if is_an_answer(&status) => Some(stub),
        _ => None,
    }
}
