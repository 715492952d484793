//! A client with nothing but the stub: `Acquire` and `WaitAcquire`, a stream for each lock.

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

use super::{Holding, LISTEN_ON, Life, PATIENCE, PAUSE, Wanted, duration, got, is_an_answer, wait_spec};
use crate::history::TTL;
use crate::support::Event;

type Stub = LockServiceClient<Channel>;
type Events = Pin<Box<dyn Stream<Item = Result<Kind, Status>> + Send>>;

/// The share of locks with a `min_hold`, and how long that is.
const HELD_AT_LEAST: f64 = 0.04;
const MIN_HOLD: Duration = Duration::from_millis(700);

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
        if life.rng.random_bool(HELD_AT_LEAST) {
            wanted.min_hold = MIN_HOLD;
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

/// Holds a lock to its end; what is returned is the connection that it was on last, if it still works.
async fn hold(life: &mut Life, mut stub: Stub, wanted: Wanted, mut on: Granted) -> Option<Stub> {
    let valid_until = on.valid_until(on.acquired.expires_after_request);
    if valid_until <= Instant::now() {
        // It came too late; the end of the stream gives it back.
        return None;
    }
    let mut holding = Holding::begin(life, &got(&[wanted], &on.acquired), valid_until);
    let go_at = Then::from((Instant::now() + life.hold_for(1)).min(life.end));
    let mut heard = Instant::now();
    loop {
        let runs_out = Then::from(holding.valid_until);
        let event = tokio::select! {
            event = on.events.next() => Some(event),
            () = sleep_until(go_at) => {
                holding.let_go(life);
                return release(life, stub, wanted, on).await;
            }
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
                if ended {
                    holding.doubt();
                }
                match reattach(life, wanted, &on.acquired, holding.valid_until).await {
                    Some((other_stub, other)) if !holding.has_run_out() => {
                        (stub, on, heard) = (other_stub, other, Instant::now());
                        holding.resume(on.valid_until(on.acquired.expires_after_request));
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

/// Takes the lock over on another connection, while the old stream stays as it is. None if it is refused or takes
/// until the validity is over.
async fn reattach(life: &Life, wanted: Wanted, before: &Acquired, valid_until: Instant) -> Option<(Stub, Granted)> {
    let try_it = async {
        loop {
            if let Some(mut stub) = life.dial().await {
                let request = AcquireRequest {
                    lock: Some(wanted.spec(life)),
                    reattach_lock_id: before.lock_id.clone(),
                    ..Default::default()
                };
                let sent = Instant::now();
                let answer = async {
                    let mut events = events(stub.acquire(request).await?.into_inner());
                    first(&mut events).await.map(|acquired| (events, acquired))
                };
                match answer.await {
                    Ok((events, Some(acquired))) => {
                        let grant = |acquired: &Acquired| (acquired.fencing_token, acquired.permit);
                        assert_eq!(grant(&acquired), grant(before), "a reattached lock stays the same grant");
                        return Some((stub, Granted { events, acquired, sent }));
                    }
                    Ok((_, None)) => return None,
                    Err(_) => {}
                }
            }
            sleep(PAUSE).await;
        }
    };
    timeout_at(valid_until.into(), try_it).await.ok().flatten()
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
