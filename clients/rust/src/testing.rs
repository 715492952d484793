//! A broker in the test's own process, which grants and loses locks on command.
//!
//! ```
//! use lockbroker_client::testing::TestBroker;
//! use lockbroker_client::{LostReason, Outcome};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let broker = TestBroker::start().await;
//! let client = broker.client();
//!
//! broker.hold("nightly", "somebody else");
//! assert!(matches!(client.acquire("nightly").await, Ok(Outcome::NotAcquired(_))));
//!
//! broker.free("nightly");
//! let lock = client.acquire("nightly").await.unwrap().guard().unwrap();
//! broker.lose("nightly");
//! assert_eq!(lock.lost().await, LostReason::Gone);
//! # });
//! ```
//!
//! It keeps its locks in memory, and speaks what the [`Client`] speaks: Session, leases, Release, GetLock, UpdateLock and Observe. Locks can
//! be shared. It does not know of locks that are asked for [together](super::Acquire::also): it answers with the first alone, and the call
//! fails. Locks do not linger, and nothing runs out: a lease that is to be lost is [lost](TestBroker::lose) on command, which its next
//! renewal tells.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::mutex::lock;
use super::wire::{from_wire, to_wire};
use crate::Client;
use crate::proto::lock_event::Kind;
use crate::proto::lock_service_server::{LockService, LockServiceServer};
use crate::proto::*;

/// The ttl, as a broker grants it, and the validity, which these locks never outlive.
const TTL: Duration = Duration::from_secs(15);
const VALID: Duration = Duration::from_secs(13);
/// The most permits of a lock, as brokers have it.
const MAX_PERMITS: i32 = 4096;
/// The longest wait for a lease.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The time after which a lease that is waited for is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A broker for tests. It ends when this is dropped.
#[derive(Debug)]
pub struct TestBroker {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _ends: DropGuard,
}

impl TestBroker {
    /// Starts a broker on a free port of the loopback address.
    ///
    /// # Panics
    /// Panics if there is no such port, and outside of a tokio runtime.
    pub async fn start() -> TestBroker {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::default();
        let ends = CancellationToken::new();
        let service = LockServiceServer::new(Service(Arc::clone(&state)));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let until = ends.clone().cancelled_owned();
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, until));
        TestBroker { address, state, _ends: ends.drop_guard() }
    }

    /// Returns the endpoint to connect to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a client of this broker.
    pub fn client(&self) -> Client {
        Client::connect(self.url()).expect("an address is an endpoint")
    }

    /// Has somebody else hold the lock `name`, alone, under the label `owner`. Whoever holds it, or shares it, loses it.
    pub fn hold(&self, name: &str, owner: &str) {
        let mut state = lock(&self.state);
        state.end_all(name, lost::Reason::TakenOver);
        state.grant((name.into(), None), Holder::Nobody, (owner.into(), None), None);
    }

    /// Has somebody else let go of the lock `name`; the next in line gets it.
    pub fn free(&self, name: &str) {
        let mut state = lock(&self.state);
        let item = (name.to_owned(), None);
        if state.held.get(&item).is_some_and(|held| held.holder == Holder::Nobody) {
            state.held.remove(&item);
            state.hand_over(name);
        }
    }

    /// Has the client that holds the lock `name`, or all that share it, lose it; the next in line gets it.
    pub fn lose(&self, name: &str) {
        let mut state = lock(&self.state);
        state.end_all(name, lost::Reason::Gone);
        state.hand_over(name);
    }

    /// Has the client that holds the lock `name`, or all that share it, lose it as if an operator revoked it; the next in line gets it.
    pub fn revoke(&self, name: &str) {
        let mut state = lock(&self.state);
        state.end_all(name, lost::Reason::Revoked);
        state.hand_over(name);
    }

    /// Returns true if somebody holds the lock `name`, or shares it.
    pub fn is_held(&self, name: &str) -> bool {
        lock(&self.state).holders(name).next().is_some()
    }

    /// Returns how many wait for the lock `name`.
    pub fn waiters(&self, name: &str) -> usize {
        lock(&self.state).waiting.get(name).map_or(0, VecDeque::len)
    }
}

/// A lock, and the permit if several share it.
type Item = (String, Option<i32>);
/// A lock of a Session: the Session's number, and the lock's handle there.
type Place = (u64, i64);
type Outbox = mpsc::UnboundedSender<Result<SessionResponse, Status>>;

/// Says who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// A client, which is told of a loss.
    Client(Place),
    /// A client whose call had this request id.
    Lease(String),
    /// Somebody who is no client.
    Nobody,
}

/// A lock that is held.
#[derive(Debug)]
struct Held {
    lock_id: String,
    token: i64,
    owner: String,
    value: Option<Vec<u8>>,
    holder: Holder,
}

/// A lock that is waited for.
#[derive(Debug)]
struct Waiter {
    place: Place,
    owner: String,
    value: Option<Vec<u8>>,
    wants: Wants,
}

/// The way in which a lock is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// Alone.
    Alone,
    /// With a permit below this number.
    Permit(i32),
}

impl Wants {
    fn of(spec: &LockSpec) -> Wants {
        match spec.mode() {
            lock_spec::Mode::Shared if spec.limit == 0 => Wants::Permit(MAX_PERMITS),
            lock_spec::Mode::Shared => Wants::Permit(spec.limit),
            lock_spec::Mode::Unspecified | lock_spec::Mode::Exclusive => Wants::Alone,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<Item, Held>,
    waiting: HashMap<String, VecDeque<Waiter>>,
    sessions: HashMap<u64, Outbox>,
    /// The number of the latest session, grant or lock id.
    last: i64,
}

impl State {
    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    fn tell(&self, (session, lock_ref): Place, kind: Kind) {
        let event = SessionEvent { lock_ref, event: Some(LockEvent { kind: Some(kind) }) };
        self.say(session, session_response::Kind::Event(event));
    }

    fn say(&self, session: u64, kind: session_response::Kind) {
        if let Some(outbox) = self.sessions.get(&session) {
            // Fails only if the client has gone.
            let _ = outbox.send(Ok(SessionResponse { kind: Some(kind) }));
        }
    }

    /// Returns those who hold a lock, or share it.
    fn holders(&self, name: &str) -> impl Iterator<Item = (&Item, &Held)> {
        let items = (name.to_owned(), None)..=(name.to_owned(), Some(i32::MAX));
        self.held.range(items)
    }

    /// Returns what can be granted now, if anything can. One who wants the lock alone and waits for it lets in no others.
    fn free(&self, name: &str, wants: Wants) -> Option<Item> {
        match wants {
            Wants::Alone => self.holders(name).next().is_none().then(|| (name.to_owned(), None)),
            Wants::Permit(_) if self.held.contains_key(&(name.to_owned(), None)) => None,
            Wants::Permit(limit) => {
                (0..limit).map(|permit| (name.to_owned(), Some(permit))).find(|item| !self.held.contains_key(item))
            }
        }
    }

    /// Returns true if somebody waits who wants the lock alone.
    fn is_wanted_alone(&self, name: &str) -> bool {
        self.waiting.get(name).is_some_and(|line| line.iter().any(|waiter| waiter.wants == Wants::Alone))
    }

    /// Grants a lock: anew, or with the token that it had before.
    fn grant(&mut self, item: Item, holder: Holder, (owner, value): (String, Option<Vec<u8>>), token: Option<i64>) {
        let lock_id = format!("test-{}", self.next());
        let token = token.unwrap_or_else(|| self.next());
        if let Holder::Client(place) = holder {
            let (lock_id, permit) = (lock_id.clone(), item.1);
            let acquired = Acquired { lock_id, fencing_token: token, permit, ..Default::default() };
            self.tell(place, Kind::Acquired(acquired));
        }
        self.held.insert(item, Held { lock_id, token, owner, value, holder });
    }

    /// Asks for a lease. Returns the answer to it.
    fn lease(&mut self, request: &AcquireLeaseRequest) -> acquire_lease_response::Result {
        let spec = request.lock.clone().unwrap_or_default();
        let wants = Wants::of(&spec);
        let LockSpec { name, owner, .. } = spec;
        // A call without a request id is no other's.
        let is_named = !request.request_id.is_empty();
        let holder = Holder::Lease(if is_named { request.request_id.clone() } else { self.next().to_string() });
        let is_known = self.holders(&name).any(|(_, held)| held.holder == holder);
        let is_kept_out = wants != Wants::Alone && self.is_wanted_alone(&name);
        if let Some(item) = self.free(&name, wants).filter(|_| !is_known && !is_kept_out) {
            self.grant(item, holder.clone(), (owner, None), None);
        }
        match self.holders(&name).find(|(_, held)| held.holder == holder) {
            Some(((_, permit), held)) => acquire_lease_response::Result::Acquired(Acquired {
                lock_id: held.lock_id.clone(),
                fencing_token: held.token,
                expires_after_request: Some(to_wire(VALID)),
                permit: *permit,
                ..Default::default()
            }),
            None => acquire_lease_response::Result::NotAcquired(NotAcquired {
                reason: not_acquired::Reason::Held.into(),
                owner: self.owner(&name),
                ..Default::default()
            }),
        }
    }

    /// Returns the label of the one who holds a lock alone.
    fn owner(&self, name: &str) -> String {
        self.held.get(&(name.to_owned(), None)).map(|held| held.owner.clone()).unwrap_or_default()
    }

    /// Returns what those see who observe a lock.
    fn observed(&self, name: &str) -> ObserveResponse {
        let is_held = self.holders(name).next().is_some();
        let alone = self.held.get(&(name.to_owned(), None));
        ObserveResponse {
            state: if is_held { observe_response::State::Held } else { observe_response::State::Free }.into(),
            owner: self.owner(name),
            value: alone.and_then(|held| held.value.clone()),
            fencing_token: alone.map(|held| held.token).unwrap_or_default(),
            expires_in: is_held.then(|| to_wire(TTL)),
        }
    }

    /// Returns the lock or permit with this id.
    fn item(&self, name: &str, lock_id: &str) -> Option<Item> {
        self.holders(name).find(|(_, held)| held.lock_id == lock_id).map(|(item, _)| item.clone())
    }

    /// Has all who hold a lock, or share it, lose it.
    fn end_all(&mut self, name: &str, reason: lost::Reason) {
        let items: Vec<_> = self.holders(name).map(|(item, _)| item.clone()).collect();
        for item in items {
            self.end(&item, lost(reason));
        }
    }

    /// Ends a grant, and tells its client so.
    fn end(&mut self, item: &Item, why: Kind) -> Option<Held> {
        let held = self.held.remove(item)?;
        if let Holder::Client(place) = held.holder {
            self.tell(place, why);
        }
        Some(held)
    }

    /// Gives a lock to the next in line, for as long as there is anything to give.
    fn hand_over(&mut self, name: &str) {
        while let Some(first) = self.waiting.get(name).and_then(VecDeque::front)
            && let Some(item) = self.free(name, first.wants)
            && let Some(next) = self.waiting.get_mut(name).and_then(VecDeque::pop_front)
        {
            self.grant(item, Holder::Client(next.place), (next.owner, next.value), None);
        }
    }

    /// Asks for a lock. Returns the wait after which the answer is due, if it has to wait.
    fn begin(&mut self, session: u64, begin: BeginLock) -> Option<Duration> {
        let (place, spec) = ((session, begin.lock_ref), begin.lock.unwrap_or_default());
        let wants = Wants::of(&spec);
        let LockSpec { name, owner, value, .. } = spec;
        if !begin.reattach_lock_id.is_empty() {
            match self.item(&name, &begin.reattach_lock_id) {
                Some(item) => {
                    let token = self.end(&item, lost(lost::Reason::TakenOver)).map(|held| held.token);
                    self.grant(item, Holder::Client(place), (owner, value), token);
                }
                None => self.refuse(place, not_acquired::Reason::NotReattachable, ""),
            }
            return None;
        }
        let is_kept_out = wants != Wants::Alone && self.is_wanted_alone(&name);
        match (self.free(&name, wants).filter(|_| !is_kept_out), begin.wait) {
            (Some(item), _) => self.grant(item, Holder::Client(place), (owner, value), None),
            (None, None) => self.refuse(place, not_acquired::Reason::Held, &self.owner(&name)),
            (None, Some(wait)) => {
                let line = self.waiting.entry(name).or_default();
                line.push_back(Waiter { place, owner, value, wants });
                let position = i32::try_from(line.len()).unwrap_or(i32::MAX);
                self.tell(place, Kind::Queued(Queued { position }));
                return wait.max_wait.as_ref().and_then(from_wire);
            }
        }
        None
    }

    fn refuse(&self, place: Place, reason: not_acquired::Reason, owner: &str) {
        self.tell(
            place,
            Kind::NotAcquired(NotAcquired { reason: reason.into(), owner: owner.into(), ..Default::default() }),
        );
    }

    /// Takes a wait out of its line, for this reason.
    fn leave(&mut self, place: Place, reason: not_acquired::Reason) {
        for (name, line) in &mut self.waiting {
            if let Some(at) = line.iter().position(|waiter| waiter.place == place) {
                line.remove(at);
                let name = name.clone();
                self.refuse(place, reason, "");
                // It may have wanted the lock alone, and have been in the way of others.
                return self.hand_over(&name);
            }
        }
    }

    /// Ends whatever a client has at `place`.
    fn release(&mut self, place: Place) {
        self.leave(place, not_acquired::Reason::Cancelled);
        let item =
            self.held.iter().find(|(_, held)| held.holder == Holder::Client(place)).map(|(item, _)| item.clone());
        if let Some(item) = item {
            self.end(&item, Kind::Released(Released {}));
            self.hand_over(&item.0);
        }
    }

    /// Ends a Session and all that it has.
    fn close(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.waiting.values_mut().for_each(|line| line.retain(|waiter| waiter.place.0 != session));
        let ours = |held: &Held| matches!(held.holder, Holder::Client((owner, _)) if owner == session);
        let items: Vec<_> = self.held.iter().filter(|(_, held)| ours(held)).map(|(item, _)| item.clone()).collect();
        self.held.retain(|_, held| !ours(held));
        let waited_for: Vec<_> = self.waiting.keys().cloned().collect();
        for name in items.into_iter().map(|(name, _)| name).chain(waited_for) {
            self.hand_over(&name);
        }
    }
}

fn lost(reason: lost::Reason) -> Kind {
    Kind::Lost(Lost { reason: reason.into(), ..Default::default() })
}

/// The gRPC service.
struct Service(Arc<Mutex<State>>);

impl Service {
    async fn serve(state: Arc<Mutex<State>>, session: u64, mut requests: Streaming<SessionRequest>) {
        // Any failure is the end of the client's stream, as far as tests are concerned.
        while let Ok(Some(request)) = requests.message().await {
            let mut locked = lock(&state);
            match request.kind {
                Some(session_request::Kind::Open(open)) => {
                    let ttl = open.ttl.as_ref().and_then(from_wire).unwrap_or(TTL);
                    let opened = SessionOpened {
                        ttl: Some(to_wire(ttl)),
                        expires_after_open: Some(to_wire(VALID)),
                        heartbeat_interval: Some(to_wire(ttl / 3)),
                    };
                    locked.say(session, session_response::Kind::Opened(opened));
                }
                Some(session_request::Kind::Heartbeat(Heartbeat { seq })) => {
                    let expires_after_heartbeat = Some(to_wire(VALID));
                    let ack = HeartbeatAck { seq, expires_after_heartbeat, not_renewed: Vec::new() };
                    locked.say(session, session_response::Kind::HeartbeatAck(ack));
                }
                Some(session_request::Kind::Begin(begin)) => {
                    let place = (session, begin.lock_ref);
                    if let Some(wait) = locked.begin(session, begin) {
                        let state = Arc::clone(&state);
                        tokio::spawn(async move {
                            tokio::time::sleep(wait).await;
                            lock(&state).leave(place, not_acquired::Reason::MaxWait);
                        });
                    }
                }
                Some(session_request::Kind::End(EndLock { lock_ref })) => locked.release((session, lock_ref)),
                None => {}
            }
        }
        lock(&state).close(session);
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl LockService for Service {
    type AcquireStream = Responses<AcquireResponse>;
    type WaitAcquireStream = Responses<WaitAcquireResponse>;
    type SessionStream = Responses<SessionResponse>;
    type ObserveStream = Responses<ObserveResponse>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outbox, mut queue) = mpsc::unbounded_channel();
        let session = {
            let mut state = lock(&self.0);
            let session = state.next().unsigned_abs();
            state.sessions.insert(session, outbox);
            session
        };
        tokio::spawn(Service::serve(Arc::clone(&self.0), session, request.into_inner()));
        Ok(Response::new(Box::pin(futures_util::stream::poll_fn(move |cx| queue.poll_recv(cx)))))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let ReleaseRequest { name, lock_id } = request.into_inner();
        let mut state = lock(&self.0);
        let outcome = match state.item(&name, &lock_id) {
            None if state.holders(&name).next().is_none() => release_response::Outcome::NotHeld,
            None => release_response::Outcome::HeldByAnother,
            Some(item) => {
                state.end(&item, Kind::Released(Released {}));
                state.hand_over(&name);
                release_response::Outcome::Released
            }
        };
        Ok(Response::new(ReleaseResponse { outcome: outcome.into() }))
    }

    async fn get_lock(&self, request: Request<GetLockRequest>) -> Result<Response<GetLockResponse>, Status> {
        let state = lock(&self.0);
        let GetLockRequest { name, lock_id, permit } = request.into_inner();
        let of_lock_id = state.item(&name, &lock_id).and_then(|(_, permit)| permit);
        let item = (name, permit.or(of_lock_id));
        let held = state.held.get(&item);
        let is_whole = item.1.is_none() && held.is_none();
        let shared_count = if is_whole { state.holders(&item.0).count() } else { 0 };
        let is_held = held.is_some() || shared_count > 0;
        Ok(Response::new(GetLockResponse {
            state: if is_held { get_lock_response::State::Held } else { get_lock_response::State::Free }.into(),
            owner: held.map(|held| held.owner.clone()).unwrap_or_default(),
            free_within: is_held.then(|| to_wire(TTL)),
            fencing_token: held.map(|held| held.token).unwrap_or_default(),
            shared_count: i32::try_from(shared_count).unwrap_or(i32::MAX),
            ..GetLockResponse::default()
        }))
    }

    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<AcquireLeaseResponse>, Status> {
        let request = request.into_inner();
        let wait = request.wait.map(|wait| wait.max_wait.as_ref().and_then(from_wire).unwrap_or(LONGEST_WAIT));
        let until = wait.map(|wait| Instant::now() + wait.min(LONGEST_WAIT));
        let result = loop {
            let mut result = lock(&self.0).lease(&request);
            match (&mut result, until) {
                (acquire_lease_response::Result::NotAcquired(_), Some(until)) if Instant::now() < until => {
                    // Behind those who wait on Sessions.
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                (acquire_lease_response::Result::NotAcquired(why), Some(_)) => {
                    why.reason = not_acquired::Reason::MaxWait.into();
                    break result;
                }
                _ => break result,
            }
        };
        Ok(Response::new(AcquireLeaseResponse { result: Some(result) }))
    }

    async fn renew_lease(&self, request: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        let RenewLeaseRequest { name, lock_id } = request.into_inner();
        let state = lock(&self.0);
        let result = match state.item(&name, &lock_id) {
            Some(_) => renew_lease_response::Result::Renewed(Renewed { expires_after_request: Some(to_wire(VALID)) }),
            None => {
                let reason =
                    if state.holders(&name).next().is_some() { lost::Reason::TakenOver } else { lost::Reason::Gone };
                renew_lease_response::Result::Lost(Lost { reason: reason.into(), ..Default::default() })
            }
        };
        Ok(Response::new(RenewLeaseResponse { result: Some(result) }))
    }

    async fn update_lock(&self, request: Request<UpdateLockRequest>) -> Result<Response<UpdateLockResponse>, Status> {
        let UpdateLockRequest { name, lock_id, value } = request.into_inner();
        let mut state = lock(&self.0);
        let (item, is_held) = (state.item(&name, &lock_id), state.holders(&name).next().is_some());
        let outcome = match item.and_then(|item| state.held.get_mut(&item)) {
            Some(Held { value: Some(before), .. }) => {
                *before = value;
                update_lock_response::Outcome::Updated
            }
            Some(_) => update_lock_response::Outcome::NoValue,
            None if !is_held => update_lock_response::Outcome::NotHeld,
            None => update_lock_response::Outcome::HeldByAnother,
        };
        Ok(Response::new(UpdateLockResponse { outcome: outcome.into() }))
    }

    async fn observe(&self, request: Request<ObserveRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let (state, name) = (Arc::clone(&self.0), request.into_inner().name);
        let changes = unfold(None, move |told| {
            let (state, name) = (Arc::clone(&state), name.clone());
            async move {
                loop {
                    let seen = lock(&state).observed(&name);
                    if told.as_ref() != Some(&seen) {
                        return Some((Ok(seen.clone()), Some(seen)));
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }

    async fn acquire(&self, _: Request<AcquireRequest>) -> Result<Response<Self::AcquireStream>, Status> {
        Err(Status::unimplemented("the broker for tests knows Session, leases, Release and GetLock"))
    }

    async fn wait_acquire(&self, _: Request<WaitAcquireRequest>) -> Result<Response<Self::WaitAcquireStream>, Status> {
        Err(Status::unimplemented("the broker for tests knows Session, leases, Release and GetLock"))
    }
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture;

    use super::*;
    use crate::{LostReason, ObservedState, Outcome, Reason, ReleaseOutcome};

    #[tokio::test]
    async fn it_grants_in_order_refuses_and_loses() {
        let broker = TestBroker::start().await;
        let (one, other) = (broker.client(), broker.client());
        broker.hold("a", "somebody");
        match other.acquire("a").await.unwrap() {
            Outcome::NotAcquired(why) => assert_eq!((why.reason, &*why.owner), (Reason::Held, "somebody")),
            Outcome::Acquired(guard) => panic!("{guard:?}"),
        }
        let first = tokio::spawn(one.wait_acquire("a").into_future());
        while broker.waiters("a") < 1 {
            tokio::task::yield_now().await;
        }
        let over = other.wait_acquire("a").max_wait(Duration::from_millis(20)).await.unwrap();
        assert!(matches!(over, Outcome::NotAcquired(why) if why.reason == Reason::MaxWait));
        broker.free("a");
        let first = first.await.unwrap().unwrap().guard().unwrap();
        let second = other.adopt("a", first.lock_id()).await.unwrap().guard().unwrap();
        assert_eq!(first.lost().await, LostReason::TakenOver);
        assert_eq!(second.fencing_token(), first.fencing_token());
        assert_eq!(one.release("a", &second.lock_id()).await.unwrap(), ReleaseOutcome::Released);
        assert_eq!(second.lost().await, LostReason::Released);
        let third = one.acquire("a").await.unwrap().guard().unwrap();
        assert!(third.fencing_token() > second.fencing_token());
        assert_eq!(other.get("a", None).await.unwrap().fencing_token, Some(third.fencing_token()));
        broker.revoke("a");
        assert_eq!(third.lost().await, LostReason::Revoked);
        let fourth = one.acquire("a").await.unwrap().guard().unwrap();
        drop((third, fourth, one));
        while broker.is_held("a") {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn it_shares_locks_and_keeps_those_apart_who_want_them_alone() {
        let broker = TestBroker::start().await;
        let (one, other) = (broker.client(), broker.client());
        let readers = [one.acquire("a").limit(2).await.unwrap(), other.acquire("a").limit(2).await.unwrap()];
        let [first, second] = readers.map(|outcome| outcome.guard().unwrap());
        assert_eq!([first.permit(), second.permit()], [Some(0), Some(1)]);
        assert!(one.acquire("a").limit(2).await.unwrap().guard().is_none(), "there are two");
        assert_eq!(other.get("a", None).await.unwrap().shared_count, 2);
        assert_eq!(other.get_permit("a", 1).await.unwrap().fencing_token, Some(second.fencing_token()));
        let writer = tokio::spawn(other.wait_acquire("a").into_future());
        while broker.waiters("a") < 1 {
            tokio::task::yield_now().await;
        }
        assert!(one.acquire("a").shared().await.unwrap().guard().is_none(), "somebody waits for it alone");
        let reader = tokio::spawn(one.wait_acquire("a").shared().into_future());
        let lease = tokio::spawn(one.lease("a").shared().wait(Duration::from_secs(30)).into_future());
        first.release().await.unwrap();
        let moved = one.adopt("a", second.lock_id()).await.unwrap().guard().unwrap();
        assert_eq!((moved.permit(), moved.fencing_token()), (second.permit(), second.fencing_token()));
        moved.release().await.unwrap();
        let writer = writer.await.unwrap().unwrap().guard().unwrap();
        assert_eq!(writer.permit(), None);
        writer.release().await.unwrap();
        let (reader, lease) = (reader.await.unwrap().unwrap(), lease.await.unwrap().unwrap());
        let (reader, lease) = (reader.guard().unwrap(), lease.guard().unwrap());
        assert_ne!(reader.permit(), lease.permit());
        broker.lose("a");
        assert_eq!(reader.lost().await, LostReason::Gone);
        assert!(lease.renew().await.is_err());
    }

    #[tokio::test]
    async fn it_tells_who_leads_and_with_which_value() {
        let broker = TestBroker::start().await;
        let client = broker.client();
        let mut observe = client.observe("a");
        assert_eq!(observe.next().await.unwrap().state, ObservedState::Free);
        let leader = client.wait_acquire("a").value("one").await.unwrap().guard().unwrap();
        let seen = observe.next().await.unwrap();
        assert_eq!((seen.value, seen.fencing_token), (Some("one".into()), Some(leader.fencing_token())));
        leader.update("two").await.unwrap();
        assert_eq!(observe.next().await.unwrap().value, Some("two".into()));
        broker.lose("a");
        assert_eq!(observe.next().await.unwrap().state, ObservedState::Free);
        assert!(matches!(leader.update("three").await, Err(crate::Error::Lost { .. })));
    }

    #[tokio::test]
    async fn it_grants_leases_and_loses_them() {
        let broker = TestBroker::start().await;
        let client = broker.client();
        let lease = client.lease("a").owner("one").await.unwrap().guard().unwrap();
        match client.lease("a").await.unwrap() {
            Outcome::NotAcquired(why) => assert_eq!((why.reason, &*why.owner), (Reason::Held, "one")),
            Outcome::Acquired(lease) => panic!("{lease:?}"),
        }
        lease.renew().await.unwrap();
        let adopted = client.adopt_lease("a", lease.lock_id()).await.unwrap();
        let over = client.lease("a").wait(Duration::from_millis(20)).await.unwrap();
        assert!(matches!(over, Outcome::NotAcquired(why) if why.reason == Reason::MaxWait));
        let waiting = tokio::spawn(client.lease("a").wait(Duration::from_secs(30)).into_future());
        adopted.release().await.unwrap();
        let next = waiting.await.unwrap().unwrap().guard().unwrap();
        assert!(next.fencing_token() > lease.fencing_token());
        let lost = |reason| Err(crate::Error::Lost { lock: "a".into(), reason });
        assert_eq!(lease.renew().await, lost(LostReason::TakenOver));
        broker.lose("a");
        assert_eq!(next.renew().await, lost(LostReason::Gone));
        assert!(!broker.is_held("a"));
    }
}
