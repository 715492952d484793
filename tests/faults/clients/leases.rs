//! A client with nothing but the stub, and without streams: `AcquireLease`, `RenewLease` and `Release`, each at whichever
//! broker it finds.

use std::time::{Duration, Instant};

use lockbroker::proto::acquire_lease_response::Result as Acquiring;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::renew_lease_response::Result as Renewal;
use lockbroker::proto::{AcquireLeaseRequest, AcquireLeaseResponse, Acquired, ReleaseRequest, RenewLeaseRequest};
use rand::RngExt;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

use super::{Holding, Life, PATIENCE, PAUSE, Wanted, duration, got, is_an_answer, wait_spec};
use crate::history::TTL;

type Stub = LockServiceClient<Channel>;

/// How often a call is made again whose answer did not come.
const TRIES: usize = 3;
/// The share of calls that a client makes again although they were answered.
const AGAIN: f64 = 0.15;
/// The share of calls that go to another broker than the one before.
const MOVES: f64 = 0.3;

pub(super) async fn run(mut life: Life) {
    let mut calls = Calls { stub: None };
    while life.goes_on() {
        let wanted = life.choose();
        match obtain(&mut life, &mut calls, wanted).await {
            Some(lease) => hold(&mut life, &mut calls, wanted, lease).await,
            None => sleep(PAUSE).await,
        }
    }
}

/// The connection of a client, which leads elsewhere now and then.
struct Calls {
    stub: Option<Stub>,
}

impl Calls {
    /// Makes a call. Returns when it was sent, and the answer; none if no broker gave one.
    async fn call<T>(
        &mut self,
        life: &mut Life,
        within: Duration,
        call: impl AsyncFnOnce(&mut Stub) -> Result<tonic::Response<T>, Status>,
    ) -> Option<(Instant, Result<T, Status>)> {
        let mut stub = match self.stub.take().filter(|_| !life.rng.random_bool(MOVES)) {
            Some(stub) => stub,
            None => life.dial().await?,
        };
        let sent = Instant::now();
        let answer = timeout(within, call(&mut stub)).await.ok()?;
        if answer.as_ref().err().is_some_and(|status| !is_an_answer(status)) {
            return None;
        }
        self.stub = Some(stub);
        Some((sent, answer.map(tonic::Response::into_inner)))
    }
}

/// A lease that was got.
struct Lease {
    holding: Holding,
    lock_id: String,
    /// The moment at which the request was sent that was answered last.
    sent: Instant,
}

impl Lease {
    /// Takes note of a grant. None if it came too late.
    fn begin(life: &Life, wanted: Wanted, acquired: Acquired, sent: Instant) -> Option<Self> {
        let valid_until = sent + duration(acquired.expires_after_request);
        if valid_until <= Instant::now() {
            return None;
        }
        let mut holding = Holding::begin(life, &got(&[wanted], &acquired), valid_until);
        holding.outlives_streams();
        Some(Self { holding, lock_id: acquired.lock_id, sent })
    }

    /// Takes note that the same call was answered again. Returns false if that is about another grant.
    fn again(&mut self, acquired: &Acquired, sent: Instant) -> bool {
        let is_same = self.lock_id == acquired.lock_id;
        if is_same {
            self.holding.revive(sent + duration(acquired.expires_after_request));
            self.holding.holds[0].repeated = true;
            self.sent = sent;
        }
        is_same
    }

    /// Lets it run out.
    fn leave(mut self, life: &Life) {
        self.holding.doubt_since(self.holding.valid_until);
        self.holding.let_go(life);
    }
}

/// Asks for a lease, and again by the same name if the answer does not come. Now and then it asks again all the same.
async fn obtain(life: &mut Life, calls: &mut Calls, wanted: Wanted) -> Option<Lease> {
    let max_wait = life.max_wait();
    let request = AcquireLeaseRequest {
        lock: Some(wanted.spec(life)),
        wait: life.rng.random_bool(0.8).then(|| wait_spec(max_wait)).flatten(),
        request_id: uuid::Builder::from_random_bytes(life.rng.random()).into_uuid().to_string(),
        ..Default::default()
    };
    let mut known: Option<Lease> = None;
    for _ in 0..TRIES {
        let (asked, request) = (Instant::now(), request.clone());
        let answer = calls.call(life, max_wait + PATIENCE, async |stub| stub.acquire_lease(request).await).await;
        if known.is_none() {
            life.note_wait(&[wanted], asked);
        }
        let (sent, acquired) = match answer {
            None => continue,
            Some((sent, Ok(AcquireLeaseResponse { result: Some(Acquiring::Acquired(acquired)) }))) => (sent, acquired),
            Some(_) => break,
        };
        match known.take() {
            None if life.rng.random_bool(AGAIN) => known = Lease::begin(life, wanted, acquired, sent),
            None => return Lease::begin(life, wanted, acquired, sent),
            Some(mut lease) => {
                if lease.again(&acquired, sent) && !lease.holding.has_run_out() {
                    return Some(lease);
                }
                // The first one stands, and nobody may get it meanwhile.
                lease.leave(life);
                return Lease::begin(life, wanted, acquired, sent);
            }
        }
    }
    if let Some(lease) = known {
        lease.leave(life);
    }
    None
}

/// Holds a lease to its end.
async fn hold(life: &mut Life, calls: &mut Calls, wanted: Wanted, lease: Lease) {
    let Lease { mut holding, lock_id, sent } = lease;
    let go_at = (Instant::now() + life.hold_for(1)).min(life.end);
    let mut renew_at = sent + TTL / 3;
    let request = RenewLeaseRequest { name: life.world.names[wanted.name].clone(), lock_id };
    while !holding.has_run_out() {
        let now = Instant::now();
        if now >= go_at {
            holding.let_go(life);
            let request = ReleaseRequest { name: request.name, lock_id: request.lock_id };
            // Without an answer it is free when its ttl is over.
            calls.call(life, PATIENCE, async |stub| stub.release(request).await).await;
            return;
        }
        if now < renew_at {
            sleep(renew_at.min(go_at).min(holding.valid_until) - now).await;
            continue;
        }
        let within = PATIENCE.min(holding.valid_until - now);
        let request = request.clone();
        match calls.call(life, within, async |stub| stub.renew_lease(request).await).await {
            Some((sent, Ok(answer))) => match answer.result {
                Some(Renewal::Renewed(renewed)) => {
                    holding.valid_until(sent + duration(renewed.expires_after_request));
                    renew_at = sent + TTL / 3;
                }
                _ => return holding.lost(true, life),
            },
            // Refused, or no answer: another broker may know more.
            Some((_, Err(_))) | None => {
                calls.stub = None;
                sleep(PAUSE).await;
            }
        }
    }
    // Nobody tells a client that does not ask.
    holding.lost(true, life);
}
