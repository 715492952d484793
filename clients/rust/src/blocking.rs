//! The client for programs without tokio: the same calls, which block.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use lockbroker_client::blocking::Client;
//!
//! let client = Client::connect("http://127.0.0.1:28551")?;
//! if let Some(lock) = client.wait_acquire("nightly", Duration::from_secs(10))?.guard() {
//!     println!("holding it, with the token {}", lock.fencing_token());
//!     lock.check()?; // before each step that must not be done twice
//!     lock.release()?;
//! }
//! # Ok::<(), lockbroker_client::Error>(())
//! ```
//!
//! Heartbeats are sent on a thread of the client's own, so a program that computes for long keeps its locks. A call from
//! within an async runtime panics: use [the other client](crate::Client) there.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{ClientBuilder, Error, LockInfo, LostReason, ReleaseOutcome};

/// The longest time for which the thread tells brokers good-bye when all is dropped.
const GOODBYE: Duration = Duration::from_secs(1);

/// Asks brokers for locks. Cheap to clone; clones share the stream and its thread, which end with the last clone and the
/// last guard.
#[derive(Clone)]
pub struct Client {
    inner: crate::Client,
    runtime: Arc<Runtime>,
}

/// A lock that is held until this value is dropped or [released](Guard::release); see [`crate::Guard`].
#[must_use = "dropping the guard releases the lock"]
pub struct Guard {
    inner: crate::Guard,
    runtime: Arc<Runtime>,
}

/// A lock that stands for its ttl, whatever becomes of this value; see [`crate::Lease`].
#[must_use = "a lease that is dropped keeps its lock closed for its ttl"]
pub struct Lease {
    inner: crate::Lease,
    runtime: Arc<Runtime>,
}

/// The outcome of asking for a lock.
pub type Outcome = crate::Outcome<Guard>;

/// The thread on which the client's task runs.
struct Runtime {
    handle: Handle,
    ended: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Client {
    /// Makes a client with all defaults, as [`crate::Client::connect`] does.
    ///
    /// # Errors
    /// [`Error::Endpoint`]; [`Error::Unavailable`] if the system gives it no thread.
    pub fn connect(endpoint: impl Into<String>) -> Result<Client, Error> {
        Client::from_builder(crate::Client::builder(endpoint))
    }

    /// Makes a client with the settings of [`crate::Client::builder`].
    ///
    /// # Errors
    /// Those of [`ClientBuilder::connect`]; [`Error::Unavailable`] if the system gives it no thread.
    pub fn from_builder(builder: ClientBuilder) -> Result<Client, Error> {
        let runtime = Arc::new(Runtime::start()?);
        let inner = {
            let _entered = runtime.handle.enter();
            builder.connect()?
        };
        Ok(Client { inner, runtime })
    }

    /// Asks for the lock `name`, once.
    ///
    /// # Errors
    /// Those of [`crate::Acquire`].
    pub fn acquire(&self, name: &str) -> Result<Outcome, Error> {
        self.ask(self.inner.acquire(name))
    }

    /// Queues for the lock `name`, for up to `max_wait`; [`Duration::MAX`] waits for as long as it takes.
    ///
    /// # Errors
    /// Those of [`crate::WaitAcquire`].
    pub fn wait_acquire(&self, name: &str, max_wait: Duration) -> Result<Outcome, Error> {
        let waiting = self.inner.wait_acquire(name);
        self.ask(if max_wait == Duration::MAX { waiting } else { waiting.max_wait(max_wait) })
    }

    /// Takes over the grant that `lock_id` names, as [`crate::Client::adopt`] does.
    ///
    /// # Errors
    /// Those of [`crate::Acquire`].
    pub fn adopt(&self, name: &str, lock_id: impl Into<String>) -> Result<Outcome, Error> {
        self.ask(self.inner.adopt(name, lock_id))
    }

    /// Makes a call of the other client, with whatever it can be told: `client.ask(client.client().acquire("a").linger(…))`.
    ///
    /// # Errors
    /// Those of the call.
    pub fn ask(&self, call: impl IntoFuture<Output = Result<crate::Outcome, Error>>) -> Result<Outcome, Error> {
        let runtime = Arc::clone(&self.runtime);
        Ok(match self.runtime.block_on(call.into_future())? {
            crate::Outcome::Acquired(inner) => Outcome::Acquired(Guard { inner, runtime }),
            crate::Outcome::NotAcquired(why) => Outcome::NotAcquired(why),
        })
    }

    /// Asks for a lease of the lock `name`, once, as [`crate::Client::lease`] does.
    ///
    /// # Errors
    /// Those of [`crate::AcquireLease`].
    pub fn lease(&self, name: &str, ttl: Duration) -> Result<crate::Outcome<Lease>, Error> {
        self.ask_lease(self.inner.lease(name).ttl(ttl))
    }

    /// Asks for a lease by a call of the other client, with whatever it can be told:
    /// `client.ask_lease(client.client().lease("a").wait(…))`.
    ///
    /// # Errors
    /// Those of the call.
    pub fn ask_lease(&self, call: crate::AcquireLease) -> Result<crate::Outcome<Lease>, Error> {
        Ok(match self.runtime.block_on(call.into_future())? {
            crate::Outcome::Acquired(inner) => crate::Outcome::Acquired(self.leased(inner)),
            crate::Outcome::NotAcquired(why) => crate::Outcome::NotAcquired(why),
        })
    }

    /// Goes on with a lease of another process, as [`crate::Client::adopt_lease`] does.
    ///
    /// # Errors
    /// Those of [`crate::Client::adopt_lease`].
    pub fn adopt_lease(&self, name: &str, lock_id: impl Into<String>) -> Result<Lease, Error> {
        let adopted = self.runtime.block_on(self.inner.adopt_lease(name, lock_id));
        adopted.map(|inner| self.leased(inner))
    }

    fn leased(&self, inner: crate::Lease) -> Lease {
        Lease { inner, runtime: Arc::clone(&self.runtime) }
    }

    /// Releases the grant that `lock_id` names, as [`crate::Client::release`] does.
    ///
    /// # Errors
    /// Those of [`crate::Client::release`].
    pub fn release(&self, name: &str, lock_id: &str) -> Result<ReleaseOutcome, Error> {
        self.runtime.block_on(self.inner.release(name, lock_id))
    }

    /// Looks at a lock without touching it, as [`crate::Client::get`] does.
    ///
    /// # Errors
    /// Those of [`crate::Client::get`].
    pub fn get(&self, name: &str, lock_id: Option<&str>) -> Result<LockInfo, Error> {
        self.runtime.block_on(self.inner.get(name, lock_id))
    }

    /// Observes the lock `name`, as [`crate::Client::observe`] does.
    pub fn observe(&self, name: &str) -> Observe {
        Observe { inner: self.inner.observe(name), runtime: Arc::clone(&self.runtime) }
    }

    /// Returns the client behind this one.
    pub fn client(&self) -> &crate::Client {
        &self.inner
    }
}

impl Guard {
    /// Returns the lock's name.
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// Names this grant; see [`crate::Guard::lock_id`].
    pub fn lock_id(&self) -> String {
        self.inner.lock_id()
    }

    /// Returns the fencing token; see [`crate::Guard::fencing_token`].
    pub fn fencing_token(&self) -> i64 {
        self.inner.fencing_token()
    }

    /// Returns the number of the permit of a lock that is shared; see [`crate::Guard::permit`].
    pub fn permit(&self) -> Option<u32> {
        self.inner.permit()
    }

    /// Returns the lock's ttl as the broker granted it.
    pub fn ttl(&self) -> Duration {
        self.inner.ttl()
    }

    /// Returns the time for which the holder may act, counted from now; see [`crate::Guard::remaining`].
    pub fn remaining(&self) -> Duration {
        self.inner.remaining()
    }

    /// Checks that the holder may act at this moment.
    ///
    /// # Errors
    /// Those of [`crate::Guard::check`].
    pub fn check(&self) -> Result<(), Error> {
        self.inner.check()
    }

    /// Gives the lock another value.
    ///
    /// # Errors
    /// Those of [`crate::Guard::update`].
    pub fn update(&self, value: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.runtime.block_on(self.inner.update(value))
    }

    /// Shares the lock from now on.
    ///
    /// # Errors
    /// Those of [`crate::Guard::downgrade`].
    pub fn downgrade(&self, limit: Option<u32>) -> Result<(), Error> {
        self.runtime.block_on(self.inner.downgrade(limit))
    }

    /// Waits until the lock is lost, or for `limit`. None: it is still held.
    pub fn wait_lost(&self, limit: Duration) -> Option<LostReason> {
        let lost = async { tokio::time::timeout(limit, self.inner.lost()).await };
        self.runtime.block_on(lost).ok()
    }

    /// Releases the lock and waits until a broker has confirmed it.
    ///
    /// # Errors
    /// Those of [`crate::Guard::release`].
    pub fn release(self) -> Result<(), Error> {
        let Guard { inner, runtime } = self;
        runtime.block_on(inner.release())
    }
}

/// Tells what a lock is, from now on; see [`crate::Observe`].
pub struct Observe {
    inner: crate::Observe,
    runtime: Arc<Runtime>,
}

impl Observe {
    /// Waits until there is something new, or for `limit`. None: there is not.
    ///
    /// # Errors
    /// Those of [`crate::Observe::next`].
    pub fn next(&mut self, limit: Duration) -> Result<Option<crate::Observed>, Error> {
        let next = async { tokio::time::timeout(limit, self.inner.next()).await };
        self.runtime.block_on(next).ok().transpose()
    }
}

impl Lease {
    /// Returns the lock's name.
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// Names this lease; see [`crate::Lease::lock_id`].
    pub fn lock_id(&self) -> &str {
        self.inner.lock_id()
    }

    /// Returns the fencing token; see [`crate::Lease::fencing_token`].
    pub fn fencing_token(&self) -> Option<i64> {
        self.inner.fencing_token()
    }

    /// Returns the number of the permit of a lock that is shared; see [`crate::Lease::permit`].
    pub fn permit(&self) -> Option<u32> {
        self.inner.permit()
    }

    /// Returns the time for which the holder may act, counted from now; see [`crate::Lease::remaining`].
    pub fn remaining(&self) -> Duration {
        self.inner.remaining()
    }

    /// Checks that the holder may act at this moment.
    ///
    /// # Errors
    /// Those of [`crate::Lease::check`].
    pub fn check(&self) -> Result<(), Error> {
        self.inner.check()
    }

    /// Renews the lease; see [`crate::Lease::renew`].
    ///
    /// # Errors
    /// Those of [`crate::Lease::renew`].
    pub fn renew(&self) -> Result<(), Error> {
        self.runtime.block_on(self.inner.renew())
    }

    /// Releases the lock and waits until a broker has confirmed it; see [`crate::Lease::release`].
    ///
    /// # Errors
    /// Those of [`crate::Lease::release`].
    pub fn release(&self) -> Result<(), Error> {
        self.runtime.block_on(self.inner.release())
    }
}

impl Runtime {
    fn start() -> Result<Runtime, Error> {
        let no_thread = |error: std::io::Error| Error::unavailable("", format!("the client has no thread: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let (handle, ended) = (runtime.handle().clone(), CancellationToken::new());
        let over = ended.clone();
        let run = move || {
            runtime.block_on(async {
                over.cancelled().await;
                // The task ends with the last client and guard, and closes its connections then. They are closed in
                // good order, since a broker would take a reset for silence.
                let begun = Instant::now();
                let tasks = tokio::runtime::Handle::current();
                while tasks.metrics().num_alive_tasks() > 0 && begun.elapsed() < GOODBYE {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        };
        let thread = thread::Builder::new().name("lockbroker-client".into()).spawn(run).map_err(no_thread)?;
        Ok(Runtime { handle, ended, thread: Some(thread) })
    }

    fn block_on<T>(&self, call: impl Future<Output = T>) -> T {
        self.handle.block_on(call)
    }
}

impl Drop for Runtime {
    /// Waits until the connections are closed, so that a program may end at once after it has dropped its guards.
    fn drop(&mut self) {
        self.ended.cancel();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Observe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
