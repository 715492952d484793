//! Where a scenario plays: brokers on a memcached, a testee with its clients, and rivals who want the same locks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::{Acquired, WaitAcquireRequest, WaitAcquireResponse};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::Streaming;

use crate::follower::Follower;
use crate::support::*;
use crate::testee::{Answer, Call, Program, Testee};

/// For what should happen at once, on a busy machine.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(4);
/// The brokers' default ttl.
pub(crate) const TTL: Duration = Duration::from_secs(15);
/// After this a lock whose holder is gone has been granted to the next, with what memcached and a busy machine take.
pub(crate) const FREE: Duration = Duration::from_secs(25);
/// Long enough for a holder that goes on acting to be seen.
pub(crate) const ACTS_ON: Duration = Duration::from_millis(500);

/// Is shared by one language's scenarios: brokers and a testee that nothing is done to.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) program: Program,
    brokers: OnceCell<Brokers>,
    testee: OnceCell<Arc<Testee>>,
}

impl Shared {
    pub(crate) fn new(program: Program) -> Self {
        Self { program, brokers: OnceCell::new(), testee: OnceCell::new() }
    }

    /// Returns what its testee said that it must not say.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.testee.get().map(|testee| testee.wrong()).unwrap_or_default()
    }

    pub(crate) async fn testee(&self) -> Arc<Testee> {
        let start = async || Arc::new(Testee::start(&self.program, &[]).await);
        Arc::clone(self.testee.get_or_init(start).await)
    }
}

/// One scenario's place.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) scenario: &'static str,
    pub(crate) shared: Arc<Shared>,
    /// The testees that the scenario has to itself.
    own: Arc<Mutex<Vec<Arc<Testee>>>>,
}

impl Stage {
    pub(crate) fn new(scenario: &'static str, shared: Arc<Shared>) -> Self {
        Self { scenario, shared, own: Arc::default() }
    }

    /// Returns the last of what its testees wrote for people: its own, or the one that it shares with others.
    pub(crate) fn last_log(&self) -> String {
        let own = self.own.lock().unwrap().clone();
        let testees = if own.is_empty() { self.shared.testee.get().cloned().into_iter().collect() } else { own };
        let log: Vec<_> = testees.iter().flat_map(|testee| testee.log()).collect();
        log[log.len().saturating_sub(10)..].join("\n")
    }

    /// Returns what its own testees said that they must not say.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.own.lock().unwrap().iter().flat_map(|testee| testee.wrong()).collect()
    }

    /// Returns the name of the lock that the scenario is about. Nobody else's has it.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.shared.program.language, self.scenario)
    }

    /// Returns brokers that other scenarios use too: nothing may be done to them.
    pub(crate) async fn brokers(&self) -> &Brokers {
        self.shared.brokers.get_or_init(Brokers::start).await
    }

    /// Returns a client of the first shared broker, in the testee that other scenarios use too.
    pub(crate) async fn client(&self) -> Client {
        self.client_of(&[self.brokers().await.first.url()]).await
    }

    /// Returns a client of these servers, in the testee that other scenarios use too.
    pub(crate) async fn client_of(&self, servers: &[String]) -> Client {
        Client::connect(self.shared.testee().await, servers).await
    }

    /// Starts a testee that this scenario may stop and kill.
    pub(crate) async fn own_testee(&self, environment: &[(&str, String)]) -> Arc<Testee> {
        let testee = Arc::new(Testee::start(&self.shared.program, environment).await);
        self.own.lock().unwrap().push(Arc::clone(&testee));
        testee
    }
}

/// Has a client take the lock and act under it, and a rival get in line for it at another broker.
pub(crate) async fn contended(client: &Client, name: &str, rivals: &Broker) -> (Held, Rival) {
    let lock = client.takes(name).await;
    lock.work().await;
    (lock, Rival::queue(rivals, name).await)
}

/// A client in a testee.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) testee: Arc<Testee>,
    name: String,
}

/// A number for each client and guard, so that none is confused with another.
fn unique(prefix: &str) -> String {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    format!("{prefix}{}", LAST.fetch_add(1, Ordering::Relaxed))
}

impl Client {
    pub(crate) async fn connect(testee: Arc<Testee>, servers: &[String]) -> Self {
        let (client, answer) = Self::connecting(testee, servers, json!(null)).await;
        answer.get("ok");
        client
    }

    /// Connects with TLS, and returns what came of it.
    pub(crate) async fn connecting(testee: Arc<Testee>, servers: &[String], tls: Value) -> (Self, Answer) {
        let name = unique("client-");
        let mut connect = json!({"do": "connect", "client": name});
        if !servers.is_empty() {
            connect["servers"] = json!(servers);
        }
        if !tls.is_null() {
            connect["tls"] = tls;
        }
        let answer = testee.ask(connect).await;
        (Self { testee, name }, answer)
    }

    /// Makes a command for this client: `verb`, and fields of its own.
    fn command(&self, verb: &str, fields: &Value) -> Value {
        let mut command = json!({"do": verb, "client": self.name});
        if let Some(fields) = fields.as_object() {
            command.as_object_mut().unwrap().extend(fields.clone());
        }
        command
    }

    /// Sends a command that is about no guard.
    pub(crate) async fn ask(&self, verb: &str, fields: Value) -> Answer {
        self.testee.ask(self.command(verb, &fields)).await
    }

    /// Sends a command that may bring a guard.
    pub(crate) fn asking(&self, verb: &str, name: &str, mut fields: Value) -> (Held, Call) {
        let lock = unique("lock-");
        fields["lock"] = json!(lock);
        fields["name"] = json!(name);
        let call = self.testee.call(self.command(verb, &fields));
        (
            Held {
                testee: Arc::clone(&self.testee),
                name: name.to_owned(),
                lock,
                token: 0,
                lock_id: String::new(),
                permit: None,
                also: Vec::new(),
            },
            call,
        )
    }

    /// Asks once, and returns the answer, which need not be a grant.
    pub(crate) async fn tries(&self, name: &str) -> Answer {
        self.asking("try", name, json!({})).1.answer().await
    }

    /// Takes a lock that must be free.
    pub(crate) async fn takes(&self, name: &str) -> Held {
        self.takes_with(name, json!({})).await
    }

    /// Takes a lock that must be free, with these fields.
    pub(crate) async fn takes_with(&self, name: &str, fields: Value) -> Held {
        let (held, call) = self.asking("try", name, fields);
        held.granted(&call.answer().await)
    }

    /// Begins to wait for a lock.
    pub(crate) fn waits(&self, name: &str) -> (Held, Call) {
        self.asking("wait", name, json!({}))
    }

    /// Takes a thousand locks, whose names begin so. Not all at once: a busy machine needs its time for each.
    pub(crate) async fn takes_a_thousand(&self, prefix: &str) {
        for part in 0..10 {
            let fields = json!({"prefix": format!("{prefix}{part}/"), "count": 100});
            assert_eq!(self.ask("many", fields).await.get("granted"), 100);
        }
    }

    /// Returns how many of them are held: what the client says, and what a broker says.
    pub(crate) async fn holds_of_a_thousand(&self, prefix: &str, broker: &Broker) -> (u64, u64) {
        let (mut held, mut seen, mut stub) = (0, 0, broker.stub().await);
        for part in 0..10 {
            for number in 0..100 {
                let state = look(&mut stub, &format!("{prefix}{part}/{number}")).await.state();
                seen += u64::from(state == State::Held);
            }
            let check = json!({"do": "check_many", "prefix": format!("{prefix}{part}/"), "count": 100});
            held += self.testee.ask(check).await.get("held").as_u64().expect("a number");
        }
        (held, seen)
    }

    /// Begins to observe a lock.
    pub(crate) async fn observes(&self, name: &str) -> Follower {
        let own = unique("follower-");
        self.ask("observe", json!({"name": name, "as": own})).await.get("ok");
        Follower::new(Arc::clone(&self.testee), own)
    }

    pub(crate) async fn close(&self) {
        self.ask("close", json!({})).await.get("ok");
    }
}

/// A guard in a testee.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    testee: Arc<Testee>,
    pub(crate) name: String,
    pub(crate) lock: String,
    pub(crate) token: i64,
    pub(crate) lock_id: String,
    /// None if it is not shared.
    pub(crate) permit: Option<i32>,
    /// The locks that it has together with that.
    pub(crate) also: Vec<Also>,
}

/// One more lock of a guard.
#[derive(Clone, Debug)]
pub(crate) struct Also {
    pub(crate) name: String,
    pub(crate) token: i64,
    pub(crate) lock_id: String,
    /// None if it is not shared.
    pub(crate) permit: Option<i32>,
}

/// Reads a grant: its token, its lock id and its permit.
fn grant(granted: &Value) -> (i64, String, Option<i32>) {
    (
        granted["token"].as_i64().expect("a token"),
        granted["lock_id"].as_str().expect("a lock id").to_owned(),
        granted.get("permit").map(|permit| permit.as_i64().expect("a permit") as i32),
    )
}

impl Held {
    /// Notes the grant, which the answer must be.
    pub(crate) fn granted(mut self, answer: &Answer) -> Self {
        let granted = answer.get("granted");
        (self.token, self.lock_id, self.permit) = grant(granted);
        let also = granted.get("also").map(|also| also.as_array().expect("a list").iter());
        let also = also.into_iter().flatten().map(|also| {
            let (token, lock_id, permit) = grant(also);
            Also { name: also["name"].as_str().expect("a name").to_owned(), token, lock_id, permit }
        });
        self.also = also.collect();
        self
    }

    pub(crate) async fn ask(&self, verb: &str) -> Answer {
        self.testee.ask(json!({"do": verb, "lock": self.lock})).await
    }

    /// Gives the lock another value.
    pub(crate) async fn updates(&self, value: &str) -> Answer {
        self.testee.ask(json!({"do": "update", "lock": self.lock, "value": value})).await
    }

    /// Shares the lock from now on.
    pub(crate) async fn downgrade(&self, limit: Option<i64>) -> Answer {
        let mut command = json!({"do": "downgrade", "lock": self.lock});
        if let Some(limit) = limit {
            command["limit"] = json!(limit);
        }
        self.testee.ask(command).await
    }

    /// Returns the lock as it is shared now, which the answer must say.
    pub(crate) fn downgraded(&self, answer: &Answer) -> Self {
        let (token, lock_id, permit) = grant(answer.get("downgraded"));
        assert!(permit.is_some(), "{answer:?}");
        Self { token, lock_id, permit, ..self.clone() }
    }

    pub(crate) async fn is_held(&self) -> bool {
        self.ask("check").await.has("held")
    }

    /// Releases, which must work.
    pub(crate) async fn release(&self) {
        assert_eq!(self.ask("release").await.get("released"), true);
    }

    /// Begins to act while it holds the lock. Returns when it has acted once.
    pub(crate) async fn work(&self) {
        self.testee.ask(json!({"do": "work", "lock": self.lock, "every_ms": 20})).await.get("ok");
        eventually(SOON, "the testee acts", async || !self.acts().is_empty()).await;
    }

    /// The times at which it acted, by CLOCK_MONOTONIC in nanoseconds.
    pub(crate) fn acts(&self) -> Vec<i64> {
        let acts = self.testee.notices("acting", &self.lock);
        acts.iter().map(|notice| notice["at"].as_i64().expect("a time")).collect()
    }

    /// Waits until the language's own signal has told the loss.
    pub(crate) async fn is_told_lost(&self, within: Duration) {
        let told = async || !self.testee.notices("lost", &self.lock).is_empty();
        eventually(within, "the loss is told", told).await;
    }

    /// Waits until the language's own signal has told the loss, with this reason, and checks that `check` says the same.
    pub(crate) async fn is_lost(&self, reason: &str, within: Duration) {
        self.is_told_lost(within).await;
        assert_eq!(self.testee.notices("lost", &self.lock)[0]["reason"], reason);
        assert_eq!(self.ask("check").await.get("lost")["reason"], reason);
    }

    pub(crate) fn was_told_lost(&self) -> bool {
        !self.testee.notices("lost", &self.lock).is_empty()
    }
}

/// Now, by CLOCK_MONOTONIC in nanoseconds.
pub(crate) fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Somebody else who wants a lock, with a bare stub.
#[derive(Debug)]
pub(crate) struct Rival {
    name: String,
    /// When it was granted, and what.
    grant: watch::Receiver<Option<(i64, Acquired)>>,
    /// Keeps the stream, and so the lock.
    waiting: JoinHandle<()>,
}

impl Rival {
    /// Gets in line at this broker, whether the lock is held or not.
    pub(crate) async fn queue(broker: &Broker, name: &str) -> Self {
        Self::queue_for(broker, name, wait(name)).await
    }

    /// Gets in line at this broker, as the request says.
    pub(crate) async fn queue_for(broker: &Broker, name: &str, request: WaitAcquireRequest) -> Self {
        let mut stub = broker.stub().await;
        let stream = stub.wait_acquire(request).await.unwrap().into_inner();
        let (granted, grant) = watch::channel(None);
        let waiting = tokio::spawn(async move {
            let mut stream: Streaming<WaitAcquireResponse> = stream;
            let acquired = granted_whenever(&mut stream).await;
            let _ = granted.send(Some((now(), acquired)));
            // Until this is aborted, the stream lives; `renewed` has to be read.
            while let Ok(Some(_)) = stream.message().await {}
        });
        Self { name: name.to_owned(), grant, waiting }
    }

    pub(crate) fn has_it(&self) -> bool {
        self.grant.borrow().is_some()
    }

    /// Returns when it was granted the lock, which it has, and what it was granted.
    fn grant(&self) -> (i64, Acquired) {
        self.grant.borrow().clone().expect("the rival has the lock")
    }

    /// Returns its permit of the lock, which it has and shares.
    pub(crate) fn permit(&self) -> i32 {
        self.grant().1.permit.expect("a permit")
    }

    /// Returns how long after that it was granted the lock, which it has.
    pub(crate) fn granted_after(&self, asked: Instant) -> Duration {
        let (at, _) = self.grant();
        let since = Duration::from_nanos((now() - at).max(0) as u64);
        asked.elapsed().saturating_sub(since)
    }

    /// Waits until the rival has the lock.
    pub(crate) async fn granted(&self, within: Duration) {
        eventually(within, &format!("a rival gets {:?}", self.name), async || self.has_it()).await;
    }

    /// Judges a holder when the rival has the lock: its last act came before this grant, and its token is lower. It acted
    /// at `since`, when something happened to it, for a holder that has died by itself stops as well.
    pub(crate) async fn judge(&self, held: &Held, since: i64) {
        let (at, Acquired { fencing_token: token, .. }) = self.grant();
        sleep(ACTS_ON).await;
        let acts = held.acts();
        let last = acts.iter().max().expect("it has acted");
        assert!(since - last < ACTS_ON.as_nanos() as i64, "{:?}: it had stopped before", self.name);
        let millis = (last - at) / 1_000_000;
        assert!(*last < at, "{:?}: it acted {millis} ms after somebody else was granted the lock", self.name);
        assert!(held.token < token, "{:?}: token {} is not below {token}", self.name, held.token);
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.waiting.abort();
    }
}

/// Returns true if nobody holds the lock, as the broker sees it.
pub(crate) async fn is_free(broker: &Broker, name: &str) -> bool {
    look(&mut broker.stub().await, name).await.state() == State::Free
}

/// Waits until nobody holds the lock.
pub(crate) async fn is_freed(broker: &Broker, name: &str, within: Duration) {
    eventually(within, &format!("{name:?} is free"), async || is_free(broker, name).await).await;
}

/// Waits until so many are in line for a lock at this broker: a stub that joins them is told its place.
pub(crate) async fn in_line(broker: &Broker, name: &str, count: i32) {
    in_line_within(SOON, broker, name, count).await;
}

pub(crate) async fn in_line_within(limit: Duration, broker: &Broker, name: &str, count: i32) {
    let mut stub = broker.stub().await;
    eventually(limit, &format!("{count} are in line for {name:?}"), async || {
        queue(&mut stub, wait(name)).await.0 == count + 1
    })
    .await;
}
