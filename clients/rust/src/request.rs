//! The two ways to ask for a lock, and their outcomes.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Client;
use super::error::Error;
use super::guard::Guard;
use super::session::{AcquireAnswer, Command, Key, Wait, Wanted};
use super::wire::{FAR, to_wire};
use crate::clock::{Moment, sleep_until};
use crate::proto::{self, LockSpec};

/// The time that a broker's answer may still take when the wait is over.
const GRACE: Duration = Duration::from_secs(1);
/// The interval at which to check if there is a broker, when the wait is over.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Asks for a lock, once. Made by [`Client::acquire`]; awaiting it asks.
///
/// # Errors
/// [`Error::Unavailable`] if no broker answered within the client's
/// [`answer_timeout`](super::ClientBuilder::answer_timeout), or if the broker's store is away; [`Error::Exhausted`],
/// [`Error::Invalid`] and [`Error::Denied`] as the broker says.
///
/// # Cancel safety
/// If the future is dropped, the lock is not held: a grant that arrives later is released at once.
#[must_use = "asks for nothing unless it is awaited"]
#[derive(Debug)]
pub struct Acquire {
    client: Client,
    lock: LockSpec,
}

/// Waits for a lock in a queue. Made by [`Client::wait_acquire`]; awaiting it asks. It waits through a broker that
/// goes away, at the next one, and through a store that is away.
///
/// # Errors
/// As with [`Acquire`]; [`Error::Unavailable`] comes only when the wait is over and there is no broker to say so. A wait
/// that is shorter than the client's [`answer_timeout`](super::ClientBuilder::answer_timeout) may take that long to find
/// out.
///
/// # Cancel safety
/// If the future is dropped, the place in the queue is given up, and a grant that arrives later is released at once.
#[must_use = "asks for nothing unless it is awaited"]
#[derive(Debug)]
pub struct WaitAcquire {
    client: Client,
    lock: LockSpec,
    max_wait: Option<Duration>,
    poll_interval: Option<Duration>,
}

/// The outcome of asking for a lock.
#[derive(Debug)]
#[must_use = "dropping the outcome releases the lock"]
pub enum Outcome {
    /// The lock is held for as long as the guard lives.
    Acquired(Guard),
    /// The lock was not acquired.
    NotAcquired(NotAcquired),
}

impl Outcome {
    /// Returns the guard, if the lock was acquired.
    pub fn guard(self) -> Option<Guard> {
        match self {
            Outcome::Acquired(guard) => Some(guard),
            Outcome::NotAcquired(_) => None,
        }
    }
}

/// The reason for which a lock was not acquired, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotAcquired {
    /// The reason.
    pub reason: Reason,
    /// The label of the present holder; empty if it has none or it is not known.
    pub owner: String,
}

/// The reason for which a lock was not acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Somebody holds it.
    Held,
    /// It was released a short while ago, with a linger.
    Lingering,
    /// The wait is over.
    MaxWait,
}

impl fmt::Display for NotAcquired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            Reason::Held => "held",
            Reason::Lingering => "lingering after its release",
            Reason::MaxWait => "not free in time",
        })?;
        if self.owner.is_empty() { Ok(()) } else { write!(f, " (holder: {})", self.owner) }
    }
}

impl Acquire {
    pub(super) fn new(client: Client, name: &str) -> Acquire {
        let lock = client.lock_spec(name);
        Acquire { client, lock }
    }

    /// Sets the time after the release for which nobody can acquire the lock; up to 1 h, to the millisecond. Default:
    /// 0.
    pub fn linger(mut self, linger: Duration) -> Acquire {
        self.lock.linger = Some(to_wire(linger));
        self
    }

    /// Sets a label that is shown to others who ask for the lock; up to 128 bytes without control characters. Default:
    /// the client's.
    pub fn owner(mut self, owner: impl Into<String>) -> Acquire {
        self.lock.owner = owner.into();
        self
    }
}

impl WaitAcquire {
    pub(super) fn new(client: Client, name: &str) -> WaitAcquire {
        let lock = client.lock_spec(name);
        WaitAcquire { client, lock, max_wait: None, poll_interval: None }
    }

    /// Sets the longest wait, exact to 50 ms; 0 tries once. Default: until the lock is granted.
    pub fn max_wait(mut self, max_wait: Duration) -> WaitAcquire {
        self.max_wait = Some(max_wait.min(FAR));
        self
    }

    /// Sets the least time between two of the broker's polls for a lock that another broker holds; 1 ms to 1 h.
    /// Default: the broker's choice.
    pub fn poll_interval(mut self, poll_interval: Duration) -> WaitAcquire {
        self.poll_interval = Some(poll_interval);
        self
    }

    /// Sets the linger; see [`Acquire::linger`].
    pub fn linger(mut self, linger: Duration) -> WaitAcquire {
        self.lock.linger = Some(to_wire(linger));
        self
    }

    /// Sets the label; see [`Acquire::owner`].
    pub fn owner(mut self, owner: impl Into<String>) -> WaitAcquire {
        self.lock.owner = owner.into();
        self
    }
}

impl IntoFuture for Acquire {
    type Output = Result<Outcome, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let give_up = GiveUp::Until(Moment::now() + self.client.settings.answer_timeout);
            ask(&self.client, self.lock, None, give_up).await
        })
    }
}

impl IntoFuture for WaitAcquire {
    type Output = Result<Outcome, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let until = self.max_wait.map(|max_wait| Moment::now() + max_wait);
            let connect_by = Moment::now() + self.client.settings.answer_timeout;
            let wait = Wait { until, poll_interval: self.poll_interval };
            let give_up = match until {
                None => GiveUp::Endless,
                Some(until) => GiveUp::Wait { until, at_most: connect_by.max(until + GRACE) },
            };
            ask(&self.client, self.lock, Some(wait), give_up).await
        })
    }
}

async fn ask(client: &Client, lock: LockSpec, wait: Option<Wait>, give_up: GiveUp) -> Result<Outcome, Error> {
    let name: Arc<str> = lock.name.as_str().into();
    let key = client.next_key();
    let (reply, answer) = oneshot::channel();
    let mut call = Call { key, commands: &client.commands, answered: false };
    // Fails only if the task is gone, and then so is the other end of `reply`.
    let _ = client.commands.send(Command::Begin(key, Wanted { lock, wait, reply }));
    let answer = tokio::select! {
        answer = answer => answer.unwrap_or_else(|_| {
            Err(Error::unavailable(&name, "the runtime of the client has been shut down"))
        }),
        () = give_up.over(client) => return Err(Error::unavailable(&name, client.settings.why_no_answer())),
    };
    call.answered = true;
    match answer? {
        AcquireAnswer::Granted { hold, fencing_token } => {
            Ok(Outcome::Acquired(Guard::new(name, key, fencing_token, hold, client.commands.clone())))
        }
        AcquireAnswer::Refused(refused) => not_acquired(&name, refused).map(Outcome::NotAcquired),
    }
}

/// The time at which a call gives up because no broker has answered.
enum GiveUp {
    /// Gives up at this moment.
    Until(Moment),
    /// Gives up at the end of the wait, if it is known by then that there is no broker. A broker that is there ends
    /// the wait itself. One that is being connected to gets the time that a call without a wait has.
    Wait { until: Moment, at_most: Moment },
    /// Never gives up.
    Endless,
}

impl GiveUp {
    async fn over(self, client: &Client) {
        match self {
            GiveUp::Until(moment) => sleep_until(moment).await,
            GiveUp::Wait { until, at_most } => {
                sleep_until(until).await;
                // Checked again and again, since trouble may become known at any time.
                while client.settings.brokers.trouble().is_none() && !at_most.has_passed() {
                    sleep_until((Moment::now() + CHECK_INTERVAL).min(at_most)).await;
                }
            }
            GiveUp::Endless => std::future::pending().await,
        }
    }
}

fn not_acquired(lock: &str, refused: proto::NotAcquired) -> Result<NotAcquired, Error> {
    let reason = match refused.reason() {
        proto::not_acquired::Reason::Held => Reason::Held,
        proto::not_acquired::Reason::Lingering => Reason::Lingering,
        proto::not_acquired::Reason::MaxWait => Reason::MaxWait,
        // Neither of the others was asked for.
        other => {
            return Err(Error::Unexpected {
                lock: lock.into(),
                code: tonic::Code::Ok,
                message: format!("not acquired, {}", other.as_str_name()),
                reason: None,
            });
        }
    };
    Ok(NotAcquired { reason, owner: refused.owner })
}

/// A call on its way: tells the session when it is given up.
struct Call<'a> {
    key: Key,
    commands: &'a mpsc::UnboundedSender<Command>,
    answered: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // If nobody has taken the answer, the session counts the lock as held. This releases it too.
        if !self.answered {
            let _ = self.commands.send(Command::End { key: self.key, reply: None });
        }
    }
}
