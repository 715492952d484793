//! Where a scenario plays: brokers on a memcached, a testee with its clients, and rivals who want the same locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockbroker::proto::WaitAcquireResponse;
use lockbroker::proto::get_lock_response::State;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tonic::Streaming;

use crate::support::*;
use crate::testee::{Answer, Call, Program, Testee};

/// For what should happen at once, on a busy machine.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(3);
/// The brokers' default ttl, after which a lock is free whatever happens, with what memcached and the line take.
pub(crate) const TTL: Duration = Duration::from_secs(15);
pub(crate) const FREE: Duration = Duration::from_secs(25);

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

    /// Returns the last of what the testee wrote for people.
    pub(crate) fn last_log(&self) -> String {
        let log = self.testee.get().map(|testee| testee.log()).unwrap_or_default();
        log[log.len().saturating_sub(10)..].join("\n")
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
}

impl Stage {
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
        Arc::new(Testee::start(&self.shared.program, environment).await)
    }
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
        let mut connect = json!({"do": "connect", "client": name, "servers": servers});
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
        (Held { testee: Arc::clone(&self.testee), lock, token: 0, lock_id: String::new() }, call)
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

    /// Takes ten times `count` locks, whose names begin so. Not all at once: a busy machine needs its time for each.
    pub(crate) async fn takes_many(&self, prefix: &str, count: u64) {
        for part in 0..10 {
            let fields = json!({"prefix": format!("{prefix}{part}/"), "count": count});
            assert_eq!(self.ask("many", fields).await.get("granted"), count);
        }
    }

    /// Returns how many of them are held.
    pub(crate) async fn holds_of_many(&self, prefix: &str, count: u64) -> u64 {
        let mut held = 0;
        for part in 0..10 {
            let check = json!({"do": "check_many", "prefix": format!("{prefix}{part}/"), "count": count});
            held += self.testee.ask(check).await.get("held").as_u64().expect("a number");
        }
        held
    }

    pub(crate) async fn close(&self) {
        self.ask("close", json!({})).await.get("ok");
    }
}

/// A guard in a testee.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    testee: Arc<Testee>,
    pub(crate) lock: String,
    pub(crate) token: i64,
    pub(crate) lock_id: String,
}

impl Held {
    /// Notes the grant, which the answer must be.
    pub(crate) fn granted(mut self, answer: &Answer) -> Self {
        let granted = answer.get("granted");
        self.token = granted["token"].as_i64().expect("a token");
        self.lock_id = granted["lock_id"].as_str().expect("a lock id").to_owned();
        self
    }

    pub(crate) async fn ask(&self, verb: &str) -> Answer {
        self.testee.ask(json!({"do": verb, "lock": self.lock})).await
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
    /// When it was granted, the token and the lock id.
    grant: watch::Receiver<Option<(i64, i64, String)>>,
    /// Keeps the stream, and so the lock.
    waiting: JoinHandle<()>,
}

impl Rival {
    /// Gets in line at this broker, whether the lock is held or not.
    pub(crate) async fn queue(broker: &Broker, name: &str) -> Self {
        let mut stub = broker.stub().await;
        let stream = stub.wait_acquire(wait(name)).await.unwrap().into_inner();
        let (granted, grant) = watch::channel(None);
        let waiting = tokio::spawn(async move {
            let mut stream: Streaming<WaitAcquireResponse> = stream;
            let acquired = granted_whenever(&mut stream).await;
            let _ = granted.send(Some((now(), acquired.fencing_token, acquired.lock_id)));
            // Until this is aborted, the stream lives; `renewed` has to be read.
            while let Ok(Some(_)) = stream.message().await {}
        });
        Self { name: name.to_owned(), grant, waiting }
    }

    pub(crate) fn has_it(&self) -> bool {
        self.grant.borrow().is_some()
    }

    /// Waits until the rival has the lock.
    pub(crate) async fn granted(&self, within: Duration) {
        eventually(within, &format!("a rival gets {:?}", self.name), async || self.has_it()).await;
    }

    /// Judges a holder when the rival has the lock: it has acted, its last act came before this grant, and its token is
    /// lower.
    pub(crate) fn judge(&self, held: &Held) {
        let (at, token, _) = self.grant.borrow().clone().expect("the rival has the lock");
        let acts = held.acts();
        let last = acts.iter().max().expect("it has acted");
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
    let mut stub = broker.stub().await;
    eventually(SOON, &format!("{count} are in line for {name:?}"), async || {
        queue(&mut stub, wait(name)).await.0 == count + 1
    })
    .await;
}
