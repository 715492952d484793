//! The Rust client. A lock is a value that releases itself.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use lockbroker_client::{Client, Outcome};
//!
//! # async fn example() -> Result<(), lockbroker_client::Error> {
//! let client = Client::connect("http://127.0.0.1:28551")?;
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
//! All locks of a client share one stream to a broker. When the process ends, in whatever way, the stream ends and the
//! locks are released. While the process lives, the client sends heartbeats. When the broker goes away or falls silent,
//! the client moves its locks to another broker, and they are not free in between.
//!
//! A lock over a network is advisory: a holder that is stopped for longer than its lock's ttl wakes up without the
//! lock. Let whatever must not be corrupted check the [fencing token](Guard::fencing_token).
//!
//! A program that cannot keep a stream open takes a [lease](Client::lease).
//!
//! The client runs on tokio; [`blocking`] is for programs that do not. `https://` endpoints are the crate's feature `tls`, which is on by default.

pub mod blocking;
mod brokers;
#[doc(hidden)]
pub mod clock;
mod connector;
// Public for the simulator alone: no part of the interface.
#[doc(hidden)]
pub mod core;
mod environment;
mod error;
mod error_reason;
#[doc(hidden)]
pub mod files;
mod guard;
mod lease;
mod mutex;
mod observe;
mod plain;
pub mod proto;
mod request;
mod session;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(all(test, feature = "server"))]
mod tests;
#[cfg(feature = "tls")]
#[doc(hidden)]
pub mod tls;
mod trouble;
mod wire;

use std::fmt;
#[cfg(feature = "tls")]
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

pub use error::{Error, LostReason};
#[doc(hidden)]
pub use error::{broken, chain};
pub use error_reason::{ERROR_DOMAIN, ErrorReason};
pub use guard::{Guard, HeldLock};
pub use lease::{AcquireLease, Lease};
pub use observe::{Observe, Observed, ObservedState};
pub use request::{Acquire, NotAcquired, Outcome, Reason, WaitAcquire};

use crate::clock::Moment;
use crate::core::{Key, LockSpec};
use crate::proto::GetLockRequest;
#[cfg(feature = "tls")]
use crate::tls::ClientFiles;
use brokers::{Broker, Brokers, Connecting};
#[doc(hidden)]
pub use connector::{Connector, plain_endpoint};
use session::{Command, Session};
use settings::{ClientSettings, unexpected};
use wire::{FAR, from_wire};

/// The broker of a client for which neither the program nor the environment names one.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:28551";

/// The default of [`ClientBuilder::answer_timeout`].
pub const DEFAULT_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks brokers for locks. Cheap to clone; clones share the stream and its task.
///
/// The stream ends when the last clone and the last guard are gone.
#[derive(Clone)]
pub struct Client {
    settings: Arc<ClientSettings>,
    commands: mpsc::UnboundedSender<Command>,
}

/// Sets up a [`Client`].
#[derive(Debug, Clone)]
#[must_use = "does nothing until `connect`"]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    ttl: Option<Duration>,
    owner: String,
    answer_timeout: Duration,
    #[cfg(feature = "tls")]
    tls: ClientFiles,
}

impl ClientBuilder {
    /// Adds another broker of the same store. They are asked in turn: one that does not answer costs no more than its
    /// share of the [answer timeout](ClientBuilder::answer_timeout).
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> ClientBuilder {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Sets the ttl of all locks of the client: for so long a lock outlives a holder that falls silent. 5 s up to the
    /// broker's `--max-ttl`, to the millisecond. Default: the broker's, 15 s.
    pub fn ttl(mut self, ttl: Duration) -> ClientBuilder {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the label of all locks that have none of their own. Others who ask for such a lock see it. Up to 128 bytes
    /// without control characters. Default: none.
    pub fn owner(mut self, owner: impl Into<String>) -> ClientBuilder {
        self.owner = owner.into();
        self
    }

    /// Sets the longest time that a broker's answer may take, connecting included, beyond the wait that was asked for.
    /// After that a call fails with [`Error::Unavailable`]. Default: [`DEFAULT_ANSWER_TIMEOUT`].
    pub fn answer_timeout(mut self, answer_timeout: Duration) -> ClientBuilder {
        self.answer_timeout = answer_timeout.min(FAR);
        self
    }

    /// Sets the PEM file with the authorities that may sign the broker's certificate, for an `https://` endpoint. Read
    /// again for every connection. Default: the authorities that the system trusts.
    #[cfg(feature = "tls")]
    pub fn tls_ca(mut self, file: impl Into<PathBuf>) -> ClientBuilder {
        self.tls.ca = Some(file.into());
        self
    }

    /// Sets the PEM files with the client's certificate and its private key, for an `https://` endpoint. Read again
    /// for every connection. Default: none.
    #[cfg(feature = "tls")]
    pub fn tls_identity(mut self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> ClientBuilder {
        self.tls.identity = Some((cert.into(), key.into()));
        self
    }

    /// Makes the client. Connects only when it is first asked for something.
    ///
    /// # Errors
    /// [`Error::Endpoint`]; with TLS also [`Error::Tls`].
    ///
    /// # Panics
    /// Panics outside of a tokio runtime. The client belongs to that runtime.
    pub fn connect(self) -> Result<Client, Error> {
        let brokers = self.connectors()?.into_iter().map(|connector| {
            let channel = connector.connect_lazy();
            let (name, trouble) = (connector.name().to_owned(), connector.trouble());
            let connect = move || -> Connecting {
                let connector = connector.clone();
                Box::pin(async move { connector.connect().await })
            };
            Broker { name, connect: Box::new(connect), channel, trouble }
        });
        let brokers = brokers.collect();
        Ok(self.over(brokers))
    }

    /// Makes a connector for each broker.
    #[doc(hidden)]
    pub fn connectors(&self) -> Result<Vec<Connector>, Error> {
        let connector = |endpoint: &String| {
            Connector::new(
                endpoint,
                #[cfg(feature = "tls")]
                &self.tls,
            )
        };
        self.endpoints.iter().map(connector).collect()
    }

    fn over(self, brokers: Vec<Broker>) -> Client {
        let settings = Arc::new(ClientSettings {
            brokers: Brokers::new(brokers),
            ttl: self.ttl,
            owner: self.owner,
            answer_timeout: self.answer_timeout,
            last_key: AtomicU64::new(0),
        });
        let (commands, queue) = mpsc::unbounded_channel();
        let chance = Box::new(rand::random::<f64>);
        tokio::spawn(Session::new(Arc::clone(&settings), queue, chance).run());
        Client { settings, commands }
    }
}

impl Client {
    /// Makes a client with all defaults for the brokers at `endpoint`: `http://HOST:PORT`, `HOST:PORT`, `unix:/PATH`
    /// or, with the crate's feature `tls`, `https://HOST:PORT`. Connects only when it is first asked for something.
    ///
    /// # Errors
    /// Fails with [`Error::Endpoint`] if `endpoint` has none of these forms.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime. The client belongs to that runtime.
    pub fn connect(endpoint: impl Into<String>) -> Result<Client, Error> {
        Client::builder(endpoint).connect()
    }

    /// Makes a client for the brokers that the environment names, as for the command line: `LOCKBROKER_SERVER`, with
    /// commas between several, and, with the crate's feature `tls`, `LOCKBROKER_CLIENT_TLS_CA`,
    /// `LOCKBROKER_CLIENT_TLS_CERT` and `LOCKBROKER_CLIENT_TLS_KEY`. Without them it is the broker at [`DEFAULT_SERVER`].
    ///
    /// # Errors
    /// Fails with [`Error::Endpoint`] or [`Error::Tls`] if a variable cannot be used. An empty one is an error: without it,
    /// locks would be taken that others do not see.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime. The client belongs to that runtime.
    pub fn from_env() -> Result<Client, Error> {
        environment::builder(|name| std::env::var_os(name))?.connect()
    }

    /// Begins a client with other settings than [`connect`](Client::connect).
    pub fn builder(endpoint: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            endpoints: vec![endpoint.into()],
            ttl: None,
            owner: String::new(),
            answer_timeout: DEFAULT_ANSWER_TIMEOUT,
            #[cfg(feature = "tls")]
            tls: ClientFiles::default(),
        }
    }

    /// Asks for the lock `name`, once: 1 to 128 bytes without control characters. Await what is returned.
    pub fn acquire(&self, name: &str) -> Acquire {
        Acquire::new(self.clone(), name, None)
    }

    /// Takes over the grant that `lock_id` names, from whoever holds it: another process, say, that has handed it on. Its
    /// fencing token stays. The former holder is told that it has lost the lock. Await what is returned.
    pub fn adopt(&self, name: &str, lock_id: impl Into<String>) -> Acquire {
        Acquire::new(self.clone(), name, Some(lock_id.into()))
    }

    /// Queues for the lock `name`, for up to [`max_wait`](WaitAcquire::max_wait). Await what is returned.
    pub fn wait_acquire(&self, name: &str) -> WaitAcquire {
        WaitAcquire::new(self.clone(), name)
    }

    /// Asks for a lease of the lock `name`: a lock without a stream, for a program that cannot keep one open. It is valid for its ttl,
    /// and nobody renews it but [`Lease::renew`]. Await what is returned.
    pub fn lease(&self, name: &str) -> AcquireLease {
        AcquireLease::new(self.clone(), name)
    }

    /// Goes on with a lease of the lock `name` that another process has taken. Renews it at once. Both may use it then.
    ///
    /// # Errors
    /// [`Error::Lost`] if the lease is over; [`Error::Unavailable`] if no broker answers in time; [`Error::Invalid`] if `lock_id` is
    /// not a lease's.
    ///
    /// # Cancel safety
    /// The renewal may happen all the same when the future is dropped.
    pub async fn adopt_lease(&self, name: &str, lock_id: impl Into<String>) -> Result<Lease, Error> {
        Lease::adopt(self, name, lock_id.into()).await
    }

    /// Holds the lock `name` while `work` runs, and returns what it returns. If the lock is lost meanwhile, drops the work
    /// where it stands, waits for the lock again, and begins the work anew.
    ///
    /// ```no_run
    /// # async fn example(client: lockbroker_client::Client) -> Result<(), lockbroker_client::Error> {
    /// client.hold("leader", |lock| async move { lead(lock.fencing_token()).await }).await
    /// # }
    /// # async fn lead(_token: i64) {}
    /// ```
    ///
    /// # Errors
    /// Those of [`WaitAcquire`]. [`Error::Lost`] if the lock was lost between the end of the work and its release: the work
    /// is done, and its last step may not have been under the lock.
    ///
    /// # Cancel safety
    /// Dropping the future drops the work and releases the lock, unless a clone of the guard is kept elsewhere.
    pub async fn hold<T, F: Future<Output = T>>(
        &self,
        name: &str,
        mut work: impl FnMut(Arc<Guard>) -> F,
    ) -> Result<T, Error> {
        loop {
            let lock = match self.wait_acquire(name).await? {
                Outcome::Acquired(lock) => Arc::new(lock),
                Outcome::NotAcquired(why) => {
                    return Err(unexpected(name, format!("a wait without an end is over: {why}")));
                }
            };
            tokio::select! {
                biased;
                reason = lock.lost() => tracing::debug!(lock = name, %reason, "lost, and begun again"),
                done = work(Arc::clone(&lock)) => {
                    // A clone that the work has kept goes on holding.
                    let Some(lock) = Arc::into_inner(lock) else { return Ok(done) };
                    return match lock.release().await {
                        Err(lost @ Error::Lost { .. }) => Err(lost),
                        // If nobody has confirmed the release, the lock runs out by itself.
                        _ => Ok(done),
                    };
                }
            }
        }
    }

    /// Releases the grant that `lock_id` names, whoever holds it and at whichever broker. Tells its guard, if there is
    /// one. If the grant has ended, changes nothing and says so.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no broker answers in time; the release may then still happen. [`Error::Invalid`] if
    /// `lock_id` is not a lock id.
    ///
    /// # Cancel safety
    /// The release may happen all the same when the future is dropped.
    pub async fn release(&self, name: &str, lock_id: &str) -> Result<ReleaseOutcome, Error> {
        self.settings.release(name, lock_id).await
    }

    /// Looks at a lock without touching it. If `lock_id` names the present grant and the broker keeps it, the answer
    /// says for how long it is valid.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no broker answers in time or its store is away; [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn get(&self, name: &str, lock_id: Option<&str>) -> Result<LockInfo, Error> {
        let lock_id = lock_id.map(String::from).unwrap_or_default();
        self.look(GetLockRequest { name: name.into(), lock_id, permit: None }).await
    }

    /// Looks at one permit of a lock that is [shared](Acquire::shared): 0 to 4,095. [`get`](Client::get) without a lock id tells how many
    /// are held.
    ///
    /// # Errors
    /// Those of [`get`](Client::get).
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn get_permit(&self, name: &str, permit: u32) -> Result<LockInfo, Error> {
        // A broker refuses whatever does not fit.
        let permit = Some(i32::try_from(permit).unwrap_or(i32::MAX));
        self.look(GetLockRequest { name: name.into(), lock_id: String::new(), permit }).await
    }

    /// Observes the lock `name`: who holds it, and with which [value](Acquire::value). [`Observe::next`] tells it, and whenever it
    /// changes. It goes on at another broker when one goes away.
    ///
    /// ```no_run
    /// # async fn example(client: lockbroker_client::Client) -> Result<(), lockbroker_client::Error> {
    /// let mut leader = client.observe("leader");
    /// loop {
    ///     let seen = leader.next().await?;
    ///     println!("{}: {:?}", seen.state, seen.value);
    /// }
    /// # }
    /// ```
    pub fn observe(&self, name: &str) -> Observe {
        Observe::new(self.clone(), name)
    }

    async fn look(&self, request: GetLockRequest) -> Result<LockInfo, Error> {
        let name = &*request.name;
        let sent = Moment::now();
        let answer = self.settings.call(name, |mut stub| {
            let request = request.clone();
            Box::pin(async move { stub.get_lock(request).await })
        });
        let answer = answer.await?;
        let expires = answer.expires_after_request.as_ref().and_then(from_wire);
        let state = match answer.state() {
            proto::get_lock_response::State::Free => LockState::Free,
            proto::get_lock_response::State::Held => LockState::Held,
            proto::get_lock_response::State::Lingering => LockState::Lingering,
            proto::get_lock_response::State::Revoked => LockState::Revoked,
            proto::get_lock_response::State::Claimed => {
                return Err(unexpected(name, "a claimed lock, as only a list shows it"));
            }
            proto::get_lock_response::State::Unspecified => return Err(unexpected(name, "a lock without a state")),
        };
        Ok(LockInfo {
            state,
            free_within: answer.free_within.as_ref().and_then(from_wire),
            remaining: expires.map(|after| (sent + after).remaining()),
            owner: answer.owner,
            fencing_token: (answer.fencing_token > 0).then_some(answer.fencing_token),
            held_for: answer.held_for.as_ref().and_then(from_wire),
            etag: answer.etag,
            shared_count: u32::try_from(answer.shared_count).unwrap_or_default(),
            claimed: answer.claimed,
        })
    }

    fn lock_spec(&self, name: &str) -> LockSpec {
        LockSpec { name: name.into(), owner: self.settings.owner.clone(), ..LockSpec::default() }
    }

    fn next_key(&self) -> Key {
        self.settings.last_key.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.settings.brokers.names()).finish_non_exhaustive()
    }
}

/// A lock as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// The state of the lock.
    pub state: LockState,
    /// The holder's label; empty if it has none or it is not known.
    pub owner: String,
    /// The lock is free this long after the broker looked, at the latest, if nobody renews it; None when free.
    pub free_within: Option<Duration>,
    /// The time for which the given lock id stays valid, counted from when this answer was returned. None if no lock
    /// id was given, or if this broker does not keep the lock.
    pub remaining: Option<Duration>,
    /// The holder's fencing token; None if it is not known.
    pub fencing_token: Option<i64>,
    /// The time since the lock was granted or last reattached; None if it is not known.
    pub held_for: Option<Duration>,
    /// Names what the lock is now, for those who revoke it. Empty for a lock that is shared: each permit has one of its own.
    pub etag: String,
    /// The number of permits that are held, if the lock is [shared](Acquire::shared). Always 0 where a lock id or a permit was asked
    /// about: then all the rest is about that permit.
    pub shared_count: u32,
    /// True if the lock is shared, and somebody waits for those who share it and lets no new ones in.
    pub claimed: bool,
}

/// The state of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// Nobody has it.
    Free,
    /// Somebody holds it. If they share it, [`LockInfo::shared_count`] says how many.
    Held,
    /// It was released and nobody can acquire it yet.
    Lingering,
    /// It was revoked, and nobody can acquire it until its holder no longer believes in it.
    Revoked,
}

impl fmt::Display for LockState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockState::Free => "free",
            LockState::Held => "held",
            LockState::Lingering => "lingering",
            LockState::Revoked => "revoked",
        })
    }
}

/// The effect of [`Client::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseOutcome {
    /// The call ended the grant.
    Released,
    /// Nothing was done: nobody holds the lock.
    NotHeld,
    /// Nothing was done: somebody else holds the lock.
    HeldByAnother,
}

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
