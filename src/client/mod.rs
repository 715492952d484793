//! The client: locks as values that release themselves.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use lockbroker::client::{Client, Outcome};
//!
//! # async fn example() -> Result<(), lockbroker::client::Error> {
//! let client = Client::connect("http://127.0.0.1:50551")?;
//! match client.wait_acquire("reports/monthly").max_wait(Duration::from_secs(10)).await? {
//!     Outcome::Acquired(lock) => {
//!         tokio::select! {
//!             () = write_report(lock.fencing_token()) => lock.release().await?,
//!             reason = lock.lost() => eprintln!("stopped half-way: {reason}"),
//!         }
//!     }
//!     Outcome::NotAcquired(why) => println!("somebody else is at it: {why}"),
//! }
//! # Ok(())
//! # }
//! # async fn write_report(_token: i64) {}
//! ```
//!
//! All locks of a client share one stream to a broker, and their lives hang on it: when the process ends, however
//! it ends, they are released. While it lives the client sends heartbeats, and when the broker goes away or falls
//! silent it moves its locks to another one; a lock changes brokers without being free in between.
//!
//! A lock over a network is advisory: a holder that is stopped for longer than its lock's ttl wakes up without it.
//! What must not be corrupted checks the [fencing token](Guard::fencing_token).
//!
//! The client runs on tokio; it needs only the crate's `default-features = false`.

mod error;
mod guard;
mod link;
mod locks;
mod request;
mod session;
#[cfg(all(test, feature = "server"))]
mod tests;
mod validity;

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

pub use error::{Error, LostReason};
pub use guard::Guard;
pub use request::{Acquire, NotAcquired, Outcome, Reason, WaitAcquire};

use crate::clock::sleep_until;
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::{self, GetLockRequest, LockSpec, ReleaseRequest};
use guard::{Hold, lock};
use session::{Command, Key, Reply, Session};

/// How long to wait for an answer unless the [builder](ClientBuilder::answer_timeout) says otherwise.
pub const DEFAULT_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks brokers for locks. Cheap to clone; clones share the stream and its task.
///
/// When the last clone and the last guard are gone, the stream ends.
#[derive(Clone)]
pub struct Client {
    settings: Arc<Settings>,
    commands: mpsc::UnboundedSender<Command>,
}

/// Longer than any span that anybody means, and short enough to be added to any clock's now.
const FAR: Duration = Duration::from_secs(u32::MAX as u64);

/// How connections are made.
type Connect = Box<dyn Fn() -> Connecting + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<Channel, tonic::transport::Error>> + Send>>;

/// What a client and its task are told at the beginning, and what they share.
struct Settings {
    /// The endpoint as given, for people.
    name: String,
    /// Makes a new connection.
    connect: Connect,
    /// For single calls; connects itself, and anew when it has to.
    channel: Channel,
    ttl: Option<Duration>,
    owner: String,
    answer_timeout: Duration,
    last_key: AtomicU64,
    /// Why there is no session, if there is none.
    trouble: Mutex<Option<String>>,
}

/// Sets up a [`Client`].
#[derive(Debug, Clone)]
#[must_use = "does nothing until `connect`"]
pub struct ClientBuilder {
    endpoint: String,
    ttl: Option<Duration>,
    owner: String,
    answer_timeout: Duration,
}

impl ClientBuilder {
    /// The ttl of all locks of the client: for how long one outlives a holder of which nothing is heard. 5 s up to
    /// the broker's `--max-ttl`, to the millisecond. Default: the broker's, 15 s.
    pub fn ttl(mut self, ttl: Duration) -> ClientBuilder {
        self.ttl = Some(ttl);
        self
    }

    /// The label of all locks for which no other is given: shown to others who ask for them; up to 128 bytes
    /// without control characters. Default: none.
    pub fn owner(mut self, owner: impl Into<String>) -> ClientBuilder {
        self.owner = owner.into();
        self
    }

    /// How long a broker's answer may take, connecting included and beyond the wait that was asked for. After that
    /// a call fails with [`Error::Unavailable`]. Default: [`DEFAULT_ANSWER_TIMEOUT`].
    pub fn answer_timeout(mut self, answer_timeout: Duration) -> ClientBuilder {
        self.answer_timeout = answer_timeout.min(FAR);
        self
    }

    /// Makes the client. Connects only when it is first asked for something.
    ///
    /// # Errors
    /// [`Error::Endpoint`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, to which the client then belongs.
    pub fn connect(self) -> Result<Client, Error> {
        let endpoint = parse_endpoint(&self.endpoint)?;
        let channel = endpoint.connect_lazy();
        let connect = move || -> Connecting {
            let endpoint = endpoint.clone();
            Box::pin(async move { endpoint.connect().await })
        };
        Ok(self.over(Box::new(connect), channel))
    }

    fn over(self, connect: Connect, channel: Channel) -> Client {
        let settings = Arc::new(Settings {
            channel,
            name: self.endpoint,
            connect,
            ttl: self.ttl,
            owner: self.owner,
            answer_timeout: self.answer_timeout,
            last_key: AtomicU64::new(0),
            trouble: Mutex::new(None),
        });
        let (commands, queue) = mpsc::unbounded_channel();
        tokio::spawn(Session::new(Arc::clone(&settings), queue).run());
        Client { settings, commands }
    }
}

impl Client {
    /// A client with all defaults for the brokers at `endpoint`: `http://HOST:PORT`, `HOST:PORT` or `unix:/PATH`.
    /// Connects only when it is first asked for something.
    ///
    /// # Errors
    /// [`Error::Endpoint`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, to which the client then belongs.
    pub fn connect(endpoint: impl Into<String>) -> Result<Client, Error> {
        Client::builder(endpoint).connect()
    }

    /// As [`connect`](Client::connect), with settings.
    pub fn builder(endpoint: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            endpoint: endpoint.into(),
            ttl: None,
            owner: String::new(),
            answer_timeout: DEFAULT_ANSWER_TIMEOUT,
        }
    }

    /// Asks for the lock `name`, once: 1 to 128 bytes without control characters. Await what is returned.
    pub fn acquire(&self, name: &str) -> Acquire {
        Acquire::new(self.clone(), name)
    }

    /// Queues for the lock `name`, for up to [`max_wait`](WaitAcquire::max_wait). Await what is returned.
    pub fn wait_acquire(&self, name: &str) -> WaitAcquire {
        WaitAcquire::new(self.clone(), name)
    }

    /// Releases the grant that `lock_id` names, whoever holds it and at whichever broker. Of a lock id that has
    /// ended: changes nothing and says so. Its guard, if there is one, is told.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no broker answers in time; the release may then still happen. [`Error::Invalid`]
    /// if `lock_id` is none.
    ///
    /// # Cancel safety
    /// The release may happen all the same when the future is dropped.
    pub async fn release(&self, name: &str, lock_id: &str) -> Result<ReleaseOutcome, Error> {
        self.settings.in_time(name, self.settings.release(name, lock_id)).await
    }

    /// Looks at a lock without touching it. With the lock id of the present grant, and at the broker that keeps it,
    /// the answer says for how long it is valid.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no broker answers in time or its store is away; [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn get(&self, name: &str, lock_id: Option<&str>) -> Result<LockInfo, Error> {
        let request = GetLockRequest { name: name.into(), lock_id: lock_id.map(String::from).unwrap_or_default() };
        let mut service = LockServiceClient::new(self.settings.channel.clone());
        let call = async { service.get_lock(request).await.map_err(|status| self.settings.failure(name, &status)) };
        let answer = self.settings.in_time(name, call).await?.into_inner();
        let state = match answer.state() {
            proto::get_lock_response::State::Free => LockState::Free,
            proto::get_lock_response::State::Held => LockState::Held,
            proto::get_lock_response::State::Lingering => LockState::Lingering,
            proto::get_lock_response::State::Unspecified => return Err(unexpected(name, "a lock without a state")),
        };
        Ok(LockInfo {
            state,
            expires_in: answer.expires_in.as_ref().and_then(from_wire),
            valid_for: answer.valid_for.as_ref().and_then(from_wire),
            owner: answer.owner,
        })
    }

    fn lock_spec(&self, name: &str) -> LockSpec {
        LockSpec { name: name.into(), linger: None, owner: self.settings.owner.clone() }
    }

    fn next_key(&self) -> Key {
        self.settings.last_key.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.settings.name).finish_non_exhaustive()
    }
}

/// A lock as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// Whether somebody has it.
    pub state: LockState,
    /// The holder's label; empty if it has none or it is not known.
    pub owner: String,
    /// When the lock is free at the latest if nobody renews it; None when free.
    pub expires_in: Option<Duration>,
    /// For how long the lock id that was given is good, counted from when the call was made.
    pub valid_for: Option<Duration>,
}

/// Whether somebody has a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// Nobody has it.
    Free,
    /// Somebody holds it.
    Held,
    /// It was released and nobody can acquire it yet.
    Lingering,
}

impl fmt::Display for LockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockState::Free => "free",
            LockState::Held => "held",
            LockState::Lingering => "lingering",
        })
    }
}

/// What [`Client::release`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseOutcome {
    /// It ended the grant.
    Released,
    /// Nothing: nobody holds the lock.
    NotHeld,
    /// Nothing: somebody else holds the lock.
    HeldByAnother,
}

impl Settings {
    fn set_trouble(&self, trouble: Option<&str>) {
        *lock(&self.trouble) = trouble.map(String::from);
    }

    fn why_no_answer(&self) -> String {
        match &*lock(&self.trouble) {
            Some(trouble) => format!("no session with a broker at {}: {trouble}", self.name),
            None => format!("no answer from the broker at {} within {:?}", self.name, self.answer_timeout),
        }
    }

    /// Bounds a single call.
    async fn in_time<T>(&self, lock: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::time::timeout(self.answer_timeout, call).await.unwrap_or_else(|_| {
            let message = format!("no answer from the broker at {} within {:?}", self.name, self.answer_timeout);
            Err(Error::unavailable(lock, message))
        })
    }

    async fn release(&self, name: &str, lock_id: &str) -> Result<ReleaseOutcome, Error> {
        let request = ReleaseRequest { name: name.into(), lock_id: lock_id.into() };
        match LockServiceClient::new(self.channel.clone()).release(request).await {
            Ok(answer) => match answer.get_ref().outcome() {
                proto::release_response::Outcome::Released => Ok(ReleaseOutcome::Released),
                proto::release_response::Outcome::NotHeld => Ok(ReleaseOutcome::NotHeld),
                proto::release_response::Outcome::HeldByAnother => Ok(ReleaseOutcome::HeldByAnother),
                proto::release_response::Outcome::Unspecified => Err(unexpected(name, "a release without an outcome")),
            },
            Err(status) => Err(self.failure(name, &status)),
        }
    }

    /// The failure of a single call: what the broker says, or why there is none.
    fn failure(&self, lock: &str, status: &tonic::Status) -> Error {
        match status.source() {
            Some(cause) => {
                Error::unavailable(lock, format!("no connection to a broker at {}: {}", self.name, chain(cause)))
            }
            None => Error::from_status(lock, status),
        }
    }
}

/// Releases a lock whose stream cannot say whether it did: at whichever broker answers, for as long as the lock has
/// not run out by itself.
async fn release_elsewhere(settings: Arc<Settings>, name: String, hold: Arc<Hold>, reply: Option<Reply>) {
    let result = match hold.lock_id() {
        None => Err(Error::Lost { lock: name, reason: LostReason::Expired }),
        Some(lock_id) => {
            let one = || settings.in_time(&name, settings.release(&name, &lock_id));
            let pace = ExponentialBuilder::default().with_min_delay(Duration::from_millis(50));
            let pace = pace.with_max_delay(Duration::from_secs(1)).without_max_times().with_jitter();
            let release = one.retry(pace).when(|error| matches!(error, Error::Unavailable { .. }));
            tokio::select! {
                // Whoever ended it, it is not held any more.
                result = release => result.map(|_| ()),
                () = sleep_until(hold.until()) => Err(Error::unavailable(
                    &name,
                    "no broker confirmed the release before the lock ran out by itself",
                )),
            }
        }
    };
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

fn parse_endpoint(text: &str) -> Result<Endpoint, Error> {
    let wrong = |reason: String| Error::Endpoint { endpoint: text.into(), reason };
    if text.starts_with("https:") {
        return Err(wrong("this client has no TLS".into()));
    }
    let full = if text.starts_with("unix:") || text.contains("://") { text.into() } else { format!("http://{text}") };
    // HTTP/2 keepalive stays off: it would close a stream that is silent, and closing is the client's word.
    Endpoint::from_shared(full).map_err(|error| wrong(chain(&error)))
}

fn unexpected(lock: &str, message: &str) -> Error {
    Error::Unexpected { lock: lock.into(), code: tonic::Code::Ok, message: message.into() }
}

/// An error with all its causes, in one line, without what says nothing or says it twice.
fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| (*error).source()).map(ToString::to_string);
    let mut texts: Vec<String> = all.filter(|text| text != "transport error").collect();
    texts.dedup();
    texts.join(": ")
}

/// Rounded up to whole milliseconds, as everywhere on the wire; the longest that fits if it does not.
fn to_wire(span: Duration) -> prost_types::Duration {
    let millis = span.as_nanos().div_ceil(1_000_000).min(i64::MAX as u128) as u64;
    prost_types::Duration { seconds: (millis / 1_000) as i64, nanos: (millis % 1_000) as i32 * 1_000_000 }
}

/// None if it is negative. At most [`FAR`].
fn from_wire(span: &prost_types::Duration) -> Option<Duration> {
    Duration::try_from(*span).ok().map(|span| span.min(FAR))
}
