//! The clients. They follow the rules that the proto and the design set for a client, and note what they believe by
//! them. There are four kinds: with a stream for each lock and nothing but the stub, with a Session and nothing but
//! the stub, with the Rust client, half of which keep their locks when a connection ends, and with leases.

mod guards;
mod leases;
mod session;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::{LockSpec, WaitSpec};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::history::{Belief, End, Hold, LEASE};
use crate::world::World;

/// The longest time for an answer before the client does without it and dials anew.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time for which a client that has been told nothing of a loss goes on listening. In a Session its validity may
/// end before the lease by the time between two heartbeats, a third of the ttl.
pub(crate) const LISTEN_ON: Duration = Duration::from_millis(2_500);
/// The least time between two polls for a lock that another broker holds.
const POLL: Duration = Duration::from_millis(20);
/// The pause of a client that was refused.
const PAUSE: Duration = Duration::from_millis(50);

/// The number of kinds of clients.
pub(crate) const KINDS: usize = 4;

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

    /// Chooses the lock that it wants next.
    fn choose(&mut self) -> usize {
        self.rng.random_range(0..self.world.names.len())
    }

    /// Chooses the time for which it holds a lock. Mostly it is a moment, so that there are many grants. Now and then
    /// it is so long that renewals count and faults find it held.
    fn hold_for(&mut self) -> Duration {
        let millis = if self.rng.random_bool(0.035) { 1_500..7_000 } else { 5..80 };
        Duration::from_millis(self.rng.random_range(millis))
    }

    fn max_wait(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(100..1_500))
    }

    fn spec(&self, name: usize) -> Option<LockSpec> {
        Some(LockSpec { name: self.world.names[name].clone(), ..Default::default() })
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

/// A hold that goes on. Validity is set by whoever knows the client's rules; what is noted never reaches beyond it.
#[derive(Debug)]
struct Holding {
    hold: Hold,
    /// The moment since which the client has believed without a break; none while it does not.
    since: Option<Instant>,
    valid_until: Instant,
}

impl Holding {
    /// Begins with a grant that was just received and is valid until then.
    fn begin(life: &Life, name: usize, token: i64, valid_until: Instant) -> Self {
        life.world.held.lock().unwrap().push((life.client, name));
        let now = Instant::now();
        let renewed = valid_until - LEASE;
        let hold = Hold {
            client: life.client,
            name,
            token,
            beliefs: Vec::new(),
            renewed,
            end: End::LetGo,
            outlives_streams: false,
        };
        Self { hold, since: Some(now), valid_until }
    }

    /// Extends the validity to then, if it has not run out already: what has run out stays so.
    fn valid_until(&mut self, until: Instant) {
        if Instant::now() < self.valid_until {
            self.valid_until = until;
            self.hold.renewed = until - LEASE;
        }
    }

    /// Ends the belief now, or when the validity ended.
    fn doubt(&mut self) {
        self.doubt_since(Instant::now());
    }

    /// Ends the belief at that moment, or when the validity ended.
    fn doubt_since(&mut self, then: Instant) {
        let until = self.valid_until.min(then);
        if let Some(from) = self.since.take().filter(|&from| from < until) {
            self.hold.beliefs.push(Belief { from, until });
        }
    }

    /// Begins to believe again after a doubt: a reattach was answered in time.
    fn resume(&mut self, valid_until: Instant) {
        self.valid_until(valid_until);
        self.since.get_or_insert_with(Instant::now);
    }

    fn has_run_out(&self) -> bool {
        Instant::now() >= self.valid_until
    }

    fn let_go(mut self, life: &Life) {
        self.doubt();
        self.over(life);
    }

    /// Notes a loss, now or when the validity ran out.
    fn lost(mut self, told: bool, life: &Life) {
        self.doubt();
        self.hold.end = End::Lost { at: self.valid_until.min(Instant::now()), told };
        self.over(life);
    }

    fn over(self, life: &Life) {
        let mut held = life.world.held.lock().unwrap();
        let here = held.iter().position(|&held| held == (life.client, self.hold.name));
        held.swap_remove(here.expect("noted when it began"));
        drop(held);
        life.world.notes.hold(self.hold);
    }
}
