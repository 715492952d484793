//! The Rust client's testee: it does as it is told on stdin, and says what came of it. README.md of the folder above has
//! the commands.

mod liar;

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::{BeginLock, EndLock, LockSpec, OpenSession, SessionRequest, session_request};
use lockbroker_client::{Client, Error, Guard, Lease, LockState, LostReason, NotAcquired, Outcome};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;

use liar::Rule;

type Answered = Result<Value, Failure>;

/// The reason for which a command has not got what it asked for.
enum Failure {
    Client(Error),
    /// The guard or the client is not there any more.
    Closed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

#[derive(Default)]
struct State {
    clients: HashMap<String, Client>,
    guards: HashMap<String, Arc<Guard>>,
    leases: HashMap<String, Arc<Lease>>,
    /// The client that each guard came from: a client that is closed takes its guards along.
    owners: HashMap<String, String>,
    /// Ends the scopes: true if by a panic.
    scopes: HashMap<String, (oneshot::Sender<bool>, JoinHandle<()>)>,
    /// The tasks of those who observe, and the client of each.
    observers: HashMap<String, (String, JoinHandle<()>)>,
    /// The calls that can be cancelled.
    calls: HashMap<u64, oneshot::Sender<()>>,
}

#[derive(Clone, Default)]
struct Testee(Arc<Mutex<State>>, Option<Rule>);

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let breaks = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => None,
        ["--break", rule] => Some(Rule::parse(rule)),
        _ => panic!("write testee [--break RULE]"),
    };
    say(&json!({"hello": {"client": "lockbroker for Rust", "features": ["collect"]}}));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (line, mut lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            std::io::stdin().lock().lines().map_while(Result::ok).for_each(|text| drop(line.send(text)));
        });
        let testee = Testee(Arc::default(), breaks);
        let mut running = JoinSet::new();
        while let Some(text) = lines.recv().await {
            let command: Value = serde_json::from_str(&text).expect("a command in JSON");
            running.spawn(testee.clone().obey(command));
        }
        drop(running);
        *testee.0.lock().unwrap() = State::default();
    });
}

/// Writes a line.
fn say(value: &Value) {
    let mut stdout = std::io::stdout().lock();
    // The driver has gone if this fails.
    let _ = writeln!(stdout, "{value}").and_then(|()| stdout.flush());
}

impl Testee {
    async fn obey(self, command: Value) {
        let id = command["id"].as_u64().unwrap();
        let mut answer = match self.run(&command).await {
            Ok(answer) => answer,
            Err(Failure::Client(Error::Lost { reason, .. })) => json!({"lost": {"reason": loss(reason)}}),
            Err(Failure::Client(error)) => json!({"error": {"kind": kind(&error), "message": error.to_string()}}),
            Err(Failure::Closed) => json!({"error": {"kind": "CLOSED", "message": "it has been closed or released"}}),
        };
        answer["id"] = json!(id);
        say(&answer);
    }

    async fn run(&self, command: &Value) -> Answered {
        match text(command, "do") {
            "connect" => self.connect(command).await,
            "close" => Ok(self.close(text(command, "client"))),
            "try" => self.cancellable(command, self.try_once(command)).await,
            "wait" => self.cancellable(command, self.wait(command)).await,
            "enter" => self.cancellable(command, self.enter(command)).await,
            "adopt" => self.cancellable(command, self.adopt(command)).await,
            "lease" => self.cancellable(command, self.lease(command)).await,
            "renew" => self.renew(text(command, "lock")).await,
            "adopt_lease" => self.adopt_lease(command).await,
            "leave" => self.leave(command).await,
            "cancel" => Ok(self.cancel(command["call"].as_u64().unwrap())),
            "release" => self.release(command).await,
            "check" => self.check(text(command, "lock")),
            "update" => {
                self.guard(text(command, "lock"))?.update(text(command, "value")).await?;
                Ok(json!({"updated": true}))
            }
            "downgrade" => {
                let guard = self.guard(text(command, "lock"))?;
                guard.downgrade(number(command, "limit")).await?;
                Ok(json!({"downgraded": grant(&guard.lock_id(), guard.fencing_token(), guard.permit())}))
            }
            "observe" => self.observe(command),
            "unobserve" => {
                let observer = self.0.lock().unwrap().observers.remove(text(command, "as"));
                observer.ok_or(Failure::Closed)?.1.abort();
                Ok(json!({"ok": true}))
            }
            "get" => self.get(command).await,
            "work" => self.work(command),
            "forget" => {
                drop(self.0.lock().unwrap().guards.remove(text(command, "lock")));
                Ok(json!({"ok": true}))
            }
            "many" => self.many(command).await,
            "check_many" => Ok(self.check_many(command)),
            "cycle" => self.cycle(command).await,
            "bare" => {
                bare(text(command, "server"), text(command, "name"), 1).await;
                Ok(json!({"ok": true}))
            }
            "bare_cycle" => {
                let count = command["count"].as_u64().unwrap();
                Ok(json!({"nanos": bare(text(command, "server"), text(command, "name"), count).await}))
            }
            other => panic!("no command {other:?}"),
        }
    }

    async fn connect(&self, command: &Value) -> Answered {
        let servers = command["servers"].as_array().into_iter().flatten();
        let mut servers: Vec<_> = servers.map(|one| one.as_str().unwrap().to_owned()).collect();
        if let Some(rule) = self.1 {
            servers = vec![liar::relay(rule, servers).await];
        }
        let client = match servers.split_first() {
            None => Client::from_env()?,
            Some((first, others)) => {
                let mut builder = others.iter().fold(Client::builder(first), |all, one| all.endpoint(one));
                let file = |name: &str| command["tls"][name].as_str();
                if let Some(ca) = file("ca") {
                    builder = builder.tls_ca(ca);
                }
                if let (Some(cert), Some(key)) = (file("cert"), file("key")) {
                    builder = builder.tls_identity(cert, key);
                }
                builder.connect()?
            }
        };
        self.0.lock().unwrap().clients.insert(text(command, "client").into(), client);
        Ok(json!({"ok": true}))
    }

    fn close(&self, name: &str) -> Value {
        let mut state = self.0.lock().unwrap();
        state.clients.remove(name);
        let State { guards, owners, observers, .. } = &mut *state;
        observers.values().filter(|(client, _)| client == name).for_each(|(_, task)| task.abort());
        guards.retain(|lock, _| owners.get(lock).is_none_or(|owner| owner != name));
        json!({"ok": true})
    }

    fn client(&self, command: &Value) -> Result<Client, Failure> {
        self.0.lock().unwrap().clients.get(text(command, "client")).cloned().ok_or(Failure::Closed)
    }

    fn guard(&self, lock: &str) -> Result<Arc<Guard>, Failure> {
        self.0.lock().unwrap().guards.get(lock).cloned().ok_or(Failure::Closed)
    }

    /// Runs a call until it ends or is cancelled.
    async fn cancellable(&self, command: &Value, call: impl Future<Output = Answered>) -> Answered {
        let (cancel, cancelled) = oneshot::channel();
        let id = command["id"].as_u64().unwrap();
        self.0.lock().unwrap().calls.insert(id, cancel);
        let answer = tokio::select! {
            answer = call => answer,
            Ok(()) = cancelled => Ok(json!({"cancelled": true})),
        };
        self.0.lock().unwrap().calls.remove(&id);
        answer
    }

    fn cancel(&self, id: u64) -> Value {
        if let Some(cancel) = self.0.lock().unwrap().calls.remove(&id) {
            let _ = cancel.send(());
        }
        json!({"ok": true})
    }

    async fn try_once(&self, command: &Value) -> Answered {
        let mut call = self.client(command)?.acquire(text(command, "name"));
        if command["linger_ms"].is_u64() {
            call = call.linger(millis(command, "linger_ms"));
        }
        if command["min_hold_ms"].is_u64() {
            call = call.min_hold(millis(command, "min_hold_ms"));
        }
        if command["keep"] == true {
            call = call.keep_on_disconnect();
        }
        if let Some(owner) = command["owner"].as_str() {
            call = call.owner(owner);
        }
        if command["shared"] == true {
            call = call.shared();
        }
        if let Some(limit) = number(command, "limit") {
            call = call.limit(limit);
        }
        if let Some(weight) = number(command, "weight") {
            call = call.weight(weight);
        }
        if let Some(value) = command["value"].as_str() {
            call = call.value(value);
        }
        let outcome = call.also(also(command)).await?;
        Ok(self.outcome(command, outcome))
    }

    async fn wait_for(&self, command: &Value) -> Result<Outcome, Failure> {
        let mut call = self.client(command)?.wait_acquire(text(command, "name"));
        if command["wait_ms"].is_u64() {
            call = call.max_wait(millis(command, "wait_ms"));
        }
        if command["poll_ms"].is_u64() {
            call = call.poll_interval(millis(command, "poll_ms"));
        }
        if command["linger_ms"].is_u64() {
            call = call.linger(millis(command, "linger_ms"));
        }
        if command["min_hold_ms"].is_u64() {
            call = call.min_hold(millis(command, "min_hold_ms"));
        }
        if command["keep"] == true {
            call = call.keep_on_disconnect();
        }
        if let Some(owner) = command["owner"].as_str() {
            call = call.owner(owner);
        }
        if command["shared"] == true {
            call = call.shared();
        }
        if let Some(limit) = number(command, "limit") {
            call = call.limit(limit);
        }
        if let Some(weight) = number(command, "weight") {
            call = call.weight(weight);
        }
        if let Some(value) = command["value"].as_str() {
            call = call.value(value);
        }
        Ok(call.also(also(command)).await?)
    }

    async fn lease(&self, command: &Value) -> Answered {
        let mut call = self.client(command)?.lease(text(command, "name"));
        if command["ttl_ms"].is_u64() {
            call = call.ttl(millis(command, "ttl_ms"));
        }
        if command["wait_ms"].is_u64() {
            call = call.wait(millis(command, "wait_ms"));
        }
        if command["linger_ms"].is_u64() {
            call = call.linger(millis(command, "linger_ms"));
        }
        if command["min_hold_ms"].is_u64() {
            call = call.min_hold(millis(command, "min_hold_ms"));
        }
        if let Some(owner) = command["owner"].as_str() {
            call = call.owner(owner);
        }
        if command["shared"] == true {
            call = call.shared();
        }
        if let Some(limit) = number(command, "limit") {
            call = call.limit(limit);
        }
        Ok(match call.await? {
            Outcome::NotAcquired(why) => not_acquired(&why),
            Outcome::Acquired(lease) => {
                let token = lease.fencing_token().expect("it was not adopted");
                let answer = granted(lease.lock_id(), token, lease.permit());
                self.0.lock().unwrap().leases.insert(text(command, "lock").into(), Arc::new(lease));
                answer
            }
        })
    }

    async fn renew(&self, lock: &str) -> Answered {
        let lease = self.0.lock().unwrap().leases.get(lock).cloned().ok_or(Failure::Closed)?;
        lease.renew().await?;
        Ok(json!({"renewed": {"remaining_ms": lease.remaining().as_millis() as u64}}))
    }

    async fn adopt_lease(&self, command: &Value) -> Answered {
        let lease = self.client(command)?.adopt_lease(text(command, "name"), text(command, "lock_id")).await?;
        let answer = json!({"renewed": {"remaining_ms": lease.remaining().as_millis() as u64}});
        self.0.lock().unwrap().leases.insert(text(command, "lock").into(), Arc::new(lease));
        Ok(answer)
    }

    async fn wait(&self, command: &Value) -> Answered {
        let outcome = self.wait_for(command).await?;
        Ok(self.outcome(command, outcome))
    }

    async fn adopt(&self, command: &Value) -> Answered {
        let client = self.client(command)?;
        let outcome = client.adopt(text(command, "name"), text(command, "lock_id")).await?;
        Ok(self.outcome(command, outcome))
    }

    /// Holds the lock in a task of its own, to whose end the guard belongs.
    async fn enter(&self, command: &Value) -> Answered {
        match self.wait_for(command).await? {
            Outcome::NotAcquired(why) => Ok(refused(command, &why)),
            Outcome::Acquired(guard) => {
                let answer = guarded(&guard);
                let (leave, left) = oneshot::channel();
                let scope = tokio::spawn(async move {
                    let _guard = guard;
                    assert!(!left.await.unwrap_or(false), "the scope fails, as it was told to");
                });
                self.0.lock().unwrap().scopes.insert(text(command, "lock").into(), (leave, scope));
                Ok(answer)
            }
        }
    }

    async fn leave(&self, command: &Value) -> Answered {
        let fail = command["fail"].as_bool().unwrap_or(false);
        let scope = self.0.lock().unwrap().scopes.remove(text(command, "lock"));
        let (leave, scope) = scope.ok_or(Failure::Closed)?;
        let _ = leave.send(fail);
        Ok(json!({"left": scope.await.is_err() == fail}))
    }

    fn outcome(&self, command: &Value, outcome: Outcome) -> Value {
        let guard = match outcome {
            Outcome::NotAcquired(why) => return refused(command, &why),
            Outcome::Acquired(guard) => guard,
        };
        let answer = guarded(&guard);
        let lock = text(command, "lock").to_owned();
        let lost = guard.lost_token();
        let guard = Arc::new(guard);
        // Only the token keeps the task, so that the guard can be dropped.
        let weak = Arc::downgrade(&guard);
        tokio::spawn({
            let lock = lock.clone();
            async move {
                lost.cancelled().await;
                if let Some(Err(Error::Lost { reason, .. })) = weak.upgrade().map(|guard| guard.check()) {
                    say(&json!({"notice": "lost", "lock": lock, "reason": loss(reason)}));
                }
            }
        });
        let mut state = self.0.lock().unwrap();
        state.owners.insert(lock.clone(), text(command, "client").into());
        state.guards.insert(lock, guard);
        answer
    }

    async fn release(&self, command: &Value) -> Answered {
        let lease = self.0.lock().unwrap().leases.remove(text(command, "lock"));
        if let Some(lease) = lease {
            lease.release().await?;
            return Ok(json!({"released": true}));
        }
        let guard = self.0.lock().unwrap().guards.remove(text(command, "lock"));
        let Some(mut guard) = guard else { return Ok(json!({"released": false})) };
        // Its worker looks at it now and then.
        let guard = loop {
            match Arc::try_unwrap(guard) {
                Ok(guard) => break guard,
                Err(shared) => guard = shared,
            }
            tokio::task::yield_now().await;
        };
        guard.release().await?;
        Ok(json!({"released": true}))
    }

    fn check(&self, lock: &str) -> Answered {
        let lease = self.0.lock().unwrap().leases.get(lock).cloned();
        let remaining = match lease {
            Some(lease) => lease.check().map(|()| lease.remaining())?,
            None => {
                let guard = self.guard(lock)?;
                guard.check().map(|()| guard.remaining())?
            }
        };
        Ok(json!({"held": {"remaining_ms": remaining.as_millis() as u64}}))
    }

    async fn get(&self, command: &Value) -> Answered {
        let info = self.client(command)?.get(text(command, "name"), None).await?;
        Ok(json!({
            "held": info.state == LockState::Held,
            "state": info.state.to_string().to_uppercase(),
            "owner": info.owner,
            "token": info.fencing_token,
            "held_ms": info.held_for.map(|held_for| held_for.as_millis() as u64),
            "etag": info.etag,
            "shared_count": info.shared_count,
        }))
    }

    /// Tells what a lock is, from now on.
    fn observe(&self, command: &Value) -> Answered {
        let (own, name) = (text(command, "as").to_owned(), text(command, "name"));
        let mut observe = self.client(command)?.observe(name);
        let task = tokio::spawn({
            let own = own.clone();
            async move {
                loop {
                    match observe.next().await {
                        Ok(seen) => say(&json!({
                            "notice": "seen",
                            "as": own,
                            "state": seen.state.to_string().to_uppercase(),
                            "owner": seen.owner,
                            "value": seen.value.map(|value| String::from_utf8(value).expect("UTF-8")),
                            "token": seen.fencing_token,
                        })),
                        Err(error) => {
                            let error = json!({"kind": kind(&error), "message": error.to_string()});
                            return say(&json!({"notice": "seen", "as": own, "error": error}));
                        }
                    }
                }
            }
        });
        self.0.lock().unwrap().observers.insert(own, (text(command, "client").to_owned(), task));
        Ok(json!({"ok": true}))
    }

    fn work(&self, command: &Value) -> Answered {
        let (lock, every) = (text(command, "lock").to_owned(), millis(command, "every_ms"));
        self.guard(&lock)?;
        let testee = self.clone();
        tokio::spawn(async move {
            loop {
                let now = clock_gettime(ClockId::Monotonic);
                match testee.check(&lock) {
                    Ok(_) => {
                        let at = now.tv_sec * 1_000_000_000 + now.tv_nsec;
                        say(&json!({"notice": "acting", "lock": lock, "at": at}));
                    }
                    // While its stream is broken, it only waits.
                    Err(Failure::Client(Error::Unavailable { .. })) => {}
                    Err(_) => return,
                }
                sleep(every).await;
            }
        });
        Ok(json!({"ok": true}))
    }

    async fn many(&self, command: &Value) -> Answered {
        let (client, prefix) = (self.client(command)?, text(command, "prefix"));
        let calls = (0..command["count"].as_u64().unwrap()).map(|index| {
            let name = format!("{prefix}{index}");
            let call = client.acquire(&name);
            async move { (name, call.await) }
        });
        let mut granted = 0;
        for (name, outcome) in join_all(calls).await {
            if let Outcome::Acquired(guard) = outcome? {
                let mut state = self.0.lock().unwrap();
                state.owners.insert(name.clone(), text(command, "client").into());
                state.guards.insert(name, Arc::new(guard));
                granted += 1;
            }
        }
        Ok(json!({"granted": granted}))
    }

    fn check_many(&self, command: &Value) -> Value {
        let prefix = text(command, "prefix");
        let names = (0..command["count"].as_u64().unwrap()).map(|index| format!("{prefix}{index}"));
        json!({"held": names.filter(|name| self.check(name).is_ok()).count()})
    }

    async fn cycle(&self, command: &Value) -> Answered {
        let (client, name) = (self.client(command)?, text(command, "name"));
        let start = Instant::now();
        for _ in 0..command["count"].as_u64().unwrap() {
            match client.acquire(name).await? {
                Outcome::Acquired(guard) => guard.release().await?,
                Outcome::NotAcquired(why) => panic!("{name:?} is not free: {why}"),
            }
        }
        Ok(json!({"nanos": start.elapsed().as_nanos() as u64}))
    }
}

/// Begins a lock on a Session and ends it, by the generated stub alone, so many times. Returns the nanoseconds.
async fn bare(server: &str, name: &str, count: u64) -> u64 {
    let mut stub = LockServiceClient::connect(server.to_owned()).await.unwrap();
    let (requests, queue) = mpsc::unbounded_channel();
    let ask = |kind| requests.send(SessionRequest { kind: Some(kind) }).unwrap();
    ask(session_request::Kind::Open(OpenSession::default()));
    let mut responses = stub.session(UnboundedReceiverStream::new(queue)).await.unwrap().into_inner();
    responses.message().await.unwrap().expect("an answer to open");
    let start = Instant::now();
    for lock_ref in 1..=count as i64 {
        let lock = Some(LockSpec { name: name.into(), ..LockSpec::default() });
        ask(session_request::Kind::Begin(BeginLock { lock_ref, lock, ..BeginLock::default() }));
        responses.message().await.unwrap().expect("the grant");
        ask(session_request::Kind::End(EndLock { lock_ref }));
        responses.message().await.unwrap().expect("the end");
    }
    start.elapsed().as_nanos() as u64
}

fn loss(reason: LostReason) -> &'static str {
    match reason {
        LostReason::Expired => "EXPIRED",
        LostReason::Gone => "GONE",
        LostReason::TakenOver => "TAKEN_OVER",
        LostReason::Revoked => "REVOKED",
        LostReason::Released => "RELEASED",
        _ => "UNKNOWN",
    }
}

fn granted(lock_id: &str, token: i64, permit: Option<u32>) -> Value {
    json!({"granted": grant(lock_id, token, permit)})
}

fn grant(lock_id: &str, token: i64, permit: Option<u32>) -> Value {
    let mut grant = json!({"token": token, "lock_id": lock_id});
    if let Some(permit) = permit {
        grant["permit"] = json!(permit);
    }
    grant
}

/// Tells of a guard, and of all its locks.
fn guarded(guard: &Guard) -> Value {
    let mut answer = granted(&guard.lock_id(), guard.fencing_token(), guard.permit());
    let also = guard.locks().into_iter().skip(1).map(|lock| {
        let mut also = grant(&lock.lock_id, lock.fencing_token, lock.permit);
        also["name"] = json!(lock.name);
        also
    });
    let also: Vec<_> = also.collect();
    if !also.is_empty() {
        answer["granted"]["also"] = json!(also);
    }
    answer
}

/// Returns the names of the locks that are wanted together with the first.
fn also(command: &Value) -> Vec<String> {
    let names = command["also"].as_array().into_iter().flatten();
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// Tells why a lock was not acquired, and which, if there were several.
fn refused(command: &Value, why: &NotAcquired) -> Value {
    let mut answer = not_acquired(why);
    if !also(command).is_empty() {
        answer["not_acquired"]["lock"] = json!(why.lock);
    }
    answer
}

/// Returns a number that is told, if one is. What does not fit becomes the largest that does, which no client takes.
fn number(command: &Value, field: &str) -> Option<u32> {
    let told = &command[field];
    told.is_number().then(|| told.as_u64().and_then(|told| told.try_into().ok()).unwrap_or(u32::MAX))
}

fn not_acquired(why: &NotAcquired) -> Value {
    use lockbroker_client::Reason;
    let reason = match why.reason {
        Reason::Held => "HELD",
        Reason::Lingering => "LINGERING",
        Reason::MaxWait => "MAX_WAIT",
        Reason::NotReattachable => "NOT_REATTACHABLE",
        _ => "UNKNOWN",
    };
    json!({"not_acquired": {"reason": reason, "owner": why.owner}})
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Endpoint { .. } => "ENDPOINT",
        Error::Tls { .. } => "TLS",
        Error::Handshake { .. } => "HANDSHAKE",
        Error::Protocol { .. } => "PROTOCOL",
        Error::Invalid { .. } => "INVALID",
        Error::Unavailable { .. } => "UNAVAILABLE",
        Error::Exhausted { .. } => "EXHAUSTED",
        Error::Denied { .. } => "DENIED",
        _ => "UNEXPECTED",
    }
}

fn text<'a>(command: &'a Value, field: &str) -> &'a str {
    command[field].as_str().unwrap_or_else(|| panic!("no {field:?} in {command}"))
}

fn millis(command: &Value, field: &str) -> Duration {
    Duration::from_millis(command[field].as_u64().unwrap_or_else(|| panic!("no {field:?} in {command}")))
}
