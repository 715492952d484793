//! The clients. They follow the rules that the proto and the design set for a client, and note what they believe by
//! them. There are four kinds: with a stream for each lock and nothing but the stub, with a Session and nothing but
//! the stub, with the Rust client, half of which keep their locks when a connection ends, and with leases. All of them ask
//! for locks alone and shared, with and without a linger. Sessions and the Rust client ask for several together, locks and permits. Those
//! with a stream for each lock also have locks with a value, which others observe, share what they had alone, and end the
//! streams of what is kept.

mod elections;
mod guards;
mod leases;
mod session;
mod streams;
mod wanted;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockbroker::proto::WaitSpec;
use lockbroker::proto::lock_service_client::LockServiceClient;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::world::World;
pub(crate) use elections::observe;
use wanted::{Holding, Wanted, got};

/// The longest time for an answer before the client does without it and dials anew.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time for which a client that has been told nothing of a loss goes on listening. In a Session its validity may
/// end before the lease by the time between two heartbeats, a third of the ttl.
pub(crate) const LISTEN_ON: Duration = Duration::from_millis(2_500);
/// The least time between two polls for a lock that another broker holds.
const POLL: Duration = Duration::from_millis(20);
/// The pause of a client that was refused.
const PAUSE: Duration = Duration::from_millis(50);

/// The share of requests that ask for several locks together, where a client can.
const TOGETHER: f64 = 0.2;
/// The share of requests for a lock that others may have at the same time.
const SHARES: f64 = 0.45;
/// The share of requests with a linger, and how long that is.
const LINGERS: f64 = 0.04;
const LINGER: Duration = Duration::from_millis(400);

/// The share of requests for several permits at once, of those that share one lock with a limit.
const WEIGHTS: f64 = 0.3;

/// The number of kinds of clients.
pub(crate) const KINDS: usize = 4;

/// Returns true if a client has leases, and no streams.
pub(crate) fn takes_leases(client: usize) -> bool {
    client % KINDS == KINDS - 1
}

/// Runs one client until the end.
pub(crate) async fn run(life: Life) {
    match life.client % KINDS {
        0 => streams::run(life).await,
        1 => session::run(life).await,
        2 => guards::run(life).await,
        _ => leases::run(life).await,
    }
}

/// The course of a client's life.
#[derive(Debug)]
pub(crate) struct Life {
    client: usize,
    /// The address at which it finds a broker.
    link: SocketAddr,
    rng: StdRng,
    end: Instant,
    world: Arc<World>,
}

impl Life {
    pub(crate) fn new(client: usize, link: SocketAddr, seed: u64, end: Instant, world: Arc<World>) -> Self {
        Self { client, link, rng: StdRng::seed_from_u64(seed ^ (client as u64 + 1) << 32), end, world }
    }

    /// Makes another for a task of the same client.
    fn share(&mut self) -> Self {
        Self { rng: StdRng::seed_from_u64(self.rng.random()), world: Arc::clone(&self.world), ..*self }
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// Returns true if its locks are to be kept when its connections end.
    fn keeps(&self) -> bool {
        (self.client / KINDS).is_multiple_of(2)
    }

    /// Returns true if it is watched whether it is told of a revocation: it lets nothing go meanwhile.
    fn is_to_hold_on(&self) -> bool {
        self.world.spared.lock().unwrap().is_some_and(|(client, _)| client == self.client)
    }

    /// Chooses the lock that it wants next.
    fn choose(&mut self) -> Wanted {
        let name = self.rng.random_range(0..self.world.names.len());
        self.choose_how(name)
    }

    /// Chooses the locks that it wants next: mostly one, and now and then some together.
    fn choose_together(&mut self) -> Vec<Wanted> {
        let count = if self.rng.random_bool(TOGETHER) { self.rng.random_range(2..=3) } else { 1 };
        let mut names: Vec<usize> = (0..self.world.names.len()).collect();
        let (chosen, _) = names.partial_shuffle(&mut self.rng, count);
        let mut wanted: Vec<Wanted> = chosen.iter().map(|name| self.choose_how(*name)).collect();
        if let [one] = &mut wanted[..]
            && let (true, Some(limit)) = (one.is_shared, one.limit())
            && self.rng.random_bool(WEIGHTS)
        {
            one.weight = self.rng.random_range(2..=limit);
        }
        wanted
    }

    fn choose_how(&mut self, name: usize) -> Wanted {
        let linger = if self.rng.random_bool(LINGERS) { LINGER } else { Duration::ZERO };
        Wanted {
            name,
            is_shared: self.rng.random_bool(SHARES),
            weight: 1,
            keeps: false,
            campaign: None,
            linger,
            min_hold: Duration::ZERO,
        }
    }

    /// Chooses the time for which it holds a lock. Mostly it is a moment, so that there are many grants. Now and then
    /// it is so long that renewals count and faults find it held; more often of several together, as there are few of these.
    fn hold_for(&mut self, locks: usize) -> Duration {
        let (often, longest) = if locks > 1 { (0.25, 9_000) } else { (0.035, 7_000) };
        let millis = if self.rng.random_bool(often) { 1_500..longest } else { 5..80 };
        Duration::from_millis(self.rng.random_range(millis))
    }

    /// Notes that it has waited until now. One that waits for several may have some of them meanwhile, and cannot tell.
    fn note_wait(&self, wanted: &[Wanted], since: Instant) {
        if let [wanted @ Wanted { weight: 1, .. }] = wanted {
            self.world.notes.wait(self.client, wanted.name, since);
        }
    }

    fn max_wait(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(100..1_500))
    }

    /// Makes a new connection; none if nobody is there.
    async fn dial(&self) -> Option<LockServiceClient<Channel>> {
        // HTTP/2 keepalive is off: to close a stream that is silent would be the client's word.
        let endpoint = Endpoint::from_shared(format!("http://{}", self.link)).unwrap();
        let channel = timeout(PATIENCE, endpoint.connect()).await.ok()?.ok()?;
        Some(LockServiceClient::new(channel))
    }
}

fn wait_spec(max_wait: Duration) -> Option<WaitSpec> {
    Some(WaitSpec { max_wait: max_wait.try_into().ok(), poll_interval: POLL.try_into().ok() })
}

fn duration(span: Option<prost_types::Duration>) -> Duration {
    span.and_then(|span| span.try_into().ok()).expect("a duration")
}

/// Returns true if a broker sent this status, and not the transport.
fn is_an_answer(status: &Status) -> bool {
    std::error::Error::source(status).is_none()
        && matches!(status.code(), Code::Unavailable | Code::ResourceExhausted | Code::Aborted)
}
